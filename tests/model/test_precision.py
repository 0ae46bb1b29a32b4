"""One rule chooses the dtype of every computation."""

import inspect
from dataclasses import fields

import pytest
import torch

from dnabert2_fast import Dnabert2Model, FinetuneConfig, PretrainConfig
from dnabert2_fast.cli import embedding, genomics, training
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning import Predictor, evaluate
from dnabert2_fast.finetuning.config import PredictConfig
from dnabert2_fast.genomics import DnaEmbedder
from dnabert2_fast.model import precision
from dnabert2_fast.model.precision import mixed_precision, resolve_dtype
from dnabert2_fast.ray import embed_file

CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((9, 0), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_auto_on_cards(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    for training_too in (False, True):
        assert resolve_dtype("auto", CUDA, bfloat16_on_cpu=training_too) == dtype
    assert resolve_dtype("float32", CUDA) == "float32"


def test_auto_elsewhere(monkeypatch):
    for fast in (False, True):
        monkeypatch.setattr(precision, "has_bfloat16", lambda fast=fast: fast)
        for device in ("cpu", "mps", "meta"):
            assert resolve_dtype("auto", torch.device(device)) == "float32"
        trained = resolve_dtype("auto", torch.device("cpu"), bfloat16_on_cpu=True)
        assert trained == ("bfloat16" if fast else "float32")
        assert resolve_dtype("auto", torch.device("mps"), bfloat16_on_cpu=True) == "float32"
    with pytest.raises(CheckpointError, match=r"dtype: must be one of auto, .*got \"half\""):
        resolve_dtype("half", torch.device("cpu"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_mixed_precision_multiplies_in_the_dtype(dtype):
    linear = torch.nn.Linear(4, 4)
    with mixed_precision(torch.device("cpu"), dtype):
        assert linear(torch.ones(1, 4)).dtype is precision.DTYPES[dtype]


@pytest.mark.parametrize(
    "entry",
    [
        Dnabert2Model.from_pretrained,
        Predictor.load,
        evaluate,
        DnaEmbedder,
        embed_file,
        embedding.embed,
        genomics.score_variants,
        genomics.attribute,
        genomics.fill_mask,
        genomics.likelihood,
        training.predict,
        training.evaluate,
    ],
)
def test_auto_is_the_default(entry):
    assert inspect.signature(entry).parameters["dtype"].default == "auto"


@pytest.mark.parametrize("config", [FinetuneConfig, PredictConfig, PretrainConfig])
def test_auto_is_the_default_of_settings(config):
    assert {field.name: field.default for field in fields(config)}["dtype"] == "auto"
