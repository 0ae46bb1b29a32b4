"""Plots of the benchmark: bars by task with the paper's figures, bars by set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dnabert2_fast.benchmark.sets import TASKS
from dnabert2_fast.benchmark.summary import GUE_TASKS, Summary, published_sets, published_tasks

__all__ = ["plot_sets", "plot_tasks"]

BAR = 0.19  # height of a bar in inches


def plot_tasks(summary: Summary, path: Path) -> None:
    """Plot a panel for each task of GUE with a result, with the paper's systems in grey.

    Bars over some of a task's sets are hatched and show their number.
    """
    published = published_tasks()
    tasks = [t for t in GUE_TASKS if any(summary.task(s, t) for s in summary.systems)]
    names = [*published, *summary.systems]
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(
        figsize=(2.2 + 3.1 * columns, (0.9 + BAR * len(names)) * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    title = {task.name: f"{task.name}: {task.title} ({task.species})" for task in TASKS}
    for panel, task in zip(panels, tasks, strict=False):
        for position, name in enumerate(names):
            if name in published:
                panel.barh(position, published[name][task], color="lightgrey")
                panel.text(1, position, f"{published[name][task]:.1f}", va="center", fontsize=7)
                continue
            average = summary.task(name, task)
            if average is None:
                continue
            colour = _colour(summary, name)
            hatch = None if average.complete else "///"
            panel.barh(position, average.mean, color=colour, hatch=hatch, alpha=0.75, ec="white")
            part = "" if average.complete else f" ({average.sets} of {average.of} sets)"
            label = f"{average.mean:.1f}{part}"
            panel.text(1, position, label, va="center", fontsize=7, **_behind(average.complete))
        panel.set_title(title[task], fontsize=7.5)
        panel.set_xlim(min(0, *_lowest(summary, task)), 100)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(tasks) :]:
        panel.set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    metric = "MCC x 100 (CVC: F1 x 100). Grey: paper, all sets of a task"
    figure.supxlabel(metric, fontsize=8)
    figure.savefig(path, dpi=150)


def plot_sets(summary: Summary, path: Path) -> None:
    """Plot each set's bars for the systems of this run, and the paper's figures if available."""
    published = published_sets()
    shown = [name for name in published if set(published[name]) & set(summary.sets)]
    step = len(summary.systems) + 1
    height = 1.3 + BAR * step * len(summary.sets)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.add_subplot()
    for order, system in enumerate(summary.systems):
        positions = [
            i * step + order for i, s in enumerate(summary.sets) if _has(summary, system, s)
        ]
        scores = [summary.scores[system, s] for s in summary.sets if _has(summary, system, s)]
        axes.barh(
            positions,
            [score.mean for score in scores],
            height=0.9,
            xerr=[score.deviation or 0 for score in scores] if _spread(scores) else None,
            error_kw={"lw": 0.8},
            color=_colour(summary, system),
            label=system,
        )
    middle = (len(summary.systems) - 1) / 2
    for order, name in enumerate(shown):
        known = [i for i, s in enumerate(summary.sets) if s in published[name]]
        axes.plot(
            [published[name][summary.sets[i]] for i in known],
            [i * step + middle for i in known],
            marker="ov^<>sPX*D"[order % 10],
            ls="",
            ms=5,
            mfc="none",
            color="black",
            label=f"{name} (paper)",
        )
    axes.set_yticks([i * step + middle for i in range(len(summary.sets))], summary.sets)
    axes.set_ylim(step * len(summary.sets) - 0.5, -1)
    axes.set_xlim(right=100)
    axes.set_xlabel("MCC x 100 (virus/covid: F1 x 100); lines: standard deviation over seeds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=150)


def _has(summary: Summary, system: str, name: str) -> bool:
    return (system, name) in summary.scores


def _spread(scores: list[Any]) -> bool:
    return any(score.deviation is not None for score in scores)


def _colour(summary: Summary, system: str) -> str:
    return f"C{summary.systems.index(system) % 10}"


def _behind(complete: bool) -> dict[str, Any]:
    """Put a light background behind the text on a hatched bar."""
    ground = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.6}
    return {} if complete else {"bbox": ground}


def _lowest(summary: Summary, task: str) -> list[float]:
    averages = [summary.task(system, task) for system in summary.systems]
    return [average.mean for average in averages if average is not None]
