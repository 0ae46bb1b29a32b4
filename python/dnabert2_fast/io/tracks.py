"""Streaming writers of numbers along a genome (bedGraph, bigWig) and of segments (BED)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.streams import PACKED, text_output

__all__ = ["SEGMENT_SUFFIX", "TRACK_SUFFIXES", "Track", "is_segments", "is_track", "track"]

TRACK_SUFFIXES = (".bedgraph", ".bw", ".bigwig")  # in any letter case
SEGMENT_SUFFIX = ".bed"


def is_track(path: Path) -> bool:
    """Return whether a path has the suffix of a track.

    >>> is_track(Path("x.bigWig")), is_track(Path("x.bedGraph.gz")), is_track(Path("x.bw.gz"))
    (True, True, False)
    """
    return _suffix(path) in TRACK_SUFFIXES


def is_segments(path: Path) -> bool:
    """Return whether a path has the suffix of a BED file.

    >>> is_segments(Path("x.bed.bgz")), is_segments(Path("x.bedgraph"))
    (True, False)
    """
    return _suffix(path) == SEGMENT_SUFFIX


def _suffix(path: Path) -> str:
    """Return the suffix of the format, without that of compression."""
    if path.suffix.lower() in PACKED:
        inner = path.with_suffix("").suffix.lower()
        return inner if inner in (".bedgraph", SEGMENT_SUFFIX) else ""
    return path.suffix.lower()


class _Sink(Protocol):
    """Writes runs of equal values; `close` writes the last one."""

    def put(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None: ...

    def close(self) -> None: ...


class Track:
    """A track that is being written; made by `track`."""

    def __init__(self, sink: _Sink, lengths: Mapping[str, int]) -> None:
        self._sink, self._lengths = sink, lengths
        self._rank = {name: i for i, name in enumerate(lengths)}
        self._at = (0, 0)

    def add(self, name: str, start: int, values: npt.NDArray[np.floating]) -> None:
        """Write one value per base; NaN leaves a base without one.

        Parameters
        ----------
        name : str
            Record.
        start : int
            First base, 0-based.
        values : ndarray of float, shape (n,)
            Values of bases `start` to ``start + n - 1``.

        Raises
        ------
        ValueError
            When positions are outside the record, or before written ones.
        """
        starts = np.arange(start, start + len(values))
        self.add_runs(name, starts, starts + 1, values)

    def add_runs(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.floating],
    ) -> None:
        """Write one value per span; spans ascend and do not overlap. NaN leaves one out.

        Parameters
        ----------
        name : str
            Record.
        starts, ends : ndarray of int64, shape (n,)
            Spans, 0-based half-open.
        values : ndarray of float, shape (n,)
            Value of each span.

        Raises
        ------
        ValueError
            As `add`.
        """
        if not len(values):
            return
        start, end = int(starts[0]), int(ends[-1])
        if name not in self._rank or start < 0 or end > self._lengths[name]:
            raise ValueError(
                f"track: {name}:{start}-{end} lies outside the sequences of the track."
            )
        if (self._rank[name], start) < self._at:
            raise ValueError(
                f"track: {name}:{start}-{end} overlaps or precedes values that are already "
                "written. Write each base once, in the order of the sequences."
            )
        self._at = (self._rank[name], end)
        # Adjacent spans with one value are one run.
        new = (values[1:] != values[:-1]) | (starts[1:] != ends[:-1])
        firsts = np.concatenate([[0], np.flatnonzero(new) + 1])
        lasts = np.append(firsts[1:], len(values)) - 1
        known = ~np.isnan(values[firsts])
        if known.any():
            runs = (starts[firsts[known]], ends[lasts[known]])
            self._sink.put(name, *runs, values[firsts[known]].astype(np.float64))


@contextmanager
def track(
    path: str | os.PathLike[str], lengths: Mapping[str, int], *, label: str = "."
) -> Iterator[Track]:
    """Open a track for writing; the file appears when the block succeeds.

    Parameters
    ----------
    path : path
        ``.bedgraph`` (name, start, end, value; 0-based half-open), ``.bw`` or ``.bigwig`` (needs
        pyBigWig), or ``.bed``: a segment for each run of adjacent values, with 1,000 times their
        mean as score. Text that ends in ``.gz`` or ``.bgz`` too is bgzip.
    lengths : mapping of str to int
        Bases of every sequence, in the order of writing.
    label : str
        Name of the segments of a ``.bed``.

    Yields
    ------
    Track

    Raises
    ------
    ValueError
        When `path` has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "x.bedgraph")
    >>> with track(path, {"1": 9}) as opened:
    ...     opened.add("1", 2, np.array([0.5, 0.5, np.nan, 1.0]))
    >>> path.read_text().split()
    ['1', '2', '4', '0.5', '1', '5', '6', '1']
    """
    path = Path(path)
    if not (is_track(path) or is_segments(path)):
        raise ValueError(f"out: must end in {', '.join(TRACK_SUFFIXES)} (got {path.name}).")
    if _suffix(path) not in (".bw", ".bigwig"):
        with text_output(path) as text:
            sink = _Bed(text, label) if is_segments(path) else _BedGraph(text)
            yield Track(sink, lengths)
            sink.close()
        return
    check_utf8("out", path)
    with atomic_path(path) as temporary, closing(_BigWig(temporary, lengths)) as big:
        yield Track(big, lengths)


class _BedGraph:
    def __init__(self, text: IO[bytes]) -> None:
        self._text = text

    def put(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None:
        runs = zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True)
        lines = "".join(f"{name}\t{a}\t{b}\t{value:.6g}\n" for a, b, value in runs)
        self._text.write(lines.encode())

    def close(self) -> None:
        pass


class _Bed:
    def __init__(self, text: IO[bytes], label: str) -> None:
        self._text, self._label = text, label
        self._name, self._start, self._end, self._sum = "", 0, 0, 0.0

    def put(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None:
        for start, end, value in zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True):
            if (name, start) != (self._name, self._end):
                self.close()
                self._name, self._start, self._sum = name, start, 0.0
            self._end = end
            self._sum += value * (end - start)

    def close(self) -> None:
        """Write the last segment; more may follow."""
        if self._end > self._start:
            score = round(1000 * self._sum / (self._end - self._start))
            cells = (self._name, self._start, self._end, self._label, score, ".")
            self._text.write(("\t".join(map(str, cells)) + "\n").encode())
        self._start = self._end


class _BigWig:
    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        with needs("a bigWig file"):
            import pyBigWig

        self._file: Any = pyBigWig.open(os.fspath(path), "w")
        self._file.addHeader(list(lengths.items()))

    def put(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None:
        self._file.addEntries(
            [name] * len(starts), starts.tolist(), ends=ends.tolist(), values=values.tolist()
        )

    def close(self) -> None:
        self._file.close()
