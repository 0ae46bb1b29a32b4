"""A classifier reads the first token of a sequence, or the mean of its tokens."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_tiny
from helpers.models import classifier
from helpers.toys import LEARNT, SEQUENCES, TOY_MODEL, write_toys
from transformers import AutoModelForSequenceClassification

import dnabert2_fast.hf as hf
from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    FinetuneConfig,
    PackedBatch,
    Predictor,
    Ragged,
    Tokenizer,
    attribute,
    finetune,
    score_variants,
)
from dnabert2_fast.cli import main
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.genomics import AttributionConfig, ScoringConfig, Variant
from dnabert2_fast.io import Reference

tok = Tokenizer.from_pretrained("dnabert2")
ROWS = [[1, 9, 20, 31, 2], [1, 2], [], [1, 7, 7, 7, 7, 7, 7, 8, 2]]


def packed(rows=ROWS):
    return PackedBatch.from_ragged(Ragged.from_list(rows))


def rectangle(rows, *, left):
    ids = torch.full((len(rows), max(map(len, rows))), 3)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        at = slice(ids.shape[1] - len(row), None) if left else slice(len(row))
        ids[i, at], mask[i, at] = torch.tensor(row, dtype=torch.long), 1
    return {"input_ids": ids, "attention_mask": mask}


def by_definition(model, rows=ROWS):
    """Each sequence alone, its rows added one at a time."""
    found = []
    for row in rows:
        total = torch.zeros(model.config.hidden_size)
        for state in model.bert.encode(packed([row])) if row else []:
            total = total + state
        mean = total / max(len(row), 1)
        found.append(model.classifier(torch.tanh(model.bert.pooler.dense(mean))))
    return torch.stack(found)


@pytest.fixture(scope="module")
def model():
    return classifier(classifier_pooling="mean", num_labels=3).eval()


@torch.no_grad()
def test_the_mean_by_definition(model):
    assert torch.allclose(model(packed()).logits, by_definition(model), atol=1e-5)
    nothing = model(packed([[], []])).logits
    assert torch.allclose(nothing, by_definition(model, [[], []]), atol=1e-6)
    first = classifier(num_labels=3).eval()
    first.load_state_dict(model.state_dict())
    assert (first(packed()).logits - model(packed()).logits).abs().max() > 0.1


def test_gradients_reach_every_token(model):
    states = []
    words = model.bert.embeddings.word_embeddings
    hook = words.register_forward_hook(lambda *given: states.append(given[-1]))
    try:
        loss = model(packed(), labels=torch.tensor([0, 1, 2, 1])).loss
    finally:
        hook.remove()
    (slope,) = torch.autograd.grad(loss, states)
    assert slope.abs().sum(1).gt(0).all()


@torch.inference_mode()
def test_one_graph():
    torch._dynamo.reset()
    model = classifier(classifier_pooling="mean", num_labels=3, num_hidden_layers=1).eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for rows in (ROWS, ROWS[:2], [[1, *range(5, 300), 2], [1, 2], [1, 5, 2]]):
        assert torch.equal(compiled(packed(rows)).logits, model(packed(rows)).logits)


@torch.inference_mode()
def test_bfloat16_sums_in_more():
    """Of a thousand equal numbers the mean is that number: bfloat16 alone would stop at 256."""
    from dnabert2_fast.model.encoder import mean_rows

    rows = torch.ones(1000, 2, dtype=torch.bfloat16)
    assert torch.equal(mean_rows(rows, torch.tensor([0, 1000])), rows[:1])


@torch.no_grad()
def test_transformers_has_the_same_numbers(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    there = AutoModelForSequenceClassification.from_pretrained(tmp_path / "a").eval()
    assert isinstance(there, hf.HFDnabert2ForSequenceClassification)
    wanted = by_definition(model)
    for left in (False, True):
        assert torch.allclose(there(**rectangle(ROWS, left=left)).logits, wanted, atol=1e-5)
    there.save_pretrained(tmp_path / "b")
    back = Dnabert2ForSequenceClassification.from_pretrained(tmp_path / "b")
    assert torch.allclose(back(packed()).logits, wanted, atol=1e-5)
    # The pooler learnt from means, so the encoder gives it means too, here and there.
    ours = Dnabert2Model.from_pretrained(tmp_path / "b")(packed()).pooler_output
    theirs = hf.HFDnabert2Model.from_pretrained(tmp_path / "b")(**rectangle(ROWS, left=True))
    assert torch.allclose(ours, theirs.pooler_output, atol=1e-5)
    assert torch.allclose(back.classifier(ours), wanted, atol=1e-5)


@torch.no_grad()
def test_a_file_without_the_field_means_the_first_token(model, tmp_path):
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    assert values.pop("classifier_pooling") == "mean"
    path.write_text(json.dumps(values))
    read = Dnabert2ForSequenceClassification.from_pretrained
    first, mean = read(tmp_path), read(tmp_path, classifier_pooling="mean")
    assert first.config.classifier_pooling == "cls"
    state = first.bert.encode(packed())[[0, 5, 7]]  # of the three sequences that have one
    logits = first.classifier(first.bert.pooler(state))
    assert torch.allclose(first(packed()).logits[[0, 1, 3]], logits, atol=1e-5)
    assert torch.equal(mean(packed()).logits, model(packed()).logits)
    there = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.allclose(
        there(**rectangle(ROWS, left=False)).logits, first(packed()).logits, atol=1e-5
    )
    path.write_text(json.dumps({**values, "classifier_pooling": "max"}))
    with pytest.raises(CheckpointError, match=r"config\.json: config: classifier_pooling must be"):
        read(tmp_path)
    with pytest.raises(
        CheckpointError, match=r'classifier_pooling must be "cls" or "mean" .got "max"'
    ):
        Dnabert2Config(classifier_pooling="max")


def chance(model, text):
    with torch.inference_mode():
        return model(PackedBatch.from_ragged(tok.encode_batch([text]))).logits[0].softmax(0)


def test_variants_and_attribution(model):
    rng = np.random.default_rng(0)
    contig = "".join(rng.choice([*"ACGT"], 300))
    alt = {"A": "C"}.get(contig[150], "A")
    config = ScoringConfig(window_bp=100, offsets_bp=(0,), both_strands=False, label=2)
    (found,) = score_variants(
        [Variant("x", 150, contig[150], alt)], Reference({"x": contig}), model, tok, config=config
    )
    texts = [contig[100:150] + base + contig[151:201] for base in (contig[150], alt)]
    ref, changed = (float(chance(model, text)[2]) for text in texts)
    assert found.probability == pytest.approx(changed - ref, abs=1e-5)
    text = contig[:40]
    settings = AttributionConfig(
        method="mutagenesis", target="probability", label=1, both_strands=False
    )
    effects = attribute(text, model, tok, config=settings).effects
    for position in (0, 7, 39):
        for number, base in enumerate("ACGT"):
            mutant = text[:position] + base + text[position + 1 :]
            wanted = float(chance(model, mutant)[1] - chance(model, text)[1])
            assert effects[position, number] == pytest.approx(wanted, abs=1e-5)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A tiny untrained model with the published vocabulary; its config has no pooling."""
    return save_tiny(tmp_path_factory.mktemp("pooling") / "model", **TOY_MODEL)


# Columns, labels, and a score that is exact once everything is learnt.
TASKS = {
    "multiclass": ("sequence,label", lambda i, s: i, "mcc"),
    "multilabel": ("sequence,label", lambda i, s: f"{i % 2};{i // 2}", "auprc"),
    "regression": ("sequence,label", lambda i, s: 3.5 * i, "r2"),
    "pairs": ("sequence1,sequence2,label", lambda i, s: f"{s[::-1]},{i}", "mcc"),
}
PRODUCT = list(product(["full", "lora", "frozen"], TASKS))
FEW = [("full", "multiclass"), ("lora", "pairs"), ("frozen", "multilabel"), ("full", "regression")]


@pytest.mark.parametrize(
    ("mode", "name"),
    [pytest.param(*case, marks=() if case in FEW else pytest.mark.full) for case in PRODUCT],
)
def test_every_task_and_mode(name, mode, pretrained, tmp_path):
    header, label, best = TASKS[name]
    data = write_toys(tmp_path / "t", label, header)
    result = finetune(
        FinetuneConfig(
            str(pretrained),
            str(data),
            str(tmp_path / "out"),
            task="multiclass" if name == "pairs" else name,
            mode=mode,
            pooling="mean",
            **LEARNT,
        )
    )
    assert result.metrics["test"][best] == pytest.approx(1, abs=0.2 if best == "r2" else 1e-9)
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["classifier_pooling"] == "mean"
    )
    # What predict reads is what was scored.
    predictor = Predictor.load(tmp_path / "out")
    assert predictor.model.bert.pooling == "mean"
    lines = [line.split(",") for line in (data / "test.csv").read_text().splitlines()[1:]]
    outputs = predictor(
        [line[0] for line in lines], [line[1] for line in lines] if name == "pairs" else None
    ).outputs
    written = (tmp_path / "out" / "test_predictions.csv").read_text().splitlines()
    last = [float(line.split(",")[-1]) for line in written[1:]]
    np.testing.assert_allclose(outputs[:, -1], last, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*collapsed")
def test_what_the_checkpoint_says_is_the_default(pretrained, tmp_path, capsys):
    few = SEQUENCES[:4]
    data = write_toys(tmp_path / "t", lambda i, s: i, sequences=few, times=1)
    common = ["finetune", "--data", str(data), "--epochs", "1", "--mode", "frozen"]

    def pooling_of(model, out, *more):
        assert main([*common, str(model), "--out", str(tmp_path / out), *more]) == 0
        return json.loads((tmp_path / out / "config.json").read_text())["classifier_pooling"]

    assert pooling_of(pretrained, "a") == "cls"
    assert pooling_of(pretrained, "b", "--pooling", "mean") == "mean"
    assert pooling_of(tmp_path / "b", "c") == "mean"
    assert pooling_of(tmp_path / "b", "d", "--pooling", "cls") == "cls"
    assert main([*common, str(pretrained), "--out", str(tmp_path / "a"), "--pooling", "mean"]) == 2
    assert "settings: pooling None (requested 'mean')" in capsys.readouterr().err
    bases = write_toys(tmp_path / "bases", lambda i, s: "01" * (len(s) // 2), sequences=few)
    wrong = ["finetune", str(pretrained), "--data", str(bases), "--out", str(tmp_path / "e")]
    assert main([*wrong, "--task", "bases", "--pooling", "mean"]) == 2
    assert "pooling: must be omitted for bases" in capsys.readouterr().err
    with pytest.raises(ValueError, match='pooling: must be one of "cls", "mean"'):
        finetune(FinetuneConfig(str(pretrained), str(data), str(tmp_path / "f"), pooling="max"))
