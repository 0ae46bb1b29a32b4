"""`info` of every kind of file and folder, and names that exist nowhere."""

import gzip
import json

import pytest
from helpers.checkpoints import save_tiny

from dnabert2_fast import Dnabert2Model, Tokenizer
from dnabert2_fast.cli.info import describe
from dnabert2_fast.errors import CheckpointError, Dnabert2Error, TokenizerError
from dnabert2_fast.finetuning import FinetuneConfig, finetune


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_in_the_package(here):
    assert "6 layers, hidden 256" in describe("mini")
    assert "4096 tokens, 5 special" in describe("dnabert2")
    save_tiny(here / "mini", hidden_size=24, num_attention_heads=3, intermediate_size=16)
    assert "1 layers, hidden 24" in describe("mini")  # a folder comes first


def test_sequence_files(here):
    (here / "x.fa.gz").write_bytes(gzip.compress(b">one\nACGTN\nacgtn\n>two\nAC\n"))
    assert describe("x.fa.gz").splitlines() == [
        "sequences x.fa.gz",
        "  2 records of 2 to 10 letters, the first is one",
        "  12 letters, 2 of them other than A, C, G, T",
    ]
    (here / "reads.txt").write_text("@r\nAC\n+\nII\n")
    assert "1 records of 2 to 2 letters" in describe("reads.txt")


def test_folder_of_finetune(here):
    rows = ["sequence,label", *["ACGTTGCATT,gene", "TTTTAATT,other", "ACGGTGCA,gene"] * 3]
    for split in ("train", "dev", "test"):
        (here / f"{split}.csv").write_text("\n".join(rows))
    save_tiny(here / "model", hidden_size=24, num_attention_heads=3, intermediate_size=16)
    with pytest.warns():
        scores = finetune(FinetuneConfig("model", data=".", out="run", mode="frozen", epochs=1))
    text = describe("run")
    assert "  task: multiclass of 2: gene, other\n" in text
    assert "  longest training sequence: 10 bp, the window of predict\n" in text
    assert "  fine-tuned from model on ., mode frozen\n" in text
    assert f"  test: accuracy {scores.metrics['test']['accuracy']:.3f}, " in text


def stopped(folder, step):
    """What a stopped pre-training leaves; none of the files that make it a checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"corpus": "corpus", "steps": 4000}))
    for one in {step - 1, step} - {0, -1}:
        (folder / "checkpoints" / f"step-{one:07d}").mkdir()


@pytest.mark.parametrize(
    ("step", "how_far"),
    [
        (
            0,
            "pre-training stopped before the first checkpoint (4,000 steps). Run its command again",
        ),
        (1024, "pre-training stopped at step 1,024 of 4,000. Run its command again to finish it"),
    ],
)
def test_stopped_pretraining(here, step, how_far):
    stopped(here / "run", step)
    assert how_far in describe("run")
    with pytest.raises(CheckpointError) as raised:
        Dnabert2Model.from_pretrained("run")
    assert how_far in str(raised.value)
    assert "pretrain corpus --out run" in str(raised.value)
    assert ("run/checkpoints/step-0001024" in str(raised.value)) == bool(step)
    with pytest.raises(TokenizerError, match=r"run: pre-training stopped"):
        Tokenizer.from_pretrained("run")


def test_stopped_finetuning(here):
    (here / "run.unfinished").mkdir()
    (here / "run.unfinished" / "run.json").write_text("{}")
    what = "run: fine-tuning stopped before its end. Run its command again"
    with pytest.raises(CheckpointError, match=what):
        Dnabert2Model.from_pretrained("run")
    with pytest.raises(TokenizerError, match=what):
        Tokenizer.from_pretrained("run")
    assert "fine-tuning stopped" in describe("run")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("minni", "Did you mean mini?"),
        ("runs/promoter", "Did you mean runs/promoters?"),
        ("./promotors", "Check the path, or give "),
        ("a/b/c", "Check the path, or give "),
        ("~/run", "Check the path, or give "),
        ("/nowhere", "Check the path, or give "),
    ],
)
def test_names_that_exist_nowhere_are_not_asked_of_the_hub(here, hub, name, advice):
    (here / "runs" / "promoters").mkdir(parents=True)
    for read, error in [
        (Dnabert2Model.from_pretrained, CheckpointError),
        (Tokenizer.from_pretrained, TokenizerError),
        (describe, Dnabert2Error),
    ]:
        with pytest.raises(error) as raised:
            read(name)
        assert advice in str(raised.value)
        assert name.removeprefix("./") in str(raised.value)
    assert hub.requests == []
