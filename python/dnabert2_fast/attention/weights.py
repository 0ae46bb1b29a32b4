"""Attention weights of every pair of tokens, for analysis.

Their memory grows with the square of the length, so it is checked first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.lengths import on_host

__all__ = ["attention_weights", "require_room"]

# Maximum number of weights of all layers of one model together: 4 GB in float32.
MAX_ENTRIES = 2**30


def require_room(cu_seqlens: torch.Tensor, heads: int) -> None:
    """Raise ValueError, with the remedy, when the weights of these heads are too large."""
    entries = heads * int((np.diff(on_host(cu_seqlens)).astype(np.int64) ** 2).sum())
    if entries > MAX_ENTRIES:
        raise ValueError(
            f"output_attentions: must have at most {MAX_ENTRIES:,} weights (got {entries:,}). Use "
            "fewer or shorter sequences per call."
        )


def attention_weights(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    alibi_slopes: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Return the attention weights of every sequence.

    Parameters
    ----------
    q, k : Tensor, shape (total_tokens, heads, head_dim)
    cu_seqlens : Tensor of int32, shape (n + 1,)
    alibi_slopes : Tensor of float32, shape (heads,)

    Returns
    -------
    tuple of torch.Tensor, each (heads, length, length)
        One per sequence; row `i` belongs to token `i`.

    Examples
    --------
    >>> q, borders = torch.zeros(3, 1, 16), torch.tensor([0, 3], dtype=torch.int32)
    >>> slopes = torch.tensor([0.6931472])
    >>> weights = attention_weights(q, q, cu_seqlens=borders, alibi_slopes=slopes)
    >>> weights[0][0, 0].tolist()  # a slope of ln 2 halves the weight with every token
    [0.5714285969734192, 0.2857142984867096, 0.1428571492433548]
    """
    borders = on_host(cu_seqlens).tolist()
    weights = []
    for start, stop in pairwise(borders):
        rows, keys = (x[start:stop].transpose(0, 1) for x in (q, k))
        scores = (rows @ keys.transpose(1, 2)).float() * q.shape[-1] ** -0.5
        positions = range(stop - start)
        bias = alibi_bias(alibi_slopes, positions, positions, torch.float32)
        weights.append((scores + bias).softmax(-1))
    return tuple(weights)
