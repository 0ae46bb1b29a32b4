"""Named sequences out of the files that people have: FASTA, FASTQ, tables, regions of a genome."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dnabert2_fast.errors import DataError
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.tables import is_table_or_lines, read_column

__all__ = ["Piece", "Span", "read_bed", "read_pieces"]


class Piece(NamedTuple):
    """A sequence and where it lies: `start` is the 0-based place of its first base in `contig`."""

    name: str
    contig: str
    start: int
    sequence: str


class Span(NamedTuple):
    """A region of a genome, 0-based half-open."""

    name: str
    contig: str
    start: int
    end: int


def read_pieces(
    path: str | os.PathLike[str],
    *,
    column: str = "sequence",
    regions: str | os.PathLike[str] | None = None,
    window_bp: int | None = None,
) -> Iterator[Piece]:
    """Yield the sequences of a file, in its order.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or gz, bgz, zst; a table (.csv, .tsv) or lines (.txt), whose rows are
        named by their number from 0; with `regions` a genome as `Reference` reads it.
    column : str
        Column of a table that holds the sequences.
    regions : path, optional
        BED file, plain or gz: each region is a sequence of the forward strand, in the file's order.
    window_bp : int, optional
        Cut sequences into windows of so many letters, named ``name:start-end``.

    Raises
    ------
    FastaError, DataError
        When a file is damaged, or a region is no place of the genome.
    """
    if regions is not None:
        genome = Reference(path)
        pieces: Iterator[Piece] = (
            Piece(s.name, s.contig, s.start, genome.fetch(s.contig, s.start, s.end))
            for s in read_bed(regions, genome)
        )
    elif is_table_or_lines(path):
        rows = enumerate(read_column(path, column))
        pieces = (Piece(str(i), str(i), 0, sequence) for i, sequence in rows)
    else:
        pieces = (Piece(r.name, r.name, 0, r.sequence) for r in read_fasta(path))
    for piece in pieces:
        if window_bp is None:
            yield piece
            continue
        for first in range(0, max(len(piece.sequence), 1), window_bp):
            window = piece.sequence[first : first + window_bp]
            start = piece.start + first
            yield Piece(
                f"{piece.contig}:{start}-{start + len(window)}", piece.contig, start, window
            )


def read_bed(path: str | os.PathLike[str], genome: Reference) -> list[Span]:
    r"""Return the regions of a BED file, plain or gz, in its order; the strand is not looked at.

    Raises
    ------
    DataError
        When a line is no BED or no place of the genome; names file and line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "x.bed")
    >>> _ = path.write_text("1\t2\t4\tpeak\n")
    >>> [span.name for span in read_bed(path, Reference({"1": "ACGTACGT"}))]
    ['peak']
    """
    spans = []
    try:
        text = Path(path).read_bytes()
        text = gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text
        lines = text.decode("utf-8-sig").splitlines()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged or cut off: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no BED: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        cells = line.split("\t")
        if len(cells) < 3 or not (cells[1].isdecimal() and cells[2].isdecimal()):
            raise DataError(f"{path}: line {number} is no BED: contig, start, end parted by tabs")
        contig, start, end = genome.resolve(cells[0]), int(cells[1]), int(cells[2])
        if contig is None or not start < end <= genome.length(contig):
            raise DataError(
                f"{path}: line {number}: {cells[0]}:{start}-{end} is no place of the genome"
            )
        name = cells[3] if len(cells) > 3 else f"{contig}:{start}-{end}"
        spans.append(Span(name, contig, start, end))
    return spans
