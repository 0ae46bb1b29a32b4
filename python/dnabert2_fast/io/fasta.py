"""Sequence files, one record at a time: FASTA and FASTQ, plain or gzip, bgzip, zstd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dnabert2_fast import _native

__all__ = ["FastaRecord", "read_chunks", "read_fasta"]

CHUNK_BP = 1 << 23

# Letters of the longest record that is read whole: a small packed file can hold any number.
MAX_RECORD_BP = 1 << 32


class FastaRecord(NamedTuple):
    r"""One entry of a sequence file.

    Attributes
    ----------
    name : str
        The header up to the first white space, without ``>`` or ``@``.
    sequence : str
        The letters as they stand in the file, line breaks removed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "x.fa")
    >>> _ = path.write_text(">chr1 first\nACGT\nnn\n")
    >>> for record in read_fasta(path):
    ...     print(record.name, record.sequence)
    chr1 ACGTnn
    """

    name: str
    sequence: str


def read_fasta(path: str | os.PathLike[str]) -> Iterator[FastaRecord]:
    r"""Yield the records of a file; memory holds one of them at a time.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain, gz, bgz or zst; what it is is seen from its bytes.

    Yields
    ------
    FastaRecord

    Raises
    ------
    FastaError
        When the file is neither FASTA nor FASTQ, damaged, cut off, or has a record of more than
        4 Gb; names record and line.
    OSError
        When it cannot be read.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.fa")
    >>> _ = open(path, "w").write(">a first\nACGT\nNN\n>b\nTT\n")
    >>> [(record.name, record.sequence) for record in read_fasta(path)]
    [('a', 'ACGTNN'), ('b', 'TT')]
    """
    return (FastaRecord(*pair) for pair in _native.FastaReader(Path(path), MAX_RECORD_BP))


def read_chunks(
    path: str | os.PathLike[str],
) -> Iterator[tuple[list[str], list[str | bytes]]]:
    """Yield names and sequences of some records at a time, about `CHUNK_BP` letters together."""
    names: list[str] = []
    sequences: list[str | bytes] = []
    waiting = 0
    for record in read_fasta(path):
        names.append(record.name)
        sequences.append(record.sequence)
        waiting += len(record.sequence)
        if waiting >= CHUNK_BP:
            yield names, sequences
            names, sequences, waiting = [], [], 0
    if names:
        yield names, sequences
