"""Names of models and tokenizers: in the package, a path, or an id on the hub."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

__all__ = ["advice", "is_hub_id"]


def is_hub_id(name: str | os.PathLike[str]) -> bool:
    """Return whether a name without a file here may be ``owner/name[@revision]`` on the hub.

    It is a path if it begins like one, ends with a slash, or if its first half is a folder here.

    >>> [is_hub_id(name) for name in ("zhihan1996/DNABERT-2-117M", "./model", "mini", "a/b/c")]
    [True, False, False, False]
    """
    if not isinstance(name, str):
        return False
    owner, slash, rest = name.partition("@")[0].partition("/")
    parts = bool(owner) and bool(slash) and bool(rest) and "/" not in rest
    return parts and owner not in {".", "..", "~"} and not Path(owner).is_dir()


def advice(name: str | os.PathLike[str], packaged: Iterable[str]) -> str:
    """Return what to do about a name that exists nowhere: a similar one, if there is one.

    Parameters
    ----------
    name : str or path
    packaged : iterable of str
        Names of what the package contains.

    Examples
    --------
    >>> advice("mimi", ["mini"])
    'Did you mean mini?'
    >>> advice("runs/9", ["mini"])
    'Check the path, or give mini or owner/name of the hub.'
    """
    path = Path(name)
    packaged = list(packaged)
    beside = packaged if path.name == str(name) else []
    if path.parent.is_dir():
        beside = beside + [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = get_close_matches(path.name, beside, 1, 0.7)
    if near:
        return f"Did you mean {near[0] if near[0] in packaged else path.parent / near[0]}?"
    return f"Check the path, or give {', '.join(packaged)} or owner/name of the hub."
