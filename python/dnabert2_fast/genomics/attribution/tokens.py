"""Which tokens an answer rests on: occlusion, integrated gradients, attention weights.

What comes out has a number for every token; `mutagenesis.py` maps tokens to bases.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.genomics.attribution.config import AttributionConfig
from dnabert2_fast.genomics.embedding.pooling import pool_states
from dnabert2_fast.genomics.masked import evaluating, mask_id_of, require_finite
from dnabert2_fast.genomics.variants.scoring import class_answer
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import Dnabert2ForSequenceClassification
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Question", "attention_weights", "integrate", "occlude"]

# A pass with gradients keeps the states of every layer: it gets this share of `batch_tokens`.
GRADIENT_SHARE = 8


class Question:
    """A target as a function of packed sequences, with what belongs to the unchanged one."""

    def __init__(
        self, sequence: str, model: Model, tokenizer: Tokenizer, target: str, label: int
    ) -> None:
        self.model, self.target, self.label = model, target, label
        self.tokenizer = tokenizer
        self.special = torch.from_numpy(tokenizer.special_mask)
        self.ids = tokenizer.encode(sequence)
        self.places = np.flatnonzero(~tokenizer.special_mask[self.ids])
        self.home: torch.Tensor | None = None
        if target == "similarity":
            with evaluating(model):
                batch = self.copies(1).to(model.device)
                home = pool_states(self.model.bert.encode(batch), batch, self.real(batch))[0]
            self.home = home.double().clone()  # outside inference mode, so that gradients may pass

    def copies(self, number: int) -> PackedBatch:
        """Return the unchanged sequence several times."""
        return PackedBatch.from_ragged(Ragged.from_list([self.ids] * number))

    def real(self, batch: PackedBatch) -> torch.Tensor:
        """Whether tokens stand for bases, shape (total_tokens,)."""
        return ~self.special.to(batch.input_ids.device)[batch.input_ids]

    def __call__(self, batch: PackedBatch, real: torch.Tensor) -> torch.Tensor:
        """Return the target of every sequence, shape (n,); vectors are means over `real` tokens."""
        if isinstance(self.model, Dnabert2ForSequenceClassification) and self.home is None:
            # Not by way of states: the last layer then may work for each first token alone.
            logits = self.model(batch).logits.double()
            require_finite(logits, self.model)
            log_odds, probability = class_answer(logits, self.label)
            return log_odds if self.target == "log_odds" else probability
        assert self.home is not None, "without a classifier the target is similarity"
        batch = batch.to(self.model.device)
        states = self.model.bert.encode(batch)
        require_finite(states, self.model)
        vectors = pool_states(states, batch, real).double()
        return torch.cosine_similarity(vectors, self.home[None])


def occlude(ask: Question, config: AttributionConfig) -> npt.NDArray[np.float64]:
    """Return what the target loses when each token of bases becomes [MASK], shape (tokens,)."""
    found = np.zeros(len(ask.ids))
    together = max(config.batch_tokens // len(ask.ids), 1)
    mask_id = mask_id_of(ask.tokenizer)
    with evaluating(ask.model):
        alone = ask.copies(1)
        before = float(ask(alone, ask.real(alone)))
        for first in range(0, len(ask.places), together):
            places = ask.places[first : first + together]
            batch = ask.copies(len(places))
            real = ask.real(batch)  # of the unchanged tokens: the vector stays a mean of as many
            at = np.arange(len(places)) * len(ask.ids) + places
            batch.input_ids[torch.from_numpy(at)] = mask_id
            found[places] = before - ask(batch, real).cpu().numpy()
    return found


def integrate(ask: Question, config: AttributionConfig) -> tuple[npt.NDArray[np.float64], float]:
    """Integrate gradients (Sundararajan, Taly and Yan, ICML 2017) over word embeddings.

    The path runs from the sequence with every token of bases as [MASK] to the sequence; the
    integral is the mean of `steps` gradients at the middles of as many equal parts.
    """
    embedding = ask.model.bert.embeddings.word_embeddings
    ids = torch.from_numpy(ask.ids.astype(np.int64)).to(ask.model.device)
    masked = ids.clone()
    masked[torch.from_numpy(ask.places).to(ids.device)] = mask_id_of(ask.tokenizer)
    together = max(config.batch_tokens // GRADIENT_SHARE // len(ids), 1)
    points = (torch.arange(config.steps, device=ids.device) + 0.5) / config.steps
    with evaluating(ask.model, gradients=True):
        with torch.no_grad():
            start, way = embedding(masked), embedding(ids) - embedding(masked)
        total = torch.zeros_like(way, dtype=torch.float32)
        for first in range(0, config.steps, together):
            some = points[first : first + together]
            batch = ask.copies(len(some))
            inputs = (start + some[:, None, None].to(way.dtype) * way).flatten(0, 1)
            inputs.requires_grad_()
            # The model takes ids; the embeddings that it looks up are exchanged for these.
            hook = embedding.register_forward_hook(lambda *_, inputs=inputs: inputs)
            try:
                answer = ask(batch, ask.real(batch)).sum()
            finally:
                hook.remove()
            (slope,) = torch.autograd.grad(answer, inputs)
            total += slope.view(len(some), *way.shape).float().sum(0)
        by_token = (way.float() * total / config.steps).sum(-1).double().cpu().numpy()
        with torch.no_grad():
            alone = ask.copies(1)
            real = ask.real(alone)
            ends = [float(ask(alone, real))]
            alone.input_ids.copy_(masked)
            ends.append(float(ask(alone, real)))
    return by_token, float(by_token.sum()) - (ends[0] - ends[1])


def attention_weights(
    ask: Question,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return where tokens look in the last layer, mean of its heads, and where the answer does.

    The first has shape (tokens, tokens): row i is what token i looks at. The second, (tokens,), is
    the row of what the model pools: the first token for a classifier of it, else the mean of the
    rows of tokens of bases.
    """
    maps: list[tuple[torch.Tensor, ...]] = []
    with evaluating(ask.model):
        require_finite(
            ask.model.bert.encode(ask.copies(1).to(ask.model.device), maps=maps), ask.model
        )
    weights: npt.NDArray[np.float32] = maps[-1][0].mean(0).cpu().numpy()
    first = isinstance(ask.model, Dnabert2ForSequenceClassification) and (
        ask.model.config.classifier_pooling == "cls"
    )
    return weights, weights[0] if first else weights[ask.places].mean(0)
