"""Windows of long sequences for `predict`, `evaluate` and the scores of `finetune`.

A sequence longer than the longest one of training is cut into windows of that length; the last one
ends with the sequence. Its answer is the mean of its windows' answers. Where windows of a task with
an answer per base overlap, the first one gives the answer. Pairs, and sequences with an answer per
token, are never cut.

Windows of `io.regions` are different: each is a sequence with its own results. So they never
overlap, and the last one may be shorter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dnabert2_fast.finetuning.task import Row

__all__ = ["Window", "chunks_of", "cut", "windows_of"]

CHUNK_WINDOWS = 4096
CHUNK_BP = 1 << 22  # bases in memory together, including the windows cut from them


class Window(NamedTuple):
    """A part of a record, or all of it, if it is not longer than a window."""

    name: str
    start_bp: int
    end_bp: int
    sequence: str
    pair: str | None
    new_bp: int  # end of the previous window
    is_last: bool


def cut(length_bp: int, window_bp: int, stride_bp: int) -> Iterator[tuple[int, int]]:
    """Yield windows, 0-based half-open: one every stride, the last one moved to the end.

    >>> list(cut(10, 4, 4)), list(cut(3, 4, 4))
    ([(0, 4), (4, 8), (6, 10)], [(0, 3)])
    """
    last = max(length_bp - window_bp, 0)
    for start in range(0, last, stride_bp):
        yield start, start + window_bp
    yield last, length_bp


def windows_of(rows: Iterable[Row], window_bp: int | None, stride_bp: int) -> Iterator[Window]:
    """Yield the windows of every row in order; each row is one of them if `window_bp` is None."""
    for row in rows:
        length, new = len(row.sequence), 0
        for start, end in cut(length, length if window_bp is None else window_bp, stride_bp):
            piece = row.sequence[start:end]
            yield Window(row.name, start, end, piece, row.pair, new, end == length)
            new = end


def chunks_of(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Yield windows in groups that are answered together."""
    chunk: list[Window] = []
    letters = 0
    for window in windows:
        chunk.append(window)
        letters += len(window.sequence) + len(window.pair or "")
        if len(chunk) == CHUNK_WINDOWS or letters >= CHUNK_BP:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk
