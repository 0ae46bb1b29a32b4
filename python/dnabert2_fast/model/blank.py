"""Models without weights, to be filled from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["blank"]

Module = TypeVar("Module", bound=nn.Module)


class _NoDraws(TorchFunctionMode):
    """Leaves out what `torch.nn.init` does: on the meta device it would import torch's compiler."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return function(*args, **(kwargs or {}))


def blank(make: Callable[[], Module]) -> Module:
    """Return what `make` returns, on the meta device: shapes, and no memory.

    >>> blank(lambda: nn.Linear(1 << 20, 1 << 20)).weight.is_meta
    True
    """
    with torch.device("meta"), _NoDraws():
        return make()
