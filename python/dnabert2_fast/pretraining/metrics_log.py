"""What a run says about itself while it goes on, where it says it, and the rates in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.pretraining.run_folder import Run

__all__ = ["Reporter", "memory_gb", "peak_flops", "training_flops"]

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "A40": 149.7,
    "A10": 125.0,
    "L40S": 362.0,
    "L4": 121.0,
}
"""Dense bfloat16 peaks as NVIDIA's data sheets list them, by words of the card's name; the first
that fits counts."""


class Reporter:
    """Writes every line of metrics to all places that were asked for.

    Parameters
    ----------
    run : Run
    settings : dict
        Shown beside the run in Weights & Biases.
    tensorboard : bool
        Write ``tensorboard/`` in the run folder.
    wandb : str or None
        Project; one run there goes on as this one does.

    Raises
    ------
    ModuleNotFoundError
        When tensorboard or wandb is asked for and not installed.
    """

    def __init__(
        self, run: Run, settings: dict[str, Any], tensorboard: bool, wandb: str | None
    ) -> None:
        self._run = run
        self._board: Any = None
        self._wandb: Any = None
        if tensorboard:
            with needs("--tensorboard"):
                import tensorboard as _  # noqa: F401 (torch's own message names no remedy)
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(run.folder / "tensorboard")
        if wandb:
            with needs("--wandb"):
                import wandb as library

            folder = run.folder.resolve()
            self._wandb = library.init(
                project=wandb, name=folder.name, config=settings, dir=folder, resume="allow",
                id=_name_of(folder),
            )  # fmt: skip

    def line(self, values: dict[str, float]) -> None:
        """Report the values of a step; ``step`` is one of them."""
        self._run.log(values)
        step = int(values["step"])
        shown = {name: value for name, value in values.items() if name != "step"}
        if self._board is not None:
            for name, value in shown.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(shown, step=step)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _name_of(folder: Path) -> str:
    """Return an id of letters, digits and lines, one for each place."""
    return "".join(c if c.isalnum() else "-" for c in str(folder)).strip("-")[-64:]


def training_flops(config: Dnabert2Config, tokens: float, squares: float, labelled: float) -> float:
    """Return the multiplications and additions of forward and backward, matrices and attention.

    Parameters
    ----------
    config : Dnabert2Config
    tokens : float
    squares : float
        Sum of the squares of the sequences' lengths.
    labelled : float
        Tokens to predict: the last layer's output and the head run on those alone.

    Notes
    -----
    Two a weight and token forward, twice as many backward; attention 4 a pair and channel. Keys
    that long attention leaves out are counted as if they were not.

    >>> round(training_flops(Dnabert2Config(), 512, 512**2, 77) / 512 / 1e9, 2)  # GFLOP a token
    0.7
    """
    size, width = config.hidden_size, config.intermediate_size
    mixing, rest = 3 * size * size, size * size + 3 * size * width
    head = size * size + size * config.vocab_size
    layers = config.num_hidden_layers
    weights = tokens * (layers * mixing + (layers - 1) * rest) + labelled * (rest + head)
    return 3.0 * (2 * weights + 4 * layers * size * squares)


def peak_flops(device: torch.device) -> float | None:
    """Return the listed peak of a card for bfloat16, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    # Whole words: an RTX A4000 is no A40, and an L40 no L4.
    fits = (peak for words, peak in PEAK_TFLOPS.items() if re.search(rf"\b{words}\b", name))
    return next((peak * 1e12 for peak in fits), None)


def memory_gb(device: torch.device) -> float | None:
    """Return the most memory taken so far: of the card where there is one, else of the process.

    None on Windows, where Python itself cannot tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "win32":
        return None
    import resource  # which Windows lacks

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
