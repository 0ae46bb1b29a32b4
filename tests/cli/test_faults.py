"""Full disks, folders that cannot be written, signals, and many processes and threads at once.

Kills at random moments are in ``benches/faults.py``, which does it as often as one likes.
"""

import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.children import use_live_objects
from helpers.processes import Program, run, run_cli

from dnabert2_fast import (
    Corpus,
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Tokenizer,
    _native,
    build_corpus,
    cli,
    read_fasta,
)
from dnabert2_fast._internal.atomic import atomic_folder, atomic_path
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CorpusError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")

tok = Tokenizer.from_pretrained("dnabert2")
LETTERS = "ACGTTGCATTAGCCATTACGG" * 3000


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text("".join(f">r{i}\n{LETTERS[i:]}\n" for i in range(8)))
    return path


BUILD = ("build-corpus", "g.fa", "--out", "c", "--window-bp", "100", "--threads", "1")
TOKENIZE = ("train-tokenizer", "g.fa", "--out", "t.json", "--vocab-size", "300", "--threads", "1")


@pytest.mark.parametrize(("line", "limit"), [(BUILD, 20_000), (TOKENIZE, 2_000)])
def test_a_disk_that_fills_up_is_one_line_and_nothing_half_written(fasta, tmp_path, line, limit):
    ended = run_cli(*line, cwd=tmp_path, max_file_bytes=limit)
    assert ended.returncode == 2
    lines = [text for text in ended.stderr.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1
    assert "File too large" in lines[0]
    out = tmp_path / line[3]
    assert not out.exists()
    assert run_cli(*line, cwd=tmp_path).returncode == 0
    assert out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", line[3]}


@pytest.mark.parametrize(
    "line",
    [
        "train-tokenizer g.fa --vocab-size 300 --out {0}",
        "tokenize g.fa --out {0}.tsv",
        "info {1} --on g.fa --plot {0}.png",
        "vocab-sizes g.fa --largest 256 --out {0}/x",
        "embed g.fa --model none --out {0}.tsv",
        "embed g.fa --model none --plot {0}.png --out x.npy",
        "predict none g.fa --out {0}.tsv",
        "score-variants g.vcf --reference g.fa --model none --out {0}.tsv",
        "attribute g.fa --model none --out {0}.parquet",
        "attribute g.fa --model none --motifs {0}.tsv",
        "attribute g.fa --model none --plots {0}/x",
        "likelihood g.fa --model none --out {0}.tsv",
        "gue --data . --out {0}/x",
        "build-corpus g.fa --out {0}/x",
        "finetune none --data . --out {0}/x",
        "pretrain c --out {0}/x",
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    fasta, tmp_path, capsys, monkeypatch, line
):
    """The path is a file where a folder is needed, or the other way round."""
    monkeypatch.chdir(tmp_path)
    tok.save("tok.json")
    for name in ("out", "out.tsv", "out.png", "out.parquet"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "x").touch()
    monkeypatch.setattr(_native, "Input", None)  # nothing is read
    monkeypatch.setattr(_native, "BpeTrainer", None)
    assert cli.main(line.format("out", "tok.json").split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"^error: out\S*: is a (folder|file), expected a (folder|file)\. ", error)


def test_a_training_is_kept_until_the_tokenizer_is_saved(fasta, tmp_path, monkeypatch):
    """The last step fails; the same command then resumes from all merges."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dnabert2_fast.tokenizer._train.SECONDS_BETWEEN_CHECKPOINTS", 0)
    line = ["train-tokenizer", "g.fa", "--out", "t.json", "--vocab-size", "40"]
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "save", lambda *_: exec("raise OSError('disk gone')"))
        assert cli.main(line) == 2
    note = tmp_path / ".t.json.training"
    assert len(json.loads(note.read_text())["merges"]) == 31
    assert cli.main(line) == 0
    assert not note.exists()
    assert Tokenizer.from_file("t.json").vocab_size == 40


@pytest.fixture
def disk(tmp_path):
    """Return a function: bytes -> (folder on a disk of that size, function that resizes it)."""
    if sys.platform != "linux":
        pytest.skip("mounting a tmpfs is Linux's")
    made = []

    def mount(folder, *options):
        line = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")

    def with_size(size):
        folder = tmp_path / "disk"
        folder.mkdir()
        mount(folder, "-o", f"size={size}")
        made.append(folder)
        return folder, lambda size: mount(folder, "-o", f"remount,size={size}")

    yield with_size
    for folder in made:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Everything that the commands below read: sequences, a corpus, a tiny model."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = random.Random(0)
    lines = ("".join(rng.choices("ACGT", k=2000)) for _ in range(400))
    records = [f">r{i}\n{line}\n" for i, line in enumerate(lines)]
    (folder / "g.fa").write_text("".join(records))
    (folder / "few.fa").write_text("".join(records[:60]))
    build_corpus(
        [folder / "g.fa"], folder / "corpus", tok, CorpusConfig(window_bp=200, valid_fraction=0.01)
    )
    shape = Dnabert2Config(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    Dnabert2ForMaskedLM(shape).save_pretrained(folder / "model")
    tok.save(folder / "model" / "tokenizer.json")
    (folder / "tables").mkdir()
    for split, rows in (("train", 60), ("dev", 20), ("test", 20)):
        table = [f"{''.join(rng.choices('ACGT', k=60))},{row % 2}" for row in range(rows)]
        (folder / "tables" / f"{split}.csv").write_text("\n".join(["sequence,label", *table]))
    return folder


# A size that is too small, and what the error names; `{0}` is the folder of the inputs.
FULL = {
    "build-corpus": (
        "400k",
        "{0}/g.fa --out c --window-bp 100 --shard-tokens 20000 --threads 1",
        ".c.building/unit-00000/shard-",
    ),
    "embed": (
        "300k",
        "{0}/few.fa --model {0}/model --out v.npy --window-bp 50 --device cpu",
        "v.npy",
    ),
    "train-tokenizer": (
        "100k",  # the spill file alone takes more
        "{0}/g.fa --out t.json --vocab-size 300 --memory-limit-gb 0.00002 --threads 1",
        "/",
    ),
    "pretrain": (
        "6m",
        "{0}/corpus --out run --size tiny --steps 6 --batch-tokens 400 --checkpoint-every 2 "
        "--eval-tokens 400 --keep 2 --device cpu",
        "run/checkpoints/step-0000002",
    ),
    "finetune": (
        "4m",
        "{0}/model --data {0}/tables --out done --epochs 2 --batch-size 30 --device cpu",
        "done.unfinished/epochs/checkpoint-",
    ),
}
TRAINING = [pytest.param(name, marks=pytest.mark.full) for name in ("pretrain", "finetune")]


@pytest.mark.parametrize("name", ["build-corpus", "embed", "train-tokenizer", *TRAINING])
def test_a_small_disk_that_is_full(inputs, disk, tmp_path, monkeypatch, name):
    """A small disk runs full: one line, exit code 2; with more room the same run resumes."""
    size, arguments, named = FULL[name]
    line = [name, *(word.format(inputs) for word in arguments.split())]
    folder, resize = disk(size)
    monkeypatch.setenv("TMPDIR", str(folder))  # of spill files
    returncode, _, said = run_cli(*line, cwd=folder)
    assert returncode == 2, said
    lines = [text for text in said.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"error: {named}")
    # Torch writes the checkpoints; its error does not mention the disk.
    full = "free on the disk" if name in ("pretrain", "finetune") else "No space left on device"
    assert full in lines[0]
    assert "Traceback" not in said
    resize("100m")
    returncode, _, said = run_cli(*line, cwd=folder)
    assert returncode == 0, said
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.setenv("TMPDIR", str(whole))
    run_cli(*line, cwd=whole)
    assert files_of(folder) == files_of(whole)


def files_of(folder):
    """Files below a folder: their bytes, but of what holds clocks and names of folders."""
    times = ("metrics.jsonl", "run.json", ".png")
    return {
        str(path.relative_to(folder)): None if path.name.endswith(times) else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("line", [BUILD, TOKENIZE])
def test_a_folder_that_does_not_let_write(fasta, tmp_path, line):
    """Root may write everywhere, but not even root can write into a file as if it were a folder."""
    (tmp_path / "no").write_text("")
    arguments = [f"no/{line[3]}" if argument == line[3] else argument for argument in line]
    ended = run_cli(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "no"}


# Sends itself a signal at its first report of progress, before any output exists.
STOPPED = """
import os, sys
from dnabert2_fast.__main__ import entry_point
from dnabert2_fast._internal.progress import Progress
number, update = int(sys.argv.pop(1)), Progress.update
def stopped(self, n=1):
    os.kill(os.getpid(), number)
    update(self, n)
Progress.update = stopped
entry_point()
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("line", [BUILD, TOKENIZE], ids=["build-corpus", "train-tokenizer"])
def test_stopped_by_a_signal_and_started_again(fasta, tmp_path, line, number, code):
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "g.fa").symlink_to(fasta)
    assert run_cli(*line, cwd=whole).returncode == 0
    ended = run("-c", STOPPED, int(number), *line, cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert not (tmp_path / line[3]).exists()
    assert run_cli(*line, cwd=tmp_path).returncode == 0
    for path in (whole / line[3]).rglob("*") if line is BUILD else [whole / line[3]]:
        assert (tmp_path / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "whole", line[3]}


def test_two_processes_that_build_one_corpus(fasta, tmp_path):
    """Both begin at the same moment: one builds, the other reports that and stops, or waits."""
    command = ("-m", "dnabert2_fast.cli", *BUILD)
    with Program(*command, cwd=tmp_path) as one, Program(*command, cwd=tmp_path) as other:
        both = [one.ended(), other.ended()]
    codes = sorted(ended.returncode for ended in both)
    assert codes in ([0, 0], [0, 2])
    if codes == [0, 2]:
        assert sum("another process is building it" in e.stderr for e in both) == 1
    corpus = Corpus.open(tmp_path / "c")
    corpus.verify()
    build_corpus([fasta], tmp_path / "alone", tok, CorpusConfig(window_bp=100))
    for path in (tmp_path / "alone").iterdir():
        assert (tmp_path / "c" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "c", "alone"}


def test_thirty_two_threads_on_one_tokenizer_and_one_corpus(fasta, tmp_path):
    corpus = build_corpus(
        [fasta], tmp_path / "c", tok, CorpusConfig(window_bp=100, valid_fraction=0)
    )
    fresh = Tokenizer.from_pretrained("dnabert2")  # none of its tables is made yet
    texts = [LETTERS[i : i + 500 + 37 * i] for i in range(64)]
    want = [ids.tolist() for ids in tok.encode_batch(texts)]
    rows = corpus.gather(np.arange(40)).to_list()
    begin = threading.Barrier(32)

    def work(number):
        begin.wait()
        got = [fresh.encode(texts[i]).tolist() for i in range(number, 64, 32)]
        same = corpus.gather(np.arange(40)).to_list() == rows
        records = sum(1 for _ in read_fasta(fasta))
        return got == want[number::32], same, records

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(work, range(32))) == [(True, True, 8)] * 32


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process")
def test_live_objects_in_other_processes(fasta, tmp_path, method):
    """Tokenizer and corpus were used, threads and all, before the process is forked."""
    corpus = build_corpus(
        [fasta], tmp_path / "c", tok, CorpusConfig(window_bp=100, valid_fraction=0)
    )
    want = tok.encode(LETTERS).tolist(), corpus.gather([3, 1]).to_list()
    tok.encode_batch([LETTERS] * 8, threads=4)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [
        context.Process(target=use_live_objects, args=(tok, corpus, LETTERS, queue))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    got = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert got == [want, want]


def test_leftovers_of_killed_processes_are_removed(tmp_path, monkeypatch):
    """Of this machine's dead processes alone: others may be at work."""
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    left = tmp_path / f".x.here-{gone.pid}-0.part.json"
    alive = tmp_path / f".x.here-{os.getppid()}-0.part.json"
    elsewhere = tmp_path / f".x.there-{gone.pid}-0.part.json"
    another = tmp_path / f".y.here-{gone.pid}-0.part.json"
    for path in (left, alive, elsewhere, another):
        path.write_text("half")
    with atomic_path(tmp_path / "x.json") as path:
        path.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.json",
        alive.name,
        elsewhere.name,
        another.name,
    }


def test_leftovers_under_our_own_number_are_from_a_process_before_us(tmp_path, monkeypatch):
    """In a container every process may have number 1; what our threads write now is not that."""
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    target = tmp_path / "x.json"
    left = tmp_path / f".x.here-{os.getpid()}-77.part.json"
    left.write_text("half")
    with atomic_path(target) as first, atomic_path(target) as second:
        first.write_text("one")
        second.write_text("two")
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert target.read_text() == "one"  # the outer block ended last


def test_a_folder_put_aside_by_a_killed_process_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    aside = tmp_path / f".out.here-{gone.pid}-0.old"
    aside.mkdir()
    (aside / "kept").write_text("")

    def fails():
        with atomic_folder(tmp_path / "out"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "kept").exists()


def test_a_corpus_that_is_being_built_is_not_one_yet(fasta, tmp_path):
    with pytest.raises(CorpusError, match="not a corpus"):
        Corpus.open(tmp_path / ".c.building")
