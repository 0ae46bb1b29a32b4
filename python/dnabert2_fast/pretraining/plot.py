"""Pictures of runs; needs the extra ``plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnabert2_fast._internal.extras import needs

__all__ = ["plot_losses"]


def plot_losses(metrics: list[dict[str, Any]], path: Path) -> None:
    """Draw training and held-out loss over steps, and how many held-out tokens are guessed right.

    Dashed lines are what guessing by token frequency scores.

    Parameters
    ----------
    metrics : list of dict
        Lines of ``metrics.jsonl`` of a pre-training run.
    path : Path
        Picture to write; the suffix sets its kind.
    """
    # The object interface leaves pyplot's global state, and the user's backend, alone.
    with needs("a picture"):
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
    guess = {"color": "grey", "ls": "--", "lw": 1, "label": "guess by token frequency"}
    losses.axhline(metrics[0]["baseline_loss"], **guess)
    losses.set_ylabel("cross-entropy of masked tokens (nats)")
    losses.legend(frameon=False)
    right = [100 * line["eval_accuracy"] for line in held_out]
    accuracies.plot(steps, right, "o-", ms=3, color="C1")
    accuracies.axhline(100 * metrics[0]["baseline_accuracy"], **guess)
    accuracies.set_ylabel("guessed right (%)")
    accuracies.set_xlabel("step")
    figure.savefig(path, dpi=150)
