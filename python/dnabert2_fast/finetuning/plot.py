"""Plots of a fine-tuned model's predictions; need the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.finetuning.task import IGNORED, Task

__all__ = ["plot_answers"]

MAX_NAMED = 12  # maximum curves in a legend, and classes with counts in the matrix


def plot_answers(
    folder: Path, task: Task, labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]
) -> None:
    """Plot confusion matrix and curves, or predicted against true numbers.

    Parameters
    ----------
    folder : Path
        Folder for ``confusion.png`` (not for multilabel) and ``curves.png``, or ``scatter.png`` for
        regression.
    task : Task
    labels, outputs : ndarray
        As in `dnabert2_fast.finetuning.metrics.scores`.
    """
    if task.kind == "regression":
        _scatter(folder / "scatter.png", task.names, labels, outputs)
        return
    if task.kind == "multilabel":
        _curves(folder / "curves.png", task.names, labels > 0.5, outputs)
        return
    asked = labels != IGNORED
    labels, outputs = labels[asked], outputs[asked]
    _confusion(folder / "confusion.png", task.names, labels, outputs.argmax(1))
    classes = range(len(task.names))
    chosen = classes[1:] if len(classes) == 2 else classes
    wanted = np.stack([labels == c for c in chosen], 1)
    _curves(folder / "curves.png", [task.names[c] for c in chosen], wanted, outputs[:, chosen])


def _figure(width: float, height: float) -> Any:
    # The object interface does not change pyplot's global state and the user's backend.
    with needs("a plot"):
        from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
    figure.savefig(path, dpi=150)


def _curves(
    path: Path,
    names: tuple[str, ...] | list[str],
    wanted: npt.NDArray[np.bool_],
    outputs: npt.NDArray[np.floating],
) -> None:
    figure = _figure(9, 4.2)
    roc, recall = figure.subplots(1, 2)
    for column, name in enumerate(names):
        yes, given = wanted[:, column], outputs[:, column]
        if not 0 < yes.sum() < len(yes):
            continue  # a curve needs both outcomes
        false, true, _ = roc_curve(yes, given)
        precision, found, _ = precision_recall_curve(yes, given)
        roc.plot(false, true, lw=1, label=name)
        recall.step(found, precision, lw=1, where="post")
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
        roc.legend(frameon=False, loc="lower right", title="dashed: chance")
    else:
        roc.set_title(f"{len(names)} labels; dashed: chance", fontsize="medium")
    figure.savefig(path, dpi=150)


def _scatter(
    path: Path,
    names: tuple[str, ...],
    labels: npt.NDArray[Any],
    outputs: npt.NDArray[np.floating],
) -> None:
    figure = _figure(4.5 * len(names), 4.2)
    for axes, name, true, given in zip(
        figure.subplots(1, len(names), squeeze=False)[0], names, labels.T, outputs.T, strict=True
    ):
        low, high = min(true.min(), given.min()), max(true.max(), given.max())
        axes.plot([low, high], [low, high], color="grey", ls="--", lw=1)
        axes.scatter(true, given, s=8, alpha=0.6)
        axes.set_xlabel(f"true {name}")
        axes.set_ylabel(f"predicted {name}")
    figure.savefig(path, dpi=150)
