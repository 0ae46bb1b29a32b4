"""A corpus for other programs, and token ids of other programs as a corpus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast import _native
from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.corpus.format import (
    ORIGIN,
    SPLITS,
    about,
    encoded_with,
    shard_files,
    write_contents,
    write_origins,
)
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.extras import needs
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["as_dataset", "as_table", "export_parquet", "import_parquet"]

IDS = "input_ids"
SHARD_TOKENS = 1 << 22


def as_table(corpus: Corpus) -> pa.Table:
    """Return the windows as an Arrow table with one column ``input_ids``, over the mapped files.

    Nothing is read until it is looked at, and nothing is copied.
    """
    chunks = [shard.to_arrow() for shard in corpus.shards]
    return pa.table({IDS: pa.chunked_array(chunks, pa.large_list(pa.uint16()))})


def as_dataset(corpus: Corpus) -> Any:
    """Return the windows as a ``datasets.Dataset`` of Hugging Face, over the mapped files.

    Needs the package ``datasets``. Pickling it copies the ids; open the corpus anew in workers.
    """
    with needs("as_dataset"):
        from datasets import Dataset
        from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(as_table(corpus)))


def export_parquet(corpus: Corpus, path: str | os.PathLike[str]) -> None:
    """Write ids and origins of all windows to a Parquet file, a shard a row group.

    Columns: ``input_ids``, and those of `Corpus.origins`.
    """
    schema = pa.schema([pa.field(IDS, pa.large_list(pa.uint16())), *ORIGIN])
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        progress(len(corpus), "exporting", "windows") as bar,
    ):
        for number, shard in enumerate(corpus.shards):
            origins = corpus.origins_of(number)
            ids = pa.chunked_array([shard.to_arrow()])
            writer.write_table(pa.table([ids, *origins.columns], schema=schema))
            bar.update(len(shard))


def import_parquet(
    files: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    valid: Iterable[str | os.PathLike[str]] = (),
    column: str = IDS,
) -> Corpus:
    """Make a corpus of token ids that are in Parquet files already, a list a row.

    Parameters
    ----------
    files : iterable of paths
        For training. Origins are taken over from files that `export_parquet` wrote; of others, the
        file's name and the row's number as the record are kept.
    out : path
        Folder to make; it appears when it is whole.
    tokenizer : Tokenizer
        The one that the ids are of.
    valid : iterable of paths
        Held out.
    column : str
        Of the ids.

    Returns
    -------
    Corpus
        Split ``"train"``.

    Raises
    ------
    CorpusError
        When `out` is there already, a file has no such column of lists of whole numbers, or an id
        is not in the vocabulary.
    """
    out = Path(out)
    if out.exists():
        raise CorpusError(f"{out}: is there already; choose another folder or delete this one")
    settings = encoded_with(tokenizer)
    text = about(settings)
    shards: list[dict[str, Any]] = []
    inputs = []
    with atomic_path(out) as folder, progress(None, "importing", "windows") as bar:
        folder.mkdir(parents=True)
        for split, paths in zip(SPLITS, (files, valid), strict=True):
            for path in map(Path, paths):
                inputs.append({"path": path.name, "bytes": path.stat().st_size})
                for ids, origins in _batches(path, column, tokenizer):
                    names = shard_files(len(shards))
                    size, checksum = _native.write_shard(
                        folder / names[0], ids.values, ids.offsets.astype(np.uint64), text
                    )
                    write_origins(folder / names[1], origins)
                    shards.append(
                        {
                            "name": names[0],
                            "split": split,
                            "sequences": len(ids),
                            "tokens": len(ids.values),
                            "bytes": size,
                            "xxh3": checksum,
                            "origins_xxh3": _native.checksum(folder / names[1]),
                            "species": "",
                            "group": "",
                            "weight": 1.0,
                        }
                    )
                    bar.update(len(ids))
        write_contents(folder, tokenizer, {**settings, "inputs": inputs}, [], shards)
    return Corpus.open(out)


def _batches(path: Path, column: str, tokenizer: Tokenizer) -> Iterator[tuple[Ragged, pa.Table]]:
    """Ids and origins of some row groups at a time, a shard's worth of tokens."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if column not in names:
            raise CorpusError(f"{path}: no column {column!r}; there are {', '.join(names)}")
        kept = [name for name in ORIGIN.names if name in names]
        whole = kept == ORIGIN.names
        parts: list[pa.Table] = []
        waiting = first = 0
        for batch in file.iter_batches(columns=[column, *(kept if whole else [])]):
            table = pa.table(batch)
            if not whole:
                table = _with_rows(table, path.name, first)
            first += len(table)
            parts.append(table)
            waiting += len(table[column].combine_chunks().flatten())
            if waiting >= SHARD_TOKENS:
                yield _shard(parts, column, tokenizer)
                parts, waiting = [], 0
        if parts:
            yield _shard(parts, column, tokenizer)
    except (pa.ArrowException, AttributeError, ValueError, OverflowError) as error:
        what = "lists of token ids without nulls are expected"
        raise CorpusError(f"{path}: column {column!r}: {what}: {error}") from None


def _with_rows(table: pa.Table, file: str, first: int) -> pa.Table:
    n = len(table)
    zeros, names = np.zeros(n, np.uint64), [str(row) for row in range(first, first + n)]
    columns: list[Any] = [[file] * n, names, zeros, zeros, np.ones(n, np.int8), [""] * n, [""] * n]
    for field, values in zip(ORIGIN, columns, strict=True):
        table = table.append_column(field.name, pa.array(values))
    return table


def _shard(parts: list[pa.Table], column: str, tokenizer: Tokenizer) -> tuple[Ragged, pa.Table]:
    table = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    rows = table[column].combine_chunks()
    if rows.null_count or rows.flatten().null_count:
        raise ValueError(f"{rows.null_count + rows.flatten().null_count} nulls")
    values = rows.flatten().cast(pa.int64()).to_numpy()
    if values.size and not 0 <= values.min() <= values.max() < tokenizer.vocab_size:
        raise ValueError(f"ids are 0 to {tokenizer.vocab_size - 1}, and there is {values.max()}")
    lengths = rows.value_lengths().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Ragged(values.astype(np.uint16), offsets), table.select(ORIGIN.names).cast(ORIGIN)
