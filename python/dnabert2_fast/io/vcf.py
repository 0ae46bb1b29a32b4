"""VCF files, compressed or not, line by line; a record keeps its text unchanged.

Lines are read as text. htslib would reformat numbers, and rejects contigs and fields that the
header does not declare.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import NamedTuple

from dnabert2_fast.errors import DataError
from dnabert2_fast.io.content import open_bytes

__all__ = ["VcfRecord", "read_vcf"]

# Maximum bytes of a line: a small compressed file can contain a line of any length.
MAX_LINE_BYTES = 1 << 30


class VcfRecord(NamedTuple):
    r"""A line of a VCF file, unchanged.

    Attributes
    ----------
    line : str
        Without the line break.
    chrom : str
    pos : int
        1-based.
    id, ref : str
    alts : tuple of str
        Empty for ``.``.

    Examples
    --------
    >>> record = VcfRecord("1\t9\t.\tA\tC,G\t.\t.\t.", "1", 9, ".", "A", ("C", "G"))
    >>> record.pos, record.alts
    (9, ('C', 'G'))
    """

    line: str
    chrom: str
    pos: int
    id: str
    ref: str
    alts: tuple[str, ...]


@contextmanager
def read_vcf(path: str | os.PathLike[str]) -> Iterator[tuple[list[str], Iterator[VcfRecord]]]:
    r"""Open a VCF file or pipe for reading, as a context manager.

    Parameters
    ----------
    path : path
        Plain, gz or bgz; ``-`` is standard input.

    Yields
    ------
    header : list of str
        Lines that begin with ``#``, without line ends.
    records : iterator of VcfRecord

    Raises
    ------
    DataError
        When it is not a VCF file, damaged, or cut off; names the line.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "x.vcf")
    >>> _ = path.write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    ...     "20\t7\trs1\tA\tC,AT\t.\tPASS\tAC=1\n")
    >>> with read_vcf(path) as (header, records):
    ...     [(record.pos, record.alts) for record in records]
    [(7, ('C', 'AT'))]
    """
    with open_bytes(path) as handle:
        lines = _numbered(path, handle)
        header = []
        for _, line in lines:
            header.append(line)
            if not line.startswith("##"):
                break
        if not header or not header[-1].startswith("#CHROM\t"):
            raise DataError(
                f"{path}: is not a VCF file: the line that begins with #CHROM is missing. "
                "Add the header."
            )
        yield header, (_parse(path, number, line) for number, line in lines)


def _numbered(path: str | os.PathLike[str], handle: BufferedReader) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(iter(lambda: handle.readline(MAX_LINE_BYTES + 1), b""), 1):
        if len(line) > MAX_LINE_BYTES:
            raise DataError(
                f"{path}:{number}: has more than {MAX_LINE_BYTES:,} bytes. "
                "Check that it is a VCF file."
            )
        # Bytes that are not UTF-8 are written back unchanged.
        yield number, line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _parse(path: str | os.PathLike[str], number: int, line: str) -> VcfRecord:
    cells = line.split("\t", 8)
    alts = tuple(cells[4].split(",")) if len(cells) >= 8 else ()
    if not (alts and all(alts) and cells[1].isdecimal() and len(cells[1]) < 40 and cells[3]):
        raise DataError(
            f"{path}:{number}: is not a VCF record (got {line[:40]!r}, expected 8 tab-separated "
            "columns, a whole number as POS, and no empty REF or ALT). Correct or delete the line."
        )
    alts = () if alts == (".",) else alts
    return VcfRecord(line, cells[0], int(cells[1]), cells[2], cells[3], alts)
