"""Windows keep their ids and origins on the way to other formats and back."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabert2_fast import Corpus, Input, Tokenizer, build_corpus
from dnabert2_fast.corpus import as_dataset, as_table, exchange, export_parquet, import_parquet
from dnabert2_fast.errors import CorpusError

IDS = pa.schema([("input_ids", pa.list_(pa.int64()))])
tok = Tokenizer.from_pretrained("dnabert2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    for i in range(2):
        letters = "".join(np.random.default_rng(i).choice(list("ACGT"), 12_000))
        (folder / f"{i}.fa").write_text(f">r{i}\n{letters}\n")
    inputs = [Input(folder / f"{i}.fa", f"s{i}", "g") for i in range(2)]
    rules = {"window_bp": 100, "valid_fraction": 0.3, "shard_tokens": 900}
    return build_corpus(inputs, folder / "c", tok, both_strands=True, **rules)


def rows(corpus):
    return corpus.gather(np.arange(len(corpus))).to_list()


def test_arrow_table_lies_over_the_files(corpus):
    table = as_table(corpus)
    assert table["input_ids"].to_pylist() == rows(corpus)
    values = table["input_ids"].chunk(1).values
    assert values.to_numpy(zero_copy_only=True).ctypes.data == corpus.shards[1].values.ctypes.data


def test_view_of_datasets(corpus):
    pytest.importorskip("datasets")
    dataset = as_dataset(corpus)
    assert len(dataset) == len(corpus)
    want = rows(corpus)
    assert [dataset[i]["input_ids"] for i in (0, 7, len(want) - 1)] == [want[0], want[7], want[-1]]
    shuffled = dataset.shuffle(seed=1).select(range(5))
    assert all(row in want for row in shuffled["input_ids"])


def test_rows_without_ids_are_kept_at_the_end_too(tmp_path):
    rows = [[1, 5, 2], [], [1, 2], [], []]
    pq.write_table(pa.table({"input_ids": rows}), tmp_path / "x.parquet", row_group_size=1)
    corpus = import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
    assert corpus.gather(np.arange(len(corpus))).to_list() == rows
    pq.write_table(pa.table({"input_ids": [rows[1]]}, schema=IDS), tmp_path / "y.parquet")
    assert len(import_parquet([tmp_path / "y.parquet"], tmp_path / "d", tok)) == 1


def test_parquet_and_back(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "SHARD_TOKENS", 700)
    held_out = Corpus.open(corpus.folder, "valid")
    export_parquet(corpus, tmp_path / "t.parquet")
    export_parquet(held_out, tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table["input_ids"].to_pylist() == rows(corpus)
    assert table.drop_columns("input_ids").to_pylist() == corpus.origins().to_pylist()
    back = import_parquet(
        [tmp_path / "t.parquet"], tmp_path / "c", tok, valid=[tmp_path / "v.parquet"]
    )
    for mine, theirs in ((corpus, back), (held_out, Corpus.open(tmp_path / "c", "valid"))):
        assert rows(theirs) == rows(mine)
        assert theirs.origins().to_pylist() == mine.origins().to_pylist()
    back.verify()
    assert back.tokenizer.fingerprint == tok.fingerprint
    with pytest.raises(CorpusError, match="is there already"):
        import_parquet([tmp_path / "t.parquet"], tmp_path / "c", tok)


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.int16())])
def test_ids_of_other_programs(tmp_path, kind):
    ids = [[1, 5, 2], [1, 2], [1, 4095, 7, 2]]
    pq.write_table(pa.table({"tokens": pa.array(ids, kind)}), tmp_path / "x.parquet")
    corpus = import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok, column="tokens")
    assert rows(corpus) == ids
    assert corpus.where(2)[:2] == ("x.parquet", "2")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 70_000]], "there is 70000"),
        ([[1, -1]], "ids are 0 to 4095"),
        ([[1, None]], "1 nulls"),
        ([None, [1]], "1 nulls"),
        (["ACGT"], "lists of token ids"),
    ],
)
def test_what_are_no_ids(tmp_path, values, message):
    pq.write_table(pa.table({"input_ids": values}), tmp_path / "x.parquet")
    with pytest.raises(CorpusError, match=message):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
    assert not (tmp_path / "c").exists()
    with pytest.raises(CorpusError, match="no column 'ids'; there are input_ids"):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok, column="ids")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"x\.parquet"):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
