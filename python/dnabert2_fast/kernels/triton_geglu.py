"""GEGLU with dropout in one pass over memory; its backward pass computes the gate again."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from dnabert2_fast.kernels.triton_random import kept

__all__ = ["backward", "forward", "geglu"]

BLOCK = 1024


@triton.jit
def forward(
    x, y, seed, width, dropout_p, BLOCK: tl.constexpr, DROPOUT: tl.constexpr
):  # fmt: skip
    """Write one block of one row of `y`, (rows, width), from `x`, (rows, 2 * width)."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = columns < width
    at = x + row.to(tl.int64) * 2 * width + columns
    gate = tl.load(at, mask=real, other=0.0).to(tl.float32)
    value = tl.load(at + width, mask=real, other=0.0).to(tl.float32)
    out = 0.5 * gate * (1 + tl.erf(gate * 0.7071067811865476)) * value
    if DROPOUT:
        stays = kept(tl.load(seed), columns * 0 + row, columns, columns * 0, dropout_p)
        out = tl.where(stays, out / (1 - dropout_p), 0.0)
    tl.store(y + row.to(tl.int64) * width + columns, out.to(y.dtype.element_ty), mask=real)


@triton.jit
def backward(
    x, grad_y, grad_x, seed, width, dropout_p, BLOCK: tl.constexpr, DROPOUT: tl.constexpr
):  # fmt: skip
    """Write both halves of one block of one row of `grad_x`."""
    row = tl.program_id(0)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = columns < width
    at = row.to(tl.int64) * 2 * width + columns
    gate = tl.load(x + at, mask=real, other=0.0).to(tl.float32)
    value = tl.load(x + at + width, mask=real, other=0.0).to(tl.float32)
    grad = tl.load(grad_y + row.to(tl.int64) * width + columns, mask=real, other=0.0)
    grad = grad.to(tl.float32)
    if DROPOUT:
        stays = kept(tl.load(seed), columns * 0 + row, columns, columns * 0, dropout_p)
        grad = tl.where(stays, grad / (1 - dropout_p), 0.0)
    normal = 0.5 * (1 + tl.erf(gate * 0.7071067811865476))
    density = 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
    into = grad_x + at
    kind = grad_x.dtype.element_ty
    tl.store(into, (grad * value * (normal + gate * density)).to(kind), mask=real)
    tl.store(into + width, (grad * gate * normal).to(kind), mask=real)


@torch.library.custom_op("dnabert2_fast::geglu", mutates_args=())
def geglu(x: torch.Tensor, seed: torch.Tensor, dropout_p: float) -> torch.Tensor:
    """Return (rows, width) from (rows, 2 * width)."""
    x = x.contiguous()
    rows, width = len(x), x.shape[1] // 2
    y = x.new_empty(rows, width)
    if rows:
        with torch.cuda.device_of(x):
            forward[(rows, triton.cdiv(width, BLOCK))](
                x, y, seed, width, dropout_p, BLOCK=BLOCK, DROPOUT=dropout_p > 0
            )
    return y


@torch.library.custom_op("dnabert2_fast::geglu_backward", mutates_args=())
def geglu_backward(
    grad_y: torch.Tensor, x: torch.Tensor, seed: torch.Tensor, dropout_p: float
) -> torch.Tensor:
    """Return the gradient of `x`."""
    x = x.contiguous()
    rows, width = len(x), x.shape[1] // 2
    grad_x = torch.empty_like(x)
    if rows:
        with torch.cuda.device_of(x):
            backward[(rows, triton.cdiv(width, BLOCK))](
                x, grad_y.contiguous(), grad_x, seed, width, dropout_p,
                BLOCK=BLOCK, DROPOUT=dropout_p > 0,
            )  # fmt: skip
    return grad_x


@geglu.register_fake
def _(x: torch.Tensor, seed: torch.Tensor, dropout_p: float) -> torch.Tensor:
    return x.new_empty(len(x), x.shape[1] // 2)


@geglu_backward.register_fake
def _(grad_y: torch.Tensor, x: torch.Tensor, *others: object) -> torch.Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, seed, ctx.dropout_p = inputs
    ctx.save_for_backward(x, seed)


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return geglu_backward(grad, *ctx.saved_tensors, ctx.dropout_p), None, None


geglu.register_autograd(_gradients, setup_context=_save)
