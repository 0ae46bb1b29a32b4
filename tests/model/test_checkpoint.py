"""Checkpoints are read strictly, in every published form, and written for every reader."""

import json
import pickle
import re
import warnings

import pytest
import torch
from helpers.golden import Case, folder_of
from safetensors.torch import load_file, save_file

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
)
from dnabert2_fast.errors import BackendUnavailableError, CheckpointError
from dnabert2_fast.model.auto import model_class

EMBEDDING = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"


@pytest.fixture
def folder(tmp_path):
    return folder_of("tiny3h", tmp_path / "m")


def edit(folder, change):
    weights = load_file(folder / "model.safetensors")
    changed = change(weights)
    save_file(weights if changed is None else changed, folder / "model.safetensors")


def without(*prefixes):
    return lambda weights: {k: v for k, v in weights.items() if not k.startswith(prefixes)}


@torch.no_grad()
def is_right(model):
    case = Case("tiny3h", "single")
    if isinstance(model, Dnabert2ForMaskedLM):
        got, want, tolerance = model(case.batch()).logits, case.rows("mlm_logits"), 3e-5
    else:
        states, want, tolerance = model(case.batch())[0], case.rows("last_hidden_state"), 1e-5
        got = states
    return (got - torch.from_numpy(want)).abs().max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "dropped"),
    [(Dnabert2ForMaskedLM, EMBEDDING), (Dnabert2ForMaskedLM, DECODER), (Dnabert2Model, DECODER)],
)
def test_either_name_of_the_tied_matrix(folder, kind, dropped):
    edit(folder, without(dropped))
    assert is_right(kind.from_pretrained(folder))


def test_tied_matrix_stays_tied(folder):
    model = Dnabert2ForMaskedLM.from_pretrained(folder)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    edit(folder, lambda weights: {**weights, DECODER: weights[DECODER] + 1})
    with pytest.raises(CheckpointError, match="are one matrix and must be equal"):
        Dnabert2ForMaskedLM.from_pretrained(folder)


def test_bare_encoder_keys(folder):
    edit(
        folder,
        lambda w: {k.removeprefix("bert."): v for k, v in without("cls", "class")(w).items()},
    )
    assert is_right(Dnabert2Model.from_pretrained(folder))


def test_released_bin_and_single_files(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert is_right(Dnabert2Model.from_pretrained(folder))
    assert is_right(Dnabert2ForMaskedLM.from_pretrained(folder / "pytorch_model.bin"))
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has 2 layers, the config has"):
        Dnabert2Model.from_pretrained(folder / "pytorch_model.bin")  # taken for the 117M model


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(folder, suffix):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    shards = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    file_of = {name: shards[i % 2] for i, name in enumerate(weights)}
    for shard in shards:
        part = {name: weights[name] for name in weights if file_of[name] == shard}
        if suffix == "bin":
            torch.save(part, folder / shard)
        else:
            save_file(part, folder / shard)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": file_of}))
    assert is_right(Dnabert2ForMaskedLM.from_pretrained(folder))
    assert model_class(folder) is Dnabert2ForSequenceClassification
    (folder / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=f"the shard {shards[1]} is missing"):
        Dnabert2ForMaskedLM.from_pretrained(folder)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(file_of, "../secret.bin")}))
    with pytest.raises(CheckpointError, match=r"damaged .a shard is in another folder"):
        Dnabert2ForMaskedLM.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_names_of_wrappers(folder, prefix):
    edit(folder, lambda weights: {prefix + name: weights[name] for name in weights})
    assert is_right(Dnabert2ForMaskedLM.from_pretrained(folder))
    assert model_class(folder) is Dnabert2ForSequenceClassification
    edit(folder, lambda weights: {name.replace(prefix, "net."): weights[name] for name in weights})
    with pytest.raises(CheckpointError, match="has 0 layers"):
        Dnabert2ForMaskedLM.from_pretrained(folder)


def test_classes_by_weights(folder):
    """A file of torch and one of safetensors name the same model."""
    assert model_class(folder) is Dnabert2ForSequenceClassification
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert model_class(folder) is Dnabert2ForSequenceClassification
    (folder / "pytorch_model.bin").write_bytes(b"damaged")
    assert model_class(folder) is Dnabert2ForMaskedLM  # whose reader reports the damage


def test_random_heads_warn(folder):
    edit(folder, without("bert.pooler", "classifier"))
    with pytest.warns(UserWarning, match="has no pooler; it is randomly initialised"):
        assert is_right(Dnabert2Model.from_pretrained(folder))
    with pytest.warns(UserWarning, match="has no pooler; it"):  # noqa: SIM117
        with pytest.warns(UserWarning, match="has no classifier; it"):
            model = Dnabert2ForSequenceClassification.from_pretrained(folder)
    assert 0.01 < model.classifier.weight.std() < 0.04
    assert not model.classifier.bias.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dnabert2ForMaskedLM.from_pretrained(folder)  # needs neither


def test_another_number_of_labels_gives_a_fresh_classifier(folder):
    with pytest.warns(UserWarning, match="has no classifier"):
        model = Dnabert2ForSequenceClassification.from_pretrained(folder, num_labels=5)
    assert model.classifier.weight.shape == (5, 48)
    assert model.config.num_labels == 5


def test_keys_and_shapes_are_strict(folder):
    edit(folder, without("bert.encoder.layer.1.mlp.wo"))
    with pytest.raises(CheckpointError, match=r"missing: bert.encoder.layer.1.mlp.wo.weight.*unk"):
        Dnabert2Model.from_pretrained(folder)
    folder_of("tiny3h", folder)
    edit(folder, lambda weights: weights.update({"bert.rotary": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"unknown: bert\.rotary"):
        Dnabert2Model.from_pretrained(folder)
    folder_of("tiny3h", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 97}))
    with pytest.raises(
        CheckpointError, match=r"must have the shape .* of the config \(got \(192, 48\)"
    ):
        Dnabert2Model.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_size", "48", "hidden_size must be of type int (got '48')"),
        ("num_hidden_layers", 0, "must be between 1 and 16777216"),
        ("num_attention_heads", 5, "must be a multiple"),
        ("hidden_act", "relu", 'must be "gelu"'),
    ],
)
def test_impossible_configs(folder, field, value, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(CheckpointError, match=f"config.json.*{re.escape(message)}"):
        Dnabert2Model.from_pretrained(folder)


def test_published_config_is_the_default():
    published = {"auto_map": {}, "hidden_size": 768, "position_embedding_type": "absolute"}
    assert Dnabert2Config.from_dict(published) == Dnabert2Config()


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"\x10", "damaged, truncated"),
        ("pytorch_model.bin", b"PK\x03\x04 cut", "damaged, truncated"),
        ("pytorch_model.bin", pickle.dumps({"w": Evil()}), "more than tensors|damaged"),
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"[]", "not a JSON object"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files(folder, name, content, message, capsys):
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        Dnabert2Model.from_pretrained(folder)
    assert name in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


def test_cut_off_weights(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged, truncated"):
        Dnabert2Model.from_pretrained(folder)


def test_wrong_paths_and_names(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Dnabert2Model.from_pretrained(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"it has no model.safetensors or pytorch_model.bin"):
        Dnabert2Model.from_pretrained(folder)
    with pytest.raises(CheckpointError, match=r'dtype: must be one of .*got "int4"'):
        Dnabert2Model.from_pretrained(folder, dtype="int4")
    with pytest.raises(BackendUnavailableError, match='got "magic"'):
        Dnabert2Model.from_pretrained(folder, attention="magic")


def test_saved_models_come_back_and_carry_the_released_names(folder, tmp_path):
    for kind in (Dnabert2Model, Dnabert2ForMaskedLM, Dnabert2ForSequenceClassification):
        model = kind.from_pretrained(folder)
        model.save_pretrained(tmp_path / "out")
        saved = load_file(tmp_path / "out" / "model.safetensors")
        released = load_file(folder / "model.safetensors")
        assert all(torch.equal(released[name], tensor) for name, tensor in saved.items())
        again = kind.from_pretrained(tmp_path / "out")
        assert again.config == model.config
        for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    assert {"bert.pooler.dense.weight", "classifier.bias"} <= set(saved)


def test_auto_is_float32_on_every_cpu(folder, monkeypatch):
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        assert Dnabert2Model.from_pretrained(folder).dtype is torch.float32
