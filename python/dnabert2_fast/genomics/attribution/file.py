"""Attributions of a file's sequences as tracks, tables, plots and motifs."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dnabert2_fast._internal.atomic import atomic_folder, atomic_path, require_writable
from dnabert2_fast._internal.extras import require_plots
from dnabert2_fast._internal.progress import progress
from dnabert2_fast.genomics.attribution.config import AttributionConfig, AttributionOutput
from dnabert2_fast.genomics.attribution.exchange import (
    Hit,
    JasparMotifs,
    write_meme,
    write_modisco,
)
from dnabert2_fast.genomics.attribution.motifs import EnrichedKmer, enriched_kmers
from dnabert2_fast.genomics.attribution.mutagenesis import BASES, Attribution, attribute_quietly
from dnabert2_fast.genomics.attribution.plot import MAX_BP, plot_attribution
from dnabert2_fast.genomics.attribution.shuffle import dinucleotide_shuffle
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.io.regions import Piece, SequenceFile, read_in_order
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.io.table_writer import table_writer
from dnabert2_fast.io.tracks import is_track, track
from dnabert2_fast.model.auto import Model
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_pieces

__all__ = ["attribute_file"]

TEXT, WHOLE, NUMBER = pa.string(), pa.int64(), pa.float64()
PLACED = {"name": TEXT, "contig": TEXT, "start": WHOLE, "end": WHOLE, "strand": TEXT}
TOKENS = pa.schema({**PLACED, "token": TEXT, "score": NUMBER})
HITS = pa.schema(
    {
        **PLACED,
        "motif": TEXT,
        "motif_name": TEXT,
        "score": NUMBER,
        "p_value": NUMBER,
        "attribution": NUMBER,
        "z_score": NUMBER,
        "high_bp": WHOLE,
    }
)
MOTIFS = pa.schema(
    {
        "kmer": TEXT,
        "reverse_complement": TEXT,
        "inside": WHOLE,
        "expected": NUMBER,
        "p_value": NUMBER,
        "q_value": NUMBER,
    }
)


def attribute_file(
    source: SequenceFile | str | os.PathLike[str],
    model: Model | Name,
    tokenizer: Tokenizer | Name | None,
    output: AttributionOutput,
    config: AttributionConfig | None = None,
) -> int:
    """Attribute every sequence of a file, or regions of a genome; returns their number.

    Parameters
    ----------
    source : path or SequenceFile
        FASTA or FASTQ, compressed or not; a table (.csv, .tsv) or lines (.txt). `SequenceFile`
        chooses a column or regions of a genome, and cuts into windows. Each region and window is a
        separate sequence: the model reads no base outside. The order is that of the contigs.
        Regions on the strand ``-`` are read and drawn on that strand; files of scores have the
        positions, bases and effects of the forward strand, and tables the strand that was read. A
        classifier's input is cut into windows of its fine-tuning length, unless `SequenceFile`
        sets another.
    model, tokenizer
        As in `attribute`.
    output : AttributionOutput
    config : AttributionConfig, optional

    Raises
    ------
    FastaError, DataError
        When a file is damaged, regions overlap where a track is written, or names repeat.
    """
    if output.modisco is not None and (config or AttributionConfig()).method != "mutagenesis":
        raise ValueError("modisco: requires --method mutagenesis, which scores every base.")
    for file in (output.out, output.tokens, output.motifs, output.hits):
        if file is not None:
            require_writable(file)
    if output.plots is not None:
        require_plots("logomaker")
    model, tokenizer = load_model(model, tokenizer)
    source = _fitted(SequenceFile.of(source), model.config.window_bp)
    to_track = output.out is not None and is_track(output.out)
    ordered = read_in_order(source, disjoint=to_track)
    if output.plots is not None and ordered.max_bp > MAX_BP:
        raise ValueError(
            f"plots: must have at most {MAX_BP:,} bases (got {ordered.max_bp:,}). Use regions or "
            "window_bp."
        )
    background = None
    if output.background is not None:
        rna = SequenceFile.of(source).rna
        background = [record.sequence for record in read_fasta(output.background, rna=rna)]
    scanner = None if output.jaspar is None else JasparMotifs(output.jaspar)
    kept: list[Attribution] = []
    shuffled: list[Attribution] = []
    rng = random.Random(0)
    with ExitStack() as stack:
        write = (
            None
            if output.out is None
            else stack.enter_context(_sink(output.out, ordered.contig_lengths))
        )
        folder = None
        if output.plots is not None:
            folder = stack.enter_context(atomic_folder(output.plots))
        write_tokens = (
            None if output.tokens is None else stack.enter_context(_token_sink(output.tokens))
        )
        modisco = None
        if output.modisco is not None:
            modisco = stack.enter_context(atomic_folder(output.modisco))
        hits = None
        if output.hits is not None:
            hits = stack.enter_context(table_writer(output.hits, HITS))
        bar = stack.enter_context(progress(ordered.sequence_count, "attributing", "sequences"))
        upper = (piece._replace(sequence=piece.sequence.upper()) for piece in ordered.pieces)
        for number, piece in enumerate(known_pieces(upper, tokenizer, source.path), 1):
            found = attribute_quietly(piece.sequence, model, tokenizer, config)
            forward = found.turned() if piece.strand == "-" else found
            if write is not None:
                write(piece, forward)
            if write_tokens is not None:
                write_tokens(piece, forward)
            if folder is not None and piece.sequence:
                plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in piece.name)
                picture = folder / f"{number:05d}_{plain[:80]}.{output.plot_format}"
                turned = piece.strand == "-" and not piece.name.endswith("(-)")
                plot_attribution(
                    found,
                    picture,
                    title=piece.name + " (-)" * turned,
                    model=Path(model.name_or_path).name,
                    contig=piece.contig,
                    start=piece.start,
                    strand=piece.strand,
                )
            if output.motifs is not None or modisco is not None:
                kept.append(replace(found, weights=None))
            if output.motifs is not None and background is None:
                mixed = dinucleotide_shuffle(piece.sequence, rng)
                null = attribute_quietly(mixed, model, tokenizer, config)
                shuffled.append(replace(null, effects=None, weights=None))
            if hits is not None and scanner is not None:
                rows = [_hit_row(piece, hit) for hit in scanner.scan(found)]
                if rows:
                    hits(zip(*rows, strict=True))
            bar.update()
        if output.motifs is not None:
            null_of = shuffled if background is None else None
            enriched = enriched_kmers(kept, output.kmer, background=background, shuffled=null_of)
            if output.motifs.suffix == ".meme":
                with atomic_path(output.motifs) as temporary:
                    write_meme(temporary, enriched, kept)
            else:
                _write_motifs(output.motifs, enriched)
        if modisco is not None:
            write_modisco(modisco, kept)
    return ordered.sequence_count


def _fitted(source: SequenceFile, trained_bp: int | None) -> SequenceFile:
    """Return the source in windows of a classifier's fine-tuning length, unless already cut."""
    if trained_bp is None or source.window_bp == trained_bp:
        return source
    if source.window_bp is None:
        return replace(source, window_bp=trained_bp)
    warnings.warn(
        f"window_bp: {source.window_bp}, but the model was fine-tuned on {trained_bp} bp. Leave it "
        f"out to attribute windows of {trained_bp} bp.",
        stacklevel=3,
    )
    return source


@contextmanager
def _sink(path: Path, lengths: dict[str, int]) -> Iterator[Callable[[Piece, Attribution], None]]:
    """Open the file of scores; yields the function that writes one sequence."""
    if is_track(path):
        with track(path, lengths) as opened:
            yield lambda piece, found: opened.add(piece.contig, piece.start, found.scores)
        return
    kinds = [("name", pa.string()), ("contig", pa.string()), ("position", pa.int64())]
    kinds += [("strand", pa.string()), ("base", pa.string()), ("score", pa.float64())]
    kinds += [(f"effect_{base}", pa.float64()) for base in BASES]
    schema = pa.schema(kinds)
    with table_writer(path, schema) as write_rows:

        def write(piece: Piece, found: Attribution) -> None:
            count = len(found.sequence)
            effects = np.full((count, 4), np.nan) if found.effects is None else found.effects
            columns = [
                pa.array([piece.name] * count),
                pa.array([piece.contig] * count),
                pa.array(np.arange(piece.start, piece.start + count)),
                pa.array([piece.strand] * count),
                pa.array(list(found.sequence)),
                *(
                    pa.array(column, pa.float64(), from_pandas=True)  # NaN becomes null
                    for column in (found.scores, *effects.T)
                ),
            ]
            write_rows(pa.table(columns, schema=schema))

        yield write


@contextmanager
def _token_sink(path: Path) -> Iterator[Callable[[Piece, Attribution], None]]:
    """Open the table of tokens; yields the function that writes those of one sequence."""
    with table_writer(path, TOKENS) as write_rows:

        def write(piece: Piece, found: Attribution) -> None:
            if not found.tokens:
                return
            first = piece.start
            rows = [
                (piece.name, piece.contig, first + start, first + end, strand, token, score)
                for start, end, token, score, strand in found.tokens
            ]
            write_rows(zip(*rows, strict=True))

        yield write


def _hit_row(piece: Piece, hit: Hit) -> tuple[object, ...]:
    """Return a row of the file of hits, in coordinates of the contig."""
    start, end, strand = piece.start + hit.start, piece.start + hit.end, hit.strand
    if piece.strand == "-":
        start, end = piece.end - hit.end, piece.end - hit.start
        strand = "+" if strand == "-" else "-"
    numbers = (hit.score, hit.p_value, hit.attribution, hit.z_score, hit.high_bp)
    return piece.name, piece.contig, start, end, strand, hit.motif, hit.motif_name, *numbers


def _write_motifs(path: Path, found: Sequence[EnrichedKmer]) -> None:
    rows = [
        (row.kmer, reverse_complement(row.kmer), row.inside, row.expected, row.p_value, row.q_value)
        for row in found
    ]
    with table_writer(path, MOTIFS) as write:
        if rows:
            write(zip(*rows, strict=True))
