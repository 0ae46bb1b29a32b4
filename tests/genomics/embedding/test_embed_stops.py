"""A stopped run of `embed_file` resumes, and ends with the same bytes."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.interrupts import stop_after
from helpers.models import encoder, tok
from helpers.processes import run

from dnabert2_fast import Dnabert2Model, embed_file
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast.errors import FastaError
from dnabert2_fast.genomics.embedding import file as files
from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
from dnabert2_fast.model.int8 import quantize_int8

model = encoder().eval()


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(files, "CHUNK_SEQUENCES", 5)


@pytest.fixture
def fasta(tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "x.fa"
    rows = ("".join(rng.choice(list("ACGT"), rng.integers(4, 30))) for _ in range(23))
    path.write_text("".join(f">r{i}\n{row}\n" for i, row in enumerate(rows)))
    return path


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_going_on(fasta, tmp_path, monkeypatch, error, name):
    embed_file(fasta, model, tok, tmp_path / name)
    want = (tmp_path / name).read_bytes()
    out = tmp_path / "again" / name
    out.parent.mkdir()
    with monkeypatch.context() as patch:
        stop_after(patch, files, "embed_chunk", 3, error)
        with pytest.raises(type(error)):
            embed_file(fasta, model, tok, out)
    assert [path.name for path in out.parent.iterdir()] == [f"{name}.parts"]
    calls = stop_after(monkeypatch, files, "embed_chunk", 99, None)
    assert embed_file(fasta, model, tok, out) == 23
    assert len(calls) == 2
    assert out.read_bytes() == want
    assert not out.with_name(f"{name}.parts").exists()


def test_shares_of_several_processes(fasta, tmp_path, monkeypatch):
    embed_file(fasta, model, tok, tmp_path / "whole.npy")
    out = tmp_path / "v.npy"
    shares = [embed_file(fasta, model, tok, out, part=(i, 3)) for i in (3, 1, 2)]
    assert sum(shares) == 23
    assert all(shares)
    assert not out.exists()
    calls = stop_after(monkeypatch, files, "embed_chunk", 99, None)
    assert embed_file(fasta, model, tok, out) == 23
    assert not calls
    assert out.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert not out.with_name("v.npy.parts").exists()
    for wrong in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="must be between 1/3 and 3/3"):
            embed_file(fasta, model, tok, out, part=wrong)


def test_processes_that_start_together_share_one_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ResumeStore(tmp_path / "v.npy", {"a": 1}), range(64)))
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy.parts"]
    assert not any(parts.chunks for parts in made)


START = """
import os, signal, sys
from pathlib import Path
from dnabert2_fast._internal.resume import ResumeStore
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ResumeStore(Path(sys.argv[1]), {"a": 1})
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("another_has_made_it", [False, True])
def test_killed_before_the_folder_of_parts_appears(tmp_path, another_has_made_it):
    out = tmp_path / "v.npy"
    assert run("-c", START, out, cwd=tmp_path).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".v.npy.")
    if another_has_made_it:
        left.rename(tmp_path / "v.npy.parts")
        done = run("-c", START, out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        left.mkdir()
    assert not ResumeStore(out, {"a": 1}).chunks
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy.parts"]


def test_other_settings_start_afresh(fasta, tmp_path, monkeypatch):
    out = tmp_path / "v.npy"
    other = encoder().eval()
    other.bert.encoder.layer[0].mlp.wo.bias.data += 1
    text = fasta.read_text()
    for change in ("config", "model", "file", "damaged part"):
        with monkeypatch.context() as patch:
            stop_after(patch, files, "embed_chunk", 3, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                embed_file(fasta, model, tok, out)
        chosen, given = model, {}
        if change == "config":
            given = {"config": EmbeddingConfig("max")}
        elif change == "model":
            chosen = other
        elif change == "file":
            fasta.write_text(text.replace("A", "C"))
        else:
            (tmp_path / "v.npy.parts" / "00000001.npy").write_bytes(b"x")
        with monkeypatch.context() as patch:
            calls = stop_after(patch, files, "embed_chunk", 99, None)
            embed_file(fasta, chosen, tok, out, **given)
        assert len(calls) == (3 if change == "damaged part" else 5), change
        got = np.load(out)
        embed_file(fasta, chosen, tok, tmp_path / "w.npy", **given)
        np.testing.assert_array_equal(got, np.load(tmp_path / "w.npy"))
        out.unlink()


def test_int8_models_differ_by_their_matrices():
    """Adapters merged into a model change its matrices alone, and int8 packs these."""
    found = []
    for change in (0.0, 0.5):
        one = encoder().eval()
        one.bert.encoder.layer[0].mlp.wo.weight.data += change
        quantize_int8(one)
        found.append(fingerprint(one, tok, EmbeddingConfig())["model"])
    assert found[0] != found[1]


def test_empty_sequences_of_all_chunks_are_warned_of_once(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">r{i}\n{'ACGT' if i % 3 else 'NNNN'}\n" for i in range(23)))
    for _ in range(2):
        with pytest.warns(UserWarning, match="8 of 23 sequences have no A") as lines:
            embed_file(path, model, tok, tmp_path / "v.npy")
        said = [str(line.message) for line in lines]
        assert len(said) == 2
        assert sum("letters outside the vocabulary: 'N' 32" in text for text in said) == 1


def test_bad_input_leaves_no_parts(tmp_path):
    path = tmp_path / "x.fq"
    good = "".join(f"@r{i}\nACGT\n+\nIIII\n" for i in range(12))
    path.write_text(good + "@b\nACGT\n+\nII\n")
    with pytest.raises(FastaError):
        embed_file(path, model, tok, tmp_path / "v.npy")
    assert [p.name for p in tmp_path.iterdir()] == ["x.fq"]


PROGRAM = """
import os, signal, sys
from dnabert2_fast import Dnabert2Model, Tokenizer, embed_file
from dnabert2_fast.genomics.embedding import file as module
module.CHUNK_SEQUENCES = 5
embed, calls = module.embed_chunk, []

def counted(*given):
    calls.append(1)
    if len(calls) > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return embed(*given)

module.embed_chunk = counted
embed_file("x.fa", Dnabert2Model.from_pretrained("m"), Tokenizer.from_pretrained("dnabert2"),
    "k.npy")
print(len(calls))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_outright(tmp_path, fasta):
    """kill -9 in the third chunk, then once more from there to the end."""
    model.save_pretrained(tmp_path / "m")
    parts = tmp_path / "k.npy.parts"
    assert run("-c", PROGRAM, 2, cwd=tmp_path).returncode == -signal.SIGKILL
    assert len(list(parts.glob("0*.npy"))) == 2
    assert not (tmp_path / "k.npy").exists()
    done = run("-c", PROGRAM, 99, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    again = Dnabert2Model.from_pretrained(tmp_path / "m")
    embed_file(fasta, again, tok, tmp_path / "w.npy")
    assert (tmp_path / "k.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()
    assert not parts.exists()
