"""Ray's tasks give what one process gives, also when a worker is killed among them."""

import inspect
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.ray_inputs import (
    RULES,
    contents,
    embed_here,
    four_species,
    make_reads,
    one_after_the_other,
    one_killed_after,
    tok,
)

import dnabert2_fast.ray
from dnabert2_fast import Corpus, build_corpus
from dnabert2_fast.corpus import CorpusConfig, plan
from dnabert2_fast.errors import CorpusError, DataError, FastaError, InputWarning
from dnabert2_fast.io import SourceFile
from dnabert2_fast.ray import RayTasks, corpus
from dnabert2_fast.ray import build_corpus as build_over_ray
from dnabert2_fast.ray import embed_file as embed_over_ray
from dnabert2_fast.ray import tasks as tasks_of_ray


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_local_paths_with_a_worker_killed(cluster, tmp_path):
    """The genomes are large enough that a worker is met at work."""
    inputs = four_species(tmp_path, 60_000)
    whole = build_corpus(inputs, tmp_path / "whole", tok, CorpusConfig(**RULES))
    out = tmp_path / "out"
    out.mkdir()
    with one_killed_after(lambda: any(out.glob(".c.building/unit-*/*.parquet"))):
        build_over_ray(inputs, out / "c", tok, CorpusConfig(**RULES))
    assert contents(out / "c") == contents(whole.folder)
    assert [path.name for path in out.iterdir()] == ["c"]


def test_local_paths(tasks, inputs, whole, tmp_path):
    corpus = build_over_ray(inputs, tmp_path / "c", tok, CorpusConfig(**RULES))
    assert (corpus.split, len(corpus)) == ("train", len(whole))
    assert contents(tmp_path / "c") == contents(whole.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_uris(tasks, inputs, whole, tmp_path):
    named = [item._replace(path=item.path.as_uri()) for item in inputs]
    out = tmp_path / "c"
    made = build_over_ray(named, out.as_uri(), tok, CorpusConfig(**RULES))
    assert contents(out) == contents(whole.folder)
    Corpus.open(out).verify()
    (out / ".building").mkdir()  # of a build that was killed at its end
    again = build_over_ray(named, out.as_uri(), "dnabert2", **RULES)
    assert contents(out) == contents(whole.folder)
    for remote in (made, again):
        for split in ("train", "valid"):
            there, here = remote.in_split(split), whole.in_split(split)
            assert (len(there), there.tokens, there.read) == (len(here), here.tokens, here.read)
        assert (remote.settings, remote.by_species) == (whole.settings, whole.by_species)
        with pytest.raises(DataError, match="is a URL"):
            remote[0]
    assert not (out / ".building").exists()
    (out / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match=f"^{out}/corpus.json: "):
        build_over_ray(named, out.as_uri(), tok, CorpusConfig(**RULES))
    with pytest.raises(FileNotFoundError, match=r"none\.fa"):
        build_over_ray([(tmp_path / "none.fa").as_uri()], (tmp_path / "d").as_uri(), tok)


def test_a_stopped_build_by_uri_resumes_with_the_same_settings_only(
    inputs, whole, tmp_path, monkeypatch
):
    named = [item._replace(path=item.path.as_uri()) for item in inputs]
    out = tmp_path / "c"
    stops = iter([one_after_the_other, stopped_after_one])  # counting bases, building
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "each", lambda *given, **how: next(stops)(*given, **how))
        with pytest.raises(KeyboardInterrupt):
            build_over_ray(named, out.as_uri(), tok, CorpusConfig(**RULES))
    monkeypatch.setattr(corpus, "each", one_after_the_other)
    with pytest.raises(CorpusError, match=r"other settings: seed \d+ \(requested 99\)"):
        build_over_ray(named, out.as_uri(), tok, CorpusConfig(**{**RULES, "seed": 99}))
    build_over_ray(named, out.as_uri(), tok, CorpusConfig(**RULES))
    assert contents(out) == contents(whole.folder)


def test_a_damaged_file_is_one_line(tasks, inputs, tmp_path):
    (tmp_path / "x.fa").write_text(">a\nAC\0GT\n")
    with pytest.raises(FastaError, match=r"x\.fa:2: record .a.: there is a NUL byte"):
        build_over_ray([*inputs, tmp_path / "x.fa"], tmp_path / "c", tok, CorpusConfig(**RULES))
    assert not (tmp_path / "c").exists()
    by_uri = [SourceFile((tmp_path / "x.fa").as_uri(), "s", "g", 1.0, None)]
    counted = [by_uri[0]._replace(max_bp=4)]
    for name, files in (("u", by_uri), ("v", counted)):
        with pytest.raises(
            FastaError, match=f"^{tmp_path}/x.fa:2: record .a.: there is a NUL byte"
        ):
            build_over_ray(files, (tmp_path / name).as_uri(), tok, CorpusConfig(**RULES))


def test_duplicates_need_one_process(tmp_path):
    with pytest.raises(CorpusError, match="must be False with Ray"):
        build_over_ray([], tmp_path / "c", tok, CorpusConfig(deduplicate=True))


def test_tasks_have_as_many_threads_as_processors(inputs, tmp_path, monkeypatch):
    asked = {}

    def once(numbers, task, _, *, num_cpus):
        asked["num_cpus"] = num_cpus
        return one_after_the_other(numbers, task)

    monkeypatch.setattr(corpus, "each", once)
    monkeypatch.setattr(corpus, "build_units", lambda *_, threads: asked.update(threads=threads))
    monkeypatch.setattr(corpus, "merge_units", lambda plan: plan)
    build_over_ray(inputs, tmp_path / "c", tok, num_cpus=3)
    assert asked == {"num_cpus": 3, "threads": 3}
    build_over_ray(inputs, tmp_path / "c", tok, threads=2)
    assert asked == {"num_cpus": 1, "threads": 2}


@pytest.mark.parametrize(
    ("name", "left_out", "added"),
    [
        ("build_corpus", [], ["num_cpus"]),
        ("embed_file", ["part"], ["tasks", "attention", "dtype"]),
    ],
)
def test_signatures_are_the_local_ones_and_what_ray_adds(name, left_out, added):
    pytest.importorskip("torch")
    there, here = (
        dict(inspect.signature(getattr(module, name)).parameters)
        for module in (dnabert2_fast.ray, dnabert2_fast)
    )
    assert all(there.pop(option).kind is inspect.Parameter.KEYWORD_ONLY for option in added)
    assert all(here.pop(option).default is None for option in left_out)
    local, remote = (
        [(p.name, p.kind, p.default) for p in given.values()] for given in (here, there)
    )
    assert remote == local


def test_units_are_by_species(inputs, tmp_path):
    assert len(plan.CorpusPlan(inputs, tmp_path / "c", tok, CorpusConfig(**RULES)).units) == 4


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_vectors_with_a_worker_killed(cluster, tmp_path):
    """Each of the two tasks still has several chunks when the first is complete."""
    reads = make_reads(tmp_path, 12)
    from dnabert2_fast.genomics import EmbeddingConfig

    config = EmbeddingConfig("max")
    rows = embed_here(reads, tmp_path / "v.parquet", config=config)
    out = tmp_path / "ray" / "v.parquet"
    out.parent.mkdir()
    with one_killed_after(lambda: any(out.parent.glob("v.parquet.parts/0*.npy"))):
        given = (reads / "x.fa", str(reads / "model"), tok, out)
        assert embed_over_ray(*given, config, tasks=RayTasks(2)) == rows
    assert contents(out.parent) == {Path("v.parquet"): (tmp_path / "v.parquet").read_bytes()}


def test_vectors_by_uri_resume(tasks, reads, tmp_path, monkeypatch):
    out = tmp_path / "ray" / "v.npy"
    out.parent.mkdir()
    given = ((reads / "x.fa").as_uri(), str(reads / "model"), tok, out.as_uri())
    with monkeypatch.context() as patch:
        patch.setattr(tasks_of_ray, "each", stopped_after_one)
        with pytest.raises(KeyboardInterrupt):
            embed_over_ray(*given, tasks=RayTasks(2))
    (shelf,) = out.parent.glob("v.npy.parts/*")
    assert sorted(path.name for path in shelf.iterdir()) == ["00000000.npy", "00000002.npy"]
    (shelf / "00000000.npy").write_bytes(b"cut off")
    # An existing chunk is read, not computed: a change in it appears in the output.
    taken = np.load(shelf / "00000002.npy")
    np.save(shelf / "00000002.npy", taken + 1)
    rows = embed_here(reads, tmp_path / "v.npy")
    assert embed_over_ray(*given, tasks=RayTasks(3)) == rows
    want = np.load(tmp_path / "v.npy")
    want[2 * 4096 : 3 * 4096] += 1
    np.testing.assert_array_equal(np.load(out), want)
    assert (out.parent / "v.npy.names.txt").read_bytes() == (
        tmp_path / "v.npy.names.txt"
    ).read_bytes()
    assert sorted(path.name for path in out.parent.iterdir()) == ["v.npy", "v.npy.names.txt"]


def stopped_after_one(numbers, task, *_, **__):
    task(next(iter(numbers)))
    raise KeyboardInterrupt


def test_what_cannot_be_embedded_over_ray(reads, tmp_path, monkeypatch):
    given = (str(reads / "model"), tok, tmp_path / "v.npy")
    with pytest.raises(ValueError, match="parts: must be at least 1"):
        RayTasks(0)
    with pytest.raises(ValueError, match=r"or in \.npy, \.h5ad"):
        embed_over_ray(reads / "x.fa", *given[:2], tmp_path / "v.txt", tasks=RayTasks(1))
    with pytest.raises(FileNotFoundError, match=r"none\.fa"):
        embed_over_ray(tmp_path / "none.fa", *given, tasks=RayTasks(1))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs ray: pip install .*\[ray\]"'):
        embed_over_ray(reads / "x.fa", *given, tasks=RayTasks(1))


@pytest.mark.parametrize("strict", [False, True])
def test_a_warning_names_the_file_and_not_its_copy(tmp_path, monkeypatch, strict):
    for module in (corpus, tasks_of_ray):
        monkeypatch.setattr(module, "each", one_after_the_other)
    rna = tmp_path / "rna.fa"
    rna.write_text(">a\nACGUACGUAAGGUUACGU\n")
    message = f"^{re.escape(str(rna))}: has U and no T"
    with warnings.catch_warnings():
        if strict:
            warnings.simplefilter("error", InputWarning)
            seen = pytest.raises(InputWarning, match=message)
        else:
            seen = pytest.warns(InputWarning, match=message)
        with seen:
            build_over_ray([rna.as_uri()], (tmp_path / "c").as_uri(), tok, min_bp=1)
