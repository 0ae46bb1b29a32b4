"""Exact genome BPE: the ids of Hugging Face `tokenizers`, from a Rust encoder.

>>> tok = Tokenizer.from_pretrained("dnabert2")
>>> ids = tok.encode("ACGTAGCATCGGATC")
>>> ids.tolist()
[1, 5, 194, 32, 757, 16, 2]
>>> tok.decode(ids)
'ACGTAGCATCGGATC'
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args, overload

import numpy as np
import numpy.typing as npt

from dnabert2_fast.io.strand import COMPLEMENT
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer._encode import SequenceEncoder
from dnabert2_fast.tokenizer._results import Replaced
from dnabert2_fast.tokenizer._train import (
    SPECIAL_TOKENS,
    Intake,
    TrainingReport,
    spill_folder,
    train_text,
)
from dnabert2_fast.tokenizer._vocabulary import PACKAGED, Case, Unknown

__all__ = ["PACKAGED", "Tokenizer"]


class Tokenizer(SequenceEncoder):
    """A vocabulary and the rule by which sequence becomes ids.

    Make one with `from_pretrained`, `from_file` or `train`.

    Notes
    -----
    Two policies say how sequence is read. ``case="upper"`` (default) takes lower-case bases as
    upper-case ones, so that soft-masked genomes keep their bases; ``case="compat"`` leaves them
    as they are, which makes each an [UNK], as Hugging Face does with the published file.
    ``unknown="unk"`` (default) makes each letter outside the vocabulary one [UNK],
    ``"split"`` gives such letters no token, ``"error"`` raises on the first one.

    ``matching`` says how pieces are found. ``"bpe"`` (default) is byte-pair encoding, with which
    the published weights were trained; ``"longest"`` takes the longest piece at each place, from
    left to right; ``"longest-first"`` the longest piece anywhere first, ties to the one merged
    earlier, as a sentence of the DNABERT-2 paper has it. The choice is part of the tokenizer's
    file and fingerprint, so that whatever is made with it says so; Hugging Face `tokenizers`
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

    @classmethod
    def train(
        cls,
        files_or_sequences: Iterable[str | bytes | os.PathLike[str]],
        vocab_size: int = 4096,
        *,
        window_bp: int | None = None,
        min_frequency: int = 1,
        max_token_bp: int | None = None,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
        case: Case = "upper",
        both_strands: bool = False,
        sample: float = 1.0,
        seed: int = 0,
        column: str = "sequence",
        species: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        threads: int = 0,
    ) -> Tokenizer:
        """Train a vocabulary: the merges of Hugging Face's ``BpeTrainer`` on the same pieces.

        Parameters
        ----------
        files_or_sequences : iterable of paths or sequences
            FASTA or FASTQ files (plain, gz, bgz, zst), ``.txt`` (one sequence a line), ``.csv`` or
            ``.tsv`` (a column), or the sequences themselves (`str` or `bytes`). A `str` of sequence
            letters only is a sequence, any other `str` a path. Runs of A, C, G, T are trained on;
            other letters end a run.
        vocab_size : int
            Entries of the vocabulary, special tokens and four bases included.
        window_bp : int, optional
            Cut runs every `window_bp` bases; merges never cross a cut.
        min_frequency : int
            A pair that occurs fewer times is not merged.
        max_token_bp : int, optional
            A pair that would become a longer token is not merged; Hugging Face's
            ``max_token_length`` is the first length that is too long, one more than this.
        special_tokens : sequence of str
            Unknown, start, end, padding, mask, then any more; the first ids.
        case : {"upper", "compat"}
            Whether lower-case bases are bases or end a run.
        both_strands : bool
            Train on the reverse complement of every window too.
        sample : float
            Share of the windows (of the runs, without `window_bp`) to train on, drawn with `seed`.
        seed : int
            Start of the draws.
        column : str
            Column of ``.csv`` and ``.tsv`` files.
        species : mapping of str to str, optional
            Species by path, for the report; `species_by_path` makes one.
        memory_limit : int, optional
            Bytes to train in, besides Python, one window and the counts of pairs. The text then
            waits in a file without a name in the folder for temporary files, and merges are made by
            reading it again for every dozen or so of them: same merges, far more time. Without a
            limit 2.2 to 2.8 bytes a base are taken.
        checkpoint : path, optional
            File to note the merges in, now and then and when the training is stopped. If it is
            there already, training goes on from it; it is deleted at the end.
        threads : int
            0 takes every core. The merges do not depend on it.

        Returns
        -------
        Tokenizer
            Its `trained_on` tells how many bases of what were used.

        Raises
        ------
        FastaError, DataError, OSError
            When a file is not readable.
        ValueError
            When there is nothing to train on, or an argument is out of range.

        Examples
        --------
        >>> tok = Tokenizer.train(["ACACACGTACAC"], vocab_size=11)
        >>> tok.tokens(tok.encode("ACACGT"))
        ['[CLS]', 'ACAC', 'G', 'T', '[SEP]']
        """
        if isinstance(files_or_sequences, (str, bytes, os.PathLike)):
            raise TypeError("give a list of paths or sequences, not a single one")
        if case not in get_args(Case):
            raise ValueError(f"case: {case!r} is not one of {', '.join(get_args(Case))}")
        intake = Intake(
            window_bp,
            case == "upper",
            both_strands,
            sample,
            seed,
            column,
            species or {},
            None if memory_limit is None else spill_folder(),
            threads,
        )
        text, report = train_text(
            files_or_sequences,
            intake,
            vocab_size,
            min_frequency,
            max_token_bp,
            tuple(special_tokens),
            memory_limit,
            None if checkpoint is None else Path(checkpoint),
        )
        trained = cls.from_text(text, case=case)
        trained.trained_on = report
        return trained

    @overload
    def reverse_complement(self, ids: Ragged) -> Ragged: ...
    @overload
    def reverse_complement(self, ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]: ...
    def reverse_complement(
        self, ids: Ragged | npt.NDArray[np.uint16]
    ) -> Ragged | npt.NDArray[np.uint16]:
        """Return the ids of the other strand: decoded, reversed, complemented, encoded again.

        Pieces of the two strands have other borders, so the number of tokens may differ. Special
        tokens are put around again if the ids have them; [UNK] stays [UNK].

        >>> tok = Tokenizer.from_pretrained("dnabert2")
        >>> tok.decode(tok.reverse_complement(tok.encode("AACGTG")))
        'CACGTT'
        """
        rows = ids if isinstance(ids, Ragged) else Ragged.from_list([ids])
        texts = [self.decode(row).translate(COMPLEMENT)[::-1] for row in rows]
        framed = np.array([self._is_framed(row) for row in rows], bool)
        parts = [
            self.encode_batch(
                [texts[i] for i in np.flatnonzero(framed == special)], add_special_tokens=special
            )
            for special in (False, True)
        ]
        whole = Ragged.concatenate(parts).take(np.argsort(np.argsort(framed, kind="stable")))
        return whole if isinstance(ids, Ragged) else whole.values

    def replaced(self, sequences: Sequence[str | bytes]) -> Replaced:
        """Count the letters that the policies change: those folded, and those without a token.

        >>> Tokenizer.from_pretrained("dnabert2").replaced(["acGTN", "NNR"])
        Replaced(folded=2, unknown={'N': 3, 'R': 1})
        """
        return Replaced(*self._native.replaced(list(sequences)))

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._native.text, self._case, self._unknown)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens, {self.matching}, case={self._case!r})"


def _restore(text: str, case: Case, unknown: Unknown) -> Tokenizer:
    return Tokenizer.from_text(text, case=case, unknown=unknown)
