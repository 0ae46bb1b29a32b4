"""Scores of a classifier, and the simple model that it has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

__all__ = ["kmer_baseline", "scores"]


def scores(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]
) -> dict[str, float]:
    """Return accuracy, macro F1, Matthews correlation and, for two classes, area under ROC.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
    probabilities : ndarray, shape (n, classes)

    Examples
    --------
    >>> scores(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))["mcc"]
    1.0
    """
    predicted = probabilities.argmax(1)
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "f1": f1_score(labels, predicted, average="macro"),
        "mcc": matthews_corrcoef(labels, predicted),
    }
    if probabilities.shape[1] == 2 and len(np.unique(labels)) == 2:
        values["auroc"] = roc_auc_score(labels, probabilities[:, 1])
    return {name: float(value) for name, value in values.items()}


def kmer_baseline(
    train: Sequence[str],
    labels: npt.NDArray[np.int64],
    test: Sequence[str],
    *,
    classes: int,
    k: int = 5,
) -> npt.NDArray[np.float64]:
    """Return the test probabilities, (n, classes), of a logistic regression on k-mer counts."""
    counts = CountVectorizer(analyzer="char", ngram_range=(k, k), lowercase=False)
    model = make_pipeline(counts, MaxAbsScaler(), LogisticRegression(max_iter=500))
    model.fit([s.upper() for s in train], labels)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = model.predict_proba([s.upper() for s in test])
    return probabilities
