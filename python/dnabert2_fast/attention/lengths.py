"""Borders of packed sequences on the host, copied from the device at most once per batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.weak import WeakTensorKeyDictionary

__all__ = ["on_host", "remember"]

_known = WeakTensorKeyDictionary()


def on_host(cu_seqlens: torch.Tensor) -> npt.NDArray[np.int32]:
    """Return the borders as an array; those of another device are copied once and kept.

    >>> on_host(torch.tensor([0, 2, 5], dtype=torch.int32))
    array([0, 2, 5], dtype=int32)
    """
    if cu_seqlens.device.type == "cpu":
        return cu_seqlens.numpy()
    if cu_seqlens not in _known:
        remember(cu_seqlens, cu_seqlens.cpu().numpy())
    found: npt.NDArray[np.int32] = _known[cu_seqlens]
    return found


def remember(cu_seqlens: torch.Tensor, borders: npt.NDArray[np.int32]) -> None:
    """Keep the borders of a tensor that stays unchanged, for as long as it exists."""
    _known[cu_seqlens] = borders
