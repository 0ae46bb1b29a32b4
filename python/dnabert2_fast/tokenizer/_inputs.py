"""Which strings are sequences."""

from __future__ import annotations

from typing import TypeGuard

__all__ = ["is_sequence"]

LETTERS = b"ACGTUNRYKMSWBDHVacgtunrykmswbdhv-"


def is_sequence(item: object) -> TypeGuard[str | bytes]:
    """Whether an item is a sequence itself: bytes, or a `str` of sequence letters only."""
    if isinstance(item, str):
        return item.isascii() and not item.encode("ascii").translate(None, LETTERS)
    return isinstance(item, bytes)
