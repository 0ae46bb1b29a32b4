"""Shards that lie, and files that change beneath a map: an error, never a crash."""

import json
import os
import struct

import numpy as np
import pytest
from helpers.processes import run

from dnabert2_fast import Corpus, Tokenizer, build_corpus
from dnabert2_fast.corpus.plan import CorpusConfig, CorpusPlan
from dnabert2_fast.errors import CorpusError

tok = Tokenizer.from_pretrained("dnabert2")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    (folder / "x.fa").write_text(">a\n" + "ACGTTGCATTAGC" * 40 + "\n")
    build_corpus([folder / "x.fa"], folder / "c", tok, CorpusConfig(window_bp=40, valid_fraction=0))
    return folder


@pytest.fixture
def folder(source, tmp_path):
    for path in (source / "c").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def parts_of(path):
    """Header as a dict, and the bytes behind it."""
    whole = path.read_bytes()
    (size,) = struct.unpack_from("<Q", whole)
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def write(folder, header, body):
    """Write a shard, and its new length where it is looked up."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    shard = struct.pack("<Q", len(text)) + text + body
    (folder / "shard-00000.safetensors").write_bytes(shard)
    about = folder / "corpus.json"
    said = json.loads(about.read_text())
    said["shards"][0]["bytes"] = len(shard)
    about.write_text(json.dumps(said))


def at(name, key, value):
    return lambda header: header[name].update({key: value})


LIES = {
    "another type": (at("input_ids", "dtype", "I32"), "has type I32, not U16"),
    "another type of offsets": (at("offsets", "dtype", "F64"), "has type F64, not U64"),
    "negative offsets": (at("input_ids", "data_offsets", [-8, 10]), "do not lie"),
    "offsets backwards": (at("offsets", "data_offsets", [88, 0]), "do not lie"),
    "tensors over each other": (at("input_ids", "data_offsets", [0, 256]), "do not lie"),
    "a tensor behind the end": (
        lambda header: header["input_ids"].update(
            shape=[1 << 40],
            data_offsets=[
                header["input_ids"]["data_offsets"][0],
                header["input_ids"]["data_offsets"][0] + (1 << 41),
            ],
        ),
        "ends behind the end",
    ),
    "a negative shape": (at("offsets", "shape", [-1]), "do not lie"),
    "two dimensions": (at("offsets", "shape", [2, 7]), "too many values"),
    "fewer values than bytes": (at("offsets", "shape", [3]), "do not lie"),
    "numbers as text": (at("offsets", "data_offsets", ["0", "80"]), "do not lie"),
    "fractions": (at("offsets", "data_offsets", [0.0, 80.0]), "do not lie"),
    "a number of 70 bits": (at("offsets", "shape", [2**70]), "do not lie"),
    "no offsets": (lambda header: header.pop("offsets"), "'offsets'"),
    "no data offsets": (lambda header: header["offsets"].pop("data_offsets"), "'data_offsets'"),
}


@pytest.mark.parametrize(("lie", "message"), LIES.values(), ids=LIES)
def test_headers_that_lie(folder, lie, message):
    header, body = parts_of(folder / "shard-00000.safetensors")
    lie(header)
    write(folder, header, body)
    with pytest.raises(CorpusError, match=message) as caught:
        Corpus.open(folder).gather([0])
    assert "shard-00000.safetensors: damaged" in str(caught.value)
    assert "Build the corpus again" in str(caught.value)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[]", b"null", b"\xff\xfe", b"{}"])
def test_headers_that_are_none(folder, header):
    write(folder, header, b"")
    with pytest.raises(CorpusError, match=r"shard-00000\.safetensors: damaged"):
        Corpus.open(folder).gather([0])


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 1, "do not begin at 0"),
        (-1, 1 << 40, "do not begin at 0"),
        (3, 1 << 60, "offsets of window 2 do not lie in its ids"),
        (3, -1, "offsets of window 2 do not lie in its ids"),
        (3, 0, "offsets of window 2 do not lie in its ids"),
    ],
)
def test_offsets_that_lie(folder, position, value, message):
    header, body = parts_of(folder / "shard-00000.safetensors")
    end = header["offsets"]["data_offsets"][1]
    offsets = np.frombuffer(body[:end], np.int64).copy()
    offsets[position] = value
    write(folder, header, offsets.tobytes() + body[end:])
    for look in (lambda corpus: corpus.gather([2]), lambda corpus: corpus.lengths):
        with pytest.raises(CorpusError, match=message) as caught:
            look(Corpus.open(folder))
        assert "shard-00000.safetensors: " in str(caught.value)


ABOUT = {
    "brackets": ("[" * 100_000, "nested too deeply"),
    "a list": ("[]", "not a JSON object"),
    "binary": (b"\xff\xfe\x00", "not valid JSON"),
    "huge numbers": ('{"format": ' + "9" * 5000 + "}", "not valid JSON"),
    "no shards": ('{"format": "dnabert2_fast.corpus", "version": 2}', "damaged"),
    "shards as text": (
        '{"format": "dnabert2_fast.corpus", "version": 2, "shards": "x", "settings": {}}',
        "damaged",
    ),
}


@pytest.mark.parametrize(("text", "message"), ABOUT.values(), ids=ABOUT)
def test_descriptions(folder, text, message):
    (folder / "corpus.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorpusError, match=message) as caught:
        Corpus.open(folder)
    assert "corpus.json" in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", '{"settings": 3}', "\0"])
def test_plans_of_builds_begun(source, tmp_path, text):
    plan = CorpusPlan([source / "x.fa"], tmp_path / "c", tok, CorpusConfig(window_bp=40))
    plan.prepare()
    (plan.folder / "plan.json").write_text(text)
    with pytest.raises(CorpusError, match=r"plan\.json: .*Delete "):
        build_corpus([source / "x.fa"], tmp_path / "c", tok, CorpusConfig(window_bp=40))


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"name": 1}', "[" * 100_000, '{"a": "\0"}'])
def test_journals_of_builds_begun(source, tmp_path, line):
    """What is damaged is built again, and the corpus is the same."""
    options = {"window_bp": 40, "valid_fraction": 0}
    plan = CorpusPlan([source / "x.fa"], tmp_path / "c", tok, CorpusConfig(**options))
    plan.prepare()
    plan.unit_folder(0).mkdir()
    (plan.unit_folder(0) / "journal.jsonl").write_text(line + "\n")
    build_corpus([source / "x.fa"], tmp_path / "c", tok, CorpusConfig(**options))
    for path in (tmp_path / "c").iterdir():
        assert path.read_bytes() == (source / "c" / path.name).read_bytes()


@pytest.mark.parametrize("length", [0, 100, "half", "more"])
def test_a_shard_cut_off_beneath_its_map(folder, length):
    """In a process of its own: without the guard it would end by SIGBUS."""
    program = (
        "import sys, os; from dnabert2_fast import Corpus\n"
        "corpus = Corpus.open(sys.argv[1]); corpus.gather([0])\n"
        "path = sys.argv[1] + '/shard-00000.safetensors'; size = os.path.getsize(path)\n"
        f"length = {length!r}\n"
        "os.truncate(path, {'half': size // 2, 'more': size + 9}.get(length, length))\n"
        "for look in (lambda: corpus.gather([len(corpus) - 1]), lambda: corpus.lengths):\n"
        "    try: look()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    done = run("-c", program, folder, cwd=folder.parent)
    assert done.returncode == 0, (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("CorpusError")
        assert "shard-00000.safetensors: has" in line
        assert "open the corpus again" in line


def test_a_shard_replaced_beneath_its_map_is_the_old_one_or_an_error(folder):
    """A new file under the same name leaves the map unchanged; another length is an error."""
    corpus = Corpus.open(folder)
    want = corpus.gather([1, 2]).to_list()
    shard = folder / "shard-00000.safetensors"
    new = folder / "new"
    new.write_bytes(bytes(shard.stat().st_size))
    os.replace(new, shard)
    assert corpus.gather([1, 2]).to_list() == want
    new.write_bytes(b"short")
    os.replace(new, shard)
    with pytest.raises(CorpusError, match="open the corpus again"):
        corpus.gather([1])
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="shard-00000"):
        corpus.gather([1])


def test_file_times_do_not_matter_unless_they_change(source, tmp_path):
    """Inputs from the future and from 1970 are built alike: clocks are never compared."""
    want = (source / "c" / "shard-00000.safetensors").read_bytes()
    for seconds in (0, 1, 4_000_000_000):
        path = tmp_path / "x.fa"
        path.write_bytes((source / "x.fa").read_bytes())
        os.utime(path, (seconds, seconds))
        out = tmp_path / str(seconds)
        build_corpus([path], out, tok, CorpusConfig(window_bp=40, valid_fraction=0))
        assert (out / "shard-00000.safetensors").read_bytes() == want
