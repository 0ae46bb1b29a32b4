"""Pictures of runs; needs the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["plot_losses"]


def plot_losses(metrics: list[dict[str, Any]], path: Path) -> None:
    """Draw training and held-out loss over steps, with the frequency baseline as a line.

    Parameters
    ----------
    metrics : list of dict
        Lines of ``metrics.jsonl`` of a pre-training run.
    path : Path
        Picture to write; the suffix sets its kind.
    """
    # The object interface leaves pyplot's global state, and the user's backend, alone.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    train = [line for line in metrics if "loss" in line]
    axes.plot(
        [line["step"] for line in train], [line["loss"] for line in train], lw=1, label="training"
    )
    axes.plot(
        [line["step"] for line in metrics],
        [line["eval_loss"] for line in metrics],
        "o-",
        ms=3,
        label="held out",
    )
    baseline = metrics[0]["baseline_loss"]
    axes.axhline(baseline, color="grey", ls="--", lw=1, label="guess by token frequency")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy of masked tokens (nats)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
