"""Sequences as callers have them in memory: lists, numpy arrays and Arrow arrays."""

from __future__ import annotations

import sys
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

__all__ = ["is_sequence", "spans"]

LETTERS = frozenset("ACGTUNRYKMSWBDHVacgtunrykmswbdhv-")


def spans(
    sequences: object,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Text, starts and ends of an array that holds its text in one buffer; None for other input."""
    if isinstance(sequences, np.ndarray) and sequences.dtype.kind == "S":
        flat = np.ascontiguousarray(sequences.ravel())
        starts = np.arange(flat.size, dtype=np.int64) * flat.itemsize
        return flat.view(np.uint8), starts, starts + np.char.str_len(flat)
    # A caller with an Arrow array has imported pyarrow; other callers do not wait for it.
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(sequences, (arrow.Array, arrow.ChunkedArray)):
        return None
    whole = sequences
    if isinstance(whole, arrow.ChunkedArray):
        whole = whole.combine_chunks()
    widths = {"string": "<i4", "binary": "<i4", "large_string": "<i8", "large_binary": "<i8"}
    if str(whole.type) not in widths or whole.null_count:
        what = f"{whole.null_count} nulls" if whole.null_count else f"type {whole.type}"
        raise ValueError(f"sequences: an Arrow array must have strings without nulls (got {what}).")
    _, borders, text = whole.buffers()
    if not len(whole) or text is None:
        empty = np.zeros(len(whole), np.int64)
        return np.empty(0, np.uint8), empty, empty
    all_offsets = np.frombuffer(borders, widths[str(whole.type)])
    offsets = all_offsets[whole.offset :][: len(whole) + 1].astype(np.int64)
    return np.frombuffer(text, np.uint8), offsets[:-1], offsets[1:]


def is_sequence(item: object) -> TypeGuard[str | bytes]:
    """Whether an item is a sequence itself: bytes, or a `str` of sequence letters only."""
    return isinstance(item, bytes) or (isinstance(item, str) and LETTERS.issuperset(item))
