"""Sequence files, one record at a time: FASTA and FASTQ, plain or gzip, bgzip, zstd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dnabert2_fast import _native

__all__ = ["Record", "read_fasta"]


class Record(NamedTuple):
    """One entry of a sequence file.

    Attributes
    ----------
    name : str
        The header up to the first white space, without ``>`` or ``@``.
    sequence : str
        The letters as they stand in the file, line breaks removed.
    """

    name: str
    sequence: str


def read_fasta(path: str | os.PathLike[str]) -> Iterator[Record]:
    r"""Yield the records of a file; memory holds one of them at a time.

    Raises
    ------
    FastaError
        When the file is neither FASTA nor FASTQ, damaged, or cut off; names record and line.
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
    return (Record(*pair) for pair in _native.FastaReader(Path(path)))
