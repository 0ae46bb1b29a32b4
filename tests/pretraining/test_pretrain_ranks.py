"""Two processes train as one does: same losses, same weights, and each takes up the other's run."""

import json
import signal

import pytest
import torch
from helpers.ranks import run_ranks
from safetensors.torch import load_file

from dnabert2_fast import PretrainConfig, Tokenizer, build_corpus, pretrain
from dnabert2_fast.cli.demo import GENOME
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.pretraining import PretrainingCallback

SETTINGS = {
    "size": "tiny",
    "steps": 12,
    "batch_tokens": 600,
    "micro_batch_tokens": 150,  # four micro-batches on one process and on two: equal dropout
    "learning_rate": 3e-3,
    "warmup_steps": 4,
    "log_every": 3,
    "eval_every": 6,
    "eval_tokens": 10_000,
    "checkpoint_every": 5,
    "dtype": "float32",
}

# Each run by itself, one after the other: a port, its settings, and the step after which rank 1
# gets SIGTERM.
WORKER = """
import json, os, signal, sys
from dnabert2_fast import PretrainConfig, pretrain
from dnabert2_fast.pretraining import PretrainingCallback

class Stop(PretrainingCallback):
    def on_step(self, run):
        if run.done == stop_at and os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGTERM)

for port, settings, stop_at in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    try:
        pretrain(PretrainConfig(**settings), [Stop()])
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    tok = Tokenizer.train([GENOME], 64)
    build_corpus([GENOME], folder / "c", tok, CorpusConfig(window_bp=120, valid_fraction=0.02))
    return folder / "c"


def alone(corpus, out, callbacks=(), **changes):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = PretrainConfig(str(corpus), str(out), **{**SETTINGS, **changes})
        return pretrain(config, callbacks)
    finally:
        torch.set_num_threads(before)


def stop_alone(step, corpus, out, **changes):
    """Begin a run and stop it by SIGTERM after a step."""

    class Stop(PretrainingCallback):
        def on_step(self, run):
            if run.done == step:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        alone(corpus, out, [Stop()], **changes)


def assert_equal(folder, other, weights_within=1e-5):
    ours, theirs = (
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()]
        for f in (folder, other)
    )
    assert len(ours) > 1
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine["step"] == yours["step"]
        for name in set(mine) - {"tokens_per_second", "memory_gb"}:
            assert mine[name] == pytest.approx(yours[name], abs=2e-5), name
    one, two = (load_file(f / "model.safetensors") for f in (folder, other))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=weights_within, rtol=1e-4)
    assert json.loads((folder / "run.json").read_text()) == json.loads(
        (other / "run.json").read_text()
    )


def newest_step(folder):
    newest = sorted(folder.glob("checkpoints/step-*"))[-1]
    return json.loads((newest / "position.json").read_text())["step"]


def check_preempted(corpus, folder, stop_at, **changes):
    """One of two hears the signal, both stop after the same step; one process ends the run.

    Muon computes in bfloat16 within, which turns a last bit of a gradient into 2^-8 of an update.
    """
    changes["optimizer"] = "muon"
    alone(corpus, folder / "one", **changes)
    settings = {**SETTINGS, **changes, "corpus": str(corpus), "out": str(folder / "run")}
    run_ranks(folder, WORKER, ({**settings, "fsdp": True}, stop_at), code=130)
    assert newest_step(folder / "run") == stop_at
    assert not (folder / "run" / "model.safetensors").exists()
    alone(corpus, folder / "run", **changes)
    assert_equal(folder / "run", folder / "one", weights_within=2e-3)


@pytest.mark.full
def test_two_begin_what_one_ends(corpus, tmp_path):
    few = {"steps": 3, "log_every": 1, "eval_every": 3, "eval_tokens": 1500, "warmup_steps": 1}
    check_preempted(corpus, tmp_path, 2, **few)


@pytest.mark.full
def test_preempted_processes_are_gone_on_with_by_one(corpus, tmp_path):
    check_preempted(corpus, tmp_path, 8)


@pytest.mark.full
def test_two_processes_train_as_one_does(corpus, tmp_path):
    """Copies of the model (with Muon), a sharded one, and a run that one process had begun."""
    alone(corpus, tmp_path / "one")
    alone(corpus, tmp_path / "muon", optimizer="muon", both_strands=True)
    stop_alone(8, corpus, tmp_path / "begun")
    common = {"corpus": str(corpus), **SETTINGS}
    run_ranks(
        tmp_path,
        WORKER,
        ({**common, "out": str(tmp_path / "two"), "optimizer": "muon", "both_strands": True}, None),
        ({**common, "out": str(tmp_path / "sharded"), "fsdp": True}, None),
        ({**common, "out": str(tmp_path / "begun")}, None),
    )
    assert_equal(tmp_path / "two", tmp_path / "muon", weights_within=2e-3)
    assert_equal(tmp_path / "sharded", tmp_path / "one")
    assert_equal(tmp_path / "begun", tmp_path / "one")
