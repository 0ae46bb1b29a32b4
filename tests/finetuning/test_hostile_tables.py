"""Broken and hostile CSV tables and lists: one line that names file, line and remedy."""

import gzip
import zlib

import pytest

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import DataError, Dnabert2Error
from dnabert2_fast.finetuning import rows
from dnabert2_fast.finetuning.labels import read_labelled, read_splits
from dnabert2_fast.finetuning.rows import read_rows
from dnabert2_fast.io import read_manifest
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.regions import read_bed
from dnabert2_fast.io.tables import read_column

HEAD = "sequence,label\n"


def damaged(data):
    packed = bytearray(gzip.compress(data))
    packed[len(packed) // 2] ^= 0x55
    return bytes(packed)


BAD = {
    "nothing": (b"", 'no column "sequence"'),
    "binary": (bytes(range(256)), "damaged or truncated"),
    "UTF-16": ((HEAD + "ACGT,1\n").encode("utf-16"), "damaged or truncated"),
    "another delimiter": (b"sequence|label\nACGT|1\n", r'no column "sequence" \(got .sequence\|l'),
    "no header": (b"ACGT,1\nTTTT,0\n", 'no column "sequence"'),
    "a column twice": (b"sequence,label,label\nACGT,1,0\n", 'two columns "label"'),
    "more columns than the header": (
        b"sequence,label\nACGT,1\nAC,1,0\n",
        ":3: must have 2 columns",
    ),
    "a row without a label": (
        b"sequence,label\nACGT,1\nACGT\n",
        ":3: must have a sequence and a label",
    ),
    "a quote that never ends": (b'sequence,label\nAC,1\n"ACGT,1\nTT,0\n', ":3: is not CSV"),
    "letters behind a quote": (b'sequence,label\n"AC"GT,1\n', ":2: is not CSV"),
    "NUL": (b"sequence,label\nAC\0GT,1\n", "NUL byte"),
    "a label that is text among numbers": (b"sequence,label\nA,1\nC,x\n", ":3"),
    "a negative class": (b"sequence,label\nA,1\nC,-1\nG,x\n", ":3"),
    "65,537 classes": (
        b"sequence,label\n" + b"".join(b"A,%d\n" % (3 * i) for i in range(65_537)),
        r"at most 65,536 classes \(got 65,537\)",
    ),
    "gzip damaged inside": (damaged(b"sequence,label\n" + b"ACGT,1\n" * 3000), "damaged|not a tab"),
    "gzip cut off": (
        gzip.compress(b"sequence,label\n" + b"ACGT,1\n" * 99)[:-9],
        "damaged or ends early",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_refused(tmp_path, content, message):
    path = tmp_path / ("train.csv.gz" if content[:2] == b"\x1f\x8b" else "train.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


GOOD = {
    "a byte-order mark": b"\xef\xbb\xbfsequence,label\nACGT,1\nTT,0\n",
    "Windows": b"sequence,label\r\nACGT,1\r\nTT,0\r\n",
    "some quoted": b'"sequence",label\n"ACGT","1"\nTT,"0"\n',
    "empty lines": b"sequence,label\n\nACGT,1\n\n\nTT,0\n",
    "other columns": b"id,label,sequence\nx,1,ACGT\ny,0,TT\n",
    "spaces around labels": b"sequence,label\nACGT, 1\nTT,0 \n",
    "tabs": b"sequence\tlabel\nACGT\t1\nTT\t0\n",
    "semicolons": b"sequence;label\r\nACGT;1\r\nTT;0\r\n",
    "other case and spaces": b"Sequence, Label\nACGT,1\nTT,0\n",
    "names of the Hub": b"text,labels\nACGT,1\nTT,0\n",
    "numbers as pandas writes them": b"sequence,label\nACGT,1.0\nTT,0.0\n",
}


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_read_as_meant(tmp_path, content):
    (tmp_path / "train.csv").write_bytes(content)
    table = read_labelled(tmp_path / "train.csv")
    assert (table.sequences, table.labels.tolist()) == (["ACGT", "TT"], [1, 0])


def test_line_numbers_are_those_of_the_file(tmp_path):
    (tmp_path / "t.csv").write_text("sequence,label\n\n\nACGT,1\n\n,0\n")
    with pytest.raises(DataError, match=":6: "):
        read_labelled(tmp_path / "t.csv")


def test_a_packed_line_without_end_has_a_limit(tmp_path, monkeypatch):
    """A few kilobytes that would fill the memory."""
    monkeypatch.setattr(rows, "MAX_LINE", 1 << 16)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"sequence,label\n" + b"A" * (1 << 20)))
    with pytest.raises(DataError, match="more than 65,536 characters"):
        list(read_rows(tmp_path / "t.csv.gz"))


def test_labels_that_a_split_lacks(tmp_path):
    for split, label in (("train", 0), ("dev", 0), ("test", 10**12)):
        (tmp_path / f"{split}.csv").write_text(f"{HEAD}ACGT,{label}\n")
    with pytest.raises(DataError, match="class 1000000000000, which is not in train"):
        read_splits(tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.csv.gz", "t.txt.gz"])
@pytest.mark.parametrize(
    "content", [bytes(range(256)), b"\xff\xfea\0", damaged(b"sequence\n" + b"ACGT\n" * 5000)]
)
def test_columns_for_training_and_embedding(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((Dnabert2Error, OSError), match=r"t\."):
        Tokenizer.train([path], 20)
    with pytest.raises((Dnabert2Error, OSError), match=r"t\."):
        list(read_column(path, "sequence"))


MANIFESTS = {
    "binary": (bytes(range(256)), "is not a table"),
    "no path": (b"species\nx\n", "no column 'path'"),
    "nothing": (b"", "no column 'path'"),
    "a weight that is not a number": (b"path,weight\nx.fa,nan\n", "m.csv:2: "),
    "an infinite weight": (b"path,weight\nx.fa,inf\n", "m.csv:2: "),
    "a negative cap": (b"path,species,max_bp\nx.fa,a,-1\n", "m.csv:2: "),
    "a cap of 5000 digits": (b"path,species,max_bp\nx.fa,a," + b"9" * 5000 + b"\n", "m.csv:2: "),
    "NUL": (b"path\nx\0.fa\n", "m.csv:2|not a table"),
}


@pytest.mark.parametrize(("content", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifests(tmp_path, content, message):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(tmp_path / "m.csv")
    assert "m.csv" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "chr1\t-1\t5",
        "chr1\t5\t1",
        "chr1\t0\t9999",
        "chr9\t0\t5",
        "chr1 0 5",
        "chr1\t0\t" + "9" * 40,
    ],
)
def test_regions(tmp_path, line):
    (tmp_path / "r.bed").write_text(f"track name=x\n{line}\n")
    with pytest.raises(DataError, match=r"r\.bed:2: "):
        read_bed(tmp_path / "r.bed", Reference({"chr1": "ACGT" * 10}))


def test_regions_that_are_no_text(tmp_path):
    (tmp_path / "r.bed").write_bytes(b"\xff\xfe\0\1")
    with pytest.raises(DataError, match=r"r\.bed: "):
        read_bed(tmp_path / "r.bed", Reference({"chr1": "ACGT" * 10}))


def test_the_damaged_streams_are_damaged():
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(damaged(b"sequence,label\n" + b"ACGT,1\n" * 3000))
