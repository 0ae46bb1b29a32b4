"""The batches of a pre-training run: one global batch per step, and each process' micro-batches.

A step uses the next batch of `TokenBatches` for any number of processes. Its windows are divided
into micro-batches of about equal tokens, the same number for each process. Every token has a
position in the global batch, from which its mask is drawn. So windows and masks of a step are the
same on any number of processes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import State, TokenBatches
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.distributed import cut
from dnabert2_fast.pretraining.masking import IGNORED, Masker, key_of
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "Augmentation",
    "BatchLayout",
    "GlobalBatch",
    "MaskedBatch",
    "MicroBatch",
    "global_batches",
    "mask",
    "prefetch",
]

Item = TypeVar("Item")

# The first position of a window's tokens is its number in the batch times this.
WINDOW_POSITIONS = 1 << 32


class MicroBatch(NamedTuple):
    """Sequences that a process computes at once.

    Attributes
    ----------
    batch : PackedBatch
        Sequences by length, since neighbours of one length share an attention call.
    positions : Tensor of int64, shape (total_tokens,)
        Position of each token in the global batch; -1 in a sequence that only fills an empty
        micro-batch, in which no token is predicted.
    number : int
        Number of the micro-batch in the global batch.
    """

    batch: PackedBatch
    positions: torch.Tensor
    number: int


class GlobalBatch(NamedTuple):
    """The batch of one step, and the part of it for one process.

    Attributes
    ----------
    micro_batches : list of MicroBatch
        The same number in every process.
    tokens : int
        Number of tokens of the global batch.
    squares : int
        Sum of the squares of its windows' lengths.
    state : State
        Position at which `TokenBatches` resumes.
    """

    micro_batches: list[MicroBatch]
    tokens: int
    squares: int
    state: State


class MaskedBatch(NamedTuple):
    """A process' part of a global batch, with masks.

    Attributes
    ----------
    inputs : list of PackedBatch
        The micro-batches of `source`, with masked ids.
    labels : list of Tensor of int64
        The token to predict at each position, -100 at the others. They are in main memory, so that
        the model finds the labelled rows without waiting for a GPU.
    counts : list of int
        Number of labels of each micro-batch.
    source : GlobalBatch
    """

    inputs: list[PackedBatch]
    labels: list[torch.Tensor]
    counts: list[int]
    source: GlobalBatch


class BatchLayout(NamedTuple):
    """How a global batch is divided, and the number of this process.

    Attributes
    ----------
    batch_tokens : int
        Maximum tokens of a global batch.
    micro_batch_tokens : int
        Approximate tokens of a micro-batch.
    rank, ranks : int
        Number of this process, and of all processes.
    """

    batch_tokens: int
    micro_batch_tokens: int
    rank: int = 0
    ranks: int = 1

    @property
    def per_rank(self) -> int:
        """Micro-batches of each process.

        >>> BatchLayout(batch_tokens=1000, micro_batch_tokens=300, ranks=2).per_rank
        2
        """
        return -(-self.batch_tokens // (self.ranks * self.micro_batch_tokens))


class Augmentation:
    """Encodes windows again: with fewer merges or as the other strand, drawn by seed and number.

    Parameters
    ----------
    corpus : Corpus
        Its tokenizer encodes the windows.
    bpe_dropout : float
        Fraction of merges to drop.
    both_strands : bool
        Use the reverse complement with a probability of one half.
    seed : int

    Raises
    ------
    CorpusError
        When windows contain characters that cannot be recovered from ids.
    """

    def __init__(self, corpus: Corpus, bpe_dropout: float, both_strands: bool, seed: int) -> None:
        self._tokenizer: Tokenizer = corpus.tokenizer
        self._dropout, self._strands, self._seed = bpe_dropout, both_strands, seed
        self.needed = bpe_dropout > 0 or both_strands
        if self.needed and corpus.settings["other_letters"] == "keep":
            raise CorpusError(
                f"{corpus.folder}: was built with other_letters=keep, so its windows cannot be "
                "encoded again. Build it with other_letters=split."
            )

    def __call__(self, windows: Ragged, numbers: npt.NDArray[np.int64], step: int) -> Ragged:
        """Return the windows, which have these numbers in the batch of a step, encoded again."""
        rows = []
        for ids, number in zip(windows, numbers.tolist(), strict=True):
            key = key_of(self._seed, step, number)
            text = self._tokenizer.decode(ids)
            if self._strands and key & 1:
                text = reverse_complement(text)
            rows.append(self._tokenizer.encode(text, dropout=self._dropout or None, seed=key >> 1))
        return Ragged.from_list(rows)


def global_batches(
    corpus: Corpus,
    augmentation: Augmentation,
    layout: BatchLayout,
    *,
    seed: int,
    first_step: int = 0,
    state: State | None = None,
) -> Iterator[GlobalBatch]:
    """Yield global batches with this process' micro-batches, without end.

    Parameters
    ----------
    corpus : Corpus
    augmentation : Augmentation
    layout : BatchLayout
    seed : int
    first_step : int
        Number of the first step.
    state : State, optional
        Where to resume.
    """
    count = layout.per_rank
    own = range(layout.rank * count, (layout.rank + 1) * count)
    drawn = TokenBatches(corpus, layout.batch_tokens, seed=seed, state=state)
    for step, batch in enumerate(drawn, start=first_step):
        lengths = batch.ids.lengths
        micro_batches = [
            _micro_batch(batch.ids, numbers, number, augmentation, step)
            for number, numbers in zip(own, cut(lengths, layout.ranks * count, own), strict=True)
        ]
        yield GlobalBatch(micro_batches, int(lengths.sum()), int((lengths**2).sum()), batch.state)


def _micro_batch(
    ids: Ragged,
    numbers: npt.NDArray[np.int64],
    number: int,
    augmentation: Augmentation,
    step: int,
) -> MicroBatch:
    filler = not len(numbers)
    if filler:
        numbers = np.zeros(1, np.int64)
    windows = ids.take(numbers)
    if augmentation.needed and not filler:
        windows = augmentation(windows, numbers, step)
    order = np.argsort(windows.lengths, kind="stable")
    windows, numbers = windows.take(order), numbers[order]
    lengths = windows.lengths
    positions = np.repeat(numbers * WINDOW_POSITIONS - windows.offsets[:-1], lengths)
    positions += np.arange(len(positions))
    if filler:
        positions[:] = -1
    return MicroBatch(PackedBatch.from_ragged(windows), torch.from_numpy(positions), number)


def mask(batch: GlobalBatch, masker: Masker, key: int, *, pinned: bool = False) -> MaskedBatch:
    """Return a batch with masks, which depend only on the key and the positions.

    Parameters
    ----------
    batch : GlobalBatch
    masker : Masker
    key : int
        Of the step.
    pinned : bool
        Use page-locked memory, from which a GPU copies while the processor works on.
    """
    found = MaskedBatch([], [], [], batch)
    for packed, positions, _ in batch.micro_batches:
        ids, labels = masker(packed.input_ids, positions, key)
        labels = labels.masked_fill(positions < 0, IGNORED)
        found.counts.append(int((labels != IGNORED).sum()))
        borders = packed.cu_seqlens
        if pinned:
            ids, labels, borders = (part.pin_memory() for part in (ids, labels, borders))
        found.inputs.append(replace(packed, input_ids=ids, cu_seqlens=borders))
        found.labels.append(labels)
    return found


def prefetch(items: Iterator[Item]) -> Generator[Item]:
    """Yield the same items, each made on a thread while the previous one is used.

    >>> list(prefetch(iter("abc")))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item
