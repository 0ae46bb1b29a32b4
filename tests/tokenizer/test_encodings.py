"""Windows, batches with coordinates, other matchings, dropout, strands, replaced letters."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from helpers.dna import reverse_complement
from helpers.stock import needs_parts
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference

from dnabert2_fast import Ragged, Tokenizer, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.tokenizer import PACKAGED

PUBLISHED = PACKAGED["dnabert2"]
compat = Tokenizer.from_pretrained("dnabert2", case="compat")
texts = st.lists(st.text("ACGTN ", max_size=200), max_size=5)


@needs_parts
@given(texts, st.integers(3, 20), st.integers(0, 10), st.sampled_from(["left", "right"]))
def test_windows_are_the_overflowing_parts(sequences, length, stride, side):
    truncating = Reference.from_file(str(PUBLISHED))
    if stride >= length - 2:
        with pytest.raises(ValueError, match="stride"):
            compat.encode_windows(sequences, length, stride=stride)
        return
    truncating.enable_truncation(length, stride=stride, direction=side)
    ids, sample, spans = [], [], []
    for index, text in enumerate(sequences):
        first = truncating.encode(text)
        for part in [first, *first.overflowing]:
            ids.append(part.ids)
            sample.append(index)
            own = [o for o in part.offsets if o != (0, 0)]
            spans.append([own[0][0], own[-1][1]] if own else [0, 0])
    got = compat.encode_windows(sequences, length, stride=stride, truncation_side=side)
    assert got.ids.to_list() == ids
    assert got.sequence.tolist() == sample
    assert np.stack([got.start_bp, got.end_bp], axis=1).tolist() == spans


def test_windows_without_special_tokens_join_to_the_whole():
    text = "".join(random.Random(3).choices("ACGT", k=5000))
    windows = compat.encode_windows([text], 50, add_special_tokens=False)
    assert windows.ids.values.tolist() == compat.encode(text, add_special_tokens=False).tolist()
    assert compat.encode_windows([], 50).ids.to_list() == []


short = st.text("ACGTN", max_size=60)


@given(st.lists(st.tuples(short, short), max_size=4))
def test_batches_of_pairs_are_one_by_one(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    batch = compat.encode_batch_detailed(first, second, max_length=20, threads=2)
    single = [compat.encode_detailed(a, b, max_length=20) for a, b in pairs]
    assert batch.ids.to_list() == [one.ids.tolist() for one in single]
    assert batch.type_ids.tolist() == [t for one in single for t in one.type_ids.tolist()]
    assert batch.offsets.tolist() == [o for one in single for o in one.offsets.tolist()]
    with pytest.raises(ValueError, match="pairs: must be one per sequence"):
        compat.encode_batch_detailed([*first, "A", "C"], ["A"])


def longest_naively(text, pieces):
    out = []
    while text:
        piece = max((p for p in pieces if text.startswith(p)), key=len)
        out.append(piece)
        text = text[len(piece) :]
    return out


def longest_first_naively(text, pieces):
    """`pieces` by falling length, then in merge order."""
    piece = next((p for p in pieces if p in text), None)
    if piece is None:
        return []
    left, right = text.split(piece, 1)
    return [*longest_first_naively(left, pieces), piece, *longest_first_naively(right, pieces)]


def test_other_matchings():
    vocabulary = compat.vocabulary[5:]
    longest = Tokenizer.from_pretrained("dnabert2", matching="longest")
    first = Tokenizer.from_pretrained("dnabert2", matching="longest-first")
    by_length = sorted(vocabulary, key=lambda piece: -len(piece))
    parts = st.text("ACGT", max_size=60) | st.text("AT", max_size=60)

    @given(st.lists(parts, max_size=4).map("".join))
    def check(text):
        assert longest.tokens(longest.encode(text))[1:-1] == longest_naively(text, vocabulary)
        assert first.tokens(first.encode(text))[1:-1] == longest_first_naively(text, by_length)

    check()


def test_matching_is_recorded(tmp_path):
    genome = PUBLISHED.parent / "demo" / "hpylori_G27.fa.gz"
    tok = Tokenizer.from_pretrained("dnabert2", matching="longest")
    assert tok.fingerprint != compat.fingerprint
    tok.save(tmp_path / "longest.json")
    again = Tokenizer.from_file(tmp_path / "longest.json")
    assert (again.matching, again.fingerprint) == ("longest", tok.fingerprint)
    assert Tokenizer.from_file(tmp_path / "longest.json", matching="bpe").matching == "bpe"
    with pytest.raises(Exception, match=r"ModelUntagged|did not match|unknown.* model"):
        Reference.from_file(str(tmp_path / "longest.json"))
    corpus = build_corpus([genome], tmp_path / "corpus", tok, CorpusConfig(window_bp=1000))
    assert corpus.settings["matching"] == "longest"
    assert corpus.tokenizer.matching == "longest"
    assert json.loads((tmp_path / "corpus" / "corpus.json").read_text())["settings"]["matching"]
    text = next(iter(read_fasta(genome))).sequence[:300_000]
    ids = tok.encode(text[:500], add_special_tokens=False)
    assert longest_naively(text[:500], tok.vocabulary[5:]) == tok.tokens(ids)
    # Long enough to be compiled, against the same in pieces too short for it.
    whole, piece = tok.encode(text), Tokenizer.from_pretrained("dnabert2", matching="longest")
    start = 200_000
    cut = tok.offsets(whole)[:, 0].tolist()
    at = next(i for i, position in enumerate(cut) if position >= start)
    rest = piece.encode(text[cut[at] : cut[at] + 50_000])
    assert rest[1:-20].tolist() == whole[at : at + len(rest) - 21].tolist()


def test_dropout():
    text = "".join(random.Random(5).choices("ACGT", k=20_000))
    exact = compat.encode(text)
    assert compat.encode(text, dropout=0.0).tolist() == exact.tolist()
    assert compat.encode(text, dropout=1.0).tolist() == [1, *(5 + "ACGT".index(c) for c in text), 2]
    some = compat.encode(text, dropout=0.1, seed=1)
    assert compat.decode(some) == text
    assert some.tolist() == compat.encode(text, dropout=0.1, seed=1).tolist()
    assert some.tolist() != compat.encode(text, dropout=0.1, seed=2).tolist()
    pieces = [text[i : i + 500] for i in range(0, len(text), 500)]
    batch = [compat.encode_batch(pieces, dropout=0.2, seed=4, threads=t) for t in (1, 2)]
    assert batch[0].to_list() == batch[1].to_list()
    assert compat.encode_batch(pieces[:1] * 2, dropout=0.5)[0].tolist() != (
        compat.encode_batch(pieces[:1] * 2, dropout=0.5)[1].tolist()
    )
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            compat.encode(text, dropout=rate)


@needs_parts
def test_dropout_shortens_as_in_hugging_face():
    text = "".join(random.Random(5).choices("ACGT", k=20_000))
    pieces = [text[i : i + 500] for i in range(0, len(text), 500)]
    theirs = Reference.from_file(str(PUBLISHED))
    theirs.model.dropout = 0.2
    want = [sum(len(theirs.encode(p).ids) for p in pieces) for _ in range(3)]
    got = [len(compat.encode_batch(pieces, dropout=0.2, seed=s).values) for s in range(3)]
    assert np.mean(got) == pytest.approx(np.mean(want), rel=0.01)


upper = Tokenizer.from_pretrained("dnabert2")


@given(st.text("ACGTN", max_size=200), st.booleans())
def test_other_strand(text, special):
    tok = upper
    other = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    ids = tok.encode(text, add_special_tokens=special)
    flipped = tok.reverse_complement(ids)
    assert flipped.tolist() == tok.encode(other, add_special_tokens=special).tolist()
    batch = Ragged.from_list([ids, tok.encode("AAC", add_special_tokens=not special), ids])
    rows = tok.reverse_complement(batch).to_list()
    assert rows[0] == rows[2] == flipped.tolist()
    assert tok.decode(rows[1]) == "GTT"


def test_replaced_letters():
    tok = Tokenizer.from_pretrained("dnabert2")
    assert tok.replaced(["acgtNN", "ACRé-".encode()]) == (4, {"N": 2, "R": 1, "é": 1, "-": 1})
    assert str(tok.replaced(["acN"])) == (
        "2 lower-case letters read as upper-case; letters outside the vocabulary: 'N' 1"
    )
    assert str(tok.replaced(["AC GT"])) == "every letter has a token"
    # Bytes that are not valid UTF-8 count one by one, as they are encoded.
    assert tok.replaced([b"\xe2\x82NR"]).unknown == {"\ufffd": 2, "N": 1, "R": 1}
    assert compat.replaced(["acgt"]).unknown == {"a": 1, "c": 1, "g": 1, "t": 1}


def test_a_path_is_read_record_by_record(tmp_path, monkeypatch):
    genome = PUBLISHED.parent / "demo" / "hpylori_G27.fa.gz"
    records = [r.sequence for r in read_fasta(genome)]
    assert compat.encode_batch(genome).to_list() == compat.encode_batch(records).to_list()
    monkeypatch.setattr("dnabert2_fast.io.fasta.CHUNK_BP", 3)
    (tmp_path / "x.fa").write_text(">a\nACGT\n>b\nTTGA\n>c\nA\n")
    want = compat.encode_batch(["ACGT", "TTGA", "A"]).to_list()
    assert compat.encode_batch(tmp_path / "x.fa", threads=1).to_list() == want
    (tmp_path / "empty.fa").write_text("")
    with pytest.raises(Exception, match=r"empty\.fa"):
        compat.encode_batch(Path(tmp_path / "empty.fa"))


def test_reverse_complements_of_many_short_rows():
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ACGT"), length)) for length in rng.integers(0, 60, 500)]
    found = upper.reverse_complement(upper.encode_batch(rows))
    assert (
        found.to_list() == upper.encode_batch([reverse_complement(row) for row in rows]).to_list()
    )
