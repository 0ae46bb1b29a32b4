"""Numbers along a genome as bedGraph or bigWig, written as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.extras import needs

__all__ = ["TRACK_SUFFIXES", "Track", "is_track", "track"]

TRACK_SUFFIXES = (".bedgraph", ".bw", ".bigwig")  # in any letter case


def is_track(path: Path) -> bool:
    """Return whether a path is named like a track.

    >>> is_track(Path("x.bigWig"))
    True
    """
    return path.suffix.lower() in TRACK_SUFFIXES


class _Sink(Protocol):
    """What takes runs of equal values; `close` ends the file."""

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
        """Write one value per base from `start` (0-based) on; NaN leaves a base without one.

        Raises
        ------
        ValueError
            When the values lie outside its record, or before one that was written already.
        """
        end = start + len(values)
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
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        firsts = np.concatenate([[0], changes]).astype(np.int64)[: len(values)]
        ends = np.append(firsts[1:], len(values))[: len(firsts)]
        known = ~np.isnan(values[firsts])
        if known.any():
            runs = (start + firsts[known], start + ends[known])
            self._sink.put(name, *runs, values[firsts[known]].astype(np.float64))


@contextmanager
def track(path: str | os.PathLike[str], lengths: Mapping[str, int]) -> Iterator[Track]:
    """Open a track for writing; the file appears when the block ends well.

    Parameters
    ----------
    path : path
        ``.bedgraph`` (name, start, end, value; 0-based half-open), or ``.bw`` or ``.bigwig``
        (needs pyBigWig).
    lengths : mapping of str to int
        Bases of every sequence, in the order in which they will be written.

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
    if not is_track(path):
        raise ValueError(f"out: must end in {', '.join(TRACK_SUFFIXES)} (got {path.name}).")
    if path.suffix.lower() != ".bedgraph":
        check_utf8("out", path)
    with atomic_path(path) as temporary:
        kind = _BedGraph if path.suffix.lower() == ".bedgraph" else _BigWig
        with closing(kind(temporary, lengths)) as sink:
            yield Track(sink, lengths)


class _BedGraph:
    def __init__(self, path: Path, lengths: Mapping[str, int]) -> None:
        self._file = path.open("w", encoding="utf-8")

    def put(
        self,
        name: str,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> None:
        runs = zip(starts.tolist(), ends.tolist(), values.tolist(), strict=True)
        self._file.writelines(f"{name}\t{a}\t{b}\t{value:.6g}\n" for a, b, value in runs)

    def close(self) -> None:
        self._file.close()


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
