"""Full disks, folders that cannot be written, signals, and many processes and threads at once.

Kills at random moments are in ``benches/faults.py``, which does it as often as one likes.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dnabert2_fast import Corpus, Tokenizer, atomic, build_corpus, read_fasta
from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import CorpusError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")

tok = Tokenizer.from_pretrained("dnabert2")
PACKAGE = str(Path(atomic.__file__).parents[1])
LETTERS = "ACGTTGCATTAGCCATTACGG" * 3000


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text("".join(f">r{i}\n{LETTERS[i:]}\n" for i in range(8)))
    return path


def verb(folder, *arguments, limit=None, **options):
    """Run a verb in a folder; with a limit no file may grow beyond so many bytes."""

    def limited():
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing says EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "dnabert2_fast.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PACKAGE, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
        **options,
    )


BUILD = ("build-corpus", "g.fa", "--out", "c", "--window-bp", "100", "--threads", "1")
TOKENIZE = ("train-tokenizer", "g.fa", "--out", "t.json", "--vocab-size", "300", "--threads", "1")


@pytest.mark.parametrize(("line", "limit"), [(BUILD, 20_000), (TOKENIZE, 2_000)])
def test_a_disk_that_fills_up_is_one_line_and_nothing_half_written(fasta, tmp_path, line, limit):
    with verb(tmp_path, *line, limit=limit) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    lines = [text for text in said.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1
    assert "File too large" in lines[0]
    out = tmp_path / line[3]
    assert not out.exists()
    with verb(tmp_path, *line) as process:
        process.communicate()
    assert process.returncode == 0
    assert out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", line[3]}


@pytest.mark.parametrize("line", [BUILD, TOKENIZE])
def test_a_folder_that_does_not_let_write(fasta, tmp_path, line):
    """As root nothing is forbidden; a file in the folder's place cannot be written by anyone."""
    (tmp_path / "no").write_text("")
    arguments = [f"no/{line[3]}" if argument == line[3] else argument for argument in line]
    with verb(tmp_path, *arguments) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith("error: ")
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "no"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("line", [BUILD, TOKENIZE], ids=["build-corpus", "train-tokenizer"])
def test_stopped_by_a_signal_and_started_again(fasta, tmp_path, line, number):
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "g.fa").symlink_to(fasta)
    with verb(whole, *line) as process:
        process.communicate()
    with verb(tmp_path, *line) as process:
        time.sleep(1.0)
        process.send_signal(number)
        process.communicate()
    assert process.returncode in (0, 130, 143, -number)
    with verb(tmp_path, *line) as process:
        process.communicate()
    assert process.returncode == 0
    for path in (whole / line[3]).rglob("*") if line is BUILD else [whole / line[3]]:
        assert (tmp_path / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "whole", line[3]}


def test_two_processes_that_build_one_corpus(fasta, tmp_path):
    """Both begin at the same moment: one builds, the other builds nothing and says so, or waits."""
    both = [verb(tmp_path, *BUILD) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2])
    if codes == [0, 2]:
        assert sum("another process is building this now" in text for text in said) == 1
    corpus = Corpus.open(tmp_path / "c")
    corpus.verify()
    build_corpus([fasta], tmp_path / "alone", tok, window_bp=100)
    for path in (tmp_path / "alone").iterdir():
        assert (tmp_path / "c" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"g.fa", "c", "alone"}


def test_thirty_two_threads_on_one_tokenizer_and_one_corpus(fasta, tmp_path):
    corpus = build_corpus([fasta], tmp_path / "c", tok, window_bp=100, valid_fraction=0)
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


def _child(tokenizer, corpus, queue):
    queue.put((tokenizer.encode(LETTERS).tolist(), corpus.gather([3, 1]).to_list()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process")
def test_live_objects_in_other_processes(fasta, tmp_path, method):
    """Tokenizer and corpus were used, threads and all, before the process is forked."""
    corpus = build_corpus([fasta], tmp_path / "c", tok, window_bp=100, valid_fraction=0)
    want = tok.encode(LETTERS).tolist(), corpus.gather([3, 1]).to_list()
    tok.encode_batch([LETTERS] * 8, threads=4)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    processes = [context.Process(target=_child, args=(tok, corpus, queue)) for _ in range(2)]
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
    monkeypatch.setattr(atomic, "_runs", lambda process: process != 4)
    aside = tmp_path / ".out.here-4-0.old"
    aside.mkdir()
    (aside / "kept").write_text("")

    def fails():
        with atomic_path(tmp_path / "out") as path:
            Path(path).mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "kept").exists()


def test_a_corpus_that_is_being_built_is_not_one_yet(fasta, tmp_path):
    with pytest.raises(CorpusError, match="not a corpus"):
        Corpus.open(tmp_path / ".c.building")
