"""ONNX files give what the library gives, in ONNX Runtime."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
    Dnabert2Model,
    PackedBatch,
    Ragged,
    Tokenizer,
    embed,
)
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.int8 import quantize_int8
from dnabert2_fast.model.onnx import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")

CONFIG = Dnabert2Config(
    vocab_size=4096,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=32,
    num_labels=4,
)
KINDS = [
    (Dnabert2Model, "cls"),
    (Dnabert2ForMaskedLM, "cls"),
    (Dnabert2ForTokenClassification, "cls"),
    (Dnabert2ForSequenceClassification, "cls"),
    (Dnabert2ForSequenceClassification, "mean"),
]
# None as long or as many as the example that is traced.
LENGTHS = ([1], [17], [5, 1, 90, 33], [300, 299, 2, 64, 7])


def drawn(kind, **more):
    """A model whose every weight counts: norms and biases are not at their first values."""
    torch.manual_seed(3)
    model = kind(replace(CONFIG, **more)).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("orm.weight" in name), std=0.3)
    return model


def opened(model, folder):
    export_onnx(model, folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def rectangle(rows, *, left):
    """Ids and mask, padded on one side."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        at = slice(ids.shape[1] - len(row), None) if left else slice(len(row))
        ids[i, at], mask[i, at] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def answer(model, rows):
    """Return the library's own outputs for rows of ids."""
    with torch.inference_mode():
        out = model(PackedBatch.from_ragged(Ragged.from_list(rows)))
    return (out.last_hidden_state if isinstance(model, Dnabert2Model) else out.logits).numpy()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A model and its file, opened: exported while it was trained, in bfloat16."""
    model = drawn(Dnabert2Model).train().to(torch.bfloat16)
    session = opened(model, tmp_path_factory.mktemp("onnx"))
    assert model.training, "the model stays as it was"
    assert model.dtype == torch.bfloat16
    return model.eval().float(), session


def check(model, run):
    """Compare `run(rectangle)` with the model, for rows of many lengths."""
    draws = np.random.default_rng(0)
    for lengths in LENGTHS:
        rows = [draws.integers(0, CONFIG.vocab_size, n).tolist() for n in lengths]
        wanted, truth = answer(model, rows), answer(deepcopy(model).double(), rows)
        # Of float32 through norms; holds for the library itself, and any fault is far larger.
        rounding = 2e-5 * np.abs(truth).max()
        assert np.abs(wanted - truth).max() < rounding
        for left in (False, True):
            inputs = rectangle(rows, left=left)
            found = run(inputs)
            if not isinstance(model, Dnabert2ForSequenceClassification):
                real = inputs["attention_mask"].astype(bool)
                assert (found[~real] == 0).all()
                found = found[real]
            assert np.abs(found - truth).max() < rounding


@pytest.mark.parametrize(("kind", "pooling"), KINDS)
def test_what_is_traced_gives_what_the_library_gives(kind, pooling, tmp_path, monkeypatch):
    """The network that torch is asked to export, which takes seconds, is called instead."""
    asked = []

    def export(network, example, path, **_):
        asked.append(network)
        open(path, "wb").close()

    monkeypatch.setattr(torch.onnx, "export", export)
    model = drawn(kind, classifier_pooling=pooling)
    export_onnx(model, tmp_path / "model.onnx")
    (network,) = asked
    with torch.no_grad():
        check(model, lambda inputs: network(*map(torch.from_numpy, inputs.values())).numpy())


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [KINDS[0], *(pytest.param(*kind, marks=pytest.mark.full) for kind in KINDS[1:])],
)
def test_the_file_gives_what_the_library_gives(kind, pooling, tmp_path, request):
    if kind is Dnabert2Model:
        model, session = request.getfixturevalue("encoder")
    else:
        model = drawn(kind, classifier_pooling=pooling)
        session = opened(model, tmp_path)
    check(model, lambda inputs: session.run(None, inputs)[0])


def test_names_and_free_sizes(encoder):
    _, session = encoder
    assert [(i.name, i.type) for i in session.get_inputs()] == [
        ("input_ids", "tensor(int64)"),
        ("attention_mask", "tensor(int64)"),
    ]
    assert all(isinstance(size, str) for i in session.get_inputs() for size in i.shape)
    assert [output.name for output in session.get_outputs()] == ["last_hidden_state"]


def test_vectors_of_real_tokens_are_those_of_embed(encoder):
    model, session = encoder
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    texts = ["ACGTAGCATCGGATCTATC" * 9, "TTGACAGATT", "GATTACA" * 30]
    rows = [tokenizer.encode(text).tolist() for text in texts]
    (states,) = session.run(None, rectangle(rows, left=False))
    # [CLS] first and [SEP] last are not counted.
    means = [states[i, 1 : len(row) - 1].mean(0) for i, row in enumerate(rows)]
    np.testing.assert_allclose(means, embed(texts, model, tokenizer), rtol=2e-5, atol=2e-5)


def test_a_row_of_padding_alone_is_zero(encoder):
    (found,) = encoder[1].run(None, rectangle([[5, 6], []], left=False))
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()


def test_int8_is_refused_and_nothing_is_written(tmp_path):
    model = drawn(Dnabert2Model)
    quantize_int8(model)
    with pytest.raises(CheckpointError, match="Export the model it was read from"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
