"""The tokenizer gives Hugging Face `tokenizers`' ids, offsets and text, exactly."""

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.stock import HAS_PARTS, needs_parts
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference

from dnabert2_fast import Tokenizer, read_fasta
from dnabert2_fast.errors import TokenizerError
from dnabert2_fast.tokenizer import PACKAGED, TrainingConfig

PUBLISHED = PACKAGED["dnabert2"]
reference = Reference.from_file(str(PUBLISHED))
compat = Tokenizer.from_pretrained("dnabert2", case="compat")

bases = st.text("ACGT", max_size=300)
repeats = st.builds(
    lambda unit, k: unit * k, st.text("ACGT", min_size=1, max_size=4), st.integers(1, 90)
)
letters = st.text("ACGTacgtNnRYUu-_ \t\n.[]é中\u3000\u0301", max_size=60)
specials = st.sampled_from(["[MASK]", "[UNK]", "[CLS]", "[mask]", "[MASK", " [SEP] "])
awkward = st.lists(
    st.one_of(bases, repeats, letters, specials, st.text(max_size=20)), max_size=5
).map("".join)


@given(awkward)
def test_ids_and_offsets_of_any_text(text):
    want, got = reference.encode(text), compat.encode_detailed(text)
    assert got.ids.tolist() == want.ids
    if HAS_PARTS:
        assert list(map(tuple, got.offsets.tolist())) == want.offsets
        assert got.type_ids.tolist() == want.type_ids
        assert compat.tokens(got.ids) == want.tokens
    hf_text = compat.decode(got.ids, unknown="", separator=" ")
    assert hf_text == reference.decode(want.ids)


@needs_parts
@given(awkward, awkward, st.booleans())
def test_pairs(first, second, special):
    want = reference.encode(first, second, add_special_tokens=special)
    got = compat.encode_detailed(first, second, add_special_tokens=special)
    assert got.ids.tolist() == want.ids
    assert got.type_ids.tolist() == want.type_ids
    assert list(map(tuple, got.offsets.tolist())) == want.offsets


@needs_parts
@given(
    bases | st.text("ACGT", max_size=3),
    st.none() | bases | st.text("ACGT", max_size=3),
    st.integers(3, 60) | st.integers(3, 6),
    st.sampled_from(["longest_first", "only_first", "only_second"]),
    st.sampled_from(["left", "right"]),
)
def test_truncation(first, second, length, strategy, side):
    truncating = Reference.from_file(str(PUBLISHED))
    truncating.enable_truncation(length, strategy=strategy, direction=side)
    kwargs = {"max_length": length, "truncation": strategy, "truncation_side": side}
    try:
        want = (
            truncating.encode(first, second).ids
            if second is not None
            else truncating.encode(first).ids
        )
    except Exception:
        with pytest.raises(ValueError, match="cannot remove"):
            compat.encode(first, second, **kwargs)
        return
    assert compat.encode(first, second, **kwargs).tolist() == want


@given(st.lists(awkward, max_size=8), st.none() | st.integers(2, 30), st.booleans())
def test_batch_is_one_by_one(texts, length, special):
    batch = compat.encode_batch(texts, max_length=length, add_special_tokens=special)
    single = [
        compat.encode(t, max_length=length, add_special_tokens=special).tolist() for t in texts
    ]
    assert batch.to_list() == single
    as_bytes = compat.encode_batch(
        [t.encode() for t in texts], max_length=length, add_special_tokens=special
    )
    assert as_bytes.to_list() == single


@given(st.one_of(bases, repeats))
def test_decode_and_offsets_from_ids(text):
    ids = compat.encode(text)
    assert compat.decode(ids) == text
    assert compat.offsets(ids).tolist() == compat.encode_detailed(text).offsets.tolist()


def test_known_encoding():
    text = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
    ids = [1, 5, 194, 32, 757, 1239, 2092, 294, 24, 359, 88, 93, 32, 75, 77, 19, 2]
    assert Tokenizer.from_pretrained("dnabert2").encode(text).tolist() == ids
    assert Tokenizer.from_pretrained("dnabert2").encode(text.lower()).tolist() == ids


def test_policies():
    split = Tokenizer.from_pretrained("dnabert2", unknown="split")
    assert split.tokens(split.encode("acNNgt")) == ["[CLS]", "A", "C", "GT", "[SEP]"]
    strict = Tokenizer.from_pretrained("dnabert2", unknown="error")
    with pytest.raises(TokenizerError, match=r"sequence 1: 'N' at 2 \(0-based\)"):
        strict.encode_batch(["ACGT", "ACNGT"])
    with pytest.raises(TokenizerError, match=r"^sequence 1: 'N' at 2 \(0-based\)"):
        strict.encode_batch_detailed(["ACGT", "ACNGT"], ["ACGT", "ACGTN"])
    with pytest.raises(TokenizerError, match=r"^pair of sequence 1: 'N' at 4 \(0-based\)"):
        strict.encode_batch_detailed(["ACGT", "ACGT"], ["ACGT", "ACGTN"])
    upper = Tokenizer.from_pretrained("dnabert2")
    assert upper.decode(upper.encode("acNNgt")) == "ACNNGT"
    assert upper.offsets(upper.encode("acNNgt")).tolist() == [
        [0, 0],
        [0, 1],
        [1, 2],
        [2, 3],
        [3, 4],
        [4, 6],
        [0, 0],
    ]


def test_threads_do_not_change_ids():
    rng = random.Random(1)
    texts = [
        "".join(rng.choices("ACGTN", weights=[9, 9, 9, 9, 1], k=rng.randrange(4000)))
        for _ in range(101)
    ]
    one = compat.encode_batch(texts, threads=1)
    for threads in (0, 2, 7):
        many = compat.encode_batch(texts, threads=threads)
        assert np.array_equal(one.values, many.values)
        assert np.array_equal(one.offsets, many.offsets)


FOLDERS = ["dnabert2", "gena_t2t_1000h_multi_32k", "metagene1_mgfm1024", "tiny_bpe100"]


@pytest.fixture(scope="module")
def chunks(shared):
    """Three chunks of the first record of every genome."""
    rng, found = random.Random(5), {}
    for genome in sorted((shared / "data" / "genomes").glob("*.fa.gz")):
        record = next(iter(read_fasta(genome))).sequence
        starts = [rng.randrange(max(1, len(record) - 20_000)) for _ in range(3)]
        lengths = (101, 3000, 20_000)
        found[genome.name] = [record[s : s + n] for s, n in zip(starts, lengths, strict=True)]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_genome(shared, chunks, folder):
    path = shared / "data" / "tokenizers" / folder / "tokenizer.json"
    ours, theirs = Tokenizer.from_file(path, case="compat"), Reference.from_file(str(path))
    for genome, texts in chunks.items():
        assert ours.encode_batch(texts).to_list() == [e.ids for e in theirs.encode_batch(texts)], (
            genome
        )


def with_gaps_and_n() -> Reference:
    """A small tokenizer laid out as GENA-LM's: runs of N are one token, N is a letter."""
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Reference(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Replace(Regex("N{10,}"), "-")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("-", "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=200,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "-"],
        show_progress=False,
    )
    rng = random.Random(9)
    lines = ["".join(rng.choices("ACGTN", [9, 9, 9, 9, 4], k=300)) + "N" * 15 for _ in range(50)]
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


@pytest.mark.parametrize("name", [pytest.param("gaps", marks=needs_parts), *FOLDERS[1:]])
def test_any_text_with_other_vocabularies(request, tmp_path, name):
    path = tmp_path / "tokenizer.json"
    if name == "gaps":
        with_gaps_and_n().save(str(path))
    else:
        shared = request.getfixturevalue("shared")
        path = shared / "data" / "tokenizers" / name / "tokenizer.json"
    ours, theirs = Tokenizer.from_file(path, case="compat"), Reference.from_file(str(path))
    gaps = st.builds(lambda n: "N" * n, st.integers(1, 25))
    text = st.lists(st.one_of(awkward, gaps, st.text("ACGTN_-\n ", max_size=40)), max_size=6)

    @given(text.map("".join))
    def check(text):
        want, got = theirs.encode(text), ours.encode_detailed(text)
        assert got.ids.tolist() == want.ids
        if not HAS_PARTS:
            return
        # Hugging Face gives a gap the offsets of its last letter; here they span all its letters.
        spans = [
            (end - 1, end) if token == "-" else (start, end)
            for token, (start, end) in zip(want.tokens, got.offsets.tolist(), strict=True)
        ]
        assert spans == want.offsets

    check()
    if name == "gaps":
        ids = ours.encode("AC" + "N" * 12 + "GT")
        assert ours.decode(ids) == "ACNGT"
        with pytest.raises(ValueError, match="is not fixed; use encode_detailed"):
            ours.offsets(ids)


def test_pickle_fork_and_no_torch(tmp_path):
    code = """
import os, pickle, sys
from dnabert2_fast import Tokenizer, Ragged, read_fasta
tok = Tokenizer.from_pretrained("dnabert2")
ids = tok.encode_batch(["ACGTTGCA" * 2000] * 20).to_list()
assert pickle.loads(pickle.dumps(tok)).encode_batch(["ACGTTGCA" * 2000] * 20).to_list() == ids
child = os.fork()
if child == 0:
    os._exit(0 if tok.encode_batch(["ACGTTGCA" * 2000] * 20).to_list() == ids else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
tok.save("t.json"); tok.decode(tok.encode("ACGT")); tok.offsets([1, 5, 2])
Tokenizer.train(["ACGTACGATTTACA"], vocab_size=12)
heavy = {"torch", "transformers", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)


def test_save_is_read_by_both(tmp_path):
    compat.save(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_bytes() == PUBLISHED.read_bytes()
    assert Tokenizer.from_pretrained(tmp_path / "t.json").fingerprint == compat.fingerprint
    assert pickle.loads(pickle.dumps(compat)).encode("acgt").tolist() == [1, 0, 0, 0, 0, 2]
    (tmp_path / "tokenizer.json").write_bytes(PUBLISHED.read_bytes())
    assert Tokenizer.from_pretrained(tmp_path).vocab_size == 4096


def pieces_of(genome: Path, count: int, window_bp: int) -> list[str]:
    text = "".join(r.sequence for r in read_fasta(genome)).upper()
    return [text[i : i + window_bp] for i in range(0, count * window_bp, window_bp)]


def hf_train(pieces: list[str], vocab_size: int, min_frequency: int = 0) -> Reference:
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = Reference(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer


@needs_parts
@pytest.mark.parametrize(
    ("vocab_size", "window_bp", "min_frequency"),
    # Slots have 1 byte, 2 from 127 tokens on, 4 from 32,767 on; short windows train in a second.
    [
        (300, 100, 0),
        (1024, 1000, 0),
        (5000, 1000, 4),
        (33_500, 100, 0),
        pytest.param(40_000, 1000, 0, marks=pytest.mark.full),
    ],
)
def test_training_equals_hugging_face(vocab_size, window_bp, min_frequency, tmp_path):
    genome = PUBLISHED.parent / "demo" / "hpylori_G27.fa.gz"
    pieces = pieces_of(genome, 300_000 // window_bp, window_bp)
    pieces += ["A" * 997, "CA" * 311, "GATA" * 101, "AT", "T"]
    # window_bp cuts the long repeats on our side; the peer gets them cut.
    cut = [p[i : i + window_bp] for p in pieces for i in range(0, len(p), window_bp)]
    theirs = json.loads(hf_train(cut, vocab_size, min_frequency).to_str())["model"]
    config = TrainingConfig(window_bp=window_bp, min_frequency=min_frequency)
    ours = Tokenizer.train(pieces, vocab_size, config)
    ours.save(tmp_path / "ours.json")
    saved = json.loads((tmp_path / "ours.json").read_text())["model"]
    assert [m.split() for m in saved["merges"]] == theirs["merges"]
    assert saved["vocab"] == theirs["vocab"]
    assert vocab_size == 5000 or len(saved["vocab"]) == vocab_size  # 5000: the frequency ends it
    read_back = Reference.from_file(str(tmp_path / "ours.json"))
    text = pieces[7] + "NNacgt"
    assert (
        read_back.encode(text).ids
        == Tokenizer.from_file(tmp_path / "ours.json", case="compat").encode(text).tolist()
    )


@needs_parts
@pytest.mark.parametrize(
    ("bases", "vocab_size"), [(150_000, 700), pytest.param(800_000, 2000, marks=pytest.mark.full)]
)
@pytest.mark.parametrize(
    "name", ["human_chr22_20-21M_GRCh38", "plasmodium_falciparum", "ecoli_K12_MG1655", "ssuis_SC84"]
)
def test_training_on_several_genomes(shared, tmp_path, name, bases, vocab_size):
    text = next(iter(read_fasta(shared / "data" / "genomes" / f"{name}.fa.gz"))).sequence.upper()
    pieces = [text[i : i + 1000] for i in range(0, bases, 1000)]
    pieces = [piece for piece in pieces if set(piece) <= set("ACGT")]
    assert len(pieces) > 100
    theirs = json.loads(hf_train(pieces, vocab_size).to_str())["model"]["merges"]
    for threads in (1, 2, 3):
        Tokenizer.train(pieces, vocab_size, threads=threads).save(tmp_path / "t.json")
        saved = json.loads((tmp_path / "t.json").read_text())["model"]["merges"]
        assert [merge.split() for merge in saved] == theirs


def test_training_input():
    with pytest.raises(TypeError, match="must be a list of paths or sequences"):
        Tokenizer.train("ACGT")
    with pytest.raises(ValueError, match="no A, C, G or T"):
        Tokenizer.train(["NNNN"])
    with pytest.raises(FileNotFoundError):
        Tokenizer.train(["missing.fa"])
    assert Tokenizer.train([b"ACACAC", "acacac"], vocab_size=10).vocabulary[-1] == "AC"


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "large_binary"])
def test_arrow_and_numpy_arrays_are_read_as_lists_are(kind):
    texts = ["ACGTTGCA", "", "ttgacaN", "GATTACA" * 40, "A"]
    want = compat.encode_batch(texts).to_list()
    array = pa.array(texts, pa.string()).cast(kind)
    assert compat.encode_batch(array).to_list() == want
    assert compat.encode_batch(array[1:4], threads=2).to_list() == want[1:4]
    chunked = pa.chunked_array([array[:2], array[2:]])
    assert compat.encode_batch(chunked, max_length=4).to_list() == [
        compat.encode(text, max_length=4).tolist() for text in texts
    ]
    assert compat.encode_batch(array[:0]).to_list() == []
    assert compat.encode_batch(pa.array([""]).cast(kind)).to_list() == [want[1]]
    assert compat.encode_batch(np.array([t.encode() for t in texts])).to_list() == want
    assert compat.encode_batch(np.array(texts, dtype=object)).to_list() == want
    with pytest.raises(TypeError, match=r"element 1 must be str or bytes \(got None\)"):
        compat.encode_batch(pa.array(["ACGT", None]).cast(kind))
    with pytest.raises(TypeError, match="an Arrow array of int64"):
        compat.encode_batch(pa.array([1]))
    with pytest.raises(TypeError, match="must be a list of sequences"):
        compat.encode_batch("ACGT")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: Tokenizer.from_file(p / "none.json"), FileNotFoundError, "none.json"),
        (lambda p: Tokenizer.from_pretrained(p), FileNotFoundError, "tokenizer.json"),
        (
            lambda p: Tokenizer.from_file(PUBLISHED, case="lower"),
            ValueError,
            "case: must be one of",
        ),
        (
            lambda p: compat.encode("ACGT", max_length=1),
            ValueError,
            "must be at least 2, the special tokens",
        ),
        (lambda p: compat.decode([4096]), ValueError, "ids: must be below 4096 \\(got 4096\\)"),
        (lambda p: compat.decode([-1]), ValueError, "between 0 and 65535"),
        (lambda p: compat.decode([5.9]), ValueError, "must be integers .got float64"),
        (lambda p: compat.decode(np.ones((2, 2), int)), ValueError, "Pass the rows one by one"),
        (lambda p: compat.tokens(compat.encode_batch(["A"])), ValueError, "the rows one by one"),
        (lambda p: compat.tokens([4096]), ValueError, "ids: must be below 4096 \\(got 4096\\)"),
        (
            lambda p: compat.encode_batch([None]),
            TypeError,
            r"element 0 must be str or bytes \(got None\)",
        ),
        (lambda p: compat.encode(5), TypeError, r"must be one str or bytes \(got int\)"),
        (lambda p: compat.encode("A\ud800"), ValueError, "surrogates not allowed"),
        (lambda p: compat.encode("A", max_length=-1), ValueError, "max_length: must be at least 0"),
        (lambda p: compat.encode("A", "C", seed=-1), ValueError, "seed: must be between 0 and"),
        (
            lambda p: compat.encode_batch(["A"], threads=-1),
            ValueError,
            "threads: must be at least 0",
        ),
    ],
)
def test_errors(call, error, message, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_the_first_strange_letter_is_named_whatever_the_threads():
    strict = Tokenizer.from_pretrained("dnabert2", unknown="error")
    texts = ["ACGT" * 300_000 + "N", "ACGT" * 2_200_000 + "R"]  # the second is a giant
    for threads in (1, 2):
        with pytest.raises(TokenizerError, match=r"sequence 0: 'N' at 1200000"):
            strict.encode_batch(texts, threads=threads)


def test_threads_share_one_tokenizer():
    from concurrent.futures import ThreadPoolExecutor

    text = "ACGTTGCATTAGC" * 500
    want = compat.encode(text).tolist()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert all(got.tolist() == want for got in pool.map(compat.encode, [text] * 32))
