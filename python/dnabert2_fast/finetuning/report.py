"""The report of `evaluate`: scores beside those of training, scores by class, plots."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_fscore_support

from dnabert2_fast._internal.report import Block, Plot, Report, Section, Table
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.finetuning.labels import IGNORED
from dnabert2_fast.finetuning.metrics import BEST_BY, scores
from dnabert2_fast.finetuning.plot import PLOTS
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.io.arguments import printable

__all__ = ["report_on", "trained_scores"]

MAX_CLASSES = 1000  # rows of the table of classes

FILES = {
    "metrics.json": "all scores",
    "predictions.csv": "every answer",
    "confusions.csv": "the most frequent confusions",
}

MEANINGS = {
    "multiclass": "`mcc` is the Matthews correlation. `f1`, `precision` and `recall` are means "
    "over classes; `auroc` and `auprc` are those of the second of two classes, else means.",
    "multilabel": "Means over labels; `exact` is the fraction of rows with every label correct.",
    "regression": "Means over the outputs; `mae` and `rmse` have the unit of the labels.",
}


def trained_scores(folder: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Return the scores that `finetune` stored in its folder; none in other folders."""
    try:
        found = read_object(Path(folder) / "metrics.json")
    except (OSError, ValueError):
        return {}
    return {split: found[split] for split in ("test", "test_baseline") if split in found}


def report_on(
    out: Path,
    folder: str | os.PathLike[str],
    table: str | os.PathLike[str],
    task: Task,
    labels: npt.NDArray[Any],
    outputs: npt.NDArray[np.floating],
) -> Report:
    """Describe an evaluation.

    Parameters
    ----------
    out : Path
        Folder with the plots.
    folder, table : path
        The model, and the table with labels.
    task : Task
    labels, outputs : ndarray
        As in `dnabert2_fast.finetuning.metrics.scores`.
    """
    model, rows = printable(os.fspath(folder)), printable(os.fspath(table))
    count = int((labels != IGNORED).sum()) if task.by_position else len(labels)
    unit = {"tokens": "labelled tokens", "bases": "labelled bases"}.get(task.kind, "rows")
    intro = f"The model `{model}` on {count:,} {unit} of `{rows}` ({task.kind})."
    files = {name: what for name, what in FILES.items() if (out / name).exists()}
    plots = [Plot(name, text) for name, text in PLOTS.items() if (out / name).exists()]
    sections = [
        Section("", [intro]),
        Section(
            "Scores", _scores(task, scores(labels, outputs, task.kind), trained_scores(folder))
        ),
        _by_output(task, labels, outputs),
        *([Section("Plots", plots)] if plots else []),
        Section("Files", [" ".join(f"`{file}`: {what}." for file, what in files.items())]),
    ]
    return Report(f"Evaluation of {Path(model).name}", sections)


def _scores(
    task: Task, values: dict[str, float], trained: dict[str, dict[str, float]]
) -> list[Block]:
    titles = {"test": "test set of training", "test_baseline": "linear model on 5-mers, that set"}
    columns = [(titles[split], stored) for split, stored in trained.items()]
    rows = [
        [name, f"{value:.3f}", *(_shown(stored.get(name)) for _, stored in columns)]
        for name, value in values.items()
    ]
    blocks: list[Block] = [Table(["score", "this table", *(title for title, _ in columns)], rows)]
    best = BEST_BY[task.kind]
    tested, baseline = (trained.get(split, {}).get(best) for split in titles)
    if tested is not None and baseline is not None and baseline > tested:
        blocks.append(
            f"On the test set of training, the linear model on 5-mers has the higher `{best}`: "
            "there, fine-tuning has shown nothing."
        )
    return [*blocks, MEANINGS.get(task.kind, MEANINGS["multiclass"])]


def _by_output(task: Task, labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]) -> Section:
    if task.kind == "regression":
        each = [
            scores(labels[:, [c]], outputs[:, [c]], task.kind)
            for c in range(min(len(task.names), MAX_CLASSES))
        ]
        header = list(dict.fromkeys(name for one in each for name in one))
        table = Table(
            ["output", *header],
            [
                [task.names[c], *(_shown(one.get(name)) for name in header)]
                for c, one in enumerate(each)
            ],
        )
        return Section("By output", [table])
    if task.kind == "multilabel":
        wanted, answered = labels > 0.5, outputs >= 0.5
        counts, predicted = wanted.sum(0), answered.sum(0)
    else:
        asked = labels != IGNORED
        wanted, answered = labels[asked], outputs[asked].argmax(1)
        counts, predicted = (np.bincount(c, minlength=len(task.names)) for c in (wanted, answered))
    chosen = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    precision, recall, f1, _ = precision_recall_fscore_support(
        wanted, answered, labels=chosen, zero_division=0
    )
    rows = [
        [
            task.names[c],
            f"{counts[c]:,}",
            f"{predicted[c]:,}",
            *(f"{values[i]:.3f}" for values in (precision, recall, f1)),
        ]
        for i, c in enumerate(chosen)
    ]
    header = ["class", "labelled", "predicted", "precision", "recall", "f1"]
    blocks: list[Block] = [Table(header, rows)]
    if len(chosen) < len(task.names):
        blocks.append(f"The {len(chosen):,} most frequent of {len(task.names):,}.")
    return Section("By class", blocks)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
