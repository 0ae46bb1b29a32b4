"""Labelled tables."""

import gzip

import numpy as np
import pytest

from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.finetuning.task import IGNORED, Task, read_labelled, read_splits


def test_labelled_tables(tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b'label,sequence\n1,"ACGT"\n0,TT\n'))
    table = read_labelled(path)
    assert table.sequences == ["ACGT", "TT"]
    assert table.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence,label\nACGT,1\nTT,x\n", ":3: must have a sequence and a label"),
        ("sequence,label\nACGT\n", ":2"),
        ("sequence,label\n,1\n", ":2"),
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
    packed = gzip.compress((tmp_path / "dev.csv").read_bytes())
    (tmp_path / "dev.csv").unlink()
    (tmp_path / "dev.csv.gz").write_bytes(packed[:-9])
    with pytest.raises(DataError, match="gzip stream is damaged or ends early"):
        read_splits(tmp_path)


def write(folder, kind_of_rows, names=None, header="sequence,label"):
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text(header + "\n" + kind_of_rows)
    if names is not None:
        (folder / "labels.txt").write_text("label,label_name\n" + names)
    return folder


@pytest.mark.parametrize(
    ("rows", "kind", "names", "labels"),
    [
        ("ACGT,1\nAC,0\nA,2\n", "multiclass", ("0", "1", "2"), [1, 0, 2]),
        ("ACGT,yes\nAC,no\n", "multiclass", ("no", "yes"), [1, 0]),
        ("ACGT,1.5\nAC,-2\n", "regression", ("0",), [[1.5], [-2]]),
        ("ACGT,1;0\nAC,0;0\n", "multilabel", ("0", "1"), [[1, 0], [0, 0]]),
    ],
)
def test_the_form_of_labels_tells_the_task(tmp_path, rows, kind, names, labels):
    task, tables = read_splits(write(tmp_path, rows))
    assert task == Task(kind, names, window_bp=4)
    for table in tables.values():
        assert table.labels.tolist() == labels
    task.save(tmp_path)
    assert Task.load(tmp_path) == task


def test_pairs_and_names(tmp_path):
    rows, names = "ACGT,AA,1\nAC,CC,0\n", "1,enhancer\n0,none\n"
    task, tables = read_splits(write(tmp_path, rows, names, "sequence1,sequence2,label"))
    assert (task.pairs, task.names) == (True, ("none", "enhancer"))
    assert tables["dev"].pairs == ["AA", "CC"]
    assert tables["dev"].labels.tolist() == [1, 0]


def test_labels_of_bases_and_tokens(tmp_path):
    task, tables = read_splits(write(tmp_path, "ACGT,00.1\nAC,1;0\n"), "bases")
    assert tables["test"].labels.tolist() == [0, 0, IGNORED, 1, 1, 0]
    np.testing.assert_array_equal(tables["test"].lengths, [4, 2])
    task, tables = read_splits(write(tmp_path, "ACGT,2;.\nAC,0\n"), "tokens")
    assert task.names == ("0", "1", "2")
    assert tables["test"].labels.tolist() == [2, IGNORED, 0]


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ("ACGT,001\n", "bases", ":2: .*the sequence has 4 bases, the label 3"),
        ("ACGT,1;0\nAC,1\n", "auto", ":3: .*joined by ; .2 of them"),
        ("ACGT,1;0\nAC,1;2\n", "auto", ":3: .*0s and 1s"),
        ("ACGT,1\nAC,nan\n", "regression", ":3: .*a label that is a number"),
        ("ACGT,1\nAC,0.5\nA,no\n", "auto", ":3: .*a label 0, 1, 2"),
    ],
)
def test_labels_that_do_not_fit_the_task(tmp_path, rows, kind, message):
    with pytest.raises(DataError, match=message) as caught:
        read_splits(write(tmp_path, rows), kind)
    assert "train.csv" in str(caught.value)


def test_an_unknown_kind_in_task_json_is_refused(tmp_path):
    Task("multiclass", ("no", "yes")).save(tmp_path)
    path = tmp_path / "task.json"
    path.write_text(path.read_text().replace("multiclass", "classes"))
    with pytest.raises(
        CheckpointError, match=r"task\.json: damaged: kind must be one of .*got 'classes'"
    ):
        Task.load(tmp_path)


def test_names_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"must have 2 names for the labels of train\.csv .got 3"):
        read_splits(write(tmp_path, "A,0\nC,1\n", "0,a\n1,b\n2,c\n"))
    with pytest.raises(DataError, match="a name occurs twice"):
        read_splits(write(tmp_path, "A,0\nC,1\n", "0,a\n1,a\n"))
