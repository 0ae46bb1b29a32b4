"""What the models return."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["ClassifierOutput", "EncoderOutput", "MaskedLMOutput"]


class EncoderOutput(NamedTuple):
    """What the encoder gives.

    Attributes
    ----------
    last_hidden_state : Tensor, shape (total_tokens, hidden_size)
    pooler_output : Tensor, shape (n, hidden_size)
        tanh of a linear map of each sequence's first token or, if the config's `classifier_pooling`
        says so, of the mean of its tokens; of zeros for one without any.
    hidden_states : tuple of Tensor, each (total_tokens, hidden_size), or None
        After the embeddings and after every layer, when asked for.
    attentions : tuple of tuple of Tensor, or None
        Of every layer and every sequence the attention weights, (heads, length, length), when
        asked for: row i is what token i looks at.
    """

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[tuple[torch.Tensor, ...], ...] | None = None


class MaskedLMOutput(NamedTuple):
    """Loss (None without labels) and logits, of labelled rows only when there are labels."""

    loss: torch.Tensor | None
    logits: torch.Tensor | None


class ClassifierOutput(NamedTuple):
    """Loss (None without labels) and logits of shape (n, num_labels), float32 at least."""

    loss: torch.Tensor | None
    logits: torch.Tensor
