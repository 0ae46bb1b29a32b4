"""k-mer vocabularies against their rules, written out plainly."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import TokenizerError

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ESM = ["<unk>", "<pad>", "<mask>", "<cls>"]

texts = st.lists(
    st.one_of(st.text("ACGT", max_size=40), st.text("ACGTNacgtnRé-", max_size=12)), max_size=5
).map("".join)


def kmers(k, order="ACGT"):
    return ["".join(letters) for letters in product(order, repeat=k)]


def numbered(vocabulary):
    return {token: number for number, token in enumerate(vocabulary)}


def written(folder, tokens):
    path = folder / "vocab.txt"
    path.write_text("\n".join(tokens) + "\n")
    return path


def overlapping(text, k):
    """DNABERT: one token at every position; what is not in the vocabulary is unknown."""
    return [text[i : i + k] for i in range(len(text) - k + 1)]


def side_by_side(text, k):
    """Nucleotide Transformer: between N, k-mers from the left, then single letters."""
    tokens = []
    for i, part in enumerate(text.split("N")):
        whole = len(part) // k * k
        tokens += ["N"] * (i > 0) + [part[j : j + k] for j in range(0, whole, k)]
        tokens += list(part[whole:])
    return tokens


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_overlapping_kmers(tmp_path, k):
    vocabulary = BERT + kmers(k, "ATCG")
    tok = Tokenizer.from_file(written(tmp_path, vocabulary), case="compat")
    ids = numbered(vocabulary)

    @given(texts)
    def check(text):
        want = [ids.get(token, 1) for token in overlapping(text, k)]
        got = tok.encode_detailed(text)
        assert got.ids.tolist() == [2, *want, 3]
        assert got.offsets[1:-1].tolist() == [[i, i + k] for i in range(len(want))]
        assert tok.offsets(got.ids).tolist() == got.offsets.tolist()
        assert tok.encode(text).tolist() == [2, *want, 3]
        if set(text) <= set("ACGTN") and len(text) >= k:
            known = tok.decode(got.ids)
            assert len(known) == len(text)
            assert all(a in (b, "N") for a, b in zip(known, text, strict=True))
            assert "N" in text or known == text

    check()
    assert tok.matching == "kmers"
    assert (tok.cls_id, tok.sep_id, tok.pad_id, tok.mask_id, tok.unk_id) == (2, 3, 0, 4, 1)
    assert tok.special_ids == {0, 1, 2, 3, 4}
    pair = tok.encode("A" * k, "C" * k)
    a, c = vocabulary.index("A" * k), vocabulary.index("C" * k)
    assert pair.tolist() == [2, a, 3, c, 3]


def test_side_by_side_kmers(tmp_path):
    vocabulary = [*ESM, *kmers(6, "ATCG"), *"ATCGN"]
    tok = Tokenizer.from_file(written(tmp_path, vocabulary), case="compat")
    ids = numbered(vocabulary)
    parts = st.one_of(st.text("ACGT", max_size=40), st.text("ACGTN", max_size=9))

    @given(st.lists(parts).map("".join))
    def check(text):
        want = [3, *(ids[token] for token in side_by_side(text, 6))]
        got = tok.encode_detailed(text)
        assert got.ids.tolist() == want == tok.encode(text).tolist()
        assert tok.decode(got.ids) == text
        assert tok.offsets(got.ids).tolist() == got.offsets.tolist()

    check()


def test_long_texts_take_the_tight_loop(tmp_path):
    """Runs of bases longer than one read, between other letters."""
    text = ("ACGTTGCATTAGC" * 500 + "N" + "ACGGATTACA" * 333 + "nnR" + "GATTACA" * 900) * 3
    vocabulary = BERT + kmers(6)
    tok = Tokenizer.from_file(written(tmp_path, vocabulary), case="compat")
    ids = numbered(vocabulary)
    want = [ids.get(token, 1) for token in overlapping(text, 6)]
    assert tok.encode_batch([text, text], threads=2).to_list() == [[2, *want, 3]] * 2
    split = Tokenizer.from_file(tmp_path / "vocab.txt", unknown="split")
    assert split.encode(text).tolist() == [2, *(i for i in want if i != 1), 3]
    vocabulary = [*ESM, *kmers(6), *"ACGTN"]
    tok = Tokenizer.from_file(written(tmp_path, vocabulary))
    plain = text.upper().replace("R", "N")
    ids = numbered(vocabulary)
    want = [3, *(ids[token] for token in side_by_side(plain, 6))]
    assert tok.encode(plain).tolist() == want


def test_policies_and_counts(tmp_path):
    path = written(tmp_path, [*ESM, *kmers(6), *"ACGTN"])
    tok = Tokenizer.from_pretrained(tmp_path)
    assert tok.tokens(tok.encode("acgtacNRg")) == ["<cls>", "ACGTAC", "N", "<unk>", "G"]
    assert tok.replaced(["acgtacNRg"]) == (7, {"R": 1})
    strict = Tokenizer.from_file(path, unknown="error")
    assert strict.encode("ACGTACN").tolist()[-1] == tok.vocabulary.index("N")
    with pytest.raises(TokenizerError, match=r"sequence 1: 'R' at 3"):
        strict.encode_batch(["ACGT", "ACGR"])
    with pytest.raises(ValueError, match="no template for pairs"):
        tok.encode("ACGT", "ACGT")
    with pytest.raises(ValueError, match="k-mers has one way only"):
        Tokenizer.from_file(path, matching="longest")
    with pytest.raises(ValueError, match="requires byte-pair encoding"):
        tok.encode("ACGT", dropout=0.1)
    tok.save(tmp_path / tok.file_name)
    assert Tokenizer.from_pretrained(tmp_path).fingerprint == tok.fingerprint


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (BERT + kmers(3)[:-1], "the k-mer TTT is missing"),
        (BERT + kmers(3) + ["AAA"], "occurs for the second time"),
        (BERT + kmers(3) + ["A"], "some of A, C, G, T, but not all"),
        (BERT + kmers(3) + ["HELLO"], "neither special nor k-mers"),
        (BERT[:2] + kmers(3), r"\[CLS\] or <cls> is needed"),
        (BERT, "no k-mer that repeats"),
    ],
)
def test_damaged_vocabularies(tmp_path, tokens, message):
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_file(written(tmp_path, tokens))


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_published_dnabert_vocabularies(shared, k):
    path = shared / "data" / "tokenizers" / "dnabert1" / f"vocab_{k}mer.txt"
    vocabulary = path.read_text().split()
    tok = Tokenizer.from_file(path)
    text = "ACGTTGCATTAGCCATG"
    assert tok.tokens(tok.encode(text)) == ["[CLS]", *overlapping(text, k), "[SEP]"]
    assert tok.vocabulary == vocabulary


@pytest.mark.parametrize("name", ["vocab_v1_4105", "vocab_v2_4107"])
def test_published_nucleotide_transformer_vocabularies(shared, name):
    path = shared / "data" / "tokenizers" / "nucleotide_transformer" / f"{name}.txt"
    tok = Tokenizer.from_file(path)
    text = "ATCGAATNGGCGATGCACCATTA"
    assert tok.tokens(tok.encode(text)) == ["<cls>", *side_by_side(text, 6)]
    assert tok.vocabulary == path.read_text().split()
