"""Scores of fine-tuned models, detection of collapsed runs, and the k-mer baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from dnabert2_fast.finetuning.config import Kind
from dnabert2_fast.finetuning.labels import IGNORED, Labelled
from dnabert2_fast.finetuning.task import Task

__all__ = ["BEST_BY", "collapsed", "kmer_baseline", "scores"]

BEST_BY: dict[Kind, str] = {
    "multiclass": "mcc",
    "multilabel": "auprc",
    "regression": "r2",
    "tokens": "mcc",
    "bases": "mcc",
}
"""The score on dev that selects the best epoch."""


def scores(
    labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating], kind: Kind = "multiclass"
) -> dict[str, float]:
    """Return the scores of a kind of task.

    Parameters
    ----------
    labels : ndarray
        As in `Labelled`.
    outputs : ndarray, shape (n, outputs)
        Probabilities, or numbers for ``regression``.
    kind : str
        See `Task`.

    Returns
    -------
    dict of str to float
        For classes ``accuracy``, Matthews correlation ``mcc``, and means over classes of ``f1``,
        ``precision`` and ``recall``; ``auroc`` and ``auprc`` (average precision) of class 1 of
        two, or the mean over classes, one against the others. For ``multilabel`` means over labels
        (``auroc`` and ``auprc`` without labels that have only one outcome), ``accuracy`` of single
        labels and ``exact``, the fraction of rows with every label correct. For ``regression``
        ``r2``, ``pearson``, ``spearman``, ``mae``, ``rmse``, means over outputs. A correlation
        with a constant is 0, and one row has no ``r2``. A score that is not finite is left out.

    Examples
    --------
    >>> scores(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))["mcc"]
    1.0
    """
    if kind == "regression":
        values = _of_numbers(labels, outputs)
    elif kind == "multilabel":
        values = _of_labels(labels, outputs)
    else:
        asked = labels != IGNORED
        values = _of_classes(labels[asked], outputs[asked])
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def _of_classes(labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]) -> dict[str, Any]:
    predicted = outputs.argmax(1)
    means = {"average": "macro", "zero_division": 0}
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "f1": f1_score(labels, predicted, **means),
        "mcc": _mcc(labels, predicted),
        "precision": precision_score(labels, predicted, **means),
        "recall": recall_score(labels, predicted, **means),
    }
    classes = range(outputs.shape[1])
    chosen = classes[1:] if len(classes) == 2 else classes
    return {**values, **_areas(np.stack([labels == c for c in chosen], 1), outputs[:, chosen])}


def _of_labels(labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]) -> dict[str, Any]:
    wanted, predicted = labels > 0.5, outputs >= 0.5
    means = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": (wanted == predicted).mean(),
        "exact": (wanted == predicted).all(1).mean(),
        "f1": f1_score(wanted, predicted, **means),
        "mcc": np.mean(list(map(_mcc, wanted.T, predicted.T))),
        "precision": precision_score(wanted, predicted, **means),
        "recall": recall_score(wanted, predicted, **means),
        **_areas(wanted, outputs),
    }


def _mcc(labels: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """Return the Matthews correlation; 0 without a warning when one side is constant."""
    if len(np.unique(labels)) < 2 or len(np.unique(predicted)) < 2:
        return 0.0
    return float(matthews_corrcoef(labels, predicted))


def _areas(
    wanted: npt.NDArray[np.bool_], outputs: npt.NDArray[np.floating]
) -> dict[str, np.floating]:
    """Return areas under curves, means over columns with both outcomes; empty without any."""
    both = [c for c in range(wanted.shape[1]) if 0 < wanted[:, c].sum() < len(wanted)]
    if not both:
        return {}
    return {
        "auroc": np.mean([roc_auc_score(wanted[:, c], outputs[:, c]) for c in both]),
        "auprc": np.mean([average_precision_score(wanted[:, c], outputs[:, c]) for c in both]),
    }


def _of_numbers(labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating]) -> dict[str, Any]:
    columns = [
        (y, p) for y, p in zip(labels.T, outputs.T, strict=True) if np.ptp(y) > 0 and np.ptp(p) > 0
    ]
    values = {"r2": r2_score(labels, outputs)} if len(labels) > 1 else {}
    for name, correlation in (("pearson", pearsonr), ("spearman", spearmanr)):
        values[name] = sum(correlation(y, p).statistic for y, p in columns) / labels.shape[1]
    return {
        **values,
        "mae": mean_absolute_error(labels, outputs),
        "rmse": np.sqrt(mean_squared_error(labels, outputs)),
    }


def collapsed(
    labels: npt.NDArray[Any], outputs: npt.NDArray[np.floating], task: Task
) -> str | None:
    """Return what is wrong when all answers are the same but the labels differ, else None.

    >>> task = Task("multiclass", ("no", "yes"))
    >>> collapsed(np.array([0, 1]), np.array([[0.4, 0.6], [0.3, 0.7]]), task)
    'every answer is "yes"'
    """
    if task.kind == "regression":
        spread, wanted = outputs.std(0), labels.std(0)
        still = bool((spread < 0.01 * wanted).any())
        return "the predicted numbers are nearly all the same" if still else None
    if task.kind == "multilabel":
        answers = outputs >= 0.5
        same = bool((answers == answers[0]).all()) and bool((labels != labels[0]).any())
        return "every row gets the same labels" if same else None
    asked = labels != IGNORED
    answers = np.unique(outputs[asked].argmax(1))
    if len(answers) > 1 or len(np.unique(labels[asked])) < 2:
        return None
    return f'every answer is "{task.names[answers[0]]}"'


def kmer_baseline(
    task: Task, train: Labelled, test: Labelled, *, k: int = 5
) -> npt.NDArray[np.float64]:
    """Return the predictions of a linear model on counts of k-mers, shape (n, outputs).

    Logistic regression for classes and labels, ridge regression for numbers. When every sequence
    is shorter than `k`, the k-mers have the length of the longest one.
    """
    k = min(k, max(map(len, _texts(train))))
    counts = CountVectorizer(analyzer="char", ngram_range=(k, k), lowercase=False)
    logistic = LogisticRegression(max_iter=500)
    rows = len(test.sequences)
    if task.kind == "regression":
        model = make_pipeline(counts, MaxAbsScaler(), Ridge())
        model.fit(_texts(train), train.labels)
        return np.asarray(model.predict(_texts(test)), np.float64).reshape(rows, -1)
    outputs = np.zeros((rows, len(task.names)))
    if task.kind == "multilabel":
        both = [c for c, column in enumerate(train.labels.T) if len(np.unique(column)) == 2]
        outputs[:] = train.labels[0]  # a label with one outcome in training
        model = make_pipeline(counts, MaxAbsScaler(), OneVsRestClassifier(logistic))
        model.fit(_texts(train), train.labels[:, both].astype(int))
        outputs[:, both] = model.predict_proba(_texts(test)).reshape(rows, -1)[:, -len(both) :]
        return outputs
    model = make_pipeline(counts, MaxAbsScaler(), logistic)
    model.fit(_texts(train), train.labels)
    outputs[:, model.classes_] = model.predict_proba(_texts(test))
    return outputs


def _texts(table: Labelled) -> Sequence[str]:
    """Return upper-case sequences; the second of a pair in lower case, to be counted separately."""
    firsts = [sequence.upper() for sequence in table.sequences]
    if table.pairs is None:
        return firsts
    return [f"{a} {b.lower()}" for a, b in zip(firsts, table.pairs, strict=True)]
