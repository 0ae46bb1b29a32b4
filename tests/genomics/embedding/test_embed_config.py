"""Layers, strands, windows, positions, tables and regions: each as in its definition."""

import gzip
import sys
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import encoder, tok
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from dnabert2_fast import PackedBatch, cli, embed, embed_file, embed_positions
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics import DnaEmbedder, plot_embeddings
from dnabert2_fast.io import SequenceFile

model = encoder().eval()
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_draws():
    """Each test draws the same, in whatever order they run."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def random_text(length):
    return "".join(rng.choice(list("ACGT"), length))


@torch.inference_mode()
def states_of(text):
    """Layer by layer, the states of tokens of bases, and where these lie in the text."""
    encoding = tok.encode_batch_detailed([text])
    ids = encoding.ids
    output = model(PackedBatch.from_ragged(ids), output_hidden_states=True)
    real = ~np.isin(ids.values, sorted(tok.special_ids))
    return [s.double().numpy()[real] for s in output.hidden_states], encoding.offsets[real]


def test_layers_and_strands():
    texts = [random_text(90), random_text(33)]
    for layers in ((-1,), (0,), (0, 2), (1, -1), (-3,)):
        want = []
        for text in texts:
            both = [
                np.mean([states_of(t)[0][i] for i in layers], 0).mean(0)
                for t in (text, reverse_complement(text))
            ]
            want.append(both)
        want = np.array(want)
        one = embed(texts, model, tok, layers=layers)
        np.testing.assert_allclose(one, want[:, 0], atol=2e-5)
        two = embed(texts, model, tok, layers=layers, both_strands=True)
        np.testing.assert_allclose(two, want.mean(1), atol=2e-5)
    back = embed([reverse_complement(text) for text in texts], model, tok, both_strands=True)
    np.testing.assert_allclose(back, embed(texts, model, tok, both_strands=True), atol=1e-6)


@pytest.mark.parametrize("length", [40, 41, 70, 71, 200, 333])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_windows_count_every_base_once(length, pooling):
    text, context = random_text(length), 40
    count = max(0, -(-(length - context) // 30)) + 1
    starts = np.linspace(0, length - context, count).round().astype(int)
    assert all(b - a <= 30 for a, b in pairwise(starts))
    seen = np.zeros(length)
    for start in starts:
        seen[start : start + context] += 1
    assert (seen > 0).all()
    rows, weights, firsts = [], [], []
    for start in starts:
        states, positions = states_of(text[start : start + context])
        rows.append(states[-1])
        weights += [np.mean(1 / seen[start + a : start + b]) for a, b in positions]
        ids = tok.encode_batch([text[start : start + context]])
        with torch.inference_mode():
            firsts.append(model(PackedBatch.from_ragged(ids)).last_hidden_state[0].double().numpy())
    rows, weights = np.concatenate(rows), np.array(weights)[:, None]
    want = {
        "mean": (weights * rows).sum(0) / weights.sum(),
        "max": rows.max(0),
        "cls": np.mean(firsts, 0),
    }[pooling]
    got = embed([text, "ACGT"], model, tok, pooling=pooling, context_bp=context, batch_tokens=50)
    np.testing.assert_allclose(got[0], want, atol=2e-5)
    if pooling == "mean" and length == context:
        np.testing.assert_allclose(got[0], embed([text], model, tok)[0], atol=1e-6)


def test_states_by_token_and_by_base():
    texts = [random_text(50), "ACGTNNACGTTT", "", "NN"]
    by_token = embed_positions(texts, model, tok, per="token", layers=(1,))
    by_base = embed_positions(texts, model, tok, layers=(1,))
    assert [len(rows) for rows in by_base] == [50, 12, 0, 2]
    for text, tokens, bases in zip(texts, by_token, by_base, strict=True):
        states, positions = states_of(text)
        np.testing.assert_allclose(tokens, states[1], atol=2e-5)
        covered = np.zeros(len(text), bool)
        for state, (start, end) in zip(states[1], positions, strict=True):
            np.testing.assert_allclose(
                bases[start:end], np.tile(state, (end - start, 1)), atol=2e-5
            )
            covered[start:end] = True
        assert np.isnan(bases[~covered]).all()
    assert np.isnan(by_base[1][4:6]).all()
    assert not np.isnan(by_base[1][:4]).any()


def test_tables_and_regions(tmp_path):
    pytest.importorskip("pysam")
    texts = [random_text(n) for n in (60, 45)]
    table = tmp_path / "x.csv.gz"
    with gzip.open(table, "wt") as handle:
        handle.write("id,dna\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts)))
    assert embed_file(SequenceFile(table, column="dna"), model, tok, tmp_path / "t.npy") == 2
    np.testing.assert_allclose(np.load(tmp_path / "t.npy"), embed(texts, model, tok), atol=1e-6)
    assert (tmp_path / "t.npy.names.txt").read_text() == "0\n1\n"
    with pytest.raises(DataError, match="no column 'sequence'"):
        embed_file(table, model, tok, tmp_path / "n.npy")
    (tmp_path / "g.fa").write_text(f">chr1 x\n{texts[0]}\n>chr2\n{texts[1]}\n")
    (tmp_path / "r.bed").write_text("2\t5\t30\tpeak\t0\t-\nchr1\t0\t60\n")
    (tmp_path / "r.bed.gz").write_bytes(gzip.compress((tmp_path / "r.bed").read_bytes()))
    want = embed([reverse_complement(texts[1][5:30]), texts[0]], model, tok)
    for name in ("r.bed", "r.bed.gz"):
        peaks = SequenceFile(tmp_path / "g.fa", regions=tmp_path / name)
        rows = embed_file(peaks, model, tok, tmp_path / "r.parquet")
        assert rows == 2
        found = pq.read_table(tmp_path / "r.parquet").to_pydict()
        assert found["name"] == ["peak", "chr1:0-60"]  # line by line
        assert list(zip(found["contig"], found["start"], found["end"], strict=True)) == [
            ("chr2", 5, 30),
            ("chr1", 0, 60),
        ]
        assert found["strand"] == ["-", "+"]
        np.testing.assert_allclose(np.array(found["embedding"]), want, atol=1e-6)
    (tmp_path / "r.bed.gz").write_bytes((tmp_path / "r.bed.gz").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"r.bed.gz: the gzip stream is damaged or ends early"):
        embed_file(peaks, model, tok, tmp_path / "n.npy")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": (3,)}, "layers: must be between 0 .embeddings. and 2 .got 3"),
        ({"layers": ()}, "layers: give at least one"),
        ({"context_bp": 3}, "context_bp: must be at least 4"),
        ({"pooling": "sum"}, "pooling: must be one of"),
        ({"batch_tokens": 0}, "batch_tokens: must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=message):
        embed(["ACGT"], model, tok, **given)


@pytest.fixture
def folder(tmp_path):
    model.save_pretrained(tmp_path / "m")
    tok.save(tmp_path / "m" / "tokenizer.json")
    return tmp_path / "m"


def test_a_step_of_scikit_learn(folder):
    texts = [("GCC" if i % 2 else "ATA") * (6 + i // 2) for i in range(24)]  # nothing in common
    labels = [i % 2 for i in range(24)]
    pipeline = make_pipeline(DnaEmbedder(str(folder)), LogisticRegression(C=100))
    assert cross_val_score(pipeline, texts, labels, cv=3).mean() == 1
    step = DnaEmbedder(str(folder), pooling="max", layers=(0, 1)).fit(texts)
    want = embed(texts, model, tok, pooling="max", layers=(0, 1))
    np.testing.assert_allclose(step.transform(np.array(texts)), want, atol=1e-6)
    assert list(step.get_feature_names_out()[:2]) == ["embedding0", "embedding1"]
    assert step.get_params()["pooling"] == "max"
    for wrong in ("ACGT", [1.5], [["ACGT"]]):
        with pytest.raises(TypeError, match=r"^X: "):
            step.transform(wrong)


def test_the_estimator_checks_that_apply(folder):
    """Those that feed numbers do not: sequences are text."""
    from sklearn.utils import estimator_checks as checks

    for check in (
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_parameters_default_constructible,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
    ):
        check("DnaEmbedder", DnaEmbedder(str(folder)))


def test_picture(tmp_path):
    vectors = rng.normal(size=(30, 8))
    vectors[:15] += 5
    vectors[3] = np.nan
    positions = plot_embeddings(vectors, tmp_path / "x.svg", labels=["a"] * 15 + ["b"] * 15)
    assert np.isnan(positions[3]).all()
    assert np.isnan(positions).any(1).sum() == 1
    left, right = np.nanmean(positions[:15, 0]), np.nanmean(positions[15:, 0])
    assert abs(left - right) > 5
    text = (tmp_path / "x.svg").read_text()
    assert "<svg" in text
    assert ">a</text>" in text  # a class of the legend, as text
    numbers = [f"{value:.2f}" for value in vectors[:, 1]]
    plot_embeddings(vectors, tmp_path / "z.svg", labels=numbers, legend="GC")
    scale = (tmp_path / "z.svg").read_text()
    assert ">GC</text>" in scale
    assert not any(f">{number}</text>" in scale for number in numbers)  # a scale, not a legend
    assert "30 sequences" not in scale
    assert ">29 sequences</text>" in scale  # of one, the vector is NaN
    with pytest.raises(ValueError, match="at least 3"):
        plot_embeddings(vectors[:2], tmp_path / "y.png")
    with pytest.raises(ValueError, match="labels: must have one per vector, 30"):
        plot_embeddings(vectors, tmp_path / "y.png", labels=[0, 1])


def test_many_points_are_hexagons(tmp_path, monkeypatch):
    """More than `MAX_POINTS` would be one disc."""
    monkeypatch.setattr("dnabert2_fast.genomics.embedding.plot.MAX_POINTS", 99)
    vectors = rng.normal(size=(100, 4))
    for count, labels, hexagons, bar in (
        (99, None, 0, None),
        (100, None, 1, "sequences in a hexagon"),
        (100, ["one"] * 100, 1, "sequences in a hexagon"),
        (100, vectors[:, 0].tolist(), 1, "GC (mean of a hexagon)"),
        (99, vectors[:99, 0].tolist(), 0, "GC"),
        (100, list("ab") * 50, 0, "a"),
    ):
        path = tmp_path / "x.svg"
        plot_embeddings(vectors[:count], path, labels=labels, legend="GC", title="t")
        text = path.read_text()
        assert text.count('id="PolyCollection') == hexagons
        assert f">t, {count} sequences</text>" in text
        assert bar is None or f">{bar}</text>" in text


def test_points_are_coloured_by_what_is_measured(folder, tmp_path, capsys):
    """Of windows and regions too, as the sequences are read again."""
    (tmp_path / "x.fa").write_text("".join(f">r{i}\n{random_text(700 + i)}\n" for i in range(25)))
    command = ["embed", str(tmp_path / "x.fa"), "--model", str(folder), "--window-bp", "350"]
    command += ["--out", str(tmp_path / "v.npy"), "--plot", str(tmp_path / "v.svg")]
    for by, legend in (("gc", "fraction of G and C"), ("length", "length in bases")):
        assert cli.main([*command, "--color-by", by]) == 0
        assert f">{legend}</text>" in (tmp_path / "v.svg").read_text()
        (tmp_path / "v.npy").unlink()
    capsys.readouterr()
    assert cli.main([*command, "--method", "tsne"]) == 2
    assert cli.main([*command[:-2], "--color-by", "gc"]) == 2
    assert "--color-by: colours a plot. Add --plot." in capsys.readouterr().err


def test_libraries_of_a_plot_are_checked_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    (tmp_path / "x.fa").write_text(f">a\n{random_text(90)}\n" * 3)
    command = ["embed", str(tmp_path / "x.fa"), "--model", str(folder), "--method", "umap"]
    assert cli.main([*command, "--out", f"{tmp_path}/v.npy", "--plot", f"{tmp_path}/v.svg"]) == 2
    assert 'umap]"' in capsys.readouterr().err
    assert not list(tmp_path.glob("v.*"))


def test_points_are_coloured_by_a_column(folder, tmp_path, capsys):
    rows = [f"{random_text(40)},{kind}\n" for kind in ["gene", "other"] * 3]
    (tmp_path / "x.csv").write_text("sequence,kind\n" + "".join(rows))
    command = ["embed", str(tmp_path / "x.csv"), "--model", str(folder), "--color-by", "kind"]
    command += ["--out", str(tmp_path / "v.npy"), "--plot", str(tmp_path / "v.svg")]
    assert cli.main(command) == 0
    text = (tmp_path / "v.svg").read_text()
    for label in ("kind", "gene", "other"):
        assert f">{label}</text>" in text
    assert f"x.csv, model {folder.name}, 6 sequences</text>" in text
    for wrong, message in (
        (["--color-by", "width"], "has no column 'width' (got sequence, kind). Name another."),
        (["--window-bp", "9"], "--color-by: a column needs one row of a table per vector"),
    ):
        capsys.readouterr()
        assert cli.main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_command_line(folder, tmp_path, capsys):
    (tmp_path / "x.fa").write_text("".join(f">r{i}\n{random_text(700)}\n" for i in range(4)))
    out = tmp_path / "v.npy"
    command = ["embed", str(tmp_path / "x.fa"), "--model", str(folder), "--out", str(out)]
    options = ["--layers", "0", "-1", "--both-strands", "--context-bp", "200"]
    assert cli.main([*command, *options, "--plot", str(tmp_path / "v.png")]) == 0
    assert np.load(out).shape == (4, 24)
    assert (tmp_path / "v.png").read_bytes()[1:4] == b"PNG"
    assert "4 vectors of 24 (float32, attention sdpa" in capsys.readouterr().out
    command[-1] = str(tmp_path / "v.parquet")
    assert cli.main([*command, "--plot", str(tmp_path / "w.png")]) == 2
    assert "error: --plot: needs vectors in a .npy" in capsys.readouterr().err
