"""Masking for masked language modelling, as BERT does it (Devlin et al. 2019, section 3.1).

A random fraction of the tokens of bases is chosen for prediction. 80 % of them become [MASK], 10 %
a random token, and 10 % stay unchanged. The result depends only on a key and on the token's
position. So a batch may be cut and distributed in any way, and has the same masks.
"""

from __future__ import annotations

import numpy as np
import torch

from dnabert2_fast._internal.checks import check_between
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["IGNORED", "Masker", "key_of"]

IGNORED = -100

# Constants of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers: torch's integers wrap.
GOLDEN, FIRST, SECOND = (
    number - (1 << 64) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def key_of(*numbers: int) -> int:
    """Return a key of 63 bits for some numbers, such as seed and step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Masker:
    """Masks tokens of one vocabulary; the same key and positions give the same masks.

    Parameters
    ----------
    tokenizer : Tokenizer
        Must have a [MASK]; special tokens are neither chosen nor used as random tokens.
    rate : float
        Fraction of tokens to predict, 0 to 1.

    Raises
    ------
    ValueError
        When the vocabulary has no [MASK] or `rate` is out of range.

    Examples
    --------
    >>> masker = Masker(Tokenizer.from_pretrained("dnabert2"), rate=1.0)
    >>> inputs, labels = masker(torch.tensor([1, 5, 194, 2]), torch.arange(4), key_of(0))
    >>> labels.tolist()
    [-100, 5, 194, -100]
    """

    def __init__(self, tokenizer: Tokenizer, rate: float = 0.15) -> None:
        if tokenizer.mask_id is None:
            raise ValueError("tokenizer: has no [MASK] token. Use one with [MASK].")
        check_between("mask_rate", rate, 0, 1, but_not=0)
        self.rate = rate
        self.mask_id = tokenizer.mask_id
        self._special = torch.from_numpy(tokenizer.special_mask)
        self._ordinary = torch.nonzero(~self._special).flatten()

    def __call__(
        self, input_ids: torch.Tensor, positions: torch.Tensor, key: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masked ids and labels (-100 at tokens that are not predicted).

        Parameters
        ----------
        input_ids : Tensor of int64, shape (tokens,)
        positions : Tensor of int64, shape (tokens,)
            Position of each token in the batch; all different.
        key : int
            See `key_of`.
        """
        chosen = (_share(positions, key, 0) < self.rate) & ~self._special[input_ids]
        labels = input_ids.masked_fill(~chosen, IGNORED)
        fate = _share(positions, key, 1)
        drawn = (_bits(positions, key, 2) >> 16) & ((1 << 47) - 1)
        substitutes = self._ordinary[drawn % len(self._ordinary)]
        masked = torch.where(chosen & (fate < 0.8), self.mask_id, input_ids)
        return torch.where(chosen & (fate >= 0.9), substitutes, masked), labels


def _bits(positions: torch.Tensor, key: int, draw: int) -> torch.Tensor:
    """Return 64 random bits per position: SplitMix64 with a separate start for every draw."""
    x = (positions * 3 + draw) * GOLDEN + key
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _share(positions: torch.Tensor, key: int, draw: int) -> torch.Tensor:
    """Return uniform numbers in [0, 1) with 24 bits, which float32 represents exactly."""
    return ((_bits(positions, key, draw) >> 40) & 0xFFFFFF).float() * 2.0**-24


def _shifted(x: torch.Tensor, by: int) -> torch.Tensor:
    """Shift to the right without copying the sign bit."""
    return (x >> by) & ((1 << (64 - by)) - 1)
