"""Masks, token budgets and labelled tables."""

import gzip
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import DataError
from dnabert2_fast.ragged import token_batches
from dnabert2_fast.train.data import TokenBudget, read_labelled, read_splits
from dnabert2_fast.train.mlm import IGNORED, Masker

tok = Tokenizer.from_pretrained("dnabert2")


def test_masks_are_in_berts_proportions():
    ids = torch.randint(0, tok.vocab_size, (200_000,), generator=torch.Generator().manual_seed(1))
    ids[::50] = tok.cls_id
    inputs, labels = Masker(tok)(ids, torch.Generator().manual_seed(2))
    chosen = labels != IGNORED
    special = torch.isin(ids, torch.tensor(sorted(tok.special_ids)))
    assert not (chosen & special).any()
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])
    share = chosen.sum() / (~special).sum()
    masked = (inputs[chosen] == tok.mask_id).float().mean()
    same = (inputs[chosen] == ids[chosen]).float().mean()
    assert abs(share - 0.15) < 0.005
    assert abs(masked - 0.8) < 0.01
    assert abs(same - 0.1) < 0.01
    drawn = inputs[chosen & (inputs != ids) & (inputs != tok.mask_id)]
    assert not torch.isin(drawn, torch.tensor(sorted(tok.special_ids))).any()
    assert drawn.unique().numel() > 1500  # from the whole vocabulary
    again = Masker(tok)(ids, torch.Generator().manual_seed(2))
    assert torch.equal(inputs, again[0])
    assert torch.equal(labels, again[1])


def test_masker_needs_a_rate():
    with pytest.raises(ValueError, match="mask_rate: 0 is not"):
        Masker(tok, 0)


lengths_of_windows = st.lists(st.integers(1, 50), min_size=1, max_size=60).map(
    lambda values: np.array(values, dtype=np.int64)
)


@given(lengths_of_windows, st.integers(1, 120), st.integers(0, 9))
def test_an_epoch_has_every_window_once_within_the_budget(lengths, batch_tokens, seed):
    budget = TokenBudget(lengths, batch_tokens, seed)
    batches = list(budget.rest_of_epoch())
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert lengths[batch].sum() <= batch_tokens or len(batch) == 1
    # No batch could have taken the first window of the next one.
    for batch, following in pairwise(batches):
        assert lengths[batch].sum() + lengths[following[0]] > batch_tokens


@given(lengths_of_windows, st.integers(1, 90), st.integers(0, 12))
def test_going_on_from_a_position_gives_the_same_batches(lengths, batch_tokens, stop):
    budget = TokenBudget(lengths, batch_tokens, seed=3)
    stream = iter(budget)
    for _ in range(stop):
        next(stream)
    resumed = iter(
        TokenBudget(lengths, batch_tokens, 3, epoch=budget.epoch, position=budget.position)
    )
    for _ in range(8):
        assert next(stream).tolist() == next(resumed).tolist()


def test_epochs_are_shuffled_anew():
    budget = TokenBudget(np.ones(50, np.int64), 50, seed=0)
    first, second, _ = (batch.tolist() for batch, _ in zip(budget, range(3), strict=False))
    assert first != second
    with pytest.raises(ValueError, match="no window to train on"):
        TokenBudget(np.empty(0, np.int64), 5, 0)
    assert list(token_batches(np.empty(0, np.int64), 5)) == []


def test_labelled_tables(tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b'label,sequence\n1,"ACGT"\n0,TT\n'))
    table = read_labelled(path)
    assert table.sequences == ["ACGT", "TT"]
    assert table.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,label\nACGT,1\nTT,x\n", "line 3: a sequence and a label"),
        ("sequence,label\nACGT\n", "line 2"),
        ("sequence,label\n,1\n", "line 2"),
        ("seq,label\nACGT,1\n", 'no column "sequence"'),
        ("sequence,label\n", "has no rows"),
        ("", 'no column "sequence"'),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / "train.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_labelled(path)
    assert "train.csv" in str(caught.value)


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match=r"no train\.csv"):
        read_splits(tmp_path)
    for split, label in (("train", 0), ("dev", 0), ("test", 3)):
        (tmp_path / f"{split}.csv").write_text(f"sequence,label\nACGT,{label}\n")
    with pytest.raises(DataError, match="test has class 3"):
        read_splits(tmp_path)
    (tmp_path / "dev.csv").rename(tmp_path / "dev.csv.gz")
    with pytest.raises(DataError, match="damaged or cut off"):
        read_splits(tmp_path)
