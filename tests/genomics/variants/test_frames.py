"""Parts of a score: tokens that differ, answers of a class, windows, chunks."""

import numpy as np
import pytest
import torch
from helpers.dna import reverse_complement
from helpers.models import classifier, encoder, masked_lm, tok
from helpers.variants import CONFIG, CONTIG, GENOME, VARIANTS, tokens_apart, variant_at
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast.errors import DivergedError
from dnabert2_fast.genomics.variants import ScoringConfig, Variant, score_variants, scoring
from dnabert2_fast.genomics.variants.alleles import readings
from dnabert2_fast.genomics.variants.scoring import (
    VariantScore,
    Windows,
    class_answer,
    differing_tokens,
    likelihood_ratios,
    located,
    score_stream,
)
from dnabert2_fast.io.reference import Reference

ids_of_one = st.lists(st.integers(5, 7), max_size=7).map(lambda ids: [1, *ids, 2])


@given(ids_of_one, ids_of_one)
def test_tokens_that_differ(ref, alt):
    if ref == alt:
        return
    found = differing_tokens(np.array(ref), np.array(alt), tok.special_ids)
    assert [positions.tolist() for positions in found] == tokens_apart(ref, alt)
    assert {positions.dtype for positions in found} == {np.dtype(np.int64)}


def test_tokens_of_equal_sequences_and_without_ends():
    def found(ref, alt):
        return [p.tolist() for p in differing_tokens(np.array(ref), np.array(alt), frozenset())]

    assert found([5, 6], [5, 6]) == [[1], [1]]
    assert found([5], [5, 5]) == [[0], [0, 1]]
    assert found([5, 6], [6]) == [[0, 1], [0]]
    assert found([6, 5], [6]) == [[0, 1], [0]]
    assert found([1, 8, 9], [1, 7, 9]) == [[1], [1]]


def test_answers_of_a_class():
    logits = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    for label in range(3):
        p = logits.softmax(1)[:, label]
        log_odds, probability = class_answer(logits, label)
        torch.testing.assert_close(probability, p)
        torch.testing.assert_close(log_odds, (p / (1 - p)).log())
    assert class_answer(torch.tensor([[0.5, 2.0]]), 1)[0].tolist() == [1.5]


@pytest.mark.parametrize("both_strands", [True, False])
def test_windows_of_a_variant(both_strands):
    windows = Windows()
    config = ScoringConfig(window_bp=21, offsets_bp=(-3, 0, 4), both_strands=both_strands)
    windows.add(7, Variant("chr1", 100, CONTIG[100:102], "TTT"), GENOME, tok, config)
    frames = []
    for left, right in ((13, 7), (10, 10), (6, 14)):
        before, after = CONTIG[100 - left : 100], CONTIG[102 : 102 + right]
        frames.append((before + CONTIG[100:102] + after, f"{before}TTT{after}"))
        if both_strands:
            frames.append(tuple(reverse_complement(text) for text in frames[-1]))
    texts = list(windows.texts)
    assert list(windows.texts.values()) == list(range(len(texts)))
    assert [(texts[r], texts[a]) for r, a in zip(windows.ref, windows.alt, strict=True)] == frames
    assert windows.variant == [7] * len(frames)
    before = len(texts)
    windows.add_frame(9, frames[0][0], "A")
    assert (windows.variant[-1], windows.ref[-1], windows.alt[-1]) == (9, 0, before)


def test_located():
    config = ScoringConfig(window_bp=8)
    for alt, status in (("A" * 8, "scored"), ("A" * 9, "too_long")):
        found = located(Variant("chr1", 300, "", alt), GENOME, config)
        assert found.status == status
        assert found.normal.contig == "chr1"
    for length, status in ((8, "scored"), (9, "too_long")):
        assert located(variant_at(300, length, ""), GENOME, config).status == status
    assert located(Variant("x", 3, "A", "C"), GENOME, config) == VariantScore("unknown_contig")


def test_unknown_bases_are_read_as_each_base():
    text = "NACGTRANNNB"
    found = readings(text, 40)
    assert len(found) == len(set(found)) == 4
    allowed = {"R": "AG", "B": "CGT", "N": "ACGT"}
    for letter, *bases in zip(text, *found, strict=True):
        assert set(bases) == set(allowed.get(letter, letter))
    assert readings(text[7:], 47) == [one[7:] for one in found]  # equal in all windows
    assert readings("ACGT", 40) == ["ACGT"]
    assert len({one[7:10] for one in found} | {"AAA", "CCC", "GGG", "TTT"}) > 4  # not one letter


def test_the_model_never_reads_n():
    """A score beside N is the mean of those with each base there."""
    at, alt = 300, {"A": "C"}.get(CONTIG[300], "A")
    variant, model = Variant("chr1", at, CONTIG[at], alt), masked_lm()
    config = ScoringConfig(window_bp=60, offsets_bp=(0,))

    def score(base):
        genome = Reference({"chr1": f"{CONTIG[: at - 1]}{base}{CONTIG[at:]}"})
        return score_variants([variant], genome, model, tok, config=config)[0]

    each = [score(base) for base in "ACGT"]
    beside = score("N")
    for name in ("llr", "context_llr", "cosine", "l2", "ref_tokens", "alt_tokens"):
        mean = np.mean([getattr(one, name) for one in each])
        assert getattr(beside, name) == pytest.approx(mean, abs=1e-5), name
    assert (beside.status, beside.other_letters) == ("scored_near_n", 1)
    assert [one.status for one in each] == ["scored"] * 4


@pytest.mark.parametrize(("distance", "status"), [(8, "scored_near_n"), (9, "scored")])
def test_near_an_unknown_base(distance, status):
    config = ScoringConfig(window_bp=60)
    left = Reference({"chr1": f"{CONTIG[: 300 - distance]}N{CONTIG[301 - distance :]}"})
    right = Reference({"chr1": f"{CONTIG[: 300 + distance]}N{CONTIG[301 + distance :]}"})
    for genome in (left, right):
        alt = {"A": "C"}.get(CONTIG[300], "A")
        assert located(Variant("chr1", 300, CONTIG[300], alt), genome, config).status == status


def test_chunks_are_reported(monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK_ALLELES", 4)
    updates = []

    class Bar:
        update = staticmethod(updates.append)

    stream = score_stream(iter(VARIANTS), GENOME, encoder(), tok, CONFIG, Bar)
    first = next(stream)
    assert updates == [4]
    assert len(list(stream)) == len(VARIANTS) - 1
    assert updates == [4, 4, 2]
    assert next(score_stream(VARIANTS[:1], GENOME, encoder(), tok, CONFIG)) == first
    tuples = [tuple(VARIANTS[0])]
    assert score_variants(tuples, GENOME, encoder(), tok, config=CONFIG) == [first]


def test_what_is_not_scored_among_what_is(recwarn):
    bad = Variant("x", 3, "A", "C")
    for given_order in ([bad, VARIANTS[0], bad], [VARIANTS[0], bad]):
        for score, variant in zip(
            score_variants(given_order, GENOME, masked_lm(), tok, config=CONFIG),
            given_order,
            strict=True,
        ):
            numbers = score._asdict()
            of_classifiers = [numbers.pop(name) for name in ("log_odds", "probability")]
            assert np.isnan(of_classifiers).all()
            finite = [value == value for value in list(numbers.values())[2:]]
            assert finite == [variant is not bad] * 8
    assert (
        score_variants([bad] * 2, GENOME, masked_lm(), tok, config=CONFIG)
        == [VariantScore("unknown_contig")] * 2
    )
    assert score_variants([], GENOME, masked_lm(), tok, config=CONFIG) == []
    assert not recwarn


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_batches_hold_their_budget(batch_tokens, monkeypatch):
    for model in (masked_lm(), classifier(num_labels=3), encoder()):
        sizes, real = [], model.bert.encode

        def encode(batch, *rest, sizes=sizes, real=real, **options):
            sizes.append(batch.lengths)
            return real(batch, *rest, **options)

        model.bert.encode = encode
        config = ScoringConfig(window_bp=60, batch_tokens=batch_tokens)
        (score,) = score_variants(VARIANTS[:1], GENOME, model, tok, config=config)
        assert all(size.sum() <= batch_tokens or len(size) == 1 for size in sizes)
        model.bert.encode = real
        wide = ScoringConfig(window_bp=60)
        (other,) = score_variants(VARIANTS[:1], GENOME, model, tok, config=wide)
        np.testing.assert_allclose(score[2:], other[2:], atol=1e-5)


def test_the_window_is_that_of_the_model():
    model = classifier(num_labels=2, window_bp=40)
    (left_out,) = score_variants(VARIANTS[:1], GENOME, model, tok)
    (chosen,) = score_variants(VARIANTS[:1], GENOME, model, tok, config=ScoringConfig(window_bp=40))
    assert left_out == chosen or np.allclose(left_out[6:], chosen[6:], equal_nan=True)
    wide = ScoringConfig(window_bp=80)
    with pytest.warns(UserWarning, match="fine-tuned on 40 bp"):
        (other,) = score_variants(VARIANTS[:1], GENOME, model, tok, config=wide)
    assert other.l2 != pytest.approx(left_out.l2, rel=1e-3)


def test_likelihood_ratios_by_frame():
    model = masked_lm().eval()
    windows = Windows()
    windows.add_frame(0, "ACGTTGCATTAGCA", "ACGTTGCCTTAGCA")
    windows.add_frame(1, "ACGTTGCCTTAGCA", "ACGTTGCATTAGCA")
    ids = tok.encode_batch(list(windows.texts))
    with torch.inference_mode():
        found = likelihood_ratios(ids, windows, model, tok, 100)
    assert list(found) == ["llr", "ref_tokens", "alt_tokens"]
    assert found["llr"][0] == pytest.approx(-found["llr"][1])
    assert found["ref_tokens"].tolist() == found["alt_tokens"][::-1].tolist()
    spans = differing_tokens(ids[0], ids[1], tok.special_ids)
    assert [found["ref_tokens"][0], found["alt_tokens"][0]] == [len(span) for span in spans]


def test_a_diverged_encoder_is_reported():
    model = encoder()
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="float32"):
        score_variants(VARIANTS[:1], Reference({"chr1": CONTIG}), model, tok, config=CONFIG)
