"""ALiBi: a penalty on attention scores that grows with distance, with one slope per head.

Press, Smith and Lewis, "Train Short, Test Long" (ICLR 2022). DNABERT-2 uses the symmetric form,
``-slope * |i - j|``, because its encoder is bidirectional.
"""

from __future__ import annotations

import math

import torch

__all__ = ["alibi_bias", "alibi_slopes"]


def alibi_slopes(heads: int) -> torch.Tensor:
    """Return the slope of every head, float32 of shape (heads,).

    For a power of two the slopes are ``2 ** (-8 * (i + 1) / heads)``. Otherwise those of the next
    lower power come first, then every second one of the next higher power (appendix of the paper).

    Parameters
    ----------
    heads : int
        Number of attention heads.

    Returns
    -------
    torch.Tensor of float32, shape (heads,)

    Examples
    --------
    >>> [round(slope, 4) for slope in alibi_slopes(3).tolist()]
    [0.0625, 0.0039, 0.25]
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    if power < heads:
        above = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(2 * power)]
        slopes += above[0::2][: heads - power]
    return torch.tensor(slopes, dtype=torch.float32)


def alibi_bias(
    slopes: torch.Tensor, queries: range, keys: range, dtype: torch.dtype
) -> torch.Tensor:
    """Return the bias between two spans of one sequence, shape (heads, queries, keys)."""
    rows = torch.arange(queries.start, queries.stop, device=slopes.device)
    columns = torch.arange(keys.start, keys.stop, device=slopes.device)
    distance = (rows[:, None] - columns[None, :]).abs()
    return (-slopes[:, None, None] * distance).to(dtype)
