"""ALiBi attention on packed sequences with torch's scaled_dot_product_attention.

Neighbouring sequences of one length are computed by one call, so nothing is padded. The bias is a
float mask. Queries of long sequences are processed in blocks, so that no tensor of length squared
is built, and each head reads only keys that can matter to a block. Runs on every device of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.lengths import on_host
from dnabert2_fast.attention.skipping import counting, key_ranges, record

__all__ = ["attention_sdpa", "groups_of_one_length"]

# Longer sequences are processed in blocks of queries.
LONG = 512

# Number of queries per call then, so that a mask has at most QUERY_BLOCK * length entries per head.
QUERY_BLOCK = 256

# Maximum tokens per call, unless a single sequence has more.
GROUP_TOKENS = 4096


def attention_sdpa(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    alibi_slopes: torch.Tensor,
    dropout_p: float,
) -> torch.Tensor:
    """Return the attention of every sequence; arguments as in `dnabert2_fast.attention`."""
    if torch.compiler.is_compiling():
        # One node of the graph, because the calls depend on the lengths.
        out: torch.Tensor = sdpa_attention(q, k, v, cu_seqlens, alibi_slopes, max_seqlen, dropout_p)
        return out
    groups = list(groups_of_one_length(cu_seqlens))
    return _attention(q, k, v, groups, alibi_slopes, max_seqlen, dropout_p)


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    groups: list[tuple[int, int, int]],
    alibi_slopes: torch.Tensor,
    max_seqlen: int,
    dropout_p: float,
) -> torch.Tensor:
    shared = min(max_seqlen, LONG)
    bias = alibi_bias(alibi_slopes, range(shared), range(shared), q.dtype)
    # One split instead of slices: the gradient of each slice would be as large as the whole.
    sizes = [count * length for _, count, length in groups]
    parts = []
    for (_, count, length), *qkv in zip(
        groups, *(torch.split(x, sizes) for x in (q, k, v)), strict=True
    ):
        rows, keys, values = (x.unflatten(0, (count, length)).transpose(1, 2) for x in qkv)
        if length <= LONG:
            scores = count * q.shape[1] * length**2
            record(scores, scores)
            mask = bias[:, :length, :length]
            whole = scaled_dot_product_attention(
                rows, keys, values, attn_mask=mask[None], dropout_p=dropout_p
            )
        else:
            whole = _long(rows, keys, values, alibi_slopes, dropout_p)
        parts.append(whole.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts) if parts else v.clone()


def _long(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, dropout_p: float
) -> torch.Tensor:
    """Return the attention of long sequences, queries in blocks with the keys that they need."""
    blocks = []
    needed = key_ranges(q, k, v, slopes, QUERY_BLOCK)
    if counting():
        firsts = torch.arange(0, q.shape[2], QUERY_BLOCK, device=q.device)
        rows = (q.shape[2] - firsts).clamp_max(QUERY_BLOCK)[:, None, None]
        record(q.shape[0] * (needed.diff() * rows).sum(), q[..., 0].numel() * q.shape[2])
    for number, ranges in enumerate(needed.tolist()):
        first = number * QUERY_BLOCK
        last = min(first + QUERY_BLOCK, q.shape[2])
        order = sorted(range(len(ranges)), key=ranges.__getitem__)
        parts = []
        for (start, stop), some in groupby(order, key=ranges.__getitem__):
            heads = torch.tensor(list(some), device=q.device)
            mask = alibi_bias(slopes[heads], range(first, last), range(start, stop), q.dtype)
            parts.append(
                scaled_dot_product_attention(
                    q[:, heads, first:last],
                    k[:, heads, start:stop],
                    v[:, heads, start:stop],
                    attn_mask=mask[None],
                    dropout_p=dropout_p,
                )
            )
        inverse = torch.tensor(order, device=q.device).argsort()
        blocks.append(torch.cat(parts, dim=1)[:, inverse])
    return torch.cat(blocks, dim=2)


def groups_of_one_length(cu_seqlens: torch.Tensor) -> Iterator[tuple[int, int, int]]:
    """Yield start, number and length of neighbouring sequences with the same length."""
    start = 0
    borders = on_host(cu_seqlens)
    for length, some in groupby(map(int, borders[1:] - borders[:-1])):
        left = sum(1 for _ in some) if length > 0 else 0
        while left > 0:
            count = min(left, max(1, GROUP_TOKENS // length))
            yield start, count, length
            start += count * length
            left -= count


@torch.library.custom_op("dnabert2_fast::sdpa_attention", mutates_args=())
def sdpa_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens: torch.Tensor,
    slopes: torch.Tensor,
    max_seqlen: int,
    dropout_p: float,
) -> torch.Tensor:
    """Return the same as one node of a graph; the backward pass recomputes the forward pass."""
    groups = list(groups_of_one_length(cu_seqlens))
    return _attention(q, k, v, groups, slopes, max_seqlen, dropout_p)


@torch.library.custom_op("dnabert2_fast::sdpa_attention_backward", mutates_args=())
def sdpa_attention_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens: torch.Tensor,
    slopes: torch.Tensor,
    max_seqlen: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of queries, keys and values."""
    groups = list(groups_of_one_length(cu_seqlens))
    # Inside an operator autograd is off; functional gradients still work.
    gradients = torch.func.vjp(
        lambda q, k, v: _attention(q, k, v, groups, slopes, max_seqlen, 0.0), q, k, v
    )[1]
    q_grad, k_grad, v_grad = gradients(grad)
    return q_grad, k_grad, v_grad


@sdpa_attention.register_fake
def _(q: torch.Tensor, *others: object) -> torch.Tensor:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


@sdpa_attention_backward.register_fake
def _(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *others: object
) -> tuple[torch.Tensor, ...]:
    return tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    *tensors, ctx.max_seqlen, dropout_p = inputs
    if dropout_p > 0:
        raise NotImplementedError("dropout_p: is not supported in a compiled graph. Use 0.")
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    grads = sdpa_attention_backward(grad, *ctx.saved_tensors, ctx.max_seqlen)
    return *grads, None, None, None, None


sdpa_attention.register_autograd(_gradients, setup_context=_save)
