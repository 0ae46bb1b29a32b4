"""Plots of runs; need the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnabert2_fast._internal.extras import needs

__all__ = ["plot_losses"]


def plot_losses(metrics: list[dict[str, Any]], path: Path) -> None:
    """Plot training and held-out loss over steps, and the accuracy on held-out tokens.

    Dashed lines show the baseline of token frequencies.

    Parameters
    ----------
    metrics : list of dict
        Lines of ``metrics.jsonl`` of a pre-training run.
    path : Path
        Image to write; the suffix defines its format.
    """
    # The object interface does not change pyplot's global state and the user's backend.
    with needs("a plot"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    losses, accuracies = figure.subplots(2, sharex=True, height_ratios=[2, 1])
    train = [line for line in metrics if "loss" in line]
    held_out = [line for line in metrics if "eval_loss" in line]
    steps = [line["step"] for line in held_out]
    losses.plot(
        [line["step"] for line in train], [line["loss"] for line in train], lw=1, label="training"
    )
    losses.plot(steps, [line["eval_loss"] for line in held_out], "o-", ms=3, label="held out")
    guess = {"color": "grey", "ls": "--", "lw": 1, "label": "token frequencies"}
    losses.axhline(metrics[0]["baseline_loss"], **guess)
    losses.set_ylabel("cross-entropy of masked tokens (nats)")
    losses.legend(frameon=False)
    right = [100 * line["eval_accuracy"] for line in held_out]
    accuracies.plot(steps, right, "o-", ms=3, color="C1")
    accuracies.axhline(100 * metrics[0]["baseline_accuracy"], **guess)
    accuracies.set_ylabel("predicted correctly (%)")
    accuracies.set_xlabel("step")
    figure.savefig(path, dpi=150)
