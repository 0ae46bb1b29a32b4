"""Arbitrary arguments to the extension give a consistent result or an exception.

A Rust panic raises `PanicException`, which is not an `Exception` and fails these tests.
"""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Corpus, Tokenizer, _native, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import CorpusError, Dnabert2Error, FastaError

tok = Tokenizer.from_pretrained("dnabert2")
ANYTHING = st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
NUMBERS = st.integers(-(2**70), 2**70)


@given(st.text(max_size=40) | st.binary(max_size=40), NUMBERS, st.booleans(), ANYTHING)
def test_encoding(text, max_length, special, dropout):
    try:
        ids = tok.encode(text, max_length=max_length, add_special_tokens=special, dropout=dropout)
    except (ValueError, TypeError, OverflowError):
        return
    assert ids.dtype == np.uint16
    assert (ids < tok.vocab_size).all()
    assert max_length is None or len(ids) <= max_length


@given(st.lists(ANYTHING, max_size=4), NUMBERS)
def test_batches(texts, threads):
    try:
        got = tok.encode_batch(texts, threads=threads)
    except (ValueError, TypeError, OverflowError):
        return
    assert len(got) == len(texts)


@given(st.lists(NUMBERS | ANYTHING, max_size=8), st.text(max_size=3))
def test_decoding(ids, unknown):
    try:
        text = tok.decode(ids, unknown=unknown)
    except (ValueError, TypeError, OverflowError):
        return
    assert isinstance(text, str)


@given(
    st.binary(max_size=30),
    st.lists(st.tuples(st.integers(-9, 40), st.integers(-9, 40)), max_size=4),
)
def test_spans(text, spans):
    """Starts and ends that lie outside of the text, or backwards."""
    starts, ends = (np.array([span[i] for span in spans], np.int64) for i in (0, 1))
    options = _native.EncodeOptions()
    try:
        values, offsets = tok._native.encode_spans(
            np.frombuffer(text, np.uint8), starts, ends, options, 1
        )
    except (ValueError, TypeError):
        return
    assert len(offsets) == len(spans) + 1
    assert offsets[-1] == len(values)


@given(st.text(max_size=60) | st.recursive(ANYTHING, st.lists, max_leaves=5).map(repr))
def test_any_text_as_a_tokenizer(text):
    with pytest.raises(Dnabert2Error):
        Tokenizer.from_text(text)


@given(data=st.data())
def test_a_changed_tokenizer_is_read_or_refused(data):
    """One value of the file, anywhere, becomes another."""
    file = json.loads(Tokenizer.train(["ACGTTGCATT" * 9], 16)._native.text)
    at = file
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(ANYTHING.filter(lambda value: not isinstance(value, bytes)))
    try:
        changed = Tokenizer.from_text(json.dumps(file))
    except Dnabert2Error:
        return
    unknown = "NN" if file["model"].get("unk_token") else ""  # without one, N is an error by name
    ids = changed.encode(f"ACGT{unknown}acgt[MASK]")
    assert (ids < changed.vocab_size).all()


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b">", b"@r\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"]),
)
def test_any_bytes_as_sequences(tmp_path_factory, content, head):
    path = tmp_path_factory.getbasetemp() / "any.fa"
    path.write_bytes(head + content)
    try:
        records = list(read_fasta(path))
    except FastaError as error:
        records, message = [], str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))
    assert all("\n" not in name + sequence for name, sequence in records)


@given(st.lists(NUMBERS, max_size=6))
def test_any_windows_of_a_corpus(corpus, windows):
    try:
        got = corpus.gather(windows)
    except (IndexError, OverflowError):
        assert not all(0 <= window < len(corpus) for window in windows)
        return
    assert len(got) == len(windows)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boundary")
    (folder / "x.fa").write_text(">a\n" + "ACGTTGCATTAGC" * 40 + "\n")
    return build_corpus(
        [folder / "x.fa"], folder / "c", tok, CorpusConfig(window_bp=40, valid_fraction=0)
    )


@given(data=st.data())
def test_any_damage_to_a_shards_head(corpus, data):
    """Bytes of the header or the offsets change: an error, or other ids, never a crash."""
    path = corpus.folder / "shard-00000.safetensors"
    whole = path.read_bytes()
    (head,) = struct.unpack_from("<Q", whole)
    offsets = json.loads(whole[8 : 8 + head])["offsets"]["data_offsets"][1]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 8 + head + offsets - 1))] = data.draw(st.integers(0, 255))
    try:
        path.write_bytes(damaged)
        again = Corpus.open(corpus.folder)
        try:
            got = again.gather(np.arange(len(again)))
        except CorpusError as error:
            message = str(error)
        else:
            message = str(path)
            assert len(got) == len(corpus)
            if damaged != whole:
                with pytest.raises(CorpusError, match="differs from its checksum"):
                    again.verify()
        assert str(path) in message
    finally:
        path.write_bytes(whole)
