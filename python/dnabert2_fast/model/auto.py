"""The public model class of a checkpoint."""

from __future__ import annotations

import os

from dnabert2_fast.model.heads import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
)
from dnabert2_fast.model.weights import weight_names

__all__ = ["Model", "model_class"]

Model = Dnabert2ForSequenceClassification | Dnabert2ForMaskedLM | Dnabert2Model


def model_class(name: str | os.PathLike[str]) -> type[Model]:
    """Return the model class for a checkpoint's weights.

    A sequence classifier, a masked language model, or an encoder; a masked language model if the
    weights cannot be read. Those of a hub id are downloaded.

    Parameters
    ----------
    name : str or path
        As in ``from_pretrained``.

    Examples
    --------
    >>> model_class("mini").__name__
    'Dnabert2ForMaskedLM'
    """
    keys = weight_names(name)
    if "classifier.weight" in keys:
        return Dnabert2ForSequenceClassification
    if keys and not any(key.startswith("cls.") for key in keys):
        return Dnabert2Model
    return Dnabert2ForMaskedLM
