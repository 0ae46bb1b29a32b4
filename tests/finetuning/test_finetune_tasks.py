"""Every kind of label is learnt; ways of training change what they should and nothing else."""

import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny
from helpers.toys import LEARNT, SEQUENCES, TOY_MODEL, write_toys
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from transformers import TrainerCallback

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForSequenceClassification,
    FinetuneConfig,
    PackedBatch,
    Predictor,
    Tokenizer,
    finetune,
)
from dnabert2_fast.errors import CheckpointError, DataError, DivergedError
from dnabert2_fast.finetuning.inputs import targets
from dnabert2_fast.finetuning.labels import IGNORED, Labelled, read_labelled
from dnabert2_fast.finetuning.losses import class_weights, load_classifier, loss_of
from dnabert2_fast.finetuning.metrics import scores
from dnabert2_fast.finetuning.task import Task

tok = Tokenizer.from_pretrained("dnabert2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny untrained model with the published vocabulary."""
    return save_tiny(tmp_path_factory.mktemp("tasks") / "model", **TOY_MODEL)


@pytest.fixture(scope="module")
def stuck(tmp_path_factory):
    """A model whose answer is the first of four classes, and stays so at a rate of nearly 0."""
    folder = save_tiny(tmp_path_factory.mktemp("stuck") / "model", **TOY_MODEL)
    net = Dnabert2ForSequenceClassification(
        Dnabert2Config(num_hidden_layers=1, num_labels=4, **TOY_MODEL)
    )
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.copy_(torch.tensor([3.0, 0, 0, 0]))
    net.save_pretrained(folder)
    return folder


def settings(model, data, out, **options):
    return FinetuneConfig(str(model), str(data), str(out), **{**LEARNT, **options})


def test_numbers_come_in_their_own_units(model, tmp_path):
    data = write_toys(tmp_path / "t", lambda i, s: f"{5000 + 300.5 * i};{-i}")
    result = finetune(settings(model, data, tmp_path / "out", task="regression"))
    assert result.metrics["test"]["r2"] > 0.8
    assert result.metrics["test_baseline"]["r2"] > 0.5
    test = read_labelled(data / "test.csv", Task("regression", ("0", "1")))
    net = Dnabert2ForSequenceClassification.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        raw = net(PackedBatch.from_ragged(tok.encode_batch(test.sequences))).logits.numpy()
    assert scores(test.labels, raw, "regression")["r2"] == pytest.approx(
        result.metrics["test"]["r2"], abs=1e-4
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["problem_type"], config["num_labels"]) == ("regression", 2)
    assert config["window_bp"] == Task.load(tmp_path / "out").window_bp > 0


def test_several_labels_a_row(model, tmp_path):
    data = write_toys(tmp_path / "t", lambda i, s: f"{i % 2};{i // 2};0")
    result = finetune(settings(model, data, tmp_path / "out"))
    for answers in ("test", "test_baseline"):  # over the two labels that have both outcomes
        assert result.metrics[answers]["auroc"] == 1
    assert result.metrics["test"]["exact"] > 0.4


def test_pairs(model, tmp_path):
    def label(i, sequence):
        return f"{sequence[::-1] if i % 2 else 'ACGGTCATCA'},{['no', 'yes'][i % 2]}"

    data = write_toys(tmp_path / "t", label, "sequence1,sequence2,label")
    result = finetune(settings(model, data, tmp_path / "out"))
    assert result.metrics["test"]["mcc"] == 1
    predictor = Predictor.load(tmp_path / "out")
    assert predictor.task.names == ("no", "yes")
    ids = tok.encode_detailed("ACGTAC", "GGTTAA")
    batch = PackedBatch(
        torch.from_numpy(ids.ids.astype(np.int64)),
        torch.tensor([0, len(ids.ids)], dtype=torch.int32),
        len(ids.ids),
        torch.from_numpy(ids.type_ids),
    )
    with torch.inference_mode():
        want = predictor.model(batch).logits.softmax(-1).numpy()
    np.testing.assert_allclose(predictor(["ACGTAC"], ["GGTTAA"]).outputs, want, atol=1e-6)
    with pytest.raises(DataError, match="trained on pairs"):
        predictor(["ACGTAC"])


def test_bases_and_tokens(model, tmp_path):
    """Labels are the parities of tokens' ids, of tokens or of every base in them."""

    def of_bases(i, sequence):
        cut = tok.encode_detailed(sequence, add_special_tokens=False)
        parts = zip(cut.ids, cut.offsets, strict=True)
        return "".join(str(number % 2) * (end - start) for number, (start, end) in parts)

    def of_tokens(i, sequence):
        return ";".join(str(number % 2) for number in tok.encode(sequence).tolist()[1:-1])

    data = write_toys(tmp_path / "b", of_bases)
    result = finetune(settings(model, data, tmp_path / "out", task="bases"))
    assert result.metrics["test"]["mcc"] == 1
    lines = (tmp_path / "out" / "test_predictions.csv").read_text().splitlines()
    test = read_labelled(data / "test.csv", Predictor.load(tmp_path / "out").task)
    assert len(lines) == 1 + len(test.labels)

    longest = max(len(tok.encode(sequence)) for _, sequence in SEQUENCES)
    data = write_toys(tmp_path / "k", of_tokens)
    result = finetune(
        settings(model, data, tmp_path / "out2", task="tokens", max_length=longest - 2)
    )
    assert result.metrics["test"]["mcc"] == 1
    data = write_toys(tmp_path / "wrong", lambda i, s: "0;1")
    with pytest.raises(DataError, match=r"has . tokens, its label 2"):
        finetune(settings(model, data, tmp_path / "out3", task="tokens"))


def test_loss_of_bases_is_that_of_expanded_tokens():
    rng = np.random.default_rng(1)
    sequence = "ACGTTGCATTAGCAACGT" * 3
    label = rng.integers(0, 3, len(sequence))
    label[rng.random(len(label)) < 0.2] = IGNORED
    spans = tok.encode_detailed(sequence).offsets
    logits = torch.randn(len(spans), 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 2.0, 0.5])
    counts = targets(Task("bases", ("a", "b", "c")), label, spans)
    expanded = torch.cat([logits[i].repeat(end - start, 1) for i, (start, end) in enumerate(spans)])
    for given in (None, weights):
        want = F.cross_entropy(expanded, torch.from_numpy(label), given, ignore_index=IGNORED)
        torch.testing.assert_close(loss_of("bases", logits, counts, given), want)
    assert loss_of("bases", logits, torch.zeros_like(counts), None) == 0


def test_a_batch_of_classes_without_weight_has_loss_0():
    assert (
        loss_of("multiclass", torch.ones(2, 2), torch.tensor([1, 1]), torch.tensor([1.0, 0])) == 0
    )


def test_class_weights():
    labels = np.array([0, 0, 0, 1, 2, 2])
    task, table = Task("multiclass", ("a", "b", "c")), Labelled([], labels)
    want = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights("balanced", task, table), want, rtol=1e-6)
    assert class_weights("1,2,0.5", task, table).tolist() == [1, 2, 0.5]
    several = Labelled([], np.array([[1.0, 0], [0, 0], [0, 1], [0, 1]]))
    assert class_weights("balanced", Task("multilabel", ("a", "b")), several).tolist() == [3, 1]
    for wrong in ("1,2", "much", "1,2,-1", "1,2,nan", "1,inf,1", "0,0,0"):
        with pytest.raises(ValueError, match="class_weights"):
            class_weights(wrong, task, table)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Tables of four classes."""
    return write_toys(tmp_path_factory.mktemp("four") / "t", lambda i, s: i)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The same with fewer rows to train on: eight steps an epoch."""
    return write_toys(tmp_path_factory.mktemp("short") / "t", lambda i, s: i, times=2)


def test_a_collapsed_run_is_said_aloud(stuck, short, tmp_path):
    with pytest.warns(UserWarning, match='seed 42: the run collapsed \(every answer is "0" on dev'):
        finetune(settings(stuck, short, tmp_path / "out", epochs=1, learning_rate=1e-9))


def test_lora_is_saved_reloaded_and_merged(model, four, tmp_path):
    from peft import PeftModel

    result = finetune(settings(model, four, tmp_path / "out", mode="lora"))
    assert result.metrics["test"]["mcc"] == 1
    assert result.trained < result.parameters / 10
    merged = load_file(tmp_path / "out" / "model.safetensors")
    base = load_file(model / "model.safetensors")
    changed = {n for n in merged if n in base and not torch.equal(merged[n], base[n])}
    adapted = ("attention.self.Wqkv", "attention.output.dense", "mlp.gated_layers", "mlp.wo")
    assert changed == {f"bert.encoder.layer.0.{name}.weight" for name in adapted}
    task = Predictor.load(tmp_path / "out").task
    again = PeftModel.from_pretrained(load_classifier(task, str(model)), tmp_path / "out/adapter")
    again = Predictor(again.merge_and_unload(), tok, task)
    sequences = read_labelled(four / "test.csv").sequences
    want = Predictor.load(tmp_path / "out")(sequences).outputs
    np.testing.assert_allclose(again(sequences).outputs, want, atol=1e-5)
    with pytest.raises(ValueError, match=r"lora_targets: .* Wqkv, dense.*got query"):
        finetune(settings(model, four, tmp_path / "no", mode="lora", lora_targets=("query",)))


@pytest.mark.filterwarnings("ignore:.*collapsed")
def test_a_probe_leaves_the_encoder_alone(model, short, tmp_path):
    result = finetune(settings(model, short, tmp_path / "out", mode="frozen", epochs=1))
    merged = load_file(tmp_path / "out" / "model.safetensors")
    base = load_file(model / "model.safetensors")
    own = {n for n in merged if n.startswith(("bert.encoder", "bert.embeddings"))}
    assert own <= set(base)
    assert all(torch.equal(merged[n], base[n]) for n in own)
    assert result.trained == 24 * 24 + 24 + 4 * 24 + 4


@pytest.mark.filterwarnings("ignore:.*collapsed")
def test_seeds_report_mean_and_deviation(model, tmp_path):
    """Of numbers, whose errors differ between seeds whatever is learnt."""
    data = write_toys(tmp_path / "t", lambda i, s: i + 0.5, times=1)
    shape = {"task": "regression", "epochs": 1}
    config = settings(model, data, tmp_path / "out", seeds=3, seed=7, **shape)
    result = finetune(config)
    runs = [
        json.loads((result.folder / f"seed-{seed}" / "metrics.json").read_text())
        for seed in (7, 8, 9)
    ]
    values = [run["test"]["rmse"] for run in runs]
    assert len(set(values)) == 3
    assert result.metrics["test"]["rmse"] == pytest.approx(np.mean(values))
    assert result.deviations["test"]["rmse"] == pytest.approx(np.std(values, ddof=1))
    best = json.loads((result.folder / "metrics.json").read_text())["best_on_dev"]
    assert best == f"seed-{7 + int(np.argmax([run['dev']['r2'] for run in runs]))}"
    written = json.loads((result.folder / "seed-8" / "run.json").read_text())
    assert (written["seed"], written["out"]) == (8, str(result.folder / "seed-8"))
    alone = finetune(settings(model, data, tmp_path / "alone", seed=8, **shape))
    assert alone.metrics == runs[1]
    before = contents(result.folder)
    assert finetune(config) == result  # it is done already
    assert contents(result.folder) == before


def contents(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.filterwarnings("ignore:.*collapsed")
def test_a_finished_run_is_not_repeated_and_another_is_refused(model, tmp_path):
    tables = write_toys(tmp_path / "tables", lambda i, s: i, times=1)
    config = settings(model, tables, tmp_path / "out", epochs=1)
    result = finetune(config)
    before = contents(result.folder)
    assert finetune(config) == result
    with pytest.raises(CheckpointError, match=r"other settings: epochs 1 \(requested 2\)\. Give"):
        finetune(settings(model, tables, tmp_path / "out", epochs=2))
    text = (tables / "dev.csv").read_text()
    (tables / "dev.csv").write_text(text.replace("A", "C", 1))
    with pytest.raises(CheckpointError, match="other settings: data_sha256 "):
        finetune(config)
    (tables / "dev.csv").write_text(text.replace("\n", "\r\n"))  # the same rows
    assert finetune(config) == result
    assert contents(result.folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"tables", "out"}
    (tmp_path / "out" / "metrics.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        finetune(config)


class Steps(TrainerCallback):
    """Counts steps, and interrupts before the one after `limit`."""

    def __init__(self, limit=None):
        self.taken, self.limit = 0, limit

    def on_step_begin(self, args, state, control, **_):
        if self.taken == self.limit:
            raise KeyboardInterrupt
        self.taken += 1


def test_callbacks_follow_every_run(model, tmp_path):
    class Watch(Steps):
        scored = ()

        def on_evaluate(self, args, state, control, metrics, **_):
            self.scored += (metrics["eval_r2"],)

    data = write_toys(tmp_path / "t", lambda i, s: i + 0.5, times=1)
    watch = Watch()
    config = settings(model, data, tmp_path / "out", seeds=2, task="regression", epochs=2)
    finetune(config, callbacks=[watch])
    assert watch.taken == 2 * 2 * 4  # runs, epochs, steps
    assert len(watch.scored) == 4


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(short, tmp_path):
    model = save_tiny(tmp_path / "model", **{**TOY_MODEL, "hidden_dropout_prob": 0.2})
    whole = finetune(settings(model, short, tmp_path / "whole"))
    config = settings(model, short, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        finetune(config, callbacks=[Steps(limit=18)])  # two epochs are 16
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match=r"unfinished: .* settings: epochs 3 \(requested 5\)"):
        finetune(settings(model, short, tmp_path / "out", epochs=5))
    steps = Steps()
    assert finetune(config, callbacks=[steps]).metrics == whole.metrics
    assert steps.taken == 8
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "out.unfinished").exists()


@pytest.mark.filterwarnings("ignore:.*collapsed")
@pytest.mark.parametrize("stop_at", [None, 18])
def test_patience_ends_a_run(stuck, short, tmp_path, stop_at):
    """Resumed after a stop or not, the count of epochs without a better score is the same."""
    config = settings(stuck, short, tmp_path / "out", patience=2, learning_rate=1e-9, epochs=9)
    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            finetune(config, callbacks=[Steps(limit=stop_at)])
    steps = Steps()
    finetune(config, callbacks=[steps])
    # The first epoch of eight steps was best, and two more; two are there of the stopped run.
    assert steps.taken == (24 if stop_at is None else 8)


def test_a_diverged_run_says_so(model, short, tmp_path):
    config = settings(model, short, tmp_path / "out", learning_rate=1e30, epochs=1)
    with pytest.raises(DivergedError, match=r"out.unfinished: .* a learning rate below 1e\+30"):
        finetune(config)


def test_bad_settings(model, four, tmp_path, monkeypatch):
    for wrong in (
        {"epochs": 0},
        {"seeds": 0},
        {"patience": 0},
        {"lora_dropout": 1.0},
        {"lora_alpha": float("nan")},
        {"weight_decay": -1.0},
        {"learning_rate": 0.0},
        {"seed": 2**32 - 1, "seeds": 2},
        {"mode": "adapters"},
        {"task": "class"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            finetune(settings(model, four, tmp_path / "out", **wrong))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"got cuda:1.* CUDA_VISIBLE_DEVICES"):
        finetune(settings(model, four, tmp_path / "out", device="cuda:1"))
    assert not list(tmp_path.iterdir())


def test_max_length_holds_for_dev_and_test(model, tmp_path):
    """The part beyond it is noise."""
    rng = np.random.default_rng(0)
    tails = ["".join(rng.choice([*"ACGT"], 400)) for _ in range(8)]
    rows = [(i % 2, "AT"[i % 2] * 64 + tail) for i, tail in enumerate(tails)]
    data = write_toys(tmp_path / "t", lambda i, s: i, sequences=rows)
    result = finetune(settings(model, data, tmp_path / "out", max_length=8, pooling="mean"))
    assert result.metrics["test"]["mcc"] == 1
    task = Task.load(tmp_path / "out")
    read = max(tok.encode_detailed(s, max_length=8).offsets[:, 1].max() for _, s in rows)
    assert (task.max_length, task.window_bp) == (8, read)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["window_bp"] == read
