"""Random access to the windows of a corpus in memory-mapped files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast import _native
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.streams import refuse_url
from dnabert2_fast.corpus.format import (
    CONTENTS,
    ORIGIN,
    SPLITS,
    Split,
    map_shard,
    read_contents,
    shard_files,
)
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Corpus", "Window"]

WINDOWS_AT_ONCE = 4_096  # in memory while a corpus is iterated over


class Window(NamedTuple):
    """Origin of a window, 0-based half-open on the forward strand of a record.

    Attributes
    ----------
    file, record : str
        File, and name of the record in it.
    start, end : int
        Span in bases.
    strand : int
        1, or -1 for the reverse complement.
    species, group : str
        From the manifest; empty without one.
    """

    file: str
    record: str
    start: int
    end: int
    strand: int
    species: str
    group: str


class Corpus:
    r"""One memory-mapped split of a corpus folder.

    Opening reads no tokens, and a corpus may be larger than memory. A pickled corpus opens the same
    folder again, for worker processes.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">chr1\n" + "ACGTTGCA" * 50)
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> config = CorpusConfig(window_bp=100, valid_fraction=0)
    >>> corpus = build_corpus([folder / "x.fa"], folder / "c", tok, config)
    >>> len(corpus), corpus.where(3).record, corpus.where(3).start, corpus.where(3).end
    (4, 'chr1', 300, 400)
    >>> corpus.gather([3, 0])
    Ragged(2 sequences, 57 tokens)
    >>> tok.decode(corpus[-1])[:12]
    'TGCAACGTTGCA'
    """

    def __init__(self, folder: Path, split: Split, contents: dict[str, Any]) -> None:
        self.folder = folder
        self.split = split
        self._contents = contents
        numbered = enumerate(contents["shards"])
        self._shards = [{**s, "number": i} for i, s in numbered if s["split"] == split]
        self._first = np.cumsum([0, *(s["sequences"] for s in self._shards)])
        self._origins: tuple[int, pa.Table] | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], split: Split = "train") -> Corpus:
        r"""Open a finished corpus.

        Parameters
        ----------
        folder : path
        split : {"train", "valid"}

        Returns
        -------
        Corpus
            The split, memory-mapped.

        Raises
        ------
        CorpusError
            When the folder is not a corpus or is unfinished, a shard is missing or truncated, or
            the corpus lacks the split.

        Examples
        --------
        >>> import tempfile
        >>> from dnabert2_fast import build_corpus
        >>> from dnabert2_fast.corpus import CorpusConfig
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "x.fa").write_text(">a\n" + "ACGTTGCA" * 2000)
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> config = CorpusConfig(window_bp=100, valid_fraction=0.4)
        >>> _ = build_corpus([folder / "x.fa"], folder / "c", tok, config)
        >>> len(Corpus.open(folder / "c")), len(Corpus.open(folder / "c", "valid"))
        (96, 64)
        """
        folder = Path(folder)
        if split not in SPLITS:
            raise CorpusError(f'split: must be one of "train", "valid" (got "{split}").')
        contents = read_contents(folder)
        try:
            for number, shard in enumerate(contents["shards"]):
                _check_size(folder / shard_files(number)[0], shard["bytes"])
            return cls(folder, split, contents)
        except (KeyError, TypeError) as error:
            raise CorpusError(f"{folder / CONTENTS}: damaged: {error!r}") from None

    def in_split(self, split: Split) -> Corpus:
        """Return a split of the same corpus, without reading its files again.

        Parameters
        ----------
        split : {"train", "valid"}

        Returns
        -------
        Corpus
        """
        return Corpus(self.folder, split, self._contents)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self._first[-1])

    def __getitem__(self, window: SupportsIndex) -> npt.NDArray[np.uint16]:
        """Return the ids of one window, shape (tokens,); negative numbers count from the end."""
        return self.gather([range(len(self))[window]])[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint16]]:
        """Yield the ids of every window in order."""
        for start in range(0, len(self), WINDOWS_AT_ONCE):
            yield from self.gather(np.arange(start, min(start + WINDOWS_AT_ONCE, len(self))))

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}, split={self.split!r}, {len(self)} windows)"

    @property
    def tokens(self) -> int:
        """Tokens of all windows, special ones included."""
        return sum(shard["tokens"] for shard in self._shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ``tokenizer.json`` that the corpus was encoded with."""
        return str(self._contents["settings"]["tokenizer_sha256"])

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the build, inputs included."""
        return dict(self._contents["settings"])

    @property
    def read(self) -> list[dict[str, Any]]:
        """Bases, other letters and windows of each input file, both splits together."""
        return list(self._contents["read"])

    @property
    def by_species(self) -> dict[str, int]:
        """Tokens of every species."""
        counts: Counter[str] = Counter()
        for shard in self._shards:
            counts[shard["species"]] += shard["tokens"]
        return dict(counts)

    @property
    def weights(self) -> list[tuple[int, float]]:
        """Weights as pairs (number of consecutive windows, weight)."""
        return [(shard["sequences"], shard["weight"]) for shard in self._shards]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the corpus was encoded with; its file is in the folder."""
        settings = self._contents["settings"]
        return Tokenizer.from_pretrained(
            self.folder, case=settings["case"], unknown=settings["unknown"]
        )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of every window, shape (n,)."""
        return self.lengths_of(np.arange(len(self)))

    def lengths_of(self, windows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the number of tokens of the given windows, special ones included.

        Parameters
        ----------
        windows : array_like of int, shape (k,)
            Numbers of windows.

        Returns
        -------
        ndarray of int64, shape (k,)

        Raises
        ------
        IndexError
            When a number is not in ``[0, len(corpus))``.
        """
        return self._mapped.lengths(self._numbers(windows))

    def gather(self, windows: npt.ArrayLike) -> Ragged:
        r"""Return the given windows in the given order; ids include the special tokens.

        Parameters
        ----------
        windows : array_like of int, shape (k,)
            Numbers of windows, in any order; repetitions are allowed.

        Returns
        -------
        Ragged
            One row per window.

        Raises
        ------
        IndexError
            When a number is not in ``[0, len(corpus))``.
        ValueError
            When they are not integers; pass ``np.flatnonzero(mask)`` for a mask.

        Examples
        --------
        >>> import tempfile
        >>> from dnabert2_fast import build_corpus
        >>> from dnabert2_fast.corpus import CorpusConfig
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "x.fa").write_text(">a\nACGTACGTNNTTTTTTTTTT\n")
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> config = CorpusConfig(valid_fraction=0, min_bp=1)
        >>> corpus = build_corpus([folder / "x.fa"], folder / "c", tok, config)
        >>> [tok.decode(ids) for ids in corpus.gather([1, 0])]
        ['TTTTTTTTTT', 'ACGTACGT']
        """
        return Ragged(*self._mapped.gather(self._numbers(windows)))

    def where(self, window: int) -> Window:
        """Return the origin of a window; negative numbers count from the end.

        Parameters
        ----------
        window : int
            Number of the window.

        Returns
        -------
        Window
            File, record, span and strand.

        Raises
        ------
        IndexError
            When `window` is out of range.
        CorpusError
            When the table of origins cannot be read.
        """
        window = range(len(self))[window]
        shard = int(np.searchsorted(self._first, window, side="right")) - 1
        if self._origins is None or self._origins[0] != shard:
            self._origins = shard, self.origins_of(shard)
        row = self._origins[1].slice(window - self._first[shard], 1).to_pylist()[0]
        return Window(**row)

    def origins(self) -> pa.Table:
        """Return the origins of all windows as an Arrow table in memory, one row each.

        Returns
        -------
        pyarrow.Table
            Columns ``file``, ``record``, ``start``, ``end``, ``strand``, ``species`` and ``group``.
        """
        tables = [self.origins_of(shard) for shard in range(len(self._shards))]
        if not tables:
            return ORIGIN.empty_table()
        return pa.concat_tables([table.unify_dictionaries() for table in tables])

    def verify(self) -> None:
        """Check the checksum of every file of the folder, both splits.

        Raises
        ------
        CorpusError
            When a file has changed since it was written; names the first one.
        """
        sums = {file["name"]: file["xxh3"] for file in self._contents["others"]}
        for number, shard in enumerate(self._contents["shards"]):
            ids, origins = shard_files(number)
            sums |= {ids: shard["xxh3"], origins: shard["origins_xxh3"]}
        with progress(len(sums), "verifying", "files") as bar:
            for name, expected in sums.items():
                path = self.folder / name
                if not path.exists() or _native.checksum(path) != expected:
                    raise CorpusError(f"{path}: differs from its checksum. Build the corpus again.")
                bar.update()

    def _numbers(self, windows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        given = np.atleast_1d(windows)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            listed = windows if isinstance(windows, (list, tuple)) else [windows]
            if all(type(window) is int for window in listed):
                raise self._out_of_range(listed[0])  # beyond 64 bits
            # A boolean mask would mean the windows 0 and 1.
            what = f"{given.dtype} of shape {given.shape}"
            raise ValueError(f"windows: must be a list of integers (got {what}).")
        numbers = np.ascontiguousarray(given, dtype=np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise self._out_of_range(next(n for n in numbers.tolist() if not 0 <= n < len(self)))
        return numbers

    def _out_of_range(self, window: object) -> IndexError:
        return IndexError(f"windows are numbered 0 to {len(self) - 1} (got {window}).")

    @cached_property
    def shards(self) -> list[Ragged]:
        """Windows of each shard, memory-mapped; their numbers continue across shards."""
        refuse_url(self.folder)
        mapped = []
        for shard in self._shards:
            path = self.folder / shard_files(shard["number"])[0]
            _check_size(path, shard["bytes"])
            try:
                mapped.append(Ragged(*map_shard(path)))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise CorpusError(f"{path}: damaged: {error}. Build the corpus again.") from None
            if len(mapped[-1]) != shard["sequences"]:
                raise CorpusError(
                    f"{path}: has {len(mapped[-1]):,} windows, {CONTENTS} has "
                    f"{shard['sequences']:,}. Build the corpus again."
                )
        return mapped

    def origins_of(self, shard: int) -> pa.Table:
        """Return the origins of the windows of one of `shards`, one row each.

        Parameters
        ----------
        shard : int
            Position in `shards`.

        Returns
        -------
        pyarrow.Table
            The columns of `origins`.

        Raises
        ------
        CorpusError
            When the table cannot be read.
        """
        path = self.folder / shard_files(self._shards[shard]["number"])[1]
        try:
            with path.open("rb") as handle:
                return pq.read_table(handle).cast(ORIGIN)
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path}: cannot be read: {error}. Build the corpus again.") from None

    @cached_property
    def _mapped(self) -> _native.Shards:
        return _native.Shards(
            [
                _native.MappedShard(
                    path=self.folder / shard_files(shard["number"])[0],
                    bytes=shard["bytes"],
                    ids=ids.values,
                    offsets=ids.offsets,
                )
                for shard, ids in zip(self._shards, self.shards, strict=True)
            ]
        )

    def __reduce__(self) -> tuple[object, ...]:
        return Corpus.open, (self.folder, self.split)


def _check_size(path: Path, expected: int) -> None:
    found = path.stat().st_size if path.exists() else None
    if found != expected:
        what = "is missing" if found is None else f"has {found:,} bytes"
        raise CorpusError(f"{path}: {what} instead of {expected:,}. Build the corpus again.")
