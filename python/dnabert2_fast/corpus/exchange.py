"""A corpus for other programs, and token ids of other programs as a corpus."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast import _native
from dnabert2_fast._internal.arrow import parquet_writer
from dnabert2_fast._internal.atomic import atomic_folder, atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import progress
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
from dnabert2_fast.io.arguments import file_list, printable
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["as_dataset", "as_table", "export_parquet", "import_parquet"]

IDS = "input_ids"
WEIGHT = "weight"
SHARD_TOKENS = 1 << 22


class _Whose(NamedTuple):
    """Values that a shard stores once and a Parquet file in every row."""

    species: str
    group: str
    weight: float


NOBODY = _Whose("", "", 1.0)


def _require_corpus(corpus: Corpus) -> None:
    if not isinstance(corpus, Corpus):
        raise TypeError(
            f"corpus: must be a Corpus (got {type(corpus).__name__}). Open its folder with "
            "Corpus.open."
        )


def as_table(corpus: Corpus) -> pa.Table:
    r"""Return the windows as an Arrow table, over the mapped files.

    Nothing is copied, and ids are read from disk when they are used.

    Parameters
    ----------
    corpus : Corpus
        It stays open as long as the table exists.

    Returns
    -------
    pyarrow.Table
        One column, ``input_ids``.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">a\n" + "ACGTTGCA" * 50)
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> config = CorpusConfig(window_bp=100, valid_fraction=0)
    >>> corpus = build_corpus([folder / "x.fa"], folder / "c", tok, config)
    >>> as_table(corpus).num_rows
    4
    """
    _require_corpus(corpus)
    chunks = [shard.to_arrow() for shard in corpus.shards]
    return pa.table({IDS: pa.chunked_array(chunks, pa.large_list(pa.uint16()))})


def as_dataset(corpus: Corpus) -> Any:
    """Return the windows as a ``datasets.Dataset``, over the mapped files.

    Needs the package ``datasets``. Pickling it copies the ids; open the corpus again in workers.

    Parameters
    ----------
    corpus : Corpus
        It stays open as long as the dataset exists.

    Returns
    -------
    datasets.Dataset
        One column, ``input_ids``.
    """
    with needs("as_dataset"):
        from datasets import Dataset
        from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(as_table(corpus)))


def export_parquet(corpus: Corpus, path: str | os.PathLike[str]) -> None:
    r"""Write ids, origins and weights of all windows to a Parquet file.

    Columns: ``input_ids``, those of `Corpus.origins`, and ``weight``, the relative
    number of draws of a window in training.

    Parameters
    ----------
    corpus : Corpus
        Each shard becomes a row group.
    path : path
        File to write.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">a\n" + "ACGTTGCA" * 50)
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> config = CorpusConfig(window_bp=100, valid_fraction=0)
    >>> corpus = build_corpus([folder / "x.fa"], folder / "c", tok, config)
    >>> export_parquet(corpus, folder / "c.parquet")
    >>> pq.read_table(folder / "c.parquet", columns=["record", "start"]).to_pylist()[1]
    {'record': 'a', 'start': 100}
    """
    _require_corpus(corpus)
    ids_field, weight_field = pa.field(IDS, pa.large_list(pa.uint16())), (WEIGHT, pa.float64())
    schema = pa.schema([ids_field, *ORIGIN, weight_field])
    with (
        atomic_path(path) as temporary,
        parquet_writer(temporary, schema, compression="zstd") as writer,
        progress(len(corpus), "exporting", "windows") as bar,
    ):
        for number, (shard, (n, weight)) in enumerate(
            zip(corpus.shards, corpus.weights, strict=True)
        ):
            origins = corpus.origins_of(number)
            ids = pa.chunked_array([shard.to_arrow()])
            weights = pa.array(np.full(n, float(weight)))
            writer.write_table(pa.table([ids, *origins.columns, weights], schema=schema))
            bar.update(n)


def import_parquet(
    files: Iterable[str | os.PathLike[str]] | os.PathLike[str],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    valid: Iterable[str | os.PathLike[str]] = (),
    column: str = IDS,
) -> Corpus:
    """Make a corpus from Parquet files of token ids, one list per row.

    Parameters
    ----------
    files : iterable of paths
        For training. Origins and weights are taken over from files that have the columns of
        `export_parquet`, whose rows may be fewer but must lie species by species; of others, the
        file's name and the row's number as the record are kept.
    out : path
        Folder to create; it appears when it is complete.
    tokenizer : Tokenizer
        The tokenizer that made the ids.
    valid : iterable of paths
        Files of the held-out split.
    column : str
        Column of the ids.

    Returns
    -------
    Corpus
        Split ``"train"``.

    Raises
    ------
    CorpusError
        When `out` exists already, a file lacks the column or it does not hold lists of integers, an
        id is not in the vocabulary, a weight is invalid, or the rows of a species are scattered.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa, pyarrow.parquet as pq
    >>> from dnabert2_fast import Tokenizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> pq.write_table(pa.table({"input_ids": [[1, 5, 2], [1, 2]]}), folder / "ids.parquet")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = import_parquet([folder / "ids.parquet"], folder / "corpus", tok)
    >>> len(corpus), corpus.where(1).file, corpus.where(1).record
    (2, 'ids.parquet', '1')
    """
    out = Path(out)
    if out.exists():
        raise CorpusError(f"{out}: exists already. Choose another folder or delete it.")
    given = file_list(files), file_list(valid, "valid")
    settings = encoded_with(tokenizer)
    text = about(settings)
    shards: list[dict[str, Any]] = []
    inputs = []
    with atomic_folder(out) as folder, progress(None, "importing", "windows") as bar:
        for split, paths in zip(SPLITS, given, strict=True):
            for path in map(Path, paths):
                inputs.append({"path": printable(path.name), "bytes": path.stat().st_size})
                for ids, origins, whose in _batches(path, column, tokenizer):
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
                            **whose._asdict(),
                        }
                    )
                    bar.update(len(ids))
        write_contents(folder, tokenizer, {**settings, "inputs": inputs}, [], shards)
    return Corpus.open(out)


def _batches(
    path: Path, column: str, tokenizer: Tokenizer
) -> Iterator[tuple[Ragged, pa.Table, _Whose]]:
    """Yield ids and origins of consecutive rows of one species, enough for one shard."""
    try:
        parts: list[pa.Table] = []
        waiting, last = 0, NOBODY
        for rows, whose in _runs(path, column):
            if parts and (whose != last or waiting >= SHARD_TOKENS):
                yield *_shard(parts, column, tokenizer), last
                parts, waiting = [], 0
            parts.append(rows)
            waiting += len(rows[column].combine_chunks().flatten())
            last = whose
        if not parts:
            raise CorpusError(f"{path}: has no rows. Leave it out.")
        yield *_shard(parts, column, tokenizer), last
    except CorpusError:
        raise
    except (pa.ArrowException, AttributeError, ValueError, OverflowError) as error:
        what = "must contain lists of token ids without nulls"
        raise CorpusError(f"{path}: column {column!r}: {what}: {error}") from None


def _runs(path: Path, column: str) -> Iterator[tuple[pa.Table, _Whose]]:
    """Yield ids and origins of some rows of one species at a time."""
    with path.open("rb") as handle:
        yield from _runs_of(pq.ParquetFile(handle), path, column)


def _runs_of(file: pq.ParquetFile, path: Path, column: str) -> Iterator[tuple[pa.Table, _Whose]]:
    names = file.schema_arrow.names
    if column not in names:
        raise CorpusError(f"{path}: has no column {column!r} (got {', '.join(names)}).")
    whole = set(ORIGIN.names) <= set(names)
    kept = [*ORIGIN.names, *({WEIGHT} & set(names))] if whole else []
    first = count = 0
    last: _Whose | None = None
    met: set[_Whose] = set()
    for batch in file.iter_batches(columns=[column, *kept]):
        table = pa.table(batch)
        if not whole:
            table = _with_rows(table, printable(path.name), first)
        if WEIGHT not in kept:
            table = table.append_column(WEIGHT, pa.array(np.ones(len(table))))
        first += len(table)
        for start, end in pairwise(_changes(table)):
            rows = table.slice(start, end - start)
            whose = _whose(rows, path)
            met.add(whose)
            count += whose != last
            # An export has a row group for each span of a species, a sorted table one span.
            if count > file.num_row_groups + len(met):
                raise CorpusError(
                    f"{path}: rows of a species lie scattered, and a shard holds rows of one. "
                    "Sort the table by species, group and weight."
                )
            last = whose
            yield rows, whose


def _changes(table: pa.Table) -> list[int]:
    """Return 0, the rows in which another species begins, and the number of rows."""
    changed = np.zeros(len(table) + 1, bool)
    changed[[0, -1]] = True
    for name in _Whose._fields:
        codes = table[name].combine_chunks().dictionary_encode().indices
        changed[1:-1] |= np.diff(codes.fill_null(-1).to_numpy()) != 0
    return np.flatnonzero(changed).tolist()


def _whose(rows: pa.Table, path: Path) -> _Whose:
    species, group, weight = (rows[name][0].as_py() for name in _Whose._fields)
    if not isinstance(weight, float | int) or not 0 <= weight < math.inf:
        raise CorpusError(f"{path}: weight: must be a finite number >= 0 (got {weight}).")
    return _Whose(species or "", group or "", float(weight))


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
    lengths = rows.value_lengths().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    size, pad = tokenizer.vocab_size, tokenizer.pad_id
    if (wrong := (values < 0) | (values >= size)).any():
        raise ValueError(f"ids are 0 to {size - 1} (got {values[wrong.argmax()]}).")
    if pad is not None and (padding := values == pad).any():
        row = int(np.searchsorted(offsets, padding.argmax(), "right")) - 1
        where = ", ".join(str(table[name][row].as_py()) for name in ("file", "record"))
        raise ValueError(
            f"record {where} holds {tokenizer.vocabulary[pad]} (id {pad}). Remove the padding: a "
            "corpus stores rows of any length."
        )
    return Ragged(values.astype(np.uint16), offsets), table.select(ORIGIN.names).cast(ORIGIN)
