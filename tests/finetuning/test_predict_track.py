"""Tracks and tables of regions hold the answers of `predict` for the same windows."""

import gzip

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.dna import reverse_complement
from helpers.interrupts import stop_after
from helpers.predictors import RECORDS, WINDOW, make
from helpers.tracks import read_bedgraph

from dnabert2_fast import Dnabert2ForSequenceClassification, Predictor, predict_file
from dnabert2_fast.cli import main
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning import PredictConfig
from dnabert2_fast.finetuning import windows as predict_windows
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.finetuning.windows import bins_of
from dnabert2_fast.io.regions import Span

pyBigWig = pytest.importorskip("pyBigWig")

NAMES = ("no", "yes", "may be")
GENOME = {**RECORDS, "gap": RECORDS["r3"][:70] + "N" * 200 + RECORDS["r3"][70:]}
LENGTHS = {name: len(text) for name, text in GENOME.items()}
BED = "r3\t10\t50\ta\t0\t-\nr3\t60\t200\tb\nr6\t0\t7\t.\ngap\t60\t140\tn\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    make(folder / "classes", Task("multiclass", NAMES, window_bp=WINDOW))
    make(folder / "labels", Task("multilabel", ("a", "b"), window_bp=WINDOW))
    make(folder / "number", Task("regression", ("strength",), window_bp=WINDOW))
    make(folder / "bases", Task("bases", ("out", "in"), window_bp=WINDOW))
    make(folder / "tokens", Task("tokens", ("out", "in"), window_bp=WINDOW))
    make(folder / "pairs", Task("multiclass", ("out", "in"), pairs=True, window_bp=WINDOW))
    text = "".join(f">{n} text\n{s}\n" for n, s in GENOME.items())
    (folder / "x.fa").write_text(text)
    (folder / "x.fa.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "x.bed").write_text(BED)
    return folder


def naive(predictor, spans, stride, both_strands=False):
    """Answers per base, one window after the other, shape (bases, classes) for each record."""
    found = {name: np.full((n, len(predictor.task.names)), np.nan) for name, n in LENGTHS.items()}
    for name, start, end, strand in spans:
        window = min(WINDOW, LENGTHS[name])
        for at in range(start, end, stride):
            left = at - (window - min(stride, end - start)) // 2  # the window around the bin
            left = min(max(left, 0), LENGTHS[name] - window)
            text = GENOME[name][left : left + window]
            if 2 * sum(text.count(base) for base in "ACGT") < len(text):
                continue
            read = reverse_complement(text) if strand == "-" else text
            answer = predictor([read]).outputs
            if both_strands:
                back = predictor([reverse_complement(read)]).outputs
                answer = (answer + (back[::-1] if predictor.task.by_position else back)) / 2
            if predictor.task.by_position:
                answer = answer[::-1] if strand == "-" else answer
                answer = answer[at - left : min(at + stride, end) - left]
            found[name][at : min(at + stride, end)] = answer
    return found


def spans_of(regions):
    if not regions:
        return [(name, 0, length, "+") for name, length in LENGTHS.items()]
    rows = [[*line.split("\t"), "", "", "+"] for line in BED.splitlines()]
    return [(row[0], int(row[1]), int(row[2]), row[5] or "+") for row in rows]


@pytest.mark.parametrize(
    ("model", "regions", "stride", "both"),
    [
        ("classes", False, None, False),
        ("classes", False, 13, True),
        ("classes", True, 13, False),
        ("labels", True, None, True),
        ("number", False, 25, False),
        ("bases", False, 25, False),
        ("bases", True, None, False),
        ("bases", True, 13, True),
    ],
)
def test_a_base_has_the_answer_of_the_window_around_its_bin(
    files, tmp_path, monkeypatch, model, regions, stride, both
):
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", 3)
    predictor = Predictor.load(files / model)
    want = naive(predictor, spans_of(regions), stride or WINDOW, both)
    config = PredictConfig(
        stride_bp=stride, both_strands=both, regions=files / "x.bed" if regions else None
    )
    genome = files / ("x.fa" if regions else "x.fa.gz")
    names = [name.replace(" ", "_") for name in predictor.task.names]
    for ending in ("bw", "bedGraph"):
        windows = predict_file(genome, tmp_path / f"x.{ending}", files / model, config)
        assert windows > 3
    for number, name in enumerate(names):
        middle = f".{name}" if len(names) > 1 else ""
        got = read_bedgraph(tmp_path / f"x{middle}.bedGraph", LENGTHS)
        with pyBigWig.open(str(tmp_path / f"x{middle}.bw")) as opened:
            assert opened.chroms() == LENGTHS
            for contig, length in LENGTHS.items():
                np.testing.assert_allclose(got[contig], want[contig][:, number], atol=2e-6)
                values = opened.values(contig, 0, length)
                np.testing.assert_allclose(values, want[contig][:, number], atol=2e-6)
    assert len(list(tmp_path.iterdir())) == 2 * len(names)
    flat = np.concatenate([want[name] for name in LENGTHS])
    assert np.nanstd(flat) > 0.01
    assert np.isnan(flat).any()


def test_a_track_has_the_windows_of_the_table(files, tmp_path):
    """With the default stride windows along whole records are those of `predict --rows windows`."""
    predict_file(files / "x.fa", tmp_path / "x.bedgraph", files / "number")
    predict_file(
        files / "x.fa", tmp_path / "x.parquet", files / "number", PredictConfig(rows="windows")
    )
    got = read_bedgraph(tmp_path / "x.bedgraph", LENGTHS)
    for row in pq.read_table(tmp_path / "x.parquet").to_pylist():
        value = got[row["name"]][row["end_bp"] - 1]
        text = GENOME[row["name"]][row["start_bp"] : row["end_bp"]]
        if 2 * text.count("N") > len(text):
            assert np.isnan(value)
        else:
            assert value == pytest.approx(row["value_strength"], abs=2e-6)


@pytest.mark.parametrize("rows", ["records", "windows"])
def test_a_table_of_regions(files, tmp_path, rows):
    predictor = Predictor.load(files / "classes")
    config = PredictConfig(regions=files / "x.bed", rows=rows)
    predict_file(files / "x.fa", tmp_path / "x.parquet", files / "classes", config)
    table = pq.read_table(tmp_path / "x.parquet").to_pylist()
    want = []
    for number, (contig, start, end, strand) in enumerate(spans_of(True)):
        name = ("a", "b", "r6:0-7", "n")[number]
        rows_of_region = []
        for left, *_ in bins_of(Span("", contig, start, end), LENGTHS[contig], WINDOW, WINDOW):
            text = GENOME[contig][left : left + WINDOW]
            text = reverse_complement(text) if strand == "-" else text
            answer = predictor([text]).outputs[0]
            rows_of_region.append((name, contig, left, left + len(text), strand, answer))
        if rows == "windows":
            want += rows_of_region
        else:
            mean = np.nanmean([row[-1] for row in rows_of_region], 0)  # one is all N
            want.append((name, contig, start, end, strand, mean))
    got = [(r["name"], r["contig"], r["start_bp"], r["end_bp"], r["strand"]) for r in table]
    assert got == [row[:5] for row in want]
    for row, (*_, answer) in zip(table, want, strict=True):
        values = [row[f"probability_{name}"] for name in NAMES]
        np.testing.assert_allclose(values, answer, atol=2e-6)
        assert row["prediction"] == (None if np.isnan(answer).any() else NAMES[answer.argmax()])


@pytest.mark.parametrize("model", ["classes", "labels"])
def test_segments_are_where_a_class_is_predicted(files, tmp_path, model):
    predictor = Predictor.load(files / model)
    names = predictor.task.names
    want = naive(predictor, spans_of(False), 20)
    predict_file(files / "x.fa", tmp_path / "x.bed.gz", files / model, PredictConfig(stride_bp=20))
    for number, name in enumerate(names):
        path = tmp_path / f"x.{name.replace(' ', '_')}.bed.gz"
        assert path.read_bytes()[12:14] == b"BC"  # the extra field of bgzip
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        segments = [line.split("\t") for line in lines]
        inside = {contig: np.zeros(length, bool) for contig, length in LENGTHS.items()}
        for contig, start, end, label, score, strand in segments:
            span = slice(int(start), int(end))
            assert (label, strand) == (name, ".")
            inside[contig][span] = True
            mean = want[contig][span, number].mean()
            assert int(score) == pytest.approx(1000 * mean, abs=0.51)
        for contig, values in want.items():
            known = ~np.isnan(values[:, 0])
            best = values.argmax(1) == number if model == "classes" else values[:, number] >= 0.5
            np.testing.assert_array_equal(inside[contig], known & best)
        # Adjacent windows of one class are one segment.
        ends = {(contig, end) for contig, _, end, *_ in segments}
        assert not ends & {(contig, start) for contig, start, *_ in segments}


@pytest.mark.parametrize("name", ["x.bw", "x.bedgraph.bgz"])
def test_resuming(files, tmp_path, monkeypatch, name):
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", 3)
    (tmp_path / "out").mkdir()
    kind = Dnabert2ForSequenceClassification
    with monkeypatch.context() as patch:
        chunks = stop_after(patch, kind, "forward", 999, None)
        predict_file(files / "x.fa", tmp_path / name, files / "number")
    out = tmp_path / "out" / name
    with monkeypatch.context() as patch:
        stop_after(patch, kind, "forward", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            predict_file(files / "x.fa", out, files / "number")
    assert [path.name for path in out.parent.iterdir()] == [f"{name}.parts"]
    calls = stop_after(monkeypatch, kind, "forward", 999, None)
    predict_file(files / "x.fa", out, files / "number")
    assert len(calls) == len(chunks) - 2 > 0
    assert out.read_bytes() == (tmp_path / name).read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_progress_counts_bases_with_the_time_left(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dnabert2_fast._internal.progress.SECONDS_BETWEEN_LINES", -1.0)
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", 3)
    monkeypatch.setenv("DNABERT2_FAST_PROGRESS", "1")
    predict_file(files / "x.fa", tmp_path / "x.bw", files / "number")
    lines = capsys.readouterr().err.splitlines()
    total = sum(LENGTHS.values())
    assert lines[1].startswith("predicting: ")  # after the line of device and precision
    assert f"/{total:,} bases" in lines[1]
    assert " s left)" in lines[1]
    assert lines[-1].startswith(f"predicting: {total:,}/{total:,} bases")  # gaps included


def test_bad_requests_leave_nothing(files, tmp_path):
    (tmp_path / "overlap.bed").write_text("r3\t0\t50\nr3\t40\t60\n")
    before = set(tmp_path.iterdir())
    overlap = PredictConfig(regions=tmp_path / "overlap.bed")
    both, regions = PredictConfig(both_strands=True), PredictConfig(regions=files / "x.bed")
    bad = [
        ("number", "x.bed", None, ValueError, r"predicts numbers\. Write a \.bedgraph or \.bw"),
        ("tokens", "x.bw", None, ValueError, "one answer per token"),
        ("pairs", "x.bw", None, ValueError, "pairs of sequences"),
        ("pairs", "x.csv", regions, ValueError, "pairs of sequences"),
        ("tokens", "x.csv", both, ValueError, "both_strands: requires .* sequence or base"),
        ("classes", "x.bw", overlap, DataError, "overlap, and a track has one value per base"),
        ("classes", "x.wig", None, ValueError, r"must end in \.csv, .* \.bed for a track"),
    ]
    for model, out, config, error, message in bad:
        with pytest.raises(error, match=message):
            predict_file(files / "x.fa", tmp_path / out, files / model, config or PredictConfig())
    make(tmp_path / "twice", Task("multiclass", ("a b", "a_b"), window_bp=WINDOW))
    with pytest.raises(ValueError, match=r"two classes have the file x\.a_b\.bw"):
        predict_file(files / "x.fa", tmp_path / "x.bw", tmp_path / "twice")
    assert set(tmp_path.iterdir()) == {*before, tmp_path / "twice"}


def test_on_the_command_line(files, tmp_path, capsys):
    out = tmp_path / "x.bedgraph"
    arguments = ["predict", str(files / "classes"), str(files / "x.fa"), "--out", str(out)]
    arguments += ["--regions", str(files / "x.bed"), "--both-strands", "--device", "cpu"]
    assert main([*arguments, "--stride-bp", "30"]) == 0
    names = [str(tmp_path / f"x.{name}.bedgraph") for name in ("no", "yes", "may_be")]
    assert capsys.readouterr().out == f"{', '.join(names)}: 8 windows\n"
