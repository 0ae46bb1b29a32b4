"""Likelihoods of the sequences of a file, as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.progress import progress
from dnabert2_fast.genomics.likelihood.scores import (
    CHUNK,
    Likelihood,
    likelihoods,
    require_masked_lm,
)
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["likelihood_table"]

COLUMNS = {
    "name": pa.string(),
    "log_likelihood": pa.float64(),
    "tokens": pa.int64(),
    "bases": pa.int64(),
    "perplexity": pa.float64(),
    "bits_per_base": pa.float64(),
}


def likelihood_table(
    path: str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    window_bp: int | None = None,
    mask_stride: int | None = None,
    batch_tokens: int = 16_384,
) -> int:
    """Write the likelihood of every record of a FASTA or FASTQ file; returns their number.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or gz, bgz, zst.
    model, tokenizer, mask_stride, batch_tokens
        As in `pseudo_likelihood`.
    out : path
        ``.tsv`` or ``.parquet``: name, log_likelihood, tokens, bases, perplexity, bits_per_base.
    window_bp : int, optional
        Cut records into windows of so many letters, one row each, named ``record:start-end``
        (0-based, half-open).

    Raises
    ------
    FastaError
        When the file is not readable to its end; nothing is written then.
    ValueError
        When `out` has another suffix.
    """
    out = Path(out)
    if out.suffix not in (".tsv", ".parquet"):
        raise ValueError(f"out: {out.name} must end in .tsv or .parquet")
    if window_bp is not None and window_bp < 1:
        raise ValueError(f"window_bp: {window_bp} is not positive")
    require_masked_lm(model, tokenizer, mask_stride, batch_tokens)
    stream, rows = _pieces(path, window_bp), 0
    with (
        atomic_path(out) as temporary,
        _writer(temporary) as write,
        progress(None, "likelihood", "sequences") as bar,
    ):
        while chunk := list(islice(stream, CHUNK)):
            texts = [text for _, text in chunk]
            found = likelihoods(texts, model, tokenizer, mask_stride, batch_tokens, bar)
            write([name for name, _ in chunk], found)
            rows += len(chunk)
    return rows


def _pieces(path: str | os.PathLike[str], window_bp: int | None) -> Iterator[tuple[str, str]]:
    for name, sequence in read_fasta(path):
        size = window_bp or max(len(sequence), 1)
        for start in range(0, max(len(sequence), 1), size):
            piece = sequence[start : start + size]
            yield (f"{name}:{start}-{start + len(piece)}" if window_bp else name), piece


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[list[str], list[Likelihood]], None]]:
    """Open a table; gives what writes rows into it."""

    def columns(names: list[str], found: list[Likelihood]) -> list[list[Any]]:
        numbers = [(*each, each.perplexity, each.bits_per_base) for each in found]
        return [names, *map(list, zip(*numbers, strict=True))]

    if path.suffix == ".parquet":
        schema = pa.schema(list(COLUMNS.items()))
        with pq.ParquetWriter(path, schema) as parquet:
            yield lambda *rows: parquet.write_table(pa.table(columns(*rows), schema=schema))
        return
    with path.open("w", encoding="utf-8") as text:
        text.write("\t".join(COLUMNS) + "\n")
        yield lambda *rows: text.writelines(
            "\t".join([name, *(f"{value:.8g}" for value in numbers)]) + "\n"
            for name, *numbers in zip(*columns(*rows), strict=True)
        )
