"""ALiBi attention on packed sequences with torch's scaled_dot_product_attention.

Each sequence is one call, so nothing is padded. The bias is a float mask; queries go in blocks, so
that no tensor of length squared is ever built. Runs on every device that torch runs on.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from dnabert2_fast.attention.alibi import alibi_bias

__all__ = ["attention_sdpa", "unavailable"]

# Queries of one call, so that a mask has at most QUERY_BLOCK * length entries a head.
QUERY_BLOCK = 512


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
    shared = min(max_seqlen, QUERY_BLOCK)
    bias = alibi_bias(alibi_slopes, range(shared), range(shared), q.dtype)
    borders = cu_seqlens.tolist()
    parts = []
    for start, end in pairwise(borders):
        rows, keys, values = (x[start:end].transpose(0, 1)[None] for x in (q, k, v))
        length = end - start
        for first in range(0, length, QUERY_BLOCK):
            last = min(first + QUERY_BLOCK, length)
            if length <= QUERY_BLOCK:
                mask = bias[:, :length, :length]
            else:
                mask = alibi_bias(alibi_slopes, range(first, last), range(length), q.dtype)
            block = scaled_dot_product_attention(
                rows[:, :, first:last], keys, values, attn_mask=mask[None], dropout_p=dropout_p
            )
            parts.append(block[0].transpose(0, 1))
    return torch.cat(parts) if parts else torch.zeros_like(q)
