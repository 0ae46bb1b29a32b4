"""Data for training: packed batches of a corpus, and labelled tables."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset, get_worker_info

from dnabert2_fast.corpus import Batch, Corpus, Mixture, TokenBatches
from dnabert2_fast.errors import DataError

__all__ = ["CorpusDataset", "Labelled", "read_labelled", "read_splits"]

SPLITS = ("train", "dev", "test")


class CorpusDataset(IterableDataset[Batch]):
    r"""Packed batches of a corpus for torch's ``DataLoader(dataset, batch_size=None)``.

    Its workers share a rank's batches out among them, and the loader takes one of each in turn: the
    batches and their order are those of `TokenBatches`, whatever the number of workers.

    Parameters
    ----------
    source : Corpus or Mixture
    batch_tokens : int
    **options
        Those of `TokenBatches`, but for `worker` and `workers`.

    Examples
    --------
    >>> import tempfile
    >>> from torch.utils.data import DataLoader
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> folder = tempfile.mkdtemp()
    >>> _ = open(f"{folder}/x.fa", "w").write(">a\n" + "ACGTTGCA" * 50 + "\n")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = build_corpus([f"{folder}/x.fa"], f"{folder}/c", tok, window_bp=40)
    >>> loader = DataLoader(CorpusDataset(corpus, 60, epochs=1), batch_size=None, num_workers=0)
    >>> sum(len(batch.windows) for batch in loader)
    10
    """

    def __init__(self, source: Corpus | Mixture, batch_tokens: int, **options: Any) -> None:
        self._make = partial(TokenBatches, source, batch_tokens, **options)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return iter(self._make())
        return iter(self._make(worker=worker.id, workers=worker.num_workers))


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
