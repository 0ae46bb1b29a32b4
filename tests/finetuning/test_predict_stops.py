"""A stopped run of `predict` resumes, and ends with the same bytes."""

import pytest
from helpers.interrupts import stop_after
from helpers.predictors import RECORDS, WINDOW, make

from dnabert2_fast import (
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
    predict_file,
)
from dnabert2_fast.errors import FastaError
from dnabert2_fast.finetuning import PredictConfig
from dnabert2_fast.finetuning import windows as predict_windows
from dnabert2_fast.finetuning.task import Task

# A chunk of three windows is one batch.
MODELS = {"multiclass": Dnabert2ForSequenceClassification, "bases": Dnabert2ForTokenClassification}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", 3)
    make(tmp_path / "multiclass", Task("multiclass", ("no", "yes", "maybe"), window_bp=WINDOW))
    make(tmp_path / "bases", Task("bases", ("out", "in"), window_bp=WINDOW))
    (tmp_path / "x.fa").write_text("".join(f">{n} text\n{s}\n" for n, s in RECORDS.items()))
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize(
    ("task", "name", "rows"),
    [
        ("multiclass", "p.csv", "records"),
        ("multiclass", "p.parquet", "windows"),
        ("bases", "p.csv", "records"),
    ],
)
def test_going_on(files, monkeypatch, error, task, name, rows):
    with monkeypatch.context() as patch:
        chunks = stop_after(patch, MODELS[task], "forward", 99, None)
        written = predict_file(files / "x.fa", files / name, files / task, PredictConfig(rows=rows))
    want, out = (files / name).read_bytes(), files / "out" / name
    with monkeypatch.context() as patch:
        stop_after(patch, MODELS[task], "forward", 2, error)
        with pytest.raises(type(error)):
            predict_file(files / "x.fa", out, files / task, PredictConfig(rows=rows))
    assert [path.name for path in out.parent.iterdir()] == [f"{name}.parts"]
    calls = stop_after(monkeypatch, MODELS[task], "forward", 99, None)
    assert predict_file(files / "x.fa", out, files / task, PredictConfig(rows=rows)) == written
    assert len(calls) == len(chunks) - 2 > 0
    assert out.read_bytes() == want
    assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize("change", ["stride", "model", "task", "file"])
def test_other_settings_start_afresh(files, monkeypatch, change):
    folder, out = files / "multiclass", files / "out" / "p.csv"
    with monkeypatch.context() as patch:
        stop_after(patch, MODELS["multiclass"], "forward", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            predict_file(files / "x.fa", out, folder)
    config = PredictConfig()
    if change == "stride":
        config = PredictConfig(stride_bp=30)
    elif change == "model":
        make(folder, Task("multiclass", ("no", "yes"), window_bp=WINDOW))
    elif change == "task":
        Task("multilabel", ("no", "yes", "maybe"), window_bp=WINDOW).save(folder)
    else:
        (files / "x.fa").write_text((files / "x.fa").read_text().replace("A", "C"))
    predict_file(files / "x.fa", out, folder, config)
    predict_file(files / "x.fa", files / "p.csv", folder, config)
    assert out.read_bytes() == (files / "p.csv").read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["p.csv"]


def test_from_a_damaged_file_nothing_is_left(files):
    (files / "x.fa").write_text((files / "x.fa").read_text() + ">cut\nAC\0GT\n")
    with pytest.raises(FastaError, match="NUL byte"):
        predict_file(files / "x.fa", files / "out" / "p.csv", files / "multiclass")
    assert not list((files / "out").iterdir())
