"""Sequences out of tables and lists: a column of a .csv or .tsv, the lines of a .txt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dnabert2_fast.errors import DataError

__all__ = ["is_table_or_lines", "read_column"]


LINES, TABLES = (".txt",), (".csv", ".tsv")


def _suffix(path: str | os.PathLike[str]) -> str:
    name = Path(path)
    return (name.with_suffix("") if name.suffix in (".gz", ".zst") else name).suffix


def is_table_or_lines(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds one sequence a line (.txt) or in a column (.csv, .tsv), by its name."""
    return _suffix(path) in (*LINES, *TABLES)


def read_column(path: str | os.PathLike[str], column: str) -> Iterator[str]:
    r"""Yield the values of a column of a .csv or .tsv, or the lines of a .txt; plain or gz, zst.

    Raises
    ------
    DataError
        When there is no such column, or the table is damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "x.csv")
    >>> _ = open(path, "w").write("name,sequence\na,ACGT\nb,TTAA\n")
    >>> list(read_column(path, "sequence"))
    ['ACGT', 'TTAA']
    """
    import pyarrow as pa
    from pyarrow import csv

    lines = _suffix(path) in LINES
    # Every line of a .txt is the one column of a table whose parting character never occurs.
    delimiter = "\x1f" if lines else "\t" if _suffix(path) == ".tsv" else ","
    parse = csv.ParseOptions(delimiter=delimiter, quote_char=False if lines else '"')
    # A row must lie within two blocks: sequences of up to 64 million letters.
    read = csv.ReadOptions(column_names=[column] if lines else None, block_size=1 << 26)
    convert = csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})

    def values() -> Iterator[str]:
        try:
            with csv.open_csv(os.fsdecode(path), read, parse, convert) as reader:
                for batch in reader:
                    yield from (value.as_py() or "" for value in batch.column(0))
        except KeyError:
            with csv.open_csv(os.fsdecode(path), read, parse) as reader:
                names = ", ".join(reader.schema.names)
            raise DataError(f"{path}: no column {column!r}; there are {names[:200]}") from None

    try:
        yield from values()
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table of text: {_shortly(error)}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path}: damaged or cut off: {_shortly(error)}; copy it again") from None


def _shortly(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
