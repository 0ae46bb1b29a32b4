"""`predict`, and `Predictor` in the terms of scikit-learn."""

import inspect

import numpy as np
import pandas as pd
import pytest
from helpers.predictors import RECORDS, WINDOW, make
from sklearn.metrics import accuracy_score

from dnabert2_fast import Dnabert2ForSequenceClassification, Predictor, predict, read_fasta
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning import Task
from dnabert2_fast.io import FastaRecord

DNA = list(RECORDS.values())
TASKS = {
    "named": Task("multiclass", ("no", "yes", "maybe"), window_bp=WINDOW),
    "numbered": Task("multiclass", ("0", "1", "2"), window_bp=WINDOW),
    "labels": Task("multilabel", ("a", "b"), window_bp=WINDOW),
    "number": Task("regression", ("strength",), window_bp=WINDOW),
    "numbers": Task("regression", ("0", "1"), window_bp=WINDOW),
    "bases": Task("bases", ("out", "in"), window_bp=WINDOW),
    "tokens": Task("tokens", ("out", "in"), window_bp=WINDOW),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictors")
    for name, task in TASKS.items():
        make(folder / name, task)
    return folder


def test_the_shape():
    """As the functions of genomics, but no model in the package is fine-tuned."""
    parameters = inspect.signature(predict).parameters.values()
    assert [(one.name, one.kind.name, one.default) for one in parameters][:5] == [
        ("sequences", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("model", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("tokenizer", "POSITIONAL_OR_KEYWORD", None),
        ("device", "KEYWORD_ONLY", "auto"),
        ("dtype", "KEYWORD_ONLY", "auto"),
    ]
    with pytest.raises(CheckpointError, match=r"mini: has no task\.json"):
        predict(DNA, "mini")


def test_forms_of_sequences_and_models(folders, tmp_path):
    want = predict(DNA, folders / "named")
    assert set(want) <= {"no", "yes", "maybe"}
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in RECORDS.items()))
    for given in (
        (text for text in DNA),
        np.array(DNA),
        pd.Series(DNA, index=range(9, 9 + len(DNA))),
        [FastaRecord("x", text) for text in DNA],
        read_fasta(path),
        path,
    ):
        assert (predict(given, str(folders / "named")) == want).all()
    predictor = Predictor.load(folders / "named")
    classifier = Dnabert2ForSequenceClassification.from_pretrained(folders / "named")
    for model in (predictor, classifier):
        assert (predict(DNA, model) == want).all()
        assert (predict(DNA, model, "dnabert2", device="cpu", dtype="float32") == want).all()
        with pytest.raises(CheckpointError, match="the vocabulary is not"):
            predict(DNA, predictor, "mini")
    with pytest.raises(TypeError, match=r"a Predictor or a classifier \(got int\)"):
        predict(DNA, 7)
    with pytest.raises(ValueError, match="tokenizer: is required"):
        predict(DNA, Dnabert2ForSequenceClassification(classifier.config))


@pytest.mark.parametrize("name", ["named", "numbered"])
def test_classes(folders, name):
    predictor = Predictor.load(folders / name)
    found, shares = predictor.predict(DNA), predictor.predict_proba(DNA)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert np.array_equal(shares, predictor(DNA).outputs)
    assert (found == predictor.classes_[shares.argmax(1)]).all()
    table = pd.DataFrame({"sequence": DNA, "label": found.tolist()})
    assert (predictor.predict(table["sequence"]) == table["label"]).all()
    assert accuracy_score(table["label"], found) == 1
    assert isinstance(found[0], str if name == "named" else np.integer)


@pytest.mark.filterwarnings("ignore:1 answers are NaN")
def test_sequences_without_bases(folders):
    given = [DNA[0], ""]
    for name in ("named", "numbered"):
        assert predict(given, folders / name)[1] is None
        assert predict(given, folders / name)[0] == predict(given[:1], folders / name)[0]
    for name in ("labels", "number"):
        found = predict(given, folders / name)
        assert np.isnan(found[1]).all()
        assert np.array_equal(found[0], predict(given[:1], folders / name)[0])


def test_labels_and_numbers(folders):
    labels = Predictor.load(folders / "labels")
    assert np.array_equal(labels.predict(DNA), (labels.predict_proba(DNA) >= 0.5).astype(int))
    assert labels.classes_.tolist() == ["a", "b"]
    for name, shape in (("number", (len(DNA),)), ("numbers", (len(DNA), 2))):
        numbers = Predictor.load(folders / name)
        assert numbers.predict(DNA).shape == shape
        assert np.array_equal(numbers.predict(DNA).ravel(), numbers(DNA).outputs.ravel())
        assert not hasattr(numbers, "classes_")
        with pytest.raises(AttributeError, match=r"predicts numbers\. Use predict"):
            numbers.predict_proba(DNA)


@pytest.mark.parametrize("name", ["bases", "tokens"])
def test_one_answer_per_position(folders, name):
    predictor = Predictor.load(folders / name)
    found, shares = predictor.predict(DNA), predictor.predict_proba(DNA)
    lengths = predictor(DNA).lengths.tolist()
    assert [len(one) for one in found] == [len(one) for one in shares] == lengths
    if name == "bases":
        assert lengths == list(map(len, DNA))
    assert all(set(one) <= {"in", "out"} for one in found)


def test_a_repr_that_helps(folders, tmp_path):
    assert repr(Predictor.load(folders / "named")) == (
        f"Predictor('{folders / 'named'}', multiclass, classes: no, yes, maybe; "
        f"window_bp={WINDOW}, device='cpu', dtype='float32')"
    )
    folder = make(tmp_path / "many", Task("multiclass", tuple(f"c{i}" for i in range(40))))
    (folder / "run.json").write_text('{"model": "mini"}')
    found = repr(Predictor.load(folder, dtype="bfloat16"))
    assert "fine-tuned from 'mini'" in found
    assert "c7, ...; window_bp=None" in found
    assert "bfloat16" in found
