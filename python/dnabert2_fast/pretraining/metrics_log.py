"""Targets of a run's metrics during training: a file, TensorBoard, Weights & Biases."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.model.distributed import DistributedContext
from dnabert2_fast.pretraining.microbatch import GlobalBatch
from dnabert2_fast.pretraining.run_folder import RunFolder

__all__ = ["Reporter", "StepSums", "memory_gb"]


class StepSums:
    """Sums over the steps since the last line of metrics.

    Losses, labelled tokens and gradient norms stay on the device, so that no step waits for them.
    """

    def __init__(self, context: DistributedContext) -> None:
        self._context = context
        self._here = torch.zeros(3, device=context.device)
        self.clear()

    def add(
        self, batch: GlobalBatch, loss_sum: torch.Tensor, labelled: torch.Tensor, norm: torch.Tensor
    ) -> None:
        """Add a step: this process' loss and labels, and the gradient norm of all."""
        # Every process has the whole norm, hence it counts once.
        self._here += torch.stack(
            [loss_sum, labelled.float(), norm.float() * self._context.is_rank_zero]
        )
        self.steps += 1
        self.timed_steps += 1
        self.tokens += batch.tokens
        self.squares += batch.squares

    def totals(self) -> list[float]:
        """Return the sums over all processes: loss, labelled tokens, gradient norm."""
        totals: list[float] = self._context.all_reduce_sum(self._here).tolist()
        return totals

    def take_up(self, totals: list[float], steps: int) -> None:
        """Continue the sums of a checkpoint; their steps are not timed."""
        self.clear()
        if self._context.is_rank_zero:  # they are of all processes together
            self._here += torch.tensor(totals, device=self._here.device)
        self.steps = steps

    def clear(self) -> None:
        """Reset the sums and the clock."""
        self._here.zero_()
        self.steps = self.timed_steps = self.tokens = self.squares = 0
        self.started = time.perf_counter()


class Reporter:
    """Writes every line of metrics to all requested targets.

    Parameters
    ----------
    folder : RunFolder
    settings : dict
        Shown with the run in Weights & Biases.
    tensorboard : bool
        Write ``tensorboard/`` in the run folder.
    wandb : str or None
        Project; the run there resumes with this one.

    Raises
    ------
    ModuleNotFoundError
        When tensorboard or wandb is requested and not installed.
    """

    def __init__(
        self, folder: RunFolder, settings: dict[str, Any], tensorboard: bool, wandb: str | None
    ) -> None:
        self._folder = folder
        self._board: Any = None
        self._wandb: Any = None
        if tensorboard:
            with needs("--tensorboard"):
                import tensorboard as _  # noqa: F401 (torch's own message gives no remedy)
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(folder.folder / "tensorboard")
        if wandb:
            with needs("--wandb"):
                import wandb as library

            path = folder.folder.resolve()
            self._wandb = library.init(
                project=wandb, name=path.name, config=settings, dir=path, resume="allow",
                id=_name_of(path),
            )  # fmt: skip

    def line(self, values: dict[str, float]) -> None:
        """Report the values of a step; ``step`` is one of them."""
        self._folder.log(values)
        step = int(values["step"])
        shown = {name: value for name, value in values.items() if name != "step"}
        if self._board is not None:
            for name, value in shown.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(shown, step=step)

    def close(self) -> None:
        """Write the values that are still in memory."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _name_of(folder: Path) -> str:
    """Return an id of ASCII letters, digits and lines that is unique per folder."""
    return "".join(c if c.isalnum() else "-" for c in str(folder)).strip("-")[-64:]


def memory_gb(device: torch.device) -> float | None:
    """Return the peak memory so far in GB: of the card if there is one, else of the process.

    None on Windows, where Python cannot measure it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return None
    import resource  # not available on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
