"""Attributions equal those of one changed sequence after the other, at the right positions."""

import gzip
import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import classifier, encoder, masked_lm, tok
from helpers.processes import run
from helpers.project import ROOT
from helpers.tracks import read_bedgraph

import dnabert2_fast
from dnabert2_fast import PackedBatch, Ragged, attribute, cli, score_variants
from dnabert2_fast.attention import alibi_slopes
from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.genomics import (
    Attribution,
    AttributionConfig,
    ScoringConfig,
    Variant,
    plot_attribution,
)
from dnabert2_fast.genomics.attribution import file as attribution_file
from dnabert2_fast.genomics.attribution.config import AttributionOutput
from dnabert2_fast.genomics.attribution.file import attribute_file
from dnabert2_fast.io import Reference, SequenceFile

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"

pyBigWig = pytest.importorskip("pyBigWig")

rng = random.Random(8)
SEQUENCE = "".join(rng.choices("ACGT", k=30)) + "N" + "".join(rng.choices("ACGTacgt", k=29))
UPPER = SEQUENCE.upper()
mlm, cls, enc = masked_lm(), classifier(num_labels=3).eval(), encoder().eval()
ONE = AttributionConfig(both_strands=False, batch_tokens=300)


def config(**given):
    return AttributionConfig(**{"both_strands": False, "batch_tokens": 300, **given})


# --- slow twins -----------------------------------------------------------------------------------


def packed(ids):
    return PackedBatch.from_ragged(Ragged.from_list([ids]))


def states_of(model, words):
    """The encoder from word embeddings on, layer by layer."""
    x = model.bert.embeddings.LayerNorm(
        words + model.bert.embeddings.token_type_embeddings.weight[0]
    )
    batch = packed([5] * len(words))
    for layer in model.bert.encoder.layer:
        x = layer(x, batch, alibi_slopes(model.bert.heads))
    return x


def target_of(model, ids, target, label=1, home=None, real=None):
    """A target of one sequence of ids, or of word embeddings."""
    words = (
        ids if torch.is_tensor(ids) else model.bert.embeddings.word_embeddings(torch.tensor(ids))
    )
    states = states_of(model, words)
    if target == "similarity":
        return torch.cosine_similarity(states[real].mean(0).double(), home, dim=0)
    logits = model.classifier(model.bert.pooler(states[:1]))[0].double()
    p = logits.softmax(0)[label]
    return p if target == "probability" else (p / (1 - p)).log()


def real_positions(ids):
    return [i for i, token in enumerate(ids) if token not in tok.special_ids]


def home_of(model, text):
    ids = tok.encode(text).tolist()
    with torch.no_grad():
        words = model.bert.embeddings.word_embeddings(torch.tensor(ids))
        return states_of(model, words)[real_positions(ids)].mean(0).double()


@pytest.mark.parametrize(
    ("model", "target"),
    [(cls, "log_odds"), (cls, "probability"), (cls, "similarity"), (enc, "similarity")],
)
@torch.no_grad()
def test_mutagenesis_is_one_mutant_after_the_other(model, target):
    found = attribute(SEQUENCE, model, tok, config=config(target=target, label=2))
    assert found.sequence == UPPER
    home = home_of(model, UPPER)

    def ask(text):
        ids = tok.encode(text).tolist()
        return float(target_of(model, ids, target, 2, home, real_positions(ids)))

    for position, letter in enumerate(UPPER):
        for number, base in enumerate("ACGT"):
            if letter == "N":
                assert math.isnan(found.effects[position, number])
                continue
            mutant = UPPER[:position] + base + UPPER[position + 1 :]
            wanted = ask(mutant) - ask(UPPER)
            assert found.effects[position, number] == pytest.approx(wanted, abs=2e-5)
            if letter == base:
                assert found.effects[position, number] == 0
    np.testing.assert_allclose(found.scores, -found.effects.sum(1) / 3)


def test_mutagenesis_of_likelihood_is_that_of_variants():
    found = attribute(SEQUENCE, mlm, tok, config=ONE)
    assert found.target == "likelihood"
    whole = ScoringConfig(window_bp=2 * len(UPPER), offsets_bp=(0,), both_strands=False)
    positions = [
        (i, j) for i in range(0, 60, 7) for j, b in enumerate("ACGT") if b != UPPER[i] != "N"
    ]
    variants = [Variant("x", i, UPPER[i], "ACGT"[j]) for i, j in positions]
    scores = score_variants(variants, Reference({"x": UPPER}), mlm, tok, config=whole)
    for (i, j), score in zip(positions, scores, strict=True):
        assert found.effects[i, j] == pytest.approx(score.llr, abs=2e-5)


@pytest.mark.parametrize(("model", "target"), [(cls, "log_odds"), (enc, "similarity")])
@torch.no_grad()
def test_occlusion_is_one_token_after_the_other(model, target):
    found = attribute(SEQUENCE, model, tok, config=config(method="occlusion", target=target))
    ids = tok.encode(UPPER).tolist()
    spans = tok.encode_detailed(UPPER).offsets.tolist()
    real, home = real_positions(ids), home_of(model, UPPER)
    before = float(target_of(model, ids, target, 1, home, real))
    wanted = np.full(len(UPPER), np.nan)
    for position in real:
        hidden = [*ids[:position], tok.mask_id, *ids[position + 1 :]]
        start, end = spans[position]
        wanted[start:end] = before - float(target_of(model, hidden, target, 1, home, real))
    np.testing.assert_allclose(found.scores, wanted, atol=2e-5)
    assert found.effects is None
    assert np.isnan(found.scores).sum() == 1


@pytest.mark.parametrize(
    ("model", "target"), [(cls, "log_odds"), (cls, "probability"), (mlm, "similarity")]
)
def test_gradients_are_summed_along_the_path(model, target):
    steps = 5
    found = attribute(
        SEQUENCE, model, tok, config=config(method="gradients", target=target, steps=steps)
    )
    ids = tok.encode(UPPER).tolist()
    spans = tok.encode_detailed(UPPER).offsets.tolist()
    real, home = real_positions(ids), home_of(model.eval(), UPPER)
    hidden = [tok.mask_id if i in real else token for i, token in enumerate(ids)]
    look_up = model.bert.embeddings.word_embeddings
    start, end = look_up(torch.tensor(hidden)).detach(), look_up(torch.tensor(ids)).detach()
    slopes = []
    for step in range(steps):
        point = (start + (step + 0.5) / steps * (end - start)).requires_grad_()
        target_of(model, point, target, 1, home, real).backward()
        slopes.append(point.grad)
    by_token = ((end - start) * torch.stack(slopes).mean(0)).sum(1)
    wanted = np.full(len(UPPER), np.nan)
    for position in real:
        first, last = spans[position]
        wanted[first:last] = by_token[position].item() / (last - first)
    np.testing.assert_allclose(found.scores, wanted, atol=1e-5)
    with torch.no_grad():
        whole, nothing = (
            float(target_of(model, given, target, 1, home, real)) for given in (ids, hidden)
        )
    assert found.gap == pytest.approx(np.nansum(wanted) - (whole - nothing), abs=1e-5)


def test_gradients_add_up_with_more_steps():
    gaps = [
        abs(attribute(SEQUENCE, cls, tok, config=config(method="gradients", steps=steps)).gap)
        for steps in (2, 8, 128)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5


@pytest.mark.parametrize("summary", ["cls", "mean", "none"])
@torch.no_grad()
def test_attention_is_that_of_the_last_layer(summary):
    model = encoder().eval() if summary == "none" else classifier(classifier_pooling=summary).eval()
    found = attribute(SEQUENCE, model, tok, config=config(method="attention"))
    assert found.target == "attention"
    ids = tok.encode(UPPER).tolist()
    spans = tok.encode_detailed(UPPER).offsets.tolist()
    x = model.bert.embeddings(packed(ids))
    *before, last = model.bert.encoder.layer
    for layer in before:
        x = layer(x, packed(ids), alibi_slopes(3))
    q, k, _ = last.attention.self.Wqkv(x).view(len(ids), 3, 3, 8).unbind(1)
    scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(8)
    for head, slope in enumerate(alibi_slopes(3).tolist()):
        for i in range(len(ids)):
            scores[head, i] -= slope * (torch.arange(len(ids)) - i).abs()
    looks = scores.softmax(-1).mean(0)
    real = real_positions(ids)
    answer = looks[0] if summary == "cls" else looks[real].mean(0)
    for position in real:
        start, end = spans[position]
        share = answer[position].item() / (end - start)
        np.testing.assert_allclose(found.scores[start:end], share, rtol=1e-4)
        for other in real:
            first, last_base = spans[other]
            share = looks[position, other].item() / (last_base - first)
            np.testing.assert_allclose(found.weights[start:end, first:last_base], share, rtol=1e-4)
    assert np.isnan(found.weights[30]).all()
    assert np.isnan(found.weights[:, 30]).all()
    assert np.isnan(found.scores).sum() == 1


def terms_of_tokens(model, ids):
    """Return each token's part of the pooler's input: (tokens, hidden), through every layer.

    The states of all tokens are followed beside the parts of each token, without biases. Weights,
    gates and scales of norms are those of the states.
    """

    def norm(states, parts, module):
        scale = states.var(-1, correction=0, keepdim=True).add(module.eps).rsqrt()
        centred = [x - x.mean(-1, keepdim=True) for x in (states, parts)]
        return module(states), centred[1] * scale * module.weight

    def linear(states, parts, module):
        return module(states), parts @ module.weight.T

    tokens, heads = len(ids), model.config.num_attention_heads
    embeddings = model.bert.embeddings
    words = embeddings.word_embeddings(torch.tensor(ids))
    parts = torch.diag_embed(words.T).permute(1, 2, 0)  # [token, row]: the word in its own row
    states = words + embeddings.token_type_embeddings.weight[0]
    states, parts = norm(states, parts, embeddings.LayerNorm)
    distance = (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs()
    for layer in model.bert.encoder.layer:
        output, mlp = layer.attention.output, layer.mlp
        both = linear(states, parts, layer.attention.self.Wqkv)
        (q, k, v), (_, _, part) = (x.chunk(3, -1) for x in both)
        mixed = []
        for head, slope in enumerate(alibi_slopes(heads)):
            own = slice(head * q.shape[1] // heads, (head + 1) * q.shape[1] // heads)
            weights = q[:, own] @ k[:, own].T / math.sqrt(q.shape[1] // heads) - slope * distance
            mixed.append([weights.softmax(-1) @ x[..., own] for x in (v, part)])
        heads_of = [torch.cat(one, -1) for one in zip(*mixed, strict=True)]
        after = linear(*heads_of, output.dense)
        states, parts = norm(after[0] + states, after[1] + parts, output.LayerNorm)
        wide = linear(states, parts, mlp.gated_layers)
        (gate, values), (_, part) = (x.chunk(2, -1) for x in wide)
        gate = torch.nn.functional.gelu(gate)
        after = linear(gate * values, gate * part, mlp.wo)
        states, parts = norm(after[0] + states, after[1] + parts, mlp.layernorm)
    return states, parts


@pytest.mark.parametrize("summary", ["cls", "mean"])
def test_lrp_is_the_linear_part_of_each_token(summary):
    model = classifier(num_labels=2, classifier_pooling=summary).eval()
    found = attribute(SEQUENCE, model, tok, config=config(method="lrp"))
    ids = tok.encode(UPPER).tolist()
    with torch.no_grad():
        states, parts = terms_of_tokens(model, ids)
        pool = (lambda x: x.mean(-2)) if summary == "mean" else (lambda x: x[..., 0, :])
        dense = model.bert.pooler.dense
        before = dense(pool(states))
        after = pool(parts) @ dense.weight.T * (before.tanh() / before)
        difference = model.classifier.weight[1] - model.classifier.weight[0]
        terms = (after @ difference).tolist()
    wanted = np.full(len(UPPER), np.nan)
    spans = tok.encode_detailed(UPPER).offsets.tolist()
    for position in real_positions(ids):
        first, last = spans[position]
        wanted[first:last] = terms[position] / (last - first)
    np.testing.assert_allclose(found.scores, wanted, atol=1e-6)
    assert np.nanmax(np.abs(wanted)) > 1e-3
    assert found.effects is None
    assert math.isnan(found.gap)


@pytest.mark.parametrize("method", ["mutagenesis", "occlusion", "gradients", "lrp", "attention"])
def test_strands(method):
    """Both strands are the mean of the two, and the other strand's attribution is its mirror."""
    one = attribute(UPPER, cls, tok, config=config(method=method))
    other = attribute(reverse_complement(UPPER), cls, tok, config=config(method=method))
    both = attribute(UPPER, cls, tok, config=config(method=method, both_strands=True))
    np.testing.assert_allclose(both.scores, (one.scores + other.scores[::-1]) / 2, atol=1e-6)
    back = attribute(
        reverse_complement(UPPER), cls, tok, config=config(method=method, both_strands=True)
    )
    np.testing.assert_allclose(back.scores, both.scores[::-1], atol=1e-6)
    if method == "mutagenesis":
        at = next(i for i, base in enumerate(UPPER) if base == "G")
        # C for G here is G for C there.
        wanted = (one.effects[at, 1] + other.effects[len(UPPER) - 1 - at, 2]) / 2
        assert both.effects[at, 1] == pytest.approx(wanted, abs=1e-6)
    if method == "attention":
        wanted = (one.weights[3, 7] + other.weights[-4, -8]) / 2
        assert both.weights[3, 7] == pytest.approx(wanted, abs=1e-6)


def test_mutants_are_computed_together(monkeypatch):
    passes = []
    real = cls.bert.encode
    monkeypatch.setattr(cls.bert, "encode", lambda *a: passes.append(len(a[0])) or real(*a))
    attribute(UPPER.replace("N", "A") * 5, cls, tok, config=AttributionConfig(both_strands=False))
    assert sum(passes) == 1 + 900
    assert len(passes) < 10


def test_model_is_left_as_it_was():
    model = classifier()
    model.train()
    ids = torch.tensor(tok.encode(UPPER).astype(np.int64))
    before = model.bert.embeddings.word_embeddings(ids)
    for method in ("gradients", "occlusion", "mutagenesis", "lrp", "attention"):
        attribute(SEQUENCE, model, tok, config=config(method=method))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model.bert.embeddings.word_embeddings(ids), before)


def test_bfloat16_is_near():
    half = classifier(num_labels=3).eval().bfloat16()
    for method in ("mutagenesis", "occlusion", "gradients", "lrp", "attention"):
        a, b = (
            attribute(SEQUENCE, m, tok, config=config(method=method)).scores for m in (cls, half)
        )
        both = np.isfinite(a)
        assert np.corrcoef(a[both], b[both])[0, 1] > 0.8


def test_sequences_without_bases():
    for method in ("mutagenesis", "occlusion", "gradients", "lrp", "attention"):
        for text in ("NNN", ""):
            found = attribute(text, cls, tok, config=config(method=method, both_strands=True))
            assert found.scores.shape == (len(text),)
            assert np.isnan(found.scores).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="log_odds needs a fine-tuned classifier"):
        attribute(SEQUENCE, mlm, tok, config=config(target="log_odds"))
    with pytest.raises(ValueError, match="likelihood needs a masked language model"):
        attribute(SEQUENCE, cls, tok, config=config(target="likelihood"))
    with pytest.raises(ValueError, match="likelihood needs a masked language model"):
        attribute(SEQUENCE, mlm, tok, config=config(target="likelihood", method="gradients"))
    with pytest.raises(ValueError, match="got 3"):
        attribute(SEQUENCE, cls, tok, config=config(label=3))
    with pytest.raises(ValueError, match="must be omitted with the method attention"):
        attribute(SEQUENCE, cls, tok, config=config(target="log_odds", method="attention"))
    for model in (cls, mlm):  # the slope of a similarity to itself is 0
        with pytest.raises(ValueError, match="lrp needs log_odds or probability of a classifier"):
            attribute(SEQUENCE, model, tok, config=config(target="similarity", method="lrp"))
    with pytest.raises(ValueError, match="at most 8,192 bases for the method lrp"):
        attribute("N" * 8193, cls, tok, config=config(method="lrp"))
    with pytest.raises(
        ValueError, match="at most 8,192 bases for the method attention \\(got 8,193"
    ):
        attribute("N" * 8193, cls, tok, config=config(method="attention"))
    with pytest.raises(CheckpointError, match="the model has 11 ids"):
        attribute(SEQUENCE, classifier(vocab_size=11), tok)
    with pytest.raises(ValueError, match="steps: must be at least 1"):
        config(steps=0)
    with pytest.raises(ValueError, match='method: must be one of "mutagenesis"'):
        config(method="occlude")
    with pytest.raises(ValueError, match='target: must be one of "log_odds"'):
        config(target="llr")


# --- plots, files, command line -------------------------------------------------------------------


def random_mutagenesis(length):
    """Random effects of a random sequence whose last letter is N."""
    draws = np.random.default_rng(0)
    text, effects = (
        "".join(draws.choice([*"ACGT"], length - 1)) + "N",
        draws.normal(size=(length, 4)),
    )
    effects[-1] = np.nan
    return Attribution(text, "mutagenesis", "log_odds", -effects.mean(1), effects)


def test_plots(tmp_path):
    def head(found, name, **options):
        plot_attribution(found, tmp_path / name, **options)
        assert (tmp_path / name).stat().st_size > 1000
        return (tmp_path / name).read_bytes()[:200]

    found = random_mutagenesis(20)
    assert head(found, "x.png", title="a").startswith(b"\x89PNG")
    assert b"<?xml" in head(found, "x.svg", title="a")
    nothing = np.full((2, 4), np.nan)
    head(Attribution("NN", "mutagenesis", "log_odds", nothing[:, 0], nothing), "empty.png")
    looks = attribute(found.sequence, cls, tok, config=config(method="attention"))
    assert b"<?xml" in head(looks, "looks.svg")
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        plot_attribution(found, tmp_path / "x.pdf")
    long = Attribution("A" * 2001, "occlusion", "log_odds", np.zeros(2001))
    with pytest.raises(ValueError, match="got 2,001"):
        plot_attribution(long, tmp_path / "y.png")


def texts_of(path):
    """Text elements of an SVG file, which exist only if letters are not drawn as paths."""
    found = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in found]


def test_a_plot_names_method_model_unit_and_position(tmp_path):
    found, path = random_mutagenesis(20), tmp_path / "x.svg"
    options = {"title": "peak", "model": "mini", "contig": "chr7", "start": 1995}
    plot_attribution(found, path, **options)
    texts = texts_of(path)
    assert "peak: mutagenesis, log-odds, model mini" in texts
    assert "position in chr7 (0-based), strand +; dots: bases of the sequence" in texts
    assert "N" in texts  # a character without a score
    assert [text for text in texts if text.startswith("2,0")][:3] == ["2,000", "2,005", "2,010"]
    plot_attribution(found, path, **options, strand="-")
    descending = [text for text in texts_of(path) if text.startswith(("2,0", "1,99"))]
    assert descending[:4] == ["2,010", "2,005", "2,000", "1,995"]
    assert {"log-odds", "(nats)", "change of", "log-odds (nats)"} <= set(texts)
    plot_attribution(found, path, title="a long name " * 8)
    assert max(map(len, texts_of(path))) < 70  # lines of the title, none wider than the figure


def test_dots_mark_the_bases_of_the_sequence(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, "scatter", lambda _, x, y, **_options: drawn.append((x, y)))
    found = random_mutagenesis(20)
    plot_attribution(found, tmp_path / "x.png")
    ((index, rows),) = drawn
    assert index.tolist() == [*range(19)]  # none for N
    assert "".join("ACGT"[row] for row in rows) == found.sequence[:-1]


@pytest.mark.full
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots_of_two_lines(tmp_path, suffix):
    found = random_mutagenesis(131)
    looks = attribute(found.sequence, cls, tok, config=config(method="attention"))
    for name, each in (("x", found), ("looks", looks)):
        plot_attribution(each, tmp_path / f"{name}.{suffix}")
        assert (tmp_path / f"{name}.{suffix}").stat().st_size > 1000
    nothing = np.full((2, 4), np.nan)
    empty = Attribution("NN", "mutagenesis", "log_odds", nothing[:, 0], nothing)
    plot_attribution(empty, tmp_path / f"empty.{suffix}")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "x.fa").write_text(
        f">one\n{SEQUENCE}\n>two\n{reverse_complement(UPPER)[:25]}\n>gap\nNNNN\n"
    )
    (tmp_path / "g.fa").write_text(f">chr1\n{UPPER}\n>chr2\n{reverse_complement(UPPER)}\n")
    (tmp_path / "r.bed").write_text(
        "# regions\nchr2\t5\t30\tsecond\n1\t40\t60\tlast\nchr1\t2\t20\tfirst\tmore\n\n"
    )
    for model, name in ((mlm, "mlm"), (cls, "cls")):
        model.save_pretrained(tmp_path / name)
        tok.save(tmp_path / name / "tokenizer.json")
    return tmp_path


def test_files(files):
    lengths = {"one": 60, "two": 25, "gap": 4}
    for suffix in (".bedgraph", ".bw", ".parquet"):
        output = AttributionOutput(files / f"y{suffix}")
        assert attribute_file(files / "x.fa", cls, tok, output, ONE) == 3
    one = attribute(SEQUENCE, cls, tok, config=ONE)
    two = attribute(reverse_complement(UPPER)[:25], cls, tok, config=ONE)
    wanted = {"one": one.scores, "two": two.scores, "gap": np.full(4, np.nan)}
    got = read_bedgraph(files / "y.bedgraph", lengths)
    rows = pq.read_table(files / "y.parquet").to_pylist()
    with pyBigWig.open(str(files / "y.bw")) as opened:
        for name, scores in wanted.items():
            np.testing.assert_allclose(got[name], scores, rtol=1e-5, atol=1e-6)
            stored = opened.values(name, 0, lengths[name])
            np.testing.assert_allclose(stored, scores, rtol=1e-5, atol=1e-6)
            own = [row for row in rows if row["name"] == name]
            assert [row["position"] for row in own] == list(range(lengths[name]))
            table = np.array([row["score"] for row in own], float)
            np.testing.assert_allclose(table, scores, atol=1e-6)
    own = [row for row in rows if row["name"] == "one"]
    assert "".join(row["base"] for row in own) == UPPER
    assert own[30]["effect_A"] is None
    assert own[3]["effect_T"] == pytest.approx(one.effects[3, 3], abs=1e-6)


def test_an_empty_record_has_no_picture(files):
    (files / "e.fa").write_text(">none\n\n>some\nACGTTGCATT\n")
    attribute_file(files / "e.fa", cls, tok, AttributionOutput(plots=files / "e"), ONE)
    assert [path.name for path in (files / "e").iterdir()] == ["00002_some.png"]
    with pytest.raises(ValueError, match="plot: the sequence is empty"):
        plot_attribution(attribute("", cls, tok, config=ONE), files / "x.png")


def test_regions_keep_the_genomes_coordinates(files):
    regions = SequenceFile(files / "g.fa", regions=files / "r.bed")
    output = AttributionOutput(files / "y.bedgraph")
    done = attribute_file(regions, cls, tok, output, ONE)
    assert done == 3
    got = read_bedgraph(files / "y.bedgraph", {"chr1": 60, "chr2": 60})
    for name, start, end in (("chr1", 2, 20), ("chr1", 40, 60), ("chr2", 5, 30)):
        text = (UPPER if name == "chr1" else reverse_complement(UPPER))[start:end]
        scores = attribute(text, cls, tok, config=ONE).scores
        np.testing.assert_allclose(got[name][start:end], scores, rtol=1e-5, atol=1e-6)
        got[name][start:end] = np.nan
    assert np.isnan(np.concatenate(list(got.values()))).all()
    (files / "r.bed").write_text("chr1\t2\t20\nchr1\t19\t30\n")
    with pytest.raises(DataError, match=r"chr1:2-20 and 19-30 overlap"):
        attribute_file(regions, cls, tok, output, ONE)
    table = AttributionOutput(files / "y.parquet")
    assert attribute_file(regions, cls, tok, table, ONE) == 2
    for line, message in (
        ("chr1\t2", "not BED"),
        ("chr1\t5\t61", r"ends behind chr1 \(got 61, expected at most 60\)"),
        ("c\t1\t2", "g.fa has no contig c"),
    ):
        (files / "r.bed").write_text(line + "\n")
        with pytest.raises(DataError, match=message):
            attribute_file(regions, cls, tok, output, ONE)


@pytest.mark.parametrize("window_bp", [None, 10])
def test_regions_of_the_other_strand_stay_in_forward_coordinates(files, window_bp, monkeypatch):
    titles = []

    def plot(found, path, *, title, **_place):
        titles.append((found.sequence, title))
        path.write_text("")

    monkeypatch.setattr("dnabert2_fast.genomics.attribution.file.plot_attribution", plot)
    (files / "r.bed").write_text("chr1\t2\t27\tpeak\t0\t-\n")
    source = SequenceFile(files / "g.fa", regions=files / "r.bed", window_bp=window_bp)
    read = reverse_complement(UPPER[2:27])  # as the model reads it
    parts = [read] if window_bp is None else [read[:10], read[10:20], read[20:]]
    found = [attribute(part, cls, tok, config=ONE) for part in parts]
    scores = np.concatenate([one.scores for one in found])[::-1]
    effects = np.concatenate([one.effects for one in found])
    for name in ("y.bedgraph", "y.bw", "y.parquet"):
        attribute_file(source, cls, tok, AttributionOutput(files / name), ONE)
    got = read_bedgraph(files / "y.bedgraph", {"chr1": 60, "chr2": 60})
    np.testing.assert_allclose(got["chr1"][2:27], scores, rtol=1e-5, atol=1e-6)
    with pyBigWig.open(str(files / "y.bw")) as opened:
        np.testing.assert_allclose(opened.values("chr1", 2, 27), scores, rtol=1e-5, atol=1e-6)
    rows = pq.read_table(files / "y.parquet").to_pylist()
    assert [row["position"] for row in rows] == list(range(2, 27))
    assert "".join(row["base"] for row in rows) == UPPER[2:27]
    assert {row["strand"] for row in rows} == {"-"}
    for i, row in enumerate(rows):
        assert row["score"] == pytest.approx(scores[i], abs=1e-6)
        for base, other in zip("ACGT", "TGCA", strict=True):
            wanted = effects[24 - i]["ACGT".index(other)]
            assert row[f"effect_{base}"] == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    attribute_file(source, cls, tok, AttributionOutput(plots=files / "p"), ONE)
    names = ["peak (-)"] if window_bp is None else ["chr1:17-27(-)", "chr1:7-17(-)", "chr1:2-7(-)"]
    assert titles == list(zip(parts, names, strict=True))[::-1]


def test_tables_reads_and_windows(files, capsys):
    """What `embed` reads, from Python and from the command line."""
    (files / "x.csv").write_text(f"dna,label\n{UPPER},1\n{UPPER[:9]},0\n")
    (files / "x.fq").write_text(f"@one\n{UPPER}\n+\n{'I' * 60}\n@two\n{UPPER[:9]}\n+\n{'I' * 9}\n")
    for source, names in (
        (SequenceFile(files / "x.csv", column="dna"), ("0", "1")),
        (SequenceFile(files / "x.fq"), ("one", "two")),
    ):
        assert attribute_file(source, cls, tok, AttributionOutput(files / "y.parquet"), ONE) == 2
        rows = pq.read_table(files / "y.parquet").to_pylist()
        for name, text in zip(names, (UPPER, UPPER[:9]), strict=True):
            scores = np.array([row["score"] for row in rows if row["name"] == name], float)
            np.testing.assert_allclose(
                scores, attribute(text, cls, tok, config=ONE).scores, atol=1e-6
            )
    common = ["attribute", str(files / "x.csv"), "--column", "dna", "--window-bp", "40"]
    common += ["--model", str(files / "cls"), "--no-both-strands", "--plots", str(files / "p")]
    assert cli.main([*common, "--out", str(files / "y.bedgraph")]) == 0
    assert "3 sequences" in capsys.readouterr().out
    got = read_bedgraph(files / "y.bedgraph", {"0": 60, "1": 9})
    wanted = [attribute(text, cls, tok, config=ONE).scores for text in (UPPER[:40], UPPER[40:])]
    np.testing.assert_allclose(got["0"], np.concatenate(wanted), rtol=1e-5, atol=1e-6)
    assert sorted(path.name for path in (files / "p").iterdir()) == [
        "00001_0_0-40.png",
        "00002_0_40-60.png",
        "00003_1.png",
    ]


def test_bad_outputs_leave_nothing(files):
    before = sorted(files.iterdir())
    with pytest.raises(ValueError, match="at least one"):
        AttributionOutput()
    with pytest.raises(ValueError, match=r"out: must end in .* \(got y\.txt"):
        AttributionOutput(files / "y.txt")
    with pytest.raises(ValueError, match=r"motifs: must end .*y\.txt"):
        AttributionOutput(motifs=files / "y.txt")
    (files / "x.fa").write_text(">a\nACGT\n>a\nACG\n")
    with pytest.raises(DataError, match="two records have the name a"):
        attribute_file(files / "x.fa", cls, tok, AttributionOutput(files / "y.bw"), ONE)
    (files / "x.fa").write_text(f">a\n{'ACGT' * 501}\n")
    with pytest.raises(ValueError, match="plots: must have at most 2,000 bases"):
        attribute_file(files / "x.fa", cls, tok, AttributionOutput(plots=files / "p"), ONE)
    assert sorted(files.iterdir()) == before


def test_command_line(files, capsys):
    names = ("y.bedgraph", "plots", "y.tsv")
    positions = [
        part
        for option, name in zip(("--out", "--plots", "--motifs"), names, strict=True)
        for part in (option, str(files / name))
    ]
    common = ["attribute", str(files / "x.fa"), "--model", str(files / "cls")]
    assert cli.main([*common, *positions, "--kmer", "3", "--method", "occlusion"]) == 0
    assert "3 sequences" in capsys.readouterr().out
    assert [path.name for path in sorted((files / "plots").iterdir())] == [
        "00001_one.png",
        "00002_two.png",
        "00003_gap.png",
    ]
    assert (files / "y.tsv").read_text().startswith("kmer\treverse_complement\tinside\texpected\t")
    common = ["attribute", str(files / "g.fa"), "--model", str(files / "mlm")]
    regions = ["--regions", str(files / "r.bed"), "--out", str(files / "z.bw")]
    assert cli.main([*common, *regions, "--no-both-strands"]) == 0
    assert "3 sequences" in capsys.readouterr().out
    assert cli.main([*common, "--out", str(files / "n.bw"), "--target", "log_odds"]) == 2
    assert capsys.readouterr().err.startswith("error: --target: log_odds needs")
    assert cli.main(common) == 2
    assert "motifs, modisco, hits: give at least one" in capsys.readouterr().err


@pytest.mark.full
def test_the_example_runs(tmp_path):
    done = run(ROOT / "examples" / "attribute.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"mutagenesis.png", "gradients.png"}


def test_real_promoters_have_scores_everywhere():
    with gzip.open(DATA / "prom_core_tata" / "test.csv.gz", "rt") as handle:
        promoters = [line.split(",")[0] for line in handle.read().splitlines()[1:4]]
    for promoter in promoters:
        found = attribute(promoter, cls, tok, config=AttributionConfig())
        assert np.isfinite(found.scores).all()
        assert (found.effects[range(70), ["ACGT".index(b) for b in promoter]] == 0).all()


def test_a_classifier_is_given_windows_of_its_own_length(files):
    model = classifier(num_labels=2, window_bp=40)
    (files / "x.txt").write_text(f"{UPPER}\n{UPPER[:40]}\n")
    output = AttributionOutput(files / "y.parquet")
    assert attribute_file(files / "x.txt", model, tok, output, ONE) == 3
    names = pq.read_table(files / "y.parquet")["name"].unique().to_pylist()
    assert names == ["0:0-40", "0:40-60", "1"]
    with pytest.warns(UserWarning, match="window_bp: 50, but the model was fine-tuned on 40 bp"):
        attribute_file(SequenceFile(files / "x.txt", window_bp=50), model, tok, output, ONE)


@pytest.mark.parametrize("method", ["mutagenesis", "occlusion", "gradients", "lrp", "attention"])
def test_scores_of_tokens_are_those_of_their_bases(method):
    """On each strand the tokens contain every base once, and their scores give those of bases."""
    settings = AttributionConfig(method, steps=2)
    found = attribute(SEQUENCE, cls, tok, config=settings)
    length, sums = len(UPPER), np.zeros(len(UPPER))
    for strand, text in (("+", UPPER), ("-", reverse_complement(UPPER))):
        own = [token for token in found.tokens if token.strand == strand]
        assert [one.start for one in own] == sorted(one.start for one in own)
        covered = [i for one in own for i in range(one.start, one.end)]
        assert covered == [i for i, letter in enumerate(UPPER) if letter in "ACGT"]
        alone = attribute(
            text, cls, tok, config=AttributionConfig(method, steps=2, both_strands=False)
        )
        assert sorted(one.score for one in own) == pytest.approx(
            sorted(one.score for one in alone.tokens), abs=1e-6
        )
        for start, end, token, score, _ in own:
            first, last = (start, end) if strand == "+" else (length - end, length - start)
            assert token == text[first:last]
            sums[start:end] += score if method == "occlusion" else score / (end - start)
    if method != "mutagenesis":
        wanted = np.where([letter == "N" for letter in UPPER], np.nan, sums / 2)
        np.testing.assert_allclose(found.scores, wanted, atol=1e-6)
    assert found.turned().turned().tokens[0] == found.tokens[0]


def test_a_table_of_tokens(files):
    (files / "r.bed").write_text("chr1\t5\t25\tone\t0\t-\n")
    (files / "h.fa").write_text(f">chr1\n{UPPER}\n")
    source = SequenceFile(files / "h.fa", regions=files / "r.bed")
    output = AttributionOutput(tokens=files / "tokens.tsv", plots=files / "plotted")
    settings = AttributionConfig("gradients", steps=2, both_strands=False)
    attribute_file(source, cls, tok, output, settings)
    head, *rows = [line.split("\t") for line in (files / "tokens.tsv").read_text().splitlines()]
    assert head == ["name", "contig", "start", "end", "strand", "token", "score"]
    assert [row[5] for row in reversed(rows)] == [
        one.token
        for one in attribute(reverse_complement(UPPER[5:25]), cls, tok, config=settings).tokens
    ]
    for _, contig, start, end, strand, token, _ in rows:
        assert (contig, strand) == ("chr1", "-")
        assert token == reverse_complement(UPPER[int(start) : int(end)])


def test_motifs_are_compared_with_shuffled_sequences(files, monkeypatch):
    given = []
    monkeypatch.setattr(
        attribution_file,
        "enriched_kmers",
        lambda kept, k, background, shuffled: given.append((kept, background, shuffled)) or [],
    )
    (files / "x.txt").write_text(f"{UPPER}\n")
    output = AttributionOutput(motifs=files / "k.tsv")
    settings = AttributionConfig("attention")
    attribute_file(files / "x.txt", cls, tok, output, settings)
    ((kept, background, shuffled),) = given
    assert background is None
    assert kept[0].sequence == UPPER
    assert Counter(pairwise(shuffled[0].sequence)) == Counter(pairwise(UPPER))
    alone = attribute(shuffled[0].sequence, cls, tok, config=settings)
    np.testing.assert_allclose(shuffled[0].scores, alone.scores)
    assert kept[0].weights is None  # as many numbers as pairs of bases
    (files / "b.fa").write_text(">b\nACGT\n")
    with_background = AttributionOutput(motifs=files / "k.tsv", background=files / "b.fa")
    attribute_file(files / "x.txt", cls, tok, with_background, settings)
    assert given[1][1:] == (["ACGT"], None)
