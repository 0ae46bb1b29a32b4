"""`publish`: what the card states, and what a server receives."""

import json
import os
from pathlib import Path

import pytest
from helpers.hub_server import TOKEN
from helpers.processes import run_cli

torch = pytest.importorskip("torch")
from helpers.checkpoints import save_tiny  # noqa: E402

from dnabert2_fast import Dnabert2ForMaskedLM, Predictor, Tokenizer  # noqa: E402
from dnabert2_fast.cli import main  # noqa: E402
from dnabert2_fast.finetuning.task import Task  # noqa: E402
from dnabert2_fast.model.heads import Dnabert2ForSequenceClassification  # noqa: E402

SIZES = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 8}
SCORES = {"accuracy": 0.71, "mcc": 0.4}


@pytest.fixture
def classifier(tmp_path):
    """What finetune writes, without its training."""
    base = save_tiny(tmp_path / "base", **SIZES)
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="randomly initialised"):
        Dnabert2ForSequenceClassification.from_pretrained(base, num_labels=3).save_pretrained(run)
    Tokenizer.from_pretrained(base, case="compat").save_pretrained(run)
    Task("multiclass", ("a", "b", "c"), window_bp=70).save(run)
    settings = {"model": "zhihan1996/DNABERT-2-117M", "data": "/home/me/secret/promoters"}
    settings |= {"mode": "full", "seed": 0, "class_weights": "none", "data_sha256": "ab12"}
    settings |= {"trained": 7, "parameters": 1234567}
    (run / "run.json").write_text(json.dumps(settings))
    better = {**SCORES, "mcc": 0.5}
    metrics = {"dev": SCORES, "test": SCORES, "test_baseline": better}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "test_predictions.csv").write_text("name,sequence\n0,ACGT\n")
    return run


@pytest.fixture
def language_model(tmp_path):
    run = save_tiny(tmp_path / "lm", **SIZES)
    settings = {"corpus": "/home/me/corpus", "steps": 20, "recipe": "paper", "dropout": 0.1}
    (run / "run.json").write_text(json.dumps(settings))
    lines = [{"step": 0, "tokens": 0, "baseline_loss": 7.14, "baseline_accuracy": 0.003}]
    lines[0] |= {"eval_loss": 8.3, "eval_accuracy": 0.0}
    lines += [
        {"step": n, "tokens": 10 * n, "eval_loss": 8.0 - n / 20, "eval_accuracy": 0.1}
        for n in range(1, 21)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run / "loss.png").write_bytes(b"png")
    return run


def card_of(run):
    return (run / "README.md").read_text()


def test_a_classifier_is_published_and_read_again(classifier, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    command = ["publish", str(classifier), "--repo", "me/promoters", "--license", "cc-by-4.0"]
    assert main([*command, "--about-data", "Promoters of EPD."]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/me/promoters"
    files = hub.repositories["me/promoters"].revisions["main"]
    assert sorted(files) == [
        "README.md", "config.json", "metrics.json", "model.safetensors", "task.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert all(files[name] == (classifier / name).read_bytes() for name in files)
    assert not any(b"/home/me" in data for data in files.values())
    here, there = (Predictor.load(name, device="cpu") for name in (classifier, "me/promoters"))
    assert there.task == here.task
    assert there.tokenizer.case == "compat"
    texts = ["ACGTAGGT", "TTTT"]
    assert (there(texts).outputs == here(texts).outputs).all()


def test_the_card_of_a_classifier(classifier):
    assert main(["publish", str(classifier), "--repo", "me/promoters", "--dry-run"]) == 0
    card = card_of(classifier)
    for text in (
        "license: unknown",
        "base_model: zhihan1996/DNABERT-2-117M",
        "pipeline_tag: text-classification",
        "- name: promoters\n",
        "Predicts classes of a sequence: `a`, `b`, `c`.",
        "with 1,234,567 parameters",
        "dnabert2-fast predict me/promoters sequences.fa",
        "SHA-256 of their content `ab12`",
        "| seed | 0 |",
        "| mcc | 0.400 | 0.400 | 0.500 |",
        "A linear model on 5-mers is as good or better on test (mcc 0.500, this model 0.400)",
        "The authors have not chosen a licence.",
    ):
        assert text in card
    assert "/home/me" not in card
    assert "class_weights" not in card


def test_the_card_of_a_language_model(language_model, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert main(["publish", str(language_model), "--repo", "me/dna", "--private"]) == 0
    card = card_of(language_model)
    model = Dnabert2ForMaskedLM.from_pretrained(language_model)
    assert f"with {sum(p.numel() for p in model.parameters()):,} parameters" in card
    assert "pipeline_tag: fill-mask" in card
    assert "loss of 7.140 and is correct for 0.3%" in card
    assert "| 0 | 0 | 8.300 | 0.0% |" in card
    assert "| 20 | 200 | 7.000 | 10.0% |" in card
    assert card.count("%") <= 15
    assert hub.repositories["me/dna"].private
    assert "loss.png" in hub.repositories["me/dna"].revisions["main"]


def test_an_edited_card_is_kept(classifier, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (classifier / "README.md").write_text("# My own\n")
    assert main(["publish", str(classifier), "--repo", "me/promoters"]) == 0
    assert "exists and is used as it is" in capsys.readouterr().out
    assert hub.repositories["me/promoters"].revisions["main"]["README.md"] == b"# My own\n"


def test_what_is_refused(classifier, language_model, hub, capsys, tmp_path):
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "metrics.json").write_text('{"best_on_dev": "seed-1"}')
    for run, repo, message in [
        (classifier, "me/promoters", "me/promoters: was not uploaded (401: the token is missing"),
        (classifier, "promoters", "--repo: must be owner/name (got promoters)."),
        (tmp_path, "me/x", f"{tmp_path}: has no run.json. Give a folder that pretrain"),
        (
            tmp_path / "seeds",
            "me/x",
            f"has several runs. Give one, such as {tmp_path}/seeds/seed-1",
        ),
    ]:
        assert main(["publish", str(run), "--repo", repo]) == 2
        assert message in capsys.readouterr().err
    hub.faults = ["close"] * 20
    assert main(["publish", str(classifier), "--repo", "me/promoters"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.full
def test_another_process_with_the_address_in_its_environment(classifier, hub, tmp_path):
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    settings["HF_HUB_DISABLE_XET"] = "1"
    ran = run_cli("publish", classifier, "--repo", "me/x", cwd=tmp_path, env=settings)
    assert ran.returncode == 0, ran.stderr
    (tmp_path / "x.fa").write_text(">a\nACGTACGT\n")
    for model, out in (("me/x", "hub.csv"), (classifier, "here.csv")):
        ran = run_cli("predict", model, "x.fa", "--out", out, cwd=tmp_path, env=settings)
        assert ran.returncode == 0, ran.stderr
    assert Path(tmp_path, "hub.csv").read_bytes() == Path(tmp_path, "here.csv").read_bytes()
    assert os.listdir(tmp_path / "home")
