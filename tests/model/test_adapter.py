"""Adapters of peft are merged into their base model as peft merges them."""

import json
import shutil

import pytest
import torch
from helpers.models import tok
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    PackedBatch,
    Tokenizer,
    embed,
)
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.auto import model_class

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")
SHAPE = Dnabert2Config(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16
)
SEQUENCES = ["ACGTTGCATCGGATCTATC", "TTGACAG", "GATTACA" * 9]


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    model = Dnabert2ForMaskedLM(SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    model.save_pretrained(tmp_path / "base")
    tok.save(tmp_path / "base/tokenizer.json")
    return tmp_path / "base"


def adapted(model, folder, **settings):
    """Save an adapter with random factors; returns the model, merged by peft."""
    settings = {"r": 3, "lora_alpha": 5, "target_modules": ["Wqkv", "dense", "wo"], **settings}
    wrapped = get_peft_model(model, LoraConfig(**settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(std=0.3)
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    return wrapped.merge_and_unload().eval()


@torch.no_grad()
@pytest.mark.parametrize("rslora", [False, True])
def test_a_classifier_is_merged(base, tmp_path, rslora):
    model = Dnabert2ForSequenceClassification.from_pretrained(base, num_labels=3)
    heads = {"modules_to_save": ["pooler", "classifier"], "use_rslora": rslora}
    want = adapted(model, tmp_path / "adapter", **heads)
    found = Dnabert2ForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert found.config.num_labels == 3
    batch = PackedBatch.from_ragged(tok.encode_batch(SEQUENCES))
    assert torch.allclose(found(batch).logits, want(batch).logits, atol=1e-5)
    assert model_class(tmp_path / "adapter") is Dnabert2ForSequenceClassification
    assert Tokenizer.from_pretrained(tmp_path / "adapter").fingerprint == tok.fingerprint
    want.save_pretrained(tmp_path / "merged")
    vectors = embed(SEQUENCES, str(tmp_path / "adapter"))
    own = embed(SEQUENCES, Dnabert2Model.from_pretrained(tmp_path / "merged"), tok)
    assert abs(vectors - own).max() < 1e-5


@torch.no_grad()
def test_the_bare_encoder_of_transformers_is_merged(base, tmp_path):
    """Its modules have no prefix, as in published pipelines that put a head of their own on top."""
    from transformers import AutoModel

    import dnabert2_fast.hf  # noqa: F401

    want = adapted(AutoModel.from_pretrained(base), tmp_path / "adapter", task_type="SEQ_CLS")
    found = Dnabert2Model.from_pretrained(tmp_path / "adapter")
    ids = tok.encode_batch(SEQUENCES)
    states = found(PackedBatch.from_ragged(ids)).last_hidden_state
    for i, own in enumerate(torch.split(states, ids.lengths.tolist())):
        row = torch.from_numpy(ids[i].astype("int64"))[None]
        assert torch.allclose(own, want(row).last_hidden_state[0], atol=1e-5)


def test_what_cannot_be_merged(base, tmp_path):
    folder = tmp_path / "adapter"
    adapted(Dnabert2Model.from_pretrained(base), folder)
    config = json.loads((folder / "adapter_config.json").read_text())

    def refused(match, **changes):
        (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(CheckpointError, match=match):
            Dnabert2Model.from_pretrained(folder)

    refused("names no base model", base_model_name_or_path=None)
    refused("whose base model is not found", base_model_name_or_path=str(tmp_path / "gone"))
    refused("only plain LoRA .*got peft_type 'IA3'.*merge_and_unload", peft_type="IA3")
    refused("only plain LoRA .*got use_dora", use_dora=True)
    refused(f"PREFIX_TUNING cannot be merged.*base model {base}", peft_type="PREFIX_TUNING")
    weights = load_file(folder / "adapter_model.safetensors")
    shutil.copytree(folder, tmp_path / "second")
    refused("an adapter of an adapter", base_model_name_or_path=str(tmp_path / "second"))
    key = next(name for name in weights if name.endswith("lora_B.weight"))
    save_file({k: v for k, v in weights.items() if k != key}, folder / "adapter_model.safetensors")
    refused("not an adapter of this base model")
    (folder / "adapter_model.safetensors").unlink()
    refused("has no adapter_model.safetensors")
