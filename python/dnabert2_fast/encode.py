"""Sequences to ids: one or a pair, many at once, with offsets, or cut into windows of tokens.

The Rust core does it; here arguments are checked, and forms of input and output are chosen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast.encodings import BatchEncoding, Encoding, Windows, cut_windows
from dnabert2_fast.fasta import read_chunks
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.texts import spans
from dnabert2_fast.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SequenceEncoder"]

Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["right", "left"]


class SequenceEncoder(Vocabulary):
    """A vocabulary that encodes; `Tokenizer` adds training and the other strand."""

    def encode(
        self,
        sequence: str | bytes,
        pair: str | bytes | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        truncation_side: Side = "right",
        dropout: float | None = None,
        seed: int = 0,
    ) -> npt.NDArray[np.uint16]:
        """Return the ids of one sequence, or of a pair joined by the template.

        Parameters
        ----------
        sequence, pair : str or bytes
            Sequence letters.
        add_special_tokens : bool
            Put [CLS] and [SEP] (or what the template says) around.
        max_length : int, optional
            Most tokens of the result, special ones included; the rest is cut off after encoding.
        truncation : {"longest_first", "only_first", "only_second"}
            Which sequence of a pair gives way.
        truncation_side : {"right", "left"}
            Where tokens are cut off.
        dropout : float, optional
            Share of merges left out at random, for training on many encodings of one sequence; 0
            leaves out none. BPE-dropout, of Provilkov, Emelianenko and Voita (ACL 2020).
        seed : int
            Start of the draws. The same seed gives the same ids, on any number of threads.

        Returns
        -------
        ndarray of uint16, shape (tokens,)

        Raises
        ------
        TokenizerError
            When ``unknown="error"`` meets a letter outside the vocabulary; names the place.
        ValueError
            When `max_length` leaves no room for the special tokens, or an argument is none of the
            above.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode("ACGTAGCATCGGATC", max_length=5).tolist()
        [1, 5, 194, 32, 2]
        >>> tok.encode("ACGTTGCA", "TTAA").tolist()
        [1, 5, 134, 32, 2, 84, 2]
        """
        if pair is None and truncation == "longest_first":
            # The way without offsets, which long sequences would spend most of their time on.
            return self.encode_batch(
                [sequence],
                add_special_tokens=add_special_tokens,
                max_length=max_length,
                truncation_side=truncation_side,
                dropout=dropout,
                seed=seed,
                threads=1,
            ).values
        _check(max_length, seed, 1)
        options = _native.EncodeOptions(
            special_tokens=add_special_tokens,
            max_length=max_length,
            truncation=truncation,
            truncation_side=truncation_side,
            dropout=dropout,
            seed=seed,
        )
        pairs = None if pair is None else [pair]
        return self._native.encode_detailed([sequence], pairs, options, 1).ids

    def encode_detailed(
        self,
        sequence: str | bytes,
        pair: str | bytes | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        truncation_side: Side = "right",
    ) -> Encoding:
        """Return ids, type ids and offsets; arguments and errors as in `encode`.

        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_detailed("ACNNGT").offsets.tolist()
        [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 6], [0, 0]]
        """
        ids, type_ids, offsets = self.encode_batch_detailed(
            [sequence],
            None if pair is None else [pair],
            add_special_tokens=add_special_tokens,
            max_length=max_length,
            truncation=truncation,
            truncation_side=truncation_side,
            threads=1,
        )
        return Encoding(ids.values, type_ids, offsets)

    def encode_batch(
        self,
        sequences: Sequence[str | bytes]
        | npt.NDArray[np.bytes_]
        | pa.Array
        | pa.ChunkedArray
        | os.PathLike[str],
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: Side = "right",
        dropout: float | None = None,
        seed: int = 0,
        threads: int = 0,
    ) -> Ragged:
        """Return the ids of many sequences as one flat batch.

        Parameters
        ----------
        sequences : sequence of str or bytes, numpy array of bytes, Arrow array, or path
            An Arrow array of strings or binaries, large or not, is read where it lies. A
            `pathlib.Path` is a FASTA or FASTQ file, whose records are taken in order.
        add_special_tokens, max_length, truncation_side, dropout, seed
            As in `encode`; with `dropout` every sequence has draws of its own.
        threads : int
            0 takes every core. The result does not depend on it.

        Returns
        -------
        Ragged
            A row a sequence, in order.

        Raises
        ------
        TypeError
            For a single sequence, or elements that are neither `str` nor `bytes`.
        TokenizerError, ValueError
            As in `encode`.
        FastaError, OSError
            When a file is not readable.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_batch(["ACGTTGCA", "ACG"]).to_list()
        [[1, 5, 134, 32, 2], [1, 5, 3206, 2]]
        """
        if isinstance(sequences, (str, bytes)):
            raise TypeError(
                "sequences: give a list of sequences or a pathlib.Path, or call encode for one"
            )
        _check(max_length, seed, threads)

        def options(seed: int) -> _native.EncodeOptions:
            return _native.EncodeOptions(
                special_tokens=add_special_tokens,
                max_length=max_length,
                truncation_side=truncation_side,
                dropout=dropout,
                seed=seed,
            )

        if isinstance(sequences, os.PathLike):
            # Each chunk draws from a seed of its own.
            chunks = enumerate(read_chunks(sequences))
            return Ragged.concatenate(
                [
                    Ragged(*self._native.encode_batch(some, options(seed + i), threads))
                    for i, (_, some) in chunks
                ]
            )
        found = spans(sequences)
        if found is not None:
            return Ragged(*self._native.encode_spans(*found, options(seed), threads))
        listed = sequences if isinstance(sequences, list) else list(sequences)
        return Ragged(*self._native.encode_batch(listed, options(seed), threads))

    def encode_batch_detailed(
        self,
        sequences: Sequence[str | bytes],
        pairs: Sequence[str | bytes] | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        truncation_side: Side = "right",
        threads: int = 0,
    ) -> BatchEncoding:
        """Return ids, type ids and offsets of many sequences or pairs.

        Parameters
        ----------
        sequences : sequence of str or bytes
        pairs : sequence of str or bytes, optional
            One second sequence for each.
        add_special_tokens, max_length, truncation, truncation_side
            As in `encode`.
        threads : int
            0 takes every core.

        Raises
        ------
        ValueError
            When there are not as many `pairs` as `sequences`; else as in `encode`.
        TokenizerError
            As in `encode`.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_batch_detailed(["ACG"]).offsets.tolist()
        [[0, 0], [0, 1], [1, 3], [0, 0]]
        """
        _check(max_length, 0, threads)
        options = _native.EncodeOptions(
            special_tokens=add_special_tokens,
            max_length=max_length,
            truncation=truncation,
            truncation_side=truncation_side,
        )
        batch = self._native.encode_detailed(
            list(sequences), None if pairs is None else list(pairs), options, threads
        )
        return BatchEncoding(Ragged(batch.ids, batch.offsets), batch.type_ids, batch.spans)

    def encode_windows(
        self,
        sequences: Sequence[str | bytes],
        max_length: int,
        *,
        stride: int = 0,
        add_special_tokens: bool = True,
        truncation_side: Side = "right",
        threads: int = 0,
    ) -> Windows:
        """Cut sequences of any length into windows of tokens, none of which is lost.

        Parameters
        ----------
        sequences : sequence of str or bytes
        max_length : int
            Most tokens of a window, special ones included.
        stride : int
            Tokens that a window shares with the one before.
        add_special_tokens : bool
            Put [CLS] and [SEP] (or what the template says) around each window.
        truncation_side : {"right", "left"}
            ``"right"``: the first window begins with the sequence; ``"left"``: it ends with it.
        threads : int
            0 takes every core.

        Raises
        ------
        ValueError
            When `stride` does not lie between 0 and the tokens that `max_length` leaves for the
            sequence.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> windows = tok.encode_windows(["ACGTTGCATTAGC" * 4], max_length=8, stride=2)
        >>> windows.ids.lengths.tolist(), windows.start_bp.tolist(), windows.end_bp.tolist()
        ([8, 8, 7], [0, 14, 31], [24, 40, 52])
        """
        frame = self._frame if add_special_tokens else (self._frame[0][:0], self._frame[0][:0])
        room = max_length - len(frame[0]) - len(frame[1])
        if not 0 <= stride < room:
            raise ValueError(
                f"stride: {stride} does not lie between 0 and the {room} tokens that max_length "
                f"{max_length} leaves for the sequence"
            )
        whole = self.encode_batch_detailed(sequences, add_special_tokens=False, threads=threads)
        return cut_windows(whole, room, stride, frame, truncation_side == "left")


def _check(max_length: int | None, seed: int, threads: int) -> None:
    if max_length is not None and max_length < 0:
        raise ValueError(f"max_length: {max_length} is negative")
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed: {seed} is not between 0 and 2^64")
    if threads < 0:
        raise ValueError(f"threads: {threads} is negative; 0 takes every core")
