"""Conversion of ragged batches to the lists and padded arrays of `transformers`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Column", "Padding", "Parts"]


class Column(NamedTuple):
    """One entry of a batch: a value per token, and the value at padding.

    Attributes
    ----------
    values : ndarray, shape (total_tokens,) or (total_tokens, 2)
    fill : int
    """

    values: npt.NDArray[Any]
    fill: int = 0

    def rectangle(self, real: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return (n, width) or (n, width, 2), the values where `real` is true.

        >>> Column(np.array([7, 8, 9]), 3).rectangle(np.array([[1, 1], [1, 0]], bool)).tolist()
        [[7, 8], [9, 3]]
        """
        laid = np.full((*real.shape, *self.values.shape[1:]), self.fill, np.int64)
        laid[real] = self.values
        return laid

    def lists(self, offsets: npt.NDArray[np.int64], padding: Padding) -> list[list[Any]]:
        """Return plain lists, each with its own length or padded to the width; spans as tuples.

        >>> Column(np.array([7, 8, 9])).lists(np.array([0, 2, 3]), Padding(2, "left"))
        [[7, 8], [0, 9]]
        """
        flat: list[Any] = self.values.tolist()
        fill: Any = self.fill
        if self.values.ndim == 2:
            flat, fill = [tuple(span) for span in flat], (self.fill, self.fill)
        borders = offsets.tolist()
        rows = [flat[borders[i] : borders[i + 1]] for i in range(len(borders) - 1)]
        if padding.width is not None:
            gaps = [[fill] * (padding.width - len(row)) for row in rows]
            if padding.side == "right":
                rows = [row + gap for row, gap in zip(rows, gaps, strict=True)]
            else:
                rows = [gap + row for row, gap in zip(rows, gaps, strict=True)]
        return rows


class Padding(NamedTuple):
    """Width of padded rows (None: each has its own), and the padded side."""

    width: int | None
    side: str

    @classmethod
    def asked_for(
        cls, strategy: str, longest: int, max_length: int | None, multiple: int | None, side: str
    ) -> Padding:
        """Compute the width like `transformers`.

        >>> Padding.asked_for("longest", 11, None, 8, "right").width
        16
        """
        if strategy == "do_not_pad":
            return cls(None, side)
        width = max_length if strategy == "max_length" and max_length is not None else longest
        return cls(-(-width // multiple) * multiple if multiple else width, side)

    def real(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Return where tokens are in a rectangle (n, width); None when rows differ in width."""
        width = self.width
        if width is None and lengths.size and (lengths == lengths[0]).all():
            width = int(lengths[0])
        if width is None or lengths.max(initial=0) > width:
            return None
        position, columns = np.arange(width), lengths[:, None]
        return position < columns if self.side == "right" else position >= width - columns


class Parts(NamedTuple):
    """Overlapping parts of long sequences, cut like ``return_overflowing_tokens``.

    Attributes
    ----------
    width : int
        Maximum tokens of a part, special ones included.
    stride : int
        Tokens that a part shares with the next one.
    before, after : int
        Numbers of special tokens around each sequence, and then around each part.
    """

    width: int
    stride: int
    before: int
    after: int

    def of(
        self, offsets: npt.NDArray[np.int64], side: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the position of every token of the parts, the parts' offsets, and their sequences.

        `side` is where tokens are cut off: parts begin at the other end.

        >>> [a.tolist() for a in Parts(4, 1, 1, 1).of(np.array([0, 5, 8]), "right")]
        [[0, 1, 2, 4, 0, 2, 3, 4, 5, 6, 7], [0, 4, 8, 11], [0, 0, 1]]
        """
        room = self.width - self.before - self.after
        if not 0 <= self.stride < room:
            raise ValueError(
                f"stride: must be below {room}, the tokens that fit into max_length (got "
                f"{self.stride})."
            )
        rows, samples = [], []
        for sample, (first, last) in enumerate(pairwise(offsets.tolist())):
            start, end = first + self.before, last - self.after
            for cut in _cuts(end - start, room, room - self.stride, side):
                own = (np.arange(first, start), np.arange(*cut) + start, np.arange(end, last))
                rows.append(np.concatenate(own))
                samples.append(sample)
        lengths = np.array([0, *map(len, rows)], np.int64)
        at = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return at, lengths.cumsum(), np.array(samples, np.int64)


def _cuts(length: int, room: int, step: int, side: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each part; the last one ends with the sequence, or begins with it."""
    done = 0
    while True:
        until = min(done + room, length)
        yield (done, until) if side == "right" else (length - until, length - done)
        if until == length:
            return
        done += step
