"""The benchmark runs the sets that exist, resumes after a stop, and reports what it ran."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from matplotlib import image

from dnabert2_fast import Dnabert2Config, Dnabert2ForMaskedLM, Tokenizer, cli
from dnabert2_fast.benchmark import GueConfig, gue, gue_report, systems
from dnabert2_fast.benchmark.epochs import Fit
from dnabert2_fast.benchmark.sets import SETS, TASKS, find_set, sets_of
from dnabert2_fast.benchmark.summary import Result, published_sets, summarise, top_two
from dnabert2_fast.errors import CheckpointError, DataError

# A random model that has seen 24 rows may well give one answer to all.
pytestmark = pytest.mark.filterwarnings("ignore:.*collapsed")

QUICK = Fit(epochs=1, batch_size=16, learning_rate=3e-3, warmup_steps=2)


ROWS = {"train": 24, "dev": 12, "test": 12}


def write(folder, classes, seed, pairs=False):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for split, rows in ROWS.items():
        lines = ["sequence1,sequence2,label" if pairs else "sequence,label"]
        for i in range(rows):
            weights = np.full(4, 0.2)
            weights[i % classes] += 0.2
            texts = ["".join(rng.choice(list("ACGT"), 40, p=weights)) for _ in range(1 + pairs)]
            lines.append(",".join([*texts, str(i % classes)]))
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three sets, one of them under another name, and one without training rows."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "GUE" / "mouse" / "0", 2, 1)
    write(folder / "GUE" / "virus_covid", 3, 2)
    write(folder / "EPI" / "0", 2, 3, pairs=True)
    write(folder / "EMP" / "H3", 2, 4)
    (folder / "EMP" / "H3" / "train.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    torch.manual_seed(0)
    shape = Dnabert2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=16
    )
    Dnabert2ForMaskedLM(shape).save_pretrained(folder)
    Tokenizer.from_pretrained("dnabert2").save(folder / "tokenizer.json")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Train the network for one epoch, and replace the plots by tiny files."""
    plain = systems.CnnSystem
    monkeypatch.setattr(
        "dnabert2_fast.benchmark.gue_run.CnnSystem", lambda device: plain(device, QUICK)
    )
    for name in ("plot_sets", "plot_tasks"):
        monkeypatch.setattr(gue_report, name, lambda summary, path: image.imsave(path, [[0]]))


@pytest.fixture(scope="module")
def config(data, model, tmp_path_factory):
    return GueConfig(
        data=str(data),
        out=str(tmp_path_factory.mktemp("out") / "gue"),
        model=(str(model),),
        modes=("frozen",),
        seeds=2,
        epochs=1,
    )


@pytest.fixture(scope="module")
def done(config):
    with pytest.MonkeyPatch.context() as patch:
        plain = systems.CnnSystem
        patch.setattr(
            "dnabert2_fast.benchmark.gue_run.CnnSystem", lambda device: plain(device, QUICK)
        )
        for name in ("plot_sets", "plot_tasks"):
            patch.setattr(gue_report, name, lambda summary, path: image.imsave(path, [[0]]))
        return gue(config)


def test_the_sets_are_those_of_the_paper():
    count = {task.name: sum(one.task == task.name for one in SETS) for task in TASKS}
    assert count == {
        **{"EMP": 10, "TF-M": 5, "CVC": 1, "TF-H": 5, "PD": 3, "CPD": 3, "SSP": 1},
        **{"SC-F": 1, "SC-V": 1, "EPI": 6},
    }
    assert [one.name for one in SETS if one.metric == "f1"] == ["virus/covid"]
    assert {one.name for one in SETS if one.pairs} == {f"EPI/{i}" for i in range(6)}
    assert len({name for one in SETS for name in (one.name, *one.aliases)}) == sum(
        1 + len(one.aliases) for one in SETS
    )
    with pytest.raises(ValueError, match=r'tasks: must be sets .* \(got "mouse/7"\)'):
        sets_of(["mouse/7"])


def test_tasks_of_the_slides(shared):
    with (shared / "paper" / "gue_tasks.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    titles = {"Splice Site Detection": "Splice Site Prediction"}  # of the paper's other table
    for row in rows:
        title = titles.get(row["task"], row["task"])
        task = next(t for t in TASKS if (t.title, t.species) == (title, row["species"]))
        inside = [one for one in SETS if one.task == task.name]
        assert task.benchmark == row["benchmark"]
        assert len(inside) == int(row["datasets"])
        assert {one.classes for one in inside} == {int(row["classes"])}
        assert {one.length_bp for one in inside} == {int(row["sequence_bp"])}


def test_real_sets_have_the_classes_and_lengths_of_the_table(shared):
    there = 0
    for one in SETS:
        folder, why = find_set(shared / "data" / "gue", one)
        there += folder is not None
        assert (folder is None) == (why in ("no such folder", "no train.csv"))
    assert there == 9


def test_results(done, config, data):
    names = ["k-mers", "CNN", "tiny frozen"]
    assert {one.set for one in done.results} == {"mouse/0", "virus/covid", "EPI/0"}
    assert sorted({one.system for one in done.results}) == sorted(names)
    seeds = {n: {one.seed for one in done.results if one.system == n} for n in names}
    assert seeds == {n: {42} if n == "k-mers" else {42, 43} for n in names}
    assert done.skipped["EMP/H3"] == "no train.csv"
    assert done.skipped["splice/reconstructed"] == "no such folder"
    assert len(done.skipped) == 33
    for one in done.results:
        assert one.rows == ROWS
        wanted = "f1" if one.set == "virus/covid" else "mcc"
        assert one.score == 100 * one.metrics["test"][wanted]
        assert 0 < one.flops < one.reference_flops
        assert 0 < one.trained <= one.parameters
    assert not (done.folder / "unfinished").exists()


def test_ways_of_training(config, tmp_path):
    modes = ("frozen", "lora", "full")
    some = {"tasks": ("mouse/0",), "systems": ("model",), "modes": modes, "seeds": 1}
    done = gue(GueConfig(**{**vars(config), **some, "out": str(tmp_path / "out")}))
    trained = {one.system: one.trained for one in done.results}
    assert list(trained) == ["k-mers", *sorted(f"tiny {mode}" for mode in modes)]
    assert trained["tiny frozen"] < trained["tiny lora"] < trained["tiny full"]
    assert trained["tiny full"] == done.results[-2].parameters


def done_sets(done):
    return sorted({one.set for one in done.results})


def test_report(done):
    text = (done.folder / "report.md").read_text()
    assert "2 of the 28 sets of GUE have results." in text
    assert "EMP/H3 (no train.csv)" in text
    assert "(1 of 5)" in text  # mouse/0 of TF-M
    assert "(2 of 28)" in text
    row = next(line for line in text.splitlines() if "mean of the 3 sets that all ran" in line)
    means = [
        np.mean([summarise(done.results).scores[system, name].mean for name in done_sets(done)])
        for system in ("k-mers", "CNN", "tiny frozen")
    ]
    cells = [cell.strip(" *") for cell in row.split("|")[5:8]]
    assert cells == [f"{mean:.2f}" for mean in means]
    with (done.folder / "scores.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        if row["source"] == "paper":
            assert float(row["score"]) == published_sets()[row["system"]][row["set"]]
            continue
        files = (done.folder / "results" / row["set"].replace("/", "-")).glob(
            row["system"].replace(" ", "-") + "/*.json"
        )
        runs = [json.loads(file.read_text())["metrics"]["test"][row["metric"]] for file in files]
        assert float(row["score"]) == pytest.approx(100 * np.mean(runs), abs=1e-3)
        if len(runs) > 1:
            spread = 100 * np.std(runs, ddof=1)
            assert float(row["deviation"]) == pytest.approx(spread, abs=1e-3)
        assert int(row["runs"]) == len(runs)
    assert sum(row["source"] == "paper" for row in rows) == 10 + 2  # covid; EPI/0


def test_pictures(done, tmp_path, monkeypatch):
    monkeypatch.undo()
    shutil.copytree(done.folder / "results", tmp_path / "results")
    gue_report.write_report(tmp_path, done.skipped)
    for picture in ("tasks.png", "sets.png"):
        assert (tmp_path / picture).stat().st_size > 10_000
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert page.count("<table>") == 6
    for name in ("report.md", "scores.csv"):
        assert (tmp_path / name).read_bytes() == (done.folder / name).read_bytes()


def test_it_goes_on(done, config, monkeypatch):
    """What is there is left alone, what is gone comes again, the same."""
    files = sorted((done.folder / "results").rglob("*.json"))
    assert len(files) == 3 * 5
    before = {file: (file.read_text(), file.stat().st_mtime_ns) for file in files}
    gone = next(f for f in files if f.parts[-3:] == ("mouse-0", "tiny-frozen", "seed-43.json"))
    gone.unlink()
    gue(config)
    assert sorted((done.folder / "results").rglob("*.json")) == files
    for file in files:
        text, time = before[file]
        assert file.read_text() == text
        assert (file.stat().st_mtime_ns == time) == (file != gone)


def test_a_stop_keeps_what_is_done(config, tmp_path, monkeypatch):
    stopped = GueConfig(config.data, str(tmp_path / "out"), tasks=("GUE",), systems=("cnn",))
    run = systems.CnnSystem.run

    def until_covid(self, case, seed, work):
        if case.spec.name == "virus/covid":
            raise KeyboardInterrupt
        return run(self, case, seed, work)

    monkeypatch.setattr(systems.CnnSystem, "run", until_covid)
    with pytest.raises(KeyboardInterrupt):
        gue(stopped)
    assert "1 of the 28 sets" in (tmp_path / "out" / "report.md").read_text()
    monkeypatch.setattr(systems.CnnSystem, "run", run)
    assert len(gue(stopped).results) == 4
    assert "2 of the 28 sets" in (tmp_path / "out" / "report.md").read_text()


def test_other_settings_and_other_data_are_refused(config, done, data, tmp_path):
    with pytest.raises(CheckpointError, match=r"other settings: epochs 1 \(requested 2\)"):
        gue(GueConfig(**{**vars(config), "epochs": 2}))
    shutil.copytree(data / "GUE" / "mouse", tmp_path / "mouse")
    one = GueConfig(str(tmp_path), str(tmp_path / "out"), systems=())
    gue(one)
    table = tmp_path / "mouse" / "0" / "dev.csv"
    table.write_text(table.read_text() + "ACGT,1\n")
    with pytest.raises(CheckpointError, match="other settings: data_sha256"):
        gue(one)
    next((tmp_path / "out" / "results").rglob("*.json")).write_text("{")
    with pytest.raises(CheckpointError, match=r"damaged\. Delete it"):
        gue(one)


def test_bad_input(data, model, tmp_path):
    out = str(tmp_path / "out")
    with pytest.raises(DataError, match="contains none of the sets"):
        gue(GueConfig(str(tmp_path), out))
    with pytest.raises(ValueError, match="tiny full occurs twice"):
        gue(GueConfig(str(data), out, model=(str(model), str(model))))
    with pytest.raises(ValueError, match=r"seeds: must be at least 1 \(got 0\)"):
        gue(GueConfig(str(data), out, seeds=0))
    shutil.copytree(data / "EPI" / "0", tmp_path / "mouse" / "1")
    with pytest.raises(DataError, match="mouse/1 must have one sequence per row"):
        gue(GueConfig(str(tmp_path), out))
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        gue(GueConfig(str(data), out, model=(str(data),), tasks=("mouse/0",), systems=("model",)))
    both = (str(model), str(tmp_path / "absent"))
    with pytest.raises(CheckpointError, match="absent"):
        gue(GueConfig(str(data), out, model=both, tasks=("mouse/0",), modes=("frozen",)))
    assert not list((tmp_path / "out").rglob("*.json"))  # nothing was trained before the error


def test_command(data, tmp_path, capsys):
    arguments = ["--data", str(data), "--out", str(tmp_path / "out"), "--systems", "kmers"]
    assert cli.main(["gue", *arguments, "--tasks", "mouse/0", "EMP/H3"]) == 0
    out, err = capsys.readouterr()
    assert "mouse/0\tk-mers\tseed 42\t" in out
    assert "skipped EMP/H3: no train.csv" in err
    assert cli.main(["gue", *arguments, "--tasks", "rat"]) == 2
    assert '(got "rat")' in capsys.readouterr().err


def test_averages_over_all_sets_count_among_the_papers():
    """A system with every set of a task is counted among the published ones."""
    filled = {"flops": 1.0, "tokens": None, "reference_flops": 1.0, "rows": {"train": 1}}
    results = [
        Result(
            system="k-mers",
            set=one.name,
            seed=0,
            settings={},
            metrics={"test": {"mcc": i / 10, "f1": 0.0}},
            parameters=1,
            trained=1,
            **filled,
        )
        for i, one in enumerate(s for s in SETS if s.task in ("TF-M", "CVC"))
    ]
    summary = summarise(results)
    average = summary.task("k-mers", "TF-M")
    assert average.complete
    assert average.mean == pytest.approx(20)
    assert summary.task("k-mers", "EMP") is None
    assert summary.whole("k-mers") == (pytest.approx(100 / 6), 6, 28)
    assert top_two([{"a": 1.0, "k-mers": average.mean, "b": 30.0}])["k-mers"] == (0, 1)


def test_the_published_kmer_baseline(shared, tmp_path):
    """k-mers on mouse/2 score what was found before with scikit-learn's own vectorizer."""
    with (shared / "paper" / "kmer_baseline.csv").open(newline="") as handle:
        want = next(row for row in csv.DictReader(handle) if row["dataset"] == "mouse/2")
    done = gue(
        GueConfig(
            str(shared / "data" / "gue"), str(tmp_path / "out"), tasks=("mouse/2",), systems=()
        )
    )
    assert done.results[0].score == pytest.approx(100 * float(want["mcc_k1to6"]), abs=1)
    assert done.results[0].metrics["test"]["auroc"] == pytest.approx(
        float(want["auc_k1to6"]), abs=0.002
    )
