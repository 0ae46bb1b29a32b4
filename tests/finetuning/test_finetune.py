"""Fine-tuning writes a classifier whose scores match the reported ones."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny
from helpers.toys import LEARNT, SEQUENCES, TOY_MODEL, write_toys

from dnabert2_fast import (
    Dnabert2ForSequenceClassification,
    FinetuneConfig,
    PackedBatch,
    Tokenizer,
    finetune,
)
from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.finetuning.metrics import scores


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny untrained model with the published vocabulary."""
    return save_tiny(tmp_path_factory.mktemp("finetune") / "model", **TOY_MODEL)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Three classes."""
    folder = tmp_path_factory.mktemp("tables") / "t"
    three = [(i, sequence) for i, sequence in SEQUENCES if i < 3]
    return write_toys(folder, lambda i, s: i, sequences=three)


@pytest.fixture(scope="module")
def result(model, tables, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "classifier"
    return finetune(FinetuneConfig(str(model), str(tables), str(out), **LEARNT))


def test_it_learns(result):
    assert result.metrics["test"]["mcc"] == 1
    assert result.metrics["test_baseline"]["accuracy"] == 1
    assert set(result.metrics["test"]) > {"mcc", "auroc", "auprc", "precision", "recall"}


def test_the_folder_holds_what_was_scored(result, tables):
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "metrics.json",
        "run.json",
        "task.json",
        "test_predictions.csv",
    }
    assert json.loads((result.folder / "metrics.json").read_text()) == result.metrics
    with (result.folder / "test_predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    written = np.array([[float(row[f"probability_{i}"]) for i in range(3)] for row in rows])
    test = read_labelled(tables / "test.csv")
    assert [row["name"] for row in rows] == [str(i) for i in range(len(rows))]
    assert [row["sequence"] for row in rows] == test.sequences
    assert [row["label"] for row in rows] == list(map(str, test.labels))
    assert [row["prediction"] for row in rows] == list(map(str, written.argmax(1)))
    model = Dnabert2ForSequenceClassification.from_pretrained(result.folder)
    tok = Tokenizer.from_pretrained(result.folder)
    with torch.inference_mode():
        logits = model(PackedBatch.from_ragged(tok.encode_batch(test.sequences))).logits
    np.testing.assert_allclose(written, logits.softmax(-1), atol=2e-6)
    assert scores(test.labels, written)["mcc"] == pytest.approx(result.metrics["test"]["mcc"])


def test_bfloat16_learns_in_float32_weights(model, tables, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("DNABERT2_FAST_PROGRESS", raising=False)
    config = FinetuneConfig(str(model), str(tables), str(tmp_path / "o"), **LEARNT)
    result = finetune(replace(config, dtype="bfloat16"))
    assert result.metrics["test"]["mcc"] == 1
    assert Dnabert2ForSequenceClassification.from_pretrained(result.folder).dtype is torch.float32
    first = capfd.readouterr().err.splitlines()[0]
    assert first == f"fine-tuning {model} on cpu: bfloat16, attention sdpa"
    with pytest.raises(ValueError, match=r"dtype: float16 needs a CUDA device \(got cpu\)"):
        finetune(replace(config, dtype="float16", device="cpu"))


def test_two_classes_have_an_area_under_the_curve():
    labels = np.array([0, 0, 1, 1])
    got = scores(labels, np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]))
    assert got["auroc"] == 1.0
    assert got["accuracy"] == 0.75


def test_bad_input(model, tables, result, tmp_path):
    with pytest.raises(CheckpointError, match=r"other settings: epochs 3 \(requested 5\)"):
        finetune(FinetuneConfig(str(model), str(tables), str(result.folder), epochs=5))
    with pytest.raises(CheckpointError, match=r"exists already\. Choose another folder"):
        finetune(FinetuneConfig(str(model), str(tables), str(tables)))
    with pytest.raises(DataError, match=r"no train\.csv"):
        finetune(FinetuneConfig(str(model), str(tmp_path), str(tmp_path / "out")))
    shutil.copytree(model, tmp_path / "other")
    Tokenizer.train(["ACGT" * 9], 12).save(tmp_path / "other" / "tokenizer.json")
    with pytest.raises(CheckpointError, match="the model has 4096 ids, the tokenizer"):
        finetune(FinetuneConfig(str(tmp_path / "other"), str(tables), str(tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("pairs", [False, True])
def test_sequences_shorter_than_the_kmers_of_the_baseline(model, tmp_path, pairs):
    two = [(i, "ACGT"[i] * 4) for i in range(2)]
    head = "sequence1,sequence2,label" if pairs else "sequence,label"
    tables = write_toys(
        tmp_path / "t", lambda i, s: f"{s},{i}" if pairs else i, head, sequences=two
    )
    out = tmp_path / "out"
    result = finetune(FinetuneConfig(str(model), str(tables), str(out), **LEARNT))
    assert result.metrics["test_baseline"]["accuracy"] == 1


@pytest.mark.parametrize(
    ("label", "kind", "said"),
    [
        ("promoter", "auto", "the label promoter"),
        ("1;0", "auto", "the label 1;0"),
        ("1.5", "auto", r"the label 1\.5"),
        ("0", "tokens", "the label 0"),
        (".", "tokens", "no label"),
    ],
)
def test_labels_that_never_vary_are_refused_before_training(model, tmp_path, label, kind, said):
    tables = write_toys(tmp_path / "t", lambda i, s: label, sequences=[(0, "A"), (0, "A")])
    with pytest.raises(DataError, match=rf"train\.csv: every row has {said}\. Add rows"):
        finetune(FinetuneConfig(str(model), str(tables), str(tmp_path / "out"), task=kind))
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_fault_of_the_baseline_costs_no_training(model, tables, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("baseline")

    def trained(*_):
        raise AssertionError("trained before the baseline")

    monkeypatch.setattr("dnabert2_fast.finetuning.runs.kmer_baseline", broken)
    monkeypatch.setattr("dnabert2_fast.finetuning.runs.train", trained)
    with pytest.raises(RuntimeError, match="baseline"):
        finetune(FinetuneConfig(str(model), str(tables), str(tmp_path / "out")))


def test_a_test_table_of_one_row_gives_valid_json(model, tmp_path):
    tables = write_toys(tmp_path / "t", lambda i, s: i / 2)
    test = tables / "test.csv"
    test.write_text("\n".join(test.read_text().splitlines()[:2]))
    result = finetune(FinetuneConfig(str(model), str(tables), str(tmp_path / "out"), epochs=1))
    assert "NaN" not in (result.folder / "metrics.json").read_text()
    assert set(result.metrics["test"]) == {"pearson", "spearman", "mae", "rmse"}
