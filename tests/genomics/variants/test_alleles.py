"""Alleles: what can be scored, the normal form at its edges, and settings of scores."""

from dataclasses import replace

import pytest

from dnabert2_fast import Dnabert2Config
from dnabert2_fast.genomics.variants import alleles
from dnabert2_fast.genomics.variants.alleles import (
    STATUSES,
    Variant,
    normalise,
    status_of,
    variants_of,
)
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import VcfRecord

GENOME = Reference({"1": "ACGTNacgt"})


def test_a_record_has_one_variant_per_allele():
    record = VcfRecord("", "chr2", 1, "rs7", "ac", ("G", "<DEL>", "ACT"))
    assert variants_of(record) == [
        Variant("chr2", 0, "ac", "G"),
        Variant("chr2", 0, "ac", "<DEL>"),
        Variant("chr2", 0, "ac", "ACT"),
    ]
    assert variants_of(record._replace(alts=())) == []
    assert [variant.end for variant in variants_of(record)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (("1", 0, "A", "C"), "scored"),
        (("chr1", 8, "t", "a"), "scored"),
        (("1", 5, "ACGT", "N"), "ambiguous"),
        (("1", 5, "ACGT", "ACG"), "scored"),
        (("1", 8, "TA", "A"), "off_contig"),
        (("1", 9, "", "A"), "scored"),
        (("1", 10, "", "A"), "off_contig"),
        (("1", -1, "", "A"), "off_contig"),
        (("1", 4, "N", "A"), "ambiguous"),
        (("1", 3, "TN", "T"), "ambiguous"),
        (("1", 0, "A", "a"), "no_change"),
        (("1", 0, "C", "C"), "ref_mismatch"),
        (("1", 0, "C", "<DEL>"), "not_sequence"),
        (("1", 0, "A", ""), "scored"),
        (("1", 0, "A", "Ä"), "ambiguous"),
        (("2", 0, "A", "<DEL>"), "unknown_contig"),
    ],
)
def test_the_first_reason_is_given(given, status):
    assert status_of(Variant(*given), GENOME) == status
    assert status in STATUSES


@pytest.mark.parametrize(
    ("contig", "given", "normal"),
    [
        ("GATTACA", (1, "A", "C"), (1, "A", "C")),
        ("GATTACA", (0, "GAT", "GCT"), (1, "A", "C")),
        ("GATTACA", (0, "gatt", "catt"), (0, "G", "C")),
        ("GATTACA", (1, "ATTA", "CTTC"), (1, "ATTA", "CTTC")),
        ("GATTACA", (2, "TT", "T"), (2, "T", "")),  # the first of the two
        ("GATTACA", (2, "T", "TT"), (2, "", "T")),
        ("TTTT", (3, "T", ""), (0, "T", "")),
        ("TTTT", (4, "", "T"), (0, "", "T")),
        ("TTTT", (4, "", "A"), (4, "", "A")),
        ("CACACA", (6, "", "CA"), (0, "", "CA")),
        ("CACACA", (6, "", "CAC"), (6, "", "CAC")),
        ("GCACACA", (7, "", "CA"), (1, "", "CA")),
        ("ACACACA", (7, "", "CA"), (0, "", "AC")),  # turned by one
        ("ACACACA", (5, "CA", ""), (0, "AC", "")),
        ("TCAGCAGCAG", (10, "", "CAG"), (1, "", "CAG")),
        ("GCAGCAGCAG", (10, "", "CAG"), (0, "", "GCA")),
        ("AGCAGCAGCAG", (11, "", "CAG"), (0, "", "AGC")),
        ("NAAA", (3, "A", ""), (1, "A", "")),  # not beyond unknown letters
    ],
)
def test_normal_forms(contig, given, normal):
    found = normalise(Variant("chr1", *given), Reference({"1": contig}))
    assert found == Variant("1", *normal)


@pytest.mark.parametrize("shift_bp", [1, 2, 3, 7, 256])
@pytest.mark.parametrize("copies", [1, 5, 6, 255, 256, 257, 512])
def test_shifts_of_any_length(monkeypatch, copies, shift_bp):
    """The bases before are read in blocks; where one ends changes nothing."""
    monkeypatch.setattr(alleles, "SHIFT_BP", shift_bp)
    for first, start in (("G", 1), ("", 0)):
        genome = Reference({"1": first + "A" * copies})
        end = len(first) + copies
        assert normalise(Variant("1", end - 1, "A", ""), genome) == ("1", start, "A", "")
        assert normalise(Variant("1", end, "", "AA"), genome) == ("1", start, "", "AA")


def test_settings_of_scores():
    assert ScoringConfig(window_bp=512).offsets == (-64, 0, 64)
    assert ScoringConfig(window_bp=100).offsets == (-12, 0, 12)
    assert ScoringConfig(window_bp=7).offsets == (0,)
    assert ScoringConfig(window_bp=100, offsets_bp=(3, -49)).offsets == (3, -49)
    assert ScoringConfig(offsets_bp=(3, -4900)).offsets == (3, -4900)
    for sign in (1, -1):
        with pytest.raises(ValueError, match=r"^offsets_bp: must be less than 50, .*got 50\)"):
            ScoringConfig(window_bp=101, offsets_bp=(0, sign * 50))
    assert ScoringConfig(window_bp=2).offsets == (0,)
    with pytest.raises(ValueError, match=r"^offsets_bp: must be less than 0, .*got 0\)"):
        ScoringConfig(window_bp=1)
    with pytest.raises(ValueError, match=r"^offsets_bp: give at least one"):
        ScoringConfig(offsets_bp=())
    assert ScoringConfig(batch_tokens=1).batch_tokens == 1
    for name in ("window_bp", "batch_tokens"):
        with pytest.raises(ValueError, match=rf"^{name}: must be at least 1 \(got 0\)"):
            ScoringConfig(**{name: 0})


def test_the_window_of_a_model(recwarn):
    any_length, trained = Dnabert2Config(), Dnabert2Config(window_bp=300)
    left_out = ScoringConfig(label=2, both_strands=False)
    assert left_out.for_model(any_length) == replace(left_out, window_bp=512)
    assert left_out.for_model(trained) == replace(left_out, window_bp=300)
    chosen = ScoringConfig(window_bp=300)
    assert chosen.for_model(trained) is chosen
    assert chosen.for_model(any_length) is chosen
    assert not recwarn
    other = ScoringConfig(window_bp=301)
    message = r"^window_bp: 301, but the model was fine-tuned on 300 bp\. .* windows of 300 bp"
    between = {}  # stands in for `score_variants`: the warning names its caller
    exec(compile("def call(function, given): return function(given)", "between", "exec"), between)
    with pytest.warns(UserWarning, match=message) as caught:
        assert between["call"](other.for_model, trained) is other
    assert caught[0].filename == __file__
