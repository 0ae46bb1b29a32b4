"""The model class of a checkpoint, and models on another device or in another dtype."""

from __future__ import annotations

import copy
import os
from typing import TypeVar

import torch

from dnabert2_fast.model.heads import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
)
from dnabert2_fast.model.int8 import is_int8, quantize_int8
from dnabert2_fast.model.precision import DTYPES, resolve_dtype
from dnabert2_fast.model.pretrained import Pretrained, pick_device
from dnabert2_fast.model.weights import weight_names

__all__ = ["Model", "converted", "model_class"]

M = TypeVar("M", bound=Pretrained)

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


def converted(model: M, device: str | torch.device, dtype: str) -> M:
    """Return a model as it is, or a copy of it on another device or in another dtype.

    >>> model = Dnabert2ForMaskedLM.from_pretrained("mini")
    >>> half = converted(model, "auto", "bfloat16")
    >>> half.dtype, model.dtype, converted(half, "cpu", "bfloat16") is half
    (torch.bfloat16, torch.float32, True)
    """
    own = "int8" if is_int8(model) else str(model.dtype).removeprefix("torch.")
    target = model.device if device == "auto" else pick_device(device)
    wanted = own if dtype == "auto" else resolve_dtype(dtype, target)
    moves = target.type != model.device.type or target.index not in (None, model.device.index)
    if wanted == own and not moves:
        return model
    if own == "int8":
        raise ValueError("dtype: a model in int8 cannot be converted. Give its name instead.")
    copied = copy.deepcopy(model).to(target, DTYPES[wanted])
    if wanted == "int8":
        quantize_int8(copied)
    return copied
