"""Checkpoints that lie, run folders with pickles, names with tricks: nothing is executed."""

import json
import pickle
import struct
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict_saver import save

from dnabert2_fast import Dnabert2Config, Dnabert2ForMaskedLM, Dnabert2Model, Tokenizer, cli
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.trainer import _last_whole
from dnabert2_fast.model.distributed import DistributedContext
from dnabert2_fast.pretraining.checkpoints import Checkpoints
from dnabert2_fast.pretraining.run_folder import RunFolder

SHAPE = Dnabert2Config(
    vocab_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
)


@pytest.fixture
def folder(tmp_path):
    Dnabert2ForMaskedLM(SHAPE).save_pretrained(tmp_path / "m")
    return tmp_path / "m"


class Runs:
    """A pickle of this makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def lying(folder, change):
    """Rewrite the header of the weights."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    (size,) = struct.unpack_from("<Q", whole)
    header = json.loads(whole[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])


KEY = "bert.encoder.layer.0.mlp.wo.weight"
LIES = {
    "negative offsets": lambda header: header[KEY].update(data_offsets=[-4, 252]),
    "offsets backwards": lambda header: header[KEY].update(data_offsets=[256, 0]),
    "tensors over each other": lambda header: header[KEY].update(data_offsets=[0, 256]),
    "another size of type": lambda header: header[KEY].update(dtype="F16"),
    "an unknown type": lambda header: header[KEY].update(dtype="F99"),
    "a shape of 2^80": lambda header: header[KEY].update(shape=[2**40, 2**40]),
    "a behind the end": lambda header: header[KEY].update(data_offsets=[0, 2**60]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_headers_that_lie(folder, lie):
    lying(folder, lie)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged.*download it again"):
        Dnabert2Model.from_pretrained(folder)


HEADS = {
    "nothing": b"",
    "a header of 2^60 bytes": struct.pack("<Q", 1 << 60) + b"{}",
    "a header of 2^64 bytes": b"\xff" * 8,
    "brackets": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("content", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_none(folder, name, content):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name) as caught:
        Dnabert2Model.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_kind_are_not_turned_into_numbers(folder, dtype):
    weights = load_file(folder / "model.safetensors")
    weights[KEY] = weights[KEY].to(dtype)
    if dtype == torch.complex64:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"{KEY} must be floating-point numbers \(got torch\.\w+"
    ):
        Dnabert2Model.from_pretrained(folder)


CONFIGS = {
    "a billion layers": ({"num_hidden_layers": 10**9}, "must be between 1 and 16777216"),
    "more layers than there are": ({"num_hidden_layers": 10_000}, r"has 2 layers, the config has"),
    "a vocabulary of a terabyte": ({"vocab_size": 1 << 24}, "must have the shape"),
    "a width beyond all memory": ({"hidden_size": 1 << 24}, "must have the shape"),
    "a size of 400 digits": (
        {"hidden_size": 10**400},
        r"between 1 and 16777216 \(got 10{36}\.\.\.\)",
    ),
    "a size that is not a number": ({"hidden_size": None}, "must be of type int .got None"),
    "a size that is a fraction": ({"hidden_size": 8.0}, "must be of type int .got 8.0"),
    "a negative size": ({"intermediate_size": -8}, r"must be between 1 and \d+ \(got -8\)"),
    "no heads": ({"num_attention_heads": 0}, r"must be between 1 and \d+ \(got 0\)"),
}


@pytest.mark.parametrize(("change", "message"), CONFIGS.values(), ids=CONFIGS)
def test_impossible_sizes_are_refused_before_memory_is_taken(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message):
        Dnabert2Model.from_pretrained(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "\0", "", "3"])
def test_configs_that_are_none(folder, text, capsys):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: "):
        Dnabert2Model.from_pretrained(folder)
    assert cli.main(["info", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("how", ["plain pickle", "torch.save", "protocol 4", "in a zip"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickles_are_never_run(folder, tmp_path, how):
    made = tmp_path / "made"
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    evil = {"weight": Runs(made)}
    if how == "torch.save":
        torch.save(evil, path)
    elif how == "in a zip":
        torch.save(evil, path, _use_new_zipfile_serialization=True)
    else:
        path.write_bytes(pickle.dumps(evil, protocol=4 if "4" in how else 2))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        Dnabert2Model.from_pretrained(folder)
    assert not made.exists()


@pytest.mark.parametrize(
    "name", ["../../etc", "a/../b", "owner/..", "../owner", "owner/na\nme", "own er/name", "a/b\0"]
)
def test_hub_names_with_tricks_never_reach_the_network(name, monkeypatch):
    def reached(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.socket.connect", reached)
    for read in (Dnabert2Model.from_pretrained, Tokenizer.from_pretrained):
        with pytest.raises((ValueError, OSError), match=r"\S"):
            read(name)


@pytest.mark.parametrize("revision", ["../../../x", "a/../b", "..", "/etc", "a\\..\\b", ""])
def test_revisions_with_tricks(revision):
    with pytest.raises(CheckpointError, match=r"revision.*is not the name of a branch"):
        Dnabert2Model.from_pretrained("owner/name", revision=revision)


# --- Folders of runs


@pytest.fixture
def run(tmp_path):
    """A run's checkpoint: a model, its optimizer, and the folder."""
    torch.manual_seed(0)
    model = Dnabert2ForMaskedLM(SHAPE)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoints = Checkpoints(
        tmp_path / "checkpoints", DistributedContext(0, 1, torch.device("cpu")), 2
    )
    tokenizer = Tokenizer.train(["ACGTTGCATT" * 9], 16)
    checkpoints.save(model, SHAPE, tokenizer, [optimizer], {"step": 3})
    checkpoints.wait()
    return model, optimizer, checkpoints


def test_a_sound_state_comes_back(run):
    model, optimizer, checkpoints = run
    want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    optimizer.param_groups[0]["lr"] = 7.0
    assert checkpoints.resume(model, [optimizer]) == {"step": 3}
    assert all(torch.equal(want[name], tensor) for name, tensor in model.state_dict().items())
    assert optimizer.param_groups[0]["lr"] == 1e-3


def file_of(checkpoints, name):
    return checkpoints.newest / "state" / name


def rewrite(path, content):
    """Change a file of a checkpoint, and its length where it is looked up."""
    path.write_bytes(content)
    about = path.parents[1] / "position.json"
    position = json.loads(about.read_text())
    position["bytes"][f"state/{path.name}"] = len(content)
    about.write_text(json.dumps(position))


def test_a_pickle_in_the_list_of_tensors_is_not_run(run, tmp_path):
    model, optimizer, checkpoints = run
    made = tmp_path / "made"
    rewrite(file_of(checkpoints, ".metadata"), pickle.dumps(Runs(made)))
    with pytest.raises(CheckpointError, match=r"io\.open does not belong in a list of tensors"):
        checkpoints.resume(model, [optimizer])
    assert not made.exists()


def test_a_pickle_among_the_values_is_not_run(run, tmp_path):
    model, optimizer, checkpoints = run
    made = tmp_path / "made"
    state = Checkpoints._state(model, [optimizer])
    state["optimizer"]["param_groups"][0]["lr"] = Runs(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(state, checkpoint_id=tmp_path / "evil")
    made.unlink(missing_ok=True)  # saving copies it, and so runs it
    for path in (tmp_path / "evil").iterdir():
        rewrite(file_of(checkpoints, path.name), path.read_bytes())
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.resume(model, [optimizer])
    assert not made.exists()


def test_a_list_that_names_files_elsewhere(run):
    model, optimizer, checkpoints = run
    path = file_of(checkpoints, ".metadata")
    listed = pickle.loads(path.read_bytes())
    name, info = next(iter(listed.storage_data.items()))
    listed.storage_data[name] = replace(info, relative_path="../../../secret")
    rewrite(path, pickle.dumps(listed))
    with pytest.raises(CheckpointError, match="another folder"):
        checkpoints.resume(model, [optimizer])


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"bytes": 3}', '{"bytes": [1]}'])
def test_positions_that_are_none(run, text):
    model, optimizer, checkpoints = run
    (checkpoints.newest / "position.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"damaged.*Delete"):
        checkpoints.resume(model, [optimizer])


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "\0"])
def test_settings_that_are_none(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json: damaged"):
        RunFolder(tmp_path).claim({"steps": 1})
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"task\.json: damaged"):
        Task.load(tmp_path)


def test_half_of_a_trainers_state_is_passed_over(tmp_path):
    for step, text in ((2, "{}"), (10, "{}"), (12, ""), (14, '{"epoch": 1'), (16, "[" * 100_000)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    torch.save({}, tmp_path / "checkpoint-10" / "rng_state_0.pth")
    assert _last_whole(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "rng_state_1.pth").write_bytes(b"PK")  # of another process
    assert _last_whole(tmp_path) == str(tmp_path / "checkpoint-2")
    assert _last_whole(tmp_path / "none") is None
