"""Sums over the rows of each sequence of a packed batch."""

from __future__ import annotations

import torch

__all__ = ["sequence_indices", "sum_rows"]


def sequence_indices(cu_seqlens: torch.Tensor, tokens: int) -> torch.Tensor:
    """Return the sequence number of each token.

    >>> sequence_indices(torch.tensor([0, 2, 2, 3]), 3).tolist()
    [0, 0, 2]
    """
    numbers = torch.arange(len(cu_seqlens) - 1, device=cu_seqlens.device)
    # `output_size` avoids a device sync and a graph break.
    return torch.repeat_interleave(numbers, cu_seqlens.diff().long(), output_size=tokens)


def sum_rows(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return the sum of each sequence's rows, zero without rows; equal calls give equal bits.

    >>> sum_rows(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 2, 2, 3])).tolist()
    [[11.0], [0.0], [7.0]]
    """
    if rows.device.type == "cpu":
        return _by_index(rows, cu_seqlens)
    return _by_segment(rows, cu_seqlens)


def _by_index(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    total = rows.new_zeros(len(cu_seqlens) - 1, *rows.shape[1:])
    return total.index_add(0, sequence_indices(cu_seqlens, len(rows)), rows)


def _by_segment(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    # index_add adds atomically on a GPU, so the order of its additions differs from call to call.
    return torch.segment_reduce(
        rows, "sum", offsets=cu_seqlens.long(), axis=0, unsafe=True, initial=0
    )
