"""The processes of one run, as started by `torchrun`; in a single process all of this does nothing.

Two gloo groups exist in addition to the one for gradients: one for messages between steps, and one
for checkpoints, which a separate thread writes meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.pretrained import pick_device

__all__ = ["DistributedContext", "cut", "gradients_wait", "init_distributed"]

Result = TypeVar("Result")


class DistributedContext:
    """A process of the run; made by `init_distributed`.

    Attributes
    ----------
    rank, size : int
    device : torch.device
        Device of this process.
    storage : process group or None
        Group for checkpoints.
    """

    def __init__(self, rank: int, size: int, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device
        self._control = _gloo_group() if size > 1 else None
        self.storage = _gloo_group() if size > 1 else None

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes the files that are written once."""
        return self.rank == 0

    def on_rank_zero(self, work: Callable[[], Result]) -> Result:
        """Call a function in the process of rank 0; all get its result, or raise its exception."""
        outcome: list[Any] = [None, None]
        if self.is_rank_zero:
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = error
        if self._control is not None:
            dist.broadcast_object_list(outcome, src=0, group=self._control)
        if outcome[1] is not None:
            raise outcome[1]
        result: Result = outcome[0]
        return result

    def max(self, *values: float) -> list[float]:
        """Return the maximum of each value (or condition) over all processes."""
        if self._control is None:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._control)
        return found.tolist()

    def all_gather(self, value: Result) -> list[Result]:
        """Return the values of all processes, by rank."""
        if self._control is None:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._control)
        return found

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes of tensors on their devices."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def wrap(self, model: Dnabert2ForMaskedLM, fsdp: bool) -> nn.Module:
        """Return a model whose gradients become the mean over all processes."""
        if fsdp:
            for layer in model.bert.encoder.layer:
                fully_shard(layer)
            return cast(nn.Module, fully_shard(model))
        return DistributedDataParallel(model) if self.size > 1 else model


def gradients_wait(model: nn.Module, more: bool) -> AbstractContextManager[None]:
    """Keep gradients in this process while `more` of them are to be added."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync() if more else nullcontext()
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(not more)
    return nullcontext()


def cut(
    lengths: npt.NDArray[np.int64], parts: int, wanted: Sequence[int]
) -> list[npt.NDArray[np.int64]]:
    """Return the numbers of the sequences in some of `parts` consecutive parts of equal tokens.

    A sequence belongs to the part that contains its middle; a part may be empty.

    >>> [part.tolist() for part in cut(np.array([4, 4, 2, 2, 2, 2]), 2, range(2))]
    [[0, 1], [2, 3, 4, 5]]
    """
    ends = np.cumsum(lengths)
    home = (2 * ends - lengths) * parts // (2 * ends[-1])
    return [np.flatnonzero(home == part) for part in wanted]


def _gloo_group() -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo"))


@contextmanager
def init_distributed(device: str) -> Iterator[DistributedContext]:
    """Join the other processes started by `torchrun`; a single process needs none.

    Parameters
    ----------
    device : str
        As in `pick_device`; ``"auto"`` and ``"cuda"`` are the card of this process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    picked = pick_device(device)
    if size == 1 and "RANK" not in os.environ:
        yield DistributedContext(0, 1, picked)
        return
    if picked.type == "cuda":
        if picked.index is None:
            picked = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(picked)
    if int(os.environ["RANK"]):
        os.environ["DNABERT2_FAST_PROGRESS"] = "0"
    dist.init_process_group("cpu:gloo,cuda:nccl" if picked.type == "cuda" else "gloo")
    try:
        yield DistributedContext(dist.get_rank(), size, picked)
    finally:
        dist.destroy_process_group()
