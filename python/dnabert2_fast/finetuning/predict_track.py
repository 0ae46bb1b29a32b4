"""Predictions of a fine-tuned model along a genome: one track per class."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import require_writable
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.resume import ResumeStore
from dnabert2_fast._internal.streams import PACKED
from dnabert2_fast.finetuning.config import PredictConfig
from dnabert2_fast.finetuning.predictor import Predictor
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.windows import Region, Window, has_bases
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.regions import SequenceFile, Span, read_in_order, read_spans
from dnabert2_fast.io.tracks import is_segments, track
from dnabert2_fast.tokenizer.unknown import require_known

__all__ = ["predict_track", "track_paths"]


def track_paths(out: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the file of each class: ``x.NAME.bw`` for ``x.bw``, which is the one of one number.

    Raises
    ------
    ValueError
        When two names give one file.

    Examples
    --------
    >>> [path.name for path in track_paths(Path("x.bedgraph.gz"), ("other", "TATA box"))]
    ['x.other.bedgraph.gz', 'x.TATA_box.bedgraph.gz']
    """
    if len(names) == 1:
        return [out]
    suffixes = "".join(out.suffixes[-2:] if out.suffix in PACKED else out.suffixes[-1:])
    stem = out.name.removesuffix(suffixes)
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in names]
    twice = next((name for name in safe if safe.count(name) > 1), None)
    if twice is not None:
        raise ValueError(
            f"out: two classes have the file {stem}.{twice}{suffixes}. Rename one in task.json."
        )
    return [out.with_name(f"{stem}.{name}{suffixes}") for name in safe]


class _Regions(NamedTuple):
    """What is predicted along, in the order of the genome."""

    contig_lengths: dict[str, int]
    total_bp: int
    regions: Iterator[Region]


def predict_track(
    predictor: Predictor, file: Path, out: Path, config: PredictConfig, store: ResumeStore
) -> int:
    """Write the answers along a genome; returns the number of windows with an answer.

    Each base has the answer of the window around the middle of its bin of `stride_bp`. A window has
    none if more than half of it are other characters than A, C, G and T.

    Parameters
    ----------
    predictor : Predictor
    file : path
        FASTA, compressed or not; indexed or bgzip with regions.
    out : path
        ``.bw``, ``.bigwig``, ``.bedgraph`` or ``.bed``; see `track_paths`. A ``.bed`` holds the
        segments in which a class is predicted.
    config : PredictConfig
    store : ResumeStore

    Raises
    ------
    DataError, FastaError
        When an input is damaged, or regions overlap.
    ValueError
        When the model has no answer by position, or predicts numbers and `out` is a ``.bed``.
    """
    task, segments = predictor.task, is_segments(out)
    if segments and task.kind == "regression":
        raise ValueError(
            "out: a .bed holds segments of a class, and the model predicts numbers. Write a "
            ".bedgraph or .bw."
        )
    paths = track_paths(out, task.names)
    for path in paths:
        require_writable(path)
    genome = _regions(predictor, file, config)
    windows = predictor.windows_along(
        genome.regions, window_bp=config.window_bp, stride_bp=config.stride_bp
    )
    skipped = computed = written = done = 0

    def with_bases() -> Iterator[Window]:
        nonlocal skipped
        for window in windows:
            if has_bases(window.sequence):
                yield window
            else:
                skipped += window.own_end_bp - window.own_start_bp

    def keep(
        number: int, rows: int, compute: Callable[[], npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.float64]:
        def counted() -> npt.NDArray[np.float64]:
            nonlocal computed
            computed += 1
            return compute()

        return store.take(number, rows, counted)

    stream = predictor.stream(
        with_bases(), each_window=True, both_strands=config.both_strands, keep=keep
    )
    with ExitStack() as stack, progress(genome.total_bp, "predicting", "bases") as bar:
        tracks = [
            stack.enter_context(track(path, genome.contig_lengths, label=name))
            for path, name in zip(paths, task.names, strict=True)
        ]
        for chunk, answers in stream:
            spans, outputs = answers.spans, answers.outputs
            if spans is None:
                spans = np.array([(w.own_start_bp, w.own_end_bp) for w in chunk], np.int64)
            contigs = [window.contig for window in chunk]
            of_window = np.arange(len(chunk))
            if answers.lengths is not None:
                of_window = np.repeat(of_window, answers.lengths)
            chosen = _chosen(task, outputs) if segments else np.ones_like(outputs, bool)
            first = 0
            for contig, group in groupby(contigs):
                last = first + len(list(group))
                own = (of_window >= first) & (of_window < last)
                for number, opened in enumerate(tracks):
                    rows = own & chosen[:, number]
                    starts, ends = spans[rows].T
                    opened.add_runs(contig, starts, ends, outputs[rows, number])
                first = last
            written += len(chunk)
            bases = sum(window.own_end_bp - window.own_start_bp for window in chunk)
            done += bases
            if computed:
                bar.update(bases)
            bar.reach(done + skipped)
            computed = 0
    return written


def _regions(predictor: Predictor, file: Path, config: PredictConfig) -> _Regions:
    tokenizer = predictor.tokenizer
    if config.regions is not None:
        genome = Reference(file, rna=config.rna)
        spans = read_spans(config.regions, genome, disjoint=True)
        total = sum(span.end - span.start for span in spans)
        return _Regions(genome.lengths, total, regions_of(spans, genome))
    ordered = read_in_order(SequenceFile(file, rna=config.rna))

    def whole() -> Iterator[Region]:
        for piece in ordered.pieces:
            require_known(tokenizer, piece.sequence, file, piece.contig)
            span = Span(piece.name, piece.contig, 0, len(piece.sequence))
            yield Region(span, span.end, partial(_part_of, piece.sequence))

    return _Regions(ordered.contig_lengths, ordered.total_bp, whole())


def regions_of(spans: list[Span], genome: Reference) -> Iterator[Region]:
    """Yield the regions of an indexed genome."""
    for span in spans:
        yield Region(span, genome.length(span.contig), partial(genome.fetch, span.contig))


def _part_of(text: str, start: int, end: int) -> str:
    return text[start:end]


def _chosen(task: Task, outputs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return whether a class is predicted, as in the column ``prediction`` of a table."""
    if task.kind == "multilabel":
        return outputs >= 0.5
    chosen = np.zeros_like(outputs, bool)
    chosen[np.arange(len(outputs)), outputs.argmax(1)] = True
    return chosen
