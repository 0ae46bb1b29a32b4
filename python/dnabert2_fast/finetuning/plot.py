"""Plots of a fine-tuned model's predictions; need the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast.finetuning.labels import IGNORED
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.io.table_writer import table_writer

__all__ = ["PLOTS", "plot_answers"]

PLOTS = {
    "confusion.png": "confusion matrix: true against predicted classes",
    "curves.png": "ROC and precision-recall curves",
    "scatter.png": "predicted against true numbers",
}
"""The files that `plot_answers` may write, with descriptions."""

MAX_NAMED = 12  # maximum curves in a legend, and classes with counts in the matrix
MAX_DRAWN = 40  # maximum classes of a matrix, and curves: at 0.5 inch a class 600 would take 22 GB
MAX_CONFUSIONS = 1000  # rows of the table that replaces a larger matrix
PANELS = 4  # scatter plots in a row


def plot_answers(
    folder: Path, task: Task, labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]
) -> None:
    """Plot confusion matrix and curves, or predicted against true numbers.

    Parameters
    ----------
    folder : Path
        Folder for ``confusion.png`` (not for multilabel) and ``curves.png``, or ``scatter.png`` for
        regression. With more than 40 classes ``confusions.csv`` replaces the first: pairs of a true
        and a wrongly predicted class, by descending count. At most 40 curves or scatter plots are
        drawn: those of the most frequent labels, or of the first numbers.
    task : Task
    labels, outputs : ndarray
        As in `dnabert2_fast.finetuning.metrics.scores`.
    """
    if task.kind == "regression":
        _scatter(folder / "scatter.png", task.names, labels, outputs)
        return
    if task.kind == "multilabel":
        wanted = labels > 0.5
        chosen = _most_frequent(wanted.sum(0))
        names = [task.names[c] for c in chosen]
        _curves(
            folder / "curves.png", names, wanted[:, chosen], outputs[:, chosen], len(task.names)
        )
        return
    asked = labels != IGNORED
    labels, outputs = labels[asked], outputs[asked]
    count = len(task.names)
    if count <= MAX_DRAWN:
        _confusion(folder / "confusion.png", task.names, labels, outputs.argmax(1))
    else:
        _confusions(folder / "confusions.csv", task.names, labels, outputs.argmax(1))
    chosen = np.arange(1, 2) if count == 2 else _most_frequent(np.bincount(labels, minlength=count))
    wanted = labels[:, None] == chosen
    names = [task.names[c] for c in chosen]
    _curves(folder / "curves.png", names, wanted, outputs[:, chosen], count)


def _most_frequent(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the labels that are drawn, in their own order."""
    return np.sort(np.argsort(-counts, kind="stable")[:MAX_DRAWN])


def _figure(width: float, height: float) -> Any:
    # The object interface does not change pyplot's global state and the user's backend.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _confusion(
    path: Path,
    names: tuple[str, ...],
    labels: npt.NDArray[Any],
    predicted: npt.NDArray[np.integer],
) -> None:
    counts = confusion_matrix(labels, predicted, labels=range(len(names)))
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    size = max(4.0, 0.5 * len(names) + 2.5)
    figure = _figure(size + 0.8, size)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right")
    axes.set_yticks(ticks, names)
    if len(names) <= MAX_NAMED:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.colorbar(image, label="fraction of the true class", shrink=0.8)
    _save(figure, path)


def _confusions(
    path: Path,
    names: tuple[str, ...],
    labels: npt.NDArray[Any],
    predicted: npt.NDArray[np.integer],
) -> None:
    wrong = labels != predicted
    pairs, counts = np.unique(
        np.stack([labels[wrong], predicted[wrong]], 1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:MAX_CONFUSIONS]
    of_label = np.bincount(labels, minlength=len(names))
    columns = {
        "label": [names[c] for c in pairs[order, 0]],
        "prediction": [names[c] for c in pairs[order, 1]],
        "count": counts[order],
        "fraction_of_label": counts[order] / of_label[pairs[order, 0]],
    }
    with table_writer(path) as write:
        write(pa.table(columns))


def _curves(
    path: Path,
    names: list[str],
    wanted: npt.NDArray[np.bool_],
    outputs: npt.NDArray[np.floating],
    total: int,
) -> None:
    figure = _figure(9, 4.2)
    roc, recall = figure.subplots(1, 2)
    for column, name in enumerate(names):
        yes, given = wanted[:, column], outputs[:, column]
        if not 0 < yes.sum() < len(yes):
            continue  # a curve needs both outcomes
        false, true, _ = roc_curve(yes, given)
        precision, found, _ = precision_recall_curve(yes, given)
        roc.plot(false, true, lw=1, label=f"{name}, AUC {auc(false, true):.3f}")
        mean = average_precision_score(yes, given)
        label = f"{name}, AP {mean:.3f}, n {yes.sum():,}"
        recall.step(found, precision, lw=1, where="post", label=label)
    roc.plot([0, 1], [0, 1], color="grey", ls="--", lw=1)
    if len(names) == 1:
        recall.axhline(wanted.mean(), color="grey", ls="--", lw=1)
    roc.set_xlabel("false positive rate")
    roc.set_ylabel("true positive rate")
    recall.set_xlabel("recall")
    recall.set_ylabel("precision")
    for axes in (roc, recall):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    if len(names) <= MAX_NAMED:
        roc.legend(frameon=False, loc="lower right", title="dashed: chance", fontsize="small")
        recall.legend(frameon=False, loc="lower left", fontsize="small")
        named = ""
    else:
        of_all = f"the {len(names)} most frequent of " if len(names) < total else ""
        named = f"{of_all}{total} labels; dashed: chance; "
    figure.suptitle(f"{named}n {len(wanted):,}", fontsize="medium")
    _save(figure, path)


def _scatter(
    path: Path,
    names: tuple[str, ...],
    labels: npt.NDArray[Any],
    outputs: npt.NDArray[np.floating],
) -> None:
    drawn = names[:MAX_DRAWN]
    rows, width = -(-len(drawn) // PANELS), min(len(drawn), PANELS)
    figure = _figure(4.5 * width, 4.2 * rows)
    for number, (name, true, given) in enumerate(
        zip(drawn, labels.T[:MAX_DRAWN], outputs.T[:MAX_DRAWN], strict=True), start=1
    ):
        axes = figure.add_subplot(rows, width, number)
        low, high = min(true.min(), given.min()), max(true.max(), given.max())
        axes.plot([low, high], [low, high], color="grey", ls="--", lw=1)
        axes.scatter(true, given, s=8, alpha=0.6)
        axes.set_xlabel(f"true {name}")
        axes.set_ylabel(f"predicted {name}")
    _save(figure, path)
