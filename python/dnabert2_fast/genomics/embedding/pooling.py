"""States of tokens to one vector per sequence."""

from __future__ import annotations

import math

import torch

from dnabert2_fast.genomics.embedding.config import Pooling
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.segments import sequence_indices, sum_rows

__all__ = ["pool_states"]


def pool_states(
    states: torch.Tensor,
    batch: PackedBatch,
    real: torch.Tensor,
    pooling: Pooling = "mean",
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return one vector per sequence, shape (n, hidden_size), from the states of its tokens.

    Parameters
    ----------
    states : Tensor, shape (total_tokens, hidden_size)
    batch : PackedBatch
        On the device of `states`.
    real : Tensor of bool, shape (total_tokens,)
        Tokens for ``mean`` and ``max``; a sequence without any gives NaN.
    pooling : {"mean", "cls", "max"}
    weights : Tensor, shape (total_tokens,), optional
        Weight of each token in a mean; equal if omitted.
    """
    if pooling == "cls":
        return states[batch.cu_seqlens[:-1].long()]
    # Other rows are replaced, not removed: their number would have to be copied from the device.
    real, states = real.to(states.device, non_blocking=True), states.float()
    if pooling == "mean":
        shares = real.float()
        if weights is not None:
            shares = shares * weights.to(states.device, states.dtype, non_blocking=True)
        rows = torch.where(real[:, None], states * shares[:, None], 0.0)
        counts = sum_rows(torch.where(real, shares, 0.0)[:, None], batch.cu_seqlens)
        return (
            sum_rows(rows, batch.cu_seqlens) / counts
        )  # 0 / 0 gives NaN for a sequence without bases
    index = sequence_indices(batch.cu_seqlens, len(states))[:, None].expand_as(states)
    lowest = states.new_full((len(batch), states.shape[1]), -math.inf)
    pooled = lowest.scatter_reduce_(0, index, states.masked_fill(~real[:, None], -math.inf), "amax")
    return torch.where(pooled == -math.inf, math.nan, pooled)
