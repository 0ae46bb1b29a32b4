"""The encoder gives the reference's numbers, and packing changes none of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.golden import CASES, MODELS, Case, folder_of

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    PackedBatch,
    Ragged,
)
from dnabert2_fast.model.pretrained import pick_device


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    return request.param, folder_of(request.param, tmp_path_factory.mktemp("golden") / "m")


def close(got, want, tolerance):
    assert got.shape == want.shape
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_states_pooler_and_logits(model, name):
    case = Case(model[0], name)
    encoder = Dnabert2Model.from_pretrained(model[1])
    output = encoder(case.batch(), output_hidden_states=True)
    close(output.last_hidden_state, case.rows("last_hidden_state"), 1e-5)
    if name == "leftpad":
        # The reference pools position 0, a zero row at left padding; we pool the first token.
        bias = encoder.bert.pooler.dense.bias
        padded = ~case.mask[:, 0]
        close(bias.tanh().expand(int(padded.sum()), -1), case["pooler_output"][padded], 1e-5)
        close(output.pooler_output[~padded], case["pooler_output"][~padded], 1e-5)
    else:
        close(output.pooler_output, case["pooler_output"], 1e-5)
    if "mlm_logits" in case:
        logits = Dnabert2ForMaskedLM.from_pretrained(model[1])(case.batch()).logits
        close(logits, case.rows("mlm_logits"), 3e-5)
    if "embedding_output" in case:
        close(output.hidden_states[0], case.rows("embedding_output"), 1e-5)
        for layer, state in enumerate(output.hidden_states[1:]):
            close(state, case[f"layer{layer}_packed"], 1e-5)


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients(model, name):
    case = Case(model[0], name)
    if "mlm_labels" in case:
        masked_lm = Dnabert2ForMaskedLM.from_pretrained(model[1])
        labels = case.tensor("mlm_labels")[torch.from_numpy(case.mask)]
        output = masked_lm(case.batch("mlm_input_ids"), labels)
        close(output.loss, case["mlm_loss"], 1e-5)
        close(output.logits, case["mlm_logits_at_labels"], 3e-5)
        if name == "padded":
            output.loss.backward()
            check_gradients(masked_lm, case)
    if "cls_labels" in case:
        classifier = Dnabert2ForSequenceClassification.from_pretrained(model[1])
        output = classifier(case.batch(), case.tensor("cls_labels"))
        close(output.logits, case["cls_logits"], 3e-5)
        close(output.loss, case["cls_loss"], 1e-5)


def check_gradients(masked_lm, case):
    parameters = dict(masked_lm.named_parameters())
    expected = {f.split(".grad.")[1] for f in case.numbers.files if ".grad." in f}
    checked = expected & set(parameters)
    assert len(checked) >= len(expected) - 1  # the tied matrix has one name here
    for name in checked:
        want = case[f"grad.{name}"]
        error = np.abs(parameters[name].grad.numpy() - want)
        assert (error <= 1e-5 + 1e-4 * np.abs(want)).all(), name
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters.values()])
    close(norm, case["grad_global_norm"], 1e-4 * float(case["grad_global_norm"]))


def sequences(count=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 64, rng.integers(1, 90)) for _ in range(count)]


@torch.no_grad()
def test_packed_equals_one_by_one(model):
    encoder = Dnabert2Model.from_pretrained(model[1])
    rows = sequences()
    together = encoder(PackedBatch.from_ragged(Ragged.from_list(rows)))
    alone = [encoder(PackedBatch.from_ragged(Ragged.from_list([row]))) for row in rows]
    want = torch.cat([one.last_hidden_state for one in alone])
    assert torch.allclose(together.last_hidden_state, want, atol=2e-6)
    pooled = torch.cat([one.pooler_output for one in alone])
    assert torch.allclose(together.pooler_output, pooled, atol=2e-6)


@torch.no_grad()
def test_bfloat16_stays_near(model):
    case = Case(model[0], "padded")
    half = Dnabert2Model.from_pretrained(model[1], dtype="bfloat16")
    got = half(case.batch()).last_hidden_state.float().numpy()
    want = case.rows("last_hidden_state")
    assert np.abs(got - want).max() < 0.1
    for start, end in pairwise(case.batch().cu_seqlens.tolist()):
        a, b = got[start:end].mean(0), want[start:end].mean(0)
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999


def test_a_batch_without_labels_has_loss_zero(model):
    masked_lm = Dnabert2ForMaskedLM.from_pretrained(model[1])
    batch = PackedBatch.from_ragged(Ragged.from_list(sequences(2)))
    loss = masked_lm(batch, torch.full_like(batch.input_ids, -100)).loss
    loss.backward()
    assert loss.item() == 0


def test_dropout_only_in_training(model):
    encoder = Dnabert2Model.from_pretrained(model[1])
    batch = PackedBatch.from_ragged(Ragged.from_list(sequences(2)))

    def states():
        return encoder(batch).last_hidden_state

    assert torch.equal(states(), states())
    encoder.train()
    assert not torch.equal(states(), states())


def test_sequences_without_tokens(model):
    """They take nothing from their neighbours: the pooler reads zeros."""
    rows = sequences(3)
    gaps = [[], rows[0], [], rows[1], rows[2], []]
    encoder = Dnabert2Model.from_pretrained(model[1])
    classifier = Dnabert2ForSequenceClassification.from_pretrained(model[1])
    with torch.no_grad():
        for whole, among in ((rows, gaps), ([], [[], []])):
            want, got = (PackedBatch.from_ragged(Ragged.from_list(x)) for x in (whole, among))
            real = torch.tensor([len(row) > 0 for row in among])
            pooled = encoder(got).pooler_output
            assert torch.allclose(pooled[real], encoder(want).pooler_output, atol=1e-6)
            nothing = encoder.bert.pooler(torch.zeros(1, encoder.config.hidden_size))
            assert torch.allclose(pooled[~real], nothing, atol=1e-6)
            logits = classifier(got).logits
            assert torch.allclose(logits[real], classifier(want).logits, atol=1e-6)
            nothing = classifier.classifier(classifier.bert.pooler(torch.zeros_like(nothing)))
            assert torch.allclose(logits[~real], nothing, atol=1e-6)


def test_devices_that_are_not_there(monkeypatch):
    assert pick_device("cpu").type == "cpu"
    for name in ("meta", "hpu"):
        with pytest.raises(ValueError, match=f"device: torch .* finds no {name} device"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    with pytest.raises(ValueError, match=r'device: the index must be below 2 .got "cuda:2"'):
        pick_device("cuda:2")


def test_one_output_learns_numbers():
    model = Dnabert2ForSequenceClassification(
        Dnabert2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=3, num_labels=1)
    ).eval()
    batch = PackedBatch.from_ragged(Ragged.from_list([[1, 5, 2], [1, 9, 8, 2]]))
    logits = model(batch).logits
    for labels in (torch.tensor([0.5, 2.0]), torch.tensor([[0.5], [2.0]])):
        want = (logits[:, 0] - labels.flatten()).square().mean()
        assert torch.allclose(model(batch, labels=labels).loss, want)
    two = Dnabert2ForSequenceClassification(
        Dnabert2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=3)
    )
    with pytest.raises(ValueError, match=r"labels: must be classes, int64 .got torch.float32"):
        two(batch, labels=torch.rand(2, 2))
