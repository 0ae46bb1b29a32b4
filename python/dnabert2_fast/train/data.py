"""Batches for training: corpus windows by token budget, and labelled tables."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast.errors import DataError
from dnabert2_fast.ragged import token_batches

__all__ = ["Labelled", "TokenBudget", "read_labelled", "read_splits"]

SPLITS = ("train", "dev", "test")


class TokenBudget:
    """Endless shuffled batches of window indices, each of at most `batch_tokens` tokens.

    The order is a function of seed and epoch; `epoch` and `position` say where it stands, so that
    a stopped run goes on with the very next batch.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Tokens of every window.
    batch_tokens : int
        A longer window makes a batch of its own.
    seed : int
    epoch, position : int
        Where to begin.

    Examples
    --------
    >>> batches = iter(TokenBudget(np.array([3, 3, 3]), batch_tokens=6, seed=0))
    >>> [len(next(batches)) for _ in range(4)]
    [2, 1, 2, 1]
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.int64],
        batch_tokens: int,
        seed: int,
        *,
        epoch: int = 0,
        position: int = 0,
    ) -> None:
        if not len(lengths):
            raise ValueError("there is no window to train on")
        self._lengths, self._batch_tokens, self._seed = lengths, batch_tokens, seed
        self.epoch, self.position = epoch, position

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        while True:
            yield from self.rest_of_epoch()
            self.epoch, self.position = self.epoch + 1, 0

    def rest_of_epoch(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the batches that this epoch still has."""
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._lengths))
        for stretch in token_batches(self._lengths[order], self._batch_tokens, self.position):
            self.position = stretch.stop
            yield order[stretch]


class Labelled(NamedTuple):
    """A labelled table.

    Attributes
    ----------
    sequences : list of str
    labels : ndarray of int64, shape (n,)
        Classes 0, 1, ...
    """

    sequences: list[str]
    labels: npt.NDArray[np.int64]


def read_splits(folder: str | os.PathLike[str]) -> dict[str, Labelled]:
    """Read ``train``, ``dev`` and ``test`` (.csv or .csv.gz) of a folder, as GUE has them.

    Raises
    ------
    DataError
        When one is missing or damaged, or a class of dev or test is not in train.
    """
    folder = Path(folder)
    tables = {}
    for split in SPLITS:
        paths = [folder / f"{split}.csv", folder / f"{split}.csv.gz"]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise DataError(f"{folder}: there is no {split}.csv or {split}.csv.gz in it")
        tables[split] = read_labelled(path)
    classes = set(tables["train"].labels.tolist())
    for split in SPLITS[1:]:
        strange = sorted(set(tables[split].labels.tolist()) - classes)
        if strange:
            raise DataError(f"{folder}: {split} has class {strange[0]}, train has none of it")
    return tables


def read_labelled(path: str | os.PathLike[str]) -> Labelled:
    """Read a CSV (or .csv.gz) with the columns ``sequence`` and ``label``.

    Raises
    ------
    DataError
        When it is cut off, a column is missing, or a label is not 0, 1, 2, ...; names the row.
    """
    path = Path(path)
    sequences, labels = [], []
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as handle:
            rows = csv.DictReader(handle)
            for column in ("sequence", "label"):
                if column not in (rows.fieldnames or []):
                    raise DataError(
                        f'{path}: has no column "{column}"; a header "sequence,label" is expected'
                    )
            for number, row in enumerate(rows, start=2):
                sequence, label = row["sequence"], (row["label"] or "").strip()
                if not sequence or not label.isdecimal():
                    raise DataError(
                        f"{path}: line {number}: a sequence and a label 0, 1, 2, ... are expected, "
                        f"not {sequence!r}, {label!r}"
                    )
                sequences.append(sequence)
                labels.append(int(label))
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: damaged or cut off: {error}") from None
    if not sequences:
        raise DataError(f"{path}: has no rows")
    return Labelled(sequences, np.array(labels, dtype=np.int64))
