"""Sequence files to token ids, streaming: memory holds one chunk of records at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.fasta import read_fasta
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["tokenize_file"]

CHUNK_BP = 1 << 23


def tokenize_file(
    path: str | os.PathLike[str],
    tokenizer: Tokenizer,
    out: str | os.PathLike[str] | None = None,
    *,
    max_length: int | None = None,
    threads: int = 0,
) -> int:
    """Write the ids of every record of a FASTA or FASTQ file; returns the number of records.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or gz, bgz, zst.
    tokenizer : Tokenizer
    out : path, optional
        ``.parquet`` (columns ``name`` and ``input_ids``) or ``.tsv`` (name, tab, ids parted by
        spaces); standard output, as ``.tsv``, when it is left out.
    max_length : int, optional
        Most tokens of a record, special ones included.
    threads : int
        0 takes every core.

    Raises
    ------
    FastaError
        When the file is not readable to its end; `out` is then not written.
    ValueError
        When the suffix of `out` is another one.
    """
    chunks = _encoded(Path(path), tokenizer, max_length, threads)
    if out is None:
        return _write_tsv(chunks, sys.stdout)
    out = Path(out)
    if out.suffix not in (".parquet", ".tsv"):
        raise ValueError(f"out: {out.name} must end in .parquet or .tsv")
    with atomic_path(out) as temporary:
        if out.suffix == ".parquet":
            return _write_parquet(chunks, temporary)
        with temporary.open("w", encoding="utf-8") as handle:
            return _write_tsv(chunks, handle)


def _encoded(
    path: Path, tokenizer: Tokenizer, max_length: int | None, threads: int
) -> Iterator[tuple[list[str], Ragged]]:
    with progress(None, f"tokenizing {path.name}", "bases") as bar:
        names: list[str] = []
        sequences: list[str | bytes] = []
        waiting = 0
        for record in read_fasta(path):
            names.append(record.name)
            sequences.append(record.sequence)
            waiting += len(record.sequence)
            if waiting >= CHUNK_BP:
                yield (
                    names,
                    tokenizer.encode_batch(sequences, max_length=max_length, threads=threads),
                )
                bar.update(waiting)
                names, sequences, waiting = [], [], 0
        yield names, tokenizer.encode_batch(sequences, max_length=max_length, threads=threads)
        bar.update(waiting)


def _write_tsv(chunks: Iterator[tuple[list[str], Ragged]], handle: TextIO) -> int:
    records = 0
    for names, batch in chunks:
        for name, ids in zip(names, batch, strict=True):
            handle.write(f"{name}\t{' '.join(map(str, ids.tolist()))}\n")
        records += len(names)
    handle.flush()
    return records


def _write_parquet(chunks: Iterator[tuple[list[str], Ragged]], path: Path) -> int:
    schema = pa.schema([("name", pa.string()), ("input_ids", pa.large_list(pa.uint16()))])
    records = 0
    with pq.ParquetWriter(path, schema) as writer:
        for names, batch in chunks:
            columns = [pa.array(names, pa.string()), batch.to_arrow()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            records += len(names)
    return records
