"""How likely a masked language model finds a sequence, and its predictions for masked tokens.

A masked model does not define a likelihood of a sequence. The pseudo-log-likelihood replaces it:
each token is masked separately, and the log-probabilities of the true tokens are summed (Salazar et
al., "Masked Language Model Scoring", ACL 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
import torch

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.loading import load_masked_lm
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    mask_id_of,
    positions_of_bases,
    token_log_likelihood,
)
from dnabert2_fast.io.arguments import Sequence as OneSequence
from dnabert2_fast.io.arguments import Sequences, checked, is_one, text_list
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.weights import Name
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_texts

__all__ = [
    "FilledToken",
    "Likelihood",
    "fill_mask",
    "likelihoods",
    "pseudo_likelihood",
    "require_masked_lm",
]

# Number of sequences computed together.
CHUNK = 64


class FilledToken(NamedTuple):
    """A predicted token at a mask.

    Attributes
    ----------
    token : str
    token_id : int
    probability : float
        Over the whole vocabulary, with sum 1.
    """

    token: str
    token_id: int
    probability: float


class Likelihood(NamedTuple):
    """Pseudo-log-likelihood of a sequence.

    Attributes
    ----------
    log_likelihood : float
        Sum over its tokens, in nats; NaN without a token of bases.
    tokens, bases : int
        Numbers of predicted tokens and of their bases; [UNK] is excluded.
    """

    log_likelihood: float
    tokens: int
    bases: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss per token; comparable within one vocabulary only."""
        return math.exp(-self.log_likelihood / self.tokens) if self.tokens else math.nan

    @property
    def bits_per_base(self) -> float:
        """Loss per base in bits, comparable between vocabularies; a uniform guess gives 2."""
        return -self.log_likelihood / self.bases / math.log(2) if self.bases else math.nan


@overload  # a str is an iterable of str, and matches the first one
def fill_mask(  # type: ignore[overload-overlap]
    sequences: OneSequence,
    model: Dnabert2ForMaskedLM | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    top_k: int = 5,
) -> list[list[FilledToken]]: ...


@overload
def fill_mask(
    sequences: Sequences,
    model: Dnabert2ForMaskedLM | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    top_k: int = 5,
) -> list[list[list[FilledToken]]]: ...


def fill_mask(
    sequences: OneSequence | Sequences,
    model: Dnabert2ForMaskedLM | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    top_k: int = 5,
) -> list[list[FilledToken]] | list[list[list[FilledToken]]]:
    """Return the most probable tokens at every ``[MASK]`` of sequences.

    A mask is one token of any number of bases; predictions for several masks are independent.

    Parameters
    ----------
    sequences : str, or list, tuple, generator, array or series
        Bases, and the vocabulary's mask token (``[MASK]``) in one or more positions.
    model, tokenizer, device, dtype
        As in `embed`, for a masked language model.
    top_k : int
        Number of tokens per mask.

    Returns
    -------
    list of list of FilledToken
        One list per mask, in order; for many sequences, a list of that for each.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.
    ValueError
        When a sequence has no ``[MASK]``, or `top_k` is out of range.

    Examples
    --------
    >>> [len(found) for found in fill_mask("ACG[MASK]TTAG[MASK]", top_k=3)]
    [3, 3]
    >>> len(fill_mask(["ACG[MASK]TTAG", "GGC[MASK]"]))
    2
    """
    texts = text_list([sequences] if is_one(sequences) else sequences)
    net, tok = load_masked_lm(model, tokenizer, device=device, dtype=dtype)
    if not 1 <= top_k <= tok.vocab_size:
        raise ValueError(f"top_k: must be between 1 and {tok.vocab_size} (got {top_k}).")
    found = [_filled(text, net, tok, top_k) for text in texts]
    return found[0] if is_one(sequences) else found


def _filled(
    sequence: str, model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, top_k: int
) -> list[list[FilledToken]]:
    ids = tokenizer.encode(sequence)
    masked = torch.from_numpy(ids == mask_id_of(tokenizer))
    if not masked.any():
        mask = tokenizer.vocabulary[mask_id_of(tokenizer)]
        raise ValueError(f"sequence: has no {mask}. Write one where a token is to be predicted.")
    batch = PackedBatch.from_ragged(Ragged.from_list([ids]))
    labels = torch.where(masked, batch.input_ids, -100)  # selects the rows of the masks
    with evaluating(model):
        logits = model(batch, labels).logits
        assert logits is not None, "with_logits is True"
        # A padded model has rows beyond the vocabulary.
        best = logits.float().softmax(-1)[:, : tokenizer.vocab_size].topk(top_k)
    words = tokenizer.vocabulary
    return [
        [FilledToken(words[i], i, p) for i, p in zip(chosen, shares, strict=True)]
        for chosen, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def pseudo_likelihood(
    sequences: Sequences,
    model: Dnabert2ForMaskedLM | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    mask_stride: int | None = None,
    batch_tokens: int = 16_384,
) -> list[Likelihood]:
    """Return the pseudo-log-likelihood of each sequence.

    Parameters
    ----------
    sequences, model, tokenizer, device, dtype
        As in `embed`, for a masked language model.
    mask_stride : int, optional
        Mask every N-th token in one pass: N passes per sequence instead of one per token, but less
        context for each prediction, and other values (docs/guides/likelihood.md measures the
        difference). Default: one token at a time.
    batch_tokens : int
        Maximum number of tokens per batch; a longer sequence has its own batch.

    Returns
    -------
    list of Likelihood
        One per sequence.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.

    Examples
    --------
    >>> found, = pseudo_likelihood(["ACGTTGCATTA"])
    >>> found.bases, found.perplexity > 1
    (11, True)
    """
    check_at_least("mask_stride", mask_stride, 2)
    check_at_least("batch_tokens", batch_tokens, 1)
    given = checked(sequences)
    net, tok = load_masked_lm(model, tokenizer, device=device, dtype=dtype)
    texts = known_texts(given, tok)
    with progress(len(texts), "likelihood", "sequences") as bar:
        return likelihoods(texts, net, tok, mask_stride, batch_tokens, bar)


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
    return [
        Likelihood(float(sums[i]) if len(own) else math.nan, len(own), int(bases[i]))
        for i, own in enumerate(positions)
    ]


def require_masked_lm(
    model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, mask_stride: int | None, batch_tokens: int
) -> None:
    """Raise an error when model and tokenizer do not match."""
    model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
    check_at_least("mask_stride", mask_stride, 2)
    check_at_least("batch_tokens", batch_tokens, 1)
