"""Two processes fine-tune as one does, and each number of processes resumes the other's run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny
from helpers.ranks import run_ranks
from helpers.toys import LEARNT, TOY_MODEL, write_toys
from safetensors.torch import load_file
from transformers import TrainerCallback

from dnabert2_fast import FinetuneConfig, PackedBatch, Tokenizer, finetune
from dnabert2_fast.finetuning.labels import read_splits
from dnabert2_fast.finetuning.losses import class_weights, load_classifier, loss_of
from dnabert2_fast.finetuning.predictor import Predictor
from dnabert2_fast.finetuning.trainer import _Examples

tok = Tokenizer.from_pretrained("dnabert2")
LABELS = {  # of a row, from the number of its motif and its sequence
    "multiclass": lambda i, s: i,
    "multilabel": lambda i, s: f"{i % 2};{i // 2}",
    "regression": lambda i, s: i + len(s) / 50,
    "tokens": lambda i, s: ";".join(str(n % 2) for n in tok.encode(s).tolist()[1:-1]),
}

# Each run: a port, its settings, and the number of steps after which both processes stop.
WORKER = """
import json, os, sys
from transformers import TrainerCallback
from dnabert2_fast import FinetuneConfig, finetune
from dnabert2_fast.cli import training

class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == stop_at:
            raise KeyboardInterrupt

for port, settings, stop_at in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    if stop_at is None:
        training.finetune(FinetuneConfig(**settings))
    else:
        try:
            finetune(FinetuneConfig(**settings), [Stop()])
        except KeyboardInterrupt:
            pass
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("ranks") / "model", **TOY_MODEL)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A table of each kind: 17 rows to train on, so that the last batch has one row."""
    folder = tmp_path_factory.mktemp("tables")
    for kind, label_of in LABELS.items():
        write_toys(folder / kind, label_of, times=1)
        with (folder / kind / "train.csv").open("a") as handle:
            handle.write(f"{'ACG' * 70},{label_of(1, 'ACG' * 70)}\n")
    return folder


def settings(model, tables, out, kind, **changes):
    given = {**LEARNT, "epochs": 2, "task": kind, **changes}
    return {"model": str(model), "data": str(tables / kind), "out": str(out), **given}


@pytest.mark.parametrize("weights", ["none", "3,1"])
@pytest.mark.parametrize("kind", LABELS)
def test_losses_of_all_processes_have_the_mean_of_the_whole_batch(model, tables, kind, weights):
    """Then the mean of their gradients is its gradient, for the mean is linear."""
    task, found = read_splits(str(tables / kind), kind)
    given = weights if kind == "tokens" else "balanced" if kind != "regression" else "none"
    of_classes = class_weights("none" if weights == "none" else given, task, found["train"])
    torch.manual_seed(0)
    predictor = Predictor(load_classifier(task, str(model)), tok, task)

    def losses(rows, size):
        for rank in range(size):
            context = SimpleNamespace(rank=rank, size=size)
            batch = _Examples(predictor, found["train"], of_classes, context).collate(rows)
            labels, whole = batch.pop("labels"), batch.pop("loss_weight")
            with torch.no_grad():
                logits = predictor.model(PackedBatch(**batch)).logits
            yield float(loss_of(kind, logits, labels, of_classes, whole)), len(batch["input_ids"])

    for rows in ([16, 3, 0, 8, 4, 12], [5], [2, 16]):
        ((want, tokens),) = losses(rows, 1)
        for size in (2, 3):
            parts, sizes = zip(*losses(rows, size), strict=True)
            assert np.mean(parts) == pytest.approx(want, rel=1e-5)
            assert len(rows) < size or sum(sizes) == tokens


@pytest.mark.full
def test_two_processes_train_as_one_does(model, tables, tmp_path):
    """Also when one ends what two began, or the reverse; only rank 0 prints."""
    classes = {"kind": "multiclass", "class_weights": "balanced", "patience": 5}
    by_token = {"kind": "tokens", "class_weights": "3,1"}
    several = {"kind": "multilabel", "mode": "frozen", "seeds": 2}
    numbers = {"kind": "regression", "mode": "lora", "lora_dropout": 0.0}
    for run in (classes, by_token, several, numbers):
        alone(model, tables, tmp_path / run["kind"], run)
    with pytest.raises(KeyboardInterrupt):
        alone(model, tables, tmp_path / "two-multiclass", classes, [Stop(6)])
    first, second = run_ranks(
        tmp_path,
        WORKER,
        (settings(model, tables, tmp_path / "two-multiclass", **classes), None),
        (settings(model, tables, tmp_path / "two-tokens", **by_token), 6),
        (settings(model, tables, tmp_path / "two-multilabel", **several), None),
        (settings(model, tables, tmp_path / "two-regression", **numbers), None),
    )
    assert first.stdout.count("parameters trained") == 3
    assert first.stderr.count(" on cpu: float32, attention") == 5
    assert (second.stdout, second.stderr) == ("", "")
    alone(model, tables, tmp_path / "two-tokens", by_token)
    for name in ("multiclass", "tokens", "regression", "multilabel/seed-42", "multilabel/seed-43"):
        assert_equal(tmp_path / f"two-{name}", tmp_path / name)
    assert not list(tmp_path.glob("*.unfinished"))


def alone(model, tables, out, run, callbacks=()):
    finetune(FinetuneConfig(**settings(model, tables, out, **run)), callbacks)


class Stop(TrainerCallback):
    """Interrupts after a step."""

    def __init__(self, at):
        self.at = at

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.at:
            raise KeyboardInterrupt


def assert_equal(folder, other):
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, other))
    for name, tensor in ours.items():
        bias_of_keys = torch.zeros(len(tensor), dtype=torch.bool)
        if name.endswith("Wqkv.bias"):  # its gradient is rounding alone, for softmax ignores it
            bias_of_keys.view(3, -1)[1] = True
        one, two = tensor[~bias_of_keys], theirs[name][~bias_of_keys]
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4, msg=name)
    ours, theirs = (json.loads((f / "metrics.json").read_text()) for f in (folder, other))
    for split, scored in ours.items():
        assert scored == pytest.approx(theirs[split], abs=1e-4), split
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}
