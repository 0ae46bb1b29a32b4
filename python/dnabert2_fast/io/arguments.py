"""Arguments that hold many sequences or files, in any form: one check for all functions.

A list, tuple, generator, numpy array, pandas or polars series, Arrow array, or the path of a file.
One string, a mapping and a table are refused: their elements are letters, keys and column names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from dnabert2_fast.io.fasta import FastaRecord, read_fasta
from dnabert2_fast.io.manifest import SourceFile

__all__ = [
    "FILE_OR_SEQUENCE",
    "Sequences",
    "TextBuffer",
    "check_sequence",
    "checked",
    "elements",
    "file_list",
    "is_one",
    "only_column",
    "printable",
    "sequence_list",
    "text_blocks",
    "text_list",
]

Sequences: TypeAlias = Iterable[str | bytes | FastaRecord] | os.PathLike[str]
"""What a function that takes many sequences accepts; a path is a FASTA or FASTQ file."""

Sequence: TypeAlias = str | bytes | FastaRecord
"""One sequence."""

WIDTHS = {"string": "<i4", "binary": "<i4", "large_string": "<i8", "large_binary": "<i8"}


class Kind(NamedTuple):
    """Kind of the elements of an argument."""

    types: tuple[type, ...]
    many: str
    one: str


SEQUENCE = Kind((str, bytes, FastaRecord), "sequences", "str or bytes")
FILE = Kind((str, os.PathLike, SourceFile), "paths", "a path")
FILE_OR_SEQUENCE = Kind(
    (str, bytes, FastaRecord, os.PathLike), "paths or sequences", "a path, str or bytes"
)


class TextBuffer(NamedTuple):
    """Sequences in one buffer.

    Attributes
    ----------
    text : ndarray of uint8
    starts, ends : ndarray of int64
        One entry per sequence.
    """

    text: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def check_sequence(given: object, name: str = "sequence") -> None:
    """Raise TypeError unless an argument is one sequence.

    >>> check_sequence(["ACGT"])
    Traceback (most recent call last):
    TypeError: sequence: must be one str or bytes (got list). Take its elements one by one.
    """
    if not isinstance(given, (str, bytes)):
        remedy = " Take its elements one by one." if isinstance(given, Iterable) else ""
        kind = type(given).__name__
        raise TypeError(f"{name}: must be one str or bytes (got {kind}).{remedy}")


def sequence_list(given: object, name: str = "sequences") -> list[str | bytes]:
    """Return sequences in any form as a list.

    Parameters
    ----------
    given : list, tuple, generator, array, series or path
        Of `str`, `bytes` or `FastaRecord`; a path is a FASTA or FASTQ file, read in order.
    name : str
        Name of the argument, for messages.

    Raises
    ------
    TypeError
        For anything else, or an element that is neither `str` nor `bytes`; names the remedy.

    Examples
    --------
    >>> sequence_list(np.array(["ACGT", "TTAA"]))
    ['ACGT', 'TTAA']
    >>> sequence_list({"a": "ACGT"})
    Traceback (most recent call last):
    TypeError: sequences: must be a list of sequences (got a dict). Write list(sequences.values()).
    """
    if isinstance(given, os.PathLike):
        return [record.sequence for record in read_fasta(given)]
    found = given if isinstance(given, list) else list(_values(given, name, SEQUENCE))
    if not {*map(type, found)} <= {str, bytes}:
        found = list(_checked(found, name, SEQUENCE))
    return found


def is_one(given: object) -> TypeGuard[Sequence]:
    """Return whether an argument is one sequence, not many.

    >>> is_one("ACGT"), is_one(FastaRecord("chr1", "ACGT")), is_one(["ACGT"])
    (True, True, False)
    """
    return isinstance(given, (str, bytes, FastaRecord))


def checked(given: Sequences, name: str = "sequences") -> list[str | bytes] | os.PathLike[str]:
    """Return sequences as a list, or the path of their file, before a model is read for them.

    Errors are those of `sequence_list`; a file is not opened.
    """
    return given if isinstance(given, os.PathLike) else sequence_list(given, name)


def only_column(given: Any) -> Any:
    """Return the column of a table or array that has one, as a ColumnTransformer passes it.

    >>> only_column(np.array([["ACGT"], ["TTAA"]])).tolist()
    ['ACGT', 'TTAA']
    """
    shape: tuple[int, ...] = getattr(given, "shape", ())
    if len(shape) != 2 or shape[1] != 1:
        return given
    if hasattr(given, "iloc"):
        return given.iloc[:, 0]
    return given[:, 0] if isinstance(given, np.ndarray) else given


def text_list(given: object, name: str = "sequences") -> list[str]:
    """Return sequences in any form as a list of `str`; errors as `sequence_list`."""
    found = sequence_list(given, name)
    return [s.decode("ascii", "replace") if isinstance(s, bytes) else s for s in found]


def text_blocks(given: object, name: str = "sequences") -> Iterator[TextBuffer | list[str | bytes]]:
    """Yield sequences for the encoder: buffers if the input has them, else lists.

    Arguments and errors are those of `sequence_list`, except for paths.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind == "S" and _is_plain(given):
        flat = np.ascontiguousarray(given)
        starts = np.arange(flat.size, dtype=np.int64) * flat.itemsize
        yield TextBuffer(flat.view(np.uint8), starts, starts + np.char.str_len(flat))
        return
    chunks = _arrow_chunks(given, name)
    if chunks is None:
        yield sequence_list(given, name)
        return
    for chunk in chunks:
        _, borders, text = chunk.buffers()
        if not len(chunk) or text is None:
            empty = np.zeros(len(chunk), np.int64)
            yield TextBuffer(np.empty(0, np.uint8), empty, empty)
            continue
        offsets = np.frombuffer(borders, WIDTHS[str(chunk.type)])
        offsets = offsets[chunk.offset :][: len(chunk) + 1].astype(np.int64)
        yield TextBuffer(np.frombuffer(text, np.uint8), offsets[:-1], offsets[1:])


def elements(given: object, name: str, kind: Kind) -> Iterator[Any]:
    """Yield the elements of an argument, each checked; one path is one element.

    Raises
    ------
    TypeError
        As by `sequence_list`.
    """
    alone = isinstance(given, (os.PathLike, SourceFile))
    return _checked([given] if alone else _values(given, name, kind), name, kind)


def file_list(given: object, name: str = "files") -> list[Any]:
    """Return paths in any form as a list; one path is a list of one.

    Raises
    ------
    TypeError
        For one `str`, a mapping, a table or an open file; names the remedy.

    Examples
    --------
    >>> from pathlib import Path
    >>> file_list(Path("x.fa")) == file_list([Path("x.fa")])
    True
    >>> file_list("x.fa")
    Traceback (most recent call last):
    TypeError: files: must be a list of paths (got one str). Write [files] or pathlib.Path(files).
    """
    return list(elements(given, name, FILE))


def printable(name: str) -> str:
    r"""Return a file name as text that can be written as UTF-8; other bytes are escaped.

    >>> print(printable(os.fsdecode(b"x_\xff.fa")))
    x_\xff.fa
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _values(given: object, name: str, kind: Kind) -> Iterable[Any]:
    """Return the elements of an argument, unchecked."""
    found = type(given).__name__
    expected = f"{name}: must be a list of {kind.many}"
    if isinstance(given, (str, bytes)):
        files = f"[{name}] or pathlib.Path({name})"
        either = f"[{name}], or pathlib.Path(...) to read a file"
        raise TypeError(f"{expected} (got one {found}). Write {files if kind is FILE else either}.")
    if isinstance(given, FastaRecord):  # a tuple, of its name and its sequence
        raise TypeError(f"{expected} (got one {found}). Write [{name}].")
    if isinstance(given, Mapping):
        raise TypeError(f"{expected} (got a {found}). Write list({name}.values()).")
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        raise TypeError(f'{expected} (got a {found}). Select one column, as {name}["sequence"].')
    if hasattr(given, "readline"):
        raise TypeError(f"{expected} (got an open file). Write [pathlib.Path({name}.name)].")
    if isinstance(given, AbstractSet):
        raise TypeError(f"{expected} (got a {found}, which has no order). Write sorted({name}).")
    if isinstance(given, np.ndarray):
        if given.ndim != 1:
            remedy = "Select one column." if given.ndim else f"Write [{name}.item()]."
            raise TypeError(f"{expected} (got an array of shape {given.shape}). {remedy}")
        return given.tolist()  # type: ignore[no-any-return]
    chunks = _arrow_chunks(given, name)
    if chunks is not None:
        return (value for chunk in chunks for value in chunk.to_pylist())
    if not isinstance(given, Iterable):
        raise TypeError(f"{expected} (got {found}).")
    return given


def _is_plain(array: npt.NDArray[Any]) -> bool:
    return array.ndim == 1 and not isinstance(array, np.ma.MaskedArray)


def _arrow_chunks(given: object, name: str) -> list[Any] | None:
    """Return the chunks of an Arrow array as text buffers; None for other types."""
    # An Arrow array exists only after its caller imported pyarrow, which takes long to import.
    arrow = sys.modules.get("pyarrow")
    if arrow is None or not isinstance(given, (arrow.Array, arrow.ChunkedArray)):
        return None
    chunks = given.chunks if isinstance(given, arrow.ChunkedArray) else [given]
    found, first = [], 0
    for chunk in chunks:
        plain = chunk if str(chunk.type) in WIDTHS else _plain(arrow, chunk, name)
        if plain.null_count:
            index = first + plain.is_null().to_pylist().index(True)
            raise _wrong_element(name, index, None, SEQUENCE)
        found.append(plain)
        first += len(plain)
    return found


def _plain(arrow: Any, chunk: Any, name: str) -> Any:
    """Return views, dictionaries and the like as large strings or binaries."""
    kind = chunk.type.value_type if arrow.types.is_dictionary(chunk.type) else chunk.type
    texts = str(kind) in ("string", "large_string", "string_view", "null")
    if not texts and str(kind).split("[")[0] not in (
        "binary",
        "large_binary",
        "binary_view",
        "fixed_size_binary",
    ):
        raise TypeError(f"{name}: must be a list of sequences (got an Arrow array of {kind}).")
    return chunk.cast(arrow.large_string() if texts else arrow.large_binary())


def _checked(values: Iterable[Any], name: str, kind: Kind) -> Iterator[Any]:
    for index, value in enumerate(values):
        if not isinstance(value, kind.types):
            raise _wrong_element(name, index, value, kind)
        yield value.sequence if isinstance(value, FastaRecord) else value


def _wrong_element(name: str, index: int, value: object, kind: Kind) -> TypeError:
    missing = value is None or str(value) in ("nan", "<NA>", "NaT")
    remedy = ""
    if missing:
        remedy = " Drop missing values first."
    elif isinstance(value, os.PathLike):
        remedy = " Give one path alone to read a file."
    elif hasattr(value, "readline"):
        remedy = " Write pathlib.Path(file.name)."
    found = str(value) if missing else type(value).__name__
    return TypeError(f"{name}: element {index} must be {kind.one} (got {found}).{remedy}")
