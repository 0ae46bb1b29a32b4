"""JSON out of files that anyone may have written: whatever they hold, it is read or a `ValueError`.

>>> parse_json('{"step": 3}')
{'step': 3}
>>> parse_json("[" * 100_000)
Traceback (most recent call last):
ValueError: not valid JSON: nested too deeply

A name that stands twice in one object is an error too: readers differ in which one they take.

>>> parse_json('{"step": 3, "step": 4}')
Traceback (most recent call last):
ValueError: not valid JSON: 'step' stands twice in one object
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "read_object"]


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says.

    Raises
    ------
    ValueError
        When it is no JSON, or an object has a name twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice!r} stands twice in one object")
    return values


def read_json(path: Path) -> Any:
    """Return what a JSON file says; raises as `parse_json`, and `OSError`."""
    return parse_json(path.read_bytes())


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; raises as `read_json`, for anything else too."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError("a JSON object is expected")
    return values
