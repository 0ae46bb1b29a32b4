"""One labelled table becomes train, dev and test."""

import json
import random
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.checkpoints import save_tiny
from helpers.toys import LEARNT, MOTIFS, TOY_MODEL

from dnabert2_fast import FinetuneConfig, finetune
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.evaluation import evaluate
from dnabert2_fast.finetuning.labels import SPLITS, read_splits
from dnabert2_fast.finetuning.rows import Row, read_rows, write_rows
from dnabert2_fast.finetuning.splits import shares_of, split_rows, split_table
from dnabert2_fast.io.strand import reverse_complement

SHARES = shares_of("0.8,0.1,0.1")


def rows_of(count, label_of, group_of=lambda i: ""):
    drawn = random.Random(1)
    texts = ["".join(drawn.choices("ACGT", k=40)) for _ in range(count)]
    return [Row(str(i), t, None, label_of(i), i, group_of(i)) for i, t in enumerate(texts)]


def test_classes_have_the_same_shares_in_each_split():
    rows = rows_of(1000, lambda i: "rare" if i % 20 == 0 else "often")
    found = split_rows(rows, SHARES, 42, by_label=True)
    assert {s: Counter(row.label for row in found[s]) for s in SPLITS} == {
        "train": {"often": 760, "rare": 40},
        "dev": {"often": 95, "rare": 5},
        "test": {"often": 95, "rare": 5},
    }
    assert sorted(row.line for rows in found.values() for row in rows) == list(range(1000))
    assert split_rows(rows, SHARES, 42, by_label=True) == found
    assert split_rows(rows, SHARES, 43, by_label=True) != found


def test_small_classes_reach_dev_and_test_alike():
    found = split_rows(rows_of(500, lambda i: str(i // 5)), SHARES, 42, by_label=True)
    assert [len(found[split]) for split in SPLITS] == [400, 50, 50]


@pytest.mark.parametrize("sizes", [[1] * 300, [30] * 10, [100, 50, 20] + [3] * 40, [7, 5, 4]])
def test_no_group_is_in_two_splits(sizes):
    groups = [f"g{n}" for n, size in enumerate(sizes) for _ in range(size)]
    rows = rows_of(len(groups), lambda i: "ab"[i % 2], groups.__getitem__)
    found = split_rows(rows, SHARES, 42, by_label=True)
    of = {split: {row.group for row in found[split]} for split in SPLITS}
    assert not of["train"] & of["dev"]
    assert not of["test"] & (of["train"] | of["dev"])
    assert all(of.values())
    if len(sizes) > 5:
        assert len(found["train"]) == pytest.approx(0.8 * len(rows), abs=max(sizes) / 2)


def test_a_class_of_one_group_is_in_train():
    rows = rows_of(100, lambda i: "c" if i >= 90 else "ab"[i % 2], lambda i: str(i // 10))
    for seed in range(20):
        found = split_rows(rows, SHARES, seed, by_label=True)
        assert {row.label for row in found["train"]} == {"a", "b", "c"}


def test_equal_sequences_on_either_strand_stay_together():
    rows = rows_of(60, lambda i: "ab"[i % 2])
    again = [row._replace(sequence=reverse_complement(row.sequence).lower()) for row in rows]
    found = split_rows([*rows, *again], SHARES, 42, by_label=True)
    for split in SPLITS:
        assert {n for _, n in Counter(row.name for row in found[split]).items()} == {2}


@pytest.mark.parametrize(
    "text", ["0.8,0.2", "0.8,0.1,0.2", "1,0,0", "a,b,c", "80,10,10", "nan,1,1"]
)
def test_shares_are_checked(text):
    with pytest.raises(ValueError, match=r"split: must be the shares .*Write --split"):
        shares_of(text)


def table(path, count=48):
    rows = [
        (f"s{i}", MOTIFS[i % 2] * (6 + i // 2), f"{'ab'[i % 2]}", f"chr{i // 4}")
        for i in range(count)
    ]
    columns = dict(zip(("id", "dna", "kind", "contig"), zip(*rows, strict=True), strict=True))
    if path.suffix.lower() == ".parquet":
        pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), path)
    else:
        cut = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(cut.join(row) for row in [tuple(columns), *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.PARQUET"])
def test_a_table_gives_the_same_split_in_every_format(tmp_path, name):
    of_csv = FinetuneConfig("mini", str(table(tmp_path / "a.csv")), "out")
    of_csv = replace(of_csv, sequence_column="DNA", label_column="kind", group_column="contig")
    wanted = split_table(of_csv)
    found = split_table(replace(of_csv, data=str(table(tmp_path / name))))
    for split in SPLITS:
        assert [row[:4] for row in found[split]] == [row[:4] for row in wanted[split]]
    write_rows(tmp_path / "w.csv.gz", wanted["dev"])
    assert [r[:4] for r in read_rows(tmp_path / "w.csv.gz")] == [r[:4] for r in wanted["dev"]]


def test_folders_may_hold_parquet(tmp_path):
    for split in SPLITS:
        cells = {"sequence": ["ACGT", "TTT"], "label": [[0, 1], [1, 1]]}
        pq.write_table(pa.table(cells), tmp_path / f"{split}.parquet")
    task, tables = read_splits(tmp_path)
    assert task.kind == "multilabel"
    assert tables["dev"].labels.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"sequence_column": "dan"}, r"has no column 'dan'.*Did you mean dna\?"),
        ({"label_column": "x"}, r"Name a column of the header with --label-column"),
        ({"group_column": "Contgi"}, r"Did you mean contig\?"),
    ],
)
def test_misspelt_columns(tmp_path, columns, said):
    given = {"sequence_column": "dna", "label_column": "kind", **columns}
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(DataError, match=said):
            split_table(FinetuneConfig("mini", str(table(tmp_path / name)), "out", **given))


def test_damaged_and_empty_tables(tmp_path):
    config = FinetuneConfig("mini", str(tmp_path / "x.parquet"), "out")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="is not a Parquet file"):
        split_table(config)
    pq.write_table(pa.table({"sequence": ["ACGT", None], "label": [0, 1]}), config.data)
    with pytest.raises(DataError, match=r"x\.parquet:2: must have a sequence"):
        split_table(config)
    pq.write_table(pa.table({"sequence": ["AC", "CC"], "label": [0, 1]}), config.data)
    with pytest.raises(DataError, match="too few rows for three tables"):
        split_table(config)
    (tmp_path / "x.csv").write_text("sequence,label,g\nACGT,1,\n")
    with pytest.raises(DataError, match=r"x\.csv:2: has no group in 'g'"):
        split_table(replace(config, data=str(tmp_path / "x.csv"), group_column="g"))


def test_a_run_keeps_its_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DNABERT2_FAST_PROGRESS", raising=False)
    model = save_tiny(tmp_path / "model", **TOY_MODEL)
    config = FinetuneConfig(str(model), str(table(tmp_path / "x.csv")), str(tmp_path / "out"))
    config = replace(config, sequence_column="dna", label_column="kind", group_column="contig")
    config = replace(config, **{**LEARNT, "epochs": 1})
    result = finetune(config)
    said = capsys.readouterr().err
    assert "x.csv: train 40 rows (20 a, 20 b); dev 4 rows (2 a, 2 b); test 4 rows" in said
    assert "split by seed 42, no contig in two" in said
    record = json.loads((result.folder / "tables" / "tables.json").read_text())
    assert record["rows"] == {"train": 40, "dev": 4, "test": 4}
    again = evaluate(result.folder, result.folder / "tables" / "test.csv.gz", tmp_path / "scores")
    assert again == pytest.approx(result.metrics["test"])
    assert finetune(config).metrics == result.metrics
    with pytest.raises(ValueError, match="sequence_column: requires one table"):
        finetune(replace(config, data=str(tmp_path)))
