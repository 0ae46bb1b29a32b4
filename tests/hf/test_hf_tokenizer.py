"""The tokenizer of `transformers` on the Rust encoder, against the stock one on the same file."""

import copy
import json
import pickle
import random
from itertools import product

import numpy as np
import pytest
import torch
from datasets.fingerprint import Hasher
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from dnabert2_fast.hf import HFDnabert2Config, HFDnabert2Tokenizer
from dnabert2_fast.tokenizer import PACKAGED

SPECIAL = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}
ODD = [
    "",
    "  ",
    "ACG[MASK]TT",
    "acgtACGT",
    "ACNNRT",
    "AC GT\nAC",
    "[CLS]ACGT[SEP]",
    "é😀GT",
    "[PAD]",
]


def sequences(count=40, seed=3):
    rng = random.Random(seed)
    return ODD + ["".join(rng.choices("ACGTACGTNa", k=rng.randint(1, 200))) for _ in range(count)]


@pytest.fixture(scope="module")
def ours():
    return HFDnabert2Tokenizer()


@pytest.fixture(scope="module")
def stock():
    return PreTrainedTokenizerFast(tokenizer_file=str(PACKAGED["dnabert2"]), **SPECIAL)


@pytest.fixture
def folder(tmp_path):
    """The published tokenizer, and a config of the published kind beside it."""
    (tmp_path / "tokenizer.json").write_bytes(PACKAGED["dnabert2"].read_bytes())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {"alibi_starting_size": 512, "auto_map": {"AutoConfig": "configuration_bert.X"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def same(mine, theirs):
    assert list(mine) == list(theirs)
    for name in theirs:
        a, b = mine[name], theirs[name]
        assert type(a) is type(b), name
        if torch.is_tensor(b):
            assert a.dtype == b.dtype
            assert torch.equal(a, b), name
        elif isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), name
        else:
            assert repr(a) == repr(b), name  # and 1 is not True


DETAILS = {"return_offsets_mapping": True, "return_special_tokens_mask": True}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_special_tokens": False},
        DETAILS,
        {"padding": True},
        {"padding": True, "return_tensors": "np"},
        {"padding": True, "return_tensors": "pt", **DETAILS},
        {"padding": "max_length", "max_length": 30, "truncation": True, "return_tensors": "pt"},
        {"padding": "max_length", "max_length": 30},  # longer rows stay as they are
        {"padding": True, "pad_to_multiple_of": 8, "padding_side": "left", **DETAILS},
        {"truncation": True, "max_length": 7},
        {"truncation": "longest_first", "max_length": 7, **DETAILS},
        {"return_attention_mask": False, "return_length": True},
        {"return_token_type_ids": True, "padding": True, "return_tensors": "np"},
    ],
)
def test_equal_to_the_stock_tokenizer(ours, stock, options):
    texts = sequences()
    same(ours(texts, **options), stock(texts, **options))
    seconds = list(reversed(texts))
    same(ours(texts, seconds, **options), stock(texts, seconds, **options))
    pairs = [list(pair) for pair in zip(texts, seconds, strict=True)]  # as official scripts do
    same(ours(pairs, **options), stock(pairs, **options))
    for text in ("ACGTTGACATTACGACTTTGAC", ""):
        same(ours(text, **options), stock(text, **options))


OVERFLOW = {"return_overflowing_tokens": True, "truncation": True, "max_length": 10}


@pytest.mark.parametrize(
    "options",
    [
        OVERFLOW,
        {**OVERFLOW, "stride": 3, **DETAILS},
        {**OVERFLOW, "stride": 7, "padding": True, "return_tensors": "pt", **DETAILS},
        {**OVERFLOW, "stride": 2, "add_special_tokens": False, "return_length": True},
        {**OVERFLOW, "truncation": False},
        {**OVERFLOW, "max_length": 4000},
    ],
)
def test_overlapping_parts(ours, stock, options):
    texts = [*sequences(), "ACGTTGACATTACGACTTTGAC" * 7]
    for side in ("right", "left"):
        mine, theirs = copy.deepcopy(ours), copy.deepcopy(stock)
        mine.truncation_side = theirs.truncation_side = side
        same(mine(texts, **options), theirs(texts, **options))
        for text in ("ACGTTGACATTACGACTTTGAC" * 9, "ACG", ""):
            same(mine(text, **options), theirs(text, **options))
    assert ours.is_fast


def test_fingerprints_do_not_depend_on_calls(tmp_path):
    """The cache of `datasets.map` has the pickle of the tokenizer in its key."""
    tokenizer = HFDnabert2Tokenizer(model_max_length=5)
    before = Hasher.hash(tokenizer)
    tokenizer(["ACGTTGACATTACGACTTTGAC"] * 2, padding=True)
    tokenizer.get_vocab(), tokenizer.num_special_tokens_to_add()
    tokenizer("ACGTTGACATTACGACTTTGAC", "ACG")
    assert Hasher.hash(tokenizer) == before
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again("ACGT")["input_ids"] == tokenizer("ACGT")["input_ids"]


def test_truncation_of_pairs_and_from_the_left(ours, stock):
    first, second = "ACGTTGACATTACGACTTTGAC" * 3, "TTGACNNCATNCGATN" * 5
    for side in ("left", "right"):
        mine, theirs = copy.deepcopy(ours), copy.deepcopy(stock)
        mine.truncation_side = theirs.truncation_side = side
        for rule in ("longest_first", "only_first", "only_second"):
            options = {"truncation": rule, "max_length": 62, **DETAILS}
            same(mine(first, second, **options), theirs(first, second, **options))
        with pytest.raises(ValueError, match="truncation"):  # nothing is left of the second
            mine(first, "A", truncation="only_second", max_length=9)
        same(
            mine(first, truncation=True, max_length=5), theirs(first, truncation=True, max_length=5)
        )


def test_text_and_tokens(ours, stock):
    for text in sequences():
        ids = ours.encode(text)
        assert ids == stock.encode(text)
        assert ours.tokenize(text) == stock.tokenize(text)
        for skip in (False, True):
            assert ours.decode(ids, skip_special_tokens=skip) == stock.decode(
                ids, skip_special_tokens=skip
            )
    rows = ours(sequences(), padding=True)["input_ids"]
    want = stock.batch_decode(rows, skip_special_tokens=True)
    assert ours.batch_decode(rows, skip_special_tokens=True) == want
    assert ours.decode(torch.tensor([1, 5, 2])) == stock.decode([1, 5, 2])
    assert len(ours) == len(stock) == ours.vocab_size == 4096
    assert ours.get_vocab() == stock.get_vocab()
    assert ours.all_special_ids == stock.all_special_ids
    assert ours.convert_tokens_to_ids(["[MASK]", "CA", "xyz"]) == [4, stock.get_vocab()["CA"], 0]


def test_special_tokens_around_ids(ours, stock):
    one, two = ours.encode("ACGTTG", add_special_tokens=False), [9, 10]
    assert ours.num_special_tokens_to_add() == stock.num_special_tokens_to_add() == 2
    assert ours.num_special_tokens_to_add(pair=True) == 3
    assert ours.build_inputs_with_special_tokens(one) == ours.encode("ACGTTG")
    assert ours.build_inputs_with_special_tokens(one, two) == [1, *one, 2, *two, 2]
    assert ours.create_token_type_ids_from_sequences([5], two) == [0, 0, 0, 1, 1, 1]
    assert ours.get_special_tokens_mask([5], two) == [1, 0, 1, 0, 0, 1]
    framed = [1, 5, 0, 2, 3]
    assert ours.get_special_tokens_mask(
        framed, already_has_special_tokens=True
    ) == stock.get_special_tokens_mask(framed, already_has_special_tokens=True)


def test_collators(ours, stock):
    texts = sequences()
    rows = [ours(text) for text in texts]
    same(
        DataCollatorWithPadding(ours)(rows),
        DataCollatorWithPadding(stock)([stock(text) for text in texts]),
    )
    for details in ({}, {"return_special_tokens_mask": True}):
        collate = DataCollatorForLanguageModeling(ours, mlm_probability=0.5)
        batch = collate([ours(text, **details) for text in texts])
        asked = batch["labels"] != -100
        special = torch.isin(batch["labels"], torch.tensor(ours.all_special_ids[1:]))
        assert asked.any()
        assert (batch["input_ids"][asked] == ours.mask_token_id).any()
        if not details:  # by the mask, [MASK] and the like in a text count as text
            assert not (asked & special).any()


def test_written_and_read(ours, stock, tmp_path):
    upper = HFDnabert2Tokenizer(case="upper", model_max_length=512, padding_side="left")
    upper.save_pretrained(tmp_path / "t")
    for again in (
        HFDnabert2Tokenizer.from_pretrained(tmp_path / "t"),
        AutoTokenizer.from_pretrained(tmp_path / "t", config=HFDnabert2Config()),
        pickle.loads(pickle.dumps(upper)),
    ):
        assert type(again) is HFDnabert2Tokenizer
        assert isinstance(again, PreTrainedTokenizerBase)
        assert (again.core.case, again.model_max_length, again.padding_side) == (
            "upper",
            512,
            "left",
        )
        assert again("acgT")["input_ids"] == ours("ACGT")["input_ids"]
    # The stock class reads the folder too.
    there = PreTrainedTokenizerFast.from_pretrained(tmp_path / "t")
    assert there("ACGTTGAC")["input_ids"] == ours("ACGTTGAC")["input_ids"]


def test_auto_tokenizer(folder, tmp_path_factory, ours, stock):
    for trust in (False, True):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust, use_fast=True, model_max_length=77, cache_dir=None
        )
        assert type(tokenizer) is HFDnabert2Tokenizer
        assert tokenizer.model_max_length == 77
        same(tokenizer(sequences()), stock(sequences()))
    # By the name of the class alone, without a model's config beside it.
    alone = tmp_path_factory.mktemp("alone")
    ours.save_pretrained(alone)
    assert type(AutoTokenizer.from_pretrained(alone)) is HFDnabert2Tokenizer
    # Other tokenizers are left alone.
    other = tmp_path_factory.mktemp("other")
    stock.save_pretrained(other)
    assert type(AutoTokenizer.from_pretrained(other)) is type(stock)


def test_added_tokens(stock, tmp_path):
    mine, theirs = HFDnabert2Tokenizer(), copy.deepcopy(stock)
    for tokenizer in (mine, theirs):
        assert tokenizer.add_tokens(["<species>"]) == 1
        assert tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"]}) == 1
        assert len(tokenizer) == 4098
    assert mine.add_tokens(["CA", "[SEP]"]) == 0  # they are in the vocabulary already
    texts = ["<species>ACGTT<x>ACA", "AC<x>"]
    same(mine(texts), theirs(texts))
    mine.save_pretrained(tmp_path)
    again = HFDnabert2Tokenizer.from_pretrained(tmp_path)
    same(again(texts), theirs(texts))
    assert len(again) == 4098
    assert again.decode(again.encode("AC<x>"), skip_special_tokens=True) == "A C"


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (["ACG"], {"is_split_into_words": True}, "no words"),
        (["ACG"], {"text_pair": ["A"], **OVERFLOW}, "encode_windows"),
        (["ACG"], {**OVERFLOW, "stride": 8}, "stride: must be below 8"),
        (["ACG"], {"split_special_tokens": True}, "never split"),
        ([["A", "C", "G"]], {}, "sequences or pairs, not both"),
        (["ACG", ["A", "C"]], {}, "sequences or pairs, not both"),
        ([[5, 6]], {}, "got int|must be of type"),  # transformers 4 comes first
        (["A"], {"text_pair": ["A", "C"]}, "text_pair"),
        (["ACGT" * 9, "A"], {"return_tensors": "pt"}, "padding"),
    ],
)
def test_refused_with_one_clear_line(ours, given, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        ours(given, **options)


def test_unknown_letters_as_asked():
    assert HFDnabert2Tokenizer(unknown="split")("ANC")["input_ids"] == [1, 5, 6, 2]
    with pytest.raises(ValueError, match="N"):
        HFDnabert2Tokenizer(unknown="error")("ANC")


def test_never_another_vocabulary_than_the_folder_has(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        HFDnabert2Tokenizer.from_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map("".join, product("ACGT", repeat=3))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(ValueError, match="k-mers"):
        HFDnabert2Tokenizer(tokenizer_file=str(folder / "vocab.txt"))


def test_other_vocabularies(shared):
    for name in ("gena_t2t_1000h_multi_32k", "metagene1_mgfm1024", "tiny_bpe100"):
        path = shared / "data" / "tokenizers" / name / "tokenizer.json"
        mine = HFDnabert2Tokenizer(tokenizer_file=str(path))
        theirs = PreTrainedTokenizerFast(tokenizer_file=str(path))
        texts = ["ACGTTGACATTACGACTTTGAC", "ACG", "TTGNNACA"]
        options = {"return_token_type_ids": True, **DETAILS}
        same(mine(texts, **options), theirs(texts, **options))
        same(mine(texts, texts[::-1], **options), theirs(texts, texts[::-1], **options))
        bare = [theirs.encode(text, add_special_tokens=False) for text in texts[:2]]
        assert mine.build_inputs_with_special_tokens(bare[0]) == theirs.encode(texts[0])
        assert mine.build_inputs_with_special_tokens(*bare) == theirs.encode(*texts[:2])


def test_published_files(shared, stock):
    tokenizer = AutoTokenizer.from_pretrained(shared / "data" / "tokenizers" / "dnabert2")
    assert type(tokenizer) is HFDnabert2Tokenizer
    same(tokenizer(sequences(), padding=True), stock(sequences(), padding=True))
