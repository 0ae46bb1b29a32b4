"""Numbers of a report from result files: means over seeds, averages over sets, ranks.

Scores are times 100, as in the paper. An average states its number of sets; sets that were not run
or printed are not filled in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.benchmark.published import Row, read_published
from dnabert2_fast.benchmark.sets import SETS, TASKS, whole_set
from dnabert2_fast.errors import CheckpointError

__all__ = [
    "Average",
    "Result",
    "Score",
    "Summary",
    "published_average",
    "published_sets",
    "published_tasks",
    "read_results",
    "summarise",
    "top_two",
]

SETS_OF = Counter(one.task for one in SETS)
GUE_TASKS = [task.name for task in TASKS if task.benchmark == "GUE"]


class Result(NamedTuple):
    """One result file; fields as in `docs/formats.md`."""

    system: str
    set: str
    seed: int
    settings: dict[str, Any]
    rows: dict[str, int]
    metrics: dict[str, dict[str, float]]
    parameters: int
    trained: int
    flops: float
    tokens: float | None
    reference_flops: float

    @property
    def score(self) -> float:
        """The paper's metric for the set, on test, times 100."""
        return 100 * self.metrics["test"][whole_set(self.set).metric]


class Score(NamedTuple):
    """Mean over seeds, standard deviation of a sample (None for one run), runs."""

    mean: float
    deviation: float | None
    runs: int


class Average(NamedTuple):
    """Mean score over the sets with a result: `sets` of `of` sets."""

    mean: float
    sets: int
    of: int

    @property
    def complete(self) -> bool:
        """Whether all sets are in it."""
        return self.sets == self.of


class Summary(NamedTuple):
    """The contents of reports.

    Attributes
    ----------
    systems : list of str
        Simple systems first.
    sets : list of str
        Sets with a result of any system, in the paper's order.
    scores : dict of (system, set) to Score
    results : list of Result
    """

    systems: list[str]
    sets: list[str]
    scores: dict[tuple[str, str], Score]
    results: list[Result]

    def task(self, system: str, task: str) -> Average | None:
        """Return a system's average over the sets of a task; None if it ran on none."""
        return self._over(system, [one.name for one in SETS if one.task == task])

    def whole(self, system: str) -> Average | None:
        """Return a system's average over the 28 sets of GUE."""
        return self._over(system, [one.name for one in SETS if one.task in GUE_TASKS])

    def common(self) -> list[str]:
        """Return the sets that all systems have run."""
        return [n for n in self.sets if all((s, n) in self.scores for s in self.systems)]

    def _over(self, system: str, names: Sequence[str]) -> Average | None:
        there = [self.scores[system, n].mean for n in names if (system, n) in self.scores]
        return Average(float(np.mean(there)), len(there), len(names)) if there else None


def read_results(out: Path) -> list[Result]:
    """Return all results in a folder that `gue` wrote.

    Raises
    ------
    CheckpointError
        When a file is damaged.
    """
    results = []
    for path in sorted((out / "results").glob("*/*/seed-*.json")):
        try:
            content = read_object(path)
            results.append(Result(**{name: content[name] for name in Result._fields}))
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path}: damaged. Delete it to run it again.") from None
    return results


def summarise(results: Sequence[Result]) -> Summary:
    """Return means over seeds."""
    scores = {}
    for key in {(one.system, one.set) for one in results}:
        values = [one.score for one in results if (one.system, one.set) == key]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        scores[key] = Score(float(np.mean(values)), spread, len(values))
    simple = ["k-mers", "CNN"]
    names = {one.system for one in results}
    systems = [n for n in simple if n in names] + sorted(names - set(simple))
    there = {one.set for one in results}
    return Summary(systems, [s.name for s in SETS if s.name in there], scores, list(results))


def published_tasks() -> dict[str, dict[str, float]]:
    """Return the paper's averages by system and task of GUE."""
    return {
        str(row["model"]): {task: _float(row, task) for task in GUE_TASKS}
        for row in read_published("task_averages")
    }


def published_sets() -> dict[str, dict[str, float]]:
    """Return the published scores of single sets, by system and set.

    For GUE these are the sets that are a task of their own.
    """
    single = {one.task: one.name for one in SETS if SETS_OF[one.task] == 1}
    figures: dict[str, dict[str, float]] = {}
    for system, tasks in published_tasks().items():
        figures[system] = {single[task]: value for task, value in tasks.items() if task in single}
    for row in read_published("gue_plus"):
        known = {k: v for k, v in row.items() if isinstance(v, float)}
        figures.setdefault(str(row["model"]), {}).update(known)
    return figures


def published_average(tasks: Mapping[str, float]) -> float:
    """Return the average over the 28 sets that follows from averages over tasks.

    >>> round(published_average(published_tasks()["DNABERT-2"]), 2)
    66.8
    """
    total = sum(SETS_OF[task] * value for task, value in tasks.items())
    return total / sum(SETS_OF[task] for task in tasks)


def top_two(columns: Sequence[Mapping[str, float]]) -> dict[str, tuple[int, int]]:
    """Return in how many columns each system is first, and second; equal figures share a rank.

    >>> top_two([{"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 1.0, "b": 5.0, "c": 5.0}])
    {'a': (1, 0), 'b': (1, 1), 'c': (1, 0)}
    """
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for column in columns:
        for system, value in column.items():
            above = sum(other > value for other in column.values())
            first[system] += above == 0
            second[system] += above == 1
    names = sorted({system for column in columns for system in column})
    return {name: (first[name], second[name]) for name in names}


def _float(row: Row, name: str) -> float:
    value = row[name]
    assert isinstance(value, float), f"{row['model']} has no {name}"
    return value
