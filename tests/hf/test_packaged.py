"""Names of what the package contains, in the Auto classes."""

import json

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

import dnabert2_fast.hf
from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2Model, Tokenizer, embed, fill_mask
from dnabert2_fast.errors import CheckpointError

TEXTS = ["ACGTTGCATTAGCA", "ttgacag"]


def test_mini_is_the_model_of_embed():
    tokenizer = AutoTokenizer.from_pretrained("mini")
    model = AutoModel.from_pretrained("mini", dtype=torch.float32).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    special = torch.tensor(tokenizer.all_special_ids)
    real = ~torch.isin(batch["input_ids"], special)
    mean = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    np.testing.assert_allclose(mean, embed(TEXTS, "mini"), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_every_class(tmp_path):
    assert AutoConfig.from_pretrained("mini").hidden_size == 256
    for auto in (AutoModelForSequenceClassification, AutoModelForTokenClassification):
        assert auto.from_pretrained("mini", num_labels=3).num_labels == 3
    # As objects: by name, pipeline looks for an adapter on the hub first.
    model, tokenizer = (
        auto.from_pretrained("mini") for auto in (AutoModelForMaskedLM, AutoTokenizer)
    )
    unmasker = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu", top_k=1)
    (found,) = unmasker("ACGTTGCA[MASK]TTAGGAC")
    native = Dnabert2ForMaskedLM.from_pretrained("mini")
    ((first, *_),) = fill_mask("ACGTTGCA[MASK]TTAGGAC", native, Tokenizer.from_pretrained("mini"))
    assert found["token"] == first.token_id
    assert model.name_or_path == "mini"


@pytest.mark.filterwarnings("ignore")
def test_adapters_name_mini_and_not_its_folder(tmp_path):
    """Another installation has another folder."""
    torch.manual_seed(0)
    config = LoraConfig(target_modules=["Wqkv"], init_lora_weights=False)
    model = get_peft_model(AutoModel.from_pretrained("mini"), config)
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "mini"
    batch = AutoTokenizer.from_pretrained("mini")(TEXTS, padding=True, return_tensors="pt")
    again = PeftModel.from_pretrained(AutoModel.from_pretrained("mini"), tmp_path)
    with torch.inference_mode():
        wanted = model.eval()(**batch).last_hidden_state
        assert torch.equal(again.eval()(**batch).last_hidden_state, wanted)


def test_dnabert2_is_a_tokenizer():
    tokenizer = AutoTokenizer.from_pretrained("dnabert2", case="upper", local_files_only=True)
    native = Tokenizer.from_pretrained("dnabert2")
    assert tokenizer(TEXTS)["input_ids"] == [native.encode(text).tolist() for text in TEXTS]
    said = "dnabert2: only the tokenizer is in the package. For the model, give zhihan1996"
    with pytest.raises(OSError, match=said):
        AutoModel.from_pretrained("dnabert2")
    with pytest.raises(CheckpointError, match=said):
        Dnabert2Model.from_pretrained("dnabert2")


def test_a_folder_of_that_name_has_priority(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = dnabert2_fast.hf.HFDnabert2Config(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=8
    )
    dnabert2_fast.hf.HFDnabert2Model(config).save_pretrained("mini")
    assert AutoModel.from_pretrained("mini").config.hidden_size == 12
