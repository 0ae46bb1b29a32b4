"""Figures as printed in the paper; ``README.md`` beside the tables names sources."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Literal

__all__ = ["Row", "read_published"]

Row = dict[str, float | str | None]


@cache
def read_published(
    table: Literal["efficiency", "task_averages", "gue_plus", "configurations"],
) -> tuple[Row, ...]:
    """Return the rows of a table: numbers, names, and None for unpublished values.

    >>> read_published("task_averages")[0]["EMP"]
    49.54
    """
    with (Path(__file__).parent / f"{table}.csv").open(encoding="utf-8", newline="") as handle:
        return tuple({k: _read(v) for k, v in row.items()} for row in csv.DictReader(handle))


def _read(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text
