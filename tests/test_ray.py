"""Ray's tasks build what one process builds, also when a worker is killed among them."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from dnabert2_fast import Corpus, Input, Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusRules, plan
from dnabert2_fast.errors import CorpusError

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytest.importorskip("ray.data", reason="needs the extra ray")

tok = Tokenizer.from_pretrained("dnabert2")
RULES = {"window_bp": 200, "shard_tokens": 1 << 12, "both_strands": True}


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Four species, each a unit of its own, large enough that a worker can be met at work."""
    folder = tmp_path_factory.mktemp("genomes")
    files = []
    for i in range(4):
        letters = "".join(random.Random(i).choices("ACGT", k=60_000))
        files.append(folder / f"{i}.fa")
        files[-1].write_text("".join(f">r{n}\n{letters[n:]}\n" for n in range(30)))
    caps = [None, 900_000, None, None]
    return [Input(f, f"s{i}", "g", 1.0, caps[i]) for i, f in enumerate(files)]


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    return build_corpus(inputs, tmp_path_factory.mktemp("whole") / "c", tok, **RULES)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_local_paths_with_a_worker_killed(cluster, inputs, whole, tmp_path):
    from dnabert2_fast.ray import build_corpus as build_over_ray

    killed = []

    def kill_one():
        until = time.monotonic() + 60
        while not killed and time.monotonic() < until:
            time.sleep(0.005)
            if not list(tmp_path.glob(".c.building/unit-*/*.parquet")):
                continue
            for folder in Path("/proc").glob("[0-9]*"):
                if (folder / "cmdline").read_bytes().startswith(b"ray::Map"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed.append(folder.name)
                    break

    thread = threading.Thread(target=kill_one)
    thread.start()
    build_over_ray(inputs, tmp_path / "c", tok, CorpusRules(**RULES))
    thread.join()
    assert killed
    assert contents(tmp_path / "c") == contents(whole.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_uris(cluster, inputs, whole, tmp_path):
    from dnabert2_fast.ray import build_corpus as build_over_ray

    named = [item._replace(path=item.path.as_uri()) for item in inputs]
    out = tmp_path / "c"
    build_over_ray(named, out.as_uri(), tok, CorpusRules(**RULES))
    assert contents(out) == contents(whole.folder)
    Corpus.open(out).verify()
    with pytest.raises(CorpusError, match="a corpus is there already"):
        build_over_ray(named, out.as_uri(), tok, CorpusRules(**RULES))
    with pytest.raises(FileNotFoundError, match=r"none\.fa"):
        build_over_ray([(tmp_path / "none.fa").as_uri()], (tmp_path / "d").as_uri(), tok)


def test_repeats_need_one_process(tmp_path):
    from dnabert2_fast.ray import build_corpus as build_over_ray

    with pytest.raises(CorpusError, match="one process only"):
        build_over_ray([], tmp_path / "c", tok, CorpusRules(drop_repeats=True))


def test_units_are_by_species(inputs, tmp_path):
    assert len(plan.CorpusPlan(inputs, tmp_path / "c", tok, CorpusRules(**RULES)).units) == 4
