"""The check that an output on disk was made with the requested settings.

Runs, results and corpora store their settings as JSON. A call that finds an output resumes it, or
returns it, only if the settings are equal; otherwise `require_same` names each difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dnabert2_fast.errors import CheckpointError, Dnabert2Error

__all__ = ["differences", "require_same"]

ABSENT = object()
MAX_SHOWN = 80  # characters of one value in a message


def require_same(
    path: Path | str,
    stored: Mapping[str, Any],
    asked: Mapping[str, Any],
    error: type[Dnabert2Error] = CheckpointError,
) -> None:
    """Raise unless every requested setting is stored with the same value.

    Parameters
    ----------
    path : path
        Output that contains the stored settings.
    stored : mapping
        As read from JSON; other names are ignored.
    asked : mapping
        Values that `json.dumps` can write.
    error : subclass of Dnabert2Error
        Type of the exception.

    Raises
    ------
    Dnabert2Error
        Of the type `error`; names each differing setting with both values, and the remedy.

    Examples
    --------
    >>> require_same(Path("run"), {"seed": 0}, {"seed": 1})  # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    dnabert2_fast.errors.CheckpointError: run: was made with other settings: seed 0 (requested
    1). Give the same settings, choose another output, or delete this one.
    """
    found = differences(stored, asked)
    if found:
        raise error(
            f"{path}: was made with other settings: {', '.join(found)}. Give the same settings, "
            "choose another output, or delete this one."
        )


def differences(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each setting in `asked` that is stored with another value.

    The phrase names the first elements of lists that differ, and all items of dictionaries.

    >>> differences({"k": [3, 4], "old": 1}, {"k": (3, 5), "size": "tiny"})
    ['k[1] 4 (requested 5)', "size not stored (requested 'tiny')"]
    """
    found: list[str] = []
    for name, new in json.loads(json.dumps(asked)).items():  # tuples become lists
        found += _differences(name, stored.get(name, ABSENT), new, "not stored")
    return found


def _differences(name: str, old: Any, new: Any, if_absent: str = "none") -> list[str]:
    if old == new:
        return []
    if isinstance(old, list) and isinstance(new, list):
        pairs = enumerate(zip_longest(old, new, fillvalue=ABSENT))
        number, pair = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        return _differences(f"{name}[{number}]", *pair)
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in {**new, **old}
            for line in _differences(f"{name}.{key}", old.get(key, ABSENT), new.get(key, ABSENT))
        ]
    return [f"{name} {_shown(old, if_absent)} (requested {_shown(new, 'none')})"]


def _shown(value: Any, if_absent: str) -> str:
    if value is ABSENT:
        return if_absent
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
