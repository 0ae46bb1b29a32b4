"""Tables of pandas and Arrow train as the same tables in files do."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from helpers.checkpoints import save_tiny
from helpers.toys import LEARNT, MOTIFS, TOY_MODEL

from dnabert2_fast import FinetuneConfig, finetune
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.labels import checksum, read_splits, rows_of_tables
from dnabert2_fast.finetuning.rows import ColumnNames, read_rows
from dnabert2_fast.finetuning.splits import split_table

TABLE = pd.DataFrame(
    {
        "dna": [f"{'ACGT' * 3}{MOTIFS[i % 2]}{'AC' * (i + 1)}" for i in range(40)],
        "kind": ["ab"[i % 2] for i in range(40)],
        "family": [f"g{i // 2}" for i in range(40)],
    }
)
USUAL = TABLE.rename(columns={"dna": "sequence", "kind": "label"})
NAMED = {"sequence_column": "dna", "label_column": "kind"}


def test_one_table(tmp_path):
    TABLE.to_csv(tmp_path / "x.csv", index=False)
    config = FinetuneConfig("mini", str(tmp_path / "x.csv"), "out", **NAMED, group_column="family")
    want = split_table(config)
    shuffled_index = TABLE.set_axis(range(100, 140))
    for given in (TABLE, shuffled_index, TABLE.astype("category"), pa.table(TABLE)):
        found = split_table(replace(config, data=given))
        assert {
            split: [row._replace(line=row.line + 1) for row in rows]
            for split, rows in found.items()
        } == want


@pytest.mark.parametrize(
    "labels", [[0, 1], ["no", "yes"], [0.25, 1.5], [True, False], ["0;1", "1;0"]]
)
def test_splits(tmp_path, labels):
    table = pd.DataFrame({"sequence": ["ACGT", "GGCA", "TTAA"], "label": [*labels, labels[0]]})
    tables = {"train": table, "val": table[:2], "test": table[1:]}
    folder = tmp_path / "x"
    folder.mkdir()
    for split, one in tables.items():
        one.astype({"label": int} if labels[0] is True else {}).to_csv(
            folder / f"{split}.csv", index=False
        )
    with pytest.warns(UserWarning, match="read val.csv as dev"):
        want = read_splits(folder)
    found = read_splits("data", rows=rows_of_tables(tables, rna=False))
    assert checksum(*found) == checksum(*want)


def test_a_run(tmp_path):
    model = save_tiny(tmp_path / "model", **TOY_MODEL)
    TABLE.to_csv(tmp_path / "x.csv", index=False)
    config = FinetuneConfig(
        str(model), str(tmp_path / "x.csv"), str(tmp_path / "a"), **NAMED, **{**LEARNT, "epochs": 1}
    )
    want = finetune(config)
    again = replace(config, data=TABLE, out=str(tmp_path / "b"))
    found = finetune(again)
    assert found.metrics == want.metrics
    for name in ("model.safetensors", "test_predictions.csv", "tables/train.csv.gz"):
        assert (found.folder / name).read_bytes() == (want.folder / name).read_bytes()
    assert finetune(again).metrics == want.metrics  # a finished run is only read
    tables = {
        split: pd.read_csv(want.folder / "tables" / f"{split}.csv.gz")
        for split in ("train", "dev", "test")
    }
    parts = replace(again, data=tables, out=str(tmp_path / "c"), sequence_column=None)
    assert finetune(replace(parts, label_column=None)).metrics == want.metrics


def test_what_is_wrong_is_named(tmp_path):
    wanted = ColumnNames("dna")
    with pytest.raises(DataError, match=r"^data: has no column 'dna' \(got 'sequence, label"):
        list(read_rows(USUAL, columns=wanted))
    with pytest.raises(DataError, match=r"^data: has no test \(got train, dev\)"):
        rows_of_tables({"train": USUAL, "dev": USUAL}, rna=False)
    missing = pd.DataFrame({"sequence": ["ACGT", None], "label": ["a", "b"]})
    with pytest.raises(DataError, match=r"^data\['train'\]:2: must have a sequence and a label"):
        rows_of_tables({"train": missing}, rna=False)
    mixed = pd.DataFrame({"sequence": ["ACGT", "ACGA"], "label": ["a", 7]})
    with pytest.raises(DataError, match=r"^data: has a column of several types .*astype\(str\)"):
        list(read_rows(mixed))
    for wrong in (7, ["ACGT"], pd.Series(["ACGT"])):
        with pytest.raises(TypeError, match=r"^data: must be a path or a table .* \(got "):
            list(read_rows(wrong))
    config = FinetuneConfig("mini", {"train": TABLE}, str(tmp_path / "out"))
    with pytest.raises(ValueError, match="sequence_column: requires one table"):
        finetune(replace(config, sequence_column="dna"))
    with pytest.raises(ValueError, match=r"data: must be a folder to create .* \(got a table\)"):
        finetune(replace(config, data=TABLE, regions="x.bed", reference="x.fa"))
