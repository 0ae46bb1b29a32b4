"""States of tokens to one vector per sequence."""

from __future__ import annotations

from typing import Literal

import torch

from dnabert2_fast.model.batch import PackedBatch

__all__ = ["Pooling", "pool_states", "sequence_indices"]

Pooling = Literal["mean", "cls", "max"]


def sequence_indices(batch: PackedBatch) -> torch.Tensor:
    """Return the sequence number of each token, on the CPU."""
    lengths = batch.cu_seqlens.diff().long().cpu()
    return torch.repeat_interleave(torch.arange(len(batch)), lengths)


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
    real = real.to(states.device)
    sequence_index = sequence_indices(batch).to(states.device)[real]
    states = states[real].float()
    pooled = states.new_zeros(len(batch), states.shape[1])
    if pooling == "mean":
        counts = torch.bincount(sequence_index, minlength=len(batch)).float()
        if weights is not None:
            weights = weights.to(states.device, states.dtype)[real]
            states = states * weights[:, None]
            counts = counts.new_zeros(len(batch)).index_add_(0, sequence_index, weights)
        pooled.index_add_(0, sequence_index, states)
        return pooled / counts[:, None]  # 0 / 0 gives NaN for a sequence without bases
    index = sequence_index[:, None].expand_as(states)
    pooled.scatter_reduce_(0, index, states, "amax", include_self=False)
    empty = torch.bincount(sequence_index, minlength=len(batch)) == 0
    return pooled.masked_fill(empty[:, None], float("nan"))
