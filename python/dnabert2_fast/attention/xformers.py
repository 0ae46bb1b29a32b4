"""ALiBi attention with xformers: a padded bias tensor, one call per group of equal lengths.

xformers has no ALiBi for encoders, and its masks for packed sequences cannot be combined with a
bias tensor. So sequences of one length are computed together, and the bias (heads, length, length)
is expanded over them. Its rows are padded to a multiple of 8 entries, as the kernel requires.
Queries of long sequences are processed in blocks, so that the bias stays small. It runs torch's own
memory-efficient kernel: expect the speed of ``sdpa``, not more.
"""

from __future__ import annotations

import torch

from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.sdpa import groups_of_one_length

__all__ = ["attention_xformers", "padded_bias"]

# Maximum number of queries per call.
QUERY_BLOCK = 512

# The number of entries in a row of the bias is a multiple of this.
ALIGNMENT = 8


def padded_bias(
    slopes: torch.Tensor, queries: range, length: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return the bias of some queries, (heads, queries, length), a view of longer rows."""
    padded = -(-length // ALIGNMENT) * ALIGNMENT
    return alibi_bias(slopes, queries, range(padded), dtype)[..., :length]


def attention_xformers(
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
    from xformers.ops import memory_efficient_attention

    parts = []
    for start, count, length in groups_of_one_length(cu_seqlens):
        rows, keys, values = (
            x[start : start + count * length].view(count, length, *x.shape[1:]) for x in (q, k, v)
        )
        blocks = []
        for first in range(0, length, QUERY_BLOCK):
            queries = range(first, min(first + QUERY_BLOCK, length))
            bias = padded_bias(alibi_slopes, queries, length, q.dtype)
            blocks.append(
                memory_efficient_attention(
                    rows[:, queries.start : queries.stop],
                    keys,
                    values,
                    attn_bias=bias[None].expand(count, -1, -1, -1),
                    p=dropout_p,
                )
            )
        parts.append(torch.cat(blocks, dim=1).flatten(0, 1))
    return torch.cat(parts) if parts else v.clone()
