"""FASTA and FASTQ, compressed or not, from files or pipes, one record at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, cast

from dnabert2_fast import _native
from dnabert2_fast.io.content import open_input

__all__ = ["FastaRecord", "read_chunks", "read_fasta"]

CHUNK_BP = 1 << 23

# Maximum letters of a record: a small compressed file can contain any number.
MAX_RECORD_BP = 1 << 32


class FastaRecord(NamedTuple):
    r"""One entry of a sequence file.

    Attributes
    ----------
    name : str
        The header up to the first white space, without ``>`` or ``@``.
    sequence : str
        The letters as in the file, white space removed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "x.fa")
    >>> _ = path.write_text(">chr1 first\nACGT\nnn\n")
    >>> for record in read_fasta(path):
    ...     print(record.name, record.sequence)
    chr1 ACGTnn
    """

    name: str
    sequence: str


_record = cast(
    Callable[[tuple[str, str]], FastaRecord], partial(tuple.__new__, FastaRecord)
)  # `FastaRecord._make`, without Python code


def read_fasta(path: str | os.PathLike[str], *, rna: bool = False) -> Iterator[FastaRecord]:
    r"""Yield the records of a file; one of them is in memory at a time.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or compressed (gzip, bgzip, zstd, bzip2, xz), as detected from the
        bytes. Pipes are read like files; ``-`` is standard input.
    rna : bool
        Read U as T.

    Yields
    ------
    FastaRecord

    Raises
    ------
    FastaError
        When the file is neither FASTA nor FASTQ, damaged, cut off, has digits among the letters,
        or has a record of more than 4 Gb; names record and line.
    OSError
        When it cannot be read.

    Warns
    -----
    InputWarning
        When a bgzip file lacks its last block, or the letters are those of RNA and `rna` is False.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.fa")
    >>> _ = open(path, "w").write(">a first\nACGT\nNN\n>b\nTT\n")
    >>> [(record.name, record.sequence) for record in read_fasta(path)]
    [('a', 'ACGTNN'), ('b', 'TT')]
    """
    return records_of(open_input(path), rna=rna)


def records_of(opened: _native.Input, *, rna: bool) -> Iterator[FastaRecord]:
    """Yield the records of an open file."""
    return map(_record, _native.FastaReader(opened, max_letters=MAX_RECORD_BP, rna=rna))


def read_chunks(
    path: str | os.PathLike[str], *, rna: bool = False
) -> Iterator[tuple[list[str], list[str | bytes]]]:
    """Yield names and sequences of some records at a time.

    Parameters
    ----------
    path : path
        FASTA or FASTQ.
    rna : bool
        Read U as T.

    Yields
    ------
    names : list of str
    sequences : list of str or bytes
        About `CHUNK_BP` letters together.
    """
    names: list[str] = []
    sequences: list[str | bytes] = []
    waiting = 0
    for record in read_fasta(path, rna=rna):
        names.append(record.name)
        sequences.append(record.sequence)
        waiting += len(record.sequence)
        if waiting >= CHUNK_BP:
            yield names, sequences
            names, sequences, waiting = [], [], 0
    if names:
        yield names, sequences
