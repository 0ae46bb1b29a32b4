"""What a fine-tuned model says of sequences of any length, streamed from file to file.

One rule for long input, here, in `evaluate` and in the scores of `finetune`: a sequence with more
letters than the longest one of training is cut into windows of that length, the last of which ends
with the sequence; its answer is the mean of its windows' answers. Of overlapping windows of a task
with an answer for each base, the first one speaks. Pairs, and sequences with an answer for each
token, are never cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import torch

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import DataError
from dnabert2_fast.fasta import read_fasta
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import token_batches
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.train.heads import (
    Classifier,
    Inputs,
    bases_of,
    encode,
    load_classifier,
    probabilities,
)
from dnabert2_fast.train.labelled import Row, Task, read_rows

__all__ = ["Answers", "Predictor", "answer_columns", "cut", "predict", "write_labelled"]

CHUNK_WINDOWS = 4096
CHUNK_BP = 1 << 22  # letters that are in memory together, windows cut from them included

RowsOf = Literal["records", "windows"]


class Answers(NamedTuple):
    """What a model says of some sequences.

    Attributes
    ----------
    outputs : ndarray of float64, shape (rows, outputs)
        Probabilities in the order of the task's names, or numbers. A row a sequence, or a row a
        token or base, sequence by sequence.
    lengths : ndarray of int64, shape (n,), or None
        Tokens or bases of each sequence, for such tasks.
    spans : ndarray of int64, shape (rows, 2), or None
        Start and end of each row in its sequence, 0-based half-open, for such tasks.
    """

    outputs: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64] | None = None
    spans: npt.NDArray[np.int64] | None = None


class Window(NamedTuple):
    """A piece of a record: all of it, if it is no longer than a window."""

    name: str
    start_bp: int
    end_bp: int
    sequence: str
    pair: str | None
    new_bp: int  # where the window before has ended
    is_last: bool


class Predictor:
    """A fine-tuned model with its tokenizer and task.

    Parameters
    ----------
    model : Dnabert2ForSequenceClassification or Dnabert2ForTokenClassification
    tokenizer : Tokenizer
    task : Task
    batch_tokens : int
        Tokens of one batch, at most; a longer sequence makes a batch of its own.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.

    Examples
    --------
    A head of two classes, untrained, on ``mini``; `load` reads a trained one:

    >>> import warnings
    >>> from dnabert2_fast import Dnabert2ForSequenceClassification
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # it says that the classifier is fresh
    ...     model = Dnabert2ForSequenceClassification.from_pretrained("mini")
    >>> task = Task("classes", ("other", "promoter"), window_bp=300)
    >>> predictor = Predictor(model, Tokenizer.from_pretrained("mini"), task)
    >>> outputs = predictor(["ACGTTGCATTAGCA", "GGGCCC" * 100]).outputs
    >>> outputs.shape, np.allclose(outputs.sum(1), 1)
    ((2, 2), True)
    """

    def __init__(
        self, model: Classifier, tokenizer: Tokenizer, task: Task, batch_tokens: int = 16_384
    ) -> None:
        model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.batch_tokens = batch_tokens

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        attention: str = "auto",
        dtype: str = "float32",
        device: str = "auto",
        batch_tokens: int = 16_384,
    ) -> Predictor:
        """Read a folder that `finetune` wrote.

        Parameters
        ----------
        folder : path
        attention, dtype, device
            As for ``from_pretrained``.
        batch_tokens : int

        Raises
        ------
        CheckpointError
            When it is not one, or damaged.

        Examples
        --------
        >>> import tempfile, warnings
        >>> from dnabert2_fast import Dnabert2ForSequenceClassification
        >>> folder = Path(tempfile.mkdtemp())  # made by hand what finetune makes
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder)
        >>> Tokenizer.from_pretrained("mini").save(folder / "tokenizer.json")
        >>> Task("classes", ("other", "promoter"), window_bp=300).save(folder)
        >>> Predictor.load(folder).task.names
        ('other', 'promoter')
        """
        task = Task.load(folder)
        model = load_classifier(task, str(folder), attention=attention, dtype=dtype, device=device)
        return cls(model, Tokenizer.from_pretrained(folder), task, batch_tokens)

    def __call__(
        self,
        sequences: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
    ) -> Answers:
        """Answer for each sequence.

        Parameters
        ----------
        sequences : sequence of str
        pairs : sequence of str, optional
            The second sequences, for a task of pairs.
        window_bp : int, optional
            Letters of a window; the longest training sequence's when left out.
        stride_bp : int, optional
            Letters from one window to the next; `window_bp` when left out.

        Raises
        ------
        DataError
            When `pairs` are missing, or there and the task has none.
        ValueError
            When the stride does not lie between 1 and the window.
        """
        seconds: Sequence[str | None] = [None] * len(sequences) if pairs is None else pairs
        rows = (
            Row(str(i), sequence, pair, "")
            for i, (sequence, pair) in enumerate(zip(sequences, seconds, strict=True))
        )
        outputs, spans = [np.empty((0, len(self.task.names)))], [np.empty((0, 2), np.int64)]
        lengths = np.zeros(len(sequences), np.int64)
        for places, answers in self.stream(rows, window_bp=window_bp, stride_bp=stride_bp):
            outputs.append(answers.outputs)
            if answers.lengths is not None and answers.spans is not None:
                spans.append(answers.spans)
                np.add.at(lengths, [int(name) for name, _, _ in places], answers.lengths)
        if not self.task.by_position:
            return Answers(np.concatenate(outputs))
        return Answers(np.concatenate(outputs), lengths, np.concatenate(spans))

    def stream(
        self,
        rows: Iterable[Row],
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
        each_window: bool = False,
    ) -> Iterator[tuple[list[tuple[str, int, int]], Answers]]:
        """Answer for rows as they come; memory holds a few thousand windows and one record.

        Parameters
        ----------
        rows : iterable of Row
        window_bp, stride_bp : int, optional
            As for a call.
        each_window : bool
            Give the windows' answers, not their means.

        Yields
        ------
        places : list of (name, start, end)
            Of each answered sequence, record or window; of a task by token or base a window's.
        answers : Answers
        """
        if window_bp is None:
            window_bp = max(self.task.window_bp, 1)
        stride_bp = stride_bp or window_bp
        if not 0 < stride_bp <= window_bp:
            raise ValueError(
                f"window_bp, stride_bp: {window_bp}, {stride_bp}; 1 <= stride <= window is needed"
            )
        whole = self.task.pairs or self.task.kind == "tokens"
        rows = _as_trained(rows, self.task)
        windows = _windows(rows, None if whole else window_bp, stride_bp)
        total, count = np.zeros(len(self.task.names)), 0
        for chunk in _chunks(windows):
            answers = self._answer(chunk)
            if self.task.by_position:
                yield self._placed(chunk, answers)
                continue
            if each_window:
                yield [(w.name, w.start_bp, w.end_bp) for w in chunk], answers
                continue
            places, means = [], []
            for window, output in zip(chunk, answers.outputs, strict=True):
                total, count = total + output, count + 1
                if window.is_last:
                    places.append((window.name, 0, window.end_bp))
                    means.append(total / count)
                    total, count = np.zeros_like(total), 0
            if means:
                yield places, Answers(np.array(means))

    def _answer(self, windows: Sequence[Window]) -> Answers:
        pairs = [w.pair or "" for w in windows] if self.task.pairs else None
        # Where training cut pairs and sequences of labelled tokens, so does this.
        kept_whole = self.task.pairs or self.task.kind == "tokens"
        max_length = self.task.max_length if kept_whole else None
        inputs = encode(self.task, self.tokenizer, [w.sequence for w in windows], pairs, max_length)
        outputs = self._outputs(inputs)
        if inputs.spans is None:
            return Answers(outputs)
        return Answers(outputs, inputs.ids.lengths, inputs.spans)

    def _outputs(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """Return a row a sequence, or a row a token, in the order of the input."""
        lengths = inputs.ids.lengths
        rows = inputs.ids.offsets[-1] if self.task.by_position else len(lengths)
        outputs = np.empty((int(rows), len(self.task.names)))
        order = np.argsort(-lengths, kind="stable")
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for stretch in token_batches(lengths[order], self.batch_tokens):
                chosen = order[stretch]
                logits = self.model(inputs.batch(chosen)).logits
                places = chosen
                if self.task.by_position:
                    starts = inputs.ids.offsets[:-1]
                    places = np.concatenate(
                        [np.arange(starts[i], starts[i] + lengths[i]) for i in chosen]
                    )
                outputs[places] = probabilities(self.task.kind, logits).cpu().numpy()
        self.model.train(was_training)
        return outputs

    def _placed(
        self, windows: Sequence[Window], answers: Answers
    ) -> tuple[list[tuple[str, int, int]], Answers]:
        """Take tokens' answers to tokens of real letters, or to each base of theirs."""
        assert answers.lengths is not None
        assert answers.spans is not None
        outputs, spans, lengths = [], [], []
        at = 0
        for window, length in zip(windows, answers.lengths, strict=True):
            own = answers.spans[at : at + length]
            if self.task.kind == "bases":
                owner, base = bases_of(own)
                where = np.stack([base, base + 1], 1) + window.start_bp
            else:
                owner = np.flatnonzero(own[:, 1] > own[:, 0])
                where = own[owner]
            new = where[:, 0] >= window.new_bp
            outputs.append(answers.outputs[at + owner[new]])
            spans.append(where[new])
            lengths.append(int(new.sum()))
            at += int(length)
        places = [(window.name, window.start_bp, window.end_bp) for window in windows]
        return places, Answers(np.concatenate(outputs), np.array(lengths), np.concatenate(spans))


def cut(length_bp: int, window_bp: int, stride_bp: int) -> Iterator[tuple[int, int]]:
    """Yield windows, 0-based half-open: one every stride, the last one moved to the end.

    >>> list(cut(10, 4, 4)), list(cut(3, 4, 4))
    ([(0, 4), (4, 8), (6, 10)], [(0, 3)])
    """
    last = max(length_bp - window_bp, 0)
    for start in range(0, last, stride_bp):
        yield start, start + window_bp
    yield last, length_bp


def _as_trained(rows: Iterable[Row], task: Task) -> Iterator[Row]:
    for row in rows:
        if task.pairs and row.pair is None:
            raise DataError(
                "the model was trained on pairs: give a table with sequence1 and sequence2"
            )
        if row.pair is not None and not task.pairs:
            raise DataError("the model was trained on single sequences, the table has pairs")
        yield row


def _windows(rows: Iterable[Row], window_bp: int | None, stride_bp: int) -> Iterator[Window]:
    for row in rows:
        length, new = len(row.sequence), 0
        for start, end in cut(length, length if window_bp is None else window_bp, stride_bp):
            piece = row.sequence[start:end]
            yield Window(row.name, start, end, piece, row.pair, new, end == length)
            new = end


def _chunks(windows: Iterator[Window]) -> Iterator[list[Window]]:
    chunk: list[Window] = []
    letters = 0
    for window in windows:
        chunk.append(window)
        letters += len(window.sequence) + len(window.pair or "")
        if len(chunk) == CHUNK_WINDOWS or letters >= CHUNK_BP:
            yield chunk
            chunk, letters = [], 0
    if chunk:
        yield chunk


def predict(
    folder: str | os.PathLike[str],
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rows: RowsOf = "records",
    window_bp: int | None = None,
    stride_bp: int | None = None,
    batch_tokens: int = 16_384,
    attention: str = "auto",
    dtype: str = "float32",
    device: str = "auto",
) -> int:
    r"""Write what a fine-tuned model says of every record of a file; returns the number of rows.

    Parameters
    ----------
    folder : path
        A folder that `finetune` wrote.
    file : path
        FASTA or FASTQ (plain, gz, bgz, zst), or a table .csv or .csv.gz with a column ``sequence``
        (or ``sequence1`` and ``sequence2``) and perhaps ``name``.
    out : path
        .csv or .parquet: ``name``; ``start_bp`` and ``end_bp`` of windows, tokens and bases;
        ``prediction`` (the most probable class; of labels those with at least one half, joined by
        ``;``); ``probability_NAME`` for each, or ``value_NAME`` for numbers.
    rows : {"records", "windows"}
        A row a record, or a row a window.
    window_bp, stride_bp : int, optional
        How records longer than a window are cut, see the top of this module; the window is as long
        as the longest training sequence when left out, and the stride as the window.
    batch_tokens : int
        Tokens of one batch: more is faster until memory ends.
    attention, dtype, device
        As for ``from_pretrained``.

    Raises
    ------
    CheckpointError, DataError, FastaError
        When model or input cannot be read; nothing is written then.
    ValueError
        When `out` has another suffix, or the stride does not lie between 1 and the window.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from dnabert2_fast import Dnabert2ForSequenceClassification
    >>> folder = Path(tempfile.mkdtemp())
    >>> with warnings.catch_warnings():  # an untrained one, where finetune's would be
    ...     warnings.simplefilter("ignore")
    ...     Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder / "m")
    >>> Tokenizer.from_pretrained("mini").save(folder / "m" / "tokenizer.json")
    >>> Task("classes", ("other", "promoter"), window_bp=300).save(folder / "m")
    >>> _ = (folder / "x.fa").write_text(">one\nACGTTGCATTAGCA\n>two\nGGGCCC\n")
    >>> predict(folder / "m", folder / "x.fa", folder / "out.csv")
    2
    >>> (folder / "out.csv").read_text().splitlines()[0]
    '"name","prediction","probability_other","probability_promoter"'
    """
    out, file = Path(out), Path(file)
    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"out: {out.name} must end in .csv or .parquet")
    predictor = Predictor.load(
        folder, attention=attention, dtype=dtype, device=device, batch_tokens=batch_tokens
    )
    stream = predictor.stream(
        _records(file), window_bp=window_bp, stride_bp=stride_bp, each_window=rows == "windows"
    )
    with_places = rows == "windows" or predictor.task.by_position
    written = 0
    writer: Any = None
    with atomic_path(out) as temporary, progress(None, "predicting", "rows") as bar:
        try:
            for places, answers in stream:
                table = pa.table(_columns(predictor.task, places, answers, with_places))
                if writer is None:
                    kind = pq.ParquetWriter if out.suffix == ".parquet" else pc.CSVWriter
                    writer = kind(str(temporary), table.schema)
                writer.write_table(table)
                written += len(table)
                bar.update(len(table))
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise DataError(f"{file}: has no records")
    return written


def _records(file: Path) -> Iterator[Row]:
    if file.suffixes[-1:] == [".csv"] or file.suffixes[-2:] == [".csv", ".gz"]:
        for number, row in enumerate(read_rows(file, labelled=False)):
            yield row._replace(name=row.name or str(number))
        return
    for name, sequence in read_fasta(file):
        yield Row(name, sequence, None, "")


def _columns(
    task: Task, places: list[tuple[str, int, int]], answers: Answers, with_places: bool
) -> dict[str, Any]:
    names = np.array([name for name, _, _ in places], dtype=object)
    spans = np.array([(start, end) for _, start, end in places])
    if answers.spans is not None and answers.lengths is not None:
        names, spans = np.repeat(names, answers.lengths), answers.spans
    columns: dict[str, Any] = {"name": pa.array(names, pa.string())}
    if with_places:
        columns["start_bp"], columns["end_bp"] = spans.T.astype(np.int64)
    return {**columns, **answer_columns(task, answers.outputs)}


def answer_columns(task: Task, outputs: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the columns ``prediction`` and ``probability_NAME``, or ``value_NAME``."""
    # Numbers of float32 are exact to what a model computes in, and short in CSV.
    numbers = outputs.astype(np.float32).T
    if task.kind == "regression":
        return {f"value_{name}": column for name, column in zip(task.names, numbers, strict=True)}
    columns = {f"probability_{n}": column for n, column in zip(task.names, numbers, strict=True)}
    if task.kind == "multilabel":
        chosen = [";".join(np.array(task.names)[row]) for row in outputs >= 0.5]
        return {"prediction": chosen, **columns}
    best = np.array(task.names, dtype=object)[outputs.argmax(1)]
    return {"prediction": pa.array(best, pa.string()), **columns}


def write_labelled(
    path: Path,
    task: Task,
    labels: npt.NDArray[Any],
    outputs: npt.NDArray[np.float64],
    answers: Answers,
) -> None:
    """Write a table of labels and answers, as CSV.

    Columns: ``label`` as it stood (a class by its number), for tokens and bases ``row`` (from 0),
    ``start_bp``, ``end_bp`` before it, then `answer_columns`.
    """
    columns: dict[str, Any] = {}
    if answers.lengths is not None and answers.spans is not None:
        columns["row"] = np.repeat(np.arange(len(answers.lengths)), answers.lengths)
        columns["start_bp"], columns["end_bp"] = answers.spans.T
    columns["label"] = labels
    if labels.ndim == 2:
        kind = int if task.kind == "multilabel" else float
        columns["label"] = [";".join(map(str, row)) for row in labels.astype(kind).tolist()]
    with atomic_path(path) as temporary:
        pc.write_csv(pa.table({**columns, **answer_columns(task, outputs)}), str(temporary))
