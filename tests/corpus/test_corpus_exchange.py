"""Windows keep their ids and origins on the way to other formats and back."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabert2_fast import Corpus, TokenBatches, Tokenizer, build_corpus
from dnabert2_fast.corpus import (
    CorpusConfig,
    as_dataset,
    as_table,
    exchange,
    export_parquet,
    import_parquet,
)
from dnabert2_fast.corpus.format import ORIGIN
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io import SourceFile

IDS = pa.schema([("input_ids", pa.list_(pa.int64()))])
tok = Tokenizer.from_pretrained("dnabert2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exchange")
    for i in range(2):
        letters = "".join(np.random.default_rng(i).choice(list("ACGT"), 12_000))
        (folder / f"{i}.fa").write_text(f">r{i}\n{letters}\n")
    inputs = [SourceFile(folder / f"{i}.fa", f"s{i}", "g") for i in range(2)]
    options = {"window_bp": 100, "valid_fraction": 0.3, "shard_tokens": 900}
    return build_corpus(inputs, folder / "c", tok, CorpusConfig(both_strands=True, **options))


def rows(corpus):
    return corpus.gather(np.arange(len(corpus))).to_list()


@pytest.mark.parametrize("call", [as_table, as_dataset, lambda c: export_parquet(c, "x.parquet")])
def test_a_path_is_not_a_corpus(corpus, call):
    with pytest.raises(TypeError, match=r"corpus: must be a Corpus \(got .*\)\. Open its folder"):
        call(corpus.folder)


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
    origins = table.drop_columns(["input_ids", "weight"])
    assert origins.to_pylist() == corpus.origins().to_pylist()
    back = import_parquet(
        [tmp_path / "t.parquet"], tmp_path / "c", tok, valid=[tmp_path / "v.parquet"]
    )
    for mine, theirs in ((corpus, back), (held_out, Corpus.open(tmp_path / "c", "valid"))):
        assert rows(theirs) == rows(mine)
        assert theirs.origins().to_pylist() == mine.origins().to_pylist()
    back.verify()
    assert back.tokenizer.fingerprint == tok.fingerprint
    with pytest.raises(CorpusError, match="exists already"):
        import_parquet([tmp_path / "t.parquet"], tmp_path / "c", tok)


def test_origins_without_gaps_are_required_columns(corpus, tmp_path):
    schema = pq.read_schema(corpus.folder / "shard-00000.parquet")
    assert schema.names == ORIGIN.names
    assert not any(field.nullable for field in schema)
    assert corpus.origins().schema == ORIGIN
    export_parquet(corpus, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    start = pa.array([None, *table["start"].to_pylist()[1:]], pa.uint64())
    pq.write_table(table.set_column(3, "start", start), tmp_path / "x.parquet")
    back = import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
    schema = pq.read_schema(tmp_path / "c" / "shard-00000.parquet")
    assert [field.name for field in schema if field.nullable] == ["start"]
    assert [back.where(0).start, back.where(1)] == [None, corpus.where(1)]
    pq.write_table(back.origins().drop_columns(["end"]), tmp_path / "c" / "shard-00000.parquet")
    with pytest.raises(CorpusError, match="cannot be read"):
        back.origins_of(0)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """Three species of unlike weights, the first of them in two separate runs of windows."""
    folder = tmp_path_factory.mktemp("weighted")
    whose = [("a", "g", 0.5), ("b", "g", 3.0), ("a", "g", 0.5), ("", "", 0.1), ("", "", 1.0)]
    inputs = []
    for i, (species, group, weight) in enumerate(whose):
        letters = "".join(np.random.default_rng(i).choice(list("ACGT"), 9_000))
        (folder / f"{i}.fa").write_text(f">r{i}\n{letters}\n")
        inputs.append(SourceFile(folder / f"{i}.fa", species, group, weight))
    options = {"window_bp": 100, "valid_fraction": 0.3, "shard_tokens": 900}
    return build_corpus(inputs, folder / "c", tok, CorpusConfig(**options))


def of_windows(corpus):
    return [weight for n, weight in corpus.weights for _ in range(n)]


def drawn(corpus):
    batches = TokenBatches(corpus, 300, seed=7, epochs=2)
    return [(batch.windows.tolist(), batch.ids.to_list(), batch.state) for batch in batches]


@pytest.mark.parametrize("shard_tokens", [700, 1 << 22])
def test_species_and_weights_and_back(weighted, tmp_path, monkeypatch, shard_tokens):
    monkeypatch.setattr(exchange, "SHARD_TOKENS", shard_tokens)
    held_out = Corpus.open(weighted.folder, "valid")
    export_parquet(weighted, tmp_path / "t.parquet")
    export_parquet(held_out, tmp_path / "v.parquet")
    back = import_parquet(
        [tmp_path / "t.parquet"], tmp_path / "c", tok, valid=[tmp_path / "v.parquet"]
    )
    for mine, theirs in ((weighted, back), (held_out, Corpus.open(tmp_path / "c", "valid"))):
        assert len(mine) == len(theirs)
        assert all(theirs.where(i) == mine.where(i) for i in range(len(mine)))
        assert theirs.by_species == mine.by_species
        assert of_windows(theirs) == of_windows(mine)
        assert drawn(theirs) == drawn(mine)
    assert {weight for _, weight in back.weights} == {0.5, 3.0, 0.1, 1.0}
    assert len(drawn(back)) > 1


def test_some_rows_of_an_export(weighted, tmp_path):
    """Other programs may leave rows out and sort them, but not scatter a species' rows."""
    export_parquet(weighted, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    keys = [table[name].to_pylist() for name in ("weight", "group", "species")]
    order = np.random.default_rng(0).permutation(len(table))[: len(table) // 2]
    some = table.take(order[np.lexsort([np.array(key)[order] for key in keys])])
    some = some.drop_columns("group")
    some = some.append_column("group", pa.array([None] * len(some), pa.string()))
    pq.write_table(some, tmp_path / "y.parquet", row_group_size=7)
    corpus = import_parquet([tmp_path / "y.parquet"], tmp_path / "c", tok)
    assert rows(corpus) == some["input_ids"].to_pylist()
    assert of_windows(corpus) == some["weight"].to_pylist()
    pq.write_table(table.take(order), tmp_path / "z.parquet")
    with pytest.raises(CorpusError, match=r"z\.parquet: rows of a species lie scattered"):
        import_parquet([tmp_path / "z.parquet"], tmp_path / "d", tok)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None, "much"])
def test_what_are_no_weights(weighted, tmp_path, weight):
    export_parquet(weighted, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet").drop_columns("weight")
    table = table.append_column("weight", pa.array([weight] * len(table)))
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(
        CorpusError, match=rf"x\.parquet: weight: must be a finite number >= 0 .got {weight}"
    ):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
    assert not (tmp_path / "c").exists()
    pq.write_table(table.drop_columns("weight"), tmp_path / "x.parquet")
    corpus = import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
    assert {weight for _, weight in corpus.weights} == {1.0}


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
        ([[1, 70_000]], r"ids are 0 to 4095 \(got 70000\)"),
        ([[1, -1, 7]], r"ids are 0 to 4095 \(got -1\)"),
        (
            [[1, 2], [1, 5, 2, 3, 3]],
            r"record x.parquet, 1 holds \[PAD\] \(id 3\)\. Remove",
        ),
        (pa.array([], pa.list_(pa.int64())), "x.parquet: has no rows"),
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
    with pytest.raises(CorpusError, match=r"no column 'ids' .got input_ids"):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok, column="ids")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"x\.parquet"):
        import_parquet([tmp_path / "x.parquet"], tmp_path / "c", tok)
