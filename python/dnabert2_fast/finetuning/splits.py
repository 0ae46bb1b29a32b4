"""One labelled table as train, dev and test: stratified by class, and no group in two of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnabert2_fast._internal.atomic import atomic_folder, atomic_json
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.config import FinetuneConfig
from dnabert2_fast.finetuning.label_text import kind_of
from dnabert2_fast.finetuning.labels import SPLITS
from dnabert2_fast.finetuning.rows import ColumnNames, Row, name_of, read_rows, write_rows
from dnabert2_fast.io.strand import reverse_complement

__all__ = ["counts_of", "shares_of", "split_rows", "split_table", "write_split"]

MAX_LISTED = 8  # classes whose counts are in the line


def shares_of(text: str) -> dict[str, float]:
    """Return the share of each split of ``--split``.

    Raises
    ------
    ValueError
        Unless they are three positive numbers with the sum 1.

    Examples
    --------
    >>> shares_of("0.8,0.1,0.1")
    {'train': 0.8, 'dev': 0.1, 'test': 0.1}
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != 3 or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(
            "split: must be the shares of train, dev and test, three positive numbers with the "
            f"sum 1 (got {text}). Write --split 0.8,0.1,0.1."
        )
    return dict(zip(SPLITS, shares, strict=True))


def split_table(config: FinetuneConfig) -> dict[str, list[Row]]:
    """Read the one table of a fine-tuning, and return the rows of its splits.

    Raises
    ------
    DataError
        When it is damaged, lacks a column, or has too few rows or groups for three tables.
    """
    shares = shares_of(config.split)
    columns = ColumnNames(config.sequence_column, config.label_column, config.group_column)
    rows = [
        row._replace(name=row.name or str(number))
        for number, row in enumerate(read_rows(config.data, rna=config.rna, columns=columns))
    ]
    kind = kind_of({row.label for row in rows}) if config.task == "auto" else config.task
    found = split_rows(rows, shares, config.seed, by_label=kind == "multiclass")
    empty = [split for split in SPLITS if not found[split]]
    if empty:
        what = "groups" if config.group_column else "rows"
        raise DataError(
            f"{name_of(config.data)}: has too few {what} for three tables ({empty[0]} is empty). "
            f"Add {what}."
        )
    return found


def split_rows(
    rows: Sequence[Row], shares: Mapping[str, float], seed: int, *, by_label: bool
) -> dict[str, list[Row]]:
    """Return rows as train, dev and test, each in the order of the rows.

    Rows of one group, and rows with the same sequence on either strand, are in one split. The
    largest groups are assigned first, each where its classes lack most rows. Rows of their own
    follow, class by class, in the shares that are then left. The first row of a class is in train.

    >>> rows = [Row("", "ACGT"[i % 4] * (i + 1), None, "ab"[i % 2]) for i in range(20)]
    >>> found = split_rows(rows, shares_of("0.8,0.1,0.1"), 42, by_label=True)
    >>> {split: "".join(sorted(row.label for row in found[split])) for split in found}
    {'train': 'aaaaaaaabbbbbbbb', 'dev': 'ab', 'test': 'ab'}
    """
    members: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row.group or _content(row), []).append(number)
    order = np.random.default_rng(seed).permutation(len(members))
    listed = list(members.values())
    classes = [row.label if by_label else "" for row in rows]
    # Stable: groups of one size, and rows of one class, stay in random order.
    queue = sorted((listed[i] for i in order), key=lambda g: (-len(g), classes[g[0]]))
    sizes = Counter(classes)
    lacking = {s: {name: shares[s] * n for name, n in sizes.items()} for s in SPLITS}
    due = dict.fromkeys(SPLITS, 0.0)
    chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
    known: set[str] = set()
    for done, group in enumerate(queue):
        counts = Counter(classes[number] for number in group)
        empty = [split for split in SPLITS if not chosen[split]]
        if len(group) == 1:
            left = {s: max(lacking[s][classes[group[0]]], 0.0) for s in SPLITS}
            total = sum(left.values())
            for split in SPLITS:
                due[split] += left[split] / total if total else shares[split]
        if not counts.keys() <= known:
            split = "train"
        elif len(queue) - done <= len(empty):
            split = empty[0]
        elif len(group) == 1:
            split = max(SPLITS, key=due.__getitem__)
        else:
            split = max(SPLITS, key=lambda s: sum(n * lacking[s][c] for c, n in counts.items()))
        chosen[split] += group
        if split == "train":
            known |= counts.keys()
        if len(group) == 1:
            due[split] -= 1
        else:
            for name, n in counts.items():
                lacking[split][name] -= n
    return {split: [rows[number] for number in sorted(chosen[split])] for split in SPLITS}


def _content(row: Row) -> tuple[str, str | None]:
    """Return the same for rows whose sequences are the same on either strand."""
    text = row.sequence.upper()
    if row.pair is not None:
        return text, row.pair.upper()
    return min(text, reverse_complement(text)), None


def counts_of(rows: Sequence[Row]) -> str:
    """Return the number of rows, and of each class if they are few."""
    classes = Counter(row.label for row in rows)
    if len(classes) > MAX_LISTED:
        return f"{len(rows):,} rows"
    listed = ", ".join(f"{n:,} {name}" for name, n in sorted(classes.items()))
    return f"{len(rows):,} rows ({listed})"


def write_split(folder: Path, config: FinetuneConfig, rows: Mapping[str, list[Row]]) -> None:
    """Write train, dev and test as tables of a new folder, with ``tables.json``."""
    record: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("data", "sequence_column", "label_column", "group_column", "split", "seed")
    }
    record["rows"] = {split: len(rows[split]) for split in SPLITS}
    with atomic_folder(folder) as made:
        for split in SPLITS:
            write_rows(made / f"{split}.csv.gz", rows[split])
        atomic_json(made / "tables.json", record)
