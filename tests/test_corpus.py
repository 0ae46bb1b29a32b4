"""A corpus holds the genome it was built from, whole or not at all."""

import json
import pickle
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Corpus, Tokenizer, build_corpus
from dnabert2_fast.errors import CorpusError, FastaError

tok = Tokenizer.from_pretrained("dnabert2")
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A FASTA file and its records: two with runs of N and soft masking, one too short."""
    rng = random.Random(5)
    records = {}
    for name, length in (("a", 20_000), ("b", 9_000), ("short", 30)):
        letters = rng.choices("ACGTacgt", k=length)
        for at in range(3_000, length, 5_000):
            letters[at : at + 7] = "NNNRNNN"
        records[name] = "".join(letters)
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text("".join(f">{n} text\n{s}\n" for n, s in records.items()))
    return path, records


@pytest.fixture(scope="module")
def corpus(genome, tmp_path_factory):
    """Many small shards, both strands, a third held out."""
    out = tmp_path_factory.mktemp("corpus") / "c"
    return build_corpus(
        [genome[0]],
        out,
        tok,
        window_bp=60,
        min_bp=40,
        both_strands=True,
        valid_fraction=1 / 3,
        shard_tokens=900,
    )


def stretch(records, where):
    forward = records[where.record][where.start : where.end].upper()
    return forward if where.strand == 1 else forward.translate(COMPLEMENT)[::-1]


def test_every_window_is_its_stretch_of_the_genome(genome, corpus):
    seen = []
    for split in ("train", "valid"):
        part = Corpus.open(corpus.folder, split)
        assert len(part._shards) > 3
        assert part.tokens == part.lengths.sum()
        batch = part.gather(np.arange(len(part)))
        for i, ids in enumerate(batch):
            where = part.where(i)
            assert where.file == "g.fa"
            assert ids.tolist() == tok.encode(stretch(genome[1], where)).tolist()
            seen.append((where.record, where.start, where.end, where.strand))
    forward = {(r, s, e) for r, s, e, strand in seen if strand == 1}
    assert forward == {(r, s, e) for r, s, e, strand in seen if strand == -1}
    assert len(seen) == len(set(seen)) == 2 * len(forward)
    covered = sum(e - s for _, s, e in forward)
    assert 0.98 < covered / 29_000 <= 1
    assert not any(record == "short" for record, _, _ in forward)


@given(st.lists(st.integers(0, 10**6), max_size=40))
def test_gather_keeps_the_order_asked_for(corpus, numbers):
    indices = [number % len(corpus) for number in numbers]
    one_by_one = [corpus.gather([i]).to_list()[0] for i in indices]
    assert corpus.gather(indices).to_list() == one_by_one


def test_indices_out_of_range(corpus):
    for index in (-1, len(corpus)):
        with pytest.raises(IndexError, match="windows are numbered 0 to"):
            corpus.gather([0, index])


def test_bytes_do_not_depend_on_threads_or_time(genome, tmp_path):
    folders = []
    for threads in (1, 2):
        build_corpus([genome[0]], tmp_path / f"t{threads}", tok, window_bp=70, threads=threads)
        files = sorted((tmp_path / f"t{threads}").iterdir())
        folders.append([(path.name, path.read_bytes()) for path in files])
    assert folders[0] == folders[1]


def test_a_shard_is_readable_with_numpy_alone(corpus):
    """The reader that docs/formats.md prints."""
    data = (corpus.folder / "shard-00000.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])

    def tensor(name, dtype):
        start, end = header[name]["data_offsets"]
        return np.frombuffer(data[8 + size + start : 8 + size + end], dtype)

    ids, offsets = tensor("input_ids", "<u2"), tensor("offsets", "<u8")
    assert ids[offsets[1] : offsets[2]].tolist() == corpus.gather([1]).to_list()[0]
    assert json.loads(header["__metadata__"]["dnabert2_fast"])["window_bp"] == 60


def test_pickled_and_described(corpus):
    again = pickle.loads(pickle.dumps(corpus))
    assert again.gather([3]).to_list() == corpus.gather([3]).to_list()
    assert corpus.tokenizer.fingerprint == corpus.fingerprint == tok.fingerprint
    corpus.verify()


def test_same_again_is_reused_and_other_settings_are_refused(genome, tmp_path):
    out = tmp_path / "c"
    build_corpus([genome[0]], out, tok, window_bp=80)
    before = (out / "corpus.json").stat().st_mtime_ns
    build_corpus([genome[0]], out, tok, window_bp=80)
    assert (out / "corpus.json").stat().st_mtime_ns == before
    with pytest.raises(CorpusError, match="built with window_bp 80, asked for 81"):
        build_corpus([genome[0]], out, tok, window_bp=81)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(CorpusError, match="not a corpus"):
        build_corpus([genome[0]], tmp_path / "other", tok)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "precious"


def test_bad_input_leaves_nothing(genome, tmp_path):
    bad = tmp_path / "bad.fa"
    bad.write_text("not fasta")
    with pytest.raises(FastaError, match=r"bad\.fa"):
        build_corpus([genome[0], bad], tmp_path / "c", tok)
    bad.write_text(">only\nNNNN\n")
    with pytest.raises(CorpusError, match="no run of A, C, G, T has 100 bases"):
        build_corpus([bad], tmp_path / "c", tok)
    with pytest.raises(ValueError, match="window_bp: 0 is not positive"):
        build_corpus([genome[0]], tmp_path / "c", tok, window_bp=0)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.fa"]


def test_damage_is_found(genome, tmp_path):
    corpus = build_corpus([genome[0]], tmp_path / "c", tok)
    shard = tmp_path / "c" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorpusError, match="not as it was written"):
        corpus.verify()
    shard.write_bytes(whole[:-8])
    with pytest.raises(CorpusError, match=r"shard-00000.*were written"):
        Corpus.open(tmp_path / "c")
    shard.unlink()
    with pytest.raises(CorpusError, match="is missing"):
        Corpus.open(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="not valid JSON"):
        Corpus.open(tmp_path / "c")
    with pytest.raises(CorpusError, match='split="test"'):
        Corpus.open(tmp_path / "c", "test")
