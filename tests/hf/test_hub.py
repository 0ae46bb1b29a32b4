"""Models and tokenizers from a server that answers as the Hugging Face hub does."""

import json

import huggingface_hub
import pytest
from helpers.hub_server import TOKEN
from helpers.processes import run_cli

torch = pytest.importorskip("torch")
from helpers.checkpoints import save_tiny  # noqa: E402
from huggingface_hub import constants  # noqa: E402

from dnabert2_fast import Dnabert2ForMaskedLM, Dnabert2Model, Tokenizer  # noqa: E402
from dnabert2_fast._internal import hub as client  # noqa: E402
from dnabert2_fast.benchmark.checkpoints import local_folder  # noqa: E402
from dnabert2_fast.errors import CheckpointError, TokenizerError  # noqa: E402
from dnabert2_fast.model.auto import model_class  # noqa: E402

SIZES = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 8}
BLOCK = 1 << 14


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("checkpoint"), **SIZES)


def same(model, folder):
    want = Dnabert2ForMaskedLM.from_pretrained(folder).state_dict()
    return all(torch.equal(want[name], value) for name, value in model.state_dict().items())


def test_a_model_and_its_tokenizer_once(hub, checkpoint):
    hub.add("someone/dna", checkpoint)
    assert model_class("someone/dna") is Dnabert2ForMaskedLM
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)
    assert Tokenizer.from_pretrained("someone/dna").encode("ACGT").tolist()
    assert len(hub.gets("large/")) == 1
    downloads = len(hub.gets())
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)
    assert len(hub.gets()) == downloads


def test_the_cache_without_a_server(hub, checkpoint, monkeypatch):
    hub.add("someone/dna", checkpoint)
    with pytest.raises(CheckpointError, match="someone/dna: is not a folder here"):
        Dnabert2Model.from_pretrained("someone/dna", local_files_only=True)
    assert hub.requests == []
    Dnabert2ForMaskedLM.from_pretrained("someone/dna")
    Tokenizer.from_pretrained("someone/dna")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)
    assert Tokenizer.from_pretrained("someone/dna").vocab_size == 4096
    with pytest.raises(CheckpointError, match=r"another/one: .*is not a folder here"):
        Dnabert2Model.from_pretrained("another/one")


def test_revisions(hub, checkpoint, tmp_path):
    other = save_tiny(tmp_path / "other", **SIZES)
    model = Dnabert2ForMaskedLM.from_pretrained(other)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.add_(1)
    model.save_pretrained(other)
    hub.add("someone/dna", checkpoint)
    hub.add("someone/dna", other, "refs/pr/1")
    for name, how, folder in [
        ("someone/dna", {}, checkpoint),
        ("someone/dna@main", {}, checkpoint),
        ("someone/dna@refs/pr/1", {}, other),
        ("someone/dna", {"revision": "refs/pr/1"}, other),
    ]:
        assert same(Dnabert2ForMaskedLM.from_pretrained(name, **how), folder)
    Tokenizer.from_pretrained("someone/dna@refs/pr/1")
    missing = r"someone/dna@v9: .*404: someone/dna has no revision v9\. Check its branches"
    with pytest.raises(CheckpointError, match=missing):
        Dnabert2Model.from_pretrained("someone/dna@v9")
    with pytest.raises(CheckpointError, match=r"given twice \(main and v9\)"):
        Dnabert2Model.from_pretrained("someone/dna@main", revision="v9")
    with pytest.raises(TokenizerError, match="is not the name of a branch"):
        Tokenizer.from_pretrained("someone/dna@../x")


def test_settings_of_a_tokenizer_are_read_with_it(hub, checkpoint):
    hub.add("someone/dna", checkpoint)
    files = hub.repositories["someone/dna"].revisions["main"]
    files["tokenizer_config.json"] = json.dumps({"case": "compat"}).encode()
    lower = Tokenizer.from_pretrained("someone/dna").encode("acgt").tolist()
    assert lower == Tokenizer.from_pretrained("dnabert2", case="compat").encode("acgt").tolist()


def test_a_vocabulary_of_kmers(hub, tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    (tmp_path / "kmers").mkdir()
    (tmp_path / "kmers" / "vocab.txt").write_text("\n".join(words))
    hub.add("someone/kmers", tmp_path / "kmers")
    assert Tokenizer.from_pretrained("someone/kmers").vocab_size == len(words)


def test_shards_and_weights_of_torch(hub, checkpoint):
    hub.add("someone/dna", checkpoint)
    files = hub.repositories["someone/dna"].revisions["main"]
    whole = files.pop("model.safetensors")
    with pytest.raises(CheckpointError, match="404: someone/dna has no such file"):
        Dnabert2Model.from_pretrained("someone/dna")
    names = Dnabert2ForMaskedLM.from_pretrained(checkpoint).state_dict()
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    files["model-00001-of-00001.safetensors"] = whole
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)


def test_restricted_repositories(hub, checkpoint, monkeypatch):
    hub.add("someone/gated", checkpoint, gated=True)
    hub.add("someone/private", checkpoint, private=True)
    unknown = r"401: no public repository someone/{}. If it is private, run `hf auth login`"
    for name in ("private", "nothing"):
        with pytest.raises(CheckpointError, match=unknown.format(name)):
            Dnabert2Model.from_pretrained(f"someone/{name}")
    conditions = rf"Accept the conditions on {hub.url}/someone/gated, and run `hf auth login`"
    with pytest.raises(CheckpointError, match=f"401: access is restricted. {conditions}"):
        Dnabert2Model.from_pretrained("someone/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(CheckpointError, match="403: access is restricted"):
        Dnabert2Model.from_pretrained("someone/gated")
    hub.accepted.add("someone/gated")
    for name in ("gated", "private"):
        assert same(Dnabert2ForMaskedLM.from_pretrained(f"someone/{name}"), checkpoint)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "429: too many requests. Wait some minutes"),
        ("500", "500: the server failed. Try again later"),
        ("close", "(?i)disconnected|connection"),
    ],
)
def test_a_server_that_fails(hub, checkpoint, fault, reason):
    hub.add("someone/dna", checkpoint)
    hub.faults = [fault] * 50
    for read, error in [
        (Dnabert2Model.from_pretrained, CheckpointError),
        (Tokenizer.from_pretrained, TokenizerError),
        (local_folder, CheckpointError),
    ]:
        with pytest.raises(error, match=reason) as raised:
            read("someone/dna")
        assert "someone/dna" in str(raised.value)
        assert "\n" not in str(raised.value)
    hub.faults = []
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)


@pytest.mark.skipif(
    huggingface_hub.__version__.startswith("0."),
    reason="huggingface_hub below 1 raises where a response ends early",
)
def test_a_broken_download_is_resumed(hub, checkpoint, monkeypatch):
    hub.add("someone/dna", checkpoint)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", BLOCK)
    client.fetch("someone/dna", "config.json")
    hub.faults = ["half"]
    assert same(Dnabert2ForMaskedLM.from_pretrained("someone/dna"), checkpoint)
    first, second = [r for m, path, r in hub.requests if (m, "large/" in path) == ("GET", True)]
    half = (checkpoint / "model.safetensors").stat().st_size // 2
    assert (first, second) == (None, f"bytes={half // BLOCK * BLOCK}-")


def test_a_folder_of_a_benchmark(hub, checkpoint):
    hub.add("someone/dna", checkpoint)
    hub.repositories["someone/dna"].revisions["main"]["README.md"] = b"# A model"
    folder = local_folder("someone/dna")
    assert {p.name for p in folder.iterdir()} == {p.name for p in checkpoint.iterdir()}
    with pytest.raises(CheckpointError, match="no public repository someone/nothing"):
        local_folder("someone/nothing")


@pytest.mark.parametrize("name", ["someone/dna", "someone/dna@main"])
def test_a_command_reads_the_endpoint(hub, checkpoint, tmp_path, name):
    hub.add("someone/dna", checkpoint)
    (tmp_path / "x.fa").write_text(">a\nACGTACGT\n")
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = ["tokenize", "x.fa", "--tokenizer", name]
    ran = run_cli(*command, cwd=tmp_path, env=settings)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("a\t1 ")
    hub.repositories.clear()
    ran = run_cli(*command, cwd=tmp_path, env={**settings, "HF_HOME": str(tmp_path / "another")})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: '{name}' is not a file or folder here")
    assert ran.stderr.count("\n") == 1
