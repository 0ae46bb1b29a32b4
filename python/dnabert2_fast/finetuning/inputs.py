"""Tables to tensors: sequences for the model, and labels for its losses."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.finetuning.labels import IGNORED, Labelled
from dnabert2_fast.finetuning.rows import Row
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import UnknownLetters, require_known

__all__ = [
    "Inputs",
    "as_read",
    "bases_of",
    "encode",
    "read_bp",
    "require_known_row",
    "rows_with_bases",
    "targets",
]

CHUNK_ROWS = 4096


class Inputs(NamedTuple):
    """Sequences as input of a model.

    Attributes
    ----------
    ids : Ragged
    type_ids : ndarray of int64, shape (total_tokens,), or None
        The sequence of a pair that a token belongs to.
    spans : ndarray of int64, shape (total_tokens, 2), or None
        Start and end of each token, for tasks with a label per token or base.
    """

    ids: Ragged
    type_ids: npt.NDArray[np.int64] | None = None
    spans: npt.NDArray[np.int64] | None = None

    def batch(self, rows: npt.NDArray[np.int64]) -> PackedBatch:
        """Return some of the sequences, packed."""
        batch = PackedBatch.from_ragged(self.ids.take(rows))
        if self.type_ids is None:
            return batch
        types = [self.type_ids[self.ids.offsets[i] : self.ids.offsets[i + 1]] for i in rows]
        return replace(batch, token_type_ids=torch.from_numpy(np.concatenate(types)))

    def without_bases(self, special_ids: Collection[int]) -> npt.NDArray[np.bool_]:
        """Return for each sequence whether all of its tokens are special or unknown."""
        real = ~np.isin(self.ids.values, list(special_ids))
        before = np.concatenate([[0], np.cumsum(real)])
        empty: npt.NDArray[np.bool_] = np.diff(before[self.ids.offsets]) == 0
        return empty

    def spans_of(self, row: int) -> npt.NDArray[np.int64] | None:
        """Return start and end of one sequence's tokens, shape (tokens, 2)."""
        if self.spans is None:
            return None
        return self.spans[self.ids.offsets[row] : self.ids.offsets[row + 1]]


def encode(
    task: Task,
    tokenizer: Tokenizer,
    sequences: Sequence[str],
    pairs: Sequence[str] | None = None,
    max_length: int | None = None,
) -> Inputs:
    """Tokenize sequences for a task; `max_length` cuts at the end (a pair's longer one first)."""
    if not task.pairs and not task.by_position:
        return Inputs(tokenizer.encode_batch(sequences, max_length=max_length))
    whole = tokenizer.encode_batch_detailed(sequences, pairs, max_length=max_length)
    if task.pairs:
        return Inputs(whole.ids, type_ids=whole.type_ids)
    return Inputs(whole.ids, spans=whole.offsets)


def as_read(tokenizer: Tokenizer, sequences: Sequence[str], max_length: int | None) -> list[str]:
    """Return the part of each sequence that a model reads: the first `max_length` tokens.

    >>> tokenizer = Tokenizer.from_pretrained("mini")
    >>> [len(text) for text in as_read(tokenizer, ["A" * 400, "ACGT"], 4)]
    [32, 4]
    """
    if max_length is None:
        return list(sequences)
    whole = tokenizer.encode_batch_detailed(sequences, max_length=max_length)
    borders = whole.ids.offsets
    ends = [int(whole.offsets[start:end, 1].max(initial=0)) for start, end in pairwise(borders)]
    return [text[:end] for text, end in zip(sequences, ends, strict=True)]


def read_bp(tokenizer: Tokenizer, sequences: Sequence[str], max_length: int | None) -> int:
    """Return the maximum number of characters that a model reads of one of the sequences."""
    chunks = range(0, len(sequences), CHUNK_ROWS)
    parts = (as_read(tokenizer, sequences[i : i + CHUNK_ROWS], max_length) for i in chunks)
    return max(len(text) for part in parts for text in part)


def require_known_row(tokenizer: Tokenizer, row: Row, path: Path) -> None:
    """Raise the error of `require_known` for a row of a table."""
    for text in (row.sequence, row.pair or ""):
        require_known(tokenizer, text, f"{path}:{row.line}", row.name)


def rows_with_bases(tokenizer: Tokenizer, table: Labelled) -> Labelled:
    """Return a table from a file without the rows that have no base; warns of unknown letters.

    Raises
    ------
    TokenizerError
        As `require_known`.
    DataError
        When no row is left.
    """
    letters = UnknownLetters(tokenizer, table.path)
    pairs = table.pairs or [""] * len(table.sequences)
    rows = zip(table.names, table.sequences, pairs, table.lines, strict=True)
    for name, sequence, pair, line in rows:
        require_known_row(tokenizer, Row(name, sequence, pair, "", line), table.path)
        letters.add(sequence + pair, name)
    letters.warn()
    ids = Inputs(
        tokenizer.encode_batch([a + b for a, b in zip(table.sequences, pairs, strict=True)])
    )
    empty = ids.without_bases(tokenizer.special_ids)
    if empty.all():
        raise DataError(f"{table.path}: no sequence has a base of the vocabulary. Give DNA.")
    if not empty.any():
        return table
    warnings.warn(
        f"{table.path}: {empty.sum():,} of {len(empty):,} sequences have no base and are left out.",
        InputWarning,
        stacklevel=2,
    )
    return table.take(~empty)


def targets(
    task: Task, label: npt.NDArray[Any], spans: npt.NDArray[np.int64] | None
) -> torch.Tensor:
    """Return the target of one row's outputs.

    Parameters
    ----------
    task : Task
    label : ndarray
        Of this row, as in `Labelled`.
    spans : ndarray of int64, shape (tokens, 2), or None
        Start and end of its tokens, for tasks with a label per token or base.

    Returns
    -------
    Tensor
        For multiclass int64 of shape (); for multilabel and regression float32 of shape (outputs,);
        for tokens and bases float32 of shape (tokens, classes), the number of a token's labels in
        each class.

    Raises
    ------
    DataError
        When the numbers of labels and tokens differ.
    """
    if spans is None:
        return torch.as_tensor(
            label, dtype=torch.int64 if task.kind == "multiclass" else torch.float32
        )
    counts = np.zeros((len(spans), len(task.names)), np.float32)
    if task.kind == "bases":
        token_index, base = bases_of(spans)
        label = label[base]
    else:
        token_index = np.flatnonzero(spans[:, 1] > spans[:, 0])
        cut = task.max_length is not None and len(label) >= len(token_index)
        if len(label) != len(token_index) and not cut:
            raise DataError(f"a sequence has {len(token_index)} tokens, its label {len(label)}")
        label = label[: len(token_index)]
    asked = label != IGNORED
    np.add.at(counts, (token_index[asked], label[asked]), 1)
    return torch.from_numpy(counts)


def bases_of(spans: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the token and the base for every base that a token covers, in order.

    >>> [a.tolist() for a in bases_of(np.array([[0, 0], [0, 2], [2, 3], [0, 0]]))]
    [[1, 1, 2], [0, 1, 2]]
    """
    lengths = spans[:, 1] - spans[:, 0]
    token_index = np.repeat(np.arange(len(spans)), lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return token_index, np.arange(len(token_index)) - first + spans[token_index, 0]
