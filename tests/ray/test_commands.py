"""Commands with ``--ray``: the output of one process, one line for an error, 130 for Ctrl-C."""

import random
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.predictors import make
from helpers.processes import Program, run_cli
from helpers.ray_inputs import contents, four_species, one_after_the_other, one_killed_after, tok

from dnabert2_fast import Dnabert2Config, Dnabert2ForMaskedLM, cli, predict_file
from dnabert2_fast._internal.extras import install
from dnabert2_fast.finetuning import windows as predict_windows
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.genomics import ScoringConfig, score_vcf
from dnabert2_fast.genomics.embedding import file as embedding_file
from dnabert2_fast.genomics.loading import load_model
from dnabert2_fast.genomics.variants import vcf_file
from dnabert2_fast.ray import corpus, tasks


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, and every address is a cluster."""
    monkeypatch.setattr(tasks, "connected", lambda _: nullcontext())
    monkeypatch.setattr(tasks.RayTasks, "of_cluster", lambda _: tasks.RayTasks(3))
    for module in (corpus, tasks):
        monkeypatch.setattr(module, "each", one_after_the_other)


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
    _, local, _ = run(capsys, *build(tmp_path, tmp_path / "one"))
    code, got, _ = run(capsys, *build(tmp_path, tmp_path / "two"), "--ray", "auto")
    assert (code, got.replace("two", "one")) == (0, local)
    there = (tmp_path / "three").as_uri()
    code, got, _ = run(capsys, *build(tmp_path, there), "--ray", "auto")
    assert (code, got.partition(":")[2].partition(":")[2]) == (0, local.partition(":")[2])
    whole = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == contents(tmp_path / "three") == whole


def applied(folder):
    """Return the commands that apply a model to files, each with several chunks."""
    make(folder / "classifier", Task("multiclass", ("no", "yes"), window_bp=60))
    letters = "".join(random.Random(1).choices("ACGT", k=3_000))
    (folder / "genome.fa").write_text(f">chr1\n{letters}\n")
    (folder / "x.fa").write_text("".join(f">{n}\n{letters[n : n + 90]}\n" for n in range(40)))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    bases = ((at, letters[at - 1]) for at in range(100, 2_900, 100))
    lines += [f"chr1\t{at}\t.\t{base}\t{'CA'[base == 'C']}\t.\t.\t." for at, base in bases]
    (folder / "x.vcf").write_text("\n".join([*lines, ""]))
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 16}
    Dnabert2ForMaskedLM(Dnabert2Config(num_hidden_layers=1, **sizes)).save_pretrained(folder / "m")
    tok.save(folder / "m" / "tokenizer.json")
    scoring = ("--model", "m", "--reference", "genome.fa", "--window-bp", 64)
    return {
        "v.npy": ("embed", "x.fa", "--model", "m"),
        "p.csv": ("predict", "classifier", "x.fa"),
        "w.parquet": ("predict", "classifier", "x.fa", "--rows", "windows"),
        "s.vcf": ("score-variants", "x.vcf", *scoring),
    }


def small_chunks(monkeypatch):
    monkeypatch.setattr(embedding_file, "CHUNK_SEQUENCES", 16)
    monkeypatch.setattr(predict_windows, "CHUNK_WINDOWS", 16)
    monkeypatch.setattr(vcf_file, "CHUNK_RECORDS", 8)


def test_results_are_those_of_one_process(here, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_chunks(monkeypatch)
    for out, words in applied(tmp_path).items():
        code, local, err = run(capsys, *words, "--out", out)
        assert code == 0, err
        code, got, err = run(capsys, *words, "--out", f"ray-{out}", "--ray", "auto")
        assert code == 0, err
        assert got.startswith(f"ray-{local.partition(' (')[0].partition(' of ')[0].strip()}")
        assert (tmp_path / f"ray-{out}").read_bytes() == (tmp_path / out).read_bytes(), out
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("out", ["p.csv", "s.vcf"])
def test_parts(out, tmp_path, monkeypatch, capsys):
    """A part computes its own chunks only; the whole call computes those that are missing."""
    monkeypatch.chdir(tmp_path)
    small_chunks(monkeypatch)
    run(capsys, *applied(tmp_path)[out], "--out", out)
    there = tmp_path / "there" / out
    there.parent.mkdir()

    def work(part):
        if out == "p.csv":
            return predict_file(tmp_path / "x.fa", there, tmp_path / "classifier", part=part)
        model, tok = load_model("m")
        config = ScoringConfig(window_bp=64)
        given = (tmp_path / "x.vcf", tmp_path / "genome.fa", model, tok, there, config)
        return score_vcf(*given, part=part)

    work((2, 3))
    chunks = there.with_name(f"{out}.parts")
    numbers = sorted(int(path.stem) for path in chunks.glob("*.npy"))
    assert numbers
    assert all(number % 3 == 1 for number in numbers)
    work(None)
    assert there.read_bytes() == (tmp_path / out).read_bytes()
    assert not chunks.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("build-corpus", "x.fa", "--out", "c", "--ray", "auto", "--merge"), "--ray: cannot be"),
        (("build-corpus", "none.fa", "--out", "c", "--ray", "auto"), "/none.fa: No such file"),
        (("build-corpus", "s3://x.fa", "--out", "c", "--ray", "auto"), "s3:/x.fa: is a URL"),
        (
            ("embed", "s3://x.fa", "--out", "v.npy", "--ray", "auto", "--part", "1/2"),
            "--ray: cannot",
        ),
        (("predict", "m", "x.fa", "--out", "x.bw", "--ray", "auto"), "--out: must be a table"),
        (("predict", "m", "s3://x.fa", "--out", "x.csv", "--ray", "auto"), "s3:/x.fa: is a URL"),
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
    assert (code, err) == (2, f"error: --ray needs ray: {install('ray')}\n")


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
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_a_worker_is_killed(cluster, tmp_path, capsys, monkeypatch):
    """The worker dies with a chunk computed; the others and its next one finish the work."""
    monkeypatch.chdir(tmp_path)
    words = (*applied(tmp_path)["s.vcf"], "--out")
    lines = (tmp_path / "x.vcf").read_text().splitlines(keepends=True)
    (tmp_path / "x.vcf").write_text("".join(lines[:2] + lines[2:] * 200))
    assert run(capsys, *words, "one.vcf")[0] == 0
    with one_killed_after(lambda: any(tmp_path.glob("two.vcf.parts/0*.npy"))):
        ended = run_cli(*words, "two.vcf", "--ray", cluster, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "two.vcf").read_bytes() == (tmp_path / "one.vcf").read_bytes()


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
