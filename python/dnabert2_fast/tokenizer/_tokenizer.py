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
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from dnabert2_fast import _native
from dnabert2_fast._internal.atomic import atomic_json, atomic_path
from dnabert2_fast.io.arguments import Sequences, check_sequence, sequence_list
from dnabert2_fast.ragged import Ragged, as_ids
from dnabert2_fast.tokenizer._encode import (
    Frame,
    Options,
    Side,
    Truncation,
    encode_batch,
    encode_detailed,
    encode_windows,
    frame_of,
    other_strand,
)
from dnabert2_fast.tokenizer._results import EncodedBatch, Encoding, ReplacedCounts, Windows
from dnabert2_fast.tokenizer._train import TrainingConfig, TrainingReport, train_text
from dnabert2_fast.tokenizer._vocabulary import (
    CONFIG,
    FILES,
    Case,
    Matching,
    Unknown,
    find_file,
    id_of,
    saved_policies,
)

__all__ = ["Tokenizer"]


class Tokenizer:
    """Converts sequences to token ids and back, by a vocabulary.

    Make one with `from_pretrained`, `from_file` or `train`.

    Notes
    -----
    Two policies define how a sequence is read. ``case="upper"`` (default) reads lower-case letters
    as upper-case ones, so that soft-masked genomes keep their bases and N its token.
    ``case="compat"`` does not change them, so that each becomes an [UNK], as with the published
    file in Hugging Face.
    ``unknown="unk"`` (default) makes each letter outside the vocabulary one [UNK],
    ``"split"`` gives such letters no token, ``"error"`` raises on the first one. A vocabulary
    without [UNK] raises by default.

    ``matching`` is the algorithm. ``"bpe"`` (default) is byte-pair encoding, with which
    the published weights were trained; ``"longest"`` takes the longest piece at each position, from
    left to right; ``"longest-first"`` the longest piece anywhere first, ties to the one merged
    earlier, as a sentence of the DNABERT-2 paper has it. The choice is part of the tokenizer's
    file and fingerprint, so it is recorded in all output; Hugging Face `tokenizers`
    refuses files of the other two.

    Examples
    --------
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> ids = tok.encode("ACGTAGCATCGGATC")
    >>> ids.tolist(), ids.dtype
    ([1, 5, 194, 32, 757, 16, 2], dtype('uint16'))
    >>> tok.tokens(ids)
    ['[CLS]', 'A', 'CGTA', 'GCA', 'TCGGA', 'TC', '[SEP]']
    """

    trained_on: TrainingReport | None = None
    """What `train` read; None for a tokenizer that was loaded."""

    def __init__(self, native: _native.Tokenizer, case: Case, unknown: Unknown) -> None:
        if native.unknown_id is None and unknown == "unk":
            unknown = "error"  # like the extension
        self._native, self._case, self._unknown = native, case, unknown

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        case: Case = "upper",
        unknown: Unknown = "unk",
        matching: Matching | None = None,
    ) -> Self:
        """Read a ``tokenizer.json``, or a ``vocab.txt`` of k-mers.

        Parameters
        ----------
        path : path
            A list of k-mers is that of DNABERT (overlapping k-mers) or, when it also holds single
            letters, of the Nucleotide Transformer (k-mers side by side).
        case, unknown
            How a sequence is read; see `Tokenizer`.
        matching : {"bpe", "longest", "longest-first"}, optional
            The algorithm; that of the file if omitted.

        Returns
        -------
        Tokenizer

        Raises
        ------
        TokenizerError
            When the file contains something that cannot be reproduced exactly; names the position.
        FileNotFoundError
            When the file does not exist.

        Examples
        --------
        >>> import tempfile
        >>> from dnabert2_fast import Tokenizer
        >>> path = Path(tempfile.mkdtemp(), "tokenizer.json")
        >>> Tokenizer.train(["ACACACGTACAC"], vocab_size=11).save(path)
        >>> Tokenizer.from_file(path, case="compat")
        Tokenizer(11 tokens, bpe, case='compat')
        """
        native = _native.Tokenizer.open(Path(path), case=case, unknown=unknown, matching=matching)
        return cls(native, case, unknown)

    @classmethod
    def from_text(cls, text: str, *, case: Case = "upper", unknown: Unknown = "unk") -> Self:
        """Make a tokenizer from the text of a ``tokenizer.json`` or ``vocab.txt``.

        Parameters
        ----------
        text : str
            Contents of the file.
        case, unknown : str
            As in `from_file`.

        Returns
        -------
        Tokenizer

        Raises
        ------
        TokenizerError
            As in `from_file`.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> Tokenizer.from_text(tok.text).fingerprint == tok.fingerprint
        True
        """
        native = _native.Tokenizer.parse(
            text, Path("in memory"), case=case, unknown=unknown, matching=None
        )
        return cls(native, case, unknown)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        case: Case | None = None,
        unknown: Unknown | None = None,
        matching: Matching | None = None,
    ) -> Self:
        """Read a tokenizer by name.

        Parameters
        ----------
        name : str or path
            ``"dnabert2"``, the published vocabulary, or ``"mini"``, the packaged model's; a folder
            with a ``tokenizer.json`` or a ``vocab.txt``; such a file; or a hub id, with or
            without a revision: ``"owner/name@revision"``.
        case : {"upper", "compat"}, optional
            How lower-case letters are read. Default: ``case`` in the folder's
            ``tokenizer_config.json``, else ``"upper"``.
        unknown : {"unk", "split", "error"}, optional
            How letters outside the vocabulary are read. Default: ``unknown`` in that file, else
            ``"unk"``.
        matching
            As in `from_file`.

        Returns
        -------
        Tokenizer

        Raises
        ------
        TokenizerError
            As in `from_file`, when ``tokenizer_config.json`` is damaged, and when the hub does not
            provide the file.
        FileNotFoundError
            When the file or folder does not exist, and the name is not a hub id.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> Tokenizer.from_pretrained("dnabert2", unknown="split").encode("ACNG").tolist()
        [1, 5, 6, 7, 2]
        """
        path = find_file(name)
        saved = saved_policies(path)
        return cls.from_file(
            path,
            case=case or saved.case,
            unknown=unknown or saved.unknown,
            matching=matching,
        )

    @classmethod
    def train(
        cls,
        files_or_sequences: Iterable[str | bytes | os.PathLike[str]] | os.PathLike[str],
        vocab_size: int = 4096,
        config: TrainingConfig | None = None,
        *,
        species: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        threads: int = 0,
    ) -> Tokenizer:
        """Train a vocabulary with the merges of Hugging Face's ``BpeTrainer``.

        Parameters
        ----------
        files_or_sequences : iterable of paths or sequences
            FASTA or FASTQ files, compressed or not, ``.txt`` (one sequence per line), ``.csv`` or
            ``.tsv`` (a column), or the sequences themselves (`str` or `bytes`). A `str` of sequence
            letters only is a sequence, any other `str` a path. Runs of A, C, G, T are trained on;
            other letters end a run.
        vocab_size : int
            Entries of the vocabulary, special tokens and four bases included.
        config : TrainingConfig, optional
            Which input is read, and which merges are made.
        species : mapping of str to str, optional
            Species by path, for the report; `species_by_path` makes one.
        memory_limit : int, optional
            Bytes for training, besides Python, one window and the counts of pairs. The text is then
            in an unnamed temporary file, which is read again for about every twelve merges: the
            merges are the same, the time is far longer. Without a limit, training uses 2.2 to 2.8
            bytes per base.
        checkpoint : path, optional
            File for the merges made so far, written at intervals and at the end. If it exists,
            training resumes from it. Delete it after saving the tokenizer.
        threads : int
            0 uses every core. The merges do not depend on it.

        Returns
        -------
        Tokenizer
            Its `trained_on` lists the bases used of each input.

        Raises
        ------
        FastaError, DataError, OSError
            When a file is not readable.
        ValueError
            When the input has no bases, or an argument is out of range.

        Examples
        --------
        >>> tok = Tokenizer.train(["ACACACGTACAC"], vocab_size=11)
        >>> tok.tokens(tok.encode("ACACGT"))
        ['[CLS]', 'ACAC', 'G', 'T', '[SEP]']
        """
        config = config or TrainingConfig()
        text, report = train_text(
            files_or_sequences,
            vocab_size,
            config,
            species or {},
            memory_limit,
            None if checkpoint is None else Path(checkpoint),
            threads,
        )
        trained = cls.from_text(text, case=config.case)
        trained.trained_on = report
        return trained

    @property
    def case(self) -> Case:
        """How lower-case letters are read."""
        return self._case

    @property
    def unknown(self) -> Unknown:
        """How letters outside the vocabulary are handled."""
        return self._unknown

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
            Add [CLS] and [SEP] (or those of the template).
        max_length : int, optional
            Maximum tokens of the result, special ones included; the rest is cut off after encoding.
        truncation : {"longest_first", "only_first", "only_second"}
            Which sequence of a pair is shortened.
        truncation_side : {"right", "left"}
            Where tokens are cut off.
        dropout : float, optional
            Share of merges left out at random, for training on many encodings of one sequence; 0
            leaves out none. BPE-dropout (Provilkov, Emelianenko and Voita, ACL 2020).
        seed : int
            Start of the draws. The same seed gives the same ids, on any number of threads.

        Returns
        -------
        ndarray of uint16, shape (tokens,)

        Raises
        ------
        TokenizerError
            When ``unknown="error"`` meets a letter outside the vocabulary; names the position.
        ValueError
            When `max_length` leaves no room for the special tokens, or an argument is not one
            of the above.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode("ACGTAGCATCGGATC", max_length=5).tolist()
        [1, 5, 194, 32, 2]
        >>> tok.encode("ACGTTGCA", "TTAA").tolist()
        [1, 5, 134, 32, 2, 84, 2]
        """
        check_sequence(sequence)
        if pair is None and truncation == "longest_first":
            # Without offsets, which take most of the time for long sequences.
            return self.encode_batch(
                [sequence],
                add_special_tokens=add_special_tokens,
                max_length=max_length,
                truncation_side=truncation_side,
                dropout=dropout,
                seed=seed,
                threads=1,
            ).values
        if pair is not None:
            check_sequence(pair, "pair")
        return encode_detailed(
            self._native,
            [sequence],
            None if pair is None else [pair],
            Options(add_special_tokens, max_length, truncation, truncation_side, dropout, seed),
            threads=1,
        ).ids.values

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

        Parameters
        ----------
        sequence, pair : str or bytes
            As in `encode`; `pair` is optional.
        add_special_tokens, max_length, truncation, truncation_side
            As in `encode`.

        Returns
        -------
        Encoding
            With offsets in letters of `sequence` or `pair`.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_detailed("ACNNGT").offsets.tolist()
        [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 6], [0, 0]]
        """
        check_sequence(sequence)
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
        sequences: Sequences,
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
        sequences : list, tuple, generator, array, series or path
            Elements are `str` or `bytes`. Numpy arrays of bytes and Arrow arrays of strings or
            binaries are read without a copy. A `pathlib.Path` is a FASTA or FASTQ file, whose
            records are taken in order.
        add_special_tokens, max_length, truncation_side, dropout, seed
            As in `encode`; with `dropout` every sequence has its own draws.
        threads : int
            0 uses every core. The result does not depend on it.

        Returns
        -------
        Ragged
            One row per sequence, in order.

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
        options = Options(
            add_special_tokens, max_length, "longest_first", truncation_side, dropout, seed
        )
        return encode_batch(self._native, sequences, options, threads)

    def encode_batch_detailed(
        self,
        sequences: Sequences,
        pairs: Sequences | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        truncation_side: Side = "right",
        threads: int = 0,
    ) -> EncodedBatch:
        """Return ids, type ids and offsets of many sequences or pairs.

        Parameters
        ----------
        sequences : list, tuple, generator, array, series or path
            As in `encode_batch`.
        pairs : list, tuple, generator, array, series or path, optional
            The second sequence of each pair, one for each of `sequences`.
        add_special_tokens, max_length, truncation, truncation_side
            As in `encode`.
        threads : int
            0 uses every core.

        Returns
        -------
        EncodedBatch

        Raises
        ------
        ValueError
            When the numbers of `pairs` and `sequences` differ; also as in `encode`.
        TokenizerError
            As in `encode`.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.encode_batch_detailed(["ACG"]).offsets.tolist()
        [[0, 0], [0, 1], [1, 3], [0, 0]]
        """
        options = Options(add_special_tokens, max_length, truncation, truncation_side)
        return encode_detailed(self._native, sequences, pairs, options, threads)

    def encode_windows(
        self,
        sequences: Sequences,
        max_length: int,
        *,
        stride: int = 0,
        add_special_tokens: bool = True,
        truncation_side: Side = "right",
        threads: int = 0,
    ) -> Windows:
        """Encode sequences of any length as windows of tokens; no token is lost.

        Parameters
        ----------
        sequences : list, tuple, generator, array, series or path
            As in `encode_batch`.
        max_length : int
            Maximum tokens of a window, special ones included.
        stride : int
            Tokens that a window shares with the previous one.
        add_special_tokens : bool
            Add [CLS] and [SEP] (or those of the template) to each window.
        truncation_side : {"right", "left"}
            ``"right"``: the first window begins with the sequence; ``"left"``: it ends with it.
        threads : int
            0 uses every core.

        Returns
        -------
        Windows
            Ids of each window, its sequence and its span in bases.

        Raises
        ------
        ValueError
            When `stride` is not between 0 and the tokens that `max_length` leaves for the sequence.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> windows = tok.encode_windows(["ACGTTGCATTAGC" * 4], max_length=8, stride=2)
        >>> windows.ids.lengths.tolist(), windows.start_bp.tolist(), windows.end_bp.tolist()
        ([8, 8, 7], [0, 14, 31], [24, 40, 52])
        """
        frame = self._frame if add_special_tokens else (self._frame[0][:0], self._frame[0][:0])
        return encode_windows(
            self._native, sequences, max_length, stride, frame, truncation_side, threads
        )

    def decode(self, ids: npt.ArrayLike, *, unknown: str = "N", separator: str = "") -> str:
        """Return the sequence that `ids` spell.

        Special tokens are left out; each [UNK] becomes `unknown`, so that coordinates stay valid.
        ``decode(ids, unknown="", separator=" ")`` equals Hugging Face's ``decode``.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Token ids of one sequence.
        unknown : str
            Text for each [UNK].
        separator : str
            Text between tokens.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            When an id is outside the vocabulary.

        Examples
        --------
        >>> from dnabert2_fast import Tokenizer
        >>> Tokenizer.from_pretrained("dnabert2").decode([1, 5, 194, 0, 2])
        'ACGTAN'
        """
        return self._native.decode(as_ids(ids), unknown, separator)

    def tokens(self, ids: npt.ArrayLike) -> list[str]:
        """Return the token of every id, special ones included.

        Parameters
        ----------
        ids : array_like of int, shape (n,)
            Token ids.

        Returns
        -------
        list of str
            `n` tokens.

        Raises
        ------
        ValueError
            When an id is outside the vocabulary.
        """
        listed = as_ids(ids).tolist()
        if listed and max(listed) >= self.vocab_size:
            raise ValueError(f"ids: must be below {self.vocab_size} (got {max(listed)})")
        return [self.vocabulary[i] for i in listed]

    def offsets(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return start and end of every token of one sequence, from its ids alone.

        Parameters
        ----------
        ids : array_like of int, shape (tokens,)
            Token ids of one sequence.

        Returns
        -------
        ndarray of int64, shape (tokens, 2)
            0-based half-open, in letters; an [UNK] counts as one letter; (0, 0) for special
            tokens. Where white space or ``unknown="split"`` leaves letters without a token, use
            `encode_detailed`, which reads the sequence.
        """
        return self._native.offsets(as_ids(ids))

    @overload
    def reverse_complement(self, ids: Ragged) -> Ragged: ...
    @overload
    def reverse_complement(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]: ...
    def reverse_complement(
        self, ids: Ragged | npt.NDArray[np.uint16]
    ) -> Ragged | npt.NDArray[np.uint16]:
        """Return the ids of the reverse complement of one or many sequences.

        Tokens of the two strands have different borders, so their number may differ. Special tokens
        are added again if the ids have them; [UNK] stays [UNK].

        Parameters
        ----------
        ids : ndarray of uint16, shape (n,), or Ragged
            Token ids of one sequence, or of a batch.

        Returns
        -------
        ndarray of uint16 or Ragged
            Same type as `ids`. The sequence is decoded, reverse complemented and encoded again.

        Examples
        --------
        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.decode(tok.reverse_complement(tok.encode("AACGTG")))
        'CACGTT'
        """
        rows = ids if isinstance(ids, Ragged) else Ragged.from_list([ids])
        whole = other_strand(self._native, rows, self._frame)
        return whole if isinstance(ids, Ragged) else whole.values

    def replaced(self, sequences: Sequences) -> ReplacedCounts:
        """Count the letters that are folded to upper case or have no token.

        `sequences` are as in `encode_batch`.

        Parameters
        ----------
        sequences : list of str or bytes
            As in `encode_batch`.

        Returns
        -------
        ReplacedCounts

        Examples
        --------
        >>> Tokenizer.from_pretrained("dnabert2").replaced(["acGTN", "NNR"])
        ReplacedCounts(folded=2, unknown={'N': 3, 'R': 1})
        """
        return ReplacedCounts(*self._native.replaced(sequence_list(sequences)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ``tokenizer.json`` that Hugging Face `tokenizers` and this class read.

        A vocabulary of k-mers is written as its ``vocab.txt``; `file_name` is its name.

        Parameters
        ----------
        path : path
            File to write.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self._native.text, encoding="utf-8")

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        pairs: bool = False,
        max_length: int | None = None,
    ) -> None:
        """Write the tokenizer's file and ``tokenizer_config.json`` into a folder.

        `from_pretrained` and ``AutoTokenizer`` then read sequences alike: the second file has
        `case`, `unknown`, the special tokens and the names of the model's inputs. A vocabulary of
        k-mers has only its ``vocab.txt``.

        Parameters
        ----------
        folder : path
        pairs : bool
            Whether the model reads pairs of sequences, whose type ids ``AutoTokenizer`` then
            returns.
        max_length : int, optional
            Maximum tokens of the model, special ones included; ``AutoTokenizer`` cuts there when
            ``truncation=True``.

        Examples
        --------
        >>> import tempfile
        >>> from dnabert2_fast import Tokenizer
        >>> folder = tempfile.mkdtemp()
        >>> Tokenizer.from_pretrained("dnabert2", case="compat").save_pretrained(folder)
        >>> Tokenizer.from_pretrained(folder).case
        'compat'
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / self.file_name)
        if self.matching == "kmers":
            return
        roles = {
            "unk_token": self.unk_id,
            "cls_token": self.cls_id,
            "sep_token": self.sep_id,
            "pad_token": self.pad_id,
            "mask_token": self.mask_id,
        }
        types = ["token_type_ids"] if pairs else []
        content = {
            "tokenizer_class": "HFDnabert2Tokenizer",
            "case": self.case,
            "unknown": self.unknown,
            "model_input_names": ["input_ids", *types, "attention_mask"],
            **{role: self.vocabulary[i] for role, i in roles.items() if i is not None},
            **({} if max_length is None else {"model_max_length": max_length}),
        }
        atomic_json(folder / CONFIG, content)

    @property
    def text(self) -> str:
        """Text of the file that `save` writes."""
        return self._native.text

    @property
    def file_name(self) -> str:
        """Name of the file in a folder: ``tokenizer.json``, or ``vocab.txt`` for k-mers."""
        return FILES[self.matching == "kmers"]

    @property
    def matching(self) -> str:
        """``"bpe"``, ``"longest"``, ``"longest-first"``, or ``"kmers"``."""
        return self._native.matching or "kmers"

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
        """SHA-256 of the tokenizer's file, in hexadecimal."""
        return hashlib.sha256(self._native.text.encode()).hexdigest()

    @property
    def unk_id(self) -> int | None:
        """Id of the unknown token; None when the vocabulary has none."""
        return self._native.unknown_id

    @cached_property
    def cls_id(self) -> int | None:
        """Id of [CLS] (or [BOS]), None when the vocabulary has neither."""
        return id_of(self.vocabulary, "[CLS]", "[BOS]", "<cls>")

    @cached_property
    def sep_id(self) -> int | None:
        """Id of [SEP] (or [EOS]), None when the vocabulary has neither."""
        return id_of(self.vocabulary, "[SEP]", "[EOS]", "<eos>")

    @cached_property
    def pad_id(self) -> int | None:
        """Id of [PAD], None when the vocabulary has none."""
        return id_of(self.vocabulary, "[PAD]", "<pad>")

    @cached_property
    def mask_id(self) -> int | None:
        """Id of [MASK], None when the vocabulary has none."""
        return id_of(self.vocabulary, "[MASK]", "<mask>")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens without bases: [UNK], [CLS], [SEP], [PAD], [MASK], ..."""
        return frozenset(np.flatnonzero(self.special_mask).tolist())

    @cached_property
    def special_mask(self) -> npt.NDArray[np.bool_]:
        """Whether each id is in `special_ids`; bool of shape (vocab_size,)."""
        return self._native.special()

    @cached_property
    def _frame(self) -> Frame:
        """Special tokens before and after a sequence."""
        return frame_of(self._native)

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._native.text, self._case, self._unknown)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens, {self.matching}, case={self._case!r})"


def _restore(text: str, case: Case, unknown: Unknown) -> Tokenizer:
    return Tokenizer.from_text(text, case=case, unknown=unknown)
