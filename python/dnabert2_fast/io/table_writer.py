"""Tables as files of results: .csv, .tsv (also .gz) and .parquet, one form for all commands."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.streams import PACKED, is_stdout, text_output

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TABLES", "is_text_table", "kind_of_table", "require_ending", "table_writer"]

TABLES = (".csv", ".tsv", ".parquet")
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def kind_of_table(path: str | os.PathLike[str]) -> str | None:
    """Return which table a path is, by its ending; None for another file.

    >>> kind_of_table("x.csv"), kind_of_table("x.TSV.gz"), kind_of_table("x.parquet.gz")
    ('.csv', '.tsv', None)
    """
    name = Path(os.fspath(path).lower())
    packed = name.suffix in PACKED
    kind = name.with_suffix("").suffix if packed else name.suffix
    return kind if kind in (SEPARATORS if packed else TABLES) else None


def is_text_table(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a table of text."""
    return kind_of_table(path) in SEPARATORS


def require_ending(
    path: str | os.PathLike[str], option: str = "out", others: Sequence[str] = (), what: str = ""
) -> None:
    """Raise `ValueError` unless a path ends as a table, or as another output of the command.

    Parameters
    ----------
    path : path
    option : str
        Name of the option, for the message.
    others : sequence of str
        Other endings that the command writes.
    what : str
        What `others` are, such as "for a track".

    Examples
    --------
    >>> require_ending("x.txt", "out", (".bw",), "for a track")
    Traceback (most recent call last):
    ValueError: out: must end in .csv, .tsv or .parquet, or in .bw for a track (got x.txt).
    """
    name = os.fspath(path)
    if kind_of_table(path) is not None or name.lower().endswith(tuple(others)):
        return
    listed = f"{', '.join(TABLES[:-1])} or {TABLES[-1]}"
    if others:
        listed += f", or in {', '.join(others)}" + f" {what}" * bool(what)
    raise ValueError(f"{option}: must end in {listed} (got {Path(name).name}).")


@contextmanager
def table_writer(
    path: str | os.PathLike[str], schema: pa.Schema | None = None, *, stdout: str = ".csv"
) -> Iterator[Callable[[Any], None]]:
    r"""Open a table that is whole or absent; yields the function that writes rows.

    Text has a header, quotes only where a cell needs them, and empty cells for null. Numbers of
    float32 are exact, those of float64 have eight digits.

    Parameters
    ----------
    path : path
        Its ending decides; ``-`` is standard output.
    schema : pyarrow.Schema, optional
        Default: that of the first rows.
    stdout : str
        Kind of table for standard output.

    Yields
    ------
    callable
        Writes a `pyarrow.Table`, or lists of values, one per column of the schema.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> path = Path(tempfile.mkdtemp(), "x.tsv")
    >>> with table_writer(path, pa.schema({"name": pa.string(), "p": pa.float64()})) as write:
    ...     write([["a", "b"], [1 / 3, None]])
    >>> path.read_text()
    'name\tp\na\t0.33333333\nb\t\n'
    """
    kind = stdout if is_stdout(path) else kind_of_table(path)
    if kind == ".parquet":
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            yield from _parquet(handle, schema)
        return
    with text_output(path) as handle:
        yield from _text(handle, SEPARATORS[kind or ".csv"], schema)


def _parquet(handle: Any, schema: pa.Schema | None) -> Iterator[Callable[[Any], None]]:
    from pyarrow.parquet import ParquetWriter

    writer = None if schema is None else ParquetWriter(handle, schema)

    def write(rows: Any) -> None:
        nonlocal writer
        table = _table(rows, schema)
        if writer is None:
            writer = ParquetWriter(handle, table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _text(handle: Any, separator: str, schema: pa.Schema | None) -> Iterator[Callable[[Any], None]]:
    text = io.StringIO()
    cells = csv.writer(text, delimiter=separator, lineterminator="\n")
    headed = False

    def flush() -> None:
        handle.write(text.getvalue().encode("utf-8"))
        text.seek(0)
        text.truncate()

    def head(names: Sequence[str]) -> None:
        nonlocal headed
        cells.writerow(names)
        headed = True
        flush()

    def write(rows: Any) -> None:
        table = _table(rows, schema)
        if not headed:
            head(table.column_names)
        cells.writerows(zip(*map(_cells, table.columns), strict=True))
        flush()

    if schema is not None:
        head(schema.names)
    yield write


def _table(rows: Any, schema: pa.Schema | None) -> pa.Table:
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    return pa.table([*rows], schema=schema)


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """Return the cells of a column; None is an empty one."""
    import pyarrow as pa

    if pa.types.is_float64(column.type):
        return [None if value is None else f"{value:.8g}" for value in column.to_pylist()]
    if pa.types.is_string(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
