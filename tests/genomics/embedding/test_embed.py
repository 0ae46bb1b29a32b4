"""Vectors equal those of a plain loop, whatever else is in the batch."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.models import encoder, tok
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import (
    Dnabert2Model,
    PackedBatch,
    Tokenizer,
    embed,
    embed_file,
)
from dnabert2_fast.errors import CheckpointError, FastaError
from dnabert2_fast.genomics.embedding.file import CHUNK_SEQUENCES
from dnabert2_fast.io import SequenceFile

model = encoder().eval()


@torch.inference_mode()
def plain(sequence, pooling):
    """One sequence by itself, tokens picked one at a time."""
    ids = tok.encode(sequence)
    batch = PackedBatch(
        torch.from_numpy(ids.astype(np.int64)), torch.tensor([0, len(ids)]), len(ids)
    )
    states = model(batch).last_hidden_state.double().numpy()
    if pooling == "cls":
        return states[0]
    real = [
        state for state, i in zip(states, ids.tolist(), strict=True) if i not in tok.special_ids
    ]
    return np.mean(real, 0) if pooling == "mean" else np.max(real, 0)


sequences = st.lists(
    st.text("ACGTacgtN", min_size=1, max_size=120).map(lambda s: "A" + s), max_size=9
)


@given(sequences, st.sampled_from(["mean", "cls", "max"]), st.integers(1, 100))
def test_equals_a_plain_loop(texts, pooling, batch_tokens):
    got = embed(texts, model, tok, pooling=pooling, batch_tokens=batch_tokens)
    assert got.shape == (len(texts), 24)
    assert got.dtype == np.float32
    for row, text in zip(got, texts, strict=True):
        np.testing.assert_allclose(row, plain(text, pooling), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_sequence_without_bases_is_nan_and_said_aloud(pooling):
    with pytest.warns(UserWarning, match="2 of 3 sequences have no A, C, G or T"):
        got = embed(["NNN", "ACGT", ""], model, tok, pooling=pooling)
    assert np.isnan(got[[0, 2]]).all()
    assert np.isfinite(got[1]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match=r'pooling: must be one of .*got "sum"'):
        embed(["ACGT"], model, tok, pooling="sum")
    with pytest.raises(CheckpointError, match="the model has 4096 ids, the tokenizer 11"):
        embed(["ACGT"], model, Tokenizer.train(["ACACGTGT"], 11))


@pytest.fixture
def fasta(tmp_path):
    """More records than one chunk."""
    rng = np.random.default_rng(3)
    path = tmp_path / "x.fa"
    with path.open("w") as handle:
        for i in range(CHUNK_SEQUENCES + 50):
            letters = rng.choice(list("ACGT"), rng.integers(4, 30))
            handle.write(f">r{i} some words\n{''.join(letters)}\n")
    return path


def test_files(fasta, tmp_path):
    rows = CHUNK_SEQUENCES + 50
    assert embed_file(fasta, model, tok, tmp_path / "v.npy") == rows
    assert embed_file(fasta, model, tok, tmp_path / "v.parquet") == rows
    vectors = np.load(tmp_path / "v.npy")
    names = (tmp_path / "v.npy.names.txt").read_text().splitlines()
    assert vectors.shape == (rows, 24)
    assert names == [f"r{i}" for i in range(rows)]
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["name"].to_pylist() == names
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), vectors)
    lines = fasta.read_text().splitlines()
    for i in (0, 17, rows - 1):
        np.testing.assert_allclose(vectors[i], plain(lines[2 * i + 1], "mean"), atol=1e-5)


def test_a_file_for_scanpy(fasta, tmp_path):
    anndata = pytest.importorskip("anndata")
    rows = embed_file(SequenceFile(fasta, window_bp=20), model, tok, tmp_path / "v.h5ad")
    embed_file(SequenceFile(fasta, window_bp=20), model, tok, tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet").to_pydict()
    found = anndata.read_h5ad(tmp_path / "v.h5ad")
    assert found.shape == (rows, 24)
    np.testing.assert_array_equal(found.X, np.array(table["embedding"], np.float32))
    assert found.obs_names.tolist() == table["name"]
    for column in ("contig", "start", "end", "strand"):
        assert found.obs[column].tolist() == table[column]
    assert found.var_names[0] == "embedding0"


def test_windows_are_rows(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGTACGTAC\n>b\nTTG\n")
    assert embed_file(SequenceFile(path, window_bp=4), model, tok, tmp_path / "v.npy") == 4
    names = (tmp_path / "v.npy.names.txt").read_text().split()
    assert names == ["a:0-4", "a:4-8", "a:8-10", "b"]
    got = np.load(tmp_path / "v.npy")
    np.testing.assert_allclose(got, embed(["ACGT", "ACGT", "AC", "TTG"], model, tok), atol=1e-6)


def test_bad_files_leave_nothing(tmp_path):
    path = tmp_path / "x.fq"
    path.write_text("@a\nACGT\n+\nIIII\n@b\nACGT\n+\nII\n")
    for name in ("v.npy", "v.parquet", "v.h5ad"):
        with pytest.raises(FastaError, match="FASTQ record is damaged"):
            embed_file(path, model, tok, tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in .* or in \.npy, \.h5ad"):
        embed_file(path, model, tok, tmp_path / "v.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["x.fq"]


def test_bfloat16_is_near(tmp_path):
    full = encoder().eval()
    full.save_pretrained(tmp_path)
    half = Dnabert2Model.from_pretrained(tmp_path, dtype="bfloat16")
    texts = ["ACGTTGCATTAGC" * 9, "TTTTTTTGACA"]
    a, b = embed(texts, full, tok), embed(texts, half, tok)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert b.dtype == np.float32
    assert cosine.min() > 0.999
