"""ALiBi attention on packed sequences with torch's scaled_dot_product_attention.

Neighbouring sequences of one length are one call, so nothing is padded. The bias is a float mask;
queries of long sequences go in blocks, so that no tensor of length squared is ever built, and each
head takes the keys that can matter to a block. Runs on every device that torch runs on.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.skipping import key_ranges

__all__ = ["attention_sdpa", "unavailable"]

# Longer sequences are worked on in blocks of queries.
LONG = 512

# Queries of one call then, so that a mask has at most QUERY_BLOCK * length entries a head.
QUERY_BLOCK = 256

# Tokens of one call, unless a single sequence has more.
GROUP_TOKENS = 4096


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why this backend cannot run, None when it can."""
    return None


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
    shared = min(max_seqlen, LONG)
    bias = alibi_bias(alibi_slopes, range(shared), range(shared), q.dtype)
    parts = []
    for start, count, length in _groups(cu_seqlens):
        rows, keys, values = (
            x[start : start + count * length].view(count, length, *x.shape[1:]).transpose(1, 2)
            for x in (q, k, v)
        )
        if length <= LONG:
            mask = bias[:, :length, :length]
            whole = scaled_dot_product_attention(
                rows, keys, values, attn_mask=mask[None], dropout_p=dropout_p
            )
        else:
            whole = _long(rows, keys, values, alibi_slopes, dropout_p)
        parts.append(whole.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts) if parts else torch.zeros_like(q)


def _long(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, dropout_p: float
) -> torch.Tensor:
    """Attention of long sequences, queries in blocks, each head with the keys that it needs."""
    blocks = []
    for number, ranges in enumerate(key_ranges(q, k, v, slopes, QUERY_BLOCK).tolist()):
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
        place = torch.tensor(order, device=q.device).argsort()
        blocks.append(torch.cat(parts, dim=1)[:, place])
    return torch.cat(blocks, dim=2)


def _groups(cu_seqlens: torch.Tensor) -> Iterator[tuple[int, int, int]]:
    """Yield start, number and length of neighbouring sequences that have the same length."""
    start = 0
    for length, some in groupby(cu_seqlens.diff().tolist()):
        left = sum(1 for _ in some) if length > 0 else 0
        while left > 0:
            count = min(left, max(1, GROUP_TOKENS // length))
            yield start, count, length
            start += count * length
            left -= count
