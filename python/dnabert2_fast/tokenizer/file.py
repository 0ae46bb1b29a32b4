"""Sequence files to token ids, one chunk of records in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa

from dnabert2_fast._internal.arrow import parquet_writer, strings
from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.streams import is_stdout, text_output
from dnabert2_fast.io.fasta import read_chunks
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer._encode import naming_records
from dnabert2_fast.tokenizer._results import ReplacedCounts
from dnabert2_fast.tokenizer._tokenizer import Tokenizer

__all__ = ["Tokenized", "tokenize_file"]


class Tokenized(NamedTuple):
    """The result of `tokenize_file`.

    Attributes
    ----------
    records : int
    replaced : ReplacedCounts
        Letters that were folded or have no token.
    """

    records: int
    replaced: ReplacedCounts


def tokenize_file(
    path: str | os.PathLike[str],
    tokenizer: Tokenizer,
    out: str | os.PathLike[str] | None = None,
    *,
    max_length: int | None = None,
    rna: bool = False,
    threads: int = 0,
) -> Tokenized:
    r"""Write the ids of every record of a FASTA or FASTQ file.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, compressed or not, or a pipe; ``-`` is standard input.
    tokenizer : Tokenizer
    out : path, optional
        ``.parquet`` (columns ``name`` and ``input_ids``; the schema's metadata names the
        tokenizer) or ``.tsv`` (name, tab, ids separated
        by spaces); standard output, as ``.tsv``, for ``-`` or by default.
    max_length : int, optional
        Maximum tokens of a record, special ones included.
    rna : bool
        Read U as T.
    threads : int
        0 uses every core.

    Returns
    -------
    Tokenized
        Number of records, and the letters that were replaced.

    Raises
    ------
    FastaError
        When the file is not readable to its end; `out` is not written then.
    ValueError
        When `out` has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">one\nACGTTGCA\n>two\nACN\n")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> done = tokenize_file(folder / "x.fa", tok, folder / "x.tsv")
    >>> done.records, done.replaced.unknown
    (2, {'N': 1})
    >>> (folder / "x.tsv").read_text().splitlines()
    ['one\t1 5 134 32 2', 'two\t1 5 6 0 2']
    """
    replaced = ReplacedCounts(0, {})

    def encoded() -> Iterator[tuple[list[str], Ragged]]:
        nonlocal replaced
        with progress(None, f"tokenizing {Path(path).name}", "bases") as bar:
            for names, sequences in read_chunks(path, rna=rna):
                with naming_records(path, names):
                    ids = tokenizer.encode_batch(sequences, max_length=max_length, threads=threads)
                yield names, ids
                replaced = replaced.plus(tokenizer.replaced(sequences))
                bar.update(sum(map(len, sequences)))

    out = Path("-" if out is None else out)
    if not is_stdout(out) and out.suffix not in (".parquet", ".tsv"):
        raise ValueError(f"out: must end in .parquet or .tsv (got {out.name}).")
    if out.suffix == ".parquet":
        with atomic_path(out) as temporary:
            records = _write_parquet(encoded(), temporary, tokenizer)
    else:
        with text_output(out) as handle:
            records = _write_tsv(encoded(), handle)
    return Tokenized(records, replaced)


def _write_tsv(chunks: Iterator[tuple[list[str], Ragged]], handle: IO[bytes]) -> int:
    records = 0
    for names, batch in chunks:
        for name, ids in zip(names, batch, strict=True):
            handle.write(f"{name}\t{' '.join(map(str, ids.tolist()))}\n".encode())
        records += len(names)
    return records


def _write_parquet(
    chunks: Iterator[tuple[list[str], Ragged]], path: Path, tokenizer: Tokenizer
) -> int:
    schema = pa.schema(
        [("name", pa.string()), ("input_ids", pa.large_list(pa.uint16()))],
        {"tokenizer_sha256": tokenizer.fingerprint, "matching": tokenizer.matching},
    )
    records = 0
    with parquet_writer(path, schema) as writer:
        for names, batch in chunks:
            columns = [strings(names), batch.to_arrow()]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            records += len(names)
    return records
