"""Exact genome BPE: the ids of Hugging Face `tokenizers`, from a Rust encoder.

>>> tok = Tokenizer.from_pretrained("dnabert2")
>>> ids = tok.encode("ACGTAGCATCGGATC")
>>> ids.tolist()
[1, 5, 194, 32, 757, 16, 2]
>>> tok.decode(ids)
'ACGTAGCATCGGATC'
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.fasta import read_fasta
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import Ragged

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Encoding", "Tokenizer"]

Case = Literal["upper", "compat"]
Unknown = Literal["unk", "split", "error"]
Truncation = Literal["longest_first", "only_first", "only_second"]
Side = Literal["right", "left"]

PACKAGED = {"dnabert2": Path(__file__).parent / "data" / "dnabert2.tokenizer.json"}


class Encoding(NamedTuple):
    """Ids of one sequence or pair with what is known of each token.

    Attributes
    ----------
    ids : ndarray of uint16, shape (tokens,)
    type_ids : ndarray of int64, shape (tokens,)
        0 for the first sequence of a pair, 1 for the second, as the template says.
    offsets : ndarray of int64, shape (tokens, 2)
        Start and end of each token in its sequence, 0-based half-open, in letters; (0, 0) for
        special tokens.
    """

    ids: npt.NDArray[np.uint16]
    type_ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class Tokenizer:
    """A byte-pair vocabulary and the rule by which sequence becomes ids.

    Make one with `from_pretrained`, `from_file` or `train`.

    Notes
    -----
    Two policies say how sequence is read. ``case="upper"`` (default) takes lower-case bases as
    upper-case ones, so that soft-masked genomes keep their bases; ``case="compat"`` leaves them
    as they are, which makes each an [UNK], as Hugging Face does with the published file.
    ``unknown="unk"`` (default) makes each letter outside the vocabulary one [UNK],
    ``"split"`` gives such letters no token, ``"error"`` raises on the first one.
    """

    def __init__(self, native: _native.Tokenizer, case: Case, unknown: Unknown) -> None:
        self._native, self._case, self._unknown = native, case, unknown

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, case: Case = "upper", unknown: Unknown = "unk"
    ) -> Tokenizer:
        """Read a ``tokenizer.json``.

        Raises
        ------
        TokenizerError
            When the file holds something that cannot be reproduced id for id; names the place.
        FileNotFoundError
            When there is no such file.
        """
        return cls(_native.Tokenizer.open(Path(path), case, unknown), case, unknown)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, case: Case = "upper", unknown: Unknown = "unk"
    ) -> Tokenizer:
        """Read a tokenizer by name.

        Parameters
        ----------
        name : str or path
            ``"dnabert2"`` (packaged, the published vocabulary), a folder with a
            ``tokenizer.json``, such a file, or a model id on the Hugging Face hub.
        case, unknown
            How sequence is read; see `Tokenizer`.
        """
        path = PACKAGED.get(str(name), Path(name))
        if path.is_dir():
            path = path / "tokenizer.json"
        if not path.exists() and str(name).count("/") == 1 and not path.parent.is_dir():
            path = _download(str(name))
        return cls.from_file(path, case=case, unknown=unknown)

    @classmethod
    def train(
        cls,
        files_or_sequences: Iterable[str | bytes | os.PathLike[str]],
        vocab_size: int = 4096,
        *,
        window_bp: int | None = None,
        min_frequency: int = 1,
        threads: int = 0,
    ) -> Tokenizer:
        """Train a vocabulary: the merges of Hugging Face's ``BpeTrainer`` on the same pieces.

        Parameters
        ----------
        files_or_sequences : iterable of paths or sequences
            FASTA or FASTQ files (plain, gz, bgz, zst), or the sequences themselves (`str` or
            `bytes`). A `str` of sequence letters only is a sequence, any other `str` a path.
            Runs of A, C, G, T in either case are trained on; other letters end a run.
        vocab_size : int
            Entries of the vocabulary, the five special tokens and four bases included.
        window_bp : int, optional
            Cut runs every `window_bp` bases; merges never cross a cut.
        min_frequency : int
            A pair that occurs fewer times is not merged.
        threads : int
            0 takes every core. The merges do not depend on it.

        Raises
        ------
        FastaError
            When a file is not readable.
        ValueError
            When there is nothing to train on, or `vocab_size` is out of range.

        Examples
        --------
        >>> tok = Tokenizer.train(["ACACACGTACAC"], vocab_size=11)
        >>> tok.tokens(tok.encode("ACACGT"))
        ['[CLS]', 'ACAC', 'G', 'T', '[SEP]']
        """
        if isinstance(files_or_sequences, (str, bytes, os.PathLike)):
            raise TypeError("give a list of paths or sequences, not a single one")
        if window_bp is not None and window_bp < 1:
            raise ValueError(f"window_bp: {window_bp} is not positive")
        with progress(vocab_size, "training tokenizer", "tokens") as bar:
            done = 5

            def report(pieces: int) -> None:
                nonlocal done
                bar.update(pieces + 5 - done)
                done = pieces + 5

            text, _, _ = _native.train_tokenizer(
                _sequences(files_or_sequences),
                vocab_size,
                window_bp,
                min_frequency,
                threads,
                report,
            )
        return cls(_native.Tokenizer.parse(text, Path("trained"), "upper", "unk"), "upper", "unk")

    def encode(
        self,
        sequence: str | bytes,
        pair: str | bytes | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        truncation_side: Side = "right",
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
        """
        if pair is None and truncation == "longest_first":
            # The way without offsets, which long sequences would spend most of their time on.
            return self.encode_batch(
                [sequence],
                add_special_tokens=add_special_tokens,
                max_length=max_length,
                truncation_side=truncation_side,
                threads=1,
            ).values
        return self.encode_detailed(
            sequence,
            pair,
            add_special_tokens=add_special_tokens,
            max_length=max_length,
            truncation=truncation,
            truncation_side=truncation_side,
        ).ids

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
        """Return ids, type ids and offsets; arguments as in `encode`.

        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_detailed("ACNNGT").offsets.tolist()
        [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 6], [0, 0]]
        """
        return Encoding(
            *self._native.encode(
                sequence, pair, add_special_tokens, max_length, truncation, truncation_side
            )
        )

    def encode_batch(
        self,
        sequences: Sequence[str | bytes] | npt.NDArray[np.bytes_] | pa.Array | pa.ChunkedArray,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: Side = "right",
        threads: int = 0,
    ) -> Ragged:
        """Return the ids of many sequences as one flat batch.

        Parameters
        ----------
        sequences : sequence of str or bytes, numpy array of bytes, or Arrow array
            An Arrow array of strings or binaries, large or not, is read where it lies.
        add_special_tokens, max_length, truncation_side
            As in `encode`.
        threads : int
            0 takes every core. The result does not depend on it.
        """
        if isinstance(sequences, (str, bytes)):
            raise TypeError("sequences: give a list of sequences, or call encode for a single one")
        options = (add_special_tokens, max_length, truncation_side, threads)
        spans = _spans(sequences)
        if spans is not None:
            text, starts, ends = spans
            return Ragged(*self._native.encode_spans(text, starts, ends, *options))
        listed = sequences if isinstance(sequences, list) else list(sequences)
        return Ragged(*self._native.encode_batch(listed, *options))

    def decode(self, ids: npt.ArrayLike, *, unknown: str = "N", separator: str = "") -> str:
        """Return the sequence behind `ids`.

        Special tokens vanish, but each [UNK] becomes `unknown`, so that coordinates hold.
        ``decode(ids, unknown="", separator=" ")`` is what Hugging Face's ``decode`` gives.
        """
        return self._native.decode(_as_ids(ids), unknown, separator)

    def tokens(self, ids: npt.ArrayLike) -> list[str]:
        """Return the token behind every id, special ones included."""
        return [self.vocabulary[i] for i in _as_ids(ids).tolist()]

    def offsets(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return start and end of every token of one encoded sequence, from its ids alone.

        Returns
        -------
        ndarray of int64, shape (tokens, 2)
            0-based half-open, in letters; an [UNK] counts as one letter; (0, 0) for special
            tokens. For text with white space use `encode_detailed`, which has seen the text.
        """
        lengths = self._bases[_as_ids(ids)]
        ends = np.cumsum(lengths)
        spans = np.stack([ends - lengths, ends], axis=1)
        spans[lengths == 0] = 0
        return spans

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ``tokenizer.json`` that Hugging Face `tokenizers` and this class read."""
        with atomic_path(path) as temporary:
            temporary.write_text(self._native.json, encoding="utf-8")

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every token, by id."""
        return self._native.vocabulary

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ``tokenizer.json``, in hexadecimal."""
        return hashlib.sha256(self._native.json.encode()).hexdigest()

    @property
    def unk_id(self) -> int:
        """Id of the unknown token."""
        return self._native.unknown_id

    @cached_property
    def cls_id(self) -> int | None:
        """Id of [CLS] (or [BOS]), None when the vocabulary has neither."""
        return self._id_of("[CLS]", "[BOS]")

    @cached_property
    def sep_id(self) -> int | None:
        """Id of [SEP] (or [EOS]), None when the vocabulary has neither."""
        return self._id_of("[SEP]", "[EOS]")

    @cached_property
    def pad_id(self) -> int | None:
        """Id of [PAD], None when the vocabulary has none."""
        return self._id_of("[PAD]")

    @cached_property
    def mask_id(self) -> int | None:
        """Id of [MASK], None when the vocabulary has none."""
        return self._id_of("[MASK]")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of tokens that are not spelled by bases: [UNK], [CLS], [SEP], [PAD], [MASK], ..."""
        return frozenset(np.flatnonzero(self._native.special()).tolist())

    @cached_property
    def _bases(self) -> npt.NDArray[np.int64]:
        return self._native.bases()

    def _id_of(self, *names: str) -> int | None:
        return next((self.vocabulary.index(n) for n in names if n in self.vocabulary), None)

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._native.json, self._case, self._unknown)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens, case={self._case!r})"


def _restore(text: str, case: Case, unknown: Unknown) -> Tokenizer:
    return Tokenizer(_native.Tokenizer.parse(text, Path("pickle"), case, unknown), case, unknown)


def _spans(
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


def _as_ids(ids: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    wide = np.asarray(ids)
    if wide.size and (wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max):
        raise ValueError("ids: they lie between 0 and 65535")
    return np.ascontiguousarray(wide, dtype=np.uint16)


def _sequences(inputs: Iterable[str | bytes | os.PathLike[str]]) -> Iterable[str | bytes]:
    letters = frozenset("ACGTUNRYKMSWBDHVacgtunrykmswbdhv-")
    for item in inputs:
        if isinstance(item, bytes) or (isinstance(item, str) and letters.issuperset(item)):
            yield item
        else:
            yield from (record.sequence for record in read_fasta(item))


def _download(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise TokenizerError(
            f"{name!r} is no file or folder here; to read it from the hub install the extra: "
            'pip install "dnabert2-fast[model]"'
        ) from None
    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TokenizerError(
            f"{name!r} is no file or folder here, and the hub did not give its tokenizer.json: "
            f"{reason}"
        ) from None
