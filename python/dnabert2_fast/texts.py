"""Sequences in the forms that callers have them: lists, numpy and Arrow arrays, files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from dnabert2_fast.errors import DataError

__all__ = ["is_sequence", "is_table_or_lines", "read_column", "spans"]


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


LETTERS = frozenset("ACGTUNRYKMSWBDHVacgtunrykmswbdhv-")
LINES, TABLES = (".txt",), (".csv", ".tsv")


def is_sequence(item: object) -> TypeGuard[str | bytes]:
    """Whether an item is a sequence itself: bytes, or a `str` of sequence letters only."""
    return isinstance(item, bytes) or (isinstance(item, str) and LETTERS.issuperset(item))


def _suffix(path: str | os.PathLike[str]) -> str:
    name = Path(path)
    return (name.with_suffix("") if name.suffix in (".gz", ".zst") else name).suffix


def is_table_or_lines(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds one sequence a line (.txt) or in a column (.csv, .tsv), by its name."""
    return _suffix(path) in (*LINES, *TABLES)


def read_column(path: str | os.PathLike[str], column: str) -> Iterator[str]:
    """Yield the values of a column of a .csv or .tsv, or the lines of a .txt; plain or gz, zst.

    Raises
    ------
    DataError
        When there is no such column, or the table is damaged.
    """
    import pyarrow as pa
    from pyarrow import csv

    lines = _suffix(path) in LINES
    # Every line of a .txt is the one column of a table whose parting character never occurs.
    delimiter = "\x1f" if lines else "\t" if _suffix(path) == ".tsv" else ","
    parse = csv.ParseOptions(delimiter=delimiter, quote_char=False if lines else '"')
    # A row must lie within two blocks: sequences of up to 64 million letters.
    read = csv.ReadOptions(column_names=[column] if lines else None, block_size=1 << 26)
    convert = csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})

    def values() -> Iterator[str]:
        try:
            with csv.open_csv(os.fsdecode(path), read, parse, convert) as reader:
                for batch in reader:
                    yield from (value.as_py() or "" for value in batch.column(0))
        except KeyError:
            with csv.open_csv(os.fsdecode(path), read, parse) as reader:
                names = ", ".join(reader.schema.names)
            raise DataError(f"{path}: no column {column!r}; there are {names[:200]}") from None

    try:
        yield from values()
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table of text: {_shortly(error)}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path}: damaged or cut off: {_shortly(error)}; copy it again") from None


def _shortly(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
