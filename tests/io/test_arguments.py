"""Every function that takes many sequences, or files, takes them in the same forms."""

import collections
import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dnabert2_fast import (
    Corpus,
    Dnabert2ForMaskedLM,
    Tokenizer,
    build_corpus,
    embed,
)
from dnabert2_fast.corpus import CorpusConfig, CorpusPlan, import_parquet
from dnabert2_fast.genomics.embedding import embed_positions
from dnabert2_fast.genomics.likelihood import pseudo_likelihood
from dnabert2_fast.genomics.loading import load_encoder
from dnabert2_fast.io import FastaRecord
from dnabert2_fast.io.arguments import text_blocks
from dnabert2_fast.tokenizer.assessment import assess
from dnabert2_fast.tokenizer.file import tokenize_file

tok = Tokenizer.from_pretrained("dnabert2")
mini, mini_tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
encoder, _ = load_encoder("mini")
TEXTS = ["ACGTTGCATTAGC", "TTAA", "GATTACAGATTACA"]

FORMS = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "bytes": [text.encode() for text in TEXTS],
    "numpy S": np.array([text.encode() for text in TEXTS]),
    "numpy U": np.array(TEXTS),
    "numpy object": np.array(TEXTS, dtype=object),
    "numpy masked": np.ma.array([text.encode() for text in TEXTS]),
    "records": [FastaRecord(str(i), text) for i, text in enumerate(TEXTS)],
    "deque": collections.deque(TEXTS),
    "pandas": pd.Series(TEXTS, index=[7, 8, 9]),
    "pandas category": pd.Series(TEXTS).astype("category"),
    "pandas Arrow": pd.Series(TEXTS, dtype="string[pyarrow]"),
    "pandas index": pd.Index(TEXTS),
    "Arrow chunks": pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
    "Arrow chunks of dictionaries": pa.chunked_array(
        [pa.array(TEXTS[:1]).dictionary_encode(), pa.array(TEXTS[1:]).dictionary_encode()]
    ),
    "Arrow binary dictionary": pa.array([t.encode() for t in TEXTS]).dictionary_encode(),
    **{
        kind: pa.array(TEXTS).cast(kind)
        for kind in ("string", "large_string", "string_view", "binary", "large_binary")
    },
}

FUNCTIONS = {
    "encode_batch": lambda given: tok.encode_batch(given).to_list(),
    "encode_batch_detailed": lambda given: tok.encode_batch_detailed(given).ids.to_list(),
    "pairs": lambda given: tok.encode_batch_detailed(TEXTS, given).ids.to_list(),
    "encode_windows": lambda given: tok.encode_windows(given, 4).ids.to_list(),
    "replaced": lambda given: tok.replaced(given),
    "embed": lambda given: embed(given).round(4).tolist(),
    "embed_positions": lambda given: [x.shape for x in embed_positions(given, encoder, mini_tok)],
    "pseudo_likelihood": lambda given: [
        (found.bases, round(found.log_likelihood, 3))
        for found in pseudo_likelihood(given, mini, mini_tok)
    ],
    "train": lambda given: Tokenizer.train(given, 11).text,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_forms_are_the_same(function, form):
    call = FUNCTIONS[function]
    want = call(TEXTS)
    assert call(FORMS[form]) == want
    if form == "list":
        assert call(text for text in TEXTS) == want


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_path_is_a_file(tmp_path, function):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(TEXTS)))
    assert FUNCTIONS[function](path) == FUNCTIONS[function](TEXTS)


WRONG = {
    "one str": ("ACGT", r"got one str\). Write \[\w+\], or pathlib.Path\(...\) to read a file"),
    "one bytes": (b"ACGT", "got one bytes"),
    "one record": (FastaRecord("name", "ACGT"), r"got one FastaRecord\). Write \[\w+\]"),
    "dict": ({"a": "ACGT"}, r"got a dict\). Write list\(\w+.values\(\)\)"),
    "mapping": (types.MappingProxyType({"a": "ACGT"}), "got a mappingproxy"),
    "DataFrame": (
        pd.DataFrame({"a": TEXTS}),
        r"got a DataFrame\). Select one column, as",
    ),
    "Arrow table": (pa.table({"a": TEXTS}), "got a Table"),
    "set": ({"ACGT"}, r"which has no order\). Write sorted"),
    "number": (7, r"got int\)"),
    "nothing": (None, r"got NoneType\)"),
    "numbers": ([7], r"element 0 must be .*str or bytes \(got int\)"),
    "array of numbers": (np.arange(3), "element 0 must be"),
    "two dimensions": (np.array([TEXTS]), r"an array of shape \(1, 3\)\). Select one column"),
    "no dimension": (np.array("ACGT"), r"an array of shape \(\)"),
    "nested": ([TEXTS], r"element 0 must be .* \(got list\)"),
    "missing": (["ACGT", None], r"element 1 must be .* \(got None\). Drop missing values"),
    "NaN": (pd.Series(["ACGT", None, float("nan")]), "element 1 must be"),
    "NA": (pd.Series(["ACGT", None], dtype="string"), r"element 1 must be .* \(got <NA>\)"),
    "Arrow null": (pa.chunked_array([["A"], ["C", None]]), "element 2 must be"),
    "Arrow numbers": (pa.array([1]), "an Arrow array of int64"),
    "masked": (np.ma.array([b"ACGT"], mask=[True]), "element 0 must be"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "pairs"])
def test_what_is_no_list_of_sequences_says_what_to_write(function, wrong):
    given, message = WRONG[wrong]
    with pytest.raises(TypeError, match=message):
        FUNCTIONS[function](given)


def test_an_open_file_and_a_list_of_one_path(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGT\n")
    with path.open() as file:
        for call in (FUNCTIONS["encode_batch"], FUNCTIONS["train"]):
            with pytest.raises(TypeError, match=r"got an open file\). Write \[pathlib.Path\("):
                call(file)
        with pytest.raises(TypeError, match=r"element 0 must be a path.*pathlib.Path\(file.name"):
            Tokenizer.train([file])
    with pytest.raises(TypeError, match="Give one path alone to read a file"):
        tok.encode_batch([path])


def test_one_sequence_is_not_a_list():
    for call in (tok.encode, tok.encode_detailed):
        with pytest.raises(TypeError, match=r"one str or bytes \(got list\). Take its elements"):
            call(["ACGT"])
    with pytest.raises(TypeError, match="pair: must be one str or bytes"):
        tok.encode("ACGT", ["ACGT"])


def test_chunks_keep_the_count_of_sequences():
    """In errors and in the draws of dropout."""
    texts = ["ACGTTGCATTAGC" * 9] * 6
    chunks = pa.chunked_array([texts[:2], [], texts[2:]])
    want = tok.encode_batch(texts, dropout=0.5, seed=3).to_list()
    assert tok.encode_batch(chunks, dropout=0.5, seed=3).to_list() == want
    strict = Tokenizer.from_pretrained("dnabert2", unknown="error")
    with pytest.raises(ValueError, match=r"sequence 3: '\*' at 1"):
        strict.encode_batch(pa.chunked_array([["A"], ["C", "G", "A*"]]))


def test_more_than_two_gigabytes_of_chunks():
    """Offsets of 32 bits do not reach over all; the chunks share their memory here."""
    many = pa.chunked_array([pa.array(["N" * (1 << 20)])] * 2049)
    assert sum(len(block.starts) for block in text_blocks(many)) == 2049


FILES = {
    "build_corpus": lambda given, out: build_corpus(
        given, out, tok, CorpusConfig(window_bp=10, valid_fraction=0)
    ),
    "CorpusPlan": lambda given, out: CorpusPlan(given, out, tok, CorpusConfig()),
    "import_parquet": lambda given, out: import_parquet(given, out, tok),
    "import_parquet, valid": lambda given, out: import_parquet([], out, tok, valid=given),
    "assess": lambda given, out: assess(tok, given),
}


@pytest.mark.parametrize("function", FILES)
def test_files(tmp_path, function):
    call, out = FILES[function], tmp_path / "out"
    with pytest.raises(TypeError, match=r"got one str\). Write \[\w+\] or pathlib.Path"):
        call("x.fa", out)
    with pytest.raises(TypeError, match=r"got a dict\)"):
        call({"x.fa": "yeast"}, out)
    with pytest.raises(TypeError, match=r"element 0 must be a path \(got int\)"):
        call([7], out)
    assert not out.exists()


def test_one_path_is_a_list_of_one(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a\nACGTACGTACGTACGTACGT\n")
    corpus = FILES["build_corpus"](path, tmp_path / "out")
    assert isinstance(corpus, Corpus)
    assert len(corpus) == 2
    (genome,) = assess(tok, path)
    assert genome.bases == 20


def test_errors_of_a_file_name_its_record(tmp_path):
    """Also behind the first chunk of 8 million letters."""
    path = tmp_path / "x.fa"
    path.write_text(">first\n" + "ACGT" * 2_200_000 + "\n>second\nACGT*\n")
    strict = Tokenizer.from_pretrained("dnabert2", unknown="error")
    for call in (
        lambda: strict.encode_batch(path),
        lambda: tokenize_file(path, strict, tmp_path / "x.tsv"),
        lambda: assess(strict, [path]),
    ):
        with pytest.raises(ValueError, match=r"x.fa:4: record \"second\": '\*' at 4 \(0-based\)"):
            call()
