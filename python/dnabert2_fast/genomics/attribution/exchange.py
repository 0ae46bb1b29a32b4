"""Attributions in the formats of motif tools: TF-MoDISco, MEME, and motifs of JASPAR."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.attribution.motifs import EnrichedKmer, high_regions
from dnabert2_fast.genomics.attribution.mutagenesis import BASES, Attribution
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["Hit", "JasparMotifs", "write_meme", "write_modisco"]

FLANK = 2  # bases around a k-mer in its MEME matrix
MAX_Q = 0.05  # of the k-mers in a MEME file
P_VALUE = 1e-4  # of a hit of a JASPAR motif, as in FIMO


def write_modisco(folder: Path, attributions: Sequence[Attribution]) -> None:
    """Write ``sequences.npz`` and ``scores.npz`` for ``modisco motifs -s ... -a ...``.

    Both hold an array of shape (sequences, 4, bases) in the order A, C, G, T: the sequences
    one-hot, and hypothetical scores. The hypothetical score of a base is its effect minus the mean
    of the four effects, times 4/3. So the present base has the score of the attribution.

    Raises
    ------
    DataError
        When the sequences have different lengths.
    """
    lengths = sorted({len(found.sequence) for found in attributions})
    if len(lengths) != 1:
        raise DataError(
            f"modisco: all sequences must have one length (got {lengths[0]} to {lengths[-1]} "
            "bases). Use regions of one length."
        )
    one_hot = np.array([_one_hot(found.sequence) for found in attributions])
    effects = np.array([found.effects for found in attributions], np.float64)
    known = one_hot.any(2, keepdims=True)
    hypothetical = np.where(known, 4 / 3 * (effects - effects.mean(2, keepdims=True)), 0)
    for name, array in (("sequences", one_hot), ("scores", hypothetical)):
        # Without a name in the archive the array is `arr_0`, which the command reads.
        np.savez_compressed(folder / f"{name}.npz", array.transpose(0, 2, 1).astype(np.float32))


def _one_hot(sequence: str) -> npt.NDArray[np.bool_]:
    letters = np.frombuffer(sequence.encode(), np.uint8)
    found: npt.NDArray[np.bool_] = letters[:, None] == np.frombuffer(BASES.encode(), np.uint8)
    return found


def write_meme(
    path: str | os.PathLike[str],
    kmers: Sequence[EnrichedKmer],
    attributions: Sequence[Attribution],
) -> int:
    """Write the enriched k-mers with q <= 0.05 as motifs in MEME format; returns their number.

    A matrix has the frequencies of the bases at all occurrences of the k-mer in high regions, on
    both strands, and of two bases on each side.
    """
    chosen = [row for row in kmers if row.q_value <= MAX_Q]
    lines = ["MEME version 5", "", f"ALPHABET= {BASES}", "", "strands: + -", ""]
    lines += ["Background letter frequencies", "A 0.25 C 0.25 G 0.25 T 0.25", ""]
    for row in chosen:
        counts = np.zeros((len(row.kmer) + 2 * FLANK, 4))
        sites = 0
        for window in _occurrences(row.kmer, attributions):
            counts += _one_hot(window)
            sites += 1
        counts[counts.sum(1) == 0] = 1  # no occurrence has a base there
        lines += [f"MOTIF {row.kmer}"]
        lines += [f"letter-probability matrix: alength= 4 w= {len(counts)} nsites= {sites}"]
        for column in counts / counts.sum(1, keepdims=True):
            lines.append(" " + " ".join(f"{share:.6f}" for share in column))
        lines.append("")
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    return len(chosen)


def _occurrences(kmer: str, attributions: Sequence[Attribution]) -> Iterator[str]:
    """Yield a k-mer in high regions with its flanks, N outside the sequence."""
    for found in attributions:
        padded = "N" * FLANK + found.sequence + "N" * FLANK
        for start, end in high_regions(found.scores, min_bp=len(kmer)):
            for at in range(start, end - len(kmer) + 1):
                here = found.sequence[at : at + len(kmer)]
                window = padded[at : at + len(kmer) + 2 * FLANK]
                if here == kmer:
                    yield window
                elif here == reverse_complement(kmer):
                    yield reverse_complement(window)


class Hit(NamedTuple):
    """A match of a motif, and how high the scores of its bases are.

    Attributes
    ----------
    motif, motif_name : str
        As in the file, such as MA0108.1 and TBP.
    start, end : int
        In the sequence, 0-based half-open.
    strand : str
    score : float
        Log-odds in bits, against equal frequencies of the bases.
    p_value : float
        Probability of such a score at one position of random sequence.
    attribution : float
        Mean of the attribution scores of its bases.
    z_score : float
        That mean minus the mean of the sequence, in standard deviations of the sequence's scores.
    high_bp : int
        Number of its bases whose score is high: by more than one standard deviation.
    """

    motif: str
    motif_name: str
    start: int
    end: int
    strand: str
    score: float
    p_value: float
    attribution: float
    z_score: float
    high_bp: int


class JasparMotifs:
    """The motifs of a JASPAR file, scanned with lightmotif (needs the extra ``motifs``).

    Parameters
    ----------
    path : path
        Count matrices in JASPAR format, of one motif or many.

    Raises
    ------
    DataError
        When the file has no motif.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with needs("a JASPAR file"):
            import lightmotif

        self._library: Any = lightmotif
        self._motifs: list[tuple[str, str, int, list[tuple[str, Any]], float]] = []
        try:
            with Path(path).open("rb") as handle:
                loaded = list(lightmotif.load(handle, format="jaspar16"))
        except ValueError as error:
            raise DataError(f"{path}: is not a JASPAR file ({error}). Download it again.") from None
        for motif in loaded:
            matrix = motif.counts.normalize(0.1).log_odds()
            strands = [("+", matrix), ("-", matrix.reverse_complement())]
            name = motif.description or motif.name
            self._motifs.append((motif.name, name, len(matrix), strands, matrix.score(P_VALUE)))
        if not self._motifs:
            raise DataError(
                f"{path}: has no motif in JASPAR format (a line >ID NAME, then counts of A, C, G, "
                "T). Download it again."
            )

    def scan(self, found: Attribution) -> list[Hit]:
        """Return the hits with p <= 1e-4 on both strands, by position."""
        scores = found.scores
        if np.isnan(scores).all():
            return []
        mean, deviation = float(np.nanmean(scores)), float(np.nanstd(scores)) or 1.0
        high = np.zeros(len(scores), bool)
        for start, end in high_regions(scores, min_bp=1):
            high[start:end] = True
        text = "".join(letter if letter in BASES else "N" for letter in found.sequence)
        striped, hits = self._library.stripe(text), []
        for motif, name, width, strands, threshold in self._motifs:
            if width > len(text):
                continue
            for strand, matrix in strands:
                for hit in self._library.scan(matrix, striped, threshold=threshold):
                    span = slice(hit.position, hit.position + width)
                    own, score = float(np.nanmean(scores[span])), float(hit.score)
                    where = (hit.position, hit.position + width, strand)
                    numbers = (score, float(matrix.pvalue(score)), own, (own - mean) / deviation)
                    hits.append(Hit(motif, name, *where, *numbers, int(high[span].sum())))
        return sorted(hits, key=lambda hit: (hit.start, hit.p_value, hit.motif, hit.strand))
