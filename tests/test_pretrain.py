"""Pre-training learns, and a stopped run ends exactly where an undisturbed one does."""

import json
import os
import signal
import threading

import pytest
import torch

from dnabert2_fast import (
    Dnabert2ForMaskedLM,
    PretrainConfig,
    Tokenizer,
    build_corpus,
    pretrain,
)
from dnabert2_fast.demo import GENOME
from dnabert2_fast.errors import CheckpointError, CorpusError
from dnabert2_fast.train import loop
from dnabert2_fast.train.loop import learning_rate, stop_between_steps


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    tok = Tokenizer.train([GENOME], 64)
    build_corpus([GENOME], folder / "c", tok, window_bp=120, valid_fraction=0.02)
    return folder / "c"


def settings(corpus, out, **changes):
    base = {
        "size": "tiny",
        "steps": 24,
        "batch_tokens": 600,
        "learning_rate": 3e-3,
        "warmup_steps": 4,
        "eval_every": 8,
        "checkpoint_every": 5,
    }
    return PretrainConfig(corpus=str(corpus), out=str(out), **{**base, **changes})


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"}


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "whole"
    return pretrain(settings(corpus, out))


def test_it_learns_and_says_so(undisturbed):
    first = undisturbed.metrics[0]["eval_loss"]
    assert first > undisturbed.eval_loss + 0.1
    assert 3 < undisturbed.baseline_loss < first
    assert [line["step"] for line in undisturbed.metrics] == [0, 8, 16, 24]
    names = {path.name for path in undisturbed.folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "run.json",
        "metrics.jsonl",
        "loss.png",
    }
    model = Dnabert2ForMaskedLM.from_pretrained(undisturbed.folder)
    assert model.config.vocab_size == Tokenizer.from_pretrained(undisturbed.folder).vocab_size


@pytest.mark.parametrize("stop_at", [3, 10, 15])
def test_a_stopped_run_ends_like_an_undisturbed_one(
    undisturbed, corpus, tmp_path, monkeypatch, stop_at
):
    config = settings(corpus, tmp_path / "run")
    steps = iter(range(1000))

    def rate_and_interrupt(step, **arguments):
        if next(steps) == stop_at:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(step, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr("dnabert2_fast.train.pretrain.learning_rate", rate_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config)
    saved = list((tmp_path / "run" / "checkpoints").iterdir())
    assert [path.name for path in saved] == [f"step-{stop_at + 1:07d}"]
    assert not (tmp_path / "run" / "model.safetensors").exists()
    pretrain(config)
    assert contents(tmp_path / "run") == contents(undisturbed.folder)


def test_a_killed_run_goes_on_from_its_last_checkpoint(undisturbed, corpus, tmp_path, monkeypatch):
    """As after a power cut: nothing is saved at the moment of the stop."""
    config = settings(corpus, tmp_path / "run")

    def fail(step, **arguments):
        if step == 18:
            raise MemoryError
        return learning_rate(step, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr("dnabert2_fast.train.pretrain.learning_rate", fail)
        with pytest.raises(MemoryError):
            pretrain(config)
    assert (tmp_path / "run" / "checkpoints" / "step-0000015").exists()
    pretrain(config)
    assert contents(tmp_path / "run") == contents(undisturbed.folder)


def test_finished_runs_are_not_repeated_and_others_are_refused(undisturbed, corpus, monkeypatch):
    monkeypatch.setattr(loop.Run, "finish", None)  # would be called by a second training
    again = pretrain(settings(corpus, undisturbed.folder))
    assert again.eval_loss == undisturbed.eval_loss
    with pytest.raises(CheckpointError, match="holds a run with seed 0, asked for 1"):
        pretrain(settings(corpus, undisturbed.folder, seed=1))


def test_bad_input(corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="something else than a run"):
        pretrain(settings(corpus, tmp_path))
    with pytest.raises(CorpusError, match="not a corpus"):
        pretrain(settings(tmp_path, tmp_path / "run"))
    with pytest.raises(ValueError, match="steps: 0 is not positive"):
        settings(corpus, tmp_path, steps=0)
    tok = Tokenizer.from_pretrained("dnabert2")
    build_corpus([GENOME], tmp_path / "all", tok, valid_fraction=0)
    with pytest.raises(CorpusError, match="0 held-out windows"):
        pretrain(settings(tmp_path / "all", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(corpus, tmp_path, monkeypatch):
    config = settings(corpus, tmp_path / "run", steps=6)
    monkeypatch.setattr(loop.Run, "finish", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        pretrain(config)
    state = tmp_path / "run" / "checkpoints" / "step-0000005" / "optimizer.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="step-0000005: damaged, delete it"):
        pretrain(config)


def test_seeds_give_other_runs(undisturbed, corpus, tmp_path):
    other = pretrain(settings(corpus, tmp_path / "run", seed=7))
    assert other.eval_loss != undisturbed.eval_loss


def test_bfloat16_trains_near_float32(undisturbed, corpus, tmp_path):
    half = pretrain(settings(corpus, tmp_path / "run", dtype="bfloat16"))
    assert abs(half.eval_loss - undisturbed.eval_loss) < 0.05
    weights = Dnabert2ForMaskedLM.from_pretrained(half.folder)
    assert weights.dtype is torch.float32


def test_signals_outside_the_main_thread_are_left_alone():
    seen = []

    def work():
        with stop_between_steps() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    before = signal.getsignal(signal.SIGINT)
    with stop_between_steps() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_metrics_are_json_lines(undisturbed):
    lines = (undisturbed.folder / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1]) == undisturbed.metrics[-1]
    assert {"loss", "eval_loss", "learning_rate"} <= set(undisturbed.metrics[-1])
