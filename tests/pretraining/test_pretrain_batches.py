"""Masks, the micro-batches of a global batch, and windows encoded again."""

import math
import threading
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.dna import reverse_complement
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import TokenBatches, Tokenizer, build_corpus
from dnabert2_fast.cli.demo import GENOME
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.model.distributed import cut
from dnabert2_fast.pretraining.masking import IGNORED, Masker, key_of
from dnabert2_fast.pretraining.microbatch import (
    WINDOW_POSITIONS,
    Augmentation,
    BatchLayout,
    global_batches,
    mask,
    prefetch,
)

tok = Tokenizer.from_pretrained("dnabert2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    vocabulary = Tokenizer.train([GENOME], 256)
    return build_corpus(
        [GENOME], folder / "c", vocabulary, CorpusConfig(window_bp=300, min_window_bp=40)
    )


def same(corpus):
    return Augmentation(corpus, 0.0, False, seed=0)


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_masks_are_in_berts_proportions(rate):
    ids = torch.randint(0, tok.vocab_size, (200_000,), generator=torch.Generator().manual_seed(1))
    ids[::50] = tok.cls_id
    positions = torch.arange(len(ids))
    inputs, labels = Masker(tok, rate)(ids, positions, key_of(2))
    chosen = labels != IGNORED
    special = torch.isin(ids, torch.tensor(sorted(tok.special_ids)))
    assert not (chosen & special).any()
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])
    share = chosen.sum() / (~special).sum()
    masked = (inputs[chosen] == tok.mask_id).float().mean()
    same = (inputs[chosen] == ids[chosen]).float().mean()
    assert abs(share - rate) < 0.005
    assert abs(masked - 0.8) < 0.01
    assert abs(same - 0.1) < 0.01
    drawn = inputs[chosen & (inputs != ids) & (inputs != tok.mask_id)]
    assert not torch.isin(drawn, torch.tensor(sorted(tok.special_ids))).any()
    assert drawn.unique().numel() > 1500  # from the whole vocabulary
    # Each token by itself: neighbours are chosen together as often as chance has it.
    ordinary = ~special[1:] & ~special[:-1]
    both = (chosen[1:] & chosen[:-1])[ordinary].float().mean()
    assert abs(both - rate**2) < 0.003


def test_masks_are_a_function_of_key_and_position():
    ids = torch.randint(5, tok.vocab_size, (5_000,), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(len(ids)) * WINDOW_POSITIONS // 7
    masker = Masker(tok)
    whole = masker(ids, positions, key_of(3, 4))
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(5))
    parts = [masker(ids[some], positions[some], key_of(3, 4)) for some in order.split(700)]
    for number in range(2):
        assert torch.equal(torch.cat([part[number] for part in parts]), whole[number][order])
    other = masker(ids, positions, key_of(3, 5))[1]
    overlap = ((other != IGNORED) & (whole[1] != IGNORED)).float().mean()
    assert overlap < 0.15**2 + 0.01


def test_masks_are_splitmix64():
    """The same draws with Python's unbounded integers."""

    def bits(position, key, draw):
        x = ((position * 3 + draw) * 0x9E3779B97F4A7C15 + key) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    ids, key = torch.arange(5, 905), key_of(1)
    positions = torch.arange(900) + 3 * WINDOW_POSITIONS
    inputs, labels = Masker(tok)(ids, positions, key)
    ordinary = sorted(set(range(tok.vocab_size)) - tok.special_ids)
    columns = [column.tolist() for column in (positions, ids, inputs, labels)]
    for position, token, input_id, label in zip(*columns, strict=True):
        expected, wanted = token, IGNORED
        if (bits(position, key, 0) >> 40) / 2**24 < np.float32(0.15):
            wanted, fate = token, (bits(position, key, 1) >> 40) / 2**24
            if fate < 0.8:
                expected = tok.mask_id
            elif fate >= 0.9:
                expected = ordinary[(bits(position, key, 2) >> 16) % 2**47 % len(ordinary)]
        assert (input_id, label) == (expected, wanted)


def test_masker_needs_a_rate_and_a_mask():
    for rate in (0, -0.1, 1.01, float("nan")):
        with pytest.raises(
            ValueError, match=rf"^mask_rate: must be between 0 and 1, but not 0 \(got {rate}\)"
        ):
            Masker(tok, rate)
    assert Masker(tok, 1).rate == 1
    with pytest.raises(ValueError, match=r"^tokenizer: has no \[MASK\]"):
        Masker(SimpleNamespace(mask_id=None))


def test_keys():
    """They decide about masks of stopped runs too, and stay the same for ever."""
    assert key_of(0) == 7896617691693857887
    assert len({key_of(3, 4), key_of(4, 3), key_of(3), key_of(4)}) == 4
    assert all(0 <= key_of(number) < 1 << 63 for number in range(100))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 9))
def test_a_window_lies_in_the_part_of_its_middle(lengths, parts):
    total, start, homes = sum(lengths), 0, []
    for length in lengths:
        homes.append(math.floor(Fraction(2 * start + length, 2) / Fraction(total, parts)))
        start += length
    for wanted in (range(parts), range(parts - 1, parts)):
        found = cut(np.array(lengths), parts, wanted)
        assert [part.tolist() for part in found] == [
            [i for i, home in enumerate(homes) if home == part] for part in wanted
        ]


def test_cut_is_even_and_whole():
    rng = np.random.default_rng(0)
    for number in (1, 2, 5, 40):
        lengths = rng.integers(1, 90, 30)
        parts = cut(lengths, number, range(number))
        assert np.concatenate(parts).tolist() == list(range(30))
        tokens = [lengths[part].sum() for part in parts]
        assert max(tokens) <= lengths.sum() / number + lengths.max()
    assert [len(p) for p in cut(np.array([5]), 3, range(3))] == [0, 1, 0]


@pytest.mark.parametrize(("ranks", "micro"), [(1, 4000), (1, 300), (2, 500), (3, 200), (5, 4000)])
def test_a_step_has_the_same_windows_and_positions_on_any_ranks(corpus, ranks, micro):
    """Against the batches of the corpus, token by token."""
    shares = [
        global_batches(corpus, same(corpus), BatchLayout(1000, micro, rank, ranks), seed=9)
        for rank in range(ranks)
    ]
    for expected, steps in zip(TokenBatches(corpus, 1000, seed=9), zip(*shares), strict=False):  # noqa: B905
        micro_batches = [micro_batch for step in steps for micro_batch in step.micro_batches]
        assert [one.number for one in micro_batches] == list(range(len(micro_batches)))
        assert len({len(step.micro_batches) for step in steps}) == 1
        found = {}
        for micro_batch in micro_batches:
            lengths = micro_batch.batch.lengths
            assert (np.diff(lengths) >= 0).all()
            assert int(micro_batch.batch.cu_seqlens[-1]) == len(micro_batch.positions)
            ids = micro_batch.batch.input_ids
            for position, token in zip(micro_batch.positions, ids, strict=True):
                if position >= 0:
                    found[divmod(int(position), WINDOW_POSITIONS)] = int(token)
        wanted = {
            (window, position): int(token)
            for window, ids in enumerate(expected.ids)
            for position, token in enumerate(ids)
        }
        assert found == wanted
        assert {step.tokens for step in steps} == {len(wanted)}
        assert {step.squares for step in steps} == {int((expected.ids.lengths**2).sum())}
        if expected.state["epoch"] or expected.state["position"] > 200:
            break


def test_windows_encoded_anew(corpus):
    tokenizer, windows = corpus.tokenizer, corpus.gather(range(400))
    numbers = np.arange(400)
    texts = [tokenizer.decode(ids) for ids in windows]
    swapped = dict(zip("ACGT", "TGCA", strict=True))
    others = ["".join(swapped[base] for base in reversed(text)) for text in texts]

    turned = Augmentation(corpus, 0.0, True, seed=1)(windows, numbers, step=5)
    forward = backward = 0
    for ids, text, other in zip(turned, texts, others, strict=True):
        if tokenizer.decode(ids) == text:
            assert ids.tolist() == tokenizer.encode(text).tolist()
            forward += 1
        else:
            assert ids.tolist() == tokenizer.encode(other).tolist()
            backward += 1
    assert min(forward, backward) > 150

    dropped = Augmentation(corpus, 0.1, False, seed=1)
    once = dropped(windows, numbers, step=5)
    assert [tokenizer.decode(ids) for ids in once] == texts
    assert len(once.values) > 1.02 * len(windows.values)
    # By seed, step and number, in whatever company.
    some = dropped(windows.take([7, 3]), np.array([7, 3]), step=5)
    assert some.to_list() == [once[7].tolist(), once[3].tolist()]
    assert dropped(windows, numbers, step=6).to_list() != once.to_list()


def test_what_is_encoded_anew_is_drawn_by_seed_step_and_number(corpus):
    tokenizer, windows = corpus.tokenizer, corpus.gather(range(40))
    both = Augmentation(corpus, 0.2, True, seed=7)
    rows = both(windows, np.arange(100, 140), step=3)
    for number, (ids, row) in enumerate(zip(windows, rows, strict=True), 100):
        key, text = key_of(7, 3, number), tokenizer.decode(ids)
        text = reverse_complement(text) if key % 2 else text
        want = tokenizer.encode(text, dropout=0.2, seed=key // 2)
        assert row.tolist() == want.tolist()


@pytest.mark.parametrize(("dropout", "strands"), [(0.0, True), (0.1, False), (0.1, True)])
def test_a_resumed_run_has_the_same_batches(corpus, dropout, strands):
    assert not same(corpus).needed
    augmentation = Augmentation(corpus, dropout, strands, seed=7)
    assert augmentation.needed
    layout = BatchLayout(1500, 400, 1, 2)
    whole = list(islice(global_batches(corpus, augmentation, layout, seed=2), 5))
    resumed = global_batches(
        corpus, augmentation, layout, seed=2, first_step=2, state=whole[1].state
    )
    for want, got in zip(whole[2:], resumed, strict=False):
        assert got[1:] == want[1:]
        assert [type(got.tokens), type(got.squares)] == [int, int]
        for one, other in zip(want.micro_batches, got.micro_batches, strict=True):
            assert other.number == one.number
            assert torch.equal(one.positions, other.positions)
            assert torch.equal(one.batch.input_ids, other.batch.input_ids)
    # The texts of the tokens are those of the windows that were drawn, or their other strand.
    drawn = next(iter(TokenBatches(corpus, 1500, seed=2))).ids
    decode = corpus.tokenizer.decode
    for one in whole[0].micro_batches:
        starts, ends = one.batch.cu_seqlens[:-1].tolist(), one.batch.cu_seqlens[1:].tolist()
        for start, end in zip(starts, ends, strict=True):
            text = decode(drawn[int(one.positions[start]) // WINDOW_POSITIONS])
            ways = (text, reverse_complement(text)) if strands else (text,)
            assert decode(one.batch.input_ids[start:end].numpy()) in ways


def test_an_empty_micro_batch_is_filled_with_what_is_not_predicted(corpus):
    """One window for three processes: two get its tokens as they are, without positions."""
    augmentation = Augmentation(corpus, 0.5, True, seed=7)
    shares = [
        next(global_batches(corpus, augmentation, BatchLayout(3, 1, rank, 3), seed=2))
        for rank in range(3)
    ]
    (window,) = next(iter(TokenBatches(corpus, 3, seed=2))).ids
    numbers = [[one.number for one in share.micro_batches] for share in shares]
    assert numbers == [[0], [1], [2]]
    for share in (shares[0], shares[2]):
        (one,) = share.micro_batches
        assert one.batch.input_ids.tolist() == window.tolist()
        assert one.positions.tolist() == [-1] * len(window)
        assert (share.tokens, share.squares) == (len(window), len(window) ** 2)
        masked = mask(share, Masker(corpus.tokenizer, 1.0), key_of(0))
        assert (masked.counts, set(masked.labels[0].tolist())) == ([0], {IGNORED})
    (real,) = shares[1].micro_batches
    assert real.positions.tolist() == list(range(len(real.batch.input_ids)))


def test_windows_of_one_length_keep_their_order(corpus):
    lengths = corpus.lengths_of(np.arange(len(corpus)))
    layout = BatchLayout(8000, 8000)
    (step,) = islice(global_batches(corpus, same(corpus), layout, seed=2), 1)
    (one,) = step.micro_batches
    starts = one.batch.cu_seqlens[:-1].long()
    numbers = (one.positions[starts] // WINDOW_POSITIONS).tolist()
    order = sorted(range(len(numbers)), key=lambda i: (one.batch.lengths[i], numbers[i]))
    assert order == list(range(len(numbers)))
    assert len(set(one.batch.lengths.tolist())) < len(numbers)
    assert len(lengths) > len(numbers)


def test_letters_that_ids_do_not_tell_are_refused(tmp_path):
    (tmp_path / "x.fa").write_text(">a\n" + "ACGTNACGT" * 30 + "\n")
    kept = build_corpus(
        [tmp_path / "x.fa"], tmp_path / "c", tok, CorpusConfig(other_letters="keep")
    )
    with pytest.raises(CorpusError, match="Build it with other_letters=split"):
        Augmentation(kept, 0.1, False, seed=0)
    with pytest.raises(CorpusError, match=r"c: was built with other_letters=keep"):
        Augmentation(kept, 0.0, True, seed=0)
    assert not Augmentation(kept, 0.0, False, seed=0).needed


def test_prefetch_hands_on_errors():
    def broken():
        yield 1
        raise OSError("disk gone")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)


def test_prefetch_makes_one_item_ahead_on_a_thread():
    made = [threading.Event() for _ in range(3)]
    threads = []

    def items():
        for event in made:
            threads.append(threading.current_thread())
            event.set()
            yield event

    ahead = prefetch(items())
    assert not made[0].is_set()
    assert next(ahead) is made[0]
    assert made[1].wait(60)  # while the first is worked on
    assert not made[2].is_set()
    assert list(ahead) == made[1:]
    assert threading.main_thread() not in threads
