"""Dropout, residual and LayerNorm in one pass over memory, forward and backward.

A program of the backward pass processes a span of rows and sums the gradients of weight and bias
over them. The sums of all programs are added in a fixed order, so results are reproducible.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dnabert2_fast.kernels.triton_random import kept

__all__ = ["add_norm", "backward", "forward"]

# Maximum number of programs of a backward pass: two for each multiprocessor of a large card.
PROGRAMS = 264


@triton.jit
def forward(
    x, residual, weight, bias, y, total, mean, rstd, seed, width, eps, dropout_p,
    BLOCK: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Write one row of `y` and of `total`, the sum before the norm, and the row's statistics."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    real = columns < width
    at = row.to(tl.int64) * width + columns
    added = tl.load(x + at, mask=real, other=0.0).to(tl.float32)
    if DROPOUT:
        stays = kept(tl.load(seed), columns * 0 + row, columns, columns * 0, dropout_p)
        added = tl.where(stays, added / (1 - dropout_p), 0.0)
    added += tl.load(residual + at, mask=real, other=0.0).to(tl.float32)
    average = tl.sum(added) / width
    off = tl.where(real, added - average, 0.0)
    factor = 1 / tl.sqrt_rn(tl.sum(off * off) / width + eps)
    scaled = off * factor * tl.load(weight + columns, mask=real, other=0.0).to(tl.float32)
    scaled += tl.load(bias + columns, mask=real, other=0.0).to(tl.float32)
    tl.store(y + at, scaled.to(y.dtype.element_ty), mask=real)
    tl.store(total + at, added.to(total.dtype.element_ty), mask=real)
    tl.store(mean + row, average)
    tl.store(rstd + row, factor)


@triton.jit
def backward(
    grad_y, total, weight, mean, rstd, grad_total, grad_x, grad_weight, grad_bias, seed,
    rows, width, span, dropout_p, BLOCK: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a span of rows, and its part of the weight's and bias' gradients."""
    columns = tl.arange(0, BLOCK)
    real = columns < width
    scale = tl.load(weight + columns, mask=real, other=0.0).to(tl.float32)
    weight_sum = tl.zeros([BLOCK], tl.float32)
    bias_sum = tl.zeros([BLOCK], tl.float32)
    first = tl.program_id(0) * span
    for i in range(0, tl.minimum(span, rows - first)):
        row = first + i
        at = row.to(tl.int64) * width + columns
        grad = tl.load(grad_y + at, mask=real, other=0.0).to(tl.float32)
        value = tl.load(total + at, mask=real, other=0.0).to(tl.float32)
        factor = tl.load(rstd + row)
        normed = tl.where(real, (value - tl.load(mean + row)) * factor, 0.0)
        weight_sum += grad * normed
        bias_sum += grad
        grad *= scale
        along = tl.sum(grad * normed) / width
        out = (grad - normed * along - tl.sum(grad) / width) * factor
        tl.store(grad_total + at, out.to(grad_total.dtype.element_ty), mask=real)
        if DROPOUT:
            stays = kept(tl.load(seed), columns * 0 + row, columns, columns * 0, dropout_p)
            out = tl.where(stays, out / (1 - dropout_p), 0.0)
            tl.store(grad_x + at, out.to(grad_x.dtype.element_ty), mask=real)
    at = tl.program_id(0) * width + columns
    tl.store(grad_weight + at, weight_sum, mask=real)
    tl.store(grad_bias + at, bias_sum, mask=real)


@torch.library.custom_op("dnabert2_fast::add_norm", mutates_args=())
def add_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    seed: torch.Tensor,
    eps: float,
    dropout_p: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the normalised sum in the dtype of `x`, and its input, mean and 1 / std."""
    x, residual = x.contiguous(), residual.contiguous()
    rows, width = x.shape
    y, total = torch.empty_like(x), torch.empty_like(residual)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=x.device) for _ in range(2))
    if rows:
        with torch.cuda.device_of(x):
            forward[(rows,)](
                x, residual, weight, bias, y, total, mean, rstd, seed, width, eps, dropout_p,
                BLOCK=triton.next_power_of_2(width), DROPOUT=dropout_p > 0,
            )  # fmt: skip
    return y, total, mean, rstd


@torch.library.custom_op("dnabert2_fast::add_norm_backward", mutates_args=())
def add_norm_backward(
    grad_y: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    seed: torch.Tensor,
    like: torch.Tensor,
    dropout_p: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of the sum, of `x` (empty without dropout), weight and bias."""
    rows, width = total.shape
    programs = max(1, min(PROGRAMS, rows))
    grad_total = torch.empty_like(total)
    grad_x = like.new_empty(total.shape if dropout_p > 0 else 0)
    sums = torch.zeros(2, programs, width, dtype=torch.float32, device=total.device)
    if rows:
        with torch.cuda.device_of(total):
            backward[(programs,)](
                grad_y.contiguous(), total, weight, mean, rstd, grad_total, grad_x, sums[0],
                sums[1], seed, rows, width, triton.cdiv(rows, programs), dropout_p,
                BLOCK=triton.next_power_of_2(width), DROPOUT=dropout_p > 0,
            )  # fmt: skip
    grad_weight, grad_bias = (x.sum(0).to(weight.dtype) for x in sums)
    return grad_total, grad_x, grad_weight, grad_bias


@add_norm.register_fake
def _(
    x: torch.Tensor, residual: torch.Tensor, *others: object
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    mean, rstd = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    return x.new_empty(x.shape), residual.new_empty(residual.shape), mean, rstd


@add_norm_backward.register_fake
def _(
    grad_y: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    seed: torch.Tensor,
    like: torch.Tensor,
    dropout_p: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    grad_x = like.new_empty(total.shape if dropout_p > 0 else 0)
    return (
        total.new_empty(total.shape),
        grad_x,
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, _, weight, _, seed, _, ctx.dropout_p = inputs
    _, total, mean, rstd = output
    ctx.save_for_backward(total, weight, mean, rstd, seed, x.new_empty(0))


def _gradients(ctx: Any, grad: torch.Tensor, *others: None) -> tuple[torch.Tensor | None, ...]:
    like = ctx.saved_tensors[-1]
    grad_total, grad_x, grad_weight, grad_bias = add_norm_backward(
        grad, *ctx.saved_tensors, ctx.dropout_p
    )
    grad_x = grad_x if ctx.dropout_p > 0 else grad_total.to(like.dtype)
    return grad_x, grad_total, grad_weight, grad_bias, None, None, None


add_norm.register_autograd(_gradients, setup_context=_save)
