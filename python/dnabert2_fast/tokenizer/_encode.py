"""Sequences to ids by the extension: arguments checked, forms of input and output chosen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast._internal.checks import check_at_least, check_seed
from dnabert2_fast.io.fasta import read_chunks
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.ragged import Ragged, as_ids
from dnabert2_fast.tokenizer._inputs import spans
from dnabert2_fast.tokenizer._results import EncodedBatch, Windows, cut_windows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Frame",
    "Options",
    "Side",
    "Truncation",
    "encode_batch",
    "encode_detailed",
    "encode_windows",
    "frame_of",
    "other_strand",
]

Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["right", "left"]
Frame = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]


class Options(NamedTuple):
    """How the extension encodes; arguments of `Tokenizer.encode` by other names."""

    special_tokens: bool
    max_length: int | None = None
    truncation: Truncation = "longest_first"
    truncation_side: Side = "right"
    dropout: float | None = None
    seed: int = 0

    def native(self) -> _native.EncodeOptions:
        """Return them as the extension takes them."""
        return _native.EncodeOptions(**self._asdict())


def encode_batch(
    native: _native.Tokenizer,
    sequences: Sequence[str | bytes]
    | npt.NDArray[np.bytes_]
    | pa.Array
    | pa.ChunkedArray
    | os.PathLike[str],
    options: Options,
    threads: int = 0,
) -> Ragged:
    """Return the ids of sequences in any form; see `Tokenizer.encode_batch`."""
    if isinstance(sequences, (str, bytes)):
        raise TypeError(
            "sequences: must be a list or a pathlib.Path. For one sequence, call encode."
        )
    _check(options, threads)
    if isinstance(sequences, os.PathLike):
        # Each chunk draws from a seed of its own.
        seeds = (options._replace(seed=seed).native() for seed in count(options.seed))
        chunks = (texts for _, texts in read_chunks(sequences))
        return Ragged.concatenate(
            [
                Ragged(*native.encode_batch(texts, seeded, threads))
                for texts, seeded in zip(chunks, seeds, strict=False)
            ]
        )
    found = spans(sequences)
    if found is not None:
        return Ragged(*native.encode_spans(*found, options.native(), threads))
    listed = sequences if isinstance(sequences, list) else list(sequences)
    return Ragged(*native.encode_batch(listed, options.native(), threads))


def encode_detailed(
    native: _native.Tokenizer,
    sequences: Sequence[str | bytes],
    pairs: Sequence[str | bytes] | None,
    options: Options,
    threads: int = 0,
) -> EncodedBatch:
    """Return ids, type ids and offsets; see `Tokenizer.encode_batch_detailed`."""
    _check(options, threads)
    batch = native.encode_detailed(
        list(sequences), None if pairs is None else list(pairs), options.native(), threads
    )
    return EncodedBatch(Ragged(batch.ids, batch.offsets), batch.type_ids, batch.spans)


def encode_windows(
    native: _native.Tokenizer,
    sequences: Sequence[str | bytes],
    max_length: int,
    stride: int,
    frame: Frame,
    truncation_side: Side,
    threads: int,
) -> Windows:
    """Return windows of tokens, each with `frame` around; see `Tokenizer.encode_windows`."""
    room = max_length - len(frame[0]) - len(frame[1])
    if not 0 <= stride < room:
        raise ValueError(
            f"stride: {stride} does not lie between 0 and the {room} tokens that max_length "
            f"{max_length} leaves for the sequence"
        )
    whole = encode_detailed(native, sequences, None, Options(False), threads)
    return cut_windows(whole, room, stride, frame, truncation_side == "left")


def frame_of(native: _native.Tokenizer) -> Frame:
    """Return the special tokens before and after a sequence."""
    framed, bare = (
        native.encode_batch(["A" * 8], Options(special).native(), 1)[0] for special in (True, False)
    )
    before = framed.tolist().index(bare[0])
    return framed[:before], framed[before + len(bare) :]


def other_strand(native: _native.Tokenizer, ids: Ragged, frame: Frame) -> Ragged:
    """Return the ids of the reverse complements, with special tokens where `ids` have them."""
    texts = [reverse_complement(native.decode(as_ids(row), "N", "")) for row in ids]
    framed = np.array([_is_framed(row, frame) for row in ids], bool)
    parts = [
        encode_batch(
            native, [texts[i] for i in np.flatnonzero(framed == special)], Options(special)
        )
        for special in (False, True)
    ]
    return Ragged.concatenate(parts).take(np.argsort(np.argsort(framed, kind="stable")))


def _is_framed(ids: npt.NDArray[np.uint16], frame: Frame) -> bool:
    """Return whether special tokens are around the ids of a sequence."""
    before, after = (part.tolist() for part in frame)
    listed = ids.tolist()
    return (
        len(listed) >= len(before) + len(after)
        and listed[: len(before)] == before
        and listed[len(listed) - len(after) :] == after
    )


def _check(options: Options, threads: int) -> None:
    check_at_least("max_length", options.max_length, 0)
    check_seed(options.seed)
    check_at_least("threads", threads, 0)
