"""Windows of long sequences for `predict`, `evaluate` and the scores of `finetune`.

A sequence longer than the longest one of training is cut into windows of that length; the last one
ends with the sequence. Its answer is the mean of its windows' answers. Where windows of a task with
an answer per base overlap, the first one gives the answer. Pairs, and sequences with an answer per
token, are never cut.

Along a genome the windows belong to bins of one stride: the window around the middle of a bin
answers for it, so the model reads the same number of bases on both sides.

Windows of `io.regions` are different: each is a sequence with its own results. So they never
overlap, and the last one may be shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dnabert2_fast.finetuning.rows import Row
from dnabert2_fast.io.regions import Span
from dnabert2_fast.io.strand import reverse_complement

__all__ = [
    "Region",
    "Window",
    "bins_of",
    "chunks_of",
    "cut",
    "has_bases",
    "windows_along",
    "windows_of",
]

CHUNK_WINDOWS = 4096
CHUNK_BP = 1 << 22  # bases in memory together, including the windows cut from them


class Window(NamedTuple):
    """A part of a record or region, or all of it, if it is not longer than a window.

    Attributes
    ----------
    row : int
        Number of the record or region.
    name : str
    start_bp, end_bp : int
        Position in the record, or of a region in its contig.
    own_start_bp, own_end_bp : int
        The bases that this window answers for.
    sequence : str
        As the model reads it.
    pair : str or None
    is_last : bool
        Whether it is the last one of its row.
    reverse : bool
        Whether `sequence` is the reverse complement.
    contig : str
    row_start_bp, row_end_bp : int
        The region in its contig.
    """

    row: int
    name: str
    start_bp: int
    end_bp: int
    own_start_bp: int
    own_end_bp: int
    sequence: str
    pair: str | None = None
    is_last: bool = True
    reverse: bool = False
    contig: str = ""
    row_start_bp: int = 0
    row_end_bp: int = 0


class Region(NamedTuple):
    """A span of a genome, the bases of its contig, and a function that reads them by position."""

    span: Span
    contig_bp: int
    fetch: Callable[[int, int], str]


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
    for number, row in enumerate(rows):
        length, new = len(row.sequence), 0
        for start, end in cut(length, length if window_bp is None else window_bp, stride_bp):
            piece, last = row.sequence[start:end], end == length
            yield Window(number, row.name, start, end, new, end, piece, row.pair, last)
            new = end


def bins_of(
    span: Span, contig_bp: int, window_bp: int, stride_bp: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the start of each window, and start and end of the bases that its answer is for.

    A region is cut into bins of `stride_bp`. The window lies around the middle of its bin, moved
    into the contig at its ends. A window that several bins share is one.

    >>> list(bins_of(Span("", "1", 10, 40), 1000, 20, 10))
    [(5, 10, 20), (15, 20, 30), (25, 30, 40)]
    >>> list(bins_of(Span("", "1", 10, 14), 1000, 20, 20))
    [(2, 10, 14)]
    >>> list(bins_of(Span("", "1", 0, 27), 27, 20, 10))
    [(0, 0, 10), (5, 10, 20), (7, 20, 27)]
    """
    window_bp = min(window_bp, contig_bp)
    before = (window_bp - min(stride_bp, span.end - span.start)) // 2
    found: tuple[int, int, int] | None = None
    for own in range(span.start, span.end, stride_bp):
        start = min(max(own - before, 0), contig_bp - window_bp)
        own_end = min(own + stride_bp, span.end)
        if found is not None and found[0] == start:
            found = (start, found[1], own_end)
            continue
        if found is not None:
            yield found
        found = (start, own, own_end)
    if found is not None:
        yield found


def windows_along(regions: Iterable[Region], window_bp: int, stride_bp: int) -> Iterator[Window]:
    """Yield the windows of `bins_of` for each region, by ascending position."""
    for row, (span, contig_bp, fetch) in enumerate(regions):
        for start, own, own_end in bins_of(span, contig_bp, window_bp, stride_bp):
            end, back = min(start + window_bp, contig_bp), span.strand == "-"
            read = reverse_complement(fetch(start, end)) if back else fetch(start, end)
            yield Window(
                row,
                span.name,
                start,
                end,
                own,
                own_end,
                read,
                is_last=own_end == span.end,
                reverse=back,
                contig=span.contig,
                row_start_bp=span.start,
                row_end_bp=span.end,
            )


def has_bases(sequence: str) -> bool:
    """Return whether at least half of the characters are bases; others are not predicted.

    >>> has_bases("ACNN"), has_bases("ANNN")
    (True, False)
    """
    return 2 * sum(map(sequence.count, "ACGTacgt")) >= len(sequence)


def chunks_of(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Yield windows in groups that are computed together."""
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
