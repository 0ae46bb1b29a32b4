"""Benchmarks as data: the harness compares before it times, and the pages show the records."""

import functools
import json
import re
import socket
import sys

import pytest
from helpers.project import ROOT

BENCHES = ROOT / "benches"


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)
    import _harness

    return _harness


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)
    import report

    return report


@pytest.fixture
def bench(harness, tmp_path):
    command = ["--rounds", "3", "--results", str(tmp_path)]
    return harness.Bench("sample", harness.arguments("", genome=False).parse_args(command))


def lines(bench):
    return [json.loads(line) for line in bench.path.read_text().splitlines()]


def test_pages_show_the_newest_records(report):
    rows = report.newest()
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- results: " in text, page
        assert report.render(text, rows) == text, f"{page} is stale: run python benches/report.py"


def test_the_first_screen_has_the_figure_of_the_table(report):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (claimed,) = re.findall(r"(\d+) times `tokenizers` 0\.\d+ on one thread", text)
    (row,) = [line for line in text.splitlines() if line.startswith("| Tokenizing 1 kb pieces")]
    assert row.split("|")[2].strip() == claimed


def test_outputs_that_differ_are_not_timed(harness, bench):
    calls = []

    def ours():
        calls.append("ours")
        return [1, 2]

    peer = harness.Peer("other", lambda: [1, 3], harness.identical)
    with pytest.raises(SystemExit, match="the outputs differ"):
        bench.compare("a case", ours, peer)
    assert calls == ["ours"]
    assert not bench.path.exists()


def test_a_comparison_is_one_line_with_everything(harness, bench):
    draws = iter(range(10))
    peer = harness.Peer("numpy", lambda n: sum(range(20_000)) + n, harness.identical)
    bench.compare(
        "adding",
        lambda n: sum(range(20_000)) + n,
        peer,
        draw=lambda: (next(draws),),
        amount=(0.02, "Mbases"),
        goal=0.1,
    )
    (row,) = lines(bench)
    assert next(draws) == 4  # one draw to compare, three to time
    assert set(row) == {
        "bench", "case", "metric", "unit", "median", "quartiles", "n", "peer", "peer_version",
        "ratio", "ratio_quartiles", "goal", "same_output", "commit", "date", "machine", "versions",
        "load", "source",
    }  # fmt: skip
    assert row["unit"] == "Mbases/s"
    assert row["quartiles"][0] <= row["median"] <= row["quartiles"][1]
    assert row["n"] == 3
    assert row["same_output"] == "identical"
    assert row["peer_version"] == sys.modules["numpy"].__version__
    assert row["load"] >= 0
    assert row["versions"]["build"] in ("debug", "editable", "release")
    assert socket.gethostname() not in bench.machine["name"]
    assert bench.path.parent.name == row["machine"]["name"]


def test_a_ratio_above_one_means_that_ours_is_better(harness, bench):
    slower = harness.Theirs("peer", None, [2.0, 6.0])
    bench.record("time", "CPU time", "s", [1.0, 2.0], slower)
    bench.record("rate", "CPU time", "Mbases/s", [8.0, 8.0], harness.Theirs("peer", None, [2.0]),
                 higher=True)  # fmt: skip
    bench.record("alone", "memory", "MB", [5.0])
    time, rate, alone = lines(bench)
    assert (time["ratio"], time["ratio_quartiles"]) == (2.5, [2.25, 2.75])
    assert rate["ratio"] == 4.0
    assert (alone["ratio"], alone["quartiles"]) == (None, None)


@pytest.mark.parametrize(
    ("same", "near", "far"),
    [
        ("within", [1.0, 2.0001], [1.0, float("nan")]),
        ("aligned", [[2.0, 4.0]], [[-1.0, 0.0]]),
    ],
)
def test_near_outputs_are_described_and_far_ones_refused(harness, same, near, far):
    ours = [1.0, 2.0] if same == "within" else [[1.0, 2.0]]
    check = getattr(harness, same)(0.001 if same == "within" else 0.99)
    assert re.search("difference 1.0e-04|cosine 1.00000", check(ours, near))
    with pytest.raises(SystemExit, match=r"differ|cosine"):
        check(ours, far)


def test_a_process_of_its_own(harness):
    cost = harness.alone(functools.partial, bytearray, 50_000_000)
    assert len(cost.value) == 50_000_000
    assert 50_000_000 <= cost.peak < 90_000_000


def test_the_newest_record_of_a_case_is_shown(report, tmp_path):
    row = {"bench": "b", "case": "c", "metric": "CPU time", "peer": "p", "unit": "s",
           "median": 1.0, "quartiles": None, "peer_version": "1", "ratio": 3.0,
           "ratio_quartiles": None, "goal": 5, "same_output": "identical", "load": 0.0,
           "source": "measured", "machine": {"name": "m"}, "date": "2026-01-02T00:00:00Z",
           }  # fmt: skip
    for machine, changes in (("m", {}), ("n", {"date": "2026-01-01", "ratio": 7.0})):
        folder = tmp_path / machine
        folder.mkdir()
        (folder / "b.jsonl").write_text(json.dumps(row | changes) + "\n")
    rows = report.newest(tmp_path)
    text = report.render("a\n<!-- results: b -->old<!-- /results -->\nz\n", rows)
    assert "| c | CPU time | 3 | p 1 | 1 s | identical | 2026-01-02 | m | 0.0 |" in text
    assert "old" not in text
    assert report.render(text, rows) == text
    missed = report.render("<!-- results: missed --><!-- /results -->", rows)
    assert "| b | c | CPU time | p 1 | 5 | 3 |" in missed
    with pytest.raises(SystemExit, match="there is no record"):
        report.render("<!-- results: other --><!-- /results -->", rows)


def test_the_example_of_the_harness_runs(harness, monkeypatch, tmp_path):
    example = harness.__doc__.split("twenty lines:\n\n")[1].split("\n\n`Bench")[0]
    script = tmp_path / "reverse.py"
    script.write_text("\n".join(line[4:] for line in example.splitlines()))
    (tmp_path / "x.fa").write_text(">x\n" + "ACGT" * 1000 + "\n")
    results = tmp_path / "results"
    monkeypatch.setattr(
        sys, "argv", ["reverse.py", str(tmp_path / "x.fa"), "--results", str(results)]
    )
    code = compile(script.read_text(), str(script), "exec")
    exec(code, {"__name__": "__main__", "__doc__": ""})
    (record,) = results.glob("*/reverse.jsonl")
    assert json.loads(record.read_text())["peer"] == "reversed"


def test_a_genome_that_is_too_small(harness, tmp_path):
    (tmp_path / "x.fa").write_text(">x\nACGTNNAC\n")
    assert harness.read_bases(tmp_path / "x.fa") == "ACGTAC"
    with pytest.raises(SystemExit, match="got 6 bases, expected at least 7"):
        harness.read_bases(tmp_path / "x.fa", 7)
