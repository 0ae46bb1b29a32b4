"""Layer-wise relevance propagation: the model as a linear map of its token embeddings.

Attention weights, gates, scales of norms and the pooler's slope are held constant, so the answer is
a sum over tokens, and one backward pass finds all terms. Constant weights and norms: Ali et al.,
"XAI for Transformers" (ICML 2022). Constant gates: Arras et al. (WASSA 2017).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from dnabert2_fast.attention import alibi_slopes, attention_weights
from dnabert2_fast.genomics.attribution.tokens import AttributionTarget
from dnabert2_fast.genomics.masked import evaluating, finite_on_host
from dnabert2_fast.genomics.variants.scoring import class_answer
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.encoder import first_rows, mean_rows
from dnabert2_fast.model.heads import Dnabert2ForSequenceClassification
from dnabert2_fast.model.layers import Layer

__all__ = ["relevances"]


def relevances(target_fn: AttributionTarget) -> npt.NDArray[np.float64]:
    """Return the term of each token in the linear form of the target, shape (tokens,)."""
    model = target_fn.model
    assert isinstance(model, Dnabert2ForSequenceClassification), "lrp needs a classifier"
    with evaluating(model, gradients=True):
        batch = target_fn.copies(1).to(model.device)
        words = model.bert.embeddings.word_embeddings(batch.input_ids).detach().requires_grad_()
        states = _states(model, words, batch)
        logits = model.classifier(_pooled(model, states, batch)).double()
        log_odds, probability = class_answer(logits, target_fn.label)
        answer = log_odds if target_fn.target == "log_odds" else probability
        (slope,) = torch.autograd.grad(answer.sum(), words)
        terms = (words.detach() * slope).double().sum(-1)
        (found,) = finite_on_host(states, model, terms)
    return found


def _states(
    model: Dnabert2ForSequenceClassification, words: torch.Tensor, batch: PackedBatch
) -> torch.Tensor:
    """Return the encoder's states, equal to `Bert.encode` but linear in `words`."""
    bert = model.bert
    slopes = alibi_slopes(bert.heads).to(words.device)
    types = bert.embeddings.token_type_embeddings(batch.cu_seqlens.new_zeros(1))
    x = _norm(words + types, bert.embeddings.LayerNorm)
    for layer in bert.encoder.layer:
        assert isinstance(layer, Layer), "a ModuleList has no type of its modules"
        q, k, v = layer.attention.self.Wqkv(x).view(len(x), 3, bert.heads, -1).unbind(1)
        (weights,) = attention_weights(q, k, cu_seqlens=batch.cu_seqlens, alibi_slopes=slopes)
        mixed = torch.einsum("hij,jhd->ihd", weights.detach().to(v.dtype), v).flatten(1)
        output = layer.attention.output
        x = _norm(output.dense(mixed) + x, output.LayerNorm)
        gate, values = layer.mlp.gated_layers(x).chunk(2, -1)
        x = _norm(layer.mlp.wo(F.gelu(gate).detach() * values) + x, layer.mlp.layernorm)
    return x


def _norm(x: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.detach().pow(2).mean(-1, keepdim=True) + norm.eps).rsqrt()
    normed: torch.Tensor = centred * scale * norm.weight + norm.bias
    return normed


def _pooled(
    model: Dnabert2ForSequenceClassification, states: torch.Tensor, batch: PackedBatch
) -> torch.Tensor:
    """Return the pooler's output with tanh as a product with a constant."""
    assert model.bert.pooler is not None, "a classifier has a pooler"
    summary = mean_rows if model.bert.pooling == "mean" else first_rows
    before: torch.Tensor = model.bert.pooler.dense(summary(states, batch.cu_seqlens))
    fixed = before.detach()
    slope = torch.where(fixed == 0, torch.ones_like(fixed), torch.tanh(fixed) / fixed)
    return before * slope
