"""The whole encoder on Triton kernels gives the reference's numbers, values and gradients."""

import pytest
import torch
from helpers.golden import MODELS, Case, folder_of

from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2Model, kernels
from dnabert2_fast import attention as package
from dnabert2_fast.attention import report, triton_varlen
from dnabert2_fast.model.weights import read_config

BACKENDS = ["triton"]
if torch.cuda.is_available():
    BACKENDS = [s.name for s in report(torch.device("cuda"), torch.float32) if s.runs]


@pytest.fixture(params=BACKENDS)
def backend(request, device, monkeypatch):
    """A backend's name; without a GPU the Triton kernels replace those of the CPU."""
    if device.type == "cpu":
        monkeypatch.setitem(package._functions, "sdpa", triton_varlen.attention_triton)
        monkeypatch.setattr(kernels, "fused", lambda x: True)
        return "sdpa"
    return request.param


@pytest.mark.parametrize("name", MODELS if torch.cuda.is_available() else MODELS[:1])
def test_states_loss_and_gradients(name, backend, device, tmp_path):
    case = Case(name, "padded")
    folder = folder_of(name, tmp_path / "m")
    config = read_config(folder / "config.json")
    size = config.hidden_size // config.num_attention_heads
    unavailable_reason = package._unavailable_reason(backend, device, torch.float32, size)
    if unavailable_reason is not None:
        pytest.skip(f"{backend} with heads of {size}: {unavailable_reason}")
    given = {"attention": backend, "device": device}
    with torch.no_grad():
        states = Dnabert2Model.from_pretrained(folder, **given)(case.batch()).last_hidden_state
    want = torch.from_numpy(case.rows("last_hidden_state"))
    assert (states.cpu() - want).abs().max() < 1e-5
    if "mlm_labels" not in case:
        return
    labels = case.tensor("mlm_labels")[torch.from_numpy(case.mask)]
    model = Dnabert2ForMaskedLM.from_pretrained(folder, **given)
    loss = model(case.batch("mlm_input_ids"), labels, with_logits=False).loss
    assert abs(float(loss.detach()) - float(case["mlm_loss"])) < 1e-5
    loss.backward()
    plain = Dnabert2ForMaskedLM.from_pretrained(folder, attention="sdpa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "fused", lambda x: False)
        patch.delitem(package._functions, "sdpa")
        plain(case.batch("mlm_input_ids"), labels).loss.backward()
    for (key, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        error = (ours.grad.cpu() - theirs.grad).abs().max()
        assert error <= 1e-5 * max(1, float(theirs.grad.abs().max())), key
