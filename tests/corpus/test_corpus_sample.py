"""Batches hold every window once, in an order that only seed and epoch determine."""

import multiprocessing
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
from helpers.processes import TIMEOUT_S
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert2_fast import Corpus, Mixture, TokenBatches, Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusConfig, sample
from dnabert2_fast.corpus.sample import shuffled
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io import SourceFile
from dnabert2_fast.io.manifest import read_manifest

tok = Tokenizer.from_pretrained("dnabert2")


def random_fasta(path, seed, bases):
    letters = "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))
    path.write_text(f">r{seed}\n{letters}\n")
    return path


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Three species of weights 1, 2 and 0.5 in one corpus of many shards, and one more corpus."""
    folder = tmp_path_factory.mktemp("corpora")
    inputs = [
        SourceFile(random_fasta(folder / f"{i}.fa", i, 9_000 + 1_000 * i), f"s{i}", weight=weight)
        for i, weight in enumerate((1.0, 2.0, 0.5))
    ]
    options = {"window_bp": 90, "min_window_bp": 30, "valid_fraction": 0, "shard_tokens": 700}
    first = build_corpus(inputs, folder / "a", tok, CorpusConfig(**options))
    plain = [random_fasta(folder / "p.fa", 7, 8_000)]
    return first, build_corpus(plain, folder / "b", tok, CorpusConfig(**options))


@given(st.integers(1, 5_000), st.integers(0, 2**64 - 1), st.integers(0, 99))
def test_a_shuffle_is_a_permutation(n, seed, epoch):
    order = shuffled(np.arange(n), n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    some = np.random.default_rng(0).integers(0, n, 20)
    assert shuffled(some, n, seed, epoch).tolist() == order[some].tolist()


def test_shuffles_look_like_chance():
    n = 10_007
    first, second = (shuffled(np.arange(n), n, 5, epoch) for epoch in (0, 1))
    positions = np.arange(n)
    for order in (first, second, first[np.argsort(second)]):
        assert abs(np.corrcoef(positions, order)[0, 1]) < 0.04
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.04
        # Steps from one to the next: none more often than chance allows, no order left.
        _, counts = np.unique(np.diff(order) % n, return_counts=True)
        assert counts.max() < 12
        halves = np.histogram2d(positions, order, bins=20)[0]
        assert (
            (halves - n / 400) ** 2 / (n / 400)
        ).sum() < 500  # 400 cells, 361 degrees of freedom


def test_billions_of_windows_take_no_memory():
    n = 3 * 10**9 + 1
    some = np.arange(10**9, 10**9 + 1000)
    found = shuffled(some, n, 1, 2)
    assert len(set(found.tolist())) == 1000
    assert 0 <= found.min() < n / 100
    assert n * 0.99 < found.max() < n


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(0, 3), st.booleans())
def test_an_epoch_has_every_window_once_within_the_budget(corpora, batch_tokens, seed, shuffle):
    corpus = corpora[1]
    batches = list(TokenBatches(corpus, batch_tokens, seed=seed, shuffle=shuffle, epochs=1))
    drawn = np.concatenate([batch.windows for batch in batches])
    assert sorted(drawn.tolist()) == list(range(len(corpus)))
    assert (drawn.tolist() == sorted(drawn.tolist())) != shuffle
    for batch in batches:
        assert batch.ids.to_list() == corpus.gather(batch.windows).to_list()
        assert len(batch.ids.values) <= batch_tokens or len(batch.windows) == 1
    # No batch could have taken the first window of the next one.
    for batch, following in pairwise(batches):
        assert len(batch.ids.values) + following.ids.lengths[0] > batch_tokens


@pytest.mark.parametrize("look_ahead", [1, 7, 4096])
def test_how_far_one_looks_ahead_changes_nothing(corpora, monkeypatch, look_ahead):
    def windows():
        return [b.windows.tolist() for b in TokenBatches(corpora[0], 300, seed=3, epochs=2)]

    want = windows()
    monkeypatch.setattr(sample, "LOOK_AHEAD", look_ahead)
    assert windows() == want


@pytest.fixture(scope="module")
def drawn_alone(corpora):
    return [b.windows.tolist() for b in islice(TokenBatches(corpora[0], 400, seed=1), 270)]


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 30))
def test_ranks_and_workers_share_the_same_batches_and_go_on(
    corpora, drawn_alone, ranks, workers, stop
):
    def batches(rank, worker):
        return TokenBatches(corpora[0], 400, seed=1, rank=rank, ranks=ranks).of_worker(
            worker, workers
        )

    steps = 3 * workers
    one = drawn_alone[: 90 * ranks]
    for rank in range(ranks):
        drawn = [islice(batches(rank, worker), steps) for worker in range(workers)]
        # The loader takes one of each worker in turn.
        mine = [b.windows.tolist() for turn in zip(*drawn, strict=True) for b in turn]
        assert mine == one[rank::ranks][: len(mine)]
    alone = list(islice(TokenBatches(corpora[0], 400, seed=1, rank=ranks - 1, ranks=ranks), 40))
    state = alone[stop].state
    for fewer in {1, ranks}:  # on another number of processes too
        resumed = TokenBatches(corpora[0], 400, seed=1, ranks=fewer, state=state)
        following = one[(stop + 1) * ranks :][::fewer]
        got = [b.windows.tolist() for b in islice(resumed, 9)]
        assert got == following[:9]


def test_weights_say_how_often_a_species_is_drawn(corpora):
    corpus, more = corpora
    mixture = Mixture([corpus, more], [1.0, 3.0])
    counts = [count for count, _ in corpus.weights]
    weights = np.repeat([w for _, w in corpus.weights], counts)
    assert {1.0, 2.0, 0.5} == set(weights.tolist())
    draws = np.zeros(len(corpus) + len(more), int)
    halves = []
    for epoch in range(2):
        windows = mixture.draw(np.arange(len(mixture)), 0, epoch)
        drawn = np.bincount(windows, minlength=len(draws))
        assert (drawn[: len(corpus)][weights == 1] == 1).all()
        assert (drawn[: len(corpus)][weights == 2] == 2).all()
        assert (drawn[len(corpus) :] == 3).all()
        halves.append(np.flatnonzero(drawn[: len(corpus)] * (weights == 0.5)))
        assert abs(len(halves[-1]) - (weights == 0.5).sum() / 2) <= 1
        assert drawn.max() <= 3
    assert halves[0].tolist() != halves[1].tolist()
    some = np.array([0, len(corpus), 5, len(corpus) + 1, 3])
    rows = mixture.gather(some).to_list()
    assert rows[1] == more.gather([0]).to_list()[0]
    assert rows[4] == corpus.gather([3]).to_list()[0]
    assert mixture.lengths_of(some).tolist() == [len(row) for row in rows]


def test_weights_need_no_species(tmp_path):
    """A manifest may have a weight for each file and no species."""
    rows = ["path,weight"]
    for i, weight in enumerate((1, 3, 3)):
        random_fasta(tmp_path / f"{i}.fa", i, 3_000)
        rows.append(f"{i}.fa,{weight}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    inputs = read_manifest(tmp_path / "m.csv")
    corpus = build_corpus(
        inputs, tmp_path / "c", tok, CorpusConfig(window_bp=100, valid_fraction=0)
    )
    assert corpus.weights == [(30, 1.0), (60, 3.0)]
    mixture = Mixture([corpus])
    drawn = mixture.draw(np.arange(len(mixture)), 0, 0)
    files = Counter(corpus.where(i).file for i in drawn.tolist())
    assert files == {"0.fa": 30, "1.fa": 90, "2.fa": 90}


def test_bad_mixtures(corpora, tmp_path):
    corpus, more = corpora
    with pytest.raises(ValueError, match=r"weights: must be one per corpus \(got 1 for 2\)"):
        Mixture([corpus, more], [1.0])
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        Mixture([corpus], [-1.0])
    with pytest.raises(CorpusError, match="no windows to draw"):
        Mixture([corpus], [0.0])
    with pytest.raises(CorpusError, match="no windows to draw"):
        TokenBatches(Corpus.open(corpus.folder, "valid"), 100)
    random_fasta(tmp_path / "x.fa", 1, 5000)
    other = Tokenizer.train([tmp_path / "x.fa"], vocab_size=30)
    third = build_corpus([tmp_path / "x.fa"], tmp_path / "c", other)
    with pytest.raises(CorpusError, match="different tokenizers"):
        Mixture([corpus, third])
    for wrong in ({"rank": 1}, {"rank": -1}, {"batch_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TokenBatches(corpus, **{"batch_tokens": 10, **wrong})


def first_windows(corpus, queue):
    queue.put([b.windows.tolist() for b in islice(TokenBatches(corpus, 300, seed=2), 5)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_draw_the_same(corpora, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    corpora[0].gather([0])  # mapped before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=first_windows, args=(corpora[0], queue))
    process.start()
    want = [b.windows.tolist() for b in islice(TokenBatches(corpora[0], 300, seed=2), 5)]
    assert queue.get(timeout=TIMEOUT_S) == want
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.full)]
)
def test_loaders_of_torch(corpora, method):
    """A server with torch, or a fresh process, gets its data set pickled."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    data = pytest.importorskip("torch.utils.data")
    from dnabert2_fast.corpus.dataset import CorpusDataset

    def windows(workers):
        dataset = CorpusDataset(corpora[0], 300, seed=4, rank=1, ranks=2)
        context = method if workers else None
        loader = data.DataLoader(
            dataset, batch_size=None, num_workers=workers, multiprocessing_context=context
        )
        return [batch.windows.tolist() for batch in islice(loader, 12)]

    assert windows(0) == windows(2)
    with pytest.raises(ValueError, match="batch_size: must be None for a CorpusDataset"):
        next(iter(data.DataLoader(CorpusDataset(corpora[0], 300, epochs=1))))
