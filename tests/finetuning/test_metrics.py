"""Scores, signs of a collapsed run and the k-mer model, each by its definition."""

import math
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from dnabert2_fast.finetuning.labels import IGNORED, Labelled
from dnabert2_fast.finetuning.metrics import BEST_BY, collapsed, kmer_baseline, scores
from dnabert2_fast.finetuning.task import Task


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def ratio(a, b):
    return a / b if b else 0.0


def of_two(wanted, predicted):
    """Precision, recall, F1 and Matthews correlation of one outcome, from the four counts."""
    pairs = list(zip(wanted.tolist(), predicted.tolist(), strict=True))
    tp, fn, fp, tn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    f1 = ratio(2 * precision * recall, precision + recall)
    return precision, recall, f1, ratio(tp * tn - fp * fn, root)


def areas(wanted, scored):
    """Area under the ROC curve as a share of pairs, and average precision by its sum."""
    ones, zeros = scored[wanted == 1], scored[wanted == 0]
    auroc = np.mean([(a > b) + (a == b) / 2 for a in ones for b in zeros])
    auprc = recall = 0.0
    for bound in sorted(set(scored.tolist()), reverse=True):
        taken = wanted[scored >= bound]
        auprc += (taken.sum() / wanted.sum() - recall) * taken.mean()
        recall = taken.sum() / wanted.sum()
    return auroc, auprc


def test_the_best_epoch_is_chosen_by_a_score_that_there_is():
    labels, outputs = np.array([0, 1]), np.eye(2)
    for kind, name in BEST_BY.items():
        given = outputs if kind in ("multilabel", "regression") else labels
        assert scores(given, outputs, kind)[name] == 1, kind


@pytest.mark.parametrize("kind", ["multiclass", "tokens", "bases"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_scores_of_classes(classes, kind):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, 3 if classes > 2 else 2, 40)  # of four classes one never occurs
    outputs = rng.dirichlet(np.ones(classes), 40)
    outputs[:, -1] *= 0.5  # and is seldom predicted
    asked = np.arange(40) % 4 > 0
    got = scores(np.where(asked, labels, IGNORED), outputs, kind)
    labels, outputs = labels[asked], outputs[asked]
    predicted = outputs.argmax(1)
    assert got["accuracy"] == pytest.approx(np.mean(labels == predicted))
    seen = sorted({*labels.tolist(), *predicted.tolist()})
    each = np.array([of_two(labels == c, predicted == c) for c in seen])
    for name, column in (("precision", 0), ("recall", 1), ("f1", 2)):
        assert got[name] == pytest.approx(each[:, column].mean()), name
    # Correlation of class indicators, over all classes (Gorodkin 2004).
    x, y = (np.eye(classes)[one] - np.eye(classes)[one].mean(0) for one in (labels, predicted))
    assert got["mcc"] == pytest.approx((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))
    counted = [1] if classes == 2 else [0, 1, 2]
    wanted = np.mean([areas(labels == c, outputs[:, c]) for c in counted], 0)
    assert (got["auroc"], got["auprc"]) == pytest.approx(tuple(wanted))
    assert all(type(value) is float for value in got.values())
    assert list(got) == ["accuracy", "f1", "mcc", "precision", "recall", "auroc", "auprc"]


def test_scores_of_one_class():
    """A correlation with a constant is 0, a class never predicted has precision 0, no areas."""
    labels, outputs = np.zeros(3, int), np.eye(2)[[0, 0, 1]]
    assert scores(labels, outputs) == pytest.approx(
        {"accuracy": 2 / 3, "f1": 0.4, "mcc": 0, "precision": 0.5, "recall": 1 / 3}
    )
    got = scores(np.array([0, 0, 1]), np.eye(2)[[0, 0, 0]])
    assert got["mcc"] == 0
    assert got["precision"] == pytest.approx(1 / 3)
    assert scores(np.array([0, 1]), np.eye(2)[[0, 1]])["mcc"] == 1


def test_a_score_beyond_the_largest_number_is_left_out():
    labels = np.arange(6.0)[:, None]
    with np.errstate(over="ignore"):
        assert list(scores(labels, 1e200 * labels, "regression")) == ["pearson", "spearman", "mae"]


def test_scores_of_labels():
    rng = np.random.default_rng(1)
    labels = (rng.random((30, 4)) < 0.4).astype(float)
    labels[:, 2], labels[:, 3] = 1, 0  # one outcome each
    outputs = rng.random((30, 4)).round(1)
    outputs[:6] = labels[:6]  # some rows are right
    outputs[0, 0], labels[0, 0] = 0.5, 1  # one half counts as yes
    got = scores(labels, outputs, "multilabel")
    predicted = outputs >= 0.5
    assert got["accuracy"] == pytest.approx((labels == predicted).mean())
    right = [(a == b).all() for a, b in zip(labels, predicted, strict=True)]
    assert got["exact"] == pytest.approx(np.mean(right))
    each = np.array([of_two(labels[:, c], predicted[:, c].astype(float)) for c in range(4)])
    for column, name in enumerate(("precision", "recall", "f1", "mcc")):
        assert got[name] == pytest.approx(each[:, column].mean()), name
    wanted = np.mean([areas(labels[:, c], outputs[:, c]) for c in range(2)], 0)
    assert (got["auroc"], got["auprc"]) == pytest.approx(tuple(wanted))
    names = ["accuracy", "exact", "f1", "mcc", "precision", "recall", "auroc", "auprc"]
    assert list(got) == names
    got = scores(labels[:, 2:], np.zeros((30, 2)), "multilabel")  # nothing is predicted
    assert (got["precision"], got["recall"], got["f1"]) == (0, 0, 0)
    assert list(got) == names[:6]


def ranks(values):
    return [(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values]


def test_scores_of_numbers():
    rng = np.random.default_rng(4)
    labels = rng.normal(size=(20, 4))
    outputs = labels + rng.normal(size=(20, 4))
    outputs[:, 2] = 0.5  # a constant correlates with nothing
    labels[:, 3] = 0.5
    got = scores(labels, outputs, "regression")
    pairs = [(labels[:, c], outputs[:, c]) for c in range(2)]
    pearson = [np.corrcoef(y, p)[0, 1] for y, p in pairs]
    spearman = [np.corrcoef(ranks(y), ranks(p))[0, 1] for y, p in pairs]
    assert got["pearson"] == pytest.approx(sum(pearson) / 4)
    assert got["spearman"] == pytest.approx(sum(spearman) / 4)
    assert got["mae"] == pytest.approx(np.abs(labels - outputs).mean())
    assert got["rmse"] == pytest.approx(math.sqrt(((labels - outputs) ** 2).mean()))
    lost = ((labels - outputs) ** 2).sum(0)[:3] / ((labels - labels.mean(0)) ** 2).sum(0)[:3]
    explained = [*(1 - lost), 0]  # by convention, of labels that are all the same
    assert got["r2"] == pytest.approx(np.mean(explained))
    assert list(got) == ["r2", "pearson", "spearman", "mae", "rmse"]
    small = scores(labels / 1024, outputs / 1024, "regression")  # in another unit
    for name in ("r2", "pearson", "spearman"):
        assert small[name] == pytest.approx(got[name]), name
    constant = scores(outputs[:, :1], np.full((20, 1), 0.5), "regression")
    assert (constant["pearson"], constant["spearman"]) == (0, 0)


def test_a_collapsed_regression():
    task = Task("regression", ("x", "y"))
    labels = np.stack([np.arange(8.0), np.arange(8.0) * 100], 1)
    still = "the predicted numbers are nearly all the same"
    for share, found in ((1, None), (0.011, None), (0.009, still), (0, still)):
        assert collapsed(labels, labels * share, task) == found, share
    for shares in ([1, 0.001], [0.001, 1]):  # one of two is enough
        assert collapsed(labels, labels * shares, task) == still
    assert collapsed(labels * 0, labels * 0, task) is None


def test_collapsed_labels():
    task, labels = Task("multilabel", ("x", "y")), np.eye(2)
    same = "every row gets the same labels"
    assert collapsed(labels, np.full((2, 2), 0.1), task) == same
    assert collapsed(labels, np.array([[0.5, 0.4], [0.9, 0.1]]), task) == same
    assert collapsed(labels, np.array([[0.5, 0.4], [0.49, 0.1]]), task) is None
    assert collapsed(labels, labels, task) is None
    assert collapsed(labels[[0, 0]], labels[[1, 1]], task) is None  # wrong, but rightly the same


def test_collapsed_classes():
    task, sure = Task("multiclass", ("no", "yes", "both")), np.eye(3)
    assert collapsed(np.array([0, 1, 2]), sure[[1, 1, 1]], task) == 'every answer is "yes"'
    assert collapsed(np.array([0, 1, 2]), sure[[2, 2, 2]], task) == 'every answer is "both"'
    assert collapsed(np.array([0, 1, 2]), sure[[1, 1, 2]], task) is None
    assert collapsed(np.array([0, 0]), sure[[1, 1]], task) is None
    # Ignored rows count neither as answers nor as labels.
    some = np.array([0, 1, IGNORED])
    assert collapsed(some, sure[[1, 1, 2]], task) == 'every answer is "yes"'
    assert collapsed(np.array([0, 0, IGNORED]), sure[[1, 1, 1]], task) is None


def counted(sequences, kmers):
    """Counts of k-mers, each divided by its greatest count in training (the first six rows)."""
    k = len(kmers[0])
    found = np.array(
        [[sum(s[i : i + k] == kmer for i in range(len(s))) for kmer in kmers] for s in sequences]
    )
    return found / found[:6].max(0)


TRAIN = ["ACGTACGAA", "CCGTTAAA", "ACACACGT", "GGGTTTAC", "TTACGGA", "acgtgggta"]
TEST = ["ACGTAAAC", "ggtttccg"]
UPPER = [sequence.upper() for sequence in (*TRAIN, *TEST)]
KMERS = {
    k: sorted({s[i : i + k] for s in UPPER[:6] for i in range(len(s) - k + 1)}) for k in (2, 5)
}


@pytest.mark.parametrize("k", [2, None])
def test_the_kmer_model_of_classes(k):
    rows = counted(UPPER, KMERS[k or 5])
    labels = np.array([0, 2, 0, 2, 0, 2])  # class 1 does not occur
    task = Task("multiclass", ("a", "b", "c"))
    got = kmer_baseline(
        task, Labelled(TRAIN, labels), Labelled(TEST, []), **({"k": k} if k else {})
    )
    want = LogisticRegression(max_iter=500).fit(rows[:6], labels).predict_proba(rows[6:])
    np.testing.assert_allclose(got[:, [0, 2]], want, rtol=1e-5)
    assert got[:, 1].tolist() == [0, 0]


def test_the_kmer_model_of_labels():
    rows = counted(UPPER, KMERS[2])
    labels = np.array(
        [[1.0, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]]
    )
    task = Task("multilabel", ("a", "always", "never", "d"))
    got = kmer_baseline(task, Labelled(TRAIN, labels), Labelled(TEST, []), k=2)
    for column in (0, 3):
        alone = LogisticRegression(max_iter=500).fit(rows[:6], labels[:, column])
        np.testing.assert_allclose(got[:, column], alone.predict_proba(rows[6:])[:, 1], rtol=1e-5)
    assert got[:, 1:3].tolist() == [[1, 0], [1, 0]]
    one = kmer_baseline(
        Task("multilabel", ("a", "b")),
        Labelled(TRAIN, labels[:, :2]),
        Labelled(TEST, []),
        k=2,
    )
    np.testing.assert_allclose(one, got[:, :2], rtol=1e-5)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_kmer_model_of_numbers(columns):
    rows = counted(UPPER, KMERS[2])
    labels = np.stack([np.arange(6.0), np.arange(6.0) ** 2], 1)[:, :columns]
    task = Task("regression", ("x", "y")[:columns])
    got = kmer_baseline(task, Labelled(TRAIN, labels), Labelled(TEST, []), k=2)
    assert got.shape == (2, columns)
    assert got.dtype == np.float64
    want = Ridge().fit(rows[:6], labels).predict(rows[6:]).reshape(2, -1)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_kmer_model_counts_the_two_of_a_pair_apart():
    pairs = [f"{sequence[::-1]}" for sequence in (*TRAIN, *TEST)]
    joined = [f"{a} {b.lower()}" for a, b in zip(UPPER, pairs, strict=True)]
    kmers = sorted({s[i : i + 3] for s in joined[:6] for i in range(len(s) - 2)})
    rows = counted(joined, kmers)
    labels = np.array([[0.0], [1], [2], [0], [1], [5]])
    got = kmer_baseline(
        Task("regression", ("x",)),
        Labelled(TRAIN, labels, pairs[:6]),
        Labelled(TEST, [], pairs[6:]),
        k=3,
    )
    want = Ridge().fit(rows[:6], labels).predict(rows[6:]).reshape(2, -1)
    np.testing.assert_allclose(got, want, rtol=1e-5)
