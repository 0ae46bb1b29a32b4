"""Predictions of a fine-tuned model for a file, streamed to a table, with labels if present."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnabert2_fast._internal.progress import announce, progress
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast._internal.streams import is_stdout, require_file
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.config import PredictConfig
from dnabert2_fast.finetuning.inputs import require_known_row
from dnabert2_fast.finetuning.labels import IGNORED, Labelled
from dnabert2_fast.finetuning.predict_track import predict_track, regions_of
from dnabert2_fast.finetuning.predictor import Answers, Predictor, warn_of_empty
from dnabert2_fast.finetuning.rows import ColumnNames, Row, is_parquet, is_table, read_rows
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.windows import Window
from dnabert2_fast.io.content import as_bytes, open_input
from dnabert2_fast.io.fasta import records_of
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.regions import read_bed
from dnabert2_fast.io.table_writer import require_ending, table_writer
from dnabert2_fast.io.tracks import SEGMENT_SUFFIX, TRACK_SUFFIXES, is_segments, is_track
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import UnknownLetters, require_known

__all__ = ["Answers", "Predictor", "answer_columns", "predict_file", "write_labelled"]

Compute = Callable[[], npt.NDArray[np.float64]]


def predict_file(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    config: PredictConfig = PredictConfig(),  # noqa: B008 (it is frozen)
    *,
    part: tuple[int, int] | None = None,
) -> int:
    r"""Write the predictions for every record of a file.

    A repeated call resumes a stopped one: finished chunks are in ``OUT.parts`` until the output is
    complete.

    Parameters
    ----------
    file : path
        FASTA or FASTQ, compressed or not, or a pipe; or a table .csv with a column ``sequence`` (or
        ``sequence1`` and ``sequence2``) and perhaps ``name``.
    out : path
        .csv, .tsv (also .gz) or .parquet (``-`` is standard output, as .csv): ``name``;
        ``start_bp`` and ``end_bp`` of windows, tokens and bases; ``prediction`` (the most probable
        class; of labels those with at least one half, joined by ``;``); ``probability_NAME`` for
        each, or ``value_NAME`` for numbers. For regions also ``contig``, ``start_bp``, ``end_bp``
        and ``strand`` of each row.

        Or a track for each class, ``x.NAME.bw`` for ``x.bw``: .bw, .bigwig, .bedgraph (values), or
        .bed (segments in which the class is predicted), the last two also with .gz or .bgz.
        Windows then lie around bins of `stride_bp`, as for regions.
    model : path
        A folder that `finetune` wrote, or its hub id.
    config : PredictConfig
    part : tuple of int, optional
        ``(i, n)``: compute only part `i` of `n`, 1 <= i <= n, of a table into ``OUT.parts``. The
        same call without `part` then joins the parts.

    Returns
    -------
    int
        Number of rows or values written.

    Raises
    ------
    CheckpointError, DataError, FastaError
        When model or input cannot be read; no output is written then.
    ValueError
        When `out` has another suffix, the stride is not between 1 and the window, or the model's
        task has no answer of the requested kind.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from dnabert2_fast import Dnabert2ForSequenceClassification, Tokenizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> with warnings.catch_warnings():  # an untrained one, where finetune's would be
    ...     warnings.simplefilter("ignore")
    ...     Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder / "m")
    >>> Tokenizer.from_pretrained("mini").save(folder / "m" / "tokenizer.json")
    >>> Task("multiclass", ("other", "promoter"), window_bp=300).save(folder / "m")
    >>> _ = (folder / "x.fa").write_text(">one\nACGTTGCATTAGCA\n>two\nGGGCCC\n")
    >>> predict_file(folder / "x.fa", folder / "out.csv", folder / "m")
    2
    >>> (folder / "out.csv").read_text().splitlines()[0]
    'name,prediction,probability_other,probability_promoter'
    """
    out, file = Path(out), Path(file)
    to_track = is_track(out) or is_segments(out)
    if not (is_stdout(out) or to_track):
        require_ending(out, others=(*TRACK_SUFFIXES, SEGMENT_SUFFIX), what="for a track")
    if part is not None:
        require_file(file, "every part reads it")
        if to_track:
            raise ValueError("part: is for tables (got a track). Write a table.")
    predictor = Predictor.load(
        model,
        attention=config.attention,
        dtype=config.dtype,
        device=config.device,
        batch_tokens=config.batch_tokens,
    )
    announce(predictor.model.what_runs)
    settings = {
        "file": file,
        "regions": None if config.regions is None else Path(config.regions),
        "cut_bp": config.window_bp,
        "stride_bp": config.stride_bp,
        "both_strands": config.both_strands,
        "tokens": config.batch_tokens,
        "column": config.sequence_column,
        "rna": config.rna,
    }
    windows = None if to_track else _windows(predictor, file, config)
    net, tokenizer, task = predictor.model, predictor.tokenizer, predictor.task
    store = ResumeStore(out, fingerprint(net, tokenizer, task, **settings))
    if windows is None:
        with store.until_done():
            return predict_track(predictor, file, out, config, store)

    def keep(number: int, rows: int, compute: Compute) -> npt.NDArray[np.float64]:
        if part is not None and number % part[1] != part[0] - 1:
            return np.full((rows, len(task.names)), np.nan)  # another part computes it
        return store.take(number, rows, compute)

    stream = predictor.stream(
        windows,
        each_window=config.rows == "windows",
        both_strands=config.both_strands,
        keep=keep,
    )
    if part is not None:
        return sum(len(answers.outputs) for _, answers in stream)
    written = empty = 0
    bar_of_all = progress(None, "predicting", "rows")
    with store.until_done(), table_writer(out) as write, bar_of_all as bar:
        for answered, answers in stream:
            table = pa.table(_columns(task, answered, answers, config))
            write(table)
            written += len(table)
            empty += int(np.isnan(answers.outputs[:, 0]).sum())
            bar.update(len(table))
        if not written:
            raise DataError(f"{file}: has no records. Give a file with at least one sequence.")
    warn_of_empty(empty)
    return written


def _windows(predictor: Predictor, file: Path, config: PredictConfig) -> Iterator[Window]:
    sizes: dict[str, int | None]
    sizes = {"window_bp": config.window_bp, "stride_bp": config.stride_bp}
    if config.regions is None:
        if config.rows == "windows":
            window, stride = predictor.window_sizes(config.window_bp, config.stride_bp)
            sizes = {"window_bp": window, "stride_bp": stride}
        return predictor.windows_of(_records(file, predictor.tokenizer, config), **sizes)
    genome = Reference(file, rna=config.rna)
    regions = regions_of(read_bed(config.regions, genome), genome)
    return predictor.windows_along(regions, **sizes)


def _records(file: Path, tokenizer: Tokenizer, config: PredictConfig) -> Iterator[Row]:
    letters = UnknownLetters(tokenizer, file)
    opened = None if is_parquet(file) else open_input(file)
    columns = ColumnNames(config.sequence_column)
    if opened is None or is_table(opened, file, columns):
        source = file if opened is None else as_bytes(opened)
        rows = read_rows(source, file, labelled=False, rna=config.rna, columns=columns)
        for number, row in enumerate(rows):
            row = row._replace(name=row.name or str(number))
            require_known_row(tokenizer, row, file)
            letters.add(row.sequence + (row.pair or ""), row.name)
            yield row
        letters.warn()
        return
    for name, sequence in records_of(opened, rna=config.rna):
        require_known(tokenizer, sequence, file, name)
        letters.add(sequence, name)
        yield Row(name, sequence, None, "")
    letters.warn()


def _columns(
    task: Task, windows: list[Window], answers: Answers, config: PredictConfig
) -> dict[str, Any]:
    of_region, each_window = config.regions is not None, config.rows == "windows"
    index = np.arange(len(windows))
    spans = np.array([(w.start_bp, w.end_bp) for w in windows], np.int64)
    if answers.spans is not None and answers.lengths is not None:
        index, spans = np.repeat(index, answers.lengths), answers.spans
    elif of_region and not each_window:
        spans = np.array([(w.row_start_bp, w.row_end_bp) for w in windows], np.int64)

    def text(values: list[str]) -> pa.Array:
        return pa.array(np.array(values, dtype=object)[index], pa.string())

    columns: dict[str, Any] = {"name": text([w.name for w in windows])}
    if of_region:
        columns["contig"] = text([w.contig for w in windows])
    if of_region or each_window or task.by_position:
        columns["start_bp"], columns["end_bp"] = spans.T
    if of_region:
        columns["strand"] = text(["-" if w.reverse else "+" for w in windows])
    return {**columns, **answer_columns(task, answers.outputs)}


def answer_columns(task: Task, outputs: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the columns ``prediction`` and ``probability_NAME``, or ``value_NAME``.

    A row of NaN has no prediction.
    """
    # float32 has the precision of the model's computation, and is short in CSV.
    numbers = outputs.astype(np.float32).T
    if task.kind == "regression":
        return {f"value_{name}": column for name, column in zip(task.names, numbers, strict=True)}
    columns = {f"probability_{n}": column for n, column in zip(task.names, numbers, strict=True)}
    chosen = _joined(task, outputs >= 0.5)
    if task.kind != "multilabel":
        chosen = np.array(task.names, dtype=object)[outputs.argmax(1)]
    missing = np.isnan(outputs).any(1)
    return {"prediction": pa.array(chosen, pa.string(), mask=missing), **columns}


def _joined(task: Task, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Return the names of the labels that each row has, joined by ``;``."""
    names = np.array(task.names)
    return np.array([";".join(names[row]) for row in chosen], dtype=object)


def write_labelled(
    path: Path, task: Task, table: Labelled, labels: npt.NDArray[Any], answers: Answers
) -> None:
    """Write a table of labels and answers, as CSV.

    Columns: ``name``; for tokens and bases ``start_bp`` and ``end_bp``, else the sequences;
    ``label`` in the form of ``prediction``, so that they can be compared; then `answer_columns`.

    Parameters
    ----------
    path : Path
    task : Task
    table : Labelled
    labels : ndarray
        One per row of the answers.
    answers : Answers
    """
    columns: dict[str, Any] = {"name": list(table.names)}
    if answers.lengths is not None and answers.spans is not None:
        columns["name"] = np.repeat(np.array(table.names, dtype=object), answers.lengths)
        columns["start_bp"], columns["end_bp"] = answers.spans.T
    elif table.pairs is not None:
        columns |= {"sequence1": table.sequences, "sequence2": table.pairs}
    else:
        columns["sequence"] = table.sequences
    if task.kind == "regression":
        columns["label"] = [";".join(map(str, row)) for row in labels.tolist()]
    elif task.kind == "multilabel":
        columns["label"] = _joined(task, labels > 0.5)
    else:
        named = np.array([*task.names, "."], dtype=object)
        columns["label"] = named[np.where(labels == IGNORED, len(task.names), labels)]
    with table_writer(path) as write:
        write(pa.table({**columns, **answer_columns(task, answers.outputs)}))
