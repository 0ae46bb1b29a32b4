"""Labelled tables."""

import gzip
import warnings

import numpy as np
import pytest

from dnabert2_fast.errors import CheckpointError, DataError, InputWarning
from dnabert2_fast.finetuning.labels import IGNORED, read_labelled, read_splits, warn_of_shared
from dnabert2_fast.finetuning.task import Task


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
        ("dna,label\nACGT,1\n", r'no column "sequence" \(got .dna, label.\)'),
        ("seq,y\nACGT,1\n", r'no column "label" \(got .seq, y.\)'),
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
        ("ACGT,1.0\nAC,0\n", "multiclass", ("0", "1"), [1, 0]),
        ("ACGT,2.0\nAC,0.0\nA,1.0\n", "multiclass", ("0", "1", "2"), [2, 0, 1]),
        ("ACGT,-1\nAC,1\n", "multiclass", ("-1", "1"), [0, 1]),
        ("ACGT,2\nAC,1\n", "multiclass", ("1", "2"), [1, 0]),
        ("ACGT,10090\nAC,562\nA,9606\n", "multiclass", ("562", "9606", "10090"), [2, 0, 1]),
        ("ACGT,NaN\nAC,gene\n", "multiclass", ("NaN", "gene"), [0, 1]),
        ('ACGT,"0,5"\nAC,"-1,25"\nA,2\n', "regression", ("0",), [[0.5], [-1.25], [2]]),
        ("ACGT,-1\nAC,0\nA,1\n", "regression", ("0",), [[-1], [0], [1]]),
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
    assert task.names == ("0", "2")
    assert tables["test"].labels.tolist() == [1, IGNORED, 0]


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


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("A,1.0\nC,0.0\n", "read label as 2 classes: 0, 1."),
        ("A,-1\nC,1\n", "read label as 2 classes: -1, 1."),
        (
            "A,7\nC,8\nG,9\n",
            "read label as 3 classes: 7, 8, 9. For numbers, use --task regression.",
        ),
        ("A,NaN\nC,gene\n", "read label as 2 classes: NaN, gene."),
        ('A,"0,5"\nC,"1,5"\n', "read label with decimal commas: 0,5 is 0.5."),
        ("A,-1\nC,0\nG,1\n", "read label as numbers. For classes, use --task multiclass."),
        ("A,0\nC,1\n", None),
        ("A,gene\nC,other\n", None),
        ("A,0.5\nC,2\n", None),
    ],
)
def test_what_labels_are_read_as_is_said(tmp_path, rows, said):
    write(tmp_path, rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_splits(tmp_path)
    want = [] if said is None else [f"{tmp_path / 'train.csv'}: {said}"]
    assert [str(warning.message) for warning in caught] == want


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "text1,text2,Label\nA,C,0\nC,A,1\n", "column 'text1' as sequence1, "
         "column 'text2' as sequence2, column 'Label' as label"),
        ("t.csv", "seq;label\nA;0\nC;1\n",
         "cells separated by semicolons, column 'seq' as sequence"),
        ("t.tsv", "sequence\tlabel\nA\t0\nC\t1\n", None),
        ("t.csv", "sequence1,sequence2,label\nA,C,0\nC,A,1\n", None),
    ],
)  # fmt: skip
def test_what_columns_are_read_as_is_said(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_labelled(path)
    assert (table.sequences, table.labels.tolist()) == (["A", "C"], [0, 1])
    want = [] if said is None else [f"{path}: read {said}."]
    assert [str(warning.message) for warning in caught] == want


def test_classes_may_be_any_numbers_if_requested(tmp_path):
    task, tables = read_splits(write(tmp_path, "A,0.5\nC,-1\nG,0.50\n"), "multiclass")
    assert task.names == ("-1", "0.5")
    assert tables["dev"].labels.tolist() == [1, 0, 1]


def test_classes_are_looked_up_by_name_if_names_are_numbers(tmp_path):
    task = Task("multiclass", ("1", "2"))
    (tmp_path / "x.csv").write_text("sequence,label\nA,2\nC,1\n")
    assert read_labelled(tmp_path / "x.csv", task).labels.tolist() == [1, 0]
    (tmp_path / "x.csv").write_text("sequence,label\nA,2\n\nC,0\n")
    with pytest.raises(DataError, match=r"x\.csv:4: x has class 0, which is not in train"):
        read_labelled(tmp_path / "x.csv", task)


def test_a_validation_table_is_dev(tmp_path):
    write(tmp_path, "A,0\nC,1\n")
    (tmp_path / "dev.csv").rename(tmp_path / "val.csv")
    with pytest.warns(InputWarning, match=r"read val\.csv as dev"):
        assert read_splits(tmp_path)[1]["dev"].sequences == ["A", "C"]
    (tmp_path / "val.csv").rename(tmp_path / "part.csv")
    with pytest.raises(
        DataError, match=r"has no dev\.csv.*\(got part\.csv, test\.csv, train\.csv\)"
    ):
        read_splits(tmp_path)


@pytest.mark.parametrize(
    ("rows", "names", "expected"),
    [
        ("A,562\nC,9606\n", "9606,human\n562,coli\n", (("coli", "human"), [0, 1])),
        ("A,0\nC,1\n", "0,9606\n1,562\n", (("9606", "562"), [0, 1])),
        ("A,0\nC,1\n", "0,1\n1,0\n", (("1", "0"), [0, 1])),
        ("A,1\nC,0\n", "0,no\n1,yes\n", (("no", "yes"), [1, 0])),
        ("A,yes\nC,no\n", "0,no\n1,yes\n", (("no", "yes"), [1, 0])),
    ],
)
def test_names_of_labels(tmp_path, rows, names, expected):
    write(tmp_path, rows)
    text = f"label,label_name\n{names}"
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8-sig")  # with a byte-order mark
    task, tables = read_splits(tmp_path)
    assert (task.names, tables["train"].labels.tolist()) == expected


def test_sequences_of_train_in_test_are_counted(tmp_path):
    write(tmp_path, "ACGT,0\nTTAA,1\nCC,1\n")
    (tmp_path / "test.csv").write_text("sequence,label\nacgt,0\nTTAA,1\nGG,0\nGG,0\n")
    (tmp_path / "dev.csv").write_text("sequence,label\nG,0\nGG,1\n")
    tables = read_splits(tmp_path)[1]
    with pytest.warns(UserWarning, match=r": 2 of the 3 sequences of test are in train too\."):
        warn_of_shared(tables)
    (tmp_path / "test.csv").write_text("sequence,label\nG,0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_shared(read_splits(tmp_path)[1])
