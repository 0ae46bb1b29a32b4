"""Drawing from corpora of given lengths and weights, against plain loops."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Mixture, Ragged, TokenBatches
from dnabert2_fast.corpus import sample
from dnabert2_fast.corpus.sample import shuffled
from dnabert2_fast.errors import CorpusError


class Made:
    """Stands in for a corpus: window i has ``lengths[i]`` tokens, each i + `first`."""

    def __init__(self, lengths, weights=None, first=0, fingerprint="x"):
        self.lengths, self.first = np.array(lengths, np.int64), first
        self.weights = weights or [(len(lengths), 1.0)]
        self.fingerprint, self.folder = fingerprint, f"folder-{first}"

    def __len__(self):
        return len(self.lengths)

    def lengths_of(self, windows):
        return self.lengths[windows]

    def gather(self, windows):
        return Ragged.from_list([[self.first + i] * self.lengths[i] for i in windows.tolist()])


def test_orders_are_the_same_for_ever():
    """A run that resumes after an update of the library draws the same windows."""
    assert shuffled(np.arange(12), 12, 5, 0).tolist() == [0, 1, 2, 11, 6, 5, 10, 9, 4, 7, 8, 3]
    far = shuffled(np.arange(10**12, 10**12 + 3), 3 * 10**12, 7)
    assert far.tolist() == [1727175841402, 1818436159677, 2950234657679]
    assert far.dtype == np.int64
    few = [shuffled(np.arange(n), n, 1).tolist() for n in range(6)]
    assert few == [[], [0], [1, 0], [1, 0, 2], [1, 3, 2, 0], [2, 3, 1, 0, 4]]
    assert shuffled(np.array([4, 4, 0]), 5, 1).tolist() == [4, 4, 2]


def drawn(mixture, seed, epoch):
    return mixture.draw(np.arange(len(mixture)), seed, epoch).tolist()


def test_draws_of_equal_weights_are_one_shuffle():
    mixture = Mixture([Made([3] * 4), Made([3] * 5, first=100)])
    assert len(mixture) == 9
    assert drawn(mixture, 2, 1) == shuffled(np.arange(9), 9, 2, 1).tolist()
    assert drawn(mixture, 2, 2) == shuffled(np.arange(9), 9, 2, 2).tolist()
    assert drawn(mixture, 3, 1) == shuffled(np.arange(9), 9, 3, 1).tolist()


@pytest.mark.parametrize("weights", [[1.0, 2.0], [0.5, 1.0], [2.5, 0.0], [3.0, 3.0]])
def test_draws_by_weight(weights):
    """Whole turns take every window; of a part of a turn another part in each epoch."""
    corpora = [Made([1] * 8), Made([1] * 6, [(2, 1.0), (4, 2.0)], first=8)]
    mixture = Mixture(corpora, weights)
    of_window = [weights[0]] * 8 + [weights[1]] * 2 + [weights[1] * 2] * 4
    counts = [8, 2, 4]
    assert len(mixture) == sum(
        round(count * weight)
        for count, weight in zip(counts, [weights[0], weights[1], 2 * weights[1]], strict=True)
    )
    epochs = [Counter(drawn(mixture, 1, epoch)) for epoch in range(6)]
    for found in epochs:
        for window, weight in enumerate(of_window):
            assert math.floor(weight) <= found[window] <= math.ceil(weight), window
    for window, weight in enumerate(of_window):
        assert any(found[window] == math.ceil(weight) for found in epochs), window
    whole = drawn(mixture, 1, 0)
    for position in (0, len(whole) - 1):
        assert mixture.draw(np.array([position, 0]), 1, 0).tolist() == [whole[position], whole[0]]


def test_a_heavier_species_as_by_hand():
    mixture = Mixture([Made([1] * 5, [(2, 1.0), (3, 2.0)])])
    slots = shuffled(np.arange(8), 8, 4, 0)
    wanted = []
    for slot in slots.tolist():
        number, turn, place, first = (0, 0, slot, 0) if slot < 2 else (1, *divmod(slot - 2, 3), 2)
        order = shuffled(np.array([place]), 3 if number else 2, 4, 0, number, turn)
        wanted.append(first + int(order[0]))
    assert drawn(mixture, 4, 0) == wanted


def test_lengths_and_windows_of_several_corpora():
    mixture = Mixture([Made([1, 2]), Made([3, 4, 5], first=10), Made([6], first=20)])
    some = np.array([5, 0, 4, 2, 1, 2])
    assert mixture.lengths_of(some).tolist() == [6, 1, 5, 3, 2, 3]
    assert mixture.lengths_of(some).dtype == np.int64
    rows = mixture.gather(some).to_list()
    assert rows == [[20] * 6, [0], [12] * 5, [10] * 3, [1] * 2, [10] * 3]
    (alone,) = Mixture([Made([1, 2])]).gather(np.array([1])).to_list()
    assert alone == [1, 1]


def test_mixtures_that_cannot_be_drawn_from():
    one, other = Made([1]), Made([1], first=5)
    with pytest.raises(ValueError, match=r"^weights: must be one per corpus \(got 1 for 2\)\.$"):
        Mixture([one, other], [1.0])
    for weight in (-0.1, math.inf, math.nan):
        with pytest.raises(
            ValueError, match=r"^weights: must be finite numbers >= 0 \(got \[.*\]\)\.$"
        ):
            Mixture([one, other], [1.0, weight])
    assert len(Mixture([one, other], [1.0, 0.0])) == 1
    different = Made([1], first=9, fingerprint="y")
    with pytest.raises(CorpusError, match=r"^folder-0, folder-9: encoded with different"):
        Mixture([one, different])
    for corpora, weights, name in (
        ([], None, "no corpus"),
        ([Made([])], None, "folder-0"),
        ([one, other], [0, 0], "folder-0, folder-5"),
    ):
        with pytest.raises(CorpusError, match=f"^{name}: has no windows to draw"):
            Mixture(corpora, weights)


def plain(lengths, order, batch_tokens):
    """Batches of an epoch, and the position behind each."""
    batches = []
    for position, window in enumerate(order):
        if batches and sum(lengths[i] for i in batches[-1][0]) + lengths[window] <= batch_tokens:
            batches[-1][0].append(window)
        else:
            batches.append([[window], 0])
        batches[-1][1] = position + 1
    return batches


lengths_of_windows = st.lists(st.integers(1, 9), min_size=1, max_size=40)


@given(lengths_of_windows, st.integers(1, 30), st.sampled_from([1, 2, 5, 4096]), st.booleans())
def test_batches_are_those_of_a_plain_loop(lengths, batch_tokens, look_ahead, shuffle):
    source, n = Made(lengths), len(lengths)
    wanted = []
    for epoch in range(2):
        order = shuffled(np.arange(n), n, 3, epoch).tolist() if shuffle else list(range(n))
        for windows, position in plain(lengths, order, batch_tokens):
            last = position == n
            state = {"epoch": epoch + last, "position": 0 if last else position}
            wanted.append((windows, state))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "LOOK_AHEAD", look_ahead)
        batches = TokenBatches(source, batch_tokens, seed=3, shuffle=shuffle, epochs=2)
        assert [(b.windows.tolist(), b.state) for b in batches] == wanted
        for state in (wanted[0][1], wanted[-1][1]):
            resumed = TokenBatches(
                source, batch_tokens, seed=3, shuffle=shuffle, epochs=2, state=state
            )
            following = wanted[[s for _, s in wanted].index(state) + 1 :]
            assert [(b.windows.tolist(), b.state) for b in resumed] == following
    for batch, (windows, _) in zip(batches, wanted, strict=True):
        assert batch.ids.to_list() == [[i] * lengths[i] for i in windows]
        assert {type(value) for value in batch.state.values()} == {int}


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_ranks_take_turns_and_get_as_many(ranks, workers):
    source = Made([5] * 11)
    alone = [batch.windows.tolist() for batch in TokenBatches(source, 10, seed=1, epochs=2)]
    steps = len(alone) // ranks
    for rank in range(ranks):
        batches = TokenBatches(source, 10, seed=1, epochs=2, rank=rank, ranks=ranks)
        wanted = alone[rank : steps * ranks : ranks]
        found = list(batches)
        assert [batch.windows.tolist() for batch in found] == wanted
        for worker in range(workers):
            mine = batches.of_worker(worker, workers)
            assert [b.windows.tolist() for b in mine] == wanted[worker::workers]
        last = TokenBatches(source, 10, seed=1, epochs=2, rank=ranks - 1, ranks=ranks)
        assert [b.state for b in found] == [b.state for b in last]


def test_epochs_without_end_and_settings_that_are_left_out():
    source = Made([5] * 3)
    endless = TokenBatches(source, 100)
    assert (endless.seed, endless.shuffle, endless.epochs) == (0, True, None)
    assert (endless.rank, endless.ranks) == (0, 1)
    assert endless.state == {"epoch": 0, "position": 0}
    assert endless.batch_tokens == 100
    states = [batch.state["epoch"] for batch in islice(endless, 5)]
    assert states == [1, 2, 3, 4, 5]
    mixture = Mixture([source])
    assert TokenBatches(mixture, 1).source is mixture
    assert list(TokenBatches(source, 100, epochs=0)) == []
    for rank, ranks in ((1, 1), (-1, 1), (3, 2)):
        with pytest.raises(ValueError, match=rf"^rank: must be between 0 and {ranks - 1} "):
            TokenBatches(source, 1, rank=rank, ranks=ranks)
    with pytest.raises(ValueError, match=r"^batch_tokens: must be at least 1 \(got 0\)"):
        TokenBatches(source, 0)
