"""Attention weights themselves, for those who want to look at them: every pair of tokens.

This is the one place where memory grows with the square of the length, so it asks first.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from dnabert2_fast.attention.alibi import alibi_bias

__all__ = ["attention_maps", "require_room"]

# Entries of all maps of one model together: 4 GB in float32.
MAX_ENTRIES = 2**30


def require_room(cu_seqlens: torch.Tensor, heads: int) -> None:
    """Raise ValueError, with the remedy, when the maps of so many heads are too large."""
    entries = heads * int(cu_seqlens.diff().long().square().sum())
    if entries > MAX_ENTRIES:
        raise ValueError(
            f"output_attentions: {entries:,} weights are more than {MAX_ENTRIES:,}; give fewer or "
            "shorter sequences at a time"
        )


def attention_maps(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    alibi_slopes: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Return every sequence's weights, each (heads, length, length): row i is what i looks at.

    Parameters
    ----------
    q, k : Tensor, shape (total_tokens, heads, head_dim)
    cu_seqlens : Tensor of int32, shape (n + 1,)
    alibi_slopes : Tensor of float32, shape (heads,)

    Examples
    --------
    >>> q, borders = torch.zeros(3, 1, 16), torch.tensor([0, 3], dtype=torch.int32)
    >>> maps = attention_maps(q, q, cu_seqlens=borders, alibi_slopes=torch.tensor([0.6931472]))
    >>> maps[0][0, 0].tolist()  # a slope of ln 2 halves the weight with every token
    [0.5714285969734192, 0.2857142984867096, 0.1428571492433548]
    """
    borders = cu_seqlens.tolist()
    maps = []
    for start, stop in pairwise(borders):
        rows, keys = (x[start:stop].transpose(0, 1) for x in (q, k))
        scores = (rows @ keys.transpose(1, 2)).float() * q.shape[-1] ** -0.5
        places = range(stop - start)
        maps.append((scores + alibi_bias(alibi_slopes, places, places, torch.float32)).softmax(-1))
    return tuple(maps)
