"""Parts of an attribution: its settings, its batches, its bar, and its files to the letter."""

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import classifier, encoder, masked_lm, tok

from dnabert2_fast import attribute
from dnabert2_fast.errors import DivergedError
from dnabert2_fast.genomics import Attribution, AttributionConfig, plot_attribution
from dnabert2_fast.genomics.attribution import file, mutagenesis, plot
from dnabert2_fast.genomics.attribution.config import Method, Target
from dnabert2_fast.genomics.attribution.file import AttributionOutput, attribute_file
from dnabert2_fast.genomics.attribution.motifs import EnrichedKmer
from dnabert2_fast.genomics.attribution.mutagenesis import attribute_quietly
from dnabert2_fast.genomics.attribution.tokens import AttributionTarget
from dnabert2_fast.io import SequenceFile

SEQUENCE = "ACGTTGCATTAGCANTTACGGATTAACGTCCATGA"
BASES = len(SEQUENCE) - 1
METHODS = get_args(Method)
cls, enc, mlm = classifier(num_labels=3).eval(), encoder().eval(), masked_lm().eval()


class Bar:
    def __init__(self):
        self.updates = []

    def update(self, count=1):
        self.updates.append(count)


def test_settings():
    for method in METHODS:
        assert AttributionConfig(method).method == method
    for target in (None, *get_args(Target)):
        assert AttributionConfig(target=target).target == target
    names = ", ".join(f'"{name}"' for name in METHODS)
    with pytest.raises(ValueError, match=f"^method: must be one of {names} .got"):
        AttributionConfig(None)
    names = ", ".join(f'"{name}"' for name in get_args(Target))
    with pytest.raises(ValueError, match=f'^target: must be one of {names} .got "x"'):
        AttributionConfig(target="x")
    for name in ("steps", "batch_tokens"):
        assert getattr(AttributionConfig(**{name: 1}), name) == 1
        with pytest.raises(ValueError, match=rf"^{name}: must be at least 1 \(got 0\)"):
            AttributionConfig(**{name: 0})


@pytest.mark.parametrize("both_strands", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_the_bar_reaches_its_end(method, both_strands, monkeypatch):
    totals, bar = [], Bar()

    @contextmanager
    def progress(total, *texts):
        totals.append(total)
        yield bar

    monkeypatch.setattr(mutagenesis, "progress", progress)
    monkeypatch.setattr(mutagenesis, "CHUNK_MUTANTS", 40)
    config = AttributionConfig(method, both_strands=both_strands, steps=2)
    attribute(SEQUENCE.lower(), cls, tok, config=config)
    wanted = 3 * BASES if method == "mutagenesis" else 1
    assert totals == [sum(bar.updates)] == [wanted * (1 + both_strands)]
    if method == "mutagenesis":
        assert set(bar.updates) == {40, wanted % 40}


@pytest.mark.parametrize(
    ("model", "method", "target"),
    [
        (cls, "mutagenesis", "log_odds"),
        (cls, "occlusion", "log_odds"),
        (mlm, "mutagenesis", "likelihood"),
        (mlm, "occlusion", "similarity"),
        (mlm, "gradients", "similarity"),
        (enc, "mutagenesis", "similarity"),
        (cls, "attention", "attention"),
        (cls, "lrp", "log_odds"),
    ],
)
def test_targets_that_are_left_out(model, method, target):
    config = AttributionConfig(method, steps=2, both_strands=False)
    found = attribute(SEQUENCE, model, tok, config=config)
    assert (found.sequence, found.method, found.target) == (SEQUENCE, method, target)
    assert (found.effects is not None) == (method == "mutagenesis")
    assert (found.weights is not None) == (method == "attention")
    assert (found.gap == found.gap) == (method == "gradients")
    quiet = attribute_quietly(SEQUENCE, model, tok, config)
    np.testing.assert_array_equal(quiet.scores, found.scores)
    np.testing.assert_array_equal(np.isnan(found.scores), [base == "N" for base in SEQUENCE])


def test_both_strands_of_everything():
    for method in METHODS:
        config = AttributionConfig(method, steps=2, both_strands=False)
        there, back = (
            attribute(text, cls, tok, config=config)
            for text in (SEQUENCE, reverse_complement(SEQUENCE))
        )
        both = attribute(SEQUENCE, cls, tok, config=AttributionConfig(method, steps=2))
        assert (both.sequence, both.method, both.target) == (SEQUENCE, method, there.target)
        np.testing.assert_allclose(both.gap, (there.gap + back.gap) / 2, rtol=1e-6)
        for name in ("effects", "weights"):
            one, other = getattr(there, name), getattr(back, name)
            if one is not None:
                mean = (one + other[::-1, ::-1]) / 2
                np.testing.assert_allclose(getattr(both, name), mean, rtol=1e-5)
                assert getattr(both, name).dtype == one.dtype
    assert attribute(SEQUENCE, cls, tok).effects.dtype == np.float64


def test_attention_has_a_limit_in_bases(monkeypatch):
    monkeypatch.setattr(mutagenesis, "MAX_ATTENTION_BP", len(SEQUENCE))
    config = AttributionConfig("attention")
    assert attribute(SEQUENCE, cls, tok, config=config).weights.dtype == np.float32
    message = "at most 35 bases for the method attention .got 36.. Give a part"
    with pytest.raises(ValueError, match=message):
        attribute(SEQUENCE + "A", cls, tok, config=config)
    attribute(SEQUENCE + "A", cls, tok, config=AttributionConfig("occlusion"))


def test_targets_that_a_model_lacks():
    for target in ("log_odds", "probability"):
        with pytest.raises(ValueError, match=f"^target: {target} needs a fine-tuned classifier"):
            attribute(SEQUENCE, enc, tok, config=AttributionConfig(target=target))
    for model, method in ((cls, "mutagenesis"), (enc, "mutagenesis"), (mlm, "occlusion")):
        with pytest.raises(ValueError, match=r"^target: likelihood needs a masked language model"):
            attribute(SEQUENCE, model, tok, config=AttributionConfig(method, "likelihood"))
    with pytest.raises(ValueError, match=r"^label: must be between 0 and"):
        attribute(SEQUENCE, cls, tok, config=AttributionConfig(label=3))
    named = classifier(class_names=("other", "promoter"))
    found = attribute(SEQUENCE[:9], named, tok, config=AttributionConfig(label="promoter"))
    assert (found.class_name, found.turned().class_name) == ("promoter", "promoter")
    assert attribute(SEQUENCE[:9], enc, tok).class_name == ""
    attribute(SEQUENCE, cls, tok, config=AttributionConfig(target="similarity", label=3))
    attribute(SEQUENCE, mlm, tok, config=AttributionConfig("occlusion", "similarity"))


@pytest.mark.parametrize("batch_tokens", [1, 50, 400])
@pytest.mark.parametrize("method", ["mutagenesis", "occlusion", "gradients"])
def test_batches_hold_their_budget(method, batch_tokens, monkeypatch):
    model, sizes = classifier(num_labels=3).eval(), []
    real = model.bert.encode

    def encode(batch, *rest, **options):
        sizes.append(batch.lengths)
        return real(batch, *rest, **options)

    monkeypatch.setattr(model.bert, "encode", encode)
    config = AttributionConfig(method, steps=9, both_strands=False, batch_tokens=batch_tokens)
    found = attribute(SEQUENCE, model, tok, config=config)
    wide = AttributionConfig(method, steps=9, both_strands=False)
    usual = attribute(SEQUENCE, cls, tok, config=wide).scores
    np.testing.assert_allclose(found.scores, usual, atol=1e-5)
    tokens = len(tok.encode(SEQUENCE))
    together = {
        "mutagenesis": None,
        "occlusion": max(batch_tokens // tokens, 1),
        "gradients": max(batch_tokens // 8 // tokens, 1),  # a pass keeps all states
    }[method]
    assert all(size.sum() <= batch_tokens or len(size) == 1 for size in sizes)
    if together:
        copies = {"occlusion": tokens - 3, "gradients": 9}[method]
        counts = [len(size) for size in sizes]
        full, rest = divmod(copies, together)
        alone = {"occlusion": [1], "gradients": [1, 1]}[method]
        batches = [together] * full + [rest] * (rest > 0)
        assert sorted(counts) == sorted(alone + batches)


def test_a_target_is_a_function_of_packed_sequences():
    target = AttributionTarget(SEQUENCE, cls, tok, "similarity", 1)
    ids = tok.encode(SEQUENCE)
    real = [i for i, token in enumerate(ids) if token not in tok.special_ids]
    assert target.ids.tolist() == ids.tolist()
    assert target.positions.tolist() == real
    copies = target.copies(3)
    assert copies.input_ids.tolist() == ids.tolist() * 3
    mask = target.real(copies)
    assert mask.nonzero().flatten().tolist() == [
        i + len(ids) * copy for copy in range(3) for i in real
    ]
    with torch.no_grad():
        assert target.on_host(copies, mask).tolist() == pytest.approx([1] * 3)
    assert target.home.dtype == torch.float64
    assert not target.home.is_inference()
    assert AttributionTarget(SEQUENCE, cls, tok, "log_odds", 1).home is None


@pytest.mark.parametrize("method", METHODS)
def test_a_diverged_model_is_reported(method):
    for model in (classifier(num_labels=3), encoder()):
        if method == "lrp" and model.config.num_labels != 3:
            continue  # needs a classifier
        with torch.no_grad():
            model.bert.embeddings.LayerNorm.bias.fill_(float("nan"))
        with pytest.raises(DivergedError, match="float32"):
            attribute(SEQUENCE, model, tok, config=AttributionConfig(method, steps=2))


def test_the_lookup_of_embeddings_is_set_back():
    model = classifier(num_labels=3)
    attribute(SEQUENCE, model, tok, config=AttributionConfig("gradients", steps=2))
    assert not model.bert.embeddings.word_embeddings._forward_hooks
    with torch.no_grad():
        model.classifier.weight.fill_(float("inf"))
    with pytest.raises(DivergedError):
        attribute(SEQUENCE, model, tok, config=AttributionConfig("gradients", steps=2))
    assert not model.bert.embeddings.word_embeddings._forward_hooks


# --- files ----------------------------------------------------------------------------------------


def test_outputs():
    for name in ("y.bedgraph", "y.bw", "y.bigwig", "y.parquet"):
        assert AttributionOutput(Path(name)).kmer == 6
    with pytest.raises(ValueError, match=r"^out: must end in .*\.bw.* for a track .got y\.txt"):
        AttributionOutput(Path("y.txt"))
    with pytest.raises(
        ValueError,
        match=r"^motifs: must end in .* in \.meme .got y\.txt",
    ):
        AttributionOutput(motifs=Path("y.txt"))
    with pytest.raises(ValueError, match=r"^tokens: must end in .* \.parquet .got y\.txt"):
        AttributionOutput(tokens=Path("y.txt"))
    with pytest.raises(ValueError, match=r"^kmer: must be at least 1 \(got 0\)"):
        AttributionOutput(motifs=Path("y.tsv"), kmer=0)
    assert AttributionOutput(motifs=Path("y.tsv"), kmer=1).plot_format == "png"
    for given in ({"plots": Path("p")}, {"motifs": Path("y.tsv")}, {"out": Path("y.bw")}):
        AttributionOutput(**given)
    for name in ("y.bedGraph", "y.bigWig", "y.bedgraph.gz"):  # the names of other tools
        AttributionOutput(out=Path(name))
    with pytest.raises(
        ValueError, match=r"^out, tokens, plots, motifs, modisco, hits: give at least one"
    ):
        AttributionOutput(kmer=3)


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(f">a b/c\n{SEQUENCE}\n>{'n' * 90}\nACGTTGCATT\n>empty\n\n")
    return path


@pytest.mark.parametrize("method", ["mutagenesis", "occlusion"])
def test_rows_of_a_table(fasta, method):
    config = AttributionConfig(method, both_strands=False)
    out = fasta.with_name("y.parquet")
    assert attribute_file(fasta, cls, tok, AttributionOutput(out), config) == 3
    table = pq.read_table(out)
    effects = [f"effect_{base}" for base in "ACGT"]
    assert table.schema.names == ["name", "contig", "position", "strand", "base", "score", *effects]
    text, number = pa.string(), pa.float64()
    assert table.schema.types == [text, text, pa.int64(), text, text, *[number] * 5]
    found = [attribute(text, cls, tok, config=config) for text in (SEQUENCE, "ACGTTGCATT")]
    rows = table.to_pylist()
    assert len(rows) == len(SEQUENCE) + 10
    at = 0
    for name, one in zip(("a", "n" * 90), found, strict=True):
        for position, base in enumerate(one.sequence):
            row = rows[at]
            assert [row["name"], row["contig"]] == [name, name]
            assert (row["position"], row["base"]) == (position, base)
            numbers = [one.scores[position]]
            numbers += [np.nan] * 4 if one.effects is None else one.effects[position].tolist()
            given = [row[column] for column in ("score", *effects)]
            assert [value is None for value in given] == np.isnan(numbers).tolist()
            known = [value for value in given if value is not None]
            assert known == pytest.approx([x for x in numbers if x == x], abs=1e-6)
            at += 1


def test_plots_are_named_and_titled(fasta, monkeypatch):
    drawn = []

    def plot(found, path, *, title, **_place):
        drawn.append((found.sequence, path.name, title))
        path.write_text("")

    monkeypatch.setattr(file, "plot_attribution", plot)
    fasta.write_text(f">a/b:c-d_e.f\nACGT\n>{'n' * 90}\nACG\n>e\n\n>g\nAC\n")
    output = AttributionOutput(plots=fasta.with_name("p"), plot_format="svg")
    config = AttributionConfig("occlusion")
    assert attribute_file(fasta, cls, tok, output, config) == 4
    assert drawn == [
        ("ACGT", "00001_a_b_c-d_e.f.svg", "a/b:c-d_e.f"),
        ("ACG", f"00002_{'n' * 80}.svg", "n" * 90),
        ("AC", "00004_g.svg", "g"),
    ]
    assert sorted(p.name for p in fasta.with_name("p").iterdir()) == [name for _, name, _ in drawn]
    monkeypatch.setattr(file, "MAX_BP", 4)
    attribute_file(fasta, cls, tok, AttributionOutput(plots=fasta.with_name("q")), config)
    monkeypatch.setattr(file, "MAX_BP", 3)
    with pytest.raises(ValueError, match=r"^plots: must have at most 3 bases \(got 4\)"):
        attribute_file(fasta, cls, tok, AttributionOutput(plots=fasta.with_name("r")), config)


@pytest.mark.parametrize("background", [None, "b.fa"])
def test_motifs(fasta, monkeypatch, background):
    calls = []

    def enriched(kept, k, *, background, shuffled):
        assert (shuffled is None) == (background is not None)
        calls.append(([found.sequence for found in kept], k, background))
        return [EnrichedKmer("AAC", 12, 1 / 3, 1.23456e-7, 0.000123456)]

    monkeypatch.setattr(file, "enriched_kmers", enriched)
    given = None
    if background:
        given = fasta.with_name(background)
        given.write_text(">x\nACGT\n>y\nGGTT\n")
    output = AttributionOutput(motifs=fasta.with_name("y.tsv"), kmer=3, background=given)
    attribute_file(fasta, cls, tok, output, AttributionConfig("occlusion"))
    sequences = [SEQUENCE, "ACGTTGCATT", ""]
    assert calls == [(sequences, 3, ["ACGT", "GGTT"] if background else None)]
    assert output.motifs.read_text() == (
        "kmer\treverse_complement\tinside\texpected\tp_value\tq_value\n"
        "AAC\tGTT\t12\t0.33333333\t1.23456e-07\t0.000123456\n"
    )


def test_settings_and_bar_of_a_file(fasta, monkeypatch):
    totals, bar, calls = [], Bar(), []

    @contextmanager
    def progress(total, *texts):
        totals.append(total)
        yield bar

    def quietly(*given):
        calls.append(given)
        return Attribution(given[0], "occlusion", "log_odds", np.zeros(len(given[0])))

    monkeypatch.setattr(file, "progress", progress)
    monkeypatch.setattr(file, "attribute_quietly", quietly)
    config = AttributionConfig("occlusion")
    output = AttributionOutput(fasta.with_name("y.bedgraph"))
    assert attribute_file(fasta, cls, tok, output, config) == 3
    assert (totals, bar.updates) == ([3], [1, 1, 1])
    texts = [SEQUENCE, "ACGTTGCATT", ""]
    assert [call[0] for call in calls] == texts
    assert all(call[1:] == (cls, tok, config) for call in calls)


def test_windows_of_the_models_length(fasta, recwarn):
    plain = SequenceFile(fasta)
    assert file._fitted(plain, None) is plain
    assert file._fitted(plain, 20).window_bp == 20
    cut = SequenceFile(fasta, window_bp=20)
    assert file._fitted(cut, 20) is cut
    assert file._fitted(cut, None) is cut
    assert not recwarn
    message = r"^window_bp: 20, but the model was fine-tuned on 30 bp\. .* windows of 30 bp"
    with pytest.warns(UserWarning, match=message):
        assert file._fitted(cut, 30) is cut
    model = classifier(num_labels=3, window_bp=10).eval()
    output = AttributionOutput(fasta.with_name("y.parquet"))
    config = AttributionConfig("occlusion")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="window_bp")
        assert attribute_file(fasta, model, tok, output, config) == 4 + 1 + 1
    with pytest.warns(UserWarning, match="fine-tuned on 10 bp") as caught:
        assert attribute_file(cut, model, tok, output, config) == 2 + 1 + 1
    assert caught[0].filename == __file__


def test_tracks_of_regions_that_overlap(fasta, tmp_path):
    fasta.write_text(f">a\n{SEQUENCE}\n")
    (tmp_path / "r.bed").write_text("a\t0\t9\na\t5\t20\n")
    regions = SequenceFile(fasta, regions=tmp_path / "r.bed")
    config = AttributionConfig("occlusion")
    assert attribute_file(regions, cls, tok, AttributionOutput(tmp_path / "y.parquet"), config) == 2
    with pytest.raises(ValueError, match="overlap"):
        attribute_file(regions, cls, tok, AttributionOutput(tmp_path / "y.bigwig"), config)


def test_the_map_of_attention_is_below_its_letters(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(plot, "save_figure", lambda figure, *_, **__: drawn.append(figure))
    found = attribute(SEQUENCE[:20], enc, tok, config=AttributionConfig("attention"))
    plot_attribution(found, tmp_path / "x.png")
    drawn[0].draw_without_rendering()
    logo, weights = drawn[0].axes[:2]
    assert logo.get_xlim() == weights.get_xlim() == (-0.5, 19.5)
    assert np.allclose(logo.get_position().intervalx, weights.get_position().intervalx)
    assert "[CLS]" in weights.get_xlabel()
