"""A corpus holds the genome it was built from, whole or not at all."""

import json
import math
import pickle
import random
import re
import shutil
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert2_fast import Corpus, Tokenizer, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CorpusError, FastaError
from dnabert2_fast.io import SourceFile

tok = Tokenizer.from_pretrained("dnabert2")
COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


@pytest.fixture(scope="module")
def corpus(genome, tmp_path_factory):
    """Many small shards, both strands, a third held out."""
    out = tmp_path_factory.mktemp("corpus") / "c"
    return build_corpus(
        [genome[0]],
        out,
        tok,
        CorpusConfig(
            window_bp=60, min_bp=40, both_strands=True, valid_fraction=1 / 3, shard_tokens=900
        ),
    )


def steps(number, share, phase):
    return math.floor(number * share + phase) > math.floor((number - 1) * share + phase)


def naive(records, *, window, stride, minimum, both, other, repeats, valid, keep=1.0):
    """Windows of each split: the rules of `build_corpus`, one window after the other."""
    pieces = []
    for name, text in records.items():
        runs = (
            [(0, text)]
            if other != "split"
            else [(m.start(), m[0]) for m in re.finditer("[ACGTacgt]+", text)]
        )
        for offset, run in runs:
            width, start = window or len(run), 0
            while start < len(run):
                piece = run[start : start + width]
                # A later window must hold a letter that the one before lacks.
                if start == 0 or len(piece) > max(0, width - stride):
                    pieces.append((name, offset + start, piece))
                start += stride if window else len(run)
    found, seen, splits = 0, set(), ([], [])
    chosen = 0
    for name, start, piece in pieces:
        bases = sum(letter in "ACGTacgt" for letter in piece)
        if bases < minimum or (other == "drop" and bases < len(piece)):
            continue
        found += 1
        if not steps(found, keep, 0.5) or (not repeats and piece.upper() in seen):
            continue
        seen.add(piece.upper())
        held_out = steps(chosen // 64 + 1, valid, 0.5)
        chosen += 1
        rows = [(name, start, start + len(piece), 1, piece)]
        if both:
            rows.append((*rows[0][:3], -1, piece[::-1].translate(COMPLEMENT)))
        splits[held_out].extend(rows)
    return splits


def held(folder):
    """Windows of each split as the corpus has them."""
    splits = []
    for split in ("train", "valid"):
        part = Corpus.open(folder, split)
        ids = part.gather(np.arange(len(part))).to_list()
        splits.append([(*part.where(i)[1:5], row) for i, row in enumerate(ids)])
    return splits


@settings(max_examples=25, deadline=None)
@given(
    window=st.none() | st.integers(20, 3000),
    stride=st.integers(50, 3000),
    minimum=st.integers(1, 60),
    both=st.booleans(),
    other=st.sampled_from(["split", "drop", "keep"]),
    repeats=st.booleans(),
    valid=st.sampled_from([0, 0.05, 0.5, 1]),
    shard_tokens=st.sampled_from([300, 5000, 10**6]),
)
def test_a_corpus_is_what_the_settings_say(
    genome, tmp_path_factory, window, stride, minimum, both, other, repeats, valid, shard_tokens
):
    out, minimum = tmp_path_factory.mktemp("rules") / "c", min(minimum, window or minimum)
    build_corpus(
        [genome[0]],
        out,
        tok,
        CorpusConfig(
            window_bp=window,
            stride_bp=stride,
            min_bp=minimum,
            both_strands=both,
            other_letters=other,
            deduplicate=not repeats,
            valid_fraction=valid,
            shard_tokens=shard_tokens,
        ),
    )
    options = {"window": window, "stride": stride, "minimum": minimum, "both": both, "other": other}
    wanted = naive(genome[1], **options, repeats=repeats, valid=valid)
    for rows, want in zip(held(out), wanted, strict=True):
        assert [row[:4] for row in rows] == [row[:4] for row in want]
        assert [row[4] for row in rows] == [tok.encode(row[4]).tolist() for row in want]
    shutil.rmtree(out)


def test_drawn_lengths_lie_side_by_side(genome, tmp_path):
    options = {"window_bp": 200, "min_window_bp": 50, "min_bp": 1, "valid_fraction": 0}
    windows = {}
    for seed in (0, 0, 1):
        build_corpus([genome[0]], tmp_path / f"c{seed}", tok, CorpusConfig(seed=seed, **options))
        windows[seed] = [row[:3] for row in held(tmp_path / f"c{seed}")[0]]
    assert windows[0] != windows[1]
    drawn = []
    for name, text in genome[1].items():
        runs = [(m.start(), m.end()) for m in re.finditer("[ACGTacgt]+", text)]
        mine = [row[1:] for row in windows[0] if row[0] == name]
        ends = {end for _, end in runs}
        assert [start for start, _ in mine if start not in dict(runs)] == [
            end for _, end in mine if end not in ends
        ]
        drawn += [end - start for start, end in mine if end not in ends]
    assert min(drawn) >= 50
    assert max(drawn) <= 200
    assert 110 < np.mean(drawn) < 140
    assert len(set(drawn)) > 80


def test_bytes_do_not_depend_on_threads_packing_or_time(genome, tmp_path):
    import gzip

    packed = tmp_path / "packed" / "g.fa"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(genome[0].read_bytes()))
    folders = []
    for name, file, threads in (("one", genome[0], 1), ("two", genome[0], 2), ("gz", packed, 3)):
        build_corpus([file], tmp_path / name, tok, CorpusConfig(window_bp=70), threads=threads)
        folders.append(contents(tmp_path / name, but="corpus.json"))
    assert folders[0] == folders[1] == folders[2]


def test_records_of_one_name_in_several_files_are_one_dictionary_entry(tmp_path):
    """Arrow writes uninitialised memory for a dictionary with a name twice."""
    for number in range(3):
        letters = "".join(random.Random(number).choices("ACGT", k=2_000))
        (tmp_path / f"{number}.fa").write_text(f">chr1\n{letters}\n>chr2\n{letters}\n")
    build_corpus(sorted(tmp_path.glob("*.fa")), tmp_path / "c", tok, window_bp=100)
    column = pq.read_metadata(tmp_path / "c" / "shard-00000.parquet").row_group(0).column(1)
    assert "RLE_DICTIONARY" in column.encodings
    names = Corpus.open(tmp_path / "c").origins()["record"].combine_chunks().dictionary
    assert names.to_pylist() == ["chr1", "chr2"]


def test_windows_of_many_times_the_letters(genome, tmp_path):
    """The cutting thread must also encode and write when the windows exceed the queue's limit."""
    options = {"window_bp": 1000, "stride_bp": 2, "shard_tokens": 1 << 16, "both_strands": True}
    folders = []
    for threads in (1, 2, 5):
        corpus = build_corpus(
            [genome[0]], tmp_path / f"{threads}", tok, CorpusConfig(**options), threads=threads
        )
        folders.append(contents(corpus.folder))
    assert folders[0] == folders[1] == folders[2]
    options = {"window": 1000, "stride": 2, "minimum": 100, "both": True, "other": "split"}
    train, _ = naive(genome[1], **options, repeats=True, valid=0.05)
    assert len(corpus) == len(train)
    assert all(corpus.where(i)[1:4] == train[i][:3] for i in range(0, len(train), 997))


def contents(folder, but=""):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != but}


def test_caps_species_and_groups(genome, tmp_path):
    other = tmp_path / "g.fa"  # of the same name, in another folder
    other.write_text(">x\n" + "ACGGTCA" * 3000 + "\n")
    inputs = [
        SourceFile(genome[0], "yeast", "fungi", 2.0, 8_000),
        SourceFile(other, "phage", "viruses"),
    ]
    out = build_corpus(
        inputs, tmp_path / "c", tok, CorpusConfig(window_bp=100, valid_fraction=0)
    ).folder
    corpus = Corpus.open(out)
    bases = sum(sum(c in "ACGTacgt" for c in text) for text in genome[1].values())
    options = {"window": 100, "stride": 100, "minimum": 10, "both": False, "other": "split"}
    want, _ = naive(genome[1], **options, repeats=True, valid=0, keep=8_000 / bases)
    where = [corpus.where(i) for i in range(len(corpus))]
    assert [w[1:4] for w in where if w.species == "yeast"] == [row[:3] for row in want]
    assert abs(sum(row[2] - row[1] for row in want) - 8_000) <= 200
    assert {(w.species, w.group) for w in where} == {("yeast", "fungi"), ("phage", "viruses")}
    assert len({w.file for w in where}) == 2  # the folder distinguishes files of one name
    assert set(corpus.by_species) == {"yeast", "phage"}
    assert sum(corpus.by_species.values()) == corpus.tokens
    assert [weight for _, weight in corpus.weights] == [2.0, 1.0]
    read = corpus.read[0]
    assert read["bases"] == bases
    assert read["windows"] == len(want)
    assert read["left_out"] > 100
    assert corpus.origins().to_pylist() == [w._asdict() for w in where]


@given(st.lists(st.integers(0, 10**6), max_size=40))
def test_gather_keeps_the_order_asked_for(corpus, numbers):
    indices = [number % len(corpus) for number in numbers]
    one_by_one = [corpus.gather([i]).to_list()[0] for i in indices]
    assert corpus.gather(indices).to_list() == one_by_one
    assert corpus.lengths_of(indices).tolist() == [len(row) for row in one_by_one]


def test_it_is_a_sequence_of_windows(corpus, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.corpus.read.WINDOWS_AT_ONCE", 7)
    rows = corpus.gather(np.arange(len(corpus))).to_list()
    assert [ids.tolist() for ids in corpus] == rows
    assert corpus[np.int64(3)].tolist() == rows[3]
    assert corpus[-1].tolist() == rows[-1]
    with pytest.raises(IndexError):
        corpus[len(corpus)]


def test_a_tokenizer_by_name(genome, tmp_path):
    config = CorpusConfig(window_bp=80)
    named = build_corpus([genome[0]], tmp_path / "named", "dnabert2", config)
    assert named.fingerprint == build_corpus([genome[0]], tmp_path / "c", tok, config).fingerprint


def test_indices_out_of_range(corpus):
    for index in (-1, len(corpus)):
        with pytest.raises(IndexError, match=r"windows are numbered 0 to \d+ \(got -?\d+\)\."):
            corpus.gather([0, index])
    with pytest.raises(IndexError):
        corpus.where(len(corpus))


def test_a_mask_is_not_taken_for_numbers(corpus):
    long = corpus.lengths > 12
    for wrong in (long, long.tolist(), [0.5, 1.0], [[0, 1], [2, 3]]):
        for ask in (corpus.gather, corpus.lengths_of):
            with pytest.raises(ValueError, match="must be a list of integers"):
                ask(wrong)
    assert len(corpus.gather(np.flatnonzero(long))) == long.sum()
    assert corpus.gather([]).to_list() == []
    assert corpus.gather(np.uint8(1)).to_list() == corpus.gather([1]).to_list()


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


def test_a_shard_is_readable_with_safetensors(corpus):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    tensors = numpy_reader.load_file(corpus.folder / "shard-00000.safetensors")
    first = corpus.gather([0]).values
    assert tensors["input_ids"][: len(first)].tolist() == first.tolist()


def test_pickled_and_described(corpus):
    again = pickle.loads(pickle.dumps(corpus))
    assert again.gather([3]).to_list() == corpus.gather([3]).to_list()
    assert corpus.tokenizer.fingerprint == corpus.fingerprint == tok.fingerprint
    corpus.verify()


def test_the_case_policy_comes_back(genome, tmp_path):
    compat = Tokenizer.from_pretrained("dnabert2", case="compat")
    corpus = build_corpus(
        [genome[0]], tmp_path / "c", compat, CorpusConfig(window_bp=None, min_bp=5)
    )
    assert corpus.tokenizer.case == "compat"
    where = corpus.where(0)
    assert genome[1][where.record][where.start : where.end].isupper()


def test_same_again_is_reused_and_other_settings_are_refused(genome, tmp_path):
    out = tmp_path / "c"
    build_corpus([genome[0]], out, tok, CorpusConfig(window_bp=80))
    before = (out / "corpus.json").stat().st_mtime_ns
    build_corpus([genome[0]], out, tok, CorpusConfig(window_bp=80))
    assert (out / "corpus.json").stat().st_mtime_ns == before
    with pytest.raises(CorpusError, match=r"other settings: window_bp 80 \(requested 81\)"):
        build_corpus([genome[0]], out, tok, CorpusConfig(window_bp=81))
    other = Tokenizer.train([genome[0]], vocab_size=40)
    with pytest.raises(CorpusError, match="other settings: tokenizer_sha256"):
        build_corpus([genome[0]], out, other, CorpusConfig(window_bp=80))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(CorpusError, match="not a corpus"):
        build_corpus([genome[0]], tmp_path / "other", tok)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "precious"


def test_bad_input_is_named(genome, tmp_path):
    bad = tmp_path / "bad.fa"
    bad.write_text(">only\nNNNN\n")
    with pytest.raises(CorpusError, match="no window has 100 bases"):
        build_corpus([bad], tmp_path / "c", tok)
    for wrong, message in (
        ({"window_bp": 0}, r"window_bp: must be at least 1 \(got 0\)\."),
        ({"valid_fraction": 2}, "valid_fraction: must be between 0 and 1"),
        ({"window_bp": 20, "min_bp": 21}, "min_bp: must be at most window_bp, 20"),
        ({"min_window_bp": 2000}, "min_window_bp: must be at most window_bp"),
        ({"min_window_bp": 20, "stride_bp": 5}, "whose windows are adjacent"),
        ({"other_letters": "burn"}, "other_letters: must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            build_corpus([genome[0]], tmp_path / "w", tok, CorpusConfig(**wrong))
    assert not (tmp_path / "c").exists()
    bad.write_text("not fasta")
    with pytest.raises(FastaError, match=r"bad\.fa"):
        build_corpus([genome[0], bad], tmp_path / "c", tok)
    assert not (tmp_path / "c").exists()


def test_real_genomes(shared, tmp_path):
    """Windows of a real genome are those that its records have."""
    path = shared / "data" / "genomes" / "vertebrates_8species_region_softmasked.fa.gz"
    corpus = build_corpus(
        [path], tmp_path / "c", tok, CorpusConfig(window_bp=500, valid_fraction=0)
    )
    records = {record.name: record.sequence for record in read_fasta(path)}
    for i in random.Random(0).sample(range(len(corpus)), 300):
        where = corpus.where(i)
        window = records[where.record][where.start : where.end]
        assert corpus.gather([i]).to_list()[0] == tok.encode(window).tolist()
    bases = sum(sum(s.upper().count(base) for base in "ACGT") for s in records.values())
    assert corpus.read[0]["bases"] == bases


@pytest.mark.slow
def test_a_corpus_of_all_genomes(shared, tmp_path):
    """Twenty species, both strands: no base is lost, and windows match their recorded origin."""
    paths = sorted((shared / "data" / "genomes").glob("*.fa.gz"))
    inputs = [SourceFile(path, path.name.partition("_")[0]) for path in paths]
    corpus = build_corpus(
        inputs, tmp_path / "c", tok, CorpusConfig(both_strands=True, valid_fraction=0.02)
    )
    corpus.verify()
    held_out = Corpus.open(tmp_path / "c", "valid")
    assert 0.01 < len(held_out) / (len(corpus) + len(held_out)) < 0.03
    for path, read in zip(paths, corpus.read, strict=True):
        bases, letters = 0, 0
        for record in read_fasta(path):
            text = record.sequence.upper()
            bases += sum(map(text.count, "ACGT"))
            letters += len(text)
        assert (read["bases"], sum(read["other_letters"].values())) == (bases, letters - bases)
    rng = random.Random(0)
    for part in (corpus, held_out):
        picked = {}
        for i in rng.sample(range(len(part)), 400):
            where = part.where(i)
            picked.setdefault(where.file, []).append((i, where))
        for path in paths:
            wanted = {where.record for _, where in picked.get(path.name, [])}
            records = {r.name: r.sequence for r in read_fasta(path) if r.name in wanted}
            for i, where in picked.get(path.name, []):
                window = records[where.record][where.start : where.end]
                if where.strand == -1:
                    window = window[::-1].translate(COMPLEMENT)
                assert part.gather([i]).to_list()[0] == tok.encode(window).tolist()
