"""Commands with ``--ray``: the output of one process, one line for an error, 130 for Ctrl-C."""

import signal
import sys
from contextlib import nullcontext

import pytest
from helpers.processes import Program, run_cli
from helpers.ray_inputs import contents, four_species, one_after_the_other

from dnabert2_fast import cli
from dnabert2_fast.ray import corpus, tasks


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, and every address is a cluster."""
    monkeypatch.setattr(tasks, "connected", lambda _: nullcontext())
    monkeypatch.setattr(corpus, "each", one_after_the_other)


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    return (code, *capsys.readouterr())


def build(folder, out):
    """Return the command for the files of a folder, each of them a species and a unit."""
    lines = ["path\tspecies", *(f"{path.name}\t{path.stem}" for path in folder.glob("*.fa"))]
    (folder / "files.tsv").write_text("\n".join(lines))
    options = ("--window-bp", 200, "--shard-tokens", 4096)
    return ("build-corpus", "--manifest", folder / "files.tsv", "--out", out, *options)


def test_build_corpus(here, tmp_path, capsys):
    four_species(tmp_path, 1_000)
    _, want, _ = run(capsys, *build(tmp_path, tmp_path / "one"))
    code, got, _ = run(capsys, *build(tmp_path, tmp_path / "two"), "--ray", "auto")
    assert (code, got.replace("two", "one")) == (0, want)
    there = (tmp_path / "three").as_uri()
    code, got, _ = run(capsys, *build(tmp_path, there), "--ray", "auto")
    assert (code, got.partition(":")[2].partition(":")[2]) == (0, want.partition(":")[2])
    whole = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "three") == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("build-corpus", "x.fa", "--out", "c", "--ray", "auto", "--merge"), "--ray: cannot be"),
        (("build-corpus", "none.fa", "--out", "c", "--ray", "auto"), "/none.fa: No such file"),
        (("build-corpus", "s3://x.fa", "--out", "c", "--ray", "auto"), "s3:/x.fa: is a URL"),
        (("build-corpus", "zip://x.fa", "--out", "s3://c", "--ray", "auto"), "zip://x.fa: "),
    ],
)
def test_one_line(here, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not any(tmp_path.iterdir())


def test_without_ray(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    four_species(tmp_path, 1_000)
    code, _, err = run(capsys, *build(tmp_path, tmp_path / "c"), "--ray", "auto")
    assert (code, err) == (2, 'error: --ray needs ray: pip install "dnabert2-fast[ray]"\n')


@pytest.mark.full
def test_on_a_cluster(cluster, tmp_path):
    four_species(tmp_path, 1_000)
    bad = tmp_path / "bad.fa"
    bad.write_text(">a\nAC\0GT\n")
    ended = run_cli(*build(tmp_path, "c"), "--ray", cluster, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.startswith(f'error: {bad}:2: record "a": there is a NUL')
    assert ended.stderr.count("\n") == 1
    bad.unlink()
    build(tmp_path, "d")
    words = ("build-corpus", "--manifest", "files.tsv", "--out", "d", "--ray", cluster)
    ended = run_cli(*words, cwd=tmp_path, env={"DNABERT2_FAST_PROGRESS": None})
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("building corpus: 4/4 tasks")
    assert (tmp_path / "d" / "corpus.json").exists()


@pytest.mark.full
def test_interrupted(cluster, tmp_path):
    four_species(tmp_path, 60_000)
    words = build(tmp_path, tmp_path / "c")
    with Program("-m", "dnabert2_fast.cli", *words, "--ray", cluster, cwd=tmp_path) as program:
        program.wait_for(lambda: any(tmp_path.glob(".c.building/unit-*/journal.jsonl")))
        program.send_signal(signal.SIGINT)
        ended = program.ended()
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.startswith(f"interrupted: finished shards are kept in {tmp_path}/.c.bu")
    assert run_cli(*words, cwd=tmp_path).returncode == 0
    assert run_cli(*build(tmp_path, tmp_path / "d"), cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "c") == contents(tmp_path / "d")
