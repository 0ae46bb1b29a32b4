"""Small models whose answers depend on context, for the tests of variants and attribution."""

import torch

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    Tokenizer,
)

tok = Tokenizer.from_pretrained("dnabert2")


def make(kind, **shape):
    """A model of two layers with random weights, enlarged so that context matters."""
    torch.manual_seed(1)
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 16,
    }
    model = kind(Dnabert2Config(**{**sizes, **shape}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model


def masked_lm(**shape):
    return make(Dnabert2ForMaskedLM, **shape)


def classifier(**shape):
    return make(Dnabert2ForSequenceClassification, **shape)


def encoder(**shape):
    return make(Dnabert2Model, **shape)
