"""Checkpoints of a run: written during training, complete or absent; the newest few are kept.

``checkpoints/step-N/`` is a model folder for `from_pretrained` with two additions: ``state/``, the
weights and optimizers in the format of `torch.distributed.checkpoint`, which any number of
processes can load, and ``position.json``, the step of the run. It is written under another name and
renamed when every process has finished.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.resume import not_written
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.distributed import DistributedContext
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.pretraining.safe_load import TensorsOnlyPlanner, TensorsOnlyReader
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Checkpoints", "detached"]

STATE, POSITION = "state", "position.json"


class Checkpoints:
    """The checkpoints of a run folder.

    Parameters
    ----------
    folder : Path
        ``checkpoints`` of the run.
    context : DistributedContext
    keep : int
        Number of checkpoints to keep.
    """

    def __init__(self, folder: Path, context: DistributedContext, keep: int) -> None:
        self.folder, self._context, self._keep = folder, context, keep
        self._writing: list[Future[Any]] = []
        self._target: Path | None = None
        self._exporter = ThreadPoolExecutor(1)
        context.on_rank_zero(self._remove_parts)
        # The thread that writes warns about a single process, which is intended.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)

    @property
    def newest(self) -> Path | None:
        """Return the newest complete checkpoint."""
        saved = sorted(self.folder.glob("step-*"))
        return saved[-1] if saved else None

    def save(
        self,
        model: nn.Module,
        config: Dnabert2Config,
        tokenizer: Tokenizer,
        optimizers: Sequence[torch.optim.Optimizer],
        position: dict[str, Any],
    ) -> Path:
        """Start to write a checkpoint and return its folder; all processes call it together.

        The state is copied before this returns. `position` contains ``step`` and all other values
        that are needed to resume.
        """
        self.wait()
        self._target = self.folder / f"step-{position['step']:07d}"
        part = self._part(self._target)
        weights = detached(model, config)  # of the first process
        self._context.on_rank_zero(lambda: part.mkdir(parents=True))
        if self._context.is_rank_zero:

            def export() -> None:
                weights.save_pretrained(part)
                tokenizer.save_pretrained(part)
                atomic_json(part / POSITION, position)

            self._writing.append(self._exporter.submit(export))
        with _without_warnings():
            response = async_save(
                self._state(model, optimizers),
                checkpoint_id=part / STATE,
                process_group=self._context.storage,
            )
        upload: Future[Any] = getattr(response, "upload_completion", response)  # type: ignore[arg-type]
        self._writing.append(upload)
        return self._target

    def wait(self) -> None:
        """Return when the last checkpoint started, if any, is complete and has its name.

        Raises
        ------
        CheckpointError
            When it could not be written.
        """
        if self._target is None:
            return
        target, self._target = self._target, None
        writing, self._writing = self._writing, []
        try:
            for future in writing:
                future.result()
        except (OSError, RuntimeError, CheckpointException) as error:
            raise not_written(target, error) from None
        self._context.on_rank_zero(lambda: self._publish(target))

    def resume(
        self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
    ) -> dict[str, Any] | None:
        """Load the newest valid checkpoint; return its position, None if there are none.

        Raises
        ------
        CheckpointError
            When there are checkpoints, and all are damaged.
        """
        context = self._context
        saved = context.on_rank_zero(lambda: sorted(self.folder.glob("step-*"), reverse=True))
        reasons = []
        for folder in saved:
            try:
                position = context.on_rank_zero(lambda folder=folder: _position(folder))  # type: ignore[misc]
                reason = None
            except CheckpointError as error:
                position, reason = {}, str(error)
            if reason is None:
                reason = self._load(folder / STATE, model, optimizers)
            if not any(context.max(reason is not None)):
                return dict(position)
            reasons.append(f"{folder}: damaged ({reason or 'in another process'})")
            if context.is_rank_zero and folder != saved[-1]:
                warnings.warn(f"{reasons[-1]}; resuming from the previous one", stacklevel=2)
        if reasons:
            raise CheckpointError(f"{reasons[-1]}. Delete {self.folder} to start again.")
        return None

    def remove(self) -> None:
        """Delete all checkpoints of a finished run."""
        self.wait()
        self._context.on_rank_zero(lambda: shutil.rmtree(self.folder, ignore_errors=True))

    def _load(
        self, folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
    ) -> str | None:
        """Load a checkpoint, or return why it cannot be loaded."""
        try:
            with _without_warnings():
                state = self._state(model, optimizers)
                load(
                    state,
                    storage_reader=TensorsOnlyReader(folder),
                    planner=TensorsOnlyPlanner(),
                    process_group=self._context.storage,
                )
        # Damaged files make torch raise many types, including errors of pickle and zip.
        except (Exception, CheckpointException) as raised:
            failures = getattr(raised, "failures", {})  # by process, with tracebacks
            error = next(iter(failures.values()))[0] if failures else raised
            return " ".join(str(error).split())[:1000] or type(error).__name__
        with _without_warnings():
            set_state_dict(
                model,
                list(optimizers),
                model_state_dict=state["model"],
                optim_state_dict=state["optimizer"],
            )
        return None

    @staticmethod
    def _state(
        model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
    ) -> dict[str, dict[str, Any]]:
        weights, optimizer = get_state_dict(model, list(optimizers))
        return {"model": weights, "optimizer": optimizer}

    def _publish(self, target: Path) -> None:
        part = self._part(target)
        position = read_object(part / POSITION)
        position["bytes"] = {
            str(path.relative_to(part)): path.stat().st_size
            for path in sorted(part.rglob("*"))
            if path.is_file() and path.name != POSITION
        }
        atomic_json(part / POSITION, position)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        for older in sorted(self.folder.glob("step-*"))[: -self._keep]:
            shutil.rmtree(older)

    def _remove_parts(self) -> None:
        for part in self.folder.glob(".step-*.part"):
            shutil.rmtree(part)

    @staticmethod
    def _part(target: Path) -> Path:
        return target.with_name(f".{target.name}.part")


def detached(model: nn.Module, config: Dnabert2Config) -> Dnabert2ForMaskedLM:
    """Return a copy of the model's full weights in main memory; all processes take part.

    Only the copy of the first process may be used.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = cast(dict[str, torch.Tensor], get_model_state_dict(model, options=options))
    with torch.device("meta"):
        twin = Dnabert2ForMaskedLM(config)
    copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    twin.load_state_dict(copies, strict=bool(copies), assign=True)
    return twin


def _position(folder: Path) -> dict[str, Any]:
    try:
        position = read_object(folder / POSITION)
        for name, size in dict(position.pop("bytes")).items():
            found = (folder / name).stat().st_size
            if found != size:
                raise CheckpointError(f"{name} has {found:,} bytes instead of {size:,}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(" ".join(str(error).split())) from None
    return position


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hide torch's warnings about a single process and a future format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
