"""Letters without a token, found before sequences are cut into windows and batches.

With ``unknown="error"`` the encoder names a sequence by its index in a batch. What is checked here
first is named by its file, record and position.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from dnabert2_fast.io.arguments import Sequences, text_list
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.io.regions import Piece
from dnabert2_fast.tokenizer._encode import naming_records
from dnabert2_fast.tokenizer._tokenizer import Tokenizer

__all__ = ["known_pieces", "known_texts", "require_known"]


def require_known(
    tokenizer: Tokenizer,
    sequence: str,
    path: str | os.PathLike[str],
    record: str,
    start: int = 0,
) -> None:
    """Raise an error for a letter without a token, if `tokenizer` does so.

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
    """Yield the sequences of a file, each checked by `require_known`."""
    for piece in pieces:
        require_known(tokenizer, piece.forward, path, piece.contig, piece.start)
        yield piece


def known_texts(given: Sequences, tokenizer: Tokenizer, name: str = "sequences") -> list[str]:
    """Return sequences in any form as a list, checked as by `require_known`.

    Raises
    ------
    TokenizerError
        Names file and record, or the index in `given`, and the position.
    TypeError
        As `text_list`.
    """
    if isinstance(given, os.PathLike):
        records = list(read_fasta(given))
        for record in records:
            require_known(tokenizer, record.sequence, given, record.name)
        return [record.sequence for record in records]
    texts = text_list(given, name)
    if tokenizer.unknown == "error":
        tokenizer.encode_batch(texts)
    return texts
