"""Predictions of a masked language model for hidden tokens.

A row is one sequence with some of its tokens replaced by [MASK]. Rows are sorted by length and
packed by token budget, and the head runs only on the masked positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.progress import Progress
from dnabert2_fast.errors import DivergedError
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.batching import length_sorted_batches
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.pretrained import Pretrained
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "Masks",
    "Predictions",
    "evaluating",
    "finite_on_host",
    "mask_id_of",
    "positions_of_bases",
    "predictions",
    "token_log_likelihood",
]

IGNORED = -100


class Masks(NamedTuple):
    """The positions that are masked together.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        The sequence of each of the `n` masked copies.
    offsets : ndarray of int64, shape (n + 1,)
        Copy ``i`` has the positions ``positions[offsets[i]:offsets[i + 1]]`` masked.
    positions : ndarray of int64, shape (m,)
        Tokens within their sequence, ascending within a copy.
    """

    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    @classmethod
    def one_each(cls, rows: npt.ArrayLike, positions: npt.ArrayLike) -> Masks:
        """Mask one position of each copy."""
        listed = np.asarray(rows, np.int64)
        return cls(listed, np.arange(len(listed) + 1), np.asarray(positions, np.int64))

    @classmethod
    def of(cls, positions: Sequence[npt.NDArray[np.int64]], mask_stride: int | None) -> Masks:
        """Mask given positions of each sequence, one by one, or every N-th in one copy.

        >>> Masks.of([np.array([1, 2, 3])], mask_stride=2)
        Masks(rows=array([0, 0]), offsets=array([0, 2, 3]), positions=array([1, 3, 2]))
        """
        rows, groups = [], []
        for row, own in enumerate(positions):
            step = mask_stride or len(own)
            for first in range(min(step, len(own))):
                rows.append(row)
                groups.append(own[first::step])
        offsets = np.cumsum([0, *map(len, groups)])
        flat = np.concatenate([np.empty(0, np.int64), *groups])
        return cls(np.array(rows, np.int64), offsets, flat)


class Predictions(NamedTuple):
    """Predictions of one batch.

    Attributes
    ----------
    which : ndarray of int64, shape (k,)
        The masked positions, as indices into ``Masks.positions``.
    true_ids : Tensor of int64, shape (k,)
        The original token there.
    logits : Tensor of float32, shape (k, vocab_size)
    """

    which: npt.NDArray[np.int64]
    true_ids: torch.Tensor
    logits: torch.Tensor


@contextmanager
def evaluating(model: Pretrained, *, gradients: bool = False) -> Iterator[None]:
    """Compute without dropout and, by default, without gradients; restore the mode at the end."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(not gradients), torch.set_grad_enabled(gradients):
            yield
    finally:
        model.train(was_training)


def finite_on_host(
    states: torch.Tensor, model: Pretrained, *results: torch.Tensor
) -> tuple[npt.NDArray[Any], ...]:
    """Return results that were computed from a model's states as arrays, by one copy.

    Raises
    ------
    DivergedError
        When the states contain NaN or infinity.
    """
    finite = states.isfinite().all()
    kind = reduce(torch.promote_types, (x.dtype for x in results), torch.float32)
    flat = torch.cat([finite.to(kind)[None], *(x.to(kind).flatten() for x in results)])
    values: npt.NDArray[Any] = flat.cpu().numpy()
    if not values[0]:
        raise DivergedError(
            f"the model's states are NaN or infinite in {model.dtype}. Use float32; if that fails "
            "too, the weights are damaged."
        )
    parts = np.split(values[1:], np.cumsum([x.numel() for x in results])[:-1])
    return tuple(part.reshape(x.shape) for part, x in zip(parts, results, strict=True))


def mask_id_of(tokenizer: Tokenizer) -> int:
    """Return the id of [MASK]; raise `ValueError` if the vocabulary has none."""
    if tokenizer.mask_id is None:
        raise ValueError("tokenizer: has no [MASK] token, which masked predictions need.")
    return tokenizer.mask_id


def positions_of_bases(ids: npt.NDArray[np.uint16], tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """Return the positions of the tokens that consist of bases, not of [CLS], [SEP] or [UNK]."""
    return np.flatnonzero(~tokenizer.special_mask[ids])


def predictions(
    ids: Ragged,
    masks: Masks,
    model: Dnabert2ForMaskedLM,
    mask_id: int,
    batch_tokens: int,
    bar: Progress | None = None,
) -> Iterator[Predictions]:
    """Yield the model's predictions at masked positions, in batches in any order.

    Call it within `evaluating`, and copy results by `finite_on_host`. The progress bar counts
    masked copies.
    """
    counts = np.diff(masks.offsets)
    for copies in length_sorted_batches(ids.lengths[masks.rows], batch_tokens):
        packed = ids.take(masks.rows[copies])
        copy_index = np.repeat(np.arange(len(copies)), counts[copies])
        first = np.cumsum(counts[copies]) - counts[copies]
        which = masks.offsets[copies][copy_index] + np.arange(len(copy_index)) - first[copy_index]
        at = torch.from_numpy(packed.offsets[copy_index] + masks.positions[which])
        batch = PackedBatch.from_ragged(packed)
        true_ids = batch.input_ids[at]
        labels = torch.full_like(batch.input_ids, IGNORED)
        labels[at] = true_ids
        batch.input_ids[at] = mask_id
        logits = model(batch, labels).logits
        assert logits is not None, "with_logits is True"
        logits = logits.float()
        yield Predictions(which, true_ids.to(logits.device, non_blocking=True), logits)
        if bar is not None:
            bar.update(len(copies))


def token_log_likelihood(
    ids: Ragged,
    masks: Masks,
    model: Dnabert2ForMaskedLM,
    mask_id: int,
    batch_tokens: int,
    bar: Progress | None = None,
) -> npt.NDArray[np.float64]:
    """Return the log-probability (nats) of the original token at each mask, shape (m,)."""
    found = np.full(len(masks.positions), np.nan)
    for batch in predictions(ids, masks, model, mask_id, batch_tokens, bar):
        logs = batch.logits.log_softmax(-1).gather(1, batch.true_ids[:, None])[:, 0]
        (found[batch.which],) = finite_on_host(batch.logits, model, logs)
    return found
