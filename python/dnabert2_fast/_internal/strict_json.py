"""JSON from untrusted files: the result is a value or a `ValueError`.

>>> parse_json('{"step": 3}')
{'step': 3}
>>> parse_json("[" * 100_000)
Traceback (most recent call last):
ValueError: not valid JSON: nested too deeply

A duplicate name in one object is an error too, because readers differ in the value they use.

>>> parse_json('{"step": 3, "step": 4}')
Traceback (most recent call last):
ValueError: not valid JSON: 'step' occurs twice in one object
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "read_object"]


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON text.

    Raises
    ------
    ValueError
        When it is not valid JSON, or an object contains a name twice.
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
        raise ValueError(f"{twice!r} occurs twice in one object")
    return values


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; raises like `parse_json`, and `OSError`."""
    return parse_json(path.read_bytes())


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises like `read_json`, also for other values."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values
