"""Fused steps of the encoder, which would otherwise read and write memory several times.

Each step has one name for its function here, its Triton kernels (``triton_<name>``), its torch
operator (``dnabert2_fast::<name>``), its test and its benchmark. A function runs the Triton kernels
if they compute a small example correctly, else the same formula in plain torch.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import nn
from torch.nn import functional as F

from dnabert2_fast._internal.torch_compile import constant_result

__all__ = ["add_norm", "fused", "geglu", "masked_lm_loss", "unavailable_reason"]


def geglu(x: torch.Tensor, dropout_p: float = 0.0) -> torch.Tensor:
    """Return ``dropout(gelu(first half) * second half)``, with the exact (erf) GELU.

    GLU Variants Improve Transformer, Shazeer 2020, equation 6.

    Parameters
    ----------
    x : Tensor, shape (rows, 2 * width)
    dropout_p : float
        Probability of dropping an element of the product.

    Returns
    -------
    Tensor, shape (rows, width)

    Examples
    --------
    >>> geglu(torch.tensor([[0.0, 1.0, 5.0, 2.0]]))
    tensor([[0.0000, 1.6827]])
    """
    if fused(x):
        from dnabert2_fast.kernels.triton_geglu import geglu as op

        out: torch.Tensor = op(x, _seed(x, dropout_p, unused=x), dropout_p)
        return out
    gate, value = x.chunk(2, dim=-1)
    return F.dropout(F.gelu(gate) * value, dropout_p, training=dropout_p > 0)


def add_norm(
    x: torch.Tensor, residual: torch.Tensor, norm: nn.LayerNorm, dropout_p: float = 0.0
) -> torch.Tensor:
    """Return ``norm(dropout(x) + residual)``.

    Parameters
    ----------
    x, residual : Tensor, shape (rows, width)
    norm : LayerNorm
    dropout_p : float
        Probability of dropping an element of `x`.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0, 3.0]])
    >>> add_norm(x, x, nn.LayerNorm(3)).tolist()[0][1]
    0.0
    """
    # Offloaded weights (accelerate) are on the meta device until the module itself is called.
    if fused(x) and not norm.weight.is_meta:
        from dnabert2_fast.kernels.triton_add_norm import add_norm as op

        seed = _seed(x, dropout_p, unused=norm.weight)
        out: torch.Tensor = op(x, residual, norm.weight, norm.bias, seed, norm.eps, dropout_p)[0]
        return out
    normed: torch.Tensor = norm(F.dropout(x, dropout_p, training=dropout_p > 0) + residual)
    return normed.to(x.dtype)  # autocast computes norms in float32; the kernel returns this dtype


def masked_lm_loss(hidden: torch.Tensor, decoder: nn.Linear, labels: torch.Tensor) -> torch.Tensor:
    """Return the sum of the cross-entropies of ``decoder(hidden)``, a float32 scalar.

    Parameters
    ----------
    hidden : Tensor, shape (rows, hidden_size)
        Rows with a label.
    decoder : Linear
        To the vocabulary.
    labels : Tensor of int64, shape (rows,)

    Examples
    --------
    >>> decoder = nn.Linear(2, 4)
    >>> _ = nn.init.zeros_(decoder.weight), nn.init.zeros_(decoder.bias)
    >>> round(masked_lm_loss(torch.ones(3, 2), decoder, torch.tensor([0, 1, 3])).item(), 4)
    4.1589
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):  # like a linear layer under autocast
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    if fused(hidden):
        from dnabert2_fast.kernels.triton_masked_lm_loss import masked_lm_loss as op

        loss: torch.Tensor = op(hidden, decoder.weight, decoder.bias, labels)[0]
        return loss
    return F.cross_entropy(decoder(hidden).float(), labels, reduction="sum")


def fused(x: torch.Tensor) -> bool:
    """Return whether the Triton kernels run for a tensor's device and dtype."""
    runs: bool = _fused(x.device, x.dtype)
    return runs


@constant_result
def _fused(device: torch.device, dtype: torch.dtype) -> bool:
    return unavailable_reason(device, dtype) is None


@lru_cache
def unavailable_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why the Triton kernels do not run on a device, None when they run."""
    if device.type != "cuda":
        return f"needs a CUDA device (got {device.type})"
    if not find_spec("triton"):
        return "triton is not installed: pip install triton"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "needs compute capability 8.0"
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"does not support {str(dtype).removeprefix('torch.')}"
    x = torch.linspace(-3, 3, 64, device=device, dtype=dtype).view(2, 32)
    gate, value = x.chunk(2, dim=-1)
    try:
        from dnabert2_fast.kernels.triton_geglu import geglu as op

        off = float((op(x, x, 0.0) - F.gelu(gate) * value).abs().max())
    except Exception as error:
        return f"failed on a small example: {type(error).__name__}: {error}".split("\n")[0]
    return (
        None if off < 40 * torch.finfo(dtype).eps else f"is wrong by {off:.1e} on a small example"
    )


def _seed(x: torch.Tensor, dropout_p: float, unused: torch.Tensor) -> torch.Tensor:
    # Drawn on the device, so that each replay of a captured graph draws again. Without dropout the
    # value is not read: a tensor that the backward pass stores anyway saves storing another one.
    return torch.randint(2**31, (1,), device=x.device) if dropout_p > 0 else unused
