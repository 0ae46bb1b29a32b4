"""Labelled tables in CSV files, and the task that their labels define.

A table has a column ``sequence`` (or ``sequence1``), optionally ``sequence2``, and ``label``. The
meaning of a label is a `Task`: set by name, or detected from the training table's labels.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.finetuning.config import Kind
from dnabert2_fast.io.content import TableLetters, open_bytes
from dnabert2_fast.model.weights import weight_names

__all__ = [
    "FIRST",
    "IGNORED",
    "Labelled",
    "Row",
    "Task",
    "checksum",
    "read_labelled",
    "read_rows",
    "read_splits",
    "require_variation",
    "rows_of",
]

SPLITS = ("train", "dev", "test")
IGNORED = -100  # the label of a token or base without a class; "." in a table
MAX_LINE = 1 << 30  # characters: more than any chromosome, but not enough to exhaust memory
MAX_CLASSES = 65_536
FIRST, SECOND = ("sequence", "sequence1"), "sequence2"

_EXPECTED = {
    "multiclass": "a label 0, 1, 2, ...",
    "multilabel": "a label of 0s and 1s joined by ;",
    "regression": "a label that is a number, or numbers joined by ;",
    "tokens": "a label of one class per token, joined by ;",
    "bases": "a label of one class per base, as 0011 or joined by ;",
}


@dataclass(frozen=True)
class Task:
    """The task of a fine-tuned model; ``task.json`` of its folder.

    Parameters
    ----------
    kind : {"multiclass", "multilabel", "regression", "tokens", "bases"}
        One class per sequence; any number of labels; numbers; one class per token or base.
    names : tuple of str
        Of the classes, labels or numbers, in the order of the model's outputs.
    pairs : bool
        Whether a row has two sequences.
    max_length : int or None
        Maximum tokens of a sequence, special ones included; the model reads the first ones.
    window_bp : int
        Maximum bases that the model read of a training sequence. Windows have this length. 0 if
        unknown: then each sequence is one window, and ends at `max_length`.
    """

    kind: Kind
    names: tuple[str, ...]
    pairs: bool = False
    max_length: int | None = None
    window_bp: int = 0

    @property
    def by_position(self) -> bool:
        """Whether there is one answer per token or base."""
        return self.kind in ("tokens", "bases")

    def save(self, folder: Path) -> None:
        """Write ``task.json``."""
        atomic_json(folder / "task.json", asdict(self))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Task:
        """Read ``task.json`` of a fine-tuned model's folder.

        A classifier that ``transformers.Trainer`` saved has none: its task is in ``config.json``.

        Raises
        ------
        CheckpointError
            When both are missing or damaged.
        """
        path = Path(folder) / "task.json"
        if not path.exists() and (Path(folder) / "config.json").exists():
            return _task_of_config(Path(folder))
        try:
            values = read_object(path)
            if values["kind"] not in get_args(Kind):
                raise ValueError(f"kind must be one of {get_args(Kind)} (got {values['kind']!r})")
            return cls(**{**values, "names": tuple(values["names"])})
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder}: has no task.json. Give a folder that finetune wrote."
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}: damaged: {error}. Copy the folder again.") from None


def _task_of_config(folder: Path) -> Task:
    """Return the task of a classifier that `transformers` saved, without a window length."""
    path = folder / "config.json"
    weights = weight_names(folder)
    if "classifier.weight" not in weights:
        raise CheckpointError(
            f"{folder}: has no task.json, and its weights have no classifier. Give a folder that "
            "finetune or Trainer wrote."
        )
    try:
        config = read_object(path)
        problem, names = config.get("problem_type"), config.get("id2label")
        if not names:  # transformers omits the default ones
            names = {i: f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
        kind: Kind = "multiclass"
        if "bert.pooler.dense.weight" not in weights:
            kind = "tokens"
        elif problem == "multi_label_classification":
            kind = "multilabel"
        elif problem == "regression" or len(names) == 1:
            kind = "regression"
        saved = folder / "tokenizer_config.json"
        length = read_object(saved).get("model_max_length") if saved.exists() else None
        return Task(
            kind,
            tuple(str(names[number]) for number in sorted(names, key=int)),
            pairs=bool(config.get("pairs")),
            # Without a maximum, transformers writes a number near 1e30.
            max_length=length if isinstance(length, int) and length < 1 << 30 else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}. Copy the folder again.") from None


class Row(NamedTuple):
    """One row of a table as written; absent columns are empty, `pair` is None."""

    name: str
    sequence: str
    pair: str | None
    label: str


class Labelled(NamedTuple):
    """A labelled table.

    Attributes
    ----------
    sequences : list of str
    labels : ndarray
        Classes 0, 1, ... as int64 of shape (n,); labels or numbers as float64 of shape
        (n, outputs); classes of all tokens or bases one after the other, int64 of shape
        (positions,), `IGNORED` where there is no class.
    pairs : list of str or None
        The second sequences.
    lengths : ndarray of int64, shape (n,), or None
        Number of tokens or bases of each sequence.
    path : Path
        The file.
    """

    sequences: list[str]
    labels: npt.NDArray[Any]
    pairs: list[str] | None = None
    lengths: npt.NDArray[np.int64] | None = None
    path: Path = Path()


def read_splits(
    folder: str | os.PathLike[str],
    kind: Kind | Literal["auto"] = "auto",
    *,
    rna: bool = False,
) -> tuple[Task, dict[str, Labelled]]:
    """Read ``train``, ``dev`` and ``test`` (.csv or .csv.gz) of a folder, the layout of GUE.

    Names come from ``labels.txt`` (a table ``label,label_name``) if the folder has one.

    Raises
    ------
    DataError
        When one is missing or damaged, or a class of dev or test is not in train.
    """
    folder = Path(folder)
    paths = {}
    for split in SPLITS:
        choices = [folder / f"{split}.csv", folder / f"{split}.csv.gz"]
        path = next((path for path in choices if path.exists()), None)
        if path is None:
            raise DataError(f"{folder}: has no {split}.csv or {split}.csv.gz. Add one of them.")
        paths[split] = path
    rows = list(read_rows(paths["train"], rna=rna))
    task = _task_of(rows, kind, paths["train"], _names_in(folder / "labels.txt"))
    tables = {"train": _parsed(rows, task, paths["train"])}
    for split in SPLITS[1:]:
        tables[split] = read_labelled(paths[split], task, rna=rna)
    if task.kind not in ("regression", "multilabel"):
        known = set(tables["train"].labels.tolist()) | {IGNORED}
        for split in SPLITS[1:]:
            strange = sorted(set(tables[split].labels.tolist()) - known)
            if strange:
                raise DataError(
                    f"{folder}: {split} has class {strange[0]}, which is not in train. Add it."
                )
    return replace(task, window_bp=max(map(len, tables["train"].sequences))), tables


def require_variation(task: Task, train: Labelled) -> None:
    """Raise unless the labels of a training table differ.

    Raises
    ------
    DataError
        When they do not; names the label.
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
    path: str | os.PathLike[str], task: Task | None = None, *, rna: bool = False
) -> Labelled:
    """Read a CSV (or .csv.gz) with the columns ``sequence`` and ``label``.

    Parameters
    ----------
    path : path
    task : Task, optional
        What labels mean; told by their form when left out.
    rna : bool
        Read U as T.

    Raises
    ------
    DataError
        When it is truncated, a column is missing, or a label does not match the task; names the
        row.
    """
    path = Path(path)
    rows = list(read_rows(path, rna=rna))
    return _parsed(rows, task or _task_of(rows, "auto", path, ()), path)


def read_rows(
    path: str | os.PathLike[str], *, labelled: bool = True, rna: bool = False
) -> Iterator[Row]:
    """Yield the rows of a CSV, packed or not, with labels or without; `rna` reads U as T.

    Raises
    ------
    DataError
        As in `read_labelled`; labels are not parsed.
    """
    with open_bytes(path) as handle:
        yield from rows_of(handle, path, labelled=labelled, rna=rna)


def rows_of(
    opened: io.BufferedReader, path: str | os.PathLike[str], *, labelled: bool, rna: bool
) -> Iterator[Row]:
    """Yield the rows of an open table; see `read_rows`."""
    # A chromosome in one field is fine; csv's limit is one for the whole process.
    csv.field_size_limit(MAX_LINE)
    number, letters_of = 1, TableLetters(path, rna=rna)
    try:
        handle = io.TextIOWrapper(opened, encoding="utf-8", newline="")
        table = csv.DictReader(_lines(handle), strict=True)
        columns = table.fieldnames or []
        twice = [name for name in columns if columns.count(name) > 1]
        if twice:
            raise DataError(f'{path}: has two columns "{twice[0]}". Remove one.')
        first = next((column for column in FIRST if column in columns), None)
        lacking = "sequence" if first is None else "label"
        if first is None or (labelled and "label" not in columns):
            raise DataError(
                f'{path}: has no column "{lacking}". Add a header "sequence,label" or '
                '"sequence1,sequence2,label".'
            )
        for row in table:
            number = table.line_num
            if None in row:
                raise DataError(
                    f"{path}:{number}: must have {len(columns)} columns, as the header (got "
                    "more). Put quotes around text with commas."
                )
            where = f"{path}:{number}"
            sequence = letters_of(row[first] or "", where)
            pair = letters_of(row[SECOND] or "", where) if SECOND in columns else None
            label = (row.get("label") or "").strip()
            if not sequence or pair == "" or (labelled and not label):
                raise DataError(
                    f"{where}: must have a sequence and a label (got "
                    f"{_short(row[first])}, {_short(label)})."
                )
            yield Row(row.get("name") or "", sequence, pair, label)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: damaged or truncated ({error}). Copy it again.") from None
    except csv.Error as error:
        raise DataError(f"{path}:{table.line_num + 1}: is not CSV: {error}") from None
    if number == 1:
        raise DataError(f"{path}: has no rows. Add at least one.")


def _lines(handle: IO[str]) -> Iterator[str]:
    """Yield lines like a file, but none that would exhaust the memory."""
    while line := handle.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise csv.Error(f"a line has more than {MAX_LINE:,} characters")
        if "\0" in line:
            raise csv.Error("it contains a NUL byte. Copy the file again.")
        yield line


def _short(text: str | None) -> str:
    return repr(text if text is None or len(text) <= 40 else f"{text[:40]}...")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _task_of(
    rows: list[Row], kind: Kind | Literal["auto"], path: Path, names: tuple[str, ...]
) -> Task:
    labels = [row.label for row in rows]
    if kind == "auto":
        kind = "multiclass"
        if any(";" in label for label in labels):
            kind = "multilabel"
        elif all(map(_is_number, labels)) and not all(map(str.isdecimal, labels)):
            kind = "regression"
    if kind == "multiclass" and not any(map(_is_number, labels)):
        return Task(kind, tuple(sorted(set(labels))), rows[0].pair is not None)
    if kind in ("multilabel", "regression"):
        count = labels[0].count(";") + 1
    else:
        values = _classes(rows, Task(kind, ()), path)[0]
        count = max(int(values.max(initial=0)) + 1, 2)
        if count > MAX_CLASSES:
            raise DataError(
                f"{path}: classes must be 0, 1, 2, ..., at most {MAX_CLASSES - 1:,} (got "
                f"{count - 1:,}). For numbers, use --task regression."
            )
    if names and len(names) != count:
        raise DataError(
            f"{path.parent / 'labels.txt'}: must have {count} names for the labels of {path.name} "
            f"(got {len(names)})."
        )
    pairs = rows[0].pair is not None
    if pairs and kind in ("tokens", "bases"):
        raise DataError(f"{path}: labels of {kind} cannot be used with pairs of sequences.")
    return Task(kind, names or tuple(map(str, range(count))), pairs)


def _names_in(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    try:
        if len(rows) > 1:
            rows.sort(key=lambda row: int(row["label"]))
        names = tuple(row["label_name"] for row in rows)
    except (KeyError, ValueError, TypeError):
        raise DataError(f'{path}: must have the header "label,label_name".') from None
    if len(set(names)) < len(names):
        raise DataError(f"{path}: a name occurs twice. Rename one.")
    return names


def _parsed(rows: list[Row], task: Task, path: Path) -> Labelled:
    if task.pairs != (rows[0].pair is not None):
        wanted = "two sequences (sequence1, sequence2)" if task.pairs else "one sequence"
        raise DataError(f"{path}: must have {wanted} per row, as in training.")
    sequences = [row.sequence for row in rows]
    pairs = [row.pair or "" for row in rows] if task.pairs else None
    if task.kind in ("multilabel", "regression"):
        return Labelled(sequences, _numbers(rows, task, path), pairs, path=path)
    labels, lengths = _classes(rows, task, path)
    return Labelled(sequences, labels, pairs, lengths if task.by_position else None, path)


def _wrong(path: Path, number: int, row: Row, task: Task, why: str = "") -> DataError:
    return DataError(
        f"{path}:{number}: must have a sequence and {_EXPECTED[task.kind]}{why} (got "
        f"{_short(row.sequence)}, {_short(row.label)})."
    )


def _numbers(rows: list[Row], task: Task, path: Path) -> npt.NDArray[np.float64]:
    values = np.empty((len(rows), len(task.names)))
    for number, row in enumerate(rows, start=2):
        parts = [part.strip() for part in row.label.split(";")]
        if len(parts) != len(task.names):
            raise _wrong(path, number, row, task, f" ({len(task.names)} of them)")
        good = all(part in ("0", "1") for part in parts)
        if task.kind == "regression":
            good = all(map(_is_number, parts)) and all(np.isfinite([float(p) for p in parts]))
        if not good:
            raise _wrong(path, number, row, task)
        values[number - 2] = [float(part) for part in parts]
    return values


def _classes(
    rows: list[Row], task: Task, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return classes one after the other, and how many each row has."""
    class_of = {name: i for i, name in enumerate(task.names)}
    labels: list[int] = []
    lengths = np.ones(len(rows), np.int64)
    for number, row in enumerate(rows, start=2):
        parts = [row.label]
        if task.by_position:
            split = ";" in row.label or task.kind == "tokens"
            parts = [part.strip() for part in row.label.split(";")] if split else [*row.label]
            if task.kind == "bases" and len(parts) != len(row.sequence):
                why = f" (the sequence has {len(row.sequence)} bases, the label {len(parts)})"
                raise _wrong(path, number, row, task, why)
        for part in parts:
            if (
                part.isdecimal()
                and len(part) < 19
                and (not task.names or int(part) < len(task.names))
            ):
                labels.append(int(part))
            elif part in class_of:
                labels.append(class_of[part])
            elif part == "." and task.by_position:
                labels.append(IGNORED)
            else:
                if part.isdecimal():
                    table = path.name.partition(".")[0]
                    raise DataError(
                        f"{path}:{number}: {table} has class {part}, which is not in train. Add "
                        "rows of it to train."
                    )
                raise _wrong(path, number, row, task)
        lengths[number - 2] = len(parts)
    return np.array(labels, dtype=np.int64), lengths
