"""The transformers classes: the same numbers, in rectangles."""

import pytest
import torch
from helpers.golden import CASES, MODELS, Case, folder_of
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
)

import dnabert2_fast.hf as hf
from dnabert2_fast import Dnabert2ForSequenceClassification, Dnabert2Model


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    return request.param, folder_of(request.param, tmp_path_factory.mktemp("hf") / "m")


def inputs(case):
    fields = ("input_ids", "attention_mask", "token_type_ids")
    return {field: case.tensor(field) for field in fields if field in case}


def error(tensor, want):
    return (tensor - torch.from_numpy(want)).abs().max()


@torch.no_grad()
def test_golden_numbers(model):
    encoder = AutoModel.from_pretrained(model[1])
    masked_lm = AutoModelForMaskedLM.from_pretrained(model[1])
    classifier = AutoModelForSequenceClassification.from_pretrained(model[1])
    for name in CASES:
        case = Case(model[0], name)
        output = encoder(**inputs(case), output_hidden_states=True)
        assert error(output.last_hidden_state, case["last_hidden_state"]) <= 1e-5  # 0 at padding
        assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
        if name != "leftpad":
            assert error(output.pooler_output, case["pooler_output"]) <= 1e-5
        if "mlm_logits" in case:
            logits = masked_lm(**inputs(case)).logits[torch.from_numpy(case.mask)]
            assert error(logits, case.rows("mlm_logits")) <= 3e-5
        if "mlm_labels" in case:
            asked = {**inputs(case), "input_ids": case.tensor("mlm_input_ids")}
            loss = masked_lm(**asked, labels=case.tensor("mlm_labels")).loss
            assert abs(loss - case["mlm_loss"]) <= 1e-5
        if "cls_labels" in case:
            output = classifier(**inputs(case), labels=case.tensor("cls_labels"))
            assert error(output.logits, case["cls_logits"]) <= 3e-5
            assert abs(output.loss - case["cls_loss"]) <= 1e-5


@torch.no_grad()
def test_left_padding_changes_nothing(model):
    encoder = AutoModel.from_pretrained(model[1])
    ids = torch.tensor([[1, 9, 20, 2]])
    alone = encoder(ids).pooler_output
    padded = encoder(torch.tensor([[3, 3, 1, 9, 20, 2]]), torch.tensor([[0, 0, 1, 1, 1, 1]]))
    assert torch.allclose(padded.pooler_output, alone, atol=1e-6)
    nothing = encoder(torch.tensor([[1, 2], [3, 3]]), torch.tensor([[1, 1], [0, 0]]))
    assert torch.isfinite(nothing.pooler_output).all()
    assert not nothing.last_hidden_state[1].any()


def test_saved_here_read_there(model, tmp_path):
    classifier = AutoModelForSequenceClassification.from_pretrained(model[1])
    classifier.save_pretrained(tmp_path / "a")
    ours = Dnabert2ForSequenceClassification.from_pretrained(tmp_path / "a")
    assert torch.equal(ours.classifier.weight, classifier.classifier.weight)
    ours.save_pretrained(tmp_path / "b")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "b")
    assert isinstance(again, hf.HFDnabert2ForSequenceClassification)
    assert all(map(torch.equal, again.parameters(), classifier.parameters()))
    masked_lm = AutoModelForMaskedLM.from_pretrained(model[1])
    masked_lm.save_pretrained(tmp_path / "c")
    with pytest.warns(UserWarning, match="has no pooler"):
        Dnabert2Model.from_pretrained(tmp_path / "c")


def test_training_through_the_adapter(model):
    classifier = AutoModelForSequenceClassification.from_pretrained(model[1]).train()
    case = Case(model[0], "padded")
    classifier(**inputs(case), labels=case.tensor("cls_labels")).loss.backward()
    for name, parameter in classifier.named_parameters():
        used = "token_type" in name or parameter.grad.abs().sum() > 0
        assert used, name


def test_other_models_are_left_alone(tmp_path):
    BertConfig(hidden_size=12).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is BertConfig
    assert config.hidden_size == 12
