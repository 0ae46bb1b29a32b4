"""The batches of a pre-training run: one global batch a step, and each process' pieces of it.

A step takes the next batch of `TokenBatches`, whatever the number of processes. Its windows are cut
into pieces of about equal tokens, as many for each process, and every token carries its place in
the global batch, from which its mask is drawn. So windows and masks of a step are the same on any
number of processes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import State, TokenBatches
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io.strand import COMPLEMENT
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.pretraining.masking import key_of
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Piece", "Step", "Variation", "ahead", "cut", "step_batches"]

Item = TypeVar("Item")

# Places of a window's tokens begin at its number in the batch times this.
WINDOW_PLACES = 1 << 32


class Piece(NamedTuple):
    """What a process works on at once.

    Attributes
    ----------
    batch : PackedBatch
        Sequences by length, since neighbours of one length are attended to together.
    places : Tensor of int64, shape (total_tokens,)
        Where each token stands in the global batch; -1 in a sequence that only fills an empty
        piece, of which nothing is asked.
    number : int
        Of the piece in the global batch.
    """

    batch: PackedBatch
    places: torch.Tensor
    number: int


class Step(NamedTuple):
    """One global batch, and a process' share of it.

    Attributes
    ----------
    pieces : list of Piece
        As many in every process.
    tokens : int
        Of the global batch as it was drawn.
    squares : int
        Sum of the squares of its windows' lengths.
    state : State
        Where `TokenBatches` goes on.
    """

    pieces: list[Piece]
    tokens: int
    squares: int
    state: State


class Variation:
    """Writes windows in other ways: fewer merges, the other strand, both drawn by seed and place.

    Parameters
    ----------
    corpus : Corpus
        Its tokenizer encodes again.
    bpe_dropout : float
        Share of merges to leave out.
    both_strands : bool
        Take the reverse complement with a probability of one half.
    seed : int

    Raises
    ------
    CorpusError
        When windows hold letters that ids do not tell.
    """

    def __init__(self, corpus: Corpus, bpe_dropout: float, both_strands: bool, seed: int) -> None:
        self._tokenizer: Tokenizer = corpus.tokenizer
        self._dropout, self._strands, self._seed = bpe_dropout, both_strands, seed
        self.needed = bpe_dropout > 0 or both_strands
        if self.needed and corpus.settings["other_letters"] == "keep":
            raise CorpusError(
                f"{corpus.folder}: was built with other_letters=keep, and ids do not tell such "
                "letters, so windows cannot be encoded anew; build it with other_letters=split"
            )

    def __call__(self, windows: Ragged, numbers: npt.NDArray[np.int64], step: int) -> Ragged:
        """Return the windows, which have these numbers in the batch of a step, encoded anew."""
        rows = []
        for ids, number in zip(windows, numbers.tolist(), strict=True):
            key = key_of(self._seed, step, number)
            text = self._tokenizer.decode(ids)
            if self._strands and key & 1:
                text = text.translate(COMPLEMENT)[::-1]
            rows.append(self._tokenizer.encode(text, dropout=self._dropout or None, seed=key >> 1))
        return Ragged.from_list(rows)


def step_batches(
    corpus: Corpus,
    variation: Variation,
    *,
    batch_tokens: int,
    micro_batch_tokens: int,
    seed: int,
    first_step: int = 0,
    state: State | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[Step]:
    """Yield this process' pieces of one global batch after the other, without end.

    Parameters
    ----------
    corpus : Corpus
    variation : Variation
    batch_tokens : int
        Tokens of a global batch, at most.
    micro_batch_tokens : int
        Tokens of a piece, about.
    seed : int
    first_step : int
        Number of the first step to come.
    state : State, optional
        Where to go on.
    rank, ranks : int
        This process among all.
    """
    turns = -(-batch_tokens // (ranks * micro_batch_tokens))
    drawn = TokenBatches(corpus, batch_tokens, seed=seed, state=state)
    for step, batch in enumerate(drawn, start=first_step):
        lengths = batch.ids.lengths
        own = range(rank * turns, (rank + 1) * turns)
        pieces = [
            _piece(batch.ids, numbers, number, variation, step)
            for number, numbers in zip(own, cut(lengths, ranks * turns, own), strict=True)
        ]
        yield Step(pieces, int(lengths.sum()), int((lengths**2).sum()), batch.state)


def cut(
    lengths: npt.NDArray[np.int64], pieces: int, wanted: Sequence[int]
) -> list[npt.NDArray[np.int64]]:
    """Return the numbers of the windows in some of `pieces` consecutive pieces of equal tokens.

    A window lies where its middle lies; a piece may be empty.

    >>> [part.tolist() for part in cut(np.array([4, 4, 2, 2, 2, 2]), 2, range(2))]
    [[0, 1], [2, 3, 4, 5]]
    """
    ends = np.cumsum(lengths)
    home = (2 * ends - lengths) * pieces // (2 * ends[-1])
    return [np.flatnonzero(home == piece) for piece in wanted]


def _piece(
    ids: Ragged,
    numbers: npt.NDArray[np.int64],
    number: int,
    variation: Variation,
    step: int,
) -> Piece:
    filler = not len(numbers)
    if filler:
        numbers = np.zeros(1, np.int64)
    windows = ids.take(numbers)
    if variation.needed and not filler:
        windows = variation(windows, numbers, step)
    order = np.argsort(windows.lengths, kind="stable")
    windows, numbers = windows.take(order), numbers[order]
    lengths = windows.lengths
    places = np.repeat(numbers * WINDOW_PLACES - windows.offsets[:-1], lengths)
    places += np.arange(len(places))
    if filler:
        places[:] = -1
    return Piece(PackedBatch.from_ragged(windows), torch.from_numpy(places), number)


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """Yield the same items, each made on a thread while the one before is worked on.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item
