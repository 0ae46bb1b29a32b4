"""Rows of tables with sequences and labels, as people write them.

Commas, tabs or semicolons separate the cells. The columns are ``sequence`` (or ``sequence1`` and
``sequence2``), ``label`` and perhaps ``name``; other common names of them are read too, with a
warning. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from dnabert2_fast import _native
from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.io.content import TableLetters, is_sequence_file, open_bytes

__all__ = ["Row", "is_table", "read_rows", "rows_of", "shortened"]

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


class Columns(NamedTuple):
    """The names of a table's columns as they are in the file; None for an absent one."""

    sequence: str
    pair: str | None
    label: str | None
    name: str | None


def is_table(opened: _native.Input, path: str | os.PathLike[str]) -> bool:
    """Return whether an open file is a table: by its name, or by a header with sequences."""
    if is_sequence_file(opened):
        return False
    header = opened.head.split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    named = {".csv", ".tsv"}.intersection(Path(path).suffixes[-2:])
    return bool(named) or _sequence_in(_cells(header, _separator(header))) is not None


def read_rows(
    path: str | os.PathLike[str], *, labelled: bool = True, rna: bool = False
) -> Iterator[Row]:
    """Yield the rows of a table, compressed or not, with labels or without; `rna` reads U as T.

    Raises
    ------
    DataError
        When it is damaged, a column is missing, or a row has no sequence or label; names the row.

    Warns
    -----
    InputWarning
        When columns have other names, or commas do not separate the cells of a .csv.
    """
    with open_bytes(path) as handle:
        yield from rows_of(handle, path, labelled=labelled, rna=rna)


def rows_of(
    opened: io.BufferedReader, path: str | os.PathLike[str], *, labelled: bool, rna: bool
) -> Iterator[Row]:
    """Yield the rows of an open table; see `read_rows`."""
    # A field may be a chromosome; csv's limit is global to the process.
    csv.field_size_limit(MAX_LINE)
    number, letters_of = 1, TableLetters(path, rna=rna)
    table: csv.DictReader[str] | None = None
    try:
        lines = _lines(io.TextIOWrapper(opened, encoding="utf-8", newline=""))
        header = next(lines, "")
        separator = _separator(header)
        names = _cells(header, separator)
        columns = _columns(names, path, separator, labelled=labelled)
        table = csv.DictReader(lines, names, strict=True, delimiter=separator)
        for row in table:
            number = table.line_num + 1
            if None in row:
                raise DataError(
                    f"{path}:{number}: must have {len(names)} columns, as the header (got "
                    f"more). Put quotes around text with {SEPARATORS[separator]}."
                )
            where = f"{path}:{number}"
            sequence = letters_of(row[columns.sequence] or "", where)
            pair = None
            if columns.pair is not None:
                pair = letters_of(row[columns.pair] or "", where)
            label = ((row[columns.label] if columns.label else None) or "").strip()
            if not sequence or pair == "" or (labelled and not label):
                raise DataError(
                    f"{where}: must have a sequence and a label (got "
                    f"{shortened(row[columns.sequence])}, {shortened(label)})."
                )
            name = (row[columns.name] if columns.name else None) or ""
            yield Row(name, sequence, pair, label, number)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: damaged or truncated ({error}). Copy it again.") from None
    except csv.Error as error:
        line = 1 if table is None else table.line_num + 2
        raise DataError(f"{path}:{line}: is not CSV: {error}") from None
    if number == 1:
        raise DataError(f"{path}: has no rows. Add at least one.")


def _columns(
    names: list[str], path: str | os.PathLike[str], separator: str, *, labelled: bool
) -> Columns:
    plain = [_plain(name) for name in names]
    twice = [name for name, key in zip(names, plain, strict=True) if plain.count(key) > 1]
    if twice:
        raise DataError(f'{path}: has two columns "{twice[0].strip()}". Remove one.')
    first, label = _sequence_in(names), _find(names, LABEL)
    if first is None or (labelled and label is None):
        found = ", ".join(name.strip() for name in names)
        raise DataError(
            f'{path}: has no column "{SEQUENCE[0] if first is None else LABEL[0]}" (got '
            f'{shortened(found, 200)}). Add a header "sequence,label" or '
            '"sequence1,sequence2,label".'
        )
    of_pair = _plain(first).endswith("1")
    columns = Columns(first, _find(names, SECOND) if of_pair else None, label, _find(names, NAME))
    said = []
    if separator != "," and not os.fspath(path).lower().endswith((".tsv", ".tsv.gz", ".txt")):
        said.append(f"cells separated by {SEPARATORS[separator]}")
    usual = {
        columns.sequence: "sequence1" if columns.pair else "sequence",
        columns.pair: "sequence2",
        columns.label: "label" if labelled else columns.label,
    }
    for name, meant in usual.items():
        if name is not None and name not in (meant, "sequence1"):
            said.append(f"column {name!r} as {meant}")
    if said:
        warnings.warn(f"{path}: read {', '.join(said)}.", InputWarning, stacklevel=4)
    return columns


def _sequence_in(names: list[str]) -> str | None:
    return _find(names, SEQUENCE)


def _find(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """Return the column with the first of some names, in any case and with spaces around it."""
    keys = {_plain(name): name for name in reversed(names)}
    return next((keys[key] for key in wanted if key in keys), None)


def _plain(name: str) -> str:
    return name.strip().casefold()


def _separator(header: str) -> str:
    """Return what separates the cells of a header: commas, unless only another one fits."""
    fits = (s for s in SEPARATORS if _sequence_in(_cells(header, s)) is not None)
    return next(fits, ",")


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
