"""Labelled tables, and the task that their labels define.

The meaning of a label is a `Task`: set by name, or detected from the training table's labels. A
warning names another possible meaning.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.finetuning.config import Kind
from dnabert2_fast.finetuning.label_text import (
    finite,
    kind_of,
    plain,
    warn_of_classes,
    warn_of_numbers,
)
from dnabert2_fast.finetuning.rows import ColumnNames, Row, name_of, read_rows, shortened
from dnabert2_fast.finetuning.task import Task

__all__ = [
    "IGNORED",
    "SPLITS",
    "Labelled",
    "checksum",
    "read_labelled",
    "read_splits",
    "require_variation",
    "rows_of_tables",
    "warn_of_shared",
]

SPLITS = ("train", "dev", "test")
IGNORED = -100  # the label of a token or base without a class; "." in a table
NAMES = {"train": ("train",), "dev": ("dev", "val", "valid", "validation"), "test": ("test",)}
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
MAX_CLASSES = 65_536

_EXPECTED = {
    "multiclass": "a label 0, 1, 2, ...",
    "multilabel": "a label of 0s and 1s joined by ;",
    "regression": "a label that is a number, or numbers joined by ;",
    "tokens": "a label of one class per token, joined by ;",
    "bases": "a label of one class per base, as 0011 or joined by ;",
}


class Labelled(NamedTuple):
    """A labelled table.

    Attributes
    ----------
    sequences : list of str
    labels : ndarray
        Classes 0, 1, ... as int64 of shape (n,); labels or numbers as float64 of shape
        (n, outputs); classes of all tokens or bases one after the other, int64 of shape
        (positions,), `IGNORED` at positions without a class.
    pairs : list of str or None
        The second sequences.
    lengths : ndarray of int64, shape (n,), or None
        Number of tokens or bases of each sequence.
    path : Path
        The file.
    names : sequence of str
        The column ``name``, or the number of the row, from 0.
    lines : sequence of int
        The line of each row in the file; of a Parquet file the row, from 1.
    """

    sequences: list[str]
    labels: npt.NDArray[Any]
    pairs: list[str] | None = None
    lengths: npt.NDArray[np.int64] | None = None
    path: Path = Path()
    names: Sequence[str] = ()
    lines: Sequence[int] = ()

    def take(self, rows: npt.NDArray[np.bool_]) -> Labelled:
        """Return the chosen rows."""
        positions = rows if self.lengths is None else np.repeat(rows, self.lengths)
        return Labelled(
            list(compress(self.sequences, rows)),
            self.labels[positions],
            None if self.pairs is None else list(compress(self.pairs, rows)),
            None if self.lengths is None else self.lengths[rows],
            self.path,
            list(compress(self.names, rows)),
            list(compress(self.lines, rows)),
        )


def read_splits(
    folder: str | os.PathLike[str],
    kind: Kind | Literal["auto"] = "auto",
    *,
    rna: bool = False,
    rows: Mapping[str, list[Row]] | None = None,
) -> tuple[Task, dict[str, Labelled]]:
    """Read ``train``, ``dev`` (or ``val``) and ``test`` of a folder, the layout of GUE.

    They are .csv, .tsv, .csv.gz, .tsv.gz or .parquet. Names come from ``labels.txt`` (a table
    ``label,label_name``) if the folder has one. `rows` are those of the splits of one table,
    `folder` is then its path.

    Raises
    ------
    DataError
        When one is missing or damaged, or a class of dev or test is not in train.
    """
    folder = Path(folder)
    paths, names = dict.fromkeys(SPLITS, folder), {}
    if rows is None:
        paths = {split: _path_of(folder, split) for split in SPLITS}
        names = _names_in(folder / "labels.txt")
        rows = {split: _named(list(read_rows(paths[split], rna=rna)), names) for split in SPLITS}
    task = _task_of(rows["train"], kind, paths["train"], tuple(names.values()))
    tables = {split: _parsed(rows[split], task, paths[split]) for split in SPLITS}
    if task.kind not in ("regression", "multilabel"):
        known = set(tables["train"].labels.tolist()) | {IGNORED}
        for split in SPLITS[1:]:
            strange = sorted(set(tables[split].labels.tolist()) - known)
            if strange:
                raise DataError(
                    f"{folder}: {split} has class {task.names[strange[0]]}, which is not in train. "
                    "Add rows of it to train."
                )
    return replace(task, window_bp=max(map(len, tables["train"].sequences))), tables


def rows_of_tables(tables: Mapping[str, Any], *, rna: bool) -> dict[str, list[Row]]:
    """Return the rows of train, dev (or val) and test, tables in memory.

    Raises
    ------
    DataError
        When one is missing, or as `read_rows`.
    """
    rows = {}
    for split in SPLITS:
        key = next((name for name in NAMES[split] if name in tables), None)
        if key is None:
            found = ", ".join(map(str, tables)) or "an empty dict"
            raise DataError(
                f"data: has no {split} (got {found[:200]}). Give the tables train, dev and test."
            )
        name = f"{name_of(tables)}[{key!r}]"
        rows[split] = list(read_rows(tables[key], name, rna=rna))
    return rows


def _path_of(folder: Path, split: str) -> Path:
    """Return the table of a split."""
    choices = [folder / (name + suffix) for name in NAMES[split] for suffix in SUFFIXES]
    path = next((path for path in choices if path.exists()), None)
    if path is None:
        files = sorted(file.name for file in folder.glob("*.*") if file.is_file())
        found = f" (got {', '.join(files[:5])})" if files else ""
        raise DataError(f"{folder}: has no {split}.csv or {split}.csv.gz{found}. Add one of them.")
    if not path.name.startswith(split):
        warnings.warn(f"{folder}: read {path.name} as {split}.", InputWarning, stacklevel=3)
    return path


def warn_of_shared(tables: Mapping[str, Labelled]) -> None:
    """Warn of sequences of dev and test that are in train too."""
    known = _sequences(tables["train"])
    said = []
    for split in SPLITS[1:]:
        own = _sequences(tables[split])
        both = len(known.intersection(own))
        if both:
            said.append(f"{both:,} of the {len(own):,} sequences of {split}")
    if said:
        path = tables["train"].path
        where = path if path == tables["test"].path else path.parent
        warnings.warn(
            f"{where}: {' and '.join(said)} are in train too. Scores on them "
            "are too good; remove them.",
            stacklevel=2,
        )


def _sequences(table: Labelled) -> set[tuple[str, ...]]:
    firsts = map(str.upper, table.sequences)
    if table.pairs is None:
        return {(text,) for text in firsts}
    return set(zip(firsts, map(str.upper, table.pairs), strict=True))


def require_variation(task: Task, train: Labelled) -> None:
    """Raise unless the labels of a training table differ.

    Raises
    ------
    DataError
        When all labels are equal; names the label.
    """
    labels = train.labels
    if task.by_position:
        labels = labels[labels != IGNORED]
    if len(labels) and (labels != labels[0]).any():
        return
    same = "no label"
    if len(labels):
        names = (
            [f"{value:g}" for value in labels[0]] if labels.ndim == 2 else [task.names[labels[0]]]
        )
        same = f"the label {';'.join(names)}"
    raise DataError(f"{train.path}: every row has {same}. Add rows with another one.")


def checksum(task: Task, tables: Mapping[str, Labelled]) -> str:
    """Return the SHA-256 of the tables' contents, independent of their format."""
    total = hashlib.sha256(json.dumps(asdict(task)).encode())
    for split, table in tables.items():
        total.update(split.encode())
        for text in (*table.sequences, *(table.pairs or ())):
            total.update(f"{text}\n".encode())
        total.update(table.labels.tobytes())
        total.update(b"" if table.lengths is None else table.lengths.tobytes())
    return total.hexdigest()


def read_labelled(
    path: str | os.PathLike[str],
    task: Task | None = None,
    *,
    rna: bool = False,
    columns: ColumnNames = ColumnNames(),  # noqa: B008 (it is immutable)
) -> Labelled:
    """Read a table with the columns ``sequence`` and ``label``, or others by name.

    Parameters
    ----------
    path : path
    task : Task, optional
        The meaning of labels. Default: detected from their form.
    rna : bool
        Read U as T.
    columns : ColumnNames
        The columns to read.

    Raises
    ------
    DataError
        When it is truncated, a column is missing, or a label does not match the task; names the
        row.
    """
    path = Path(path)
    rows = list(read_rows(path, rna=rna, columns=columns))
    return _parsed(rows, task or _task_of(rows, "auto", path, ()), path)


def _task_of(
    rows: list[Row], kind: Kind | Literal["auto"], path: Path, names: tuple[str, ...]
) -> Task:
    labels = {row.label for row in rows}
    is_auto = kind == "auto"
    kind = kind_of(labels) if kind == "auto" else kind
    pairs = rows[0].pair is not None
    if pairs and kind in ("tokens", "bases"):
        raise DataError(
            f"{path}: labels of {kind} cannot be used with pairs of sequences. Use one sequence "
            "per row, with the header sequence,label."
        )
    if kind in ("multilabel", "regression"):
        count = rows[0].label.count(";") + 1
        if kind == "regression":
            warn_of_numbers(labels, path, is_auto)
        found = tuple(map(str, range(count)))
    else:
        found = _classes_in(rows, kind, path)
        if kind == "multiclass" and not names:
            warn_of_classes(labels, found, path)
        if names and all(map(str.isdecimal, found)) and not {*found} <= {*names}:
            # The names are those of 0, 1, ...
            found = tuple(map(str, range(int(found[-1]) + 1)))
    if names and len(names) != len(found):
        raise DataError(
            f"{path.parent / 'labels.txt'}: must have {len(found)} names for the labels of "
            f"{path.name} (got {len(names)})."
        )
    return Task(kind, names or found, pairs)


def _classes_in(rows: list[Row], kind: Kind, path: Path) -> tuple[str, ...]:
    """Return the names of the classes, in the order of the outputs."""
    labels = {plain(row.label) for row in rows}
    values = {label: finite(label) for label in labels}
    if kind != "multiclass":
        whole = _classes(rows, Task(kind, ()), path)[0]
        found = tuple(str(value) for value in np.unique(whole) if value != IGNORED)
    elif all(value is None for value in values.values()):
        return tuple(sorted(labels))
    elif None in values.values():
        _classes(rows, Task(kind, ()), path)  # raises for the first that is not a number
        raise AssertionError(path)
    else:
        found = tuple(sorted(labels, key=lambda label: values[label] or 0.0))
    if len(found) > MAX_CLASSES:
        raise DataError(
            f"{path}: must have at most {MAX_CLASSES:,} classes (got {len(found):,}). For numbers, "
            "use --task regression."
        )
    return ("0", "1") if found in ((), ("0",)) else found


def _names_in(path: Path) -> dict[str, str]:
    """Return the names of ``labels.txt`` by label, in the order of the labels."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    try:
        if len(rows) > 1:
            rows.sort(key=lambda row: int(row["label"]))
        names = {row["label"].strip(): row["label_name"].strip() for row in rows}
    except (KeyError, ValueError, TypeError, AttributeError):
        header = ",".join(map(str, rows[0])) if rows else "no row"
        raise DataError(
            f'{path}: must have the header "label,label_name" and whole numbers as labels (got '
            f"{header})."
        ) from None
    for what, found in (("label", names), ("name", {*names.values()})):
        if len(found) < len(rows):
            raise DataError(f"{path}: a {what} occurs twice. Rename one.")
    return names


def _named(rows: list[Row], names: Mapping[str, str]) -> list[Row]:
    """Return rows with the names of ``labels.txt`` instead of labels, where both are numbers."""
    ordered = [str(i) for i in range(len(names))]
    if list(names) == ordered and all(finite(name) is None for name in names.values()):
        return rows
    return [row._replace(label=names.get(plain(row.label), row.label)) for row in rows]


def _parsed(rows: list[Row], task: Task, path: Path) -> Labelled:
    if task.pairs != (rows[0].pair is not None):
        wanted = "two sequences (sequence1, sequence2)" if task.pairs else "one sequence"
        other = "one sequence" if task.pairs else "two"
        raise DataError(f"{path}: must have {wanted} per row, as in training (got {other}).")
    sequences = [row.sequence for row in rows]
    pairs = [row.pair or "" for row in rows] if task.pairs else None
    names = [row.name or str(number) for number, row in enumerate(rows)]
    lines = [row.line for row in rows]
    if task.kind in ("multilabel", "regression"):
        return Labelled(sequences, _numbers(rows, task, path), pairs, None, path, names, lines)
    labels, lengths = _classes(rows, task, path)
    lengths_of = lengths if task.by_position else None
    return Labelled(sequences, labels, pairs, lengths_of, path, names, lines)


def _wrong(path: Path, row: Row, task: Task, why: str = "") -> DataError:
    return DataError(
        f"{path}:{row.line}: must have a sequence and {_EXPECTED[task.kind]}{why} (got "
        f"{shortened(row.sequence)}, {shortened(row.label)})."
    )


def _numbers(rows: list[Row], task: Task, path: Path) -> npt.NDArray[np.float64]:
    values = np.empty((len(rows), len(task.names)))
    for index, row in enumerate(rows):
        parts = [part.strip() for part in row.label.split(";")]
        if len(parts) != len(task.names):
            raise _wrong(path, row, task, f" ({len(task.names)} of them)")
        numbers = [finite(part) for part in parts]
        good = None not in numbers
        if task.kind == "multilabel":
            good = all(part in ("0", "1") for part in parts)
        if not good:
            raise _wrong(path, row, task)
        values[index] = numbers
    return values


def _classes(
    rows: list[Row], task: Task, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the classes of all rows, concatenated, and their number per row.

    A class is given by its name, or by its number if no name is a number.
    """
    class_of = {name: i for i, name in enumerate(task.names)}
    numbered = all(finite(name) is None for name in task.names)

    def number(part: str) -> int | None:
        text = plain(part)
        found = class_of.get(part, class_of.get(text))
        if part == "." and task.by_position:
            return IGNORED
        if found is not None or not numbered:
            return found
        known = text.isdecimal() and len(text) < 19
        return int(text) if known and (not task.names or int(text) < len(task.names)) else None

    found: dict[str, int] = {}
    labels: list[int] = []
    lengths = np.ones(len(rows), np.int64)
    for index, row in enumerate(rows):
        parts = [row.label]
        if task.by_position:
            split = ";" in row.label or task.kind == "tokens"
            parts = [part.strip() for part in row.label.split(";")] if split else [*row.label]
            if task.kind == "bases" and len(parts) != len(row.sequence):
                why = f" (the sequence has {len(row.sequence)} bases, the label {len(parts)})"
                raise _wrong(path, row, task, why)
        for part in parts:
            if part not in found:
                value = number(part)
                if value is None and (task.names or part.isdecimal()):
                    table = path.name.partition(".")[0]
                    raise DataError(
                        f"{path}:{row.line}: {table} has class {part}, which is not in train. Add "
                        "rows of it to train."
                    )
                if value is None:
                    raise _wrong(path, row, task)
                found[part] = value
            labels.append(found[part])
        lengths[index] = len(parts)
    return np.array(labels, dtype=np.int64), lengths
