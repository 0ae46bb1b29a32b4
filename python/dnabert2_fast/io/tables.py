"""Sequences of tables and lists: a column of a .csv or .tsv, the lines of a .txt."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from dnabert2_fast import _native
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.errors import DataError
from dnabert2_fast.io.content import TableLetters, as_bytes, is_sequence_file, open_input

__all__ = ["delimiter_of", "read_column", "read_labels", "values_of"]


# Separators of cells. That of a list never occurs, so a line is one cell.
LINES = "\x1f"
DELIMITERS = {".txt": LINES, ".csv": ",", ".tsv": "\t"}
PACKED = (".gz", ".bgz", ".zst", ".bz2", ".xz")


def delimiter_of(opened: _native.Input, path: str | os.PathLike[str], column: str) -> str | None:
    """Return the separator of an open table's cells; None for FASTA, FASTQ and other files.

    The content decides, then the suffix of the name. Without a suffix, a file is a table if its
    first line contains the column.
    """
    if is_sequence_file(opened):
        return None
    name = Path(path)
    suffix = (name.with_suffix("") if name.suffix in PACKED else name).suffix
    if suffix in DELIMITERS:
        return DELIMITERS[suffix]
    return next((cut for cut in "\t," if column in _columns(opened, cut)), None)


def read_column(path: str | os.PathLike[str], column: str, *, rna: bool = False) -> Iterator[str]:
    r"""Yield the sequences in a column of a .csv or .tsv, or in the lines of a .txt.

    Parameters
    ----------
    path : path
        Compressed or not; a pipe is a table if its first line contains the column.
    column : str
    rna : bool
        Read U as T.

    Yields
    ------
    str

    Raises
    ------
    DataError
        When the column is missing, a sequence has a digit, or the table is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x.csv")
    >>> _ = open(path, "w").write("name,sequence\na,ACGT\nb,TTAA\n")
    >>> list(read_column(path, "sequence"))
    ['ACGT', 'TTAA']
    """
    opened = open_input(path)
    delimiter = delimiter_of(opened, path, column)
    if delimiter is None:
        raise DataError(
            f"{path}: is FASTA or FASTQ. Use read_fasta."
            if is_sequence_file(opened)
            else f"{path}: is not a table with column {column!r}. Name the column in the header."
        )
    yield from values_of(opened, path, column, delimiter, rna=rna)


def read_labels(path: str | os.PathLike[str], column: str) -> list[str]:
    r"""Return the text in a column of a .csv or .tsv file.

    Raises
    ------
    DataError
        When the column is missing, or the file is a pipe.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x.tsv")
    >>> _ = open(path, "w").write("sequence\tlength\nACGT\t4\nTTAAA\t5\n")
    >>> read_labels(path, "length")
    ['4', '5']
    """
    require_file(path, "its columns are read one after the other")
    opened = open_input(path)
    delimiter = delimiter_of(opened, path, column)
    if delimiter in (None, LINES):
        raise DataError(f"{path}: is not a table, so it has no column {column!r}. Give a .csv.")
    csv.field_size_limit(1 << 30)  # a chromosome in one cell
    with io.TextIOWrapper(as_bytes(opened), encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text, delimiter=str(delimiter))
        names = rows.fieldnames or []
        if column not in names:
            raise DataError(
                f"{path}: has no column {column!r} (got {', '.join(names)[:200]}). Name another."
            )
        return [row[column] or "" for row in rows]


def values_of(
    opened: _native.Input, path: str | os.PathLike[str], column: str, delimiter: str, *, rna: bool
) -> Iterator[str]:
    """Yield the sequences of an open table; see `read_column`."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    lines = delimiter == LINES
    names = [] if lines else _columns(opened, delimiter)
    parse = arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False if lines else '"')
    # A row must fit into two blocks: sequences of up to 64 million letters.
    read = arrow_csv.ReadOptions(column_names=[column] if lines else None, block_size=1 << 26)
    convert = arrow_csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
    number, letters_of = 0, TableLetters(path, rna=rna)
    try:
        with arrow_csv.open_csv(as_bytes(opened), read, parse, convert) as reader:
            for batch in reader:
                for value in batch.column(0):
                    yield letters_of(value.as_py() or "", f"{path}: row {number}")
                    number += 1
    except KeyError:
        listed = ", ".join(names)[:200]
        raise DataError(
            f"{path}: has no column {column!r} (got {listed}). Name it with --column (column=)."
        ) from None
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: is not a table of text ({_shortly(error)}). Save it as CSV or TSV in UTF-8."
        ) from None


def _columns(opened: _native.Input, delimiter: str) -> list[str]:
    """Return the cells of the first line, or of the part that was read."""
    line = opened.head.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    return next(csv.reader([line], delimiter=delimiter), [])


def _shortly(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
