"""Letters without a token, found before sequences are cut into windows and batches.

With ``unknown="error"`` the encoder names a sequence by its index in a batch. Errors of these
checks name file, record and position.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator

from dnabert2_fast.io.arguments import Sequences, text_list
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.io.regions import Piece
from dnabert2_fast.tokenizer._encode import naming_records
from dnabert2_fast.tokenizer._results import ReplacedCounts
from dnabert2_fast.tokenizer._tokenizer import Tokenizer

__all__ = ["UnknownLetters", "known_pieces", "known_texts", "require_known"]

MAX_NAMED = 3  # records in a warning


class UnknownLetters:
    """Counts the letters without a token of an input's records, for one warning at its end.

    Parameters
    ----------
    tokenizer : Tokenizer
    source : path
        The file, or the name of an argument.
    """

    def __init__(self, tokenizer: Tokenizer, source: str | os.PathLike[str]) -> None:
        self._tokenizer, self._source = tokenizer, source
        self._total = ReplacedCounts(0, {})
        self._mostly: list[str] = []  # records with more such letters than others

    def add(self, sequence: str, record: str) -> None:
        """Count the letters of a record, or of its next part."""
        unknown = self._tokenizer.replaced([sequence]).unknown
        if not unknown:
            return
        self._total = self._total.plus(ReplacedCounts(0, unknown))
        if 2 * sum(unknown.values()) > len(sequence) and record not in self._mostly[-1:]:
            self._mostly.append(record)

    def warn(self) -> None:
        """Warn if there was such a letter, as `tokenize` prints it."""
        if not self._total.unknown:
            return
        text = f"{self._source}: {self._total}."
        if self._mostly:
            named = ", ".join(self._mostly[:MAX_NAMED])
            more = ", ..." if len(self._mostly) > MAX_NAMED else ""
            text += f" They are more than half of {len(self._mostly):,} records: {named}{more}."
        warnings.warn(text, stacklevel=3)


def require_known(
    tokenizer: Tokenizer,
    sequence: str,
    path: str | os.PathLike[str],
    record: str,
    start: int = 0,
) -> None:
    """Raise the tokenizer's error for a letter without a token, if its policy is to raise.

    Parameters
    ----------
    tokenizer : Tokenizer
    sequence : str
        Letters of `record` from the 0-based position `start`.
    path : path
    record : str
    start : int

    Raises
    ------
    TokenizerError
        Names file, line, record, letter and position in the record.
    """
    if tokenizer.unknown == "error":
        with naming_records(path, [record], start=start):
            tokenizer.encode(sequence)


def known_pieces(
    pieces: Iterable[Piece], tokenizer: Tokenizer, path: str | os.PathLike[str]
) -> Iterator[Piece]:
    """Yield the sequences of a file, each checked by `require_known`; warns of unknown letters."""
    letters = UnknownLetters(tokenizer, path)
    for piece in pieces:
        require_known(tokenizer, piece.forward, path, piece.contig, piece.start)
        letters.add(piece.forward, piece.name)
        yield piece
    letters.warn()


def known_texts(given: Sequences, tokenizer: Tokenizer, name: str = "sequences") -> list[str]:
    """Return sequences in any form as a list, checked as by `known_pieces`.

    Raises
    ------
    TokenizerError
        Names file and record, or the index in `given`, and the position.
    TypeError
        As `text_list`.
    """
    if isinstance(given, os.PathLike):
        letters = UnknownLetters(tokenizer, given)
        records = list(read_fasta(given))
        for record in records:
            require_known(tokenizer, record.sequence, given, record.name)
            letters.add(record.sequence, record.name)
        letters.warn()
        return [record.sequence for record in records]
    texts = text_list(given, name)
    if tokenizer.unknown == "error":
        tokenizer.encode_batch(texts)
    if tokenizer.replaced(texts).unknown:
        letters = UnknownLetters(tokenizer, name)
        for index, text in enumerate(texts):
            letters.add(text, str(index))
        letters.warn()
    return texts
