"""The tokenizer of a call: given, by its name, or that of a model."""

from __future__ import annotations

import os
from pathlib import Path

from dnabert2_fast.tokenizer._tokenizer import Tokenizer

__all__ = ["tokenizer_of"]


def tokenizer_of(tokenizer: Tokenizer | str | os.PathLike[str] | None, model: object) -> Tokenizer:
    """Return a tokenizer by its name, or that of a model by its name or as an object.

    Parameters
    ----------
    tokenizer : Tokenizer, str or path, optional
        Default: the model's own.
    model : str, path or object
        An object has ``name_or_path``, the name that it was read from.

    Returns
    -------
    Tokenizer

    Raises
    ------
    TypeError
        When `model` is neither.
    ValueError
        When the object was not read by name.

    Examples
    --------
    >>> tokenizer_of(None, "mini").vocab_size
    4096
    """
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if tokenizer is not None:
        return Tokenizer.from_pretrained(tokenizer)
    name = getattr(model, "name_or_path", model)
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"model: must be a name or a model (got {type(name).__name__}).")
    if not name:
        raise ValueError(
            "tokenizer: is required with a model that was not read by name (got None). Give the "
            "one it was trained with."
        )
    path = Path(name)
    return Tokenizer.from_pretrained(path.parent if path.is_file() else name)
