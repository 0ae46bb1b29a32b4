"""Open an input file once, without seeking, and decompress it; every reader uses this.

Compression is detected from the bytes (gzip, bgzip, zstd, bzip2, xz). A byte-order mark is removed,
and a carriage return alone ends a line. Pipes are read like files; ``-`` is standard input.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dnabert2_fast import _native
from dnabert2_fast.errors import DataError, FastaError, InputWarning

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["TableLetters", "as_bytes", "is_sequence_file", "letters_of", "open_bytes", "open_input"]

T = TypeVar("T")


def open_input(path: str | os.PathLike[str]) -> _native.Input:
    """Open a file; `head` has its first bytes, `as_bytes` or a reader reads all of it.

    Raises
    ------
    FastaError
        When its format is not supported, such as zip, CRAM or 2bit; names the remedy.
    OSError
        When it cannot be read.
    """
    return _native.Input(Path(path))


def open_bytes(path: str | os.PathLike[str]) -> io.BufferedReader:
    r"""Open a file to read its decompressed bytes.

    Raises
    ------
    DataError
        When it is damaged or its format is not supported; reading may raise it too.
    OSError
        When it cannot be read.

    Examples
    --------
    >>> import gzip, tempfile
    >>> path = Path(tempfile.mkdtemp(), "x.bed")
    >>> _ = path.write_bytes(gzip.compress(b"chr1\t0\t9\n"))
    >>> open_bytes(path).read()
    b'chr1\t0\t9\n'
    """
    return as_bytes(_as_table(lambda: open_input(path)))


def as_bytes(opened: _native.Input) -> io.BufferedReader:
    """Return the bytes of an open file."""
    return io.BufferedReader(_Content(opened), 1 << 17)


def is_sequence_file(opened: _native.Input) -> bool:
    """Return whether the content of an open file looks like FASTA or FASTQ."""
    return opened.head.lstrip()[:1] in (b">", b"@")


def letters_of(text: str, where: str, *, rna: bool = False) -> str:
    """Return a table's sequence without white space, as in FASTA; digits are an error.

    Parameters
    ----------
    text : str
    where : str
        File and row, for messages.
    rna : bool
        Read U as T.

    Raises
    ------
    DataError
        When the sequence has a digit.

    Examples
    --------
    >>> letters_of(" ACGU acgu", "x.csv: row 0", rna=True)
    'ACGTacgt'
    """
    if not text.isalpha():
        text = "".join(text.split())
        digit = next((letter for letter in text if letter in "0123456789"), None)
        if digit is not None:
            raise DataError(f"{where}: the sequence has the digit {digit!r}. Remove it.")
    return text.translate(_RNA) if rna else text


class TableLetters:
    """Applies `letters_of` to the rows of one table; warns of RNA like the FASTA reader.

    Parameters
    ----------
    path : path
    rna : bool
        Read U as T.
    """

    def __init__(self, path: str | os.PathLike[str], *, rna: bool) -> None:
        self._path, self._rna, self._undecided = path, rna, not rna

    def __call__(self, text: str, where: str) -> str:
        """Return the letters of a row; the first row with T or U decides about RNA."""
        if self._undecided:
            upper = text.upper()
            self._undecided = "T" not in upper and "U" not in upper
            bases = sum(map(upper.count, "ACGU"))
            if "U" in upper and "T" not in upper and 10 * bases > 9 * len(upper):
                warnings.warn(
                    f"{self._path}: has U and no T, as RNA has it, and U has no token. Read U as T "
                    "with --rna (rna=True).",
                    InputWarning,
                    stacklevel=2,
                )
        return letters_of(text, where, rna=self._rna)


_RNA = str.maketrans("Uu", "Tt")


class _Content(io.RawIOBase):
    """The decompressed bytes of an open file as a file object."""

    def __init__(self, opened: _native.Input) -> None:
        self._input = opened
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._left:
            self._left = memoryview(_as_table(self._input.read))
        target = memoryview(buffer)
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _as_table(work: Callable[[], T]) -> T:
    """Call `work`; raise its `FastaError` as `DataError`, for tables and lists."""
    try:
        return work()
    except FastaError as error:
        raise DataError(str(error)) from None
