"""One model, several ways to run it: compiled, with less memory, in 8-bit integers, looked into."""

from copy import deepcopy

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
    kernels,
)
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.int8 import quantize_int8

SMALL = Dnabert2Config(
    vocab_size=64, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=64
)


def batch(*lengths, seed=0):
    draws = torch.Generator().manual_seed(seed)
    rows = [torch.randint(64, (n,), generator=draws).tolist() for n in lengths]
    return PackedBatch.from_ragged(Ragged.from_list(rows))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Dnabert2Model(SMALL).eval()


@torch.inference_mode()
def test_one_graph_for_the_whole_encoder(model):
    """fullgraph raises at any break; lengths and their number change without one."""
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for given in (batch(3, 5, 9), batch(4, 4, 4, 7), batch(600, 20)):
        assert torch.equal(compiled(given).last_hidden_state, model(given).last_hidden_state)


@pytest.mark.full
def test_gradients_of_the_compiled_graph(model):
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    given = batch(3, 5, 9)
    for run in (model, compiled):
        model.zero_grad()
        run(given).last_hidden_state.square().sum().backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        if run is model:
            want = grads
    for name, grad in want.items():
        assert torch.allclose(grads[name], grad, atol=1e-5 * float(grad.abs().max() + 1)), name
    assert not any(grad.any() for name, grad in grads.items() if name not in want)


@pytest.mark.slow
@torch.inference_mode()
def test_compiled_by_inductor(model):
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True)
    for given in (batch(3, 5, 9), batch(600, 20)):
        ours, plain = compiled(given).last_hidden_state, model(given).last_hidden_state
        assert torch.allclose(ours, plain, atol=1e-5)


def test_checkpointed_activations_give_the_same_gradients():
    """Dropout on: the second computation must draw the same masks."""
    given = batch(30, 7)
    labels = given.input_ids.masked_fill(torch.arange(37) % 3 > 0, -100)
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        model = Dnabert2ForMaskedLM(SMALL).train()
        model.checkpoint_activations(enabled)
        held = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, held=held: held.append(x.numel()) or x, lambda x: x
        ):
            torch.manual_seed(2)
            loss = model(given, labels).loss
        loss.backward()
        results.append((loss, [p.grad for p in model.parameters()], sum(held)))
    (loss, grads, whole), (again, grads_again, fewer) = results
    assert loss == again
    assert all(torch.equal(a, b) for a, b in zip(grads, grads_again, strict=True))
    assert fewer < whole / 2


@torch.inference_mode()
def test_hidden_states_and_attentions(model):
    given = batch(6, 11)
    output = model(given, output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert [[tuple(m.shape) for m in layer] for layer in output.attentions] == 2 * [
        [(3, 6, 6), (3, 11, 11)]
    ]
    assert all(
        torch.allclose(m.sum(-1), torch.ones(())) for layer in output.attentions for m in layer
    )
    # The weights of layer 1 lead from its input to what its attention gives.
    first, weights = model.bert.encoder.layer[0], output.attentions[0][1]
    state = output.hidden_states[0][6:]
    value = first.attention.self.Wqkv(state)[:, 96:].view(11, 3, 16).transpose(0, 1)
    mixed = (weights @ value).transpose(0, 1).flatten(1)
    got = first.mlp(first.attention.output(mixed, state))
    assert torch.allclose(got, output.hidden_states[1][6:], atol=1e-5)
    plain = model(given)
    assert plain.attentions is None
    assert plain.hidden_states is None


@torch.inference_mode()
def test_the_feed_forward_part_takes_rows_in_chunks(model, monkeypatch):
    given = batch(300, 41)
    whole = model(given).last_hidden_state
    monkeypatch.setattr("dnabert2_fast.model.layers.MLP_ROWS_CPU", 100)
    assert torch.allclose(model(given).last_hidden_state, whole, atol=1e-6)


@torch.inference_mode()
def test_a_classifier_answers_in_float32():
    torch.manual_seed(0)
    for kind in (Dnabert2ForSequenceClassification, Dnabert2ForTokenClassification):
        model = kind(SMALL).eval().to(torch.bfloat16)
        with torch.no_grad():
            model.classifier.bias.fill_(3)  # bfloat16 has steps of 1/64 here
        logits = model(batch(*range(20, 40))).logits
        assert logits.dtype == torch.float32
        assert not torch.equal(logits, logits.bfloat16().float())
        assert kind(SMALL).double().eval()(batch(5)).logits.dtype == torch.float64


def test_a_loss_without_logits():
    torch.manual_seed(0)
    model = Dnabert2ForMaskedLM(SMALL).eval()
    given = batch(6, 11)
    labels = given.input_ids.masked_fill(torch.arange(17) % 2 > 0, -100)
    with_logits, without = model(given, labels), model(given, labels, with_logits=False)
    assert without.logits is None
    assert torch.allclose(without.loss, with_logits.loss, atol=1e-6)
    assert model(given, torch.full_like(labels, -100), with_logits=False).loss == 0


@torch.inference_mode()
def test_int8(model, tmp_path):
    given = batch(40, 17, 90)
    model.save_pretrained(tmp_path / "m")
    small = Dnabert2Model.from_pretrained(tmp_path / "m", dtype="int8")
    got, want = small(given).last_hidden_state, model(given).last_hidden_state
    assert torch.cosine_similarity(got, want).min() > 0.999
    assert not torch.equal(got, want)
    with pytest.raises(CheckpointError, match="int8 cannot be saved"):
        small.save_pretrained(tmp_path / "again")
    with pytest.raises(ValueError, match=r"needs a CPU .got meta"):
        quantize_int8(deepcopy(model).to("meta"))


def test_the_model_says_which_attention_runs(model):
    status = model.attention_backend
    assert status.name == "sdpa"
    assert "triton" in status.reason


def test_mixed_precision_reaches_the_fused_loss(monkeypatch):
    """The norm before it gives float32 under autocast; the product with the vocabulary is not."""
    loss = pytest.importorskip("dnabert2_fast.kernels.triton_masked_lm_loss")
    given = []

    def op(hidden, weight, bias, labels):
        given.append(hidden.dtype)
        return hidden.float().sum(), None, None, None

    monkeypatch.setattr(loss, "masked_lm_loss", op)
    monkeypatch.setattr(kernels, "fused", lambda x: x.shape[-1] == 48)
    decoder, hidden = torch.nn.Linear(48, 64), torch.zeros(3, 48)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            kernels.masked_lm_loss(hidden, decoder, torch.zeros(3, dtype=torch.int64))
    assert given == [torch.float32, torch.bfloat16]
