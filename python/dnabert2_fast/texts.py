"""Sequences in the forms that callers have them: lists, numpy and Arrow arrays, files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dnabert2_fast.fasta import read_fasta

__all__ = ["sequences_of", "spans"]


def spans(
    sequences: object,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Text, starts and ends of an array that holds its text in one buffer; None for other input."""
    if isinstance(sequences, np.ndarray) and sequences.dtype.kind == "S":
        flat = np.ascontiguousarray(sequences.ravel())
        starts = np.arange(flat.size, dtype=np.int64) * flat.itemsize
        return flat.view(np.uint8), starts, starts + np.char.str_len(flat)
    # Whoever hands over an Arrow array has imported pyarrow; nobody else waits for it.
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(sequences, (arrow.Array, arrow.ChunkedArray)):
        return None
    whole = sequences
    if isinstance(whole, arrow.ChunkedArray):
        whole = whole.combine_chunks()
    widths = {"string": "<i4", "binary": "<i4", "large_string": "<i8", "large_binary": "<i8"}
    if str(whole.type) not in widths or whole.null_count:
        what = f"{whole.null_count} nulls" if whole.null_count else f"type {whole.type}"
        raise ValueError(
            f"sequences: an Arrow array with {what}; strings without nulls are expected"
        )
    _, borders, text = whole.buffers()
    if not len(whole) or text is None:
        empty = np.zeros(len(whole), np.int64)
        return np.empty(0, np.uint8), empty, empty
    all_offsets = np.frombuffer(borders, widths[str(whole.type)])
    offsets = all_offsets[whole.offset :][: len(whole) + 1].astype(np.int64)
    return np.frombuffer(text, np.uint8), offsets[:-1], offsets[1:]


def sequences_of(inputs: Iterable[str | bytes | os.PathLike[str]]) -> Iterable[str | bytes]:
    """Yield sequences: those given, and those of every file whose path is given."""
    letters = frozenset("ACGTUNRYKMSWBDHVacgtunrykmswbdhv-")
    for item in inputs:
        if isinstance(item, bytes) or (isinstance(item, str) and letters.issuperset(item)):
            yield item
        else:
            yield from (record.sequence for record in read_fasta(item))
