"""Named sequences and windows from FASTA, FASTQ, tables, and regions of a genome."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.errors import DataError
from dnabert2_fast.io.content import open_bytes, open_input
from dnabert2_fast.io.fasta import records_of
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.io.tables import delimiter_of, values_of

__all__ = [
    "OrderedPieces",
    "Piece",
    "SequenceFile",
    "Span",
    "read_bed",
    "read_in_order",
    "read_pieces",
    "read_spans",
]


TRACK_LINES = ("track", "browser")  # first words of lines that only a genome browser reads
STRANDS = {"+": "+", "-": "-", ".": "+", "": "+"}  # strand by the sixth column of BED


class Piece(NamedTuple):
    """A sequence and its position, 0-based half-open in coordinates of the contig.

    On the strand ``-`` the sequence is the reverse complement of the contig's bases.

    Attributes
    ----------
    name : str
        Name of the sequence in outputs.
    contig : str
        Record that contains it.
    start : int
        First base, 0-based.
    sequence : str
        As read, on `strand`.
    strand : str
        ``"+"`` or ``"-"``.

    Examples
    --------
    >>> Piece("peak", "chr1", 4, "AACG", "-").forward
    'CGTT'
    """

    name: str
    contig: str
    start: int
    sequence: str
    strand: str = "+"

    @property
    def end(self) -> int:
        """One past the last base in the contig."""
        return self.start + len(self.sequence)

    @property
    def forward(self) -> str:
        """The contig's bases from `start` to `end`."""
        return reverse_complement(self.sequence) if self.strand == "-" else self.sequence


class Span(NamedTuple):
    """A region of a genome, 0-based half-open.

    Attributes
    ----------
    name : str
        Name in outputs.
    contig : str
        Record of the genome.
    start, end : int
        Span in bases.
    strand : str
        Strand that is read, ``"+"`` or ``"-"``.
    score : str
        Fifth column of the BED file, unchanged.
    """

    name: str
    contig: str
    start: int
    end: int
    strand: str = "+"
    score: str = "."


@dataclass(frozen=True)
class SequenceFile:
    r"""A file of sequences, the regions to read, and the length of windows.

    A function that takes one also takes a path, and reads ``SequenceFile(path)``.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, compressed or not, or a pipe; a table (.csv, .tsv) or lines (.txt), whose
        rows are named by their number from 0; with `regions` a genome as `Reference` reads it. The
        content decides first: a .txt that begins with ``>`` is FASTA, and a file without a suffix
        whose first line names `column` is a table.
    column : str
        Column of a table that holds the sequences.
    regions : path, optional
        BED file or pipe: contig, start, end (0-based half-open), and name and strand if there are
        any. A region on the strand ``-`` is the reverse complement; no base outside it is read.
    window_bp : int, optional
        Cut longer sequences into windows of this length, named ``contig:start-end`` (0-based,
        half-open; ``(-)`` follows on that strand). They begin at the first base of the sequence as
        it is read; the last one is as long as what is left.
    rna : bool
        Read U as T.

    Raises
    ------
    ValueError
        When `window_bp` is less than 1.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "x.fa")
    >>> _ = path.write_text(">chr1\nACGTTGCA\n")
    >>> [(piece.name, piece.sequence) for piece in read_pieces(SequenceFile(path, window_bp=5))]
    [('chr1:0-5', 'ACGTT'), ('chr1:5-8', 'GCA')]
    """

    path: str | os.PathLike[str]
    column: str = "sequence"
    regions: str | os.PathLike[str] | None = None
    window_bp: int | None = None
    rna: bool = False

    def __post_init__(self) -> None:
        check_at_least("window_bp", self.window_bp, 1)

    @classmethod
    def of(cls, source: SequenceFile | str | os.PathLike[str]) -> SequenceFile:
        """Return `source`, or for a path its file: all sequences, without windows.

        Parameters
        ----------
        source : SequenceFile or path
            A path means all sequences of the file, without windows.

        Returns
        -------
        SequenceFile

        Examples
        --------
        >>> SequenceFile.of("x.fa").column
        'sequence'
        """
        return source if isinstance(source, SequenceFile) else cls(source)


class OrderedPieces(NamedTuple):
    """Sequences in the order of a track.

    Attributes
    ----------
    contig_lengths : dict of str to int
        Bases of each contig, in order.
    sequence_count, max_bp, total_bp : int
        Number of sequences, bases of the longest one, and bases of all together.
    pieces : iterator of Piece
    """

    contig_lengths: dict[str, int]
    sequence_count: int
    max_bp: int
    total_bp: int
    pieces: Iterator[Piece]


def read_pieces(source: SequenceFile | str | os.PathLike[str]) -> Iterator[Piece]:
    r"""Yield the sequences of a file, or of regions of it, in the order of the file.

    Parameters
    ----------
    source : SequenceFile or path

    Yields
    ------
    Piece
        Regions come in the order of the BED file.

    Raises
    ------
    FastaError, DataError
        When a file is damaged, or a region does not lie in the genome.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.csv").write_text("dna,label\nACGT,1\nTTGA,0\n")
    >>> list(read_pieces(SequenceFile(folder / "x.csv", column="dna")))[1]
    Piece(name='1', contig='1', start=0, sequence='TTGA', strand='+')
    """
    source = SequenceFile.of(source)
    if source.regions is None:
        return _windows(_sequences(source), source.window_bp)
    genome = Reference(source.path, rna=source.rna)
    return _windows(_fetched(read_bed(source.regions, genome), genome), source.window_bp)


def read_in_order(
    source: SequenceFile | str | os.PathLike[str], *, disjoint: bool = False
) -> OrderedPieces:
    """Return the sequences of a file by ascending position in their contigs; reads a file twice.

    Parameters
    ----------
    source : SequenceFile or path
    disjoint : bool
        Refuse regions that overlap, because a track has one value per base.

    Raises
    ------
    FastaError, DataError
        When a file is damaged, two records have one name, a region does not lie in the genome, or
        regions overlap.
    """
    source = SequenceFile.of(source)
    if source.regions is None:
        require_file(source.path, "its sequences are read twice, as their lengths come first")
        lengths: dict[str, int] = {}
        for piece in _sequences(source):
            if piece.contig in lengths:
                raise DataError(
                    f"{source.path}: two records have the name {piece.contig}. Rename one of them."
                )
            lengths[piece.contig] = len(piece.sequence)
        sizes, pieces = list(lengths.values()), _sequences(source)
    else:
        genome = Reference(source.path, rna=source.rna)
        lengths = genome.lengths
        spans = read_spans(source.regions, genome, disjoint=disjoint)
        sizes, pieces = [span.end - span.start for span in spans], _fetched(spans, genome)
    max_bp, count = max(sizes, default=0), len(sizes)
    if source.window_bp is not None:
        count = sum(max(-(-size // source.window_bp), 1) for size in sizes)
        max_bp = min(max_bp, source.window_bp)
    windows = _windows(pieces, source.window_bp, ascending=True)
    return OrderedPieces(lengths, count, max_bp, sum(sizes), windows)


def read_spans(
    regions: str | os.PathLike[str], genome: Reference, *, disjoint: bool = False
) -> list[Span]:
    """Return the regions of a BED file in the order of the genome.

    Raises
    ------
    DataError
        As `read_bed`, or when `disjoint` is True and two overlap.
    """
    rank = {name: i for i, name in enumerate(genome.lengths)}
    spans = read_bed(regions, genome)
    spans.sort(key=lambda span: (rank[span.contig], span.start, span.end))
    if disjoint:
        _require_disjoint(spans, regions)
    return spans


def _sequences(source: SequenceFile) -> Iterator[Piece]:
    """Yield whole records, or rows of a table."""
    opened = open_input(source.path)
    delimiter = delimiter_of(opened, source.path, source.column)
    if delimiter is None:
        for name, sequence in records_of(opened, rna=source.rna):
            yield Piece(name, name, 0, sequence)
        return
    values = values_of(opened, source.path, source.column, delimiter, rna=source.rna)
    for number, sequence in enumerate(values):
        yield Piece(str(number), str(number), 0, sequence)


def _fetched(spans: Iterable[Span], genome: Reference) -> Iterator[Piece]:
    """Yield the bases of regions."""
    for name, contig, start, end, strand, _ in spans:
        bases = genome.fetch(contig, start, end)
        read = reverse_complement(bases) if strand == "-" else bases
        yield Piece(name, contig, start, read, strand)


def _windows(
    pieces: Iterable[Piece], window_bp: int | None, *, ascending: bool = False
) -> Iterator[Piece]:
    """Yield windows of pieces as they are read, or by position in the contig.

    A piece that fits into one window is unchanged.
    """
    for piece in pieces:
        if window_bp is None or len(piece.sequence) <= window_bp:
            yield piece
            continue
        firsts = range(0, len(piece.sequence), window_bp)
        back = piece.strand == "-"
        for first in reversed(firsts) if back and ascending else firsts:
            window = piece.sequence[first : first + window_bp]
            start = piece.end - first - len(window) if back else piece.start + first
            name = _region_name(piece.contig, start, start + len(window), piece.strand)
            yield Piece(name, piece.contig, start, window, piece.strand)


def _region_name(contig: str, start: int, end: int, strand: str) -> str:
    """Return the name of a region without one, as `bedtools getfasta -s` writes the strand ``-``.

    >>> _region_name("chr1", 4, 9, "+"), _region_name("chr1", 4, 9, "-")
    ('chr1:4-9', 'chr1:4-9(-)')
    """
    return f"{contig}:{start}-{end}" + "(-)" * (strand == "-")


def _require_disjoint(spans: list[Span], path: str | os.PathLike[str]) -> None:
    for one, other in pairwise(spans):
        if one.contig == other.contig and other.start < one.end:
            raise DataError(
                f"{path}: {one.contig}:{one.start}-{one.end} and {other.start}-{other.end} "
                "overlap, and a track has one value per base. Write a table instead, or merge them."
            )


def read_bed(path: str | os.PathLike[str], genome: Reference) -> list[Span]:
    r"""Return the regions of a BED file or pipe, in the order of its lines.

    The strand is in the sixth column; ``.`` or a missing column means ``+``.

    Parameters
    ----------
    path : path
        BED file; ``-`` is standard input.
    genome : Reference
        Must contain the regions.

    Returns
    -------
    list of Span

    Raises
    ------
    DataError
        When a line is not BED or not a span of the genome; names file and line.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "x.bed")
    >>> _ = path.write_text("1\t2\t4\tpeak\t0\t-\n")
    >>> [(span.name, span.strand) for span in read_bed(path, Reference({"1": "ACGTACGT"}))]
    [('peak', '-')]
    """
    spans = []
    try:
        with open_bytes(path) as handle:
            lines = handle.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not a BED file ({error}). Save it as text in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        numbers = [cell.isascii() and cell.isdecimal() for cell in cells[1:3]] == [True, True]
        if not numbers:
            if line.split()[0] in TRACK_LINES:
                continue
            raise DataError(
                f"{path}:{number}: is not BED (got {line[:40]!r}, expected contig, start and end "
                "separated by tabs). Correct or delete the line."
            )
        contig, start, end = genome.resolve(cells[0]), int(cells[1]), int(cells[2])
        at = f"{path}:{number}: {cells[0]}:{start}-{end}"
        if contig is None:
            raise DataError(
                f"{at}: {genome.label} has no contig {cells[0]} (it has "
                f"{_some_of(genome.lengths)}). Use the genome of the regions."
            )
        if not start < end:
            raise DataError(
                f"{at}: must have at least 1 base (got {end - start}). Starts are 0-based, "
                "ends exclusive."
            )
        if end > genome.length(contig):
            raise DataError(
                f"{at}: ends behind {contig} (got {end}, expected at most "
                f"{genome.length(contig)}). Use the genome of the regions."
            )
        # A point is a missing value in BED.
        given, score, strand = (cells[i] if len(cells) > i else "." for i in (3, 4, 5))
        if strand not in STRANDS:
            raise DataError(
                f"{at}: the sixth column is the strand and must be +, - or . (got {strand!r}). "
                "Correct it, or keep three columns: cut -f1-3."
            )
        strand = STRANDS[strand]
        name = _region_name(contig, start, end, strand) if given in ("", ".") else given
        spans.append(Span(name, contig, start, end, strand, score))
    return spans


def _some_of(names: Iterable[str]) -> str:
    """Return the first names of a genome, for messages."""
    first = [*islice(names, 4)]
    return ", ".join(first[:3]) + ", ..." * (len(first) > 3)
