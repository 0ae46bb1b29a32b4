"""Broken and hostile ``tokenizer.json`` and ``vocab.txt`` are refused at once, with the position.

The core's own tests (``rust/dnabert2-core/tests/tokenizer_file.rs``) have each rule. These files
would hang, exhaust memory or crash a careless reader; they pass through the public interface.
"""

import copy
import json
import re
import time

import pytest

from dnabert2_fast import Tokenizer, cli
from dnabert2_fast.errors import TokenizerError

BASE = json.loads(Tokenizer.train(["ACGTTGCATTAGCATTTACGGATTA" * 20], vocab_size=20)._native.text)
TEXT = json.dumps(BASE)
SIZE = len(BASE["model"]["vocab"])


def edited(change):
    file = copy.deepcopy(BASE)
    change(file)
    return json.dumps(file)


def without(name):
    return edited(lambda file: file["model"].pop(name))


def with_id(value):
    return edited(lambda file: file["model"]["vocab"].update(A=value))


def with_merges(*merges):
    return edited(lambda file: file["model"].update(merges=list(merges)))


def with_added(*tokens):
    return edited(lambda file: file["added_tokens"].extend(tokens))


def with_normalizer(value):
    return edited(lambda file: file.update(normalizer=value))


SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
ID = "an id from 0 to 65535 is needed"

BAD = {
    "empty": ("", "not JSON: EOF"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "UTF-16": (TEXT.encode("utf-16"), "not UTF-8"),
    "a byte-order mark": ("\ufeff" + TEXT, "not JSON"),
    "cut off": (TEXT[:-20], "is the file complete"),
    "two files in one": (TEXT + TEXT, "trailing characters"),
    "a list": ("[]", "t.json: an object"),
    "a hundred thousand brackets": ("[" * 100_000 + "]" * 100_000, "recursion limit"),
    "a hundred thousand objects": ('{"model":' * 100_000, "recursion limit"),
    "no model": (edited(lambda file: file.pop("model")), "at /model: an object"),
    "no vocabulary": (without("vocab"), "at /model/vocab: an object"),
    "no merges": (without("merges"), "at /model/merges: a list"),
    "an unknown token that is not a token": (
        edited(lambda file: file["model"].update(unk_token="[NONE]")),
        "at /model/unk_token",
    ),
    "a token twice": (TEXT.replace('"A": ', '"A": 7, "A": ', 1), '"A" occurs twice in one object'),
    "a vocabulary twice": (
        TEXT.replace('"vocab": ', '"vocab": {}, "vocab": ', 1),
        '"vocab" occurs twice in one object',
    ),
    "an id twice": (with_id(BASE["model"]["vocab"]["C"]), r"at /model/vocab/C: id \d+ also"),
    "an id that leaves a gap": (with_id(60_000), "id 60000 leaves a gap"),
    "an id of 17 bits": (with_id(65_536), ID),
    "an id of 65 bits": (with_id(2**64), ID),
    "an id of 400 digits": (with_id(10**400), "number out of range"),
    "a negative id": (with_id(-1), ID),
    "an id with a fraction": (with_id(1.5), ID),
    "an id as text": (with_id("5"), ID),
    "more ids than there are": (
        edited(
            lambda file: file["model"]["vocab"].update({f"[{i}]": i for i in range(SIZE, 65_537)})
        ),
        ID,
    ),
    "a merge of itself": (with_merges("AA A"), "at /model/merges/0: .* nor merged before"),
    "merges in a circle": (with_merges("AC A", "A CA"), "/model/merges/0: .* nor merged before"),
    "a merge of nothing": (with_merges("A "), '"" is neither a letter'),
    "a merge without halves": (with_merges([]), 'a merge is "LEFT RIGHT"'),
    "a merge of three": (with_merges(["A", "C", "G"]), 'a merge is "LEFT RIGHT"'),
    "a merge that is not a token": (with_merges("A A"), '"AA" is not in the vocabulary'),
    "a merge twice": (
        edited(lambda file: file["model"]["merges"].append(file["model"]["merges"][0])),
        "two merges make",
    ),
    "an added token out of reach": (with_added({"id": 999, "content": "[X]"}), "id 999 is not"),
    "an added token of 70 bits": (
        with_added({"id": 2**70, "content": "[X]"}),
        "at /added_tokens/5",
    ),
    "an added token of no letters": (with_added({"id": SIZE, "content": ""}), "must not be empty"),
    "a run of 2^70 letters": (
        with_normalizer(
            {"type": "Replace", "pattern": {"Regex": f"N{{{2**70},}}"}, "content": "-"}
        ),
        "only patterns like",
    ),
    "steps within steps": (
        with_normalizer({"type": "Sequence", "normalizers": [{"type": "Sequence"}]}),
        "at /normalizer/normalizers/0/normalizers: a list",
    ),
    "a type of 37 bits": (TEXT.replace('"type_id": 0', '"type_id": 99999999999'), ID),
    "a template of no token": (
        TEXT.replace('"ids": [1]', '"ids": [60000]'),
        "no token has this id",
    ),
    "half a character": (TEXT.replace('"A"', '"\\ud800"'), "not JSON"),
    "a k-mer twice": (SPECIAL + "AAA\nAAA\n", "for the second time"),
    "k-mers without k": (SPECIAL, "no k-mer that repeats"),
    "more lines than ids": (
        SPECIAL + "".join(f"[{i}]\n" for i in range(70_000)),
        "more than 65,536",
    ),
    "a k-mer of 40 letters": (SPECIAL + "A" * 40 + "\n", "no k-mer that repeats A 2 to 7 times"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_refused_with_the_position(tmp_path, capsys, content, message):
    path = tmp_path / "t.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.from_file(path)
    assert re.match(re.escape(str(path)) + r":(\d+:| at /)?", str(caught.value))
    assert cli.main(["info", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def doubling(times):
    """Each token is the one before it twice; a file of megabytes, tokens of millions of letters."""
    tokens = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "A", "C", "G", "T"]
    halves = ["A" * 2**power for power in range(times)]
    file = copy.deepcopy(BASE)
    file["model"]["vocab"] = {t: i for i, t in enumerate(tokens + [h + h for h in halves])}
    file["model"]["merges"] = [[half, half] for half in halves]
    return json.dumps(file)


def test_tokens_of_millions_of_letters_are_refused(tmp_path):
    (tmp_path / "t.json").write_text(doubling(18))
    with pytest.raises(TokenizerError, match=r"/model/merges/15: makes a token of more than 65535"):
        Tokenizer.from_file(tmp_path / "t.json")


def test_long_tokens_neither_hang_nor_exhaust_memory(tmp_path):
    """Compiled, these would take gigabytes and the machine's stack."""
    (tmp_path / "t.json").write_text(doubling(15))
    began = time.process_time()
    tok = Tokenizer.from_file(tmp_path / "t.json")
    text = "A" * (2**15 + 2**3 + 1) + "C"
    got = tok.encode(text, add_special_tokens=False)
    assert [len(token) for token in tok.tokens(got)] == [2**15, 2**3, 1, 1]
    assert tok.decode(got) == text
    assert time.process_time() - began < 5


def test_sixty_thousand_added_tokens_are_read_at_once(tmp_path):
    more = [{"id": SIZE + i, "content": f"[x{i}]"} for i in range(60_000)]
    (tmp_path / "t.json").write_text(with_added(*more))
    began = time.process_time()
    tok = Tokenizer.from_file(tmp_path / "t.json")
    assert SIZE + 59_999 in tok.encode("AC[x59999]GT")
    assert time.process_time() - began < 2  # comparing each with each took ten


def test_a_repeated_special_token_changes_nothing(tmp_path):
    (tmp_path / "t.json").write_text(with_added(BASE["added_tokens"][0]))
    tok, text = Tokenizer.from_file(tmp_path / "t.json"), "ACGTTGCATT[CLS]ACNN"
    assert tok.encode(text).tolist() == Tokenizer.from_text(TEXT).encode(text).tolist()


@pytest.mark.parametrize("name", ["../../etc", "a/../b", "..", "owner/..", "/etc/passwd/x", "a\0b"])
def test_names_with_tricks(name):
    with pytest.raises((TokenizerError, OSError)):
        Tokenizer.from_pretrained(name)
