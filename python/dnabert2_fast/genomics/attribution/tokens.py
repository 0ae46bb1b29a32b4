"""Which tokens an answer depends on: occlusion, integrated gradients, attention weights.

The results have one number per token; `mutagenesis.py` maps tokens to bases.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.genomics.attribution.config import AttributionConfig
from dnabert2_fast.genomics.embedding.pooling import pool_states
from dnabert2_fast.genomics.masked import evaluating, finite_on_host, mask_id_of
from dnabert2_fast.genomics.variants.scoring import class_answer
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import Dnabert2ForSequenceClassification
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "CLASS_TARGETS",
    "AttributionTarget",
    "attention_weights",
    "integrated_gradients",
    "occlude",
]

# A pass with gradients stores the states of every layer, so its batch is this part of
# `batch_tokens`.
GRADIENT_SHARE = 8


CLASS_TARGETS = ("log_odds", "probability")
"""Targets of one class of a classifier."""


class AttributionTarget:
    """The target as a function of packed sequences, with the ids of the unchanged sequence."""

    def __init__(
        self, sequence: str, model: Model, tokenizer: Tokenizer, target: str, label: str | int
    ) -> None:
        self.model, self.target = model, target
        self.label = model.config.class_number(label) if target in CLASS_TARGETS else 0
        self.tokenizer = tokenizer
        self.special = torch.from_numpy(tokenizer.special_mask)
        self.ids = tokenizer.encode(sequence)
        self.positions = np.flatnonzero(~tokenizer.special_mask[self.ids])
        self.home: torch.Tensor | None = None
        if target == "similarity":
            with evaluating(model):
                batch = self.copies(1).to(model.device)
                home = pool_states(self.model.bert.encode(batch), batch, self.real(batch))[0]
            self.home = home.double().clone()  # outside inference mode, for gradients

    def copies(self, number: int) -> PackedBatch:
        """Return the unchanged sequence several times."""
        return PackedBatch.from_ragged(Ragged.from_list([self.ids] * number))

    def real(self, batch: PackedBatch) -> torch.Tensor:
        """Return whether tokens consist of bases, shape (total_tokens,)."""
        return ~self.special.to(batch.input_ids.device)[batch.input_ids]

    def on_host(self, batch: PackedBatch, real: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return the target of every sequence as an array, by one copy from the device."""
        answer, states = self(batch, real)
        return finite_on_host(states, self.model, answer)[0]

    def __call__(self, batch: PackedBatch, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the target of every sequence, shape (n,), and what must be finite for it.

        Vectors are means over `real` tokens.
        """
        if isinstance(self.model, Dnabert2ForSequenceClassification) and self.home is None:
            # Pooled directly: the last layer may then compute only each first token.
            logits = self.model(batch).logits.double()
            log_odds, probability = class_answer(logits, self.label)
            return log_odds if self.target == "log_odds" else probability, logits
        assert self.home is not None, "without a classifier the target is similarity"
        batch = batch.to(self.model.device)
        states = self.model.bert.encode(batch)
        vectors = pool_states(states, batch, real).double()
        return torch.cosine_similarity(vectors, self.home[None]), states


def occlude(target_fn: AttributionTarget, config: AttributionConfig) -> npt.NDArray[np.float64]:
    """Return the target's loss when each token of bases becomes [MASK], shape (tokens,)."""
    found = np.zeros(len(target_fn.ids))
    together = max(config.batch_tokens // len(target_fn.ids), 1)
    mask_id = mask_id_of(target_fn.tokenizer)
    with evaluating(target_fn.model):
        alone = target_fn.copies(1)
        before = float(target_fn.on_host(alone, target_fn.real(alone))[0])
        for first in range(0, len(target_fn.positions), together):
            positions = target_fn.positions[first : first + together]
            batch = target_fn.copies(len(positions))
            # Of the unchanged tokens, so that the vector is a mean of the same number of tokens.
            real = target_fn.real(batch)
            at = np.arange(len(positions)) * len(target_fn.ids) + positions
            batch.input_ids[torch.from_numpy(at)] = mask_id
            found[positions] = before - target_fn.on_host(batch, real)
    return found


def integrated_gradients(
    target_fn: AttributionTarget, config: AttributionConfig
) -> tuple[npt.NDArray[np.float64], float]:
    """Integrate gradients (Sundararajan, Taly and Yan, ICML 2017) over word embeddings.

    The path goes from the sequence with every token of bases as [MASK] to the sequence. The
    integral is the mean of `steps` gradients at the midpoints of equal parts.
    """
    embedding = target_fn.model.bert.embeddings.word_embeddings
    ids = torch.from_numpy(target_fn.ids.astype(np.int64)).to(target_fn.model.device)
    masked = ids.clone()
    masked[torch.from_numpy(target_fn.positions).to(ids.device)] = mask_id_of(target_fn.tokenizer)
    together = max(config.batch_tokens // GRADIENT_SHARE // len(ids), 1)
    points = (torch.arange(config.steps, device=ids.device) + 0.5) / config.steps
    with evaluating(target_fn.model, gradients=True):
        with torch.no_grad():
            start, way = embedding(masked), embedding(ids) - embedding(masked)
        total = torch.zeros_like(way, dtype=torch.float32)
        finite = torch.ones((), dtype=torch.bool, device=ids.device)
        for first in range(0, config.steps, together):
            some = points[first : first + together]
            batch = target_fn.copies(len(some))
            inputs = (start + some[:, None, None].to(way.dtype) * way).flatten(0, 1)
            inputs.requires_grad_()
            # The model takes ids, so the embeddings that it looks up are replaced by these.
            hook = embedding.register_forward_hook(lambda *_, inputs=inputs: inputs)
            try:
                answer, states = target_fn(batch, target_fn.real(batch))
            finally:
                hook.remove()
            (slope,) = torch.autograd.grad(answer.sum(), inputs)
            finite &= states.isfinite().all()
            total += slope.view(len(some), *way.shape).float().sum(0)
        by_token = (way.float() * total / config.steps).sum(-1).double()
        # NaN when any of the states was not finite, so that one copy shows it.
        (by_token,) = finite_on_host(torch.where(finite, 0.0, math.nan), target_fn.model, by_token)
        with torch.no_grad():
            alone = target_fn.copies(1)
            real = target_fn.real(alone)
            ends = [float(target_fn.on_host(alone, real)[0])]
            alone.input_ids.copy_(masked)
            ends.append(float(target_fn.on_host(alone, real)[0]))
    return by_token, float(by_token.sum()) - (ends[0] - ends[1])


def attention_weights(
    target_fn: AttributionTarget,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the last layer's attention weights, mean over heads, and those of the answer.

    The first has shape (tokens, tokens): row i has the weights of token i. The second, (tokens,),
    is the row of the pooled position: the first token for a classifier of it, else the mean of the
    rows of base tokens.
    """
    attentions: list[tuple[torch.Tensor, ...]] = []
    with evaluating(target_fn.model):
        states = target_fn.model.bert.encode(
            target_fn.copies(1).to(target_fn.model.device), attentions=attentions
        )
        (weights,) = finite_on_host(states, target_fn.model, attentions[-1][0].mean(0))
    first = isinstance(target_fn.model, Dnabert2ForSequenceClassification) and (
        target_fn.model.config.classifier_pooling == "cls"
    )
    return weights, weights[0] if first else weights[target_fn.positions].mean(0)
