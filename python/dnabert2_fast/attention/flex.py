"""ALiBi attention on packed sequences with torch's FlexAttention, compiled on first use.

All sequences are in one row; a block mask separates them, and a function of the scores adds the
bias. torch compiles it for CUDA with a backward pass, and for the CPU without one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from dnabert2_fast.errors import BackendUnavailableError

__all__ = ["attention_flex"]


@lru_cache
def _compiled() -> tuple[Any, Any]:
    return torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask)


def attention_flex(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    alibi_slopes: torch.Tensor,
    dropout_p: float,
) -> torch.Tensor:
    """Return the attention of every sequence; arguments as in `dnabert2_fast.attention`.

    Raises
    ------
    BackendUnavailableError
        With dropout of attention weights, which FlexAttention does not support.
    """
    if dropout_p > 0:
        raise BackendUnavailableError(
            'attention="flex": it has no dropout of attention weights. Use attention="sdpa".'
        )
    if not len(q):
        return v.clone()
    positions = torch.arange(len(q), dtype=cu_seqlens.dtype, device=q.device)
    sequence = torch.searchsorted(cu_seqlens, positions, right=True)

    def bias(
        score: torch.Tensor, b: torch.Tensor, head: torch.Tensor, i: torch.Tensor, j: torch.Tensor
    ) -> torch.Tensor:
        return score - alibi_slopes[head] * (i - j).abs()

    def together(
        b: torch.Tensor, head: torch.Tensor, i: torch.Tensor, j: torch.Tensor
    ) -> torch.Tensor:
        return sequence[i] == sequence[j]

    attend, make_mask = _compiled()
    mask = make_mask(together, None, None, len(q), len(q), device=q.device)
    rows = [x.transpose(0, 1)[None] for x in (q, k, v)]
    out: torch.Tensor = attend(*rows, score_mod=bias, block_mask=mask)
    return out[0].transpose(0, 1)
