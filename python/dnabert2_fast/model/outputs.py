"""The results of the models."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["ClassifierOutput", "EncoderOutput", "MaskedLMOutput"]


class EncoderOutput(NamedTuple):
    """The result of the encoder.

    Attributes
    ----------
    last_hidden_state : Tensor, shape (total_tokens, hidden_size)
    pooler_output : Tensor, shape (n, hidden_size)
        tanh of a linear map of each sequence's first token or, with `classifier_pooling` "mean" in
        the config, of the mean of its tokens. A sequence without tokens counts as zeros.
    hidden_states : tuple of Tensor, each (total_tokens, hidden_size), or None
        After the embeddings and after every layer, if requested.
    attentions : tuple of tuple of Tensor, or None
        For every layer and every sequence the attention weights, (heads, length, length), if
        requested: row i contains the weights of token i.
    """

    last_hidden_state: torch.Tensor
    pooler_output: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[tuple[torch.Tensor, ...], ...] | None = None


class MaskedLMOutput(NamedTuple):
    """Loss and logits of a masked language model.

    Attributes
    ----------
    loss : torch.Tensor, shape (), or None
        None without labels.
    logits : torch.Tensor, shape (tokens, vocab_size)
        With labels, only the rows of labelled tokens.
    """

    loss: torch.Tensor | None
    logits: torch.Tensor | None


class ClassifierOutput(NamedTuple):
    """Loss and logits of a classifier.

    Attributes
    ----------
    loss : torch.Tensor, shape (), or None
        None without labels.
    logits : torch.Tensor, shape (n, num_labels)
        At least float32.
    """

    loss: torch.Tensor | None
    logits: torch.Tensor
