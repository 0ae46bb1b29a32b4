"""A fine-tuned model with its tokenizer and task: answers for sequences of any length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.inputs import Inputs, as_read, bases_of, encode
from dnabert2_fast.finetuning.losses import Classifier, load_classifier, probabilities
from dnabert2_fast.finetuning.rows import Row
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.windows import Region, Window, chunks_of, windows_along, windows_of
from dnabert2_fast.io.arguments import Sequences
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.model.batching import length_sorted_batches
from dnabert2_fast.model.int8 import is_int8
from dnabert2_fast.model.weights import Name, checkpoint_folder
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.by_name import tokenizer_of
from dnabert2_fast.tokenizer.unknown import known_texts

__all__ = ["Answers", "Predictor", "warn_of_empty"]

MAX_LISTED = 8  # classes in a repr

# Returns the outputs of a chunk from its number, its rows, and a function that computes them.
Keep = Callable[
    [int, int, Callable[[], npt.NDArray[np.float64]]],
    npt.NDArray[np.float64],
]


class Answers(NamedTuple):
    """The answers of a model for some sequences.

    Attributes
    ----------
    outputs : ndarray of float64, shape (rows, outputs)
        Probabilities in the order of the task's names, or numbers. One row per sequence, or one row
        per token or base, sequence by sequence. NaN for sequences without a base.
    lengths : ndarray of int64, shape (n,), or None
        Number of tokens or bases of each sequence, for such tasks.
    spans : ndarray of int64, shape (rows, 2), or None
        Start and end of each row in its sequence, 0-based half-open, for such tasks.
    """

    outputs: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64] | None = None
    spans: npt.NDArray[np.int64] | None = None


class Predictor:
    """A fine-tuned model with its tokenizer and task.

    Parameters
    ----------
    model : Dnabert2ForSequenceClassification or Dnabert2ForTokenClassification
    tokenizer : Tokenizer
    task : Task
    batch_tokens : int
        Maximum tokens per batch; a longer sequence has its own batch.

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.

    Examples
    --------
    An untrained head of two classes on ``mini``; `load` reads a trained one:

    >>> import warnings
    >>> from dnabert2_fast import Dnabert2ForSequenceClassification
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # the classifier is randomly initialised
    ...     model = Dnabert2ForSequenceClassification.from_pretrained("mini")
    >>> task = Task("multiclass", ("other", "promoter"), window_bp=300)
    >>> predictor = Predictor(model, Tokenizer.from_pretrained("mini"), task)
    >>> predictor.predict_proba(["ACGTTGCATTAGCA", "GGGCCC" * 100]).shape
    (2, 2)
    >>> predictor  # doctest: +NORMALIZE_WHITESPACE
    Predictor('mini', multiclass, classes: other, promoter; window_bp=300, device='cpu',
    dtype='float32')
    """

    def __init__(
        self, model: Classifier, tokenizer: Tokenizer, task: Task, batch_tokens: int = 16_384
    ) -> None:
        model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.batch_tokens = batch_tokens

    @classmethod
    def load(
        cls,
        folder: Name,
        tokenizer: Tokenizer | Name | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "auto",
        batch_tokens: int = 16_384,
    ) -> Predictor:
        """Read a folder that `finetune` wrote.

        Parameters
        ----------
        folder : path
            Or the hub id of a folder that was published.
        tokenizer : Tokenizer, str or path, optional
            Default: the folder's own.
        device, dtype, attention
            As in ``from_pretrained``.
        batch_tokens : int

        Returns
        -------
        Predictor

        Raises
        ------
        CheckpointError
            When it is not such a folder, or damaged.

        Examples
        --------
        >>> import tempfile, warnings
        >>> from pathlib import Path
        >>> from dnabert2_fast import Dnabert2ForSequenceClassification
        >>> folder = Path(tempfile.mkdtemp())  # made by hand what finetune makes
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     Dnabert2ForSequenceClassification.from_pretrained("mini").save_pretrained(folder)
        >>> Tokenizer.from_pretrained("mini").save(folder / "tokenizer.json")
        >>> Task("multiclass", ("other", "promoter"), window_bp=300).save(folder)
        >>> Predictor.load(folder).task.names
        ('other', 'promoter')
        """
        folder = checkpoint_folder(folder)
        task = Task.load(folder)
        model = load_classifier(task, str(folder), attention=attention, dtype=dtype, device=device)
        return cls(model, tokenizer_of(tokenizer, folder), task, batch_tokens)

    def __repr__(self) -> str:
        """Return model, base model, classes, window, device and dtype."""
        name = self.model.name_or_path
        named = ", ".join(self.task.names[:MAX_LISTED])
        more = ", ..." if len(self.task.names) > MAX_LISTED else ""
        try:
            base = f", fine-tuned from {read_object(Path(name) / 'run.json')['model']!r}"
        except (OSError, ValueError, KeyError):
            base = ""  # another program trained it
        what = "outputs" if self.task.kind == "regression" else "classes"
        kind = "int8" if is_int8(self.model) else str(self.model.dtype).removeprefix("torch.")
        return (
            f"Predictor({name!r}{base}, {self.task.kind}, {what}: {named}{more}; "
            f"window_bp={self.task.window_bp or None}, device={str(self.model.device)!r}, "
            f"dtype={kind!r})"
        )

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """Return the classes in the order of the probabilities, as scikit-learn does.

        Returns
        -------
        ndarray
            Integers if all names are such numbers as ``"0"`` and ``"1"``; else `str` objects.

        Raises
        ------
        AttributeError
            When the model predicts numbers.
        """
        if self.task.kind == "regression":
            raise AttributeError("classes_: the model predicts numbers, which have no classes.")
        names = self.task.names
        if all(name.isdecimal() and str(int(name)) == name for name in names):
            return np.array([int(name) for name in names])
        return np.array(names, dtype=object)

    def predict(
        self,
        sequences: Sequences,
        pairs: Sequences | None = None,
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
    ) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """Return the most probable class of each sequence, as scikit-learn does.

        Parameters
        ----------
        sequences, pairs, window_bp, stride_bp
            As in a call.

        Returns
        -------
        ndarray, shape (n,)
            Elements of `classes_`; None for a sequence without bases. For labels, 0 or 1 of shape
            (n, labels); for regression, float64 of shape (n,) or (n, outputs), NaN without bases.
            For tokens and bases a list of arrays, one per sequence.

        Raises
        ------
        DataError, ValueError
            As a call.

        Examples
        --------
        ``predictor.predict(table["sequence"]) == table["label"]`` compares with a pandas table.
        """
        answers = self(sequences, pairs, window_bp=window_bp, stride_bp=stride_bp)
        outputs, kind = answers.outputs, self.task.kind
        missing = np.isnan(outputs[:, 0])
        if kind == "regression":
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs
        if kind == "multilabel":
            chosen = (outputs >= 0.5).astype(float if missing.any() else int)
            chosen[missing] = np.nan if missing.any() else 0
            return chosen
        classes = self.classes_[np.where(missing[:, None], 0, outputs).argmax(1)]
        if missing.any():
            classes = classes.astype(object)
            classes[missing] = None
        return _by_sequence(classes, answers)

    def predict_proba(
        self,
        sequences: Sequences,
        pairs: Sequences | None = None,
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
    ) -> npt.NDArray[np.float64] | list[npt.NDArray[np.float64]]:
        """Return the probability of each class, as scikit-learn does.

        Parameters
        ----------
        sequences, pairs, window_bp, stride_bp
            As in a call.

        Returns
        -------
        ndarray of float64, shape (n, classes)
            In the order of `classes_`; NaN for a sequence without bases. For tokens and bases a
            list of arrays, one per sequence.

        Raises
        ------
        AttributeError
            When the model predicts numbers.
        """
        if self.task.kind == "regression":
            raise AttributeError("predict_proba: the model predicts numbers. Use predict.")
        answers = self(sequences, pairs, window_bp=window_bp, stride_bp=stride_bp)
        return _by_sequence(answers.outputs, answers)

    def __call__(
        self,
        sequences: Sequences,
        pairs: Sequences | None = None,
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
    ) -> Answers:
        """Return the answers for sequences.

        Parameters
        ----------
        sequences : list, tuple, generator, array, series or path
            Of `str` or `bytes`; a path is a FASTA or FASTQ file.
        pairs : list, tuple, generator, array, series or path, optional
            The second sequences, for a task of pairs.
        window_bp : int, optional
            Length of a window in bases; the longest training sequence's if omitted. If both are
            omitted and the task has `max_length`, only the first tokens are read, as in training.
        stride_bp : int, optional
            Bases from one window to the next; `window_bp` if omitted.

        Raises
        ------
        DataError
            When `pairs` are missing, or given for a task without pairs.
        ValueError
            When the stride is not between 1 and the window.
        """
        texts = known_texts(sequences, self.tokenizer)
        seconds: Sequence[str | None] = [None] * len(texts)
        if pairs is not None:
            seconds = known_texts(pairs, self.tokenizer, "pairs")
            if len(seconds) != len(texts):
                raise ValueError(
                    f"pairs: must be one per sequence (got {len(seconds)} for {len(texts)})."
                )
        rows = (Row("", text, second, "") for text, second in zip(texts, seconds, strict=True))
        windows = self.windows_of(rows, window_bp=window_bp, stride_bp=stride_bp)
        outputs, spans = [np.empty((0, len(self.task.names)))], [np.empty((0, 2), np.int64)]
        lengths = np.zeros(len(texts), np.int64)
        for answered, answers in self.stream(windows):
            outputs.append(answers.outputs)
            if answers.lengths is not None and answers.spans is not None:
                spans.append(answers.spans)
                np.add.at(lengths, [window.row for window in answered], answers.lengths)
        warn_of_empty(int(np.isnan(np.concatenate(outputs)[:, 0]).sum()))
        if not self.task.by_position:
            return Answers(np.concatenate(outputs))
        return Answers(np.concatenate(outputs), lengths, np.concatenate(spans))

    def window_sizes(self, window_bp: int | None, stride_bp: int | None) -> tuple[int, int]:
        """Return window and stride; as in a call, None is that of training.

        Parameters
        ----------
        window_bp : int, optional
            Length of a window in bases.
        stride_bp : int, optional
            Bases from one window to the next. Default: the window.

        Returns
        -------
        window_bp : int
        stride_bp : int

        Raises
        ------
        ValueError
            When the stride is not between 1 and the window, or the length of training is unknown.
        """
        if window_bp is None and not self.task.window_bp:
            raise ValueError(
                "window_bp: is required, because the model's folder has no length of training. "
                "Give one in bases, such as 512."
            )
        window_bp = self.task.window_bp if window_bp is None else window_bp
        stride_bp = window_bp if stride_bp is None else stride_bp
        if not 0 < stride_bp <= window_bp:
            raise ValueError(
                f"stride_bp: must be between 1 and window_bp, {window_bp} (got {stride_bp})."
            )
        return window_bp, stride_bp

    def windows_of(
        self, rows: Iterable[Row], *, window_bp: int | None = None, stride_bp: int | None = None
    ) -> Iterator[Window]:
        """Yield the windows of rows as the task reads them.

        Parameters
        ----------
        rows : iterable of Row
            Names and sequences.
        window_bp, stride_bp : int, optional
            Window and stride in bases, as in a call.

        Yields
        ------
        Window

        Raises
        ------
        DataError
            When rows are pairs and the task is not, or the reverse.
        ValueError
            When the stride is not between 1 and the window.
        """
        rows = _as_trained(rows, self.task)
        cut = self.task.max_length is not None and self.task.kind != "bases"
        as_trained = (cut or not self.task.window_bp) and window_bp is None and stride_bp is None
        if as_trained:
            return windows_of(rows, None, 1)
        window, stride = self.window_sizes(window_bp, stride_bp)
        whole = self.task.pairs or self.task.kind == "tokens"
        return windows_of(rows, None if whole else window, stride)

    def windows_along(
        self,
        regions: Iterable[Region],
        *,
        window_bp: int | None = None,
        stride_bp: int | None = None,
    ) -> Iterator[Window]:
        """Yield the windows along regions of a genome.

        Parameters
        ----------
        regions : iterable of Region
            In the order of the output.
        window_bp, stride_bp : int, optional
            Window and stride in bases, as in a call.

        Yields
        ------
        Window

        Raises
        ------
        ValueError
            When the task has pairs or one answer per token, or the stride is not between 1 and the
            window.
        """
        if self.task.pairs or self.task.kind == "tokens":
            what = "pairs of sequences" if self.task.pairs else "one answer per token"
            raise ValueError(
                "model: tracks and regions require one answer per sequence or base (the model has "
                f"{what}). Write a .csv or .parquet of whole records."
            )
        return windows_along(regions, *self.window_sizes(window_bp, stride_bp))

    def stream(
        self,
        windows: Iterable[Window],
        *,
        each_window: bool = False,
        both_strands: bool = False,
        keep: Keep = lambda _number, _rows, compute: compute(),
    ) -> Iterator[tuple[list[Window], Answers]]:
        """Yield the answers for a stream of windows, some thousands at a time.

        Parameters
        ----------
        windows : iterable of Window
        each_window : bool
            Return the windows' answers, not their means.
        both_strands : bool
            Return the mean of a window's answer and that of its reverse complement, for `bases`
            base by base.
        keep : callable
            ``keep(number, rows, compute)`` returns a chunk's outputs, computed or stored.

        Yields
        ------
        windows : list of Window
            Each answered one, or the last one of each row with an answer.
        answers : Answers

        Raises
        ------
        ValueError
            When the task has pairs, or answers per token, and `both_strands` is True.
        """
        if both_strands and (self.task.pairs or self.task.kind == "tokens"):
            raise ValueError(
                "both_strands: requires one answer per sequence or base (the model has "
                f"{'pairs' if self.task.pairs else 'one answer per token'}). Leave it out."
            )
        total, count = np.zeros(len(self.task.names)), 0
        for number, chunk in enumerate(chunks_of(windows)):
            if self.task.by_position:
                yield chunk, self._positions(chunk, both_strands, partial(keep, number))
                continue
            answers = self._answer(chunk, both_strands, partial(keep, number))
            if each_window:
                yield chunk, answers
                continue
            lasts, means = [], []
            for window, output in zip(chunk, answers.outputs, strict=True):
                if not np.isnan(output).any():  # a window without bases
                    total, count = total + output, count + 1
                if window.is_last:
                    lasts.append(window)
                    means.append(total / count if count else np.full_like(total, np.nan))
                    total, count = np.zeros_like(total), 0
            if means:
                yield lasts, Answers(np.array(means))

    def _answer(
        self, windows: Sequence[Window], both_strands: bool, keep: Callable[..., Any]
    ) -> Answers:
        pairs = [w.pair or "" for w in windows] if self.task.pairs else None
        texts = [w.sequence for w in windows]
        length = self.task.max_length

        def compute() -> npt.NDArray[np.float64]:
            outputs = self._outputs(
                encode(self.task, self.tokenizer, texts, pairs, length), len(texts)
            )
            if both_strands:
                read = as_read(self.tokenizer, texts, length)
                other = [reverse_complement(text) for text in read]
                back = self._outputs(
                    encode(self.task, self.tokenizer, other, None, length), len(texts)
                )
                outputs = (outputs + back) / 2
            return outputs

        return Answers(keep(len(texts), compute))

    def _positions(
        self, windows: Sequence[Window], both_strands: bool, keep: Callable[..., Any]
    ) -> Answers:
        """Return the answers of tokens or bases; with both strands, of bases, their means."""
        # A window of bases has an answer for each of them, also where it has more tokens.
        windowed = self.task.kind == "bases" and self.task.window_bp
        length = None if windowed else self.task.max_length
        strands = [windows]
        if both_strands:
            read = as_read(self.tokenizer, [w.sequence for w in windows], length)
            strands.append([_turned(*pair) for pair in zip(windows, read, strict=True)])
        inputs = [
            encode(self.task, self.tokenizer, [w.sequence for w in strand], None, length)
            for strand in strands
        ]
        rows = [int(one.ids.offsets[-1]) for one in inputs]

        def compute() -> npt.NDArray[np.float64]:
            return np.concatenate([self._outputs(*pair) for pair in zip(inputs, rows, strict=True)])

        outputs = np.split(keep(sum(rows), compute), np.cumsum(rows)[:-1])
        answers = [
            self._placed(strand, Answers(own, one.ids.lengths, one.spans))
            for strand, own, one in zip(strands, outputs, inputs, strict=True)
        ]
        return answers[0] if len(answers) == 1 else _mean(*answers)

    def _outputs(self, inputs: Inputs, rows: int) -> npt.NDArray[np.float64]:
        """Return one row per sequence, or one per token, in the order of the input."""
        lengths = inputs.ids.lengths
        outputs = np.empty((rows, len(self.task.names)))
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for chosen in length_sorted_batches(lengths, self.batch_tokens):
                logits = self.model(inputs.batch(chosen)).logits
                positions = chosen
                if self.task.by_position:
                    starts = inputs.ids.offsets[:-1]
                    positions = np.concatenate(
                        [np.arange(starts[i], starts[i] + lengths[i]) for i in chosen]
                    )
                outputs[positions] = probabilities(self.task.kind, logits).cpu().numpy()
        self.model.train(was_training)
        empty = inputs.without_bases(self.tokenizer.special_ids)
        outputs[np.repeat(empty, lengths) if self.task.by_position else empty] = np.nan
        return outputs

    def _placed(self, windows: Sequence[Window], answers: Answers) -> Answers:
        """Map tokens' answers to tokens of real characters, or to each of their bases."""
        assert answers.lengths is not None
        assert answers.spans is not None
        outputs, spans, lengths = [], [], []
        at = 0
        for window, length in zip(windows, answers.lengths, strict=True):
            own = answers.spans[at : at + length]
            if self.task.kind == "bases":
                token_index, base = bases_of(own)
                where = np.stack([base, base + 1], 1)
            else:
                token_index = np.flatnonzero(own[:, 1] > own[:, 0])
                where = own[token_index]
            if window.reverse:
                token_index, where = token_index[::-1], len(window.sequence) - where[::-1, ::-1]
            where = where + window.start_bp
            new = (where[:, 0] >= window.own_start_bp) & (where[:, 0] < window.own_end_bp)
            outputs.append(answers.outputs[at + token_index[new]])
            spans.append(where[new])
            lengths.append(int(new.sum()))
            at += int(length)
        return Answers(np.concatenate(outputs), np.array(lengths), np.concatenate(spans))


def _turned(window: Window, read: str) -> Window:
    """Return the part of a window that a model reads, on the other strand."""
    cut = len(window.sequence) - len(read)
    start = window.start_bp + (cut if window.reverse else 0)
    text = reverse_complement(read)
    return window._replace(sequence=text, start_bp=start, reverse=not window.reverse)


def _mean(there: Answers, back: Answers) -> Answers:
    """Return the mean of the answers of each base on two strands.

    A base that is read on one strand only, because the other one has more tokens, has that answer.
    """

    def places(answers: Answers) -> npt.NDArray[np.int64]:
        assert answers.lengths is not None
        assert answers.spans is not None
        return (
            np.repeat(np.arange(len(answers.lengths)), answers.lengths) << 40 | answers.spans[:, 0]
        )

    _, first, second = np.intersect1d(
        places(there), places(back), assume_unique=True, return_indices=True
    )
    outputs = there.outputs.copy()
    outputs[first] = (outputs[first] + back.outputs[second]) / 2
    return there._replace(outputs=outputs)


def _by_sequence(
    rows: npt.NDArray[Any], answers: Answers
) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    """Return rows as they are, or as a list of those of each sequence for tokens and bases."""
    if answers.lengths is None:
        return rows
    return np.split(rows, np.cumsum(answers.lengths)[:-1])


def warn_of_empty(rows: int) -> None:
    """Warn of a number of rows whose answers are NaN."""
    if rows:
        warnings.warn(
            f"{rows:,} answers are NaN. A sequence without a base has no answer.", stacklevel=3
        )


def _as_trained(rows: Iterable[Row], task: Task) -> Iterator[Row]:
    for row in rows:
        if task.pairs and row.pair is None:
            raise DataError(
                "sequence2: is missing, but the model was trained on pairs. Give a table with "
                "sequence1 and sequence2."
            )
        if row.pair is not None and not task.pairs:
            raise DataError(
                "sequence2: must be absent, because the model was trained on single sequences. "
                "Remove the column."
            )
        yield row
