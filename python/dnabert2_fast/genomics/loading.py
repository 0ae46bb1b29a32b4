"""A model and its tokenizer, by name or as objects, for functions and commands that apply a model.

The name of a model also finds its tokenizer. A model object has the name that it was read from,
so its tokenizer is found too. Model and tokenizer are always checked to have one vocabulary.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.model.auto import Model, converted, model_class
from dnabert2_fast.model.heads import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
)
from dnabert2_fast.model.pretrained import Pretrained
from dnabert2_fast.model.weights import Name, checkpoint_folder
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.by_name import tokenizer_of

__all__ = [
    "load_encoder",
    "load_masked_lm",
    "load_model",
]

M = TypeVar("M", bound=Pretrained)


def load_encoder(
    model: Pretrained | Name,
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    attention: str = "auto",
) -> tuple[Pretrained, Tokenizer]:
    """Return a model for its states, and its tokenizer.

    Parameters
    ----------
    model : Pretrained, str or path
        Of any kind; one that is read here is a `Dnabert2Model`, without a warning for a missing
        pooler, which states do not need.
    tokenizer : Tokenizer, str or path, optional
        Default: the model's own.
    device, dtype
        ``"auto"`` is that of the object, or as in ``from_pretrained`` for a name. With another one,
        a copy of the object is returned.
    attention : str
        Attention backend of a model that is read here.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies, or cannot be read.
    TypeError
        When `model` is neither a name nor such a model.

    Examples
    --------
    >>> model, tokenizer = load_encoder("mini")
    >>> load_encoder(model)[0] is model, tokenizer.vocab_size
    (True, 4096)
    """

    def read(name: str) -> Dnabert2Model:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* has no pooler", category=UserWarning)
            return Dnabert2Model.from_pretrained(
                name, attention=attention, dtype=dtype, device=device
            )

    return _pair(model, tokenizer, read, Pretrained, "a model", device, dtype)


def load_masked_lm(
    model: Dnabert2ForMaskedLM | Name,
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    attention: str = "auto",
) -> tuple[Dnabert2ForMaskedLM, Tokenizer]:
    """Return a masked language model and its tokenizer; arguments as in `load_encoder`."""

    def read(name: str) -> Dnabert2ForMaskedLM:
        return Dnabert2ForMaskedLM.from_pretrained(
            name, attention=attention, dtype=dtype, device=device
        )

    return _pair(
        model, tokenizer, read, Dnabert2ForMaskedLM, "a Dnabert2ForMaskedLM", device, dtype
    )


def load_model(
    model: Model | Name,
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    attention: str = "auto",
) -> tuple[Model, Tokenizer]:
    """Return a classifier, masked language model or encoder, by its weights, and its tokenizer.

    Arguments as in `load_encoder`.

    Raises
    ------
    ValueError
        When the model is fine-tuned for anything but one class per sequence.
    """

    def read(name: str) -> Model:
        kind = model_class(name)
        if kind is Dnabert2ForSequenceClassification:
            _require_one_class(checkpoint_folder(name))
        return kind.from_pretrained(name, attention=attention, dtype=dtype, device=device)

    return _pair(model, tokenizer, read, Model, "a model", device, dtype)  # type: ignore[arg-type]


def _pair(
    model: M | Name,
    tokenizer: Tokenizer | Name | None,
    read: Callable[[str], M],
    kind: type[M],
    expected: str,
    device: str | torch.device,
    dtype: str,
) -> tuple[M, Tokenizer]:
    if not isinstance(model, (kind, str, os.PathLike)):
        found = type(model).__name__
        raise TypeError(f"model: must be a name or {expected} (got {found}).")
    tok = tokenizer_of(tokenizer, model)  # first, because it is read in a moment
    source = "tokenizer"
    if isinstance(model, (str, os.PathLike)):
        source = os.fspath(model) if tokenizer is None else source
        net = read(os.fspath(model))
    else:
        net = converted(model, device, dtype)
    net.config.require_vocabulary(tok.vocabulary, source)
    return net, tok


def _require_one_class(folder: Path) -> None:
    """Reject a fine-tuned model that does not predict one class per sequence."""
    path = folder / "task.json"
    if not path.exists():
        return
    task = read_object(path)
    if task.get("kind") != "multiclass" or task.get("pairs"):
        what = "pairs of sequences" if task.get("pairs") else f"{task.get('kind')} (task.json)"
        raise ValueError(
            f"model: {folder} is fine-tuned for {what}. Give a classifier of one class per "
            "sequence, a masked language model, or an encoder."
        )
