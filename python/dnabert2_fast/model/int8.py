"""A model whose matrices are multiplied in 8-bit integers, for inference on a CPU.

Weights have one scale per row, activations one scale per tensor, computed in every call; sums are
exact integers. Attention, norms and embeddings stay in float32. The implementation is torch's
dynamic quantization. Results change by an amount that depends on the weights: compare with float32
on your own data.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.ao import quantization

__all__ = ["is_int8", "quantize_int8"]


def quantize_int8(model: nn.Module) -> None:
    """Replace every linear layer of a model on the CPU, in place.

    Raises
    ------
    ValueError
        When the model is on another device.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(16, 16))
    >>> quantize_int8(model)
    >>> is_int8(model)
    True
    """
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise ValueError(f'dtype: "int8" needs a CPU (got {device}). Use "bfloat16" there.')
    rule = {nn.Linear: quantization.per_channel_dynamic_qconfig}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its successor, torchao, needs torch.compile to be fast
        quantization.quantize_dynamic(model, rule, inplace=True)


def is_int8(model: nn.Module) -> bool:
    """Return whether `quantize_int8` was applied to a model."""
    kind = torch.ao.nn.quantized.dynamic.Linear
    return any(isinstance(part, kind) for part in model.modules())
