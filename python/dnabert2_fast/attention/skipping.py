"""Which keys a block of queries must read: with ALiBi, distant keys cannot change the result.

Relative to the query's own key, whose score is known, the weight of key ``j`` for query ``i`` is at
most ``exp((|q_i| |k_j| - q_i k_i) / sqrt(head_dim) - slope |i - j|)`` (Cauchy and Schwarz). Blocks
of keys are left out when that bound, summed over a whole sequence, stays below a quarter of the
last digit of the working precision. The bound assumes the largest value vector of the head for each
key. So the result is the same as with all keys, up to rounding; a distant key with a huge norm is
read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["Scores", "count_scores", "counting", "key_ranges", "record"]

# Norms and scores are computed in float32, with a rounding error.
SLACK = 1e-3


class Scores:
    """Numbers of attention scores, one per pair of tokens and head.

    They are added on the device; reading an attribute waits for it.
    """

    def __init__(self) -> None:
        self._computed: int | torch.Tensor = 0
        self._total: int | torch.Tensor = 0

    @property
    def computed(self) -> int:
        """Scores that were computed."""
        return int(self._computed)

    @property
    def total(self) -> int:
        """Scores of full attention."""
        return int(self._total)

    def add(self, computed: int | torch.Tensor, total: int | torch.Tensor) -> None:
        """Add the scores of a call.

        Parameters
        ----------
        computed, total : int or Tensor of int64
            A tensor may be on any device.
        """
        self._computed = self._computed + computed
        self._total = self._total + total

    @property
    def left_out(self) -> float:
        """Fraction of scores that were not computed because they cannot matter."""
        return 1 - self.computed / self.total if self.total else 0.0


_counters: list[Scores] = []


@contextmanager
def count_scores() -> Iterator[Scores]:
    """Count the attention scores that forward passes compute in a ``with`` block.

    Only the backends that leave out distant keys are counted: ``sdpa`` and ``triton``.

    Yields
    ------
    Scores
        Grows with each forward pass.

    Examples
    --------
    >>> from dnabert2_fast.attention import alibi_slopes, attention
    >>> q, borders = torch.zeros(1000, 1, 16), torch.tensor([0, 1000], dtype=torch.int32)
    >>> with count_scores() as scores:
    ...     _ = attention(
    ...         q, q, q, cu_seqlens=borders, max_seqlen=1000, alibi_slopes=torch.tensor([0.5])
    ...     )
    >>> scores.total, round(scores.left_out, 2)
    (1000000, 0.37)
    """
    counter = Scores()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def counting() -> bool:
    """Return whether `count_scores` is active."""
    return bool(_counters)


def record(computed: int | torch.Tensor, total: int | torch.Tensor) -> None:
    """Add to all open counts."""
    for counter in _counters:
        counter.add(computed, total)


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
        Queries per block; keys are in blocks of the same size.

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
    positions = torch.arange(blocks, device=q.device)
    apart = (positions[:, None] - positions[None, :]).abs()
    distance = ((apart - 1) * block + 1).clamp_min(0)
    highest = query[:, :, None] * key[:, None, :] * (1 + SLACK) + SLACK
    bound = highest - lowest[:, :, None] - slopes[:, None, None] * distance
    # NaN is not below the margin either.
    needed = ~(bound < -margin[:, None, None])
    first = needed.int().argmax(-1)
    last = blocks - needed.flip(-1).int().argmax(-1)
    return torch.stack([first * block, (last * block).clamp_max(length)], -1).transpose(0, 1)


def _by_block(x: torch.Tensor, block: int, blocks: int) -> torch.Tensor:
    """Return the maximum over the batch and each block, shape (heads, blocks)."""
    missing = blocks * block - x.shape[2]
    padded = torch.nn.functional.pad(x.amax(0), (0, missing), value=-math.inf)
    return padded.view(-1, blocks, block).amax(-1)
