"""Sequences as the texts that a model reads: whole or in overlapping windows, on their strands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["Vectors", "View", "count_empty", "token_weights", "views_of", "warn_of_empty"]


class View(NamedTuple):
    """A text that is encoded for a sequence: a window, or the other strand.

    `output_row` is the row that its vector is added to; `base_weights` has one weight per
    character, or is None if all are 1.
    """

    output_row: int
    text: str
    base_weights: npt.NDArray[np.float64] | None


def views_of(texts: Sequence[str], config: EmbeddingConfig) -> list[View]:
    """Return the views of sequences; a sequence has one output row for each strand."""
    strands = 1 + config.both_strands
    return [
        view
        for i, text in enumerate(texts)
        for strand in range(strands)
        for view in _views_of_one(strands * i + strand, text, strand == 1, config.context_bp)
    ]


def _views_of_one(
    output_row: int, text: str, turned: bool, context_bp: int | None
) -> Iterator[View]:
    if turned:
        text = reverse_complement(text)
    if context_bp is None or len(text) <= context_bp:
        yield View(output_row, text, None)
        return
    # Evenly spread, so that the last window is as long as the others.
    count = -(-(len(text) - context_bp) // (context_bp - context_bp // 4)) + 1
    starts = np.linspace(0, len(text) - context_bp, count).round().astype(int)
    seen = np.zeros(len(text) + 1, np.int64)
    np.add.at(seen, starts, 1)
    np.add.at(seen, starts + context_bp, -1)
    weights = 1 / np.cumsum(seen[:-1])
    for start in starts.tolist():
        window = slice(start, start + context_bp)
        yield View(output_row, text[window], weights[window])


def token_weights(view: View, spans: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the weight of each token in a mean: 1, less where windows overlap."""
    if view.base_weights is None:
        return np.ones(len(spans))
    start, end = spans.T
    before = np.concatenate([[0], np.cumsum(view.base_weights)])
    weights: npt.NDArray[np.float64] = (before[end] - before[start]) / np.maximum(end - start, 1)
    return weights


class Vectors:
    """Vectors of sequences while their views are added, in any order.

    Parameters
    ----------
    texts : int
        Number of sequences.
    views : list of View
        All of them.
    width : int
    config : EmbeddingConfig
    """

    def __init__(self, texts: int, views: list[View], width: int, config: EmbeddingConfig) -> None:
        self._strands = 1 + config.both_strands
        self._is_max = config.pooling == "max"
        self._total = np.full((texts * self._strands, width), np.nan if self._is_max else 0.0)
        self._weight = np.zeros(len(self._total))
        of_texts = [view.output_row // self._strands for view in views]
        self._left = np.bincount(of_texts, minlength=texts)

    def add(self, view: View, vector: npt.NDArray[Any], weight: float) -> int:
        """Add the vector of a view; returns 1 if it was the last one of its sequence, else 0.

        Parameters
        ----------
        view : View
        vector : ndarray, shape (width,)
            A mean, or for ``max`` a maximum; any values if `weight` is 0.
        weight : float
            Weight of the mean, 0 without a token of bases.
        """
        row = view.output_row
        if weight and self._is_max:
            self._total[row] = np.fmax(self._total[row], vector)
        elif weight:
            self._total[row] += weight * vector.astype(np.float64)
        self._weight[row] += weight
        self._left[row // self._strands] -= 1
        return int(self._left[row // self._strands] == 0)

    def result(self) -> npt.NDArray[np.float32]:
        """Return one vector per sequence, the mean over strands; NaN without a token of bases."""
        total = self._total
        if not self._is_max:
            with np.errstate(invalid="ignore"):
                total = total / self._weight[:, None]
        by_strand = total.reshape(-1, self._strands, total.shape[1])
        vectors: npt.NDArray[np.float32] = by_strand.mean(1).astype(np.float32)
        return vectors


def count_empty(vectors: npt.NDArray[np.float32]) -> int:
    """Return the number of rows that are NaN, because their sequences have no bases."""
    return int(np.isnan(vectors[:, 0]).sum())


def warn_of_empty(empty: int, rows: int) -> None:
    """Warn when some of the rows are NaN."""
    if empty:
        warnings.warn(
            f"{empty:,} of {rows:,} sequences have no A, C, G or T. Their vectors are NaN.",
            stacklevel=3,
        )
