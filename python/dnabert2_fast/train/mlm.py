"""Masking for masked language modelling, as BERT does it (Devlin et al. 2019, section 3.1).

Of the tokens that stand for bases a share is chosen to be predicted; of those 80 % become [MASK],
10 % a random token and 10 % stay as they are.
"""

from __future__ import annotations

import torch

from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["IGNORED", "Masker"]

IGNORED = -100


class Masker:
    """Masks batches of one vocabulary; the same generator state gives the same masks.

    Parameters
    ----------
    tokenizer : Tokenizer
        Must have a [MASK]; special tokens are never chosen and never drawn.
    rate : float
        Share of tokens to predict, 0 to 1.

    Raises
    ------
    ValueError
        When the vocabulary has no [MASK] or `rate` is out of range.

    Examples
    --------
    >>> masker = Masker(Tokenizer.from_pretrained("dnabert2"), rate=1.0)
    >>> ids = torch.tensor([1, 5, 194, 2])
    >>> inputs, labels = masker(ids, torch.Generator().manual_seed(0))
    >>> labels.tolist()
    [-100, 5, 194, -100]
    """

    def __init__(self, tokenizer: Tokenizer, rate: float = 0.15) -> None:
        if tokenizer.mask_id is None:
            raise ValueError("tokenizer: has no [MASK] token, masked-LM training needs one")
        if not 0 < rate <= 1:
            raise ValueError(f"mask_rate: {rate} is not between 0 and 1")
        self.rate = rate
        self.mask_id = tokenizer.mask_id
        special = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
        special[sorted(tokenizer.special_ids)] = True
        self._special = special
        self._ordinary = torch.nonzero(~special).flatten()

    def __call__(
        self, input_ids: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return masked ids and labels (-100 where nothing is asked), shaped as `input_ids`."""
        draws = torch.rand(2, *input_ids.shape, generator=generator)
        chosen = (draws[0] < self.rate) & ~self._special[input_ids]
        labels = input_ids.masked_fill(~chosen, IGNORED)
        substitutes = self._ordinary[
            torch.randint(len(self._ordinary), input_ids.shape, generator=generator)
        ]
        masked = torch.where(chosen & (draws[1] < 0.8), self.mask_id, input_ids)
        return torch.where(chosen & (draws[1] >= 0.9), substitutes, masked), labels
