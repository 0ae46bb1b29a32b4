"""Masks, token budgets and labelled tables."""

import gzip

import pytest
import torch

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import DataError
from dnabert2_fast.train.data import read_labelled, read_splits
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
