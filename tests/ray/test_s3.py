"""Corpora and vectors from and to ``s3://`` are those of local files, also when requests fail."""

import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from helpers.ray_inputs import (
    RULES,
    contents,
    embed_here,
    four_species,
    make_reads,
    one_killed_after,
    tok,
)
from helpers.s3_server import s3_server

from dnabert2_fast import build_corpus
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.io import SequenceFile
from dnabert2_fast.ray import RayTasks
from dnabert2_fast.ray import build_corpus as build_over_ray
from dnabert2_fast.ray import embed_file as embed_over_ray

pytest.importorskip("moto", reason="needs the extra dev")


@pytest.fixture(scope="module", autouse=True)
def server():
    """Started before the cluster, whose workers read its address and credentials too."""
    with pytest.MonkeyPatch.context() as patch, s3_server(patch.setenv) as server:
        yield server


@pytest.fixture
def s3(server):
    """An empty bucket."""
    server.empty()
    return server


def stored(s3, inputs):
    return [item._replace(path=s3.add(item.path, "s3://bucket/genomes")) for item in inputs]


def test_a_corpus(tasks, inputs, whole, s3):
    files, config = stored(s3, inputs), CorpusConfig(**RULES)
    made = build_over_ray(files, "s3://bucket/corpora/c", tok, config)
    named = {PurePosixPath(path): data for path, data in contents(whole.folder).items()}
    assert s3.contents("s3://bucket/corpora/c") == named
    requests = s3.requests
    again = build_over_ray(files, "s3://bucket/corpora/c", tok, config)  # is there already
    assert s3.requests < requests + 20
    assert len(made) == len(again) == len(whole)
    assert made.by_species == again.by_species == whole.by_species
    with pytest.raises(CorpusError, match=r"bucket/corpora/c: .*seed 0 \(requested 9\)"):
        build_over_ray(files, "s3://bucket/corpora/c", tok, config, seed=9)
    assert s3.contents("s3://bucket/corpora/c") == named


def test_vectors(tasks, reads, s3, tmp_path):
    embed_here(reads, tmp_path / "v.parquet")
    source = SequenceFile(s3.add(reads / "x.fa", "s3://bucket/reads"))
    given = (source, str(reads / "model"), tok, "s3://bucket/v/v.parquet")
    assert embed_over_ray(*given, tasks=RayTasks(2)) == 3 * 4096 - 100
    whole = {PurePosixPath("v.parquet"): (tmp_path / "v.parquet").read_bytes()}
    assert s3.contents("s3://bucket/v") == whole


@pytest.mark.full  # the client waits before it tries again
def test_each_tenth_request_fails(tasks, inputs, reads, whole, s3, tmp_path):
    files = stored(s3, inputs)
    source = s3.add(reads / "x.fa", "s3://bucket/reads")
    s3.fail_every = 10
    build_over_ray(files, "s3://bucket/corpora/c", tok, CorpusConfig(**RULES))
    given = (source, str(reads / "model"), tok, "s3://bucket/v/v.npy")
    embed_over_ray(*given, tasks=RayTasks(2))
    assert s3.failed > 5
    s3.fail_every = 0
    named = {PurePosixPath(path): data for path, data in contents(whole.folder).items()}
    assert s3.contents("s3://bucket/corpora/c") == named
    embed_here(reads, tmp_path / "v.npy")
    assert s3.contents("s3://bucket/v") == {
        PurePosixPath(name): (tmp_path / name).read_bytes() for name in ("v.npy", "v.npy.names.txt")
    }


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_a_worker_is_killed(cluster, s3, tmp_path):
    inputs = four_species(tmp_path, 60_000)
    whole = build_corpus(inputs, tmp_path / "whole", tok, CorpusConfig(**RULES))
    files = stored(s3, inputs)
    building = "s3://bucket/corpora/c/.building"

    def begun():
        time.sleep(0.05)
        with suppress(FileNotFoundError):
            return any("journal" in path.name for path in s3.contents(building))

    reads = make_reads(tmp_path, 12)
    source = s3.add(reads / "x.fa", "s3://bucket/reads")
    with one_killed_after(begun):
        build_over_ray(files, "s3://bucket/corpora/c", tok, CorpusConfig(**RULES))
    named = {PurePosixPath(path): data for path, data in contents(whole.folder).items()}
    assert s3.contents("s3://bucket/corpora/c") == named
    requests = s3.requests
    with one_killed_after(lambda: s3.requests > requests + 30):
        given = (source, str(reads / "model"), tok, "s3://bucket/v/v.parquet")
        rows = embed_over_ray(*given, tasks=RayTasks(2))
    assert rows == embed_here(reads, tmp_path / "v.parquet")
    (got,) = s3.contents("s3://bucket/v").values()
    assert got == (tmp_path / "v.parquet").read_bytes()


def test_what_is_not_there(tasks, s3, tmp_path):
    for location in ("s3://bucket/none.fa", "s3://nothing/none.fa"):
        with pytest.raises(FileNotFoundError, match=r"none\.fa: no such file"):
            build_over_ray([location], "s3://bucket/c", tok)
