"""The hash of a vocabulary, which ties a model to its tokenizer.

It covers tokens and their ids, not the text of the file: programs write the same vocabulary in
different forms.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from dnabert2_fast._internal.strict_json import read_object

__all__ = ["hash_of_file", "hash_vocabulary"]


def hash_vocabulary(tokens: Sequence[str]) -> str:
    """Return the SHA-256 of the tokens in the order of their ids, in hexadecimal.

    >>> hash_vocabulary(["[PAD]", "A"])[:8], hash_vocabulary(["A", "[PAD]"])[:8]
    ('e6966b54', '38941366')
    """
    return hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest()


def hash_of_file(path: Path) -> str | None:
    """Return the hash of a ``tokenizer.json``; None if there is none, or of another kind.

    >>> hash_of_file(Path("nowhere/tokenizer.json"))
    """
    try:
        document = read_object(path)
        ids = dict(document["model"]["vocab"])
        ids |= {token["content"]: token["id"] for token in document.get("added_tokens") or ()}
        return hash_vocabulary(sorted(ids, key=ids.__getitem__))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # reading the tokenizer reports what is wrong
