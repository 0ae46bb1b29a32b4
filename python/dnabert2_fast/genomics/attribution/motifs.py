"""Short motifs in the regions that a model's answers depend on, tested for enrichment.

As in DNABERT-viz (Ji et al., "DNABERT", Bioinformatics 2021), which uses attention, but for any
attribution: regions of high scores, then a hypergeometric test of every k-mer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.extras import needs
from dnabert2_fast.genomics.attribution.mutagenesis import BASES, Attribution
from dnabert2_fast.io.arguments import Sequences, text_list
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["EnrichedKmer", "enriched_kmers", "high_regions"]


class EnrichedKmer(NamedTuple):
    """A k-mer with its observed and expected counts.

    Attributes
    ----------
    kmer : str
        The k-mer or its reverse complement, whichever is first alphabetically; both count as one.
    inside, expected : float
        Number of occurrences in high regions, and expected by chance (with shuffled sequences: by
        the null of the larger p-value). With a background: number of sequences that contain it,
        and expected by chance.
    p_value, q_value : float
        Of the one-sided hypergeometric test, with shuffled sequences the larger of two; the second
        is adjusted over all k-mers that occur, with shuffled sequences in high regions (Benjamini
        and Hochberg).
    """

    kmer: str
    inside: int
    expected: float
    p_value: float
    q_value: float


def high_regions(
    scores: npt.NDArray[np.floating], *, min_bp: int = 6, deviations: float = 1.0
) -> list[tuple[int, int]]:
    """Return start and end (0-based half-open) of spans of high scores.

    Parameters
    ----------
    scores : ndarray, shape (bases,)
        NaN is never high.
    min_bp : int
        Shorter spans are omitted.
    deviations : float
        High is above the mean by this number of standard deviations of these scores.

    Examples
    --------
    >>> high_regions(np.array([0, 0, 6, 6, 0, 7, 0, 0]), min_bp=2)
    [(2, 4)]
    """
    check_at_least("min_bp", min_bp, 1)
    known = scores[~np.isnan(scores)]
    if not len(known):
        return []
    high = scores > known.mean() + deviations * known.std()
    borders = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    pairs = zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True)
    return [(start, end) for start, end in pairs if end - start >= min_bp]


def enriched_kmers(
    attributions: Sequence[Attribution],
    k: int = 6,
    *,
    background: Sequences | None = None,
    shuffled: Sequence[Attribution] | None = None,
    deviations: float = 1.0,
) -> list[EnrichedKmer]:
    """Test which k-mers occur more often in high regions than expected by chance.

    Parameters
    ----------
    attributions : sequence of Attribution
        One per sequence.
    k : int
        Length of a k-mer; regions are at least as long.
    background : list, tuple, generator, array, series or path, optional
        With it, sequences are drawn: the given ones out of the given ones and the
        background. A sequence then counts once per k-mer, at any position.
    shuffled : sequence of Attribution, optional
        Attributions of the same sequences after `dinucleotide_shuffle`. Without `background`,
        positions in high regions are drawn out of all positions of the sequences: k-mers of short
        tokens are then found even in random sequences. With `shuffled`, a k-mer must also be more
        frequent in high regions of the sequences than in those of the shuffled ones: the positions
        of the sequences are drawn out of the positions of both, and the larger p-value counts.
    deviations : float
        As in `high_regions`.

    Returns
    -------
    list of EnrichedKmer
        Those that occur in high regions, the smallest p-value first.

    Raises
    ------
    ValueError
        When `k` is below 1, or both `background` and `shuffled` are given.
    ModuleNotFoundError
        Without the extra ``attribution``.

    Notes
    -----
    Neighbouring positions overlap, and regions of one sequence are similar. So p-values are smaller
    than for independent draws: use them as an order, and follow up small ones.

    Examples
    --------
    >>> scores = np.tile([0.0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9], 4)
    >>> found = Attribution("CCCCCCCCTAG" * 4, "occlusion", "log_odds", scores)
    >>> enriched_kmers([found], k=3)[0][:2]
    ('CTA', 4)
    """
    with needs("enriched_kmers", "attribution"):
        from scipy.stats import false_discovery_control, hypergeom

    check_at_least("k", k, 1)
    if background is not None and shuffled is not None:
        raise ValueError("background, shuffled: give at most one of them.")
    inside = _high_kmers(attributions, k, deviations)
    candidates = set(inside)
    if not candidates:
        return []
    everywhere = _all_kmers(attributions, k)
    hits_of, nulls = inside, [(everywhere, everywhere.total(), inside.total())]
    if shuffled is not None:
        high = inside + _high_kmers(shuffled, k, deviations)
        positions = everywhere.total()
        nulls.append((high, positions + _all_kmers(shuffled, k).total(), positions))
    elif background is not None:
        hits_of = _sequences_with([found.sequence for found in attributions], k)
        others = text_list(background, "background")
        both = hits_of + _sequences_with([text.upper() for text in others], k)
        nulls = [(both, len(attributions) + len(others), len(attributions))]
    kmers = sorted(nulls[-1][0])
    hits = np.array([hits_of[kmer] for kmer in kmers])
    p_values, expected = np.zeros(len(kmers)), np.zeros(len(kmers))
    for marked, population, drawn in nulls:
        counts = np.array([marked[kmer] for kmer in kmers])
        found = hypergeom.sf(hits - 1, population, counts, drawn).clip(0, 1)
        expected = np.where(found >= p_values, drawn * counts / population, expected)
        p_values = np.maximum(found, p_values)
    rows = zip(
        kmers,
        hits.tolist(),
        expected.tolist(),
        p_values.tolist(),
        false_discovery_control(p_values).tolist(),
        strict=True,
    )
    chosen = [EnrichedKmer(*row) for row in rows if row[0] in candidates]
    return sorted(chosen, key=lambda row: (row.p_value, row.kmer))


def _high_kmers(attributions: Sequence[Attribution], k: int, deviations: float) -> Counter[str]:
    """Return how often each k-mer occurs in high regions."""
    found: Counter[str] = Counter()
    for one in attributions:
        for start, end in high_regions(one.scores, min_bp=k, deviations=deviations):
            found.update(_kmers(one.sequence[start:end], k))
    return found


def _all_kmers(attributions: Sequence[Attribution], k: int) -> Counter[str]:
    """Return how often each k-mer occurs."""
    found: Counter[str] = Counter()
    for one in attributions:
        found.update(_kmers(one.sequence, k))
    return found


def _sequences_with(sequences: Sequence[str], k: int) -> Counter[str]:
    """Return the number of sequences that contain each k-mer."""
    found: Counter[str] = Counter()
    for sequence in sequences:
        found.update(set(_kmers(sequence, k)))
    return found


def _kmers(sequence: str, k: int) -> Iterator[str]:
    """Yield every k-mer of A, C, G, T as the smaller of its two strands."""
    for start in range(len(sequence) - k + 1):
        kmer = sequence[start : start + k]
        if set(kmer) <= set(BASES):
            yield min(kmer, reverse_complement(kmer))
