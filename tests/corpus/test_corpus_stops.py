"""A build may stop anywhere, be shared out, or meet damage: what is there in the end is whole."""

import contextlib
import json
import os
import random
import struct

import pytest
from helpers.processes import run

from dnabert2_fast import Corpus, Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusPlan, plan
from dnabert2_fast.corpus.build import build_units, merge_units
from dnabert2_fast.corpus.plan import CorpusConfig
from dnabert2_fast.errors import CorpusError, FastaError

tok = Tokenizer.from_pretrained("dnabert2")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SMALL = {"window_bp": 60, "both_strands": True, "valid_fraction": 0.3, "shard_tokens": 700}


def test_a_build_that_met_bad_input_goes_on_once_it_is_mended(genome, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "UNIT_BYTES", 1)
    reads = tmp_path / "r.fq"
    good = "".join(f"@r{i}\n{'ACGGT' * 20}\n+\n{'I' * 100}\n" for i in range(50))
    reads.write_text(good)
    files = [genome[0], reads]
    build_corpus(files, tmp_path / "whole", tok, CorpusConfig(**SMALL))
    stamp = reads.stat()
    reads.write_text(good[:-1] + "?")  # as long as before, and with a quality too many
    os.utime(reads, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(FastaError, match="FASTQ record is damaged"):
        build_corpus(files, tmp_path / "c", tok, CorpusConfig(**SMALL))
    assert list((tmp_path / ".c.building" / "unit-00000").glob("*.safetensors"))
    reads.write_text(good)
    with pytest.raises(CorpusError, match=r"r\.fq: has changed since the build began"):
        build_corpus(files, tmp_path / "c", tok, CorpusConfig(**SMALL))
    os.utime(reads, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(CorpusError, match=r"other settings: window_bp 60 \(requested 61\)"):
        build_corpus(files, tmp_path / "c", tok, CorpusConfig(**{**SMALL, "window_bp": 61}))
    build_corpus(files, tmp_path / "c", tok, CorpusConfig(**SMALL))
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")
    assert not (tmp_path / ".c.building").exists()


def test_any_kill_leaves_the_same_corpus_in_the_end(genome, tmp_path, monkeypatch):
    """Stop after each shard in turn, damage some of the files, and resume."""
    monkeypatch.setattr(plan, "UNIT_BYTES", 1)  # one unit per file
    more = tmp_path / "more.fa"
    more.write_text(">m\n" + "ACGTTGCAAT" * 900 + "\n")
    for deduplicate in (False, True):
        options = {**SMALL, "deduplicate": deduplicate}
        files = [genome[0], more, genome[0]]
        whole = build_corpus(
            files, tmp_path / f"whole{deduplicate}", tok, CorpusConfig(**options)
        ).folder
        shards = len(list(whole.glob("*.safetensors")))
        assert shards > 20
        out = tmp_path / f"c{deduplicate}"
        kills = 0
        while not out.exists():
            with contextlib.suppress(KeyboardInterrupt):
                killed_after(4 if kills % 3 else 1, files, out, options, monkeypatch)
            kills += 1
            if kills == 2:
                folder = tmp_path / f".{out.name}.building" / "unit-00000"
                damaged = sorted(folder.glob("*.safetensors"))[-1]
                damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
                journal = folder / "journal.jsonl"
                journal.write_text(journal.read_text() + '{"name": "cut o')
        assert kills > 5
        assert contents(out) == contents(whole)


def killed_after(shards, files, out, options, monkeypatch):
    from dnabert2_fast.corpus import build

    left = [shards]

    def write(path, table):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write_origins(path, table)

    write_origins = build.write_origins
    with monkeypatch.context() as patch:
        patch.setattr(build, "write_origins", write)
        build_corpus(files, out, tok, CorpusConfig(**options))


# Killed outright when the origins of a given shard are about to be written; -1 for never.
KILLED = """
import os, signal, sys
from dnabert2_fast import Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.corpus import build
left, write_origins = int(sys.argv[3]), build.write_origins
def write(path, table):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write_origins(path, table)
build.write_origins = write
tok = Tokenizer.from_pretrained("dnabert2")
build_corpus([sys.argv[1]], sys.argv[2], tok, CorpusConfig(window_bp=200, shard_tokens=1 << 14))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_killed_processes(genome, tmp_path):
    """Killed in the first shard, then in later ones while others are being written."""
    big = tmp_path / "big.fa"
    letters = "".join(text.upper().replace("N", "").replace("R", "") for text in genome[1].values())
    big.write_text("".join(f">r{i}\n{letters}\n" for i in range(12)))
    options = {"window_bp": 200, "shard_tokens": 1 << 14}
    whole = build_corpus([big], tmp_path / "whole", tok, CorpusConfig(**options)).folder
    assert len(list(whole.glob("*.safetensors"))) > 5
    for shards, code in ((0, -9), (1, -9), (2, -9), (-1, 0)):
        ended = run("-c", KILLED, big, tmp_path / "c", shards, cwd=tmp_path)
        assert ended.returncode == code, ended.stderr
        if code:
            with pytest.raises(CorpusError, match="not a corpus"):
                Corpus.open(tmp_path / "c")
    assert contents(tmp_path / "c") == contents(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"big.fa", "c", "whole"}


def test_two_builds_at_once(genome, tmp_path):
    mine = CorpusPlan([genome[0]], tmp_path / "c", tok, CorpusConfig(window_bp=60))
    mine.prepare()
    mine.unit_folder(0).mkdir()
    with (
        plan.locked(mine.unit_folder(0)),
        pytest.raises(CorpusError, match="another process is building it"),
    ):
        build_corpus([genome[0]], tmp_path / "c", tok, CorpusConfig(window_bp=60))


def test_parts_are_put_together(genome, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "UNIT_BYTES", 1)
    files = [genome[0]]
    for i in range(4):
        files.append(tmp_path / f"{i}.fa")
        files[-1].write_text(f">r{i}\n" + "".join(random.Random(i).choices("ACGT", k=5000)) + "\n")
    whole = build_corpus(files, tmp_path / "whole", tok, CorpusConfig(**SMALL)).folder
    shared = CorpusPlan(files, tmp_path / "c", tok, CorpusConfig(**SMALL))
    for part in (3, 1):
        build_units(shared, shared.part(part, 3))
    with pytest.raises(CorpusError, match="unit 2 of 5 is not complete"):
        merge_units(shared)
    build_units(shared, shared.part(2, 3))
    merge_units(shared)
    assert contents(tmp_path / "c") == contents(whole)
    with pytest.raises(ValueError, match="part: must be between 1 and 3"):
        shared.part(4, 3)
    alone = CorpusPlan(files, tmp_path / "d", tok, CorpusConfig(deduplicate=True))
    with pytest.raises(CorpusError, match="must be False for several parts"):
        build_units(alone, alone.part(1, 2))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_named(genome, tmp_path):
    started = CorpusPlan([genome[0]], tmp_path / "c", tok, CorpusConfig(**SMALL))
    started.prepare()
    started.unit_folder(0).mkdir()
    full = started.unit_folder(0) / "shard-00002.safetensors"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        build_corpus([genome[0]], tmp_path / "c", tok, CorpusConfig(**SMALL))
    assert "shard-00002" in str(caught.value)
    full.unlink()
    build_corpus([genome[0]], tmp_path / "c", tok, CorpusConfig(**SMALL)).verify()


def test_damage_is_found(genome, tmp_path):
    corpus = build_corpus([genome[0]], tmp_path / "c", tok)
    shard = tmp_path / "c" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorpusError, match="differs from its checksum"):
        corpus.verify()
    for damage in (struct.pack("<Q", 1 << 60), b"\xff" * 8, whole[:8] + b"?" * 8):
        shard.write_bytes(damage + whole[len(damage) :])
        with pytest.raises(CorpusError, match=r"shard-00000\.safetensors: damaged"):
            Corpus.open(tmp_path / "c").gather([0])
    shard.write_bytes(whole[:-8])
    with pytest.raises(CorpusError, match=r"shard-00000.*instead of"):
        Corpus.open(tmp_path / "c")
    shard.unlink()
    with pytest.raises(CorpusError, match="is missing"):
        Corpus.open(tmp_path / "c")
    shard.write_bytes(whole)
    origins = tmp_path / "c" / "shard-00000.parquet"
    origins.write_bytes(b"PAR1" + origins.read_bytes()[4:-9])
    with pytest.raises(CorpusError, match=r"shard-00000\.parquet: cannot be read"):
        Corpus.open(tmp_path / "c").where(0)
    lines = json.loads((tmp_path / "c" / "corpus.json").read_text())
    del lines["shards"][0]["bytes"]
    (tmp_path / "c" / "corpus.json").write_text(json.dumps(lines))
    with pytest.raises(CorpusError, match=r"corpus\.json: damaged: KeyError"):
        Corpus.open(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="not valid JSON"):
        Corpus.open(tmp_path / "c")
    with pytest.raises(CorpusError, match='got "test"'):
        Corpus.open(tmp_path / "c", "test")
