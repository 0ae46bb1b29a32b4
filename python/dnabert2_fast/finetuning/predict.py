"""Answers for sequences from a fine-tuned model, by its name or as an object."""

from __future__ import annotations

import os
from typing import Any

import numpy.typing as npt

from dnabert2_fast.finetuning.losses import Classifier
from dnabert2_fast.finetuning.predictor import Predictor
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.io.arguments import Sequences, checked
from dnabert2_fast.model.auto import converted
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.by_name import tokenizer_of

__all__ = ["predict"]


def predict(
    sequences: Sequences,
    model: Predictor | Classifier | Name,
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    pairs: Sequences | None = None,
    window_bp: int | None = None,
    stride_bp: int | None = None,
) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    """Return the most probable class of each sequence, or the numbers of a regression.

    `Predictor.predict_proba` returns probabilities, `predict_file` writes both for a file.

    Parameters
    ----------
    sequences : list, tuple, generator, array, series or path
        As in `embed`.
    model : str, path, Predictor or classifier
        A folder that `finetune` wrote, or its hub id; or an object that was read from one.
    tokenizer, device, dtype
        As in `embed`.
    pairs, window_bp, stride_bp
        As in a call of a `Predictor`.

    Returns
    -------
    ndarray
        As `Predictor.predict`.

    Raises
    ------
    CheckpointError
        When the model is not fine-tuned, or tokenizer and model have different vocabularies.
    TypeError
        When `model` is neither a name nor such an object.
    DataError, ValueError
        As a call of a `Predictor`.

    Examples
    --------
    >>> predict(["ACGT"], "mini")
    Traceback (most recent call last):
    dnabert2_fast.errors.CheckpointError: ... has no task.json, ...
    """
    given = checked(sequences)
    if isinstance(model, (str, os.PathLike)):
        predictor = Predictor.load(model, tokenizer, device=device, dtype=dtype)
    else:
        predictor = _with(model, tokenizer, device, dtype)
    return predictor.predict(given, pairs, window_bp=window_bp, stride_bp=stride_bp)


def _with(
    model: Predictor | Classifier, tokenizer: Tokenizer | Name | None, device: str, dtype: str
) -> Predictor:
    """Return a predictor with the tokenizer, device and dtype of a call."""
    if isinstance(model, Predictor):
        net = converted(model.model, device, dtype)
        tok = model.tokenizer if tokenizer is None else tokenizer_of(tokenizer, net)
        return Predictor(net, tok, model.task, model.batch_tokens)
    if not isinstance(model, Classifier):
        found = type(model).__name__
        raise TypeError(f"model: must be a name, a Predictor or a classifier (got {found}).")
    tok = tokenizer_of(tokenizer, model)  # raises for a model that was not read by name
    return Predictor(converted(model, device, dtype), tok, Task.load(model.name_or_path))
