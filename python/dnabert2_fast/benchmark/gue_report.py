"""The report of the benchmark: Markdown and HTML, CSV tables, plots."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.report import Best, Block, Plot, Report, Section, Table, save_report
from dnabert2_fast.benchmark.flops import efficiency
from dnabert2_fast.benchmark.gue_plots import plot_sets, plot_tasks
from dnabert2_fast.benchmark.published import read_published
from dnabert2_fast.benchmark.sets import SETS, TASKS, whole_set
from dnabert2_fast.benchmark.summary import (
    GUE_TASKS,
    SETS_OF,
    Average,
    Result,
    Score,
    Summary,
    published_average,
    published_sets,
    published_tasks,
    read_results,
    summarise,
    top_two,
)

__all__ = ["Result", "read_results", "write_report"]

NONE = "-"


def write_report(out: Path, skipped: Mapping[str, str]) -> None:
    """Write ``report.md``, ``report.html``, ``scores.csv``, ``efficiency.csv`` and plots.

    Parameters
    ----------
    out : Path
        Folder with ``results``.
    skipped : mapping of str to str
        Sets that were requested and could not be run, with the reason.
    """
    summary = summarise(read_results(out))
    _write_csv(out / "scores.csv", _score_rows(summary))
    _write_csv(out / "efficiency.csv", [dict(row) for row in efficiency()])
    with atomic_path(out / "sets.png") as temporary:
        plot_sets(summary, temporary)
    if any(task in GUE_TASKS for task in _tasks_here(summary)):
        with atomic_path(out / "tasks.png") as temporary:
            plot_tasks(summary, temporary)
    sections = (
        _head(summary, skipped),
        _by_set(summary),
        _by_task(summary),
        _counts(summary),
        _efficiency(summary),
        _runs(summary),
    )
    save_report(out, Report("GUE", sections))


def _head(summary: Summary, skipped: Mapping[str, str]) -> Section:
    here = set(summary.sets)
    text = (
        "Matthews correlation times 100 on test; for virus/covid F1, averaged over classes, times "
        "100. Every system has the same training, dev and test rows; the best epoch is chosen on "
        "dev. `k-mers` is logistic regression on counts of k-mers of length 1 to 6, the baseline "
        "for every model."
    )
    counts = []
    for benchmark in ("GUE", "GUE+"):
        names = [s.name for s in SETS if _benchmark_of(s.task) == benchmark]
        there = [name for name in names if name in here]
        counts.append(f"{len(there)} of the {len(names)} sets of {benchmark} have results.")
    blocks = [text, " ".join(counts)]
    gone = {name: why for name, why in skipped.items() if name not in here}
    if gone:
        blocks.append("Skipped: " + "; ".join(f"{n} ({why})" for n, why in gone.items()) + ".")
    return Section("", blocks)


def _by_set(summary: Summary) -> Section:
    published = published_sets()
    shown = [name for name in published if set(published[name]) & set(summary.sets)]
    header = ["set", "task", "metric", "training rows", *summary.systems]
    header += [f"{name} (paper)" for name in shown]
    rows = []
    for name in summary.sets:
        one = whole_set(name)
        scores = [summary.scores.get((system, name)) for system in summary.systems]
        best = max(score.mean for score in scores if score is not None)
        cells = [_score(score, best) for score in scores]
        sizes = next(r.rows["train"] for r in summary.results if r.set == name)
        row = [name, one.task, one.metric.upper(), f"{sizes:,}", *cells]
        rows.append(row + [_figure(published[system].get(name)) for system in shown])
    common, total = summary.common(), []
    if len(common) > 1:
        means = [
            float(np.mean([summary.scores[s, n].mean for n in common])) for s in summary.systems
        ]
        best = max(means)
        cells = [Best(f"{mean:.2f}") if mean == best else f"{mean:.2f}" for mean in means]
        row = [f"mean of the {len(common)} sets that all ran", "", "", "", *cells]
        total.append(row + [NONE] * len(shown))
    blocks: list[Block] = [
        Table(header, rows, total),
        "Mean over seeds ± standard deviation (of a sample, n - 1); bold: the best in this report. "
        "For single sets, the paper's main tables contain only CVC, SSP and GUE+.",
        Plot("sets.png", "scores by set"),
    ]
    return Section("By set", blocks)


def _by_task(summary: Summary) -> Section:
    published = published_tasks()
    printed = {row["model"]: row["average_score"] for row in read_published("efficiency")}
    rows = []
    for system, tasks in published.items():
        average = f"{printed[system]:.2f}"
        computed = published_average(tasks)
        if abs(computed - float(average)) > 0.015:  # both sides are rounded
            average += f" (its tasks give {computed:.2f})"
        rows.append([f"{system} (paper)", *(f"{tasks[t]:.2f}" for t in GUE_TASKS), average])
    for system in summary.systems:
        cells = [_average(summary.task(system, task)) for task in GUE_TASKS]
        rows.append([Best(system), *cells, _average(summary.whole(system))])
    header = ["system", *GUE_TASKS, "average"]
    titles = "; ".join(
        f"{t.name} {t.title} ({t.species}, {SETS_OF[t.name]})" for t in TASKS if t.name in GUE_TASKS
    )
    blocks: list[Block] = [
        Table(header, rows),
        f"{titles}. The last column is the mean over sets, not over tasks. An average over some of "
        "the sets shows their number, and cannot be compared with one over all.",
    ]
    if any(task in GUE_TASKS for task in _tasks_here(summary)):
        blocks.append(Plot("tasks.png", "averages by task"))
    return Section("By task, beside the paper", blocks)


def _counts(summary: Summary) -> Section:
    common = summary.common()
    columns = [{s: summary.scores[s, n].mean for s in summary.systems} for n in common]
    here = top_two(columns)
    published = published_tasks()
    complete = [
        task
        for task in GUE_TASKS
        if all((a := summary.task(s, task)) is not None and a.complete for s in summary.systems)
    ]
    among = top_two([_task_column(summary, published, task) for task in complete])
    rows = []
    for row in read_published("efficiency"):
        name = str(row["model"])
        paper = f"{row['num_top1']:.0f}, {row['num_top2']:.0f}"
        rows.append([f"{name} (paper)", paper, NONE, _pair(among.get(name))])
    rows += [[Best(s), NONE, _pair(here.get(s)), _pair(among.get(s))] for s in summary.systems]
    header = [
        "system",
        "the paper's, sets: 28",
        f"here, sets: {len(common)}",
        f"all systems, tasks: {len(complete)}",
    ]
    blocks: list[Block] = [
        Table(header, rows),
        "The paper counts among its own ten systems. `here` counts among the systems of this "
        "report, on the sets that all of them ran. The last column counts among all systems, on "
        "the tasks whose sets were all run here.",
    ]
    return Section("How often first, and second", blocks)


def _efficiency(summary: Summary) -> Section:
    rows = [
        [
            row["system"],
            f"{row['published_parameters_M']:.0f}",
            f"{row['parameters'] / 1e6:.1f}",
            f"{row['tokens']:g}",
            f"{row['published_relative']:.2f}",
            f"{row['relative']:.2f}",
        ]
        for row in efficiency()
    ]
    header = [
        "system",
        "parameters, paper (M)",
        "parameters, computed (M)",
        "tokens of 500 bp",
        "relative FLOPs, paper",
        "relative FLOPs, computed",
    ]
    own = []
    for system in summary.systems:
        results = [r for r in summary.results if r.system == system]
        relative = [r.flops / r.reference_flops for r in results]
        tokens = [r.tokens for r in results if r.tokens is not None]
        own.append(
            [
                system,
                f"{np.mean([r.parameters for r in results]) / 1e6:.3f}",
                f"{np.mean([r.trained for r in results]) / 1e6:.3f}",
                f"{np.mean(tokens):.1f}" if tokens else NONE,
                f"{np.mean(relative):.2g}",
            ]
        )
    own_header = [
        "system of this report",
        "parameters (M)",
        "trained (M)",
        "tokens of a test row",
        "FLOPs relative to DNABERT-2",
    ]
    blocks: list[Block] = [
        Table(header, rows),
        "Computed from configurations: parameters of the masked language model; FLOPs of a forward "
        "pass over one sequence of 500 bp as `2 * n * weights + 4 * n^2 * layers * width`, with "
        "`n` tokens and the weights of all matrices of the encoder. Heads, embeddings and norms "
        "are omitted. DNABERT has 500 - k + 1 k-mers and two special tokens, the Nucleotide "
        "Transformer 83 6-mers, two single bases and one special token, DNABERT-2 103.1 tokens "
        "(mean of the test rows of EMP/H3).",
        "The paper does not describe its count or its number of tokens. With 125 tokens for "
        "DNABERT-2, four bases each, the formula gives its 3.26 for DNABERT within 0.02. Measured "
        "rows have fewer tokens, so all other models are more expensive relative to it. Between "
        "NT-2500M and NT-500M the paper has a factor of 6.1, the matrices one of 5.3, for any "
        "number of tokens.",
        Table(own_header, own),
        "Means over the sets that a system ran on, relative to the published DNABERT-2 on the same "
        "test rows. For `k-mers`: two operations per nonzero count and class. For `CNN`: counted "
        "by torch on a row of mean length.",
    ]
    return Section("Efficiency", blocks)


def _runs(summary: Summary) -> Section:
    rows = []
    for system in summary.systems:
        results = [r for r in summary.results if r.system == system]
        seeds = sorted({r.seed for r in results})
        values_of: dict[str, list[str]] = {}
        for result in results:
            for name, value in result.settings.items():
                if str(value) not in values_of.setdefault(name, []):
                    values_of[name].append(str(value))
        settings = "; ".join(f"{name} {' or '.join(values)}" for name, values in values_of.items())
        rows.append([system, str(len(results)), ", ".join(map(str, seeds)), settings])
    table = Table(["system", "runs", "seeds", "settings"], rows)
    return Section("Runs", [table, "Every run is a file in `results/`, with all scores."])


def _task_column(
    summary: Summary, published: Mapping[str, Mapping[str, float]], task: str
) -> dict[str, float]:
    column = {name: tasks[task] for name, tasks in published.items()}
    for system in summary.systems:
        average = summary.task(system, task)
        if average is not None:
            column[system] = average.mean
    return column


def _score_rows(summary: Summary) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    published = published_sets()
    for name in summary.sets:
        one = whole_set(name)
        start = {"set": name, "task": one.task, "metric": one.metric}
        for system in summary.systems:
            score = summary.scores.get((system, name))
            if score is not None:
                rows.append({**start, "system": system, "source": "here", **_rounded(score)})
        for system, figures in published.items():
            if name in figures:
                cells = {"score": figures[name], "deviation": "", "runs": ""}
                rows.append({**start, "system": system, "source": "paper", **cells})
    return rows


def _rounded(score: Score) -> dict[str, object]:
    spread = "" if score.deviation is None else round(score.deviation, 4)
    return {"score": round(score.mean, 4), "deviation": spread, "runs": score.runs}


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as handle,
    ):
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _score(score: Score | None, best: float) -> str:
    if score is None:
        return NONE
    text = f"{score.mean:.2f}"
    if score.deviation is not None:
        text += f" ± {score.deviation:.2f}"
    return Best(text) if score.mean == best else text


def _average(average: Average | None) -> str:
    if average is None:
        return NONE
    part = "" if average.complete else f" ({average.sets} of {average.of})"
    return f"{average.mean:.2f}{part}"


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _pair(counts: tuple[int, int] | None) -> str:
    return NONE if counts is None else f"{counts[0]}, {counts[1]}"


def _benchmark_of(task: str) -> str:
    return next(t.benchmark for t in TASKS if t.name == task)


def _tasks_here(summary: Summary) -> set[str]:
    return {whole_set(name).task for name in summary.sets}
