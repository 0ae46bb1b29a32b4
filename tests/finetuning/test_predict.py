"""Predictions of a file equal the model's output for each record, window by window."""

import csv
import gzip
import json
import re
import shutil
from collections import Counter
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.predictors import RECORDS, WINDOW, make, tok
from matplotlib import image

from dnabert2_fast import (
    PackedBatch,
    Predictor,
    evaluate,
    predict_file,
)
from dnabert2_fast.cli import main
from dnabert2_fast.errors import CheckpointError, DataError, FastaError, InputWarning
from dnabert2_fast.finetuning import PredictConfig
from dnabert2_fast.finetuning import windows as predict_windows
from dnabert2_fast.finetuning.inputs import rows_with_bases
from dnabert2_fast.finetuning.labels import read_labelled
from dnabert2_fast.finetuning.plot import _curves as curves
from dnabert2_fast.finetuning.plot import plot_answers
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.io.strand import reverse_complement


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    make(folder / "multiclass", Task("multiclass", ("no", "yes", "maybe"), window_bp=WINDOW))
    make(folder / "labels", Task("multilabel", ("a", "b"), window_bp=WINDOW))
    make(folder / "numbers", Task("regression", ("strength",), window_bp=WINDOW))
    make(folder / "bases", Task("bases", ("out", "in"), window_bp=WINDOW))
    make(folder / "tokens", Task("tokens", ("out", "in"), window_bp=WINDOW))
    (folder / "x.fa").write_text("".join(f">{n} text\n{s}\n" for n, s in RECORDS.items()))
    return folder


@cache
def model_of(folder):
    return Predictor.load(folder).model


@cache
def slow_logits(folder, sequence):
    """One sequence alone."""
    model = model_of(folder)
    with torch.inference_mode():
        return model(PackedBatch.from_ragged(tok.encode_batch([sequence]))).logits.double().numpy()


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def slow_windows(sequence, stride):
    starts = [0]
    while starts[-1] + WINDOW < len(sequence):
        starts.append(min(starts[-1] + stride, len(sequence) - WINDOW))
    return [(start, sequence[start : start + WINDOW]) for start in starts]


def read(path):
    with path.open() as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("stride", [None, 25])
@pytest.mark.parametrize("chunk", [3, 4096])
def test_a_record_gets_the_mean_of_its_windows(files, tmp_path, monkeypatch, stride, chunk):
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", chunk)
    out = tmp_path / "p.csv"
    config = PredictConfig(stride_bp=stride, batch_tokens=70)
    assert predict_file(files / "x.fa", out, files / "multiclass", config) == len(RECORDS)
    rows = read(out)
    assert [row["name"] for row in rows] == list(RECORDS)
    probabilities = []
    for row, sequence in zip(rows, RECORDS.values(), strict=True):
        pieces = slow_windows(sequence, stride or WINDOW)
        want = np.mean(
            [softmax(slow_logits(files / "multiclass", p)[0]) for _, p in pieces], axis=0
        )
        got = [float(row[f"probability_{name}"]) for name in ("no", "yes", "maybe")]
        np.testing.assert_allclose(got, want, atol=2e-6)
        assert row["prediction"] == ("no", "yes", "maybe")[int(np.argmax(want))]
        probabilities.append(want)
    assert np.ptp(probabilities, axis=0).max() > 0.02  # the records do differ


def test_a_row_a_window(files, tmp_path):
    out = tmp_path / "p.parquet"
    predict_file(files / "x.fa", out, files / "labels", PredictConfig(rows="windows", stride_bp=25))
    rows = pq.read_table(out).to_pylist()
    want = [
        (name, start, start + len(piece), piece)
        for name, sequence in RECORDS.items()
        for start, piece in slow_windows(sequence, 25)
    ]
    assert [(r["name"], r["start_bp"], r["end_bp"]) for r in rows] == [w[:3] for w in want]
    for row, (*_, piece) in zip(rows, want, strict=True):
        chances = 1 / (1 + np.exp(-slow_logits(files / "labels", piece)[0]))
        got = [row["probability_a"], row["probability_b"]]
        np.testing.assert_allclose(got, chances, atol=2e-6)
        named = [name for name, chance in zip("ab", chances, strict=True) if chance >= 0.5]
        assert row["prediction"] == ";".join(named)


@pytest.mark.parametrize("chunk", [2, 4096])
def test_every_base_is_answered_once(files, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", chunk)
    out = tmp_path / "p.parquet"
    assert predict_file(files / "x.fa", out, files / "bases") == sum(map(len, RECORDS.values()))
    table = pq.read_table(out)
    want = []
    for sequence in RECORDS.values():
        chances = np.full(len(sequence), np.nan)
        for start, piece in slow_windows(sequence, WINDOW):
            of_tokens = softmax(slow_logits(files / "bases", piece))[:, 1]
            spans = tok.encode_detailed(piece).offsets
            for chance, (first, end) in zip(of_tokens, spans, strict=True):
                for base in range(start + first, start + end):
                    if np.isnan(chances[base]):
                        chances[base] = chance
        want.extend(chances)
    np.testing.assert_allclose(table["probability_in"].to_numpy(), want, atol=2e-6)
    positions = [i for sequence in RECORDS.values() for i in range(len(sequence))]
    assert table["start_bp"].to_pylist() == positions
    answers = Predictor.load(files / "bases")(list(RECORDS.values()))
    assert answers.lengths.tolist() == [len(s) for s in RECORDS.values()]
    np.testing.assert_allclose(answers.outputs[:, 1], want, atol=2e-6)


def test_every_token_is_answered(files, tmp_path):
    out = tmp_path / "p.csv"
    predict_file(files / "x.fa", out, files / "tokens")
    want = []
    for name, sequence in RECORDS.items():
        chances = softmax(slow_logits(files / "tokens", sequence))[1:-1, 1]  # none is cut
        spans = tok.encode_detailed(sequence).offsets[1:-1].tolist()
        want += [(name, *span, chance) for span, chance in zip(spans, chances, strict=True)]
    rows = read(out)
    got = [(r["name"], int(r["start_bp"]), int(r["end_bp"])) for r in rows]
    assert got == [w[:3] for w in want]
    np.testing.assert_allclose(
        [float(r["probability_in"]) for r in rows], [w[3] for w in want], atol=2e-6
    )


def test_tables_and_reads(files, tmp_path):
    sequences = list(RECORDS.values())
    table = "name,sequence\n" + "".join(f"n{i},{s}\n" for i, s in enumerate(sequences))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table.encode()))
    (tmp_path / "plain.csv").write_text("sequence\n" + "\n".join(sequences))
    (tmp_path / "r.fq").write_text(
        "".join(f"@{n}\n{s}\n+\n{'I' * len(s)}\n" for n, s in RECORDS.items())
    )
    predict_file(files / "x.fa", tmp_path / "expected.csv", files / "numbers")
    want = [row["value_strength"] for row in read(tmp_path / "expected.csv")]
    for name, names in (
        ("t.csv.gz", [f"n{i}" for i in range(len(want))]),
        ("plain.csv", [str(i) for i in range(len(want))]),
        ("r.fq", list(RECORDS)),
    ):
        predict_file(tmp_path / name, tmp_path / "got.csv", files / "numbers")
        rows = read(tmp_path / "got.csv")
        assert [row["value_strength"] for row in rows] == want
        assert [row["name"] for row in rows] == names


def test_bad_input_leaves_nothing(files, tmp_path):
    (tmp_path / "pairs.csv").write_text("sequence1,sequence2\nACGT,AC\n")
    (tmp_path / "other.csv").write_text("dna\nACGT\n")
    (tmp_path / "cut.fa.gz").write_bytes(gzip.compress(b">a\n" + b"ACGT" * 999)[:-9])
    before = set(tmp_path.iterdir())
    bad = [
        ("multiclass", "pairs.csv", "p.csv", DataError, "single sequences"),
        ("multiclass", "other.csv", "p.csv", DataError, 'no column "sequence"'),
        ("multiclass", "cut.fa.gz", "p.csv", FastaError, "damaged or ends early"),
        (
            "multiclass",
            "pairs.csv",
            "p.xlsx",
            ValueError,
            r"\.csv, \.tsv or \.parquet, or in \.",
        ),
        (".", "pairs.csv", "p.csv", CheckpointError, r"has no task\.json"),
    ]
    for model, file, out, error, message in bad:
        with pytest.raises(error, match=message):
            predict_file(tmp_path / file, tmp_path / out, files / model)
    with pytest.raises(ValueError, match="stride_bp: must be between 1 and window_bp"):
        config = PredictConfig(window_bp=5, stride_bp=6)
        predict_file(files / "x.fa", tmp_path / "p.csv", files / "multiclass", config)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "label", "plots"),
    [
        ("multiclass", lambda i: ["no", "yes", "maybe"][i % 3], {"confusion.png", "curves.png"}),
        ("labels", lambda i: f"{i % 2};{i % 3 // 2}", {"curves.png"}),
        ("numbers", lambda i: i / 7, {"scatter.png"}),
        ("bases", lambda i: "01"[i % 2] * len(list(RECORDS.values())[i]), None),
    ],
)
def test_evaluate(files, tmp_path, capsys, kind, label, plots):
    rows = [f"{s},{label(i)}" for i, s in enumerate(RECORDS.values())]
    (tmp_path / "t.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    arguments = ["evaluate", str(files / kind), str(tmp_path / "t.csv")]
    assert main([*arguments, "--out", str(tmp_path / "ev")]) == 0
    assert "auroc" in capsys.readouterr().out or kind == "numbers"
    names = {path.name for path in (tmp_path / "ev").iterdir()}
    plots = plots or {"confusion.png", "curves.png"}
    assert names == {"metrics.json", "predictions.csv", "report.md", "report.html", *plots}
    page = (tmp_path / "ev" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(plots)
    for score, value in json.loads((tmp_path / "ev" / "metrics.json").read_text()).items():
        assert f'>{score}</td><td class="number">{value:.3f}<' in page
    for name in Task.load(files / kind).names:
        assert f">{name}</td>" in page
    if kind == "multiclass":
        rows = read(tmp_path / "ev" / "predictions.csv")
        want = np.mean([r["prediction"] == r["label"] for r in rows])
        got = evaluate(files / kind, tmp_path / "t.csv", tmp_path / "again")["accuracy"]
        assert got == pytest.approx(want)
        assert main([*arguments, "--out", str(tmp_path / "ev")]) == 2
        assert "exists already" in capsys.readouterr().err


def test_evaluate_shows_the_scores_of_training(files, tmp_path, capsys):
    """A linear model on k-mers may be better: the user reads it beside the result."""
    folder = shutil.copytree(files / "multiclass", tmp_path / "m")
    scores = {"dev": {"mcc": 0.5}, "test": {"mcc": 0.399}, "test_baseline": {"mcc": 0.707}}
    (folder / "metrics.json").write_text(json.dumps(scores))
    rows = [f"{s},{['no', 'yes', 'maybe'][i % 3]}" for i, s in enumerate(RECORDS.values())]
    (tmp_path / "t.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    assert main(["evaluate", str(folder), f"{tmp_path}/t.csv", "--out", f"{tmp_path}/ev"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  when it was trained, its own test: mcc 0.399",
        "  when it was trained, linear model on 5-mers: mcc 0.707",
    ]
    report = (tmp_path / "ev" / "report.md").read_text()
    assert re.search(r"^\| mcc \| \S+ \| 0\.399 \| 0\.707 \|$", report, re.MULTILINE)
    assert "the linear model on 5-mers has the higher `mcc`" in report


def test_curves_have_their_areas_and_numbers(tmp_path):
    labels = np.array([0, 0, 1, 1, 1])
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]])
    wanted, given = labels[:, None] == 1, outputs[:, 1:]
    curves(tmp_path / "c.svg", ["promoter"], wanted, given, 2)
    text = (tmp_path / "c.svg").read_text()
    # Of six pairs of a positive and a negative, four are in order.
    for shown in ("promoter, AUC 0.667", "promoter, AP 0.806, n 3", "n 5"):
        assert f"<!-- {shown} -->" in text  # letters are paths


def test_predict_on_the_command_line(files, tmp_path, capsys):
    out = tmp_path / "p.csv"
    arguments = ["predict", str(files / "multiclass"), str(files / "x.fa"), "--out", str(out)]
    assert main([*arguments, "--device", "cpu", "--rows", "windows"]) == 0
    assert f"{len(read(out))} rows" in capsys.readouterr().out


def test_records_are_cut_to_the_tokens_of_training(files, tmp_path):
    """One answer by a call, `predict` and `evaluate`: that of the first tokens."""
    task = Task("multiclass", ("no", "yes"), max_length=9, window_bp=40)
    predictor = Predictor.load(make(tmp_path / "cut", task))
    read_of = {}
    for name, sequence in RECORDS.items():
        spans = tok.encode_detailed(sequence, max_length=9).offsets
        read_of[name] = sequence[: spans[:, 1].max()]
    whole, cut = list(RECORDS.values()), list(read_of.values())
    assert sum(map(len, cut)) < sum(map(len, whole)) / 2
    want = predictor(cut).outputs
    np.testing.assert_allclose(predictor(whole).outputs, want, atol=1e-6)
    turned = [reverse_complement(text) for text in cut]
    both = (want + predictor(turned).outputs) / 2

    def written(config):
        predict_file(files / "x.fa", tmp_path / "p.csv", tmp_path / "cut", config)
        return read(tmp_path / "p.csv")

    for config, answers in ((PredictConfig(), want), (PredictConfig(both_strands=True), both)):
        got = [float(row["probability_yes"]) for row in written(config)]
        np.testing.assert_allclose(got, answers[:, 1], atol=1e-6)
    windows = written(PredictConfig(rows="windows"))
    assert max(int(row["end_bp"]) - int(row["start_bp"]) for row in windows) == 40
    assert max(int(row["end_bp"]) for row in windows) == max(map(len, whole))
    table = "sequence,label\n" + "".join(f"{s},{i % 2}\n" for i, s in enumerate(whole))
    (tmp_path / "t.csv").write_text(table)
    evaluate(tmp_path / "cut", tmp_path / "t.csv", tmp_path / "ev")
    got = [float(row["probability_yes"]) for row in read(tmp_path / "ev" / "predictions.csv")]
    np.testing.assert_allclose(got, want[:, 1], atol=1e-6)


def test_bases_beyond_max_length_of_one_strand_have_the_other_answer(files, tmp_path):
    """Cut to a number of tokens, the strands of a record end at different bases."""
    task = Task("bases", ("out", "in"), max_length=9)
    predictor = Predictor.load(make(tmp_path / "cut", task))
    both = PredictConfig(both_strands=True)
    predict_file(files / "x.fa", tmp_path / "p.csv", tmp_path / "cut", both)
    rows, alone = read(tmp_path / "p.csv"), 0
    for name, sequence in RECORDS.items():
        there = predictor([sequence]).outputs[:, 1]
        text = reverse_complement(sequence[: len(there)])
        back = predictor([text]).outputs[:, 1]
        want, alone = there.copy(), alone + len(there) - len(back)
        first = len(there) - len(back)
        want[first:] = (want[first:] + back[::-1]) / 2
        got = [float(row["probability_in"] or "nan") for row in rows if row["name"] == name]
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert alone > 0


def test_many_classes_are_evaluated_without_a_large_plot(tmp_path):
    names = tuple(f"species_{i:03}" for i in range(300))
    folder = make(tmp_path / "m", Task("multiclass", names, window_bp=WINDOW))
    rows = [f"{sequence},{names[i % 3]}" for i, sequence in enumerate(RECORDS.values())]
    (tmp_path / "t.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    evaluate(folder, tmp_path / "t.csv", tmp_path / "ev")
    assert {path.name for path in (tmp_path / "ev").iterdir()} == {
        "metrics.json", "predictions.csv", "confusions.csv", "curves.png",
        "report.md", "report.html",
    }  # fmt: skip
    answers = Predictor.load(folder)(list(RECORDS.values())).outputs.argmax(1)
    labels = [i % 3 for i in range(len(RECORDS))]
    wrong = Counter((names[a], names[b]) for a, b in zip(labels, answers, strict=True) if a != b)
    found = read(tmp_path / "ev" / "confusions.csv")
    assert {(r["label"], r["prediction"]): int(r["count"]) for r in found} == wrong
    counts = [int(row["count"]) for row in found]
    assert counts == sorted(counts, reverse=True)
    first = found[0]
    share = int(first["count"]) / labels.count(names.index(first["label"]))
    assert float(first["fraction_of_label"]) == pytest.approx(share)


@pytest.mark.full
def test_plots_of_many_outputs_have_a_limit(tmp_path):
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(100)))
    plot_answers(tmp_path, Task("regression", names), rng.normal(size=(5, 100)), np.ones((5, 100)))
    labels = rng.integers(0, 2, (5, 100))
    plot_answers(tmp_path, Task("multilabel", names), labels, rng.random((5, 100)))
    for path in tmp_path.iterdir():
        assert max(image.imread(path).shape) < 8000, path


def test_a_plot_that_fails_costs_no_results(files, tmp_path, monkeypatch):
    def broken(*_):
        raise MemoryError("40 GB")

    monkeypatch.setattr("dnabert2_fast.finetuning.evaluation.plot_answers", broken)
    (tmp_path / "t.csv").write_text("sequence,label\nACGT,no\nTTAA,yes\n")
    with pytest.warns(UserWarning, match=r"ev: a plot failed \(MemoryError: 40 GB\)"):
        evaluate(files / "multiclass", tmp_path / "t.csv", tmp_path / "ev")
    names = {path.name for path in (tmp_path / "ev").iterdir()}
    assert names == {"metrics.json", "predictions.csv", "report.md", "report.html"}


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [
        ("multiclass", "yes", "yes"),
        ("labels", "1;1", "a;b"),
        ("labels", "0;0", ""),
        ("numbers", "1.5", "1.5"),
        ("bases", "0.1101", ["out", ".", "in", "in", "out", "in"]),
    ],
)
def test_labels_and_predictions_have_one_form(files, tmp_path, kind, label, expected):
    table = f"id,sequence,label\nfirst,ACGTTA,{label}\nsecond,ACGTTA,{label}\n"
    (tmp_path / "t.csv").write_text(table)
    evaluate(files / kind, tmp_path / "t.csv", tmp_path / "ev")
    rows = read(tmp_path / "ev" / "predictions.csv")
    each = expected if isinstance(expected, list) else [expected]
    assert [row["label"] for row in rows] == 2 * each
    assert [row["name"] for row in rows] == ["first"] * len(each) + ["second"] * len(each)
    if kind == "bases":
        assert [row["start_bp"] for row in rows] == 2 * list("012345")
    else:
        assert {row["sequence"] for row in rows} == {"ACGTTA"}
    names = {"bases": ("out", "in"), "multiclass": ("no", "yes", "maybe")}.get(kind)
    assert names is None or {row["prediction"] for row in rows} <= {*names}


PROTEIN = "MKVLPFQWERYIPLKHDESMKVL"


def test_records_without_bases_have_no_answer(files, tmp_path):
    texts = {
        "dna": "ACGTTA",
        "gap": "N" * 200,
        "protein": PROTEIN,
        "mixed": "N" * 120 + "ACGTTA" * 20,
    }
    with pytest.warns(UserWarning, match=r"3 answers are NaN\. A sequence without"):
        got = Predictor.load(files / "multiclass")([*texts.values(), ""]).outputs
    assert np.isnan(got[:, 0]).tolist() == [False, True, True, False, True]
    # Windows without a base do not count for the mean of their record.
    windows = [softmax(slow_logits(files / "multiclass", w)) for w in ("ACGTTA" * 10,) * 2]
    np.testing.assert_allclose(got[3], np.mean(windows, 0)[0], atol=1e-6)
    (tmp_path / "x.fa").write_text("".join(f">{n}\n{s}\n" for n, s in texts.items()))
    said = r"x\.fa: letters outside .*: 'N' 320, .*more than half of 2 records: gap, protein\."
    with pytest.warns(UserWarning, match=said):
        predict_file(tmp_path / "x.fa", tmp_path / "p.csv", files / "multiclass")
    rows = read(tmp_path / "p.csv")
    assert [row["prediction"] == "" for row in rows] == [False, True, True, False]
    assert [row["probability_yes"] == "nan" for row in rows] == [False, True, True, False]


def test_rows_without_bases_are_left_out_of_scores(files, tmp_path):
    rows = ["ACGT,no", f"{PROTEIN},yes", "NNN,no", "TTAA,yes"]
    (tmp_path / "t.csv").write_text("\n".join(["sequence,label", *rows]))
    with pytest.warns(
        InputWarning, match=r"t\.csv: 2 of 4 sequences have no base and are left out"
    ):
        evaluate(files / "multiclass", tmp_path / "t.csv", tmp_path / "ev")
    assert [row["name"] for row in read(tmp_path / "ev" / "predictions.csv")] == ["0", "3"]
    (tmp_path / "t.csv").write_text(f"sequence,label\n{PROTEIN},no\n")
    with pytest.raises(DataError, match=r"t\.csv: no sequence has a base"):
        evaluate(files / "multiclass", tmp_path / "t.csv", tmp_path / "ev2")


def test_rows_of_labelled_bases_are_left_out_with_their_labels(files, tmp_path):
    (tmp_path / "t.csv").write_text("sequence,label\nACGT,0011\nNNN,111\nTTAAC,00000\n")
    table = read_labelled(tmp_path / "t.csv", Task.load(files / "bases"))
    with pytest.warns(InputWarning):
        kept = rows_with_bases(tok, table)
    assert kept.labels.tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert (kept.lengths.tolist(), kept.names) == ([4, 5], ["0", "2"])
