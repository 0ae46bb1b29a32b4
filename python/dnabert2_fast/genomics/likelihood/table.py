"""Likelihoods of the sequences of a file, as a table."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.streams import is_stdout
from dnabert2_fast.genomics.likelihood.scores import (
    CHUNK,
    Likelihood,
    likelihoods,
    require_masked_lm,
)
from dnabert2_fast.genomics.loading import load_masked_lm
from dnabert2_fast.io.regions import Piece, SequenceFile, read_pieces
from dnabert2_fast.io.table_writer import require_ending, table_writer
from dnabert2_fast.io.tracks import TRACK_SUFFIXES
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.weights import Name
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
    model: Dnabert2ForMaskedLM | Name,
    tokenizer: Tokenizer | Name | None,
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
        .csv, .tsv (also .gz) or .parquet (``-`` is standard output, as .tsv): name, log_likelihood,
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
    if not is_stdout(out):
        require_ending(out, others=TRACK_SUFFIXES, what="for a track")
    model, tokenizer = load_masked_lm(model, tokenizer)
    require_masked_lm(model, tokenizer, mask_stride, batch_tokens)
    source, rows = SequenceFile.of(source), 0
    pieces = known_pieces(read_pieces(source), tokenizer, source.path)
    with (
        table_writer(out, pa.schema(COLUMNS), stdout=".tsv") as write,
        progress(None, "likelihood", "sequences") as bar,
    ):
        while chunk := list(islice(pieces, CHUNK)):
            texts = [piece.sequence for piece in chunk]
            found = likelihoods(texts, model, tokenizer, mask_stride, batch_tokens, bar)
            write(_columns(chunk, found))
            rows += len(chunk)
    return rows


def _columns(pieces: list[Piece], found: list[Likelihood]) -> list[list[Any]]:
    numbers = [(*each, each.perplexity, each.bits_per_base) for each in found]
    names, strands = [piece.name for piece in pieces], [piece.strand for piece in pieces]
    return [names, *map(list, zip(*numbers, strict=True)), strands]
