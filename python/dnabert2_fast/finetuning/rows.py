"""Rows of tables with sequences and labels, as people write them.

Commas, tabs or semicolons separate the cells, or the table is a Parquet file. The columns are
``sequence`` (or ``sequence1`` and ``sequence2``), ``label`` and perhaps ``name``; other common
names of them are read too, with a warning. Other columns are ignored.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeGuard

from dnabert2_fast import _native
from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.io.content import TableLetters, is_sequence_file, open_bytes

__all__ = [
    "ColumnNames",
    "Row",
    "is_parquet",
    "is_path",
    "is_table",
    "name_of",
    "read_rows",
    "shortened",
    "write_rows",
]

MAX_LINE = 1 << 30  # characters: more than any chromosome, but not enough to exhaust memory
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
# Names of columns, the usual one first.
SEQUENCE = ("sequence", "sequence1", "text", "text1", "seq", "seq1")
SECOND = ("sequence2", "text2", "seq2")
LABEL = ("label", "labels", "class")
NAME = ("name", "id")


class Row(NamedTuple):
    """One row of a table as written; absent columns are empty, `pair` is None."""

    name: str
    sequence: str
    pair: str | None
    label: str
    line: int = 0
    group: str = ""


class ColumnNames(NamedTuple):
    """The columns to read; None for the usual names, and for no group."""

    sequence: str | None = None
    label: str | None = None
    group: str | None = None


class Columns(NamedTuple):
    """The names of a table's columns as they are in the file; None for an absent one."""

    sequence: str
    pair: str | None
    label: str | None
    name: str | None
    group: str | None


def is_path(data: object) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether data is a path, not a table in memory."""
    return isinstance(data, (str, os.PathLike))


def name_of(data: object) -> str:
    """Return the name of data in messages: its path, or that of the argument.

    >>> name_of(Path("x.csv")), name_of({"train": None})
    ('x.csv', 'data')
    """
    return os.fspath(data) if is_path(data) else "data"


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Return whether a path ends in .parquet, in any letter case."""
    return Path(path).suffix.lower() == ".parquet"


def is_table(
    opened: _native.Input,
    path: str | os.PathLike[str],
    columns: ColumnNames = ColumnNames(),  # noqa: B008 (it is immutable)
) -> bool:
    """Return whether an open file is a table: by its name, or by a header with sequences."""
    if is_sequence_file(opened):
        return False
    header = opened.head.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    named = {".csv", ".tsv"}.intersection(end.lower() for end in Path(path).suffixes[-2:])
    separator = _separator(header, columns.sequence)
    return bool(named) or _sequence_in(_cells(header, separator), columns.sequence) is not None


def read_rows(
    source: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    labelled: bool = True,
    rna: bool = False,
    columns: ColumnNames = ColumnNames(),  # noqa: B008 (it is immutable)
) -> Iterator[Row]:
    """Yield the rows of a table, compressed or not, with labels or without; `rna` reads U as T.

    `source` is a path, an open file, or a table of pandas, polars or Arrow. `path` is the name of
    one that is not a path.

    Raises
    ------
    DataError
        When it is damaged, a column is missing, or a row has no sequence or label; names the row.

    Warns
    -----
    InputWarning
        When columns have other names, or commas do not separate the cells of a .csv.
    """
    if isinstance(source, io.BufferedReader):
        yield from _text_rows(source, path or "-", labelled, rna, columns)
    elif not is_path(source):
        yield from _table_rows(source, path or name_of(source), labelled, rna, columns)
    elif is_parquet(source):
        yield from _parquet_rows(source, labelled, rna, columns)
    else:
        with open_bytes(source) as handle:
            yield from _text_rows(handle, source, labelled, rna, columns)


def _text_rows(
    opened: io.BufferedReader,
    path: str | os.PathLike[str],
    labelled: bool,
    rna: bool,
    wanted: ColumnNames,
) -> Iterator[Row]:
    # A field may be a chromosome; csv's limit is global to the process.
    csv.field_size_limit(MAX_LINE)
    number, letters_of = 1, TableLetters(path, rna=rna)
    table: csv.DictReader[str] | None = None
    try:
        lines = _lines(io.TextIOWrapper(opened, encoding="utf-8", newline=""))
        header = next(lines, "")
        separator = _separator(header, wanted.sequence)
        names = _cells(header, separator)
        columns = _columns(names, path, separator, wanted, labelled=labelled)
        table = csv.DictReader(lines, names, strict=True, delimiter=separator)
        for row in table:
            number = table.line_num + 1
            if None in row:
                raise DataError(
                    f"{path}:{number}: must have {len(names)} columns, as the header (got "
                    f"more). Put quotes around text with {SEPARATORS[separator]}."
                )
            yield _row(row, columns, path, number, letters_of, labelled)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: damaged or truncated ({error}). Copy it again.") from None
    except csv.Error as error:
        line = 1 if table is None else table.line_num + 2
        raise DataError(f"{path}:{line}: is not CSV: {error}") from None
    if number == 1:
        raise DataError(f"{path}: has no rows. Add at least one.")


def _parquet_rows(
    path: str | os.PathLike[str], labelled: bool, rna: bool, wanted: ColumnNames
) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open(path, "rb") as handle, pq.ParquetFile(handle) as file:
            columns = _columns(file.schema_arrow.names, path, ",", wanted, labelled=labelled)
            batches = file.iter_batches(columns=[name for name in columns if name is not None])
            yield from _typed_rows(batches, columns, path, labelled, rna)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = str(error).splitlines()[0]
        raise DataError(f"{path}: is not a Parquet file ({why}). Copy it again.") from None


def _table_rows(
    table: Any, path: str | os.PathLike[str], labelled: bool, rna: bool, wanted: ColumnNames
) -> Iterator[Row]:
    """Yield the rows of a table in memory."""
    import pyarrow as pa

    names = [*getattr(table, "column_names", getattr(table, "columns", ()))]
    if isinstance(table, Mapping) or not names or not all(isinstance(name, str) for name in names):
        found = type(table).__name__
        raise TypeError(
            f"{path}: must be a path or a table with named columns (got {found}). Give a pandas, "
            "polars or Arrow table."
        )
    columns = _columns(names, path, ",", wanted, labelled=labelled)
    read = [name for name in columns if name is not None]
    try:
        arrow = pa.table(table.select(read) if isinstance(table, pa.Table) else table[read])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        why = str(error).splitlines()[0]
        raise DataError(
            f"{path}: has a column of several types ({why}). Convert it, as column.astype(str)."
        ) from None
    yield from _typed_rows(arrow.to_batches(), columns, path, labelled, rna)


def _typed_rows(
    batches: Iterable[Any],
    columns: Columns,
    path: str | os.PathLike[str],
    labelled: bool,
    rna: bool,
) -> Iterator[Row]:
    """Yield the rows of Arrow batches; `line` is the row, from 1."""
    number, letters_of = 0, TableLetters(path, rna=rna)
    for batch in batches:
        for cells in batch.to_pylist():
            number += 1
            text = {name: _text(value) for name, value in cells.items()}
            yield _row(text, columns, path, number, letters_of, labelled)
    if not number:
        raise DataError(f"{path}: has no rows. Add at least one.")


def _text(value: Any) -> str:
    """Return a cell of a typed table as the text of a CSV has it."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ";".join(map(_text, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _row(
    row: Mapping[str, str | None],
    columns: Columns,
    path: str | os.PathLike[str],
    number: int,
    letters_of: TableLetters,
    labelled: bool,
) -> Row:
    where = f"{path}:{number}"
    sequence = letters_of(row[columns.sequence] or "", where)
    pair = None if columns.pair is None else letters_of(row[columns.pair] or "", where)
    label, group, name = (
        (row[column] if column else None) or ""
        for column in (columns.label, columns.group, columns.name)
    )
    if not sequence or pair == "" or (labelled and not label.strip()):
        raise DataError(
            f"{where}: must have a sequence and a label (got "
            f"{shortened(row[columns.sequence])}, {shortened(label.strip())})."
        )
    if columns.group and not group.strip():
        raise DataError(
            f"{where}: has no group in {columns.group.strip()!r}. Add it, or delete the row."
        )
    return Row(name, sequence, pair, label.strip(), number, group.strip())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as .csv.gz, which `read_rows` reads; the same bytes each time."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    grouped = any(row.group for row in rows)
    of_pair = rows[0].pair is not None
    sequences = ("sequence1", "sequence2") if of_pair else ("sequence",)
    writer.writerow(("name", *sequences, "label", *["group"] * grouped))
    writer.writerows(
        (r.name, r.sequence, *[r.pair] * of_pair, r.label, *[r.group] * grouped) for r in rows
    )
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _columns(
    names: list[str],
    path: str | os.PathLike[str],
    separator: str,
    wanted: ColumnNames,
    *,
    labelled: bool,
) -> Columns:
    plain = [_plain(name) for name in names]
    twice = [name for name, key in zip(names, plain, strict=True) if plain.count(key) > 1]
    if twice:
        raise DataError(f'{path}: has two columns "{twice[0].strip()}". Remove one.')
    for option, name in zip(ColumnNames._fields, wanted, strict=True):
        if name is not None and _find(names, (_plain(name),)) is None:
            found = ", ".join(map(str.strip, names))
            close = get_close_matches(_plain(name), plain, n=1)
            remedy = (
                f"Did you mean {names[plain.index(close[0])].strip()}?"
                if close
                else f"Name a column of the header with --{option}-column."
            )
            got = shortened(found, 200)
            raise DataError(f"{path}: has no column {name!r} (got {got}). {remedy}")
    first, label = _sequence_in(names, wanted.sequence), _wanted(names, wanted.label, LABEL)
    group = _wanted(names, wanted.group, ())
    if first is None or (labelled and label is None):
        found = ", ".join(name.strip() for name in names)
        raise DataError(
            f'{path}: has no column "{SEQUENCE[0] if first is None else LABEL[0]}" (got '
            f'{shortened(found, 200)}). Add a header "sequence,label" or '
            '"sequence1,sequence2,label".'
        )
    of_pair = wanted.sequence is None and _plain(first).endswith("1")
    second = _find(names, SECOND) if of_pair else None
    columns = Columns(first, second, label, _find(names, NAME), group)
    said = []
    if separator != "," and not os.fspath(path).lower().endswith((".tsv", ".tsv.gz", ".txt")):
        said.append(f"cells separated by {SEPARATORS[separator]}")
    usual = {
        columns.sequence: "sequence1" if columns.pair else "sequence",
        columns.pair: "sequence2",
        columns.label: "label" if labelled else columns.label,
    }
    requested = {_plain(name) for name in wanted if name is not None}
    for name, meant in usual.items():
        if name is not None and name not in (meant, "sequence1") and _plain(name) not in requested:
            said.append(f"column {name!r} as {meant}")
    if said:
        warnings.warn(f"{path}: read {', '.join(said)}.", InputWarning, stacklevel=4)
    return columns


def _sequence_in(names: list[str], wanted: str | None) -> str | None:
    return _wanted(names, wanted, SEQUENCE)


def _wanted(names: list[str], wanted: str | None, usual: tuple[str, ...]) -> str | None:
    """Return the requested column, else one with a usual name."""
    return _find(names, usual if wanted is None else (_plain(wanted),))


def _find(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """Return the column with the first of some names, in any case and with spaces around it."""
    keys = {_plain(name): name for name in reversed(names)}
    return next((keys[key] for key in wanted if key in keys), None)


def _plain(name: str) -> str:
    return name.strip().casefold()


def _separator(header: str, wanted: str | None) -> str:
    """Return what separates the cells of a header: commas, unless only another one fits.

    Without the column of sequences, the most frequent one, so that an error lists the columns.
    """
    fits = (s for s in SEPARATORS if _sequence_in(_cells(header, s), wanted) is not None)
    return next(fits, max(SEPARATORS, key=header.count))


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _lines(handle: IO[str]) -> Iterator[str]:
    """Yield the lines of a file; raise for one that would exhaust the memory."""
    while line := handle.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise csv.Error(f"a line has more than {MAX_LINE:,} characters")
        if "\0" in line:
            raise csv.Error("it contains a NUL byte. Copy the file again.")
        yield line


def shortened(text: str | None, length: int = 40) -> str:
    """Return text with quotes, cut for a message."""
    return repr(text if text is None or len(text) <= length else f"{text[:length]}...")
