"""Which keys a block of queries must see: with ALiBi, those far away cannot change the result.

Relative to the query's own key, whose score is known, the weight of key ``j`` for query ``i`` is at
most ``exp((|q_i| |k_j| - q_i k_i) / sqrt(head_dim) - slope |i - j|)`` (Cauchy and Schwarz).
Blocks of keys are left out when that bound, summed over a whole sequence, stays below a quarter of
the last place of the working precision, also when the largest value vector of the head stands
there. So the result is the same as without leaving out, up to rounding; a far key with a huge norm
is seen.
"""

from __future__ import annotations

import math

import torch

__all__ = ["key_ranges"]

# Norms and scores are computed in float32, a little off.
SLACK = 1e-3


@torch.no_grad()
def key_ranges(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slopes: torch.Tensor, block: int
) -> torch.Tensor:
    """Return the first and one past the last key that each block of queries needs.

    Parameters
    ----------
    q, k, v : Tensor, shape (batch, heads, length, head_dim)
    slopes : Tensor of float32, shape (heads,)
    block : int
        Queries of one block; keys are taken in blocks of the same size.

    Returns
    -------
    Tensor of int64, shape (blocks, heads, 2)

    Examples
    --------
    >>> q = torch.zeros(1, 1, 4, 16)
    >>> key_ranges(q, q, q + 1, torch.tensor([10.0]), block=1)[:, 0].tolist()
    [[0, 2], [0, 3], [1, 4], [2, 4]]
    """
    length, blocks = q.shape[2], -(-q.shape[2] // block)
    scale = q.shape[-1] ** -0.5
    own = (q.float() * k.float()).sum(-1) * scale
    query = _by_block(q.float().norm(dim=-1) * scale, block, blocks)
    key = _by_block(k.float().norm(dim=-1), block, blocks)
    lowest = -_by_block(-own, block, blocks)
    norms = v.float().norm(dim=-1)
    values = (norms.amax((0, 2)) / norms.mean((0, 2)).clamp_min(1e-30)).clamp_min(1)
    margin = math.log(length) - math.log(torch.finfo(q.dtype).eps / 4) + values.log()
    places = torch.arange(blocks, device=q.device)
    apart = (places[:, None] - places[None, :]).abs()
    distance = ((apart - 1) * block + 1).clamp_min(0)
    highest = query[:, :, None] * key[:, None, :] * (1 + SLACK) + SLACK
    bound = highest - lowest[:, :, None] - slopes[:, None, None] * distance
    # What is not a number is not below the margin either.
    needed = ~(bound < -margin[:, None, None])
    first = needed.int().argmax(-1)
    last = blocks - needed.flip(-1).int().argmax(-1)
    return torch.stack([first * block, (last * block).clamp_max(length)], -1).transpose(0, 1)


def _by_block(x: torch.Tensor, block: int, blocks: int) -> torch.Tensor:
    """Greatest over the batch and each block, shape (heads, blocks)."""
    missing = blocks * block - x.shape[2]
    padded = torch.nn.functional.pad(x.amax(0), (0, missing), value=-math.inf)
    return padded.view(-1, blocks, block).amax(-1)
