"""Masked-LM loss directly from hidden rows: logits exist for a few thousand rows at a time.

The forward pass turns each chunk of logits into its gradient in place and multiplies it with the
weights immediately (like Liger Kernel, Hsu et al. 2024). So logits and their gradient are not
stored.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

__all__ = ["cross_entropy", "masked_lm_loss"]

# Maximum number of logits in memory at a time.
LOGITS = 2**25

BLOCK = 4096


@triton.jit
def cross_entropy(logits, labels, losses, width, BLOCK: tl.constexpr):
    """Write a row's loss, and its gradient over the row of logits."""
    row = tl.program_id(0)
    logits += row.to(tl.int64) * width
    label = tl.load(labels + row)
    wanted = tl.load(logits + label).to(tl.float32)
    highest = tl.full([], -float("inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    for at in range(0, width, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        x = tl.load(logits + columns, mask=columns < width, other=-float("inf")).to(tl.float32)
        new = tl.maximum(highest, tl.max(x))
        total = total * tl.exp(highest - new) + tl.sum(tl.exp(x - new))
        highest = new
    tl.store(losses + row, highest + tl.log(total) - wanted)
    for at in range(0, width, BLOCK):
        columns = at + tl.arange(0, BLOCK)
        real = columns < width
        x = tl.load(logits + columns, mask=real, other=-float("inf")).to(tl.float32)
        grad = tl.exp(x - highest) / total - tl.where(columns == label, 1.0, 0.0)
        tl.store(logits + columns, grad.to(logits.dtype.element_ty), mask=real)


@torch.library.custom_op("dnabert2_fast::masked_lm_loss", mutates_args=())
def masked_lm_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sum of the losses in float32, and its gradients for hidden, weight and bias."""
    rows, vocab_size = len(hidden), len(weight)
    matrix, shift = weight.to(hidden.dtype), bias.to(hidden.dtype)
    losses = torch.zeros(rows, dtype=torch.float32, device=hidden.device)
    grad_hidden = torch.empty_like(hidden)
    grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    grad_bias = torch.zeros(bias.shape, dtype=torch.float32, device=bias.device)
    span = max(1, LOGITS // vocab_size)
    with torch.cuda.device_of(hidden):
        for first in range(0, rows, span):
            some = hidden[first : first + span]
            logits = torch.addmm(shift, some, matrix.T)
            cross_entropy[(len(some),)](
                logits, labels[first : first + span], losses[first:], vocab_size,
                BLOCK=min(BLOCK, triton.next_power_of_2(vocab_size)), num_warps=8,
            )  # fmt: skip
            torch.mm(logits, matrix, out=grad_hidden[first : first + span])
            grad_weight += logits.T @ some
            grad_bias += logits.float().sum(0)
    return losses.sum(), grad_hidden, grad_weight.to(weight.dtype), grad_bias.to(bias.dtype)


@masked_lm_loss.register_fake
def _(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    loss = hidden.new_empty((), dtype=torch.float32)
    return loss, torch.empty_like(hidden), torch.empty_like(weight), torch.empty_like(bias)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])


def _gradients(ctx: Any, grad: torch.Tensor, *others: None) -> tuple[torch.Tensor | None, ...]:
    return *((grad * x).to(x.dtype) for x in ctx.saved_tensors), None


masked_lm_loss.register_autograd(_gradients, setup_context=_save)
