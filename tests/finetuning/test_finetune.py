"""Fine-tuning writes a classifier that scores what it says it scores."""

import csv
import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny

from dnabert2_fast import (
    Dnabert2ForSequenceClassification,
    FinetuneConfig,
    PackedBatch,
    Tokenizer,
    finetune,
)
from dnabert2_fast.errors import CheckpointError, DataError
from dnabert2_fast.finetuning.metrics import scores
from dnabert2_fast.finetuning.task import read_labelled


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny untrained model with the published vocabulary."""
    folder = tmp_path_factory.mktemp("finetune") / "model"
    return save_tiny(folder, hidden_size=48, num_attention_heads=4, intermediate_size=64)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Three classes that differ in composition."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 360), ("dev", 60), ("test", 90)):
        with (folder / f"{split}.csv").open("w") as handle:
            handle.write("sequence,label\n")
            for i in range(rows):
                weights = np.full(4, 0.15)
                weights[i % 3] += 0.4
                letters = rng.choice(list("ACGT"), rng.integers(30, 80), p=weights)
                handle.write(f"{''.join(letters)},{i % 3}\n")
    return folder


@pytest.fixture(scope="module")
def result(model, tables, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "classifier"
    return finetune(
        FinetuneConfig(
            str(model), str(tables), str(out), epochs=8, learning_rate=3e-3, warmup_steps=5
        )
    )


def test_it_learns(result):
    assert result.metrics["test"]["mcc"] > 0.4
    assert result.metrics["test_baseline"]["accuracy"] > 0.4
    assert set(result.metrics["test"]) > {"mcc", "auroc", "auprc", "precision", "recall"}


def test_the_folder_holds_what_was_scored(result, tables):
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "metrics.json",
        "run.json",
        "task.json",
        "test_predictions.csv",
    }
    assert json.loads((result.folder / "metrics.json").read_text()) == result.metrics
    with (result.folder / "test_predictions.csv").open() as handle:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    written = np.array([[row[f"probability_{i}"] for i in range(3)] for row in rows])
    test = read_labelled(tables / "test.csv")
    assert [row["label"] for row in rows] == test.labels.tolist()
    model = Dnabert2ForSequenceClassification.from_pretrained(result.folder)
    tok = Tokenizer.from_pretrained(result.folder)
    with torch.inference_mode():
        logits = model(PackedBatch.from_ragged(tok.encode_batch(test.sequences))).logits
    np.testing.assert_allclose(written, logits.softmax(-1), atol=2e-6)
    assert scores(test.labels, written)["mcc"] == pytest.approx(result.metrics["test"]["mcc"])


def test_two_classes_have_an_area_under_the_curve():
    labels = np.array([0, 0, 1, 1])
    got = scores(labels, np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]))
    assert got["auroc"] == 1.0
    assert got["accuracy"] == 0.75


def test_bad_input(model, tables, result, tmp_path):
    with pytest.raises(CheckpointError, match="exists already, made with epochs 8, not 3"):
        finetune(FinetuneConfig(str(model), str(tables), str(result.folder)))
    with pytest.raises(CheckpointError, match="exists already; choose another folder"):
        finetune(FinetuneConfig(str(model), str(tables), str(tables)))
    with pytest.raises(DataError, match=r"no train\.csv"):
        finetune(FinetuneConfig(str(model), str(tmp_path), str(tmp_path / "out")))
    Tokenizer.train(["ACGT" * 9], 12).save(model / "tokenizer.json")
    with pytest.raises(CheckpointError, match="the model has 4096 ids, the tokenizer"):
        finetune(FinetuneConfig(str(model), str(tables), str(tmp_path / "out")))
    Tokenizer.from_pretrained("dnabert2").save(model / "tokenizer.json")
    assert not list(tmp_path.iterdir())
