"""Long sequences in windows, as `predict`, `evaluate` and the scores of `finetune` all read them.

A sequence with more letters than the longest one of training is cut into windows of that length,
the last of which ends with the sequence; its answer is the mean of its windows' answers. Where
windows of a task with an answer for each base overlap, the first one gives the answer. Pairs, and
sequences with an answer for each token, are never cut.

Windows of `io.regions` are another thing: each is a sequence with results of its own, hence they
never overlap, and the last one is as long as what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dnabert2_fast.finetuning.task import Row

__all__ = ["Window", "chunks_of", "cut", "windows_of"]

CHUNK_WINDOWS = 4096
CHUNK_BP = 1 << 22  # letters that are in memory together, windows cut from them included


class Window(NamedTuple):
    """A piece of a record: all of it, if it is no longer than a window."""

    name: str
    start_bp: int
    end_bp: int
    sequence: str
    pair: str | None
    new_bp: int  # where the window before has ended
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
    """Yield the windows of every row in turn; each row is one of them if `window_bp` is None."""
    for row in rows:
        length, new = len(row.sequence), 0
        for start, end in cut(length, length if window_bp is None else window_bp, stride_bp):
            piece = row.sequence[start:end]
            yield Window(row.name, start, end, piece, row.pair, new, end == length)
            new = end


def chunks_of(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Yield as many windows as are answered together."""
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
