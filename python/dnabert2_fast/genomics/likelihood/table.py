"""Likelihoods of the sequences of a file, as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dnabert2_fast._internal.arrow import parquet_writer
from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.streams import is_stdout, text_output
from dnabert2_fast.genomics.likelihood.scores import (
    CHUNK,
    Likelihood,
    likelihoods,
    require_masked_lm,
)
from dnabert2_fast.io.regions import Piece, SequenceFile, read_pieces
from dnabert2_fast.io.tracks import TRACK_SUFFIXES
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_pieces

__all__ = ["likelihood_table"]

COLUMNS = {
    "name": pa.string(),
    "log_likelihood": pa.float64(),
    "tokens": pa.int64(),
    "bases": pa.int64(),
    "perplexity": pa.float64(),
    "bits_per_base": pa.float64(),
    "strand": pa.string(),
}


def likelihood_table(
    source: SequenceFile | str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    mask_stride: int | None = None,
    batch_tokens: int = 16_384,
) -> int:
    r"""Write the likelihood of every sequence of a file.

    Parameters
    ----------
    source : path or SequenceFile
        FASTA or FASTQ, compressed or not; a table (.csv, .tsv) or lines (.txt). `SequenceFile`
        chooses a column or regions of a genome, and cuts into windows: one row each.
    model, tokenizer, mask_stride, batch_tokens
        As in `pseudo_likelihood`.
    out : path
        ``.tsv`` or ``.parquet`` (``-`` is standard output, as ``.tsv``): name, log_likelihood,
        tokens, bases, perplexity, bits_per_base, strand.

    Returns
    -------
    int
        Number of sequences.

    Raises
    ------
    FastaError, DataError
        When a file is not readable to its end; no output is written then.
    ValueError
        When `out` has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">chr1\nACGTTGCATTAGCATTTACGGATTA\n")
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> windows = SequenceFile(folder / "x.fa", window_bp=10)
    >>> likelihood_table(windows, model, tok, folder / "x.tsv")
    3
    >>> (folder / "x.tsv").read_text().split("\n")[3].split("\t")[0]
    'chr1:20-25'
    """
    out = Path(out)
    if not is_stdout(out) and out.suffix not in (".tsv", ".parquet"):
        tracks = ", ".join(TRACK_SUFFIXES)
        raise ValueError(
            f"out: must end in .tsv or .parquet for a table, in {tracks} for a track "
            f"(got {out.name})."
        )
    require_masked_lm(model, tokenizer, mask_stride, batch_tokens)
    source, rows = SequenceFile.of(source), 0
    pieces = known_pieces(read_pieces(source), tokenizer, source.path)
    with (
        _writer(out) as write,
        progress(None, "likelihood", "sequences") as bar,
    ):
        while chunk := list(islice(pieces, CHUNK)):
            texts = [piece.sequence for piece in chunk]
            found = likelihoods(texts, model, tokenizer, mask_stride, batch_tokens, bar)
            write(chunk, found)
            rows += len(chunk)
    return rows


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[list[Piece], list[Likelihood]], None]]:
    """Open a table; yields the function that writes rows."""

    def columns(pieces: list[Piece], found: list[Likelihood]) -> list[list[Any]]:
        numbers = [(*each, each.perplexity, each.bits_per_base) for each in found]
        names, strands = [piece.name for piece in pieces], [piece.strand for piece in pieces]
        return [names, *map(list, zip(*numbers, strict=True)), strands]

    if path.suffix == ".parquet":
        schema = pa.schema(list(COLUMNS.items()))
        with atomic_path(path) as temporary, parquet_writer(temporary, schema) as parquet:
            yield lambda *rows: parquet.write_table(pa.table(columns(*rows), schema=schema))
        return
    with text_output(path) as text:
        text.write(("\t".join(COLUMNS) + "\n").encode())
        yield lambda *rows: text.writelines(
            ("\t".join([name, *(f"{value:.8g}" for value in numbers), strand]) + "\n").encode()
            for name, *numbers, strand in zip(*columns(*rows), strict=True)
        )
