"""Labelled tables."""

import gzip

import pytest

from dnabert2_fast.errors import DataError
from dnabert2_fast.train.labelled import read_labelled, read_splits


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
