"""Enriched k-mers are those of the definition, and a planted motif is found."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from helpers.dna import reverse_complement

from dnabert2_fast.genomics import Attribution, enriched_kmers
from dnabert2_fast.genomics.attribution.motifs import high_regions


def tail_of_hypergeometric(hits, population, marked, drawn):
    """P(at least so many hits), term by term."""
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
