"""Checks of arguments and forms of input and output around the Rust encoder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast._internal.checks import check_at_least, check_seed
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.io.arguments import Sequences, TextBuffer, sequence_list, text_blocks
from dnabert2_fast.io.fasta import read_chunks, read_fasta
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.ragged import Ragged, as_ids
from dnabert2_fast.tokenizer._results import EncodedBatch, Windows, cut_windows

__all__ = [
    "Frame",
    "Options",
    "Side",
    "Truncation",
    "encode_batch",
    "encode_detailed",
    "encode_windows",
    "frame_of",
    "naming_records",
    "other_strand",
]

# The complement of every byte.
COMPLEMENTS = np.array(
    [*map(ord, reverse_complement("".join(map(chr, range(128))))[::-1]), *range(128, 256)], np.uint8
)

Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["right", "left"]
Frame = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]


class Options(NamedTuple):
    """Options of the extension, from the arguments of `Tokenizer.encode`."""

    special_tokens: bool
    max_length: int | None = None
    truncation: Truncation = "longest_first"
    truncation_side: Side = "right"
    dropout: float | None = None
    seed: int = 0
    first: int = 0
    """Index of the first sequence, where a batch comes in several calls."""

    def native(self) -> _native.EncodeOptions:
        """Return the arguments of the extension."""
        return _native.EncodeOptions(**self._asdict())


def encode_batch(
    native: _native.Tokenizer, sequences: Sequences, options: Options, threads: int = 0
) -> Ragged:
    """Return the ids of sequences in any form; see `Tokenizer.encode_batch`."""
    _check(options, threads)
    parts: list[Ragged] = []
    first = options.first

    def encode(block: TextBuffer | list[str | bytes]) -> None:
        nonlocal first
        now = options._replace(first=first).native()
        if isinstance(block, TextBuffer):
            parts.append(Ragged(*native.encode_spans(*block, now, threads)))
        else:
            parts.append(Ragged(*native.encode_batch(block, now, threads)))
        first += len(parts[-1])

    if isinstance(sequences, os.PathLike):
        for names, texts in read_chunks(sequences):
            with naming_records(sequences, names, first):
                encode(texts)
    else:
        for block in text_blocks(sequences):
            encode(block)
    return parts[0] if len(parts) == 1 else Ragged.concatenate(parts)


@contextmanager
def naming_records(
    path: str | os.PathLike[str], names: list[str], first: int = 0, start: int = 0
) -> Iterator[None]:
    """Name file, record and line in the error of a letter without a token, instead of an index.

    Parameters
    ----------
    path : path
    names : list of str
        Names of the records that are encoded in the block.
    first : int
        Index that the encoder gives to the first of them.
    start : int
        Position in the record of the first letter that is encoded.
    """
    try:
        yield
    except TokenizerError as error:
        if not hasattr(error, "sequence"):
            raise
        found: Any = error
        name, position = names[found.sequence - first], start + found.position
        message = _native.unknown_letter(Path(path), name, found.letter, position)
        raise TokenizerError(message) from None


@contextmanager
def _listed(sequences: Sequences) -> Iterator[list[str | bytes]]:
    """Yield sequences in any form as a list; an error in the block names the record of a file."""
    if not isinstance(sequences, os.PathLike):
        yield sequence_list(sequences)
        return
    records = list(read_fasta(sequences))
    with naming_records(sequences, [record.name for record in records]):
        yield [record.sequence for record in records]


def encode_detailed(
    native: _native.Tokenizer,
    sequences: Sequences,
    pairs: Sequences | None,
    options: Options,
    threads: int = 0,
) -> EncodedBatch:
    """Return ids, type ids and offsets; see `Tokenizer.encode_batch_detailed`."""
    _check(options, threads)
    seconds = None if pairs is None else sequence_list(pairs, "pairs")
    with _listed(sequences) as firsts:
        batch = native.encode_detailed(firsts, seconds, options.native(), threads)
    return EncodedBatch(Ragged(batch.ids, batch.offsets), batch.type_ids, batch.spans)


def encode_windows(
    native: _native.Tokenizer,
    sequences: Sequences,
    max_length: int,
    stride: int,
    frame: Frame,
    truncation_side: Side,
    threads: int,
) -> Windows:
    """Return windows of tokens, each between the tokens of `frame`."""
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
    """Return the ids of the reverse complements, with the special tokens of `ids`."""
    text, borders = native.decode_batch(as_ids(ids.values), ids.offsets)
    # The reversed text contains every row reversed, the last row first.
    text = np.ascontiguousarray(COMPLEMENTS[text][::-1])
    starts, ends = len(text) - borders[1:], len(text) - borders[:-1]
    framed = _framed(ids, frame)
    parts = []
    for special in (False, True):
        rows = framed == special
        options = Options(special).native()
        parts.append(Ragged(*native.encode_spans(text, starts[rows], ends[rows], options, 0)))
    return Ragged.concatenate(parts).take(np.argsort(np.argsort(framed, kind="stable")))


def _framed(ids: Ragged, frame: Frame) -> npt.NDArray[np.bool_]:
    """Return whether special tokens are around the ids of each sequence, shape (n,)."""
    before, after = frame
    framed = ids.lengths >= len(before) + len(after)
    starts, ends = ids.offsets[:-1][framed], ids.offsets[1:][framed]
    found = np.ones(len(starts), bool)
    for i, special in enumerate(before):
        found &= ids.values[starts + i] == special
    for i, special in enumerate(after):
        found &= ids.values[ends - len(after) + i] == special
    framed[framed] = found
    return framed


def _check(options: Options, threads: int) -> None:
    check_at_least("max_length", options.max_length, 0)
    check_seed(options.seed)
    check_at_least("threads", threads, 0)
