"""Two processes train as one does: same losses, same weights, and each takes up the other's run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from dnabert2_fast import PretrainConfig, Tokenizer, build_corpus, pretrain
from dnabert2_fast.cli.demo import GENOME
from dnabert2_fast.optim import learning_rate
from dnabert2_fast.pretraining import train as module

SETTINGS = {
    "size": "tiny",
    "steps": 12,
    "batch_tokens": 600,
    "micro_batch_tokens": 150,  # four pieces, on one process and on two: so dropout is the same
    "learning_rate": 3e-3,
    "warmup_steps": 4,
    "log_every": 3,
    "eval_every": 6,
    "eval_tokens": 10_000,
    "checkpoint_every": 5,
    "dtype": "float32",
}

# Several runs in the same processes, because starting them takes longest.
WORKER = """
import json, os, sys, torch
torch.set_num_threads(1)
from dnabert2_fast import PretrainConfig, pretrain
for port, settings in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    try:
        pretrain(PretrainConfig(**settings))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    tok = Tokenizer.train([GENOME], 64)
    build_corpus([GENOME], folder / "c", tok, window_bp=120, valid_fraction=0.02)
    return folder / "c"


def alone(corpus, out, **changes):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return pretrain(PretrainConfig(str(corpus), str(out), **{**SETTINGS, **changes}))
    finally:
        torch.set_num_threads(before)


def start_two(*runs):
    ports = []
    for _ in runs:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    work = json.dumps(list(zip(ports, runs, strict=True)))
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, work],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def end(processes, code):
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [code, code], errors


def assert_equal(folder, other, weights_within=1e-5):
    ours, theirs = (
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()]
        for f in (folder, other)
    )
    assert [line["step"] for line in ours] == [0, 3, 6, 9, 12]
    for mine, yours in zip(ours, theirs, strict=True):
        for name in set(mine) - {"tokens_per_second", "memory_gb"}:
            assert mine[name] == pytest.approx(yours[name], abs=2e-5), name
    one, two = (load_file(f / "model.safetensors") for f in (folder, other))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=weights_within, rtol=1e-4)
    assert json.loads((folder / "run.json").read_text()) == json.loads(
        (other / "run.json").read_text()
    )


def test_two_processes_train_as_one_does(corpus, tmp_path, monkeypatch):
    """Copies of the model (with Muon), a sharded one, and a run that one process had begun."""
    alone(corpus, tmp_path / "one")
    alone(corpus, tmp_path / "muon", optimizer="muon", both_strands=True)

    def stop(step, **arguments):
        if step == 7:
            signal.raise_signal(signal.SIGTERM)
        return learning_rate(step, **arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "learning_rate", stop)
        alone(corpus, tmp_path / "begun")
    common = {"corpus": str(corpus), **SETTINGS}
    processes = start_two(
        {**common, "out": str(tmp_path / "two"), "optimizer": "muon", "both_strands": True},
        {**common, "out": str(tmp_path / "sharded"), "fsdp": True},
        {**common, "out": str(tmp_path / "begun")},
    )
    end(processes, 0)
    # Muon computes in bfloat16 within, which turns a last bit of a gradient into 2^-8 of an update.
    assert_equal(tmp_path / "two", tmp_path / "muon", weights_within=2e-3)
    assert_equal(tmp_path / "sharded", tmp_path / "one")
    assert_equal(tmp_path / "begun", tmp_path / "one")


def test_preempted_processes_are_gone_on_with_by_one(corpus, tmp_path):
    """One of them hears the signal, all stop after the same step; one process ends the run."""
    changes = {"steps": 100_000, "log_every": 100, "eval_every": 100_000}
    out = tmp_path / "run"
    changes["optimizer"] = "muon"
    settings = {**SETTINGS, **changes, "corpus": str(corpus), "out": str(out), "fsdp": True}
    processes = start_two(settings)
    deadline = time.monotonic() + 90
    while not list(out.glob("checkpoints/step-*")):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    end(processes, 130)
    newest = sorted(out.glob("checkpoints/step-*"))[-1]
    step = json.loads((newest / "position.json").read_text())["step"]
    assert step >= 5
    # As many steps as asked for are part of a run's settings; here a few more end it.
    about = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**about, "steps": step + 2, "decay_steps": 1}))
    ended = alone(corpus, out, **{**changes, "steps": step + 2, "decay_steps": 1})
    assert ended.metrics[-1]["step"] == step + 2
