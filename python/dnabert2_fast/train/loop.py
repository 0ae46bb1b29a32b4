"""What a resumable run needs: a learning rate by step, a stop between steps, state on disk.

A run folder holds ``run.json`` (every setting), ``metrics.jsonl``, ``checkpoints/step-N/`` (a model
folder with the optimizer's state) and, once finished, the model itself. Nothing random is stored:
every step seeds itself from the run's seed and its own number.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.checkpoint import Pretrained, fit, read_weights
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Run", "StopRequest", "adamw", "learning_rate", "stop_between_steps"]


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Return the rate of a step counted from 0: a linear rise, then a linear fall to 0.

    >>> [learning_rate(s, peak=1.0, warmup_steps=2, steps=6) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (steps - step) / max(steps - warmup_steps, 1)


def adamw(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW with the betas of BERT training; biases and norms do not decay."""
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)


class StopRequest:
    """Becomes true when the user or the scheduler asks the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, frame: object) -> None:
        """Ask to stop after this step; asked twice by Ctrl-C, stop at once."""
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def stop_between_steps() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request that is heard between two steps."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, request.ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
    settings : dict
        Everything that shapes the result. A folder that holds a run with other settings is refused.

    Raises
    ------
    CheckpointError
        When the folder holds something else.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self._metrics = folder / "metrics.jsonl"
        about = folder / "run.json"
        if about.exists():
            theirs = json.loads(about.read_text(encoding="utf-8"))
            for name, value in settings.items():
                if theirs.get(name) != value:
                    raise CheckpointError(
                        f"{folder}: holds a run with {name} {theirs.get(name)!r}, asked for "
                        f"{value!r}; choose another folder or delete this one"
                    )
        elif folder.exists() and any(folder.iterdir()):
            raise CheckpointError(f"{folder}: holds something else than a run; choose another one")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(about) as path:
            path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @property
    def finished(self) -> bool:
        """Whether the final model is there."""
        return (self.folder / "model.safetensors").exists()

    def metrics(self) -> list[dict[str, Any]]:
        """Return all lines of ``metrics.jsonl``."""
        if not self._metrics.exists():
            return []
        return [json.loads(line) for line in self._metrics.read_text().splitlines()]

    def log(self, **values: float) -> None:
        """Append a line to ``metrics.jsonl``."""
        rounded = {k: round(v, 6) if math.isfinite(v) else None for k, v in values.items()}
        with self._metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(rounded) + "\n")

    def save(
        self,
        model: Pretrained,
        tokenizer: Tokenizer,
        optimizer: torch.optim.Optimizer,
        position: dict[str, float],
    ) -> None:
        """Write a checkpoint from which the run can go on, then drop the one before.

        `position` holds ``step`` and whatever says which batch comes next.
        """
        target = self.folder / "checkpoints" / f"step-{int(position['step']):07d}"
        target.parent.mkdir(exist_ok=True)
        with atomic_path(target) as path:
            model.save_pretrained(path)
            tokenizer.save(path / tokenizer.file_name)
            state = {
                f"{number}.{name}": value.cpu().clone()
                for number, values in optimizer.state_dict()["state"].items()
                for name, value in values.items()
            }
            (path / "optimizer.safetensors").write_bytes(save(state))
            (path / "position.json").write_text(json.dumps(position), encoding="utf-8")
        for older in target.parent.glob("step-*"):
            if older != target:
                shutil.rmtree(older)

    def resume(
        self, model: Pretrained, optimizer: torch.optim.Optimizer
    ) -> dict[str, float] | None:
        """Take up the newest checkpoint; returns its position, None when there is none.

        Later lines of ``metrics.jsonl`` are dropped: those steps will run again.
        """
        saved = sorted((self.folder / "checkpoints").glob("step-*"))
        if not saved:
            self._metrics.unlink(missing_ok=True)
            return None
        newest = saved[-1]
        weights = newest / "model.safetensors"
        fit(model, read_weights(weights), str(weights))
        try:
            flat = load_file(newest / "optimizer.safetensors")
            position: dict[str, float] = json.loads((newest / "position.json").read_text())
        except (SafetensorError, ValueError, OSError) as error:
            raise CheckpointError(
                f"{newest}: damaged, delete it to start afresh: {error}"
            ) from None
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in flat.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        kept = [line for line in self.metrics() if line["step"] <= position["step"]]
        with atomic_path(self._metrics) as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        return position

    def finish(self, model: Pretrained, tokenizer: Tokenizer) -> None:
        """Write the final model into the run folder; checkpoints are not needed any more."""
        tokenizer.save(self.folder / tokenizer.file_name)
        model.save_pretrained(self.folder)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
