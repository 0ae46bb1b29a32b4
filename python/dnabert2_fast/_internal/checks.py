"""Options of functions and commands, checked with one form of message."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

__all__ = [
    "check_at_least",
    "check_between",
    "check_choice",
    "check_not_negative",
    "check_positive",
    "check_seed",
    "check_utf8",
]


def check_at_least(name: str, value: float | None, minimum: float) -> None:
    """Raise ValueError unless an option is at least `minimum`; None passes.

    Parameters
    ----------
    name : str
        The option as the caller typed it.
    value : float, optional
    minimum : float

    Raises
    ------
    ValueError
        When `value` is smaller, or NaN.

    Examples
    --------
    >>> check_at_least("window_bp", 1, 1)
    >>> check_at_least("window_bp", 0, 1)
    Traceback (most recent call last):
    ValueError: window_bp: must be at least 1 (got 0).
    """
    if value is not None and not value >= minimum:
        raise ValueError(f"{name}: must be at least {minimum} (got {_shown(value)}).")


def check_positive(name: str, value: float | None) -> None:
    """Raise ValueError unless an option is positive and finite; None passes.

    >>> check_positive("learning_rate", 0)
    Traceback (most recent call last):
    ValueError: learning_rate: must be a finite number > 0 (got 0).
    """
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name}: must be a finite number > 0 (got {_shown(value)}).")


def check_not_negative(name: str, value: float | None) -> None:
    """Raise ValueError unless an option is zero or positive, and finite; None passes.

    >>> check_not_negative("weight_decay", math.inf)
    Traceback (most recent call last):
    ValueError: weight_decay: must be a finite number >= 0 (got inf).
    """
    if value is not None and not 0 <= value < math.inf:
        raise ValueError(f"{name}: must be a finite number >= 0 (got {_shown(value)}).")


def check_between(
    name: str,
    value: float | None,
    minimum: float,
    maximum: float,
    *,
    but_not: float | None = None,
) -> None:
    """Raise ValueError unless an option is in a range, both ends included; None passes.

    Parameters
    ----------
    name : str
        The option as the caller typed it.
    value : float, optional
    minimum, maximum : float
    but_not : float, optional
        The end of the range that is excluded.

    Raises
    ------
    ValueError
        When `value` is outside the range, `but_not`, or NaN.

    Examples
    --------
    >>> check_between("valid_fraction", 0.05, 0, 1)
    >>> check_between("valid_fraction", 2, 0, 1)
    Traceback (most recent call last):
    ValueError: valid_fraction: must be between 0 and 1 (got 2).
    >>> check_between("dropout", 1, 0, 1, but_not=1)
    Traceback (most recent call last):
    ValueError: dropout: must be between 0 and 1, but not 1 (got 1).
    """
    if value is None or (minimum <= value <= maximum and value != but_not):
        return
    left_out = "" if but_not is None else f", but not {but_not}"
    raise ValueError(
        f"{name}: must be between {minimum} and {maximum}{left_out} (got {_shown(value)})."
    )


def check_seed(value: int) -> None:
    """Raise ValueError unless a seed fits in 64 bits.

    >>> check_seed(-1)
    Traceback (most recent call last):
    ValueError: seed: must be between 0 and 2^64 - 1 (got -1).
    """
    if not 0 <= value < 1 << 64:
        raise ValueError(f"seed: must be between 0 and 2^64 - 1 (got {_shown(value)}).")


def check_choice(name: str, value: str | None, choices: Sequence[str | None]) -> None:
    """Raise ValueError unless an option is one of its choices.

    >>> check_choice("method", "tsne", ["pca", "umap"])
    Traceback (most recent call last):
    ValueError: method: must be one of "pca", "umap" (got "tsne").
    """
    if value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices if choice)
        raise ValueError(f'{name}: must be one of {listed} (got "{value}").')


def _shown(value: float) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_utf8(name: str, path: str | os.PathLike[str]) -> None:
    r"""Raise ValueError for a file name that is not UTF-8, where a library accepts no other.

    >>> check_utf8("out", os.fsdecode(b"x_\xff.bw"))
    Traceback (most recent call last):
    ValueError: out: the path must be UTF-8 (got x_\xff.bw). Rename it.
    """
    coded = os.fsencode(path)
    shown = coded.decode("utf-8", "backslashreplace")
    if shown.encode() != coded:
        raise ValueError(f"{name}: the path must be UTF-8 (got {shown}). Rename it.")
