"""Files of Hugging Face `tokenizers`: read with its ids, or refused with the position."""

import json

import pytest
from helpers.stock import REASON
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers.models", reason=REASON)
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Reference

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import TokenizerError

TEXT = "ACGTTGCATTAGCATTTACGGATTACAGATTACA" * 9
BASE = json.loads(Tokenizer.train([TEXT], 40).text)["model"]
MERGES = [tuple(merge.split()) for merge in BASE["merges"]]
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
)
WORDS = pre_tokenizers.Whitespace()
TO_T = normalizers.Replace("U", "T")

unknowns = st.sampled_from(["[UNK]", None])
normalizer = st.sampled_from(
    [
        None,
        TO_T,
        normalizers.Sequence([]),
        normalizers.Sequence([TO_T]),
        normalizers.Sequence([normalizers.Strip(), normalizers.Sequence([TO_T])]),
        normalizers.Sequence([TO_T, normalizers.Replace("u", "U")]),
        normalizers.Sequence([normalizers.Replace("u", "U"), TO_T]),
        normalizers.Replace("T", "A"),
        normalizers.Replace("A", "X"),
        normalizers.Strip(),
        normalizers.Replace("UU", "T"),
        normalizers.Replace("U", ""),
        normalizers.Replace(Regex("U"), "T"),
        normalizers.Lowercase(),
    ]
)
pre_tokenizer = st.sampled_from(
    [
        None,
        WORDS,
        pre_tokenizers.Sequence([WORDS]),
        pre_tokenizers.Sequence([]),
        pre_tokenizers.Sequence([pre_tokenizers.Sequence([WORDS])]),
        pre_tokenizers.Sequence([WORDS, pre_tokenizers.Digits()]),
        pre_tokenizers.WhitespaceSplit(),
    ]
)
processor = st.sampled_from(
    [None, TEMPLATE, processors.Sequence([TEMPLATE]), processors.ByteLevel()]
)
added = st.lists(
    st.builds(
        AddedToken,
        st.sampled_from(["N", "n", "U", "-", "[N]", "[UNK]", "NN", "N[", "A-", "[MASK]x", "é"]),
        normalized=st.booleans(),
        special=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda token: token.content,
)
texts = st.lists(
    st.sampled_from(["ACGT", "TTAGCA", "GATTACA", "N", "NN", "n", "U", "u", " ", "-", "é", "a"])
    | st.sampled_from(["[UNK]", "[N]", "[MASK]", "x", "[", "\n"]),
    max_size=12,
).map("".join)


@settings(max_examples=400)
@given(unknowns, normalizer, pre_tokenizer, processor, added, texts, texts)
def test_the_ids_of_tokenizers_or_a_refusal(unk, normal, pre, post, tokens, text, pair):
    theirs = Reference(models.BPE(vocab=BASE["vocab"], merges=MERGES, unk_token=unk))
    theirs.add_special_tokens(SPECIAL)
    for name, value in (("normalizer", normal), ("pre_tokenizer", pre), ("post_processor", post)):
        if value is not None:
            setattr(theirs, name, value)
    theirs.add_tokens(tokens)
    try:
        ours = Tokenizer.from_text(theirs.to_str(), case="compat")
    except TokenizerError as error:
        assert "at /" in str(error)  # noqa: PT017
        return
    if unk is None and ours.replaced([text, pair]).unknown:
        with pytest.raises(TokenizerError, match="is not in the vocabulary"):  # joined by theirs
            ours.encode(text, pair)
        return
    want = theirs.encode(text)
    got = ours.encode_detailed(text)
    assert got.ids.tolist() == want.ids
    assert ours.encode(text).tolist() == want.ids
    assert got.offsets.tolist() == [list(span) for span in want.offsets]
    assert ours.encode(text, pair).tolist() == theirs.encode(text, pair).ids


def stock(unk="[UNK]", **parts):
    tokenizer = Reference(models.BPE(vocab=BASE["vocab"], merges=MERGES, unk_token=unk))
    for name, value in parts.items():
        setattr(tokenizer, name, value)
    return tokenizer


READ = {
    "no unknown token": stock(unk=None),
    "a sequence of one": stock(
        pre_tokenizer=pre_tokenizers.Sequence([WORDS]),
        post_processor=processors.Sequence([TEMPLATE]),
    ),
    "U as T": stock(normalizer=TO_T),
    "U as T, in a sequence": stock(normalizer=normalizers.Sequence([TO_T])),
}


@pytest.mark.parametrize("name", READ)
def test_files_that_are_read(name):
    text = "ACGTTAGCAGATTACA" if "unknown" in name else "ACGUTTAGCANNacUU GATTACA"
    ours = Tokenizer.from_text(READ[name].to_str(), case="compat")
    assert ours.encode(text).tolist() == READ[name].encode(text).ids


def test_an_added_letter_is_kept_by_decoding():
    """And counts as one letter; it is still no base."""
    reference = stock()
    reference.add_tokens(["N"])
    tok = Tokenizer.from_text(reference.to_str())
    ids = tok.encode("ACNNGTR")
    assert ids.tolist() == reference.encode("ACNNGTR").ids
    assert tok.decode(ids, unknown="?") == "ACNNGT?"
    assert tok.offsets(ids).tolist() == tok.encode_detailed("ACNNGTR").offsets.tolist()
    assert tok.special_mask[reference.token_to_id("N")]


def test_an_added_letter_is_found_in_lower_case_too():
    reference = stock()
    reference.add_special_tokens(["[MASK]"])
    reference.add_tokens(["N", "RY"])
    text = "ACNnGTrYRya[mask]nn"
    exact = Tokenizer.from_text(reference.to_str(), case="compat")
    assert exact.encode(text).tolist() == reference.encode(text).ids
    tok = Tokenizer.from_text(exact.text)
    assert tok.encode("ACNnGTrYRya").tolist() == tok.encode("ACNNGTRYRYA").tolist()
    assert tok.replaced(["ACNnGTrYRya"]) == (4, {})
    assert len(tok.encode("[mask]")) > len(tok.encode("[MASK]"))


def test_without_an_unknown_token_letters_are_an_error_or_vanish():
    """Hugging Face joins what is around them, which makes other tokens."""
    tok = Tokenizer.from_text(READ["no unknown token"].to_str())
    assert (tok.unk_id, tok.unknown) == (None, "error")
    assert tok.replaced(["ACNGT"]).unknown == {"N": 1}
    with pytest.raises(TokenizerError, match=r"'N' at 2"):
        tok.encode("ACNGT")
    split = Tokenizer.from_text(tok.text, unknown="split")
    assert split.decode(split.encode("ACNGT")) == "ACGT"


REFUSED = {
    "WordPiece": (
        {"model": {"type": "WordPiece", "max_input_chars_per_word": 100, "vocab": {}}},
        r"at /model/type: WordPiece is not supported \(expected BPE, .*\)\. Train a BPE",
    ),
    "Unigram": (
        {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["A", 0.0]]}},
        "at /model/type: Unigram is not supported",
    ),
    "a normalizer": (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        r"at /normalizer/normalizers/0/type: NFC is not supported \(expected null, Strip, Replace",
    ),
    "a pre-tokenizer": (
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}},
        r"at /pre_tokenizer/type: ByteLevel is not supported \(expected null, Whitespace, Split",
    ),
    "two pre-tokenizers": (
        json.loads(stock(pre_tokenizer=pre_tokenizers.Sequence([WORDS, WORDS])).to_str()),
        "at /pre_tokenizer/pretokenizers/1: one step is supported. Leave out the others",
    ),
    "a longer text": (
        {"normalizer": {"type": "Replace", "pattern": {"String": "UU"}, "content": "T"}},
        "at /normalizer/pattern/String: one letter for another is supported, as U by T",
    ),
    "an unknown token without an id": (
        {"model": {**BASE, "unk_token": "[X]"}},
        r'at /model/unk_token: "\[X\]" is not in the vocabulary. Add it, or write null',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_type_with_a_remedy(name):
    change, message = REFUSED[name]
    file = {**json.loads(stock().to_str()), **change}
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_text(json.dumps(file))
