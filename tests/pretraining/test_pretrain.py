"""Pre-training learns, and a stopped run ends exactly where an undisturbed one does."""

import json
import os
import signal
import sys
import threading
import time
import types
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from helpers.processes import run
from safetensors.torch import load_file

from dnabert2_fast import (
    Corpus,
    Dnabert2ForMaskedLM,
    PackedBatch,
    PretrainConfig,
    TokenBatches,
    Tokenizer,
    build_corpus,
    pretrain,
)
from dnabert2_fast._internal.stopped import stopped_run
from dnabert2_fast.cli import main
from dnabert2_fast.cli.demo import GENOME
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CheckpointError, CorpusError, DivergedError
from dnabert2_fast.model.distributed import DistributedContext
from dnabert2_fast.pretraining import PretrainingCallback, PretrainingRun, checkpoints
from dnabert2_fast.pretraining.config import SIZES
from dnabert2_fast.pretraining.flops import peak_flops
from dnabert2_fast.pretraining.masking import IGNORED, Masker, key_of
from dnabert2_fast.pretraining.microbatch import (
    Augmentation,
    BatchLayout,
    global_batches,
    mask,
)
from dnabert2_fast.pretraining.run_folder import RunFolder
from dnabert2_fast.pretraining.signals import stop_between_steps
from dnabert2_fast.tokenizer import TrainingConfig

MEASURED = ("tokens_per_second", "memory_gb")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_plot(monkeypatch):
    """Runs of tests do without matplotlib; the run that they share has its plot before."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    tok = Tokenizer.train([GENOME], 64)
    build_corpus([GENOME], folder / "c", tok, CorpusConfig(window_bp=120, valid_fraction=0.02))
    return folder / "c"


def settings(corpus, out, **changes):
    base = {
        "size": "tiny",
        "steps": 12,
        "batch_tokens": 600,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "log_every": 2,
        "eval_every": 4,
        "eval_tokens": 2000,
        "checkpoint_every": 3,
        "dtype": "float32",
    }
    return PretrainConfig(corpus=str(corpus), out=str(out), **{**base, **changes})


def contents(folder):
    """Return the contents of a run except plots and measurements."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".json", "")}
    files["weights"] = (folder / "model.safetensors").read_bytes()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return files, [{k: v for k, v in x.items() if k not in MEASURED} for x in lines]


class After(PretrainingCallback):
    """Does something after a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step(self, run):
        if run.done == self.step:
            self.action()


def stop(config, step, number=signal.SIGINT):
    """Begin a run that a signal stops after a step."""
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, [After(step, lambda: signal.raise_signal(number))])


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "whole"
    torch.set_num_threads(1)
    return pretrain(settings(corpus, out))


def test_it_learns_and_says_so(undisturbed):
    first = undisturbed.metrics[0]["eval_loss"]
    assert first > undisturbed.eval_loss + 0.1
    assert 3 < undisturbed.baseline_loss < first
    assert 1 / 64 < undisturbed.eval_accuracy < 0.5
    assert [line["step"] for line in undisturbed.metrics] == [0, 2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in undisturbed.metrics if "eval_loss" in line] == [0, 4, 8, 12]
    names = {path.name for path in undisturbed.folder.iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "run.json",
        "metrics.jsonl",
        "loss.png",
    }
    model = Dnabert2ForMaskedLM.from_pretrained(undisturbed.folder)
    assert model.config.vocab_size == Tokenizer.from_pretrained(undisturbed.folder).vocab_size


def test_a_model_can_be_saved_in_bfloat16(corpus, tmp_path):
    """It has the rounded weights of the run, and its loss."""
    changes = {"steps": 2, "eval_every": 2, "eval_tokens": 500}
    whole = pretrain(settings(corpus, tmp_path / "whole", **changes))
    half = pretrain(settings(corpus, tmp_path / "half", save_dtype="bfloat16", **changes))
    assert half.eval_loss == whole.eval_loss
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (half, whole))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name].bfloat16()), name
    model = Dnabert2ForMaskedLM.from_pretrained(half.folder, dtype="float32")
    assert model.dtype == torch.float32


class Seen(PretrainingCallback):
    """Writes down every call."""

    def __init__(self):
        self.events = []

    def on_step(self, run):
        self.events.append(("step", run.done))

    def on_metrics(self, run, line):
        self.events.append(("metrics", line["step"]))

    def on_evaluation(self, run, scores):
        self.events.append(("evaluation", run.done, scores.loss))

    def on_checkpoint(self, run, folder):
        self.events.append(("checkpoint", folder.name))


def test_callbacks_see_every_event_in_its_order_and_change_nothing(undisturbed, corpus, tmp_path):
    seen = Seen()
    result = pretrain(settings(corpus, tmp_path / "run"), [seen])
    assert contents(result.folder) == contents(undisturbed.folder)
    kinds = [event[:2] for event in seen.events]
    wanted = [("evaluation", 0), ("metrics", 0)]
    for step in range(1, 13):
        wanted.append(("step", step))
        wanted += [("evaluation", step)] * (step % 4 == 0)
        wanted += [("metrics", step)] * (step % 2 == 0)
        wanted += [("checkpoint", f"step-{step:07d}")] * (step % 3 == 0 and step < 12)
    assert kinds == wanted
    losses = [event[2] for event in seen.events if event[0] == "evaluation"]
    logged = [line["eval_loss"] for line in result.metrics if "eval_loss" in line]
    assert logged == pytest.approx(losses, rel=1e-5)


def test_metrics_are_json_lines(undisturbed):
    lines = (undisturbed.folder / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last == undisturbed.metrics[-1]
    assert {"step", "tokens", "loss", "eval_loss", "eval_accuracy", "learning_rate"} <= set(last)
    assert {"gradient_norm", *MEASURED} <= set(last)
    assert "mfu" not in last  # no listed peak for a processor
    assert last["tokens_per_second"] > 0
    assert 0.1 < last["memory_gb"] < 100


def test_a_step_waits_for_no_device(corpus, tmp_path, monkeypatch):
    """On the meta device, reading a number or finding rows raises an error."""
    monkeypatch.setattr(
        "dnabert2_fast.pretraining.train.mixed_precision", lambda *_: nullcontext()
    )  # autocast does not exist there
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    opened = Corpus.open(corpus)
    context = DistributedContext(0, 1, torch.device("meta"))
    config = settings(corpus, tmp_path / "run", micro_batch_tokens=150, attention="sdpa")
    run = PretrainingRun(config, RunFolder(tmp_path / "run"), context, opened, opened)
    run.optimizers = []  # torch's own, without kernels for this device
    drawn = global_batches(
        opened, Augmentation(opened, 0.0, False, 0), BatchLayout(600, 150), seed=0
    )
    batch = mask(next(drawn), Masker(opened.tokenizer), key_of(0))
    assert {labels.device.type for labels in batch.labels} == {"cpu"}
    run.step(batch)
    assert run.done == 1
    assert all(p.grad.is_meta for p in run.model.parameters())
    with pytest.raises((NotImplementedError, RuntimeError)):
        run.model(batch.inputs[0], batch.labels[0].to("meta"))


@pytest.mark.parametrize("micro_batch_tokens", [600, 150, 20])
def test_a_plain_loop_gives_the_same(corpus, tmp_path, micro_batch_tokens):
    """Whole batches, torch's own mean over all labelled tokens, plain AdamW; without dropout.

    Cut into 1, 4 and 30 micro-batches: more than there are windows, so that some are empty.
    """
    shape = replace(SIZES["tiny"], hidden_dropout_prob=0.0)
    config = settings(
        corpus,
        tmp_path / "run",
        steps=6,
        log_every=1,
        warmup_steps=4,
        micro_batch_tokens=micro_batch_tokens,
        dropout=0.0,
    )
    result = pretrain(config)
    written = Dnabert2ForMaskedLM.from_pretrained(result.folder).config
    assert written.hidden_dropout_prob == 0.1  # what fine-tuning begins with
    opened = Corpus.open(corpus)
    torch.manual_seed(0)
    model = Dnabert2ForMaskedLM(replace(shape, vocab_size=64, pad_token_id=opened.tokenizer.pad_id))
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 1e-5}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    batches = TokenBatches(opened, 600, seed=0)
    masker = Masker(opened.tokenizer, 0.15)
    losses = []
    for step, drawn in zip(range(6), batches, strict=False):
        batch = PackedBatch.from_ragged(drawn.ids)
        positions = torch.cat([torch.arange(n) + (w << 32) for w, n in enumerate(batch.lengths)])
        inputs, labels = masker(batch.input_ids, positions, key_of(0, step))
        logits = model(replace(batch, input_ids=inputs)).logits
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORED)
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 3e-3 * min(
            1, (step + 1) / 4, (6 - step) / 2
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert [line["loss"] for line in result.metrics[1:]] == pytest.approx(losses, abs=2e-5)


@pytest.mark.parametrize(
    ("stop_at", "number"), [(2, signal.SIGINT), (7, signal.SIGTERM), (10, signal.SIGINT)]
)
def test_a_stopped_run_ends_like_an_undisturbed_one(undisturbed, corpus, tmp_path, stop_at, number):
    config = settings(corpus, tmp_path / "run")
    stop(config, stop_at, number)
    saved = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert saved[-1].name == f"step-{stop_at:07d}"
    assert len(saved) <= config.keep
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert f"stopped at step {stop_at} of " in stopped_run(tmp_path / "run")
    pretrain(config)
    assert stopped_run(tmp_path / "run") is None
    assert contents(tmp_path / "run") == contents(undisturbed.folder)


KILLED = """
import json, os, signal, sys
import torch
from dnabert2_fast import PretrainConfig, pretrain
from dnabert2_fast.pretraining import PretrainingCallback

class Killed(PretrainingCallback):
    def on_step(self, run):
        if run.done == 9:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
pretrain(PretrainConfig(**json.loads(sys.argv[1])), [Killed()])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_run_goes_on_from_its_last_checkpoint(undisturbed, corpus, tmp_path):
    """Nothing is saved at the moment of the stop; what was saved last may be half written."""
    config = settings(corpus, tmp_path / "run")
    done = run("-c", KILLED, json.dumps(asdict(config)), cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    saved = tmp_path / "run" / "checkpoints"
    assert (saved / "step-0000003" / "state" / ".metadata").exists()
    assert not (saved / "step-0000009").exists()
    (saved / ".step-0000009.part").mkdir()
    pretrain(config)
    assert contents(tmp_path / "run") == contents(undisturbed.folder)


def test_every_option_goes_on_exactly(corpus, tmp_path):
    options = {
        "recipe": "fast",
        "learning_rate": None,
        "dtype": "auto",
        "bpe_dropout": 0.1,
        "both_strands": True,
        "batch_tokens": 300,
        "micro_batch_tokens": 100,
        "steps": 8,
    }
    whole = pretrain(settings(corpus, tmp_path / "whole", **options))
    config = settings(corpus, tmp_path / "run", **options)
    stop(config, 5, signal.SIGTERM)
    weights = Dnabert2ForMaskedLM.from_pretrained(tmp_path / "run" / "checkpoints" / "step-0000005")
    assert weights.config.hidden_size == 128
    pretrain(replace(config, checkpoint_every=2, keep=1, log_every=2))  # these may change
    assert contents(tmp_path / "run") == contents(whole.folder)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(undisturbed, corpus, tmp_path):
    config = settings(corpus, tmp_path / "run")
    stop(config, 8)
    older, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert (older.name, newest.name) == ("step-0000006", "step-0000008")
    (shard,) = (newest / "state").glob("*.distcp")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="step-0000008: damaged.*resuming from the previous one"):
        pretrain(config)
    assert contents(tmp_path / "run") == contents(undisturbed.folder)


def test_a_full_disk_is_said_in_one_line(corpus, tmp_path, monkeypatch):
    failed = Future()
    failed.set_exception(OSError(28, "No space left on device"))
    monkeypatch.setattr(checkpoints, "async_save", lambda *_, **__: failed)
    with pytest.raises(CheckpointError, match=r"step-0000003: could not be written, .*No space"):
        pretrain(settings(corpus, tmp_path / "run"))
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_damaged_checkpoints_alone_are_an_error(corpus, tmp_path):
    config = settings(corpus, tmp_path / "run")
    stop(config, 2)
    (only,) = (tmp_path / "run" / "checkpoints").iterdir()
    # The right size, but not what torch wrote.
    table = only / "state" / ".metadata"
    table.write_bytes(bytes(len(table.read_bytes())))
    with pytest.raises(CheckpointError, match=r"step-0000002: damaged.*to start again"):
        pretrain(config)


@pytest.mark.parametrize("stop_at", [None, 3])
def test_minutes_end_a_run_and_set_its_rate(corpus, tmp_path, monkeypatch, stop_at):
    """Steps of 10 s in a minute; a stopped run has the rest of it."""

    class Clock(PretrainingCallback):
        now = 1000.0

        def on_step(self, run):
            self.now += 10
            if run.done == stop_at and interrupted:
                signal.raise_signal(signal.SIGTERM)

    def begin(now):
        clock = Clock()
        clock.now = now
        fake = types.SimpleNamespace(monotonic=lambda: clock.now, perf_counter=time.perf_counter)
        monkeypatch.setattr("dnabert2_fast.pretraining.train.time", fake)
        return pretrain(config, [clock])

    config = settings(
        corpus, tmp_path / "run", recipe="fast", optimizer="adamw", steps=None, warmup_steps=None,
        minutes=1, log_every=1, learning_rate=1e-3,
    )  # fmt: skip
    interrupted = [stop_at]
    if stop_at:
        with pytest.raises(KeyboardInterrupt):
            begin(500.0)
        assert "stopped at step 3 in a run of 1 minutes" in stopped_run(tmp_path / "run")
        interrupted.clear()
    rates = [line["learning_rate"] for line in begin(90.0).metrics[1:]]
    # 2 % of the minute is warm-up, the last 30 % decay.
    assert rates == pytest.approx([1e-3 / 1.2, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3 * 10 / 18])
    with pytest.raises(ValueError, match="steps: must be omitted with minutes"):
        settings(corpus, tmp_path / "no", warmup_steps=None, minutes=1)


def test_finished_runs_are_not_repeated_and_others_are_refused(undisturbed, corpus):
    seen = Seen()
    again = pretrain(settings(corpus, undisturbed.folder, keep=9, device="cpu"), [seen])
    assert seen.events == []
    assert again.eval_loss == undisturbed.eval_loss
    with pytest.raises(CheckpointError, match=r"other settings: seed 0 \(requested 1\)\. "):
        pretrain(settings(corpus, undisturbed.folder, seed=1))
    with pytest.raises(CheckpointError, match=r"finished after .* \(requested 99\).*--init-from"):
        pretrain(settings(corpus, undisturbed.folder, steps=99))


def test_bad_input(corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="something other than a run"):
        pretrain(settings(corpus, tmp_path))
    with pytest.raises(CorpusError, match="not a corpus"):
        pretrain(settings(tmp_path, tmp_path / "run"))
    with pytest.raises(ValueError, match=r"steps: must be at least 1 \(got 0\)"):
        settings(corpus, tmp_path, steps=0)
    for name in ("learning_rate", "warmup_steps", "decay_steps", "weight_decay", "seed"):
        with pytest.raises(ValueError, match=rf"{name}: must be .* \(got -1\)"):
            settings(corpus, tmp_path, **{name: -1})
    with pytest.raises(ValueError, match=r"learning_rate: must be a finite number > 0 \(got nan\)"):
        settings(corpus, tmp_path, learning_rate=float("nan"))
    with pytest.raises(ValueError, match="bpe_dropout: must be between 0 and 1, but not 1"):
        settings(corpus, tmp_path, bpe_dropout=1)
    with pytest.raises(ValueError, match="mask_rate: must be between 0 and 1, but not 0"):
        settings(corpus, tmp_path, mask_rate=0)
    with pytest.raises(ValueError, match="Start them with torchrun"):
        pretrain(settings(corpus, tmp_path / "alone", fsdp=True))
    tok = Tokenizer.from_pretrained("dnabert2")
    build_corpus([GENOME], tmp_path / "all", tok, CorpusConfig(valid_fraction=0))
    with pytest.raises(CorpusError, match="no windows in its split 'valid'"):
        pretrain(settings(tmp_path / "all", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_going_on_with_a_model(undisturbed, corpus, tmp_path):
    more = pretrain(
        settings(corpus, tmp_path / "more", size=None, init_from=str(undisturbed.folder), steps=2)
    )
    assert more.metrics[0]["eval_loss"] == undisturbed.eval_loss
    with pytest.raises(ValueError, match="size: must be omitted with init_from"):
        settings(corpus, tmp_path, init_from="model")
    other = build_corpus(
        [GENOME],
        tmp_path / "c",
        Tokenizer.train([GENOME], 64, TrainingConfig(window_bp=100)),
        CorpusConfig(window_bp=500),
    )
    with pytest.raises(CheckpointError, match=r"has another tokenizer than the corpus\. Build"):
        pretrain(
            settings(other.folder, tmp_path / "x", size=None, init_from=str(undisturbed.folder))
        )


def test_evaluation_on_another_corpus(undisturbed, corpus, tmp_path):
    tok = Tokenizer.from_pretrained(corpus)
    build_corpus([GENOME], tmp_path / "v", tok, CorpusConfig(window_bp=400, valid_fraction=1))
    other = pretrain(settings(corpus, tmp_path / "run", eval_corpus=str(tmp_path / "v")))
    # What is trained is the same.
    assert (other.folder / "model.safetensors").read_bytes() == (
        undisturbed.folder / "model.safetensors"
    ).read_bytes()
    assert other.eval_loss != undisturbed.eval_loss
    published = Tokenizer.from_pretrained("dnabert2")
    build_corpus([GENOME], tmp_path / "d", published, CorpusConfig(valid_fraction=1))
    with pytest.raises(CorpusError, match=r"another tokenizer than .*Build it with"):
        pretrain(settings(corpus, tmp_path / "x", eval_corpus=str(tmp_path / "d")))


def test_a_diverging_run_stops_and_names_the_last_good_checkpoint(corpus, tmp_path, capsys):
    """From the fifth step on all weights grow tenfold: whatever was learnt is lost."""
    config = settings(corpus, tmp_path / "run", log_every=4)

    class Spoilt(PretrainingCallback):
        def on_step(self, run):
            for parameter in run.model.parameters() if run.done >= 5 else ():
                parameter.data *= 10

    with pytest.raises(DivergedError, match=r"loss at step 8 is \d.*, earlier [345]\.") as caught:
        pretrain(config, [Spoilt()])
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert f"The last good checkpoint is {newest}" in str(caught.value)
    Dnabert2ForMaskedLM.from_pretrained(newest)
    arguments = ["pretrain", str(corpus), "--out", str(tmp_path / "b"), "--size", "tiny"]
    more = ["--learning-rate", "1e5", "--steps", "40", "--batch-tokens", "600"]
    assert main([*arguments, *more, "--warmup-steps", "0"]) == 2
    assert "There is no checkpoint yet" in capsys.readouterr().err


def test_a_loss_that_is_no_number_is_never_saved(corpus, tmp_path, monkeypatch):
    config = settings(corpus, tmp_path / "run", log_every=100, eval_every=8, checkpoint_every=5)

    def spoil():
        plain = F.cross_entropy
        monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: plain(*a, **k) * float("nan"))

    with pytest.raises(DivergedError, match="the training loss at step 8 is nan") as caught:
        pretrain(config, [After(6, spoil)])
    checkpoint = tmp_path / "run/checkpoints/step-0000005"
    assert f"--init-from {checkpoint}" in str(caught.value)


def test_seeds_give_other_runs(undisturbed, corpus, tmp_path):
    other = pretrain(settings(corpus, tmp_path / "run", seed=7))
    assert other.eval_loss != undisturbed.eval_loss


def test_bfloat16_trains_near_float32(undisturbed, corpus, tmp_path):
    half = pretrain(settings(corpus, tmp_path / "run", dtype="bfloat16"))
    assert abs(half.eval_loss - undisturbed.eval_loss) < 0.05
    weights = Dnabert2ForMaskedLM.from_pretrained(half.folder)
    assert weights.dtype is torch.float32


def test_float16_trains_near_float32_and_resumes_exactly(undisturbed, corpus, tmp_path):
    half = settings(corpus, tmp_path / "whole", dtype="float16")
    scales = []

    class Scales(PretrainingCallback):
        def on_step(self, run):
            if run.done == 2:
                run._scaler.update(2.0**20)  # overflows: the next steps lower it
            scales.append(run._scaler.get_scale())

    whole = pretrain(half, [Scales()])
    assert scales[1] == 2.0**20 > scales[-1] > 1
    assert abs(whole.eval_loss - undisturbed.eval_loss) < 0.1
    stopped = settings(corpus, tmp_path / "stopped", dtype="float16")
    with pytest.raises(KeyboardInterrupt):
        pretrain(stopped, [Scales(), After(5, lambda: signal.raise_signal(signal.SIGINT))])
    pretrain(stopped)
    assert contents(tmp_path / "stopped")[0] == contents(tmp_path / "whole")[0]


def test_mini_fits_16_megabytes(tmp_path):
    model = Dnabert2ForMaskedLM(SIZES["mini"]).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size <= 16_000_000
    assert model.config.vocab_size == 4096


def test_tensorboard(corpus, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = pretrain(
        settings(corpus, tmp_path / "run", tensorboard=True, steps=8, log_every=4, eval_every=8)
    )
    seen = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    seen.Reload()
    assert [e.step for e in seen.Scalars("eval_loss")] == [0, 8]
    assert seen.Scalars("eval_loss")[-1].value == pytest.approx(result.eval_loss, rel=1e-5)
    assert len(seen.Scalars("gradient_norm")) == 2


def test_wandb_gets_every_line(corpus, tmp_path, monkeypatch):
    """With a stand-in for the library."""
    lines, starts = [], []
    begun = types.SimpleNamespace(log=lambda v, step: lines.append((step, v)), finish=lambda: None)
    library = types.SimpleNamespace(init=lambda **k: starts.append(k) or begun)
    monkeypatch.setitem(sys.modules, "wandb", library)
    pretrain(settings(corpus, tmp_path / "run", wandb="genomes", steps=8, log_every=4))
    assert [step for step, _ in lines] == [0, 4, 8]
    assert starts[0]["project"] == "genomes"
    assert starts[0]["resume"] == "allow"


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


def test_a_run_killed_between_weights_and_config_is_not_finished(corpus, tmp_path, monkeypatch):
    config = settings(corpus, tmp_path / "run", steps=2)
    save = Dnabert2ForMaskedLM.save_pretrained

    def killed(self, folder):
        save(self, folder)
        (folder / "config.json").unlink()  # it is written last
        raise KeyboardInterrupt

    monkeypatch.setattr(Dnabert2ForMaskedLM, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config)
    monkeypatch.undo()
    assert (tmp_path / "run" / "model.safetensors").exists()
    pretrain(config)
    Dnabert2ForMaskedLM.from_pretrained(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_peaks_are_those_of_the_card(name, tflops, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda", 0)) == (tflops and tflops * 1e12)
