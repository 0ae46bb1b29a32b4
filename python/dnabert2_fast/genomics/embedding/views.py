"""Sequences as the texts that a model reads: whole or in overlapping windows, on their strands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["View", "count_empty", "views_of", "warn_of_empty"]


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
