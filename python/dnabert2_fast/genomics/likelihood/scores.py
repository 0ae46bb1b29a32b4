"""How likely a masked language model finds a sequence, and the tokens it fills masks with.

A masked model has no likelihood of a sequence. What stands in for it is the pseudo-log-likelihood:
each token masked by itself, the log-probabilities of the true tokens added up (Salazar et al.,
"Masked Language Model Scoring", ACL 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    mask_id_of,
    positions_of_bases,
    token_log_likelihood,
)
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "FilledToken",
    "Likelihood",
    "fill_mask",
    "likelihoods",
    "pseudo_likelihood",
    "require_masked_lm",
]

# Sequences computed together.
CHUNK = 64


class FilledToken(NamedTuple):
    """A token that may stand at a mask.

    Attributes
    ----------
    token : str
    token_id : int
    probability : float
        Of all ids of the vocabulary together 1.
    """

    token: str
    token_id: int
    probability: float


class Likelihood(NamedTuple):
    """Pseudo-log-likelihood of a sequence.

    Attributes
    ----------
    log_likelihood : float
        Sum over its tokens, in nats.
    tokens, bases : int
        How many were predicted, and the bases that they spell; [UNK] is left out.
    """

    log_likelihood: float
    tokens: int
    bases: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss of a token; comparable within one vocabulary only."""
        return math.exp(-self.log_likelihood / self.tokens) if self.tokens else math.nan

    @property
    def bits_per_base(self) -> float:
        """Loss a base, in bits; comparable between vocabularies. Guessing evenly gives 2."""
        return -self.log_likelihood / self.bases / math.log(2) if self.bases else math.nan


def fill_mask(
    sequence: str, model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, *, top_k: int = 5
) -> list[list[FilledToken]]:
    """Return the likeliest tokens at every ``[MASK]`` of a sequence, the likeliest first.

    A mask stands for one token, of any number of bases; no mask sees what another is filled with.

    Parameters
    ----------
    sequence : str
        Letters, and the vocabulary's mask token (``[MASK]``) in one or more positions.
    model : Dnabert2ForMaskedLM
    tokenizer : Tokenizer
        The one that the model was trained with.
    top_k : int
        Tokens a mask.

    Returns
    -------
    list of list of FilledToken
        One list a mask, in order.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
    ValueError
        When the sequence has no ``[MASK]``, or `top_k` is no number of tokens.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2ForMaskedLM(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8))
    >>> tokenizer = Tokenizer.from_pretrained("dnabert2")
    >>> [len(found) for found in fill_mask("ACG[MASK]TTAG[MASK]", model, tokenizer, top_k=3)]
    [3, 3]
    """
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    if not 1 <= top_k <= tokenizer.vocab_size:
        raise ValueError(f"top_k: {top_k} does not lie between 1 and {tokenizer.vocab_size}")
    ids = tokenizer.encode(sequence)
    masked = torch.from_numpy(ids == mask_id_of(tokenizer))
    if not masked.any():
        mask = tokenizer.vocabulary[mask_id_of(tokenizer)]
        raise ValueError(f"sequence: has no {mask}; write one where a token is to be filled in")
    batch = PackedBatch.from_ragged(Ragged.from_list([ids]))
    labels = torch.where(masked, batch.input_ids, -100)  # asks for these rows alone
    with evaluating(model):
        logits = model(batch, labels).logits
        assert logits is not None, "they were asked for"
        best = logits.float().softmax(-1).topk(top_k)
    words = tokenizer.vocabulary
    return [
        [FilledToken(words[i], i, p) for i, p in zip(chosen, shares, strict=True)]
        for chosen, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def pseudo_likelihood(
    sequences: Sequence[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    *,
    mask_stride: int | None = None,
    batch_tokens: int = 16_384,
) -> list[Likelihood]:
    """Return how likely sequences are.

    Parameters
    ----------
    sequences : sequence of str
    model : Dnabert2ForMaskedLM
    tokenizer : Tokenizer
        The one that the model was trained with.
    mask_stride : int, optional
        Mask every N-th token in one pass: N passes for a sequence instead of one for each token,
        but less context for each prediction, and other numbers; docs/guides/likelihood.md
        measures the difference. One token at a time if left out.
    batch_tokens : int
        Tokens of one batch, at most; a longer sequence makes a batch of its own.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2ForMaskedLM(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8))
    >>> found, = pseudo_likelihood(["ACGTTGCATTN"], model, Tokenizer.from_pretrained("dnabert2"))
    >>> found.bases, found.perplexity > 1
    (10, True)
    """
    require_masked_lm(model, tokenizer, mask_stride, batch_tokens)
    with progress(len(sequences), "likelihood", "sequences") as bar:
        return likelihoods(sequences, model, tokenizer, mask_stride, batch_tokens, bar)


def likelihoods(
    sequences: Sequence[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    mask_stride: int | None,
    batch_tokens: int,
    bar: Progress,
) -> list[Likelihood]:
    """Return the pseudo-log-likelihood of each sequence; all are computed together."""
    encoded = tokenizer.encode_batch_detailed(list(sequences))
    ids = encoded.ids
    positions = [positions_of_bases(row, tokenizer) for row in ids]
    masks = Masks.of(positions, mask_stride)
    with evaluating(model):
        logs = token_log_likelihood(ids, masks, model, mask_id_of(tokenizer), batch_tokens)
    sequence_index = np.repeat(masks.rows, np.diff(masks.offsets))
    sums = np.bincount(sequence_index, logs, len(ids))
    spans = encoded.offsets[ids.offsets[sequence_index] + masks.positions]
    bases = np.bincount(sequence_index, spans[:, 1] - spans[:, 0], len(ids))
    bar.update(len(ids))
    return [Likelihood(float(sums[i]), len(own), int(bases[i])) for i, own in enumerate(positions)]


def require_masked_lm(
    model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, mask_stride: int | None, batch_tokens: int
) -> None:
    """Raise an error that says what does not fit together."""
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    check_at_least("mask_stride", mask_stride, 2)
    check_at_least("batch_tokens", batch_tokens, 1)
