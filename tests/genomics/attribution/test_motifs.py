"""Enriched k-mers are those of the definition, and a planted motif is found."""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from helpers.dna import reverse_complement
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast.genomics import Attribution, enriched_kmers
from dnabert2_fast.genomics.attribution.motifs import high_regions
from dnabert2_fast.genomics.attribution.shuffle import dinucleotide_shuffle


def tail_of_hypergeometric(hits, population, marked, drawn):
    """P(at least `hits` hits), term by term."""
    return sum(
        math.comb(marked, i) * math.comb(population - marked, drawn - i)
        for i in range(hits, min(marked, drawn) + 1)
    ) / math.comb(population, drawn)


def adjusted(p_values):
    """Benjamini and Hochberg, by their definition: the smallest bound over all larger p-values."""
    m, ranked = len(p_values), sorted(p_values)
    return [
        min(min(m * q / (i + 1) for i, q in enumerate(ranked) if q >= p), 1.0) for p in p_values
    ]


def planted(count=12, seed=2):
    """Sequences with a motif whose bases score high, half of them on the other strand."""
    draw, made = random.Random(seed), []
    for i in range(count):
        text = "".join(draw.choices("ACGT", k=60))
        at, motif = draw.randint(0, 50), "GATTACAG" if i % 2 else reverse_complement("GATTACAG")
        scores = np.zeros(60) + [draw.random() * 0.1 for _ in range(60)]
        scores[at : at + 8] = 1
        made.append(Attribution(text[:at] + motif + text[at + 8 :], "occlusion", "x", scores))
    return made


def smaller_strand(kmer):
    return min(kmer, reverse_complement(kmer))


@pytest.mark.parametrize("with_background", [False, True])
def test_kmers_are_tested_as_defined(with_background):
    made, k = planted(), 5
    draw = random.Random(9)
    background = ["".join(draw.choices("ACGTN", k=80)) for _ in range(30)]
    found = enriched_kmers(made, k, background=background if with_background else None)
    inside, everywhere = Counter(), Counter()
    for each in made:
        for start, end in high_regions(each.scores, min_bp=k):
            for i in range(start, end - k + 1):
                inside[smaller_strand(each.sequence[i : i + k])] += 1
    candidates = set(inside)

    def all_of(text):
        positions = (text[i : i + k] for i in range(len(text) - k + 1))
        return [smaller_strand(kmer) for kmer in positions if "N" not in kmer]

    if with_background:
        inside = Counter(kmer for each in made for kmer in set(all_of(each.sequence)))
        everywhere = inside + Counter(kmer for text in background for kmer in set(all_of(text)))
        population, drawn = len(made) + len(background), len(made)
    else:
        everywhere = Counter(kmer for each in made for kmer in all_of(each.sequence))
        population, drawn = sum(everywhere.values()), sum(inside.values())
    kmers = sorted(everywhere)
    p = [
        tail_of_hypergeometric(inside[kmer], population, everywhere[kmer], drawn) for kmer in kmers
    ]
    wanted = dict(zip(kmers, zip(p, adjusted(p), strict=True), strict=True))
    assert {row.kmer for row in found} == candidates
    for row in found:
        assert row.inside == inside[row.kmer]
        assert row.expected == pytest.approx(drawn * everywhere[row.kmer] / population)
        assert (row.p_value, row.q_value) == pytest.approx(wanted[row.kmer], rel=1e-6)
    assert [row.p_value for row in found] == sorted(row.p_value for row in found)


def test_a_planted_motif_is_found():
    pieces = {smaller_strand("GATTACAG"[i : i + 6]) for i in range(3)}
    found = enriched_kmers(planted(), 6)
    assert {row.kmer for row in found[:3]} == pieces
    assert found[0].q_value < 1e-6
    silent = Attribution("ACGT" * 10, "occlusion", "x", np.zeros(40))
    assert enriched_kmers([silent], 4) == []
    with pytest.raises(ValueError, match="k: must be at least 1"):
        enriched_kmers([silent], 0)


def test_high_regions():
    scores = np.array([np.nan, 0, 0, 0, 3, 3, 3, np.nan, 3, 3, 0, 0, 0, 0, 3])
    assert high_regions(scores, min_bp=1) == [(4, 7), (8, 10), (14, 15)]
    assert high_regions(scores, min_bp=2) == [(4, 7), (8, 10)]
    assert high_regions(np.full(4, np.nan)) == []
    assert high_regions(scores, min_bp=1, deviations=5) == []


def test_what_counts_as_high():
    two = np.array([0.0, 2.0])  # mean 1, deviation 1: 2 is not more than their sum
    assert high_regions(two, min_bp=1) == []
    assert high_regions(two, min_bp=1, deviations=0.99) == [(1, 2)]
    assert high_regions(np.array([5.0, 0, 0, 0, 5]), min_bp=1) == [(0, 1), (4, 5)]
    for length, found in ((5, []), (6, [(10, 16)])):
        scores = np.zeros(40)
        scores[10 : 10 + length] = 9
        assert high_regions(scores) == found
    with pytest.raises(ValueError, match=r"^min_bp: must be at least 1 \(got 0\)"):
        high_regions(two, min_bp=0)
    assert high_regions(np.array([], float)) == []


def marked(text, start, end):
    scores = np.zeros(len(text))
    scores[start:end] = 9
    return Attribution(text, "occlusion", "x", scores)


def test_kmers_of_one_region_by_hand():
    """CTAG is its own reverse complement; positions with N count nowhere."""
    found = enriched_kmers([marked("AACTAGAANAACC", 2, 6)], 3)
    # Of 8 positions AAC, ACT, CTA, TAG=CTA, AGA=AGA, GAA, AAC, ACC two are drawn, both CTA.
    assert [(row.kmer, row.inside, row.expected) for row in found] == [("CTA", 2, 0.5)]
    assert found[0].p_value == pytest.approx(1 / 28)
    assert found[0].q_value == pytest.approx(min(1, 6 * (1 / 28)))
    assert enriched_kmers([marked("AACTAGAANAACC", 2, 4)], 3) == []  # shorter than a k-mer
    assert enriched_kmers([marked("AACTAGAANAACC", 2, 6)], 3, deviations=9) == []
    (one,) = enriched_kmers([marked("AAAAC", 4, 5)], 1)
    assert (one.kmer, one.inside, one.expected, one.p_value) == ("C", 1, 0.2, pytest.approx(0.2))


def test_equal_p_values_go_by_the_alphabet():
    found = enriched_kmers([marked("TTTTTTACCGTTTTTTTTTT", 6, 10)], 3)
    assert [row.kmer for row in found] == ["ACC", "CCG"]
    assert found[0].p_value == found[1].p_value


def test_a_background_counts_each_sequence_once():
    ours = [marked("AACTAGAA", 2, 6), marked("CTACTAAA", 0, 3)]
    found = enriched_kmers(ours, 3, background=["ctactacta", "AAAAAA", "GGGGGG"])
    wanted = {"CTA": 3}  # of five sequences, two of which are ours
    rows = {row.kmer: row for row in found}
    assert set(rows) == {"CTA"}
    assert rows["CTA"].inside == 2
    assert rows["CTA"].expected == pytest.approx(2 * wanted["CTA"] / 5)
    assert rows["CTA"].p_value == pytest.approx(tail_of_hypergeometric(2, 5, 3, 2))
    upper = enriched_kmers(ours, 3, background=["CTACTACTA", "AAAAAA", "GGGGGG"])
    assert upper == found


def test_against_shuffled_sequences():
    """A k-mer is high more often than it occurs, and than in shuffled sequences."""
    made, null = (
        planted(),
        [
            Attribution("".join(random.Random(i).sample(one.sequence, 60)), "x", "x", one.scores)
            for i, one in enumerate(planted())
        ],
    )
    counts = [Counter(), Counter()]
    for each, found in ((made, counts[0]), (null, counts[1])):
        for one in each:
            for start, end in high_regions(one.scores, min_bp=5):
                for i in range(start, end - 4):
                    found[smaller_strand(one.sequence[i : i + 5])] += 1
    everywhere = Counter(
        smaller_strand(one.sequence[i : i + 5])
        for one in made
        for i in range(len(one.sequence) - 4)
    )
    total, high = everywhere.total(), counts[0].total()
    for row in enriched_kmers(made, 5, shuffled=null):
        marked = counts[0][row.kmer] + counts[1][row.kmer]
        assert row.inside == counts[0][row.kmer] > 0
        wanted = max(
            tail_of_hypergeometric(row.inside, 2 * total, marked, total),
            tail_of_hypergeometric(row.inside, total, everywhere[row.kmer], high),
        )
        assert row.p_value == pytest.approx(wanted)
    assert enriched_kmers(made, 5, shuffled=null)[0].kmer in {
        smaller_strand("GATTACAG"[i : i + 5]) for i in range(4)
    }
    assert not [row for row in enriched_kmers(made, 5, shuffled=made) if row.q_value < 0.5]
    with pytest.raises(ValueError, match=r"^background, shuffled: give at most one"):
        enriched_kmers(made, 5, shuffled=null, background=["ACGT"])


def test_a_motif_is_found_where_shuffled_sequences_have_no_high_region():
    """The null is the number of positions, not that of high regions, which may be none."""
    flat = [Attribution("ACGTTGCA" * 5, "x", "x", np.zeros(40)) for _ in planted()]
    best = enriched_kmers(planted(), 5, shuffled=flat)[0]
    assert best.kmer in {smaller_strand("GATTACAG"[i : i + 5]) for i in range(4)}
    assert best.q_value < 0.05


@given(st.text("ACGTN", max_size=30), st.integers(0, 99))
def test_a_shuffle_keeps_dinucleotides(text, seed):
    shuffled = dinucleotide_shuffle(text, random.Random(seed))
    pairs = [Counter(pairwise(one)) for one in (text, shuffled)]
    assert pairs[0] == pairs[1]
    assert (shuffled[:1], shuffled[-1:], len(shuffled)) == (text[:1], text[-1:], len(text))


def test_all_shuffles_are_possible():
    """ACAGA has two walks over its edges; both are equally frequent."""
    found = Counter(dinucleotide_shuffle("ACAGA", random.Random(seed)) for seed in range(200))
    assert set(found) == {"ACAGA", "AGACA"}
    assert min(found.values()) > 60
