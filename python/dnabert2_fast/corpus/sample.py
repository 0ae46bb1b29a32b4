"""Batches of corpora: shuffled, weighted, divided among processes, and resumable.

The order of an epoch is a permutation that is computed, not stored: each position is enciphered by
a few rounds of a Feistel network over a grid about as wide as high (Black and Rogaway, "Ciphers
with arbitrary finite domains", 2002). So billions of windows need no memory, and every
position of every epoch is found in constant time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.checks import check_at_least, check_between
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.ragged import Ragged

__all__ = ["Batch", "Mixture", "State", "TokenBatches", "shuffled"]

Numbers = npt.NDArray[np.int64]

ROUNDS = 4
LOOK_AHEAD = 4096
"""Windows whose order and lengths are worked out together."""


def shuffled(positions: Numbers, n: int, *key: int) -> Numbers:
    """Return the elements at `positions` of a permutation of ``range(n)`` given by `key`.

    >>> sorted(shuffled(np.arange(7), 7, 1, 2).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    wide = math.isqrt(max(n - 1, 0)) + 1
    high = -(-n // wide)
    keys = np.random.SeedSequence(key).generate_state(2 * ROUNDS, np.uint64)
    shuffled_to = positions.astype(np.uint64)
    walking = np.arange(len(shuffled_to))
    while walking.size:  # a position outside the range is enciphered again
        left, right = np.divmod(shuffled_to[walking], np.uint64(high))
        for one, other in zip(keys[::2], keys[1::2], strict=True):
            left = (left + _mix(right ^ one)) % np.uint64(wide)
            right = (right + _mix(left ^ other)) % np.uint64(high)
        shuffled_to[walking] = left * np.uint64(high) + right
        walking = walking[shuffled_to[walking] >= n]
    return shuffled_to.astype(np.int64)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return 32 bits of SplitMix64's mixing, so that a sum does not overflow."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x >> np.uint64(32)


class _Stretch(NamedTuple):
    """Consecutive windows of one weight: the first, their number, and the draws per epoch."""

    first: int
    windows: int
    draws: int


class Mixture:
    r"""Windows of several corpora under continuous numbers, drawn by weight.

    Parameters
    ----------
    corpora : sequence of Corpus
        Encoded with one tokenizer.
    weights : sequence of float, optional
        Each window of a corpus of weight 2 is drawn twice per epoch. Of a corpus of weight 0.5,
        half of the windows are drawn, others in each epoch. Weights of the manifest multiply
        these.

    Raises
    ------
    CorpusError
        When tokenizers differ, or no window can be drawn.
    ValueError
        When weights are negative or infinite, or their number is not that of the corpora.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> tok, folder = Tokenizer.from_pretrained("dnabert2"), tempfile.mkdtemp()
    >>> config, corpora = CorpusConfig(window_bp=40, valid_fraction=0), []
    >>> for name, motif in (("x", "ACGTTGCA"), ("y", "GATTACAT")):
    ...     path = f"{folder}/{name}"
    ...     _ = open(f"{path}.fa", "w").write(f">{name}\n" + motif * 50)
    ...     corpora.append(build_corpus([f"{path}.fa"], path, tok, config))
    >>> both = Mixture(corpora, weights=[1, 2])
    >>> len(both), [len(corpus) for corpus in corpora]
    (30, [10, 10])
    >>> batch = next(iter(TokenBatches(both, batch_tokens=60, seed=1)))
    >>> len(batch.ids.values) <= 60, len(batch.windows) == len(batch.ids)
    (True, True)
    """

    def __init__(self, corpora: Sequence[Corpus], weights: Sequence[float] | None = None) -> None:
        self.corpora = list(corpora)
        weights = [1.0] * len(self.corpora) if weights is None else list(weights)
        if len(weights) != len(self.corpora):
            raise ValueError(
                f"weights: must be one per corpus (got {len(weights)} for {len(self.corpora)})."
            )
        if not all(0 <= weight < math.inf for weight in weights):
            raise ValueError(f"weights: must be finite numbers >= 0 (got {weights}).")
        if len({corpus.fingerprint for corpus in self.corpora}) > 1:
            folders = ", ".join(str(corpus.folder) for corpus in self.corpora)
            raise CorpusError(
                f"{folders}: encoded with different tokenizers. Build them with one tokenizer."
            )
        self._base = np.cumsum([0, *map(len, self.corpora)])
        self._spans = self._joined(weights)
        self._draws = np.cumsum([0, *(span.draws for span in self._spans)])
        if not len(self):
            folders = ", ".join(str(corpus.folder) for corpus in self.corpora)
            raise CorpusError(
                f"{folders or 'no corpus'}: has no windows to draw. Use a corpus that has some."
            )

    def __len__(self) -> int:
        """Return the number of draws per epoch."""
        return int(self._draws[-1])

    def draw(self, positions: Numbers, seed: int, epoch: int) -> Numbers:
        """Return the numbers of the windows at some positions of an epoch.

        Parameters
        ----------
        positions : ndarray of int64, shape (k,)
            Positions in the epoch, from 0 to ``len(self) - 1``.
        seed, epoch : int
            Together they determine the order.

        Returns
        -------
        ndarray of int64, shape (k,)
            Numbers of windows.
        """
        slots = shuffled(positions, len(self), seed, epoch)
        if len(self._spans) == 1 and self._spans[0].draws == self._spans[0].windows:
            return slots + self._spans[0].first
        found = np.searchsorted(self._draws, slots, side="right") - 1
        windows = np.empty_like(slots)
        for number in np.unique(found):
            first, count, _ = self._spans[number]
            here = np.flatnonzero(found == number)
            turn, offset = np.divmod(slots[here] - self._draws[number], count)
            for one in np.unique(turn):
                of_turn = turn == one
                key = (seed, epoch, int(number), int(one))
                windows[here[of_turn]] = first + shuffled(offset[of_turn], count, *key)
        return windows

    def lengths_of(self, windows: Numbers) -> Numbers:
        """Return the number of tokens of the given windows, special ones included.

        Parameters
        ----------
        windows : ndarray of int64, shape (k,)
            Numbers of windows, over all corpora.

        Returns
        -------
        ndarray of int64, shape (k,)
        """
        lengths = np.empty_like(windows)
        for corpus, here, numbers in self._by_corpus(windows):
            lengths[here] = corpus.lengths_of(numbers)
        return lengths

    def gather(self, windows: Numbers) -> Ragged:
        """Return the given windows in the given order.

        Parameters
        ----------
        windows : ndarray of int64, shape (k,)
            Numbers of windows, over all corpora.

        Returns
        -------
        Ragged
            One row per window.
        """
        if len(self.corpora) == 1:
            return self.corpora[0].gather(windows)
        parts, order = [], []
        for corpus, here, numbers in self._by_corpus(windows):
            parts.append(corpus.gather(numbers))
            order.append(here)
        return Ragged.concatenate(parts).take(np.argsort(np.concatenate(order)))

    def _by_corpus(self, windows: Numbers) -> Iterator[tuple[Corpus, Numbers, Numbers]]:
        found = np.searchsorted(self._base, windows, side="right") - 1
        for number in np.unique(found):
            here = np.flatnonzero(found == number)
            yield self.corpora[number], here, windows[here] - self._base[number]

    def _joined(self, weights: Sequence[float]) -> list[_Stretch]:
        """Return spans of one weight; neighbours of the same weight are merged."""
        joined: list[list[float]] = []
        for corpus, weight in zip(self.corpora, weights, strict=True):
            for count, of_species in corpus.weights:
                if joined and joined[-1][1] == weight * of_species:
                    joined[-1][0] += count
                else:
                    joined.append([count, weight * of_species])
        firsts = np.cumsum([0, *(count for count, _ in joined)])
        return [
            _Stretch(int(first), int(count), round(count * weight))
            for first, (count, weight) in zip(firsts, joined, strict=False)
        ]


class State(TypedDict):
    """Position of a run of batches: its epoch, and the next window in it."""

    epoch: int
    position: int


class Batch(NamedTuple):
    """Some windows as one packed batch.

    Attributes
    ----------
    ids : Ragged
        Token ids, special tokens included.
    windows : ndarray of int64
        Their numbers in the corpus or mixture.
    state : State
        Resumes after this batch and those of the other ranks in the same step.
    """

    ids: Ragged
    windows: Numbers
    state: State


class TokenBatches:
    r"""Shuffled batches of at most `batch_tokens` tokens, epoch after epoch.

    The batches depend only on source, `batch_tokens` and `seed`. Ranks take them in turn, so that
    any number of processes draws the same batches. For torch's ``DataLoader``, use
    `dnabert2_fast.corpus.CorpusDataset`.

    Parameters
    ----------
    source : Corpus or Mixture
    batch_tokens : int
        A longer window has its own batch.
    seed : int
    shuffle : bool
        False keeps the order of the windows.
    epochs : int, optional
        Number of epochs; unlimited by default.
    rank, ranks : int
        This process takes every `ranks`-th batch. All ranks get the same number; the last batches
        are left out if they are fewer than `ranks`.
    state : State, optional
        Where to resume: `Batch.state` of the last batch.

    Raises
    ------
    CorpusError
        When no window can be drawn.
    ValueError
        When `batch_tokens` is less than 1, or `rank` is not one of `ranks`.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = tempfile.mkdtemp()
    >>> _ = open(f"{folder}/x.fa", "w").write(">a\n" + "ACGTTGCA" * 50 + "\n")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = build_corpus([f"{folder}/x.fa"], f"{folder}/c", tok, CorpusConfig(window_bp=40))
    >>> batches = TokenBatches(corpus, batch_tokens=60, seed=1, epochs=1)
    >>> sum(len(batch.ids) for batch in batches) == len(corpus)
    True
    """

    def __init__(
        self,
        source: Corpus | Mixture,
        batch_tokens: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        epochs: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        state: State | None = None,
    ) -> None:
        check_at_least("ranks", ranks, 1)
        check_between("rank", rank, 0, ranks - 1)
        check_at_least("batch_tokens", batch_tokens, 1)
        self.source = source if isinstance(source, Mixture) else Mixture([source])
        self.batch_tokens, self.seed, self.shuffle, self.epochs = (
            batch_tokens,
            seed,
            shuffle,
            epochs,
        )
        self.rank, self.ranks = rank, ranks
        self.state: State = state or {"epoch": 0, "position": 0}

    def __iter__(self) -> Iterator[Batch]:
        return self.of_worker(0, 1)

    def of_worker(self, worker: int, workers: int) -> Iterator[Batch]:
        """Yield the batches of one of several workers; the others are not read.

        Workers 0, 1, ... in turn yield the batches of iterating over this object.

        Parameters
        ----------
        worker : int
            Number of this worker, from 0.
        workers : int
            Number of workers.

        Yields
        ------
        Batch
        """
        mine = np.empty(0, np.int64)
        for number, (windows, state) in enumerate(self._all()):
            step, rank = divmod(number, self.ranks)
            if step % workers != worker:
                continue
            if rank == self.rank:
                mine = windows
            if rank == self.ranks - 1:
                yield Batch(self.source.gather(mine), mine, state)

    def _all(self) -> Iterator[tuple[Numbers, State]]:
        """Yield the windows of every batch, and the start of the next one."""
        epoch, start = self.state["epoch"], self.state["position"]
        n, look = len(self.source), LOOK_AHEAD
        while self.epochs is None or epoch < self.epochs:
            while start < n:
                stop = min(n, start + look)
                windows = np.arange(start, stop)
                if self.shuffle:
                    windows = self.source.draw(windows, self.seed, epoch)
                ends = np.cumsum(self.source.lengths_of(windows))
                at = 0
                while start + at < n:
                    used = ends[at - 1] if at else 0
                    end = max(at + 1, np.searchsorted(ends, used + self.batch_tokens, side="right"))
                    if end >= len(ends) and stop < n:
                        break  # the batch may continue beyond the windows read
                    position = start + int(end)
                    last = position == n
                    yield (
                        windows[at:end],
                        {
                            "epoch": epoch + last,
                            "position": 0 if last else position,
                        },
                    )
                    at = int(end)
                look = look if at else 2 * look
                start += at
            epoch, start = epoch + 1, 0
