"""Broken and hostile FASTA and FASTQ: one clear error, or exactly the content of the file.

`test_fasta.py` covers empty files, truncated gzip, bgzip and zstd, and wrong checksums.
"""

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import zlib

import pyarrow as pa
import pytest

from dnabert2_fast import Corpus, Tokenizer, build_corpus, cli, read_fasta
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.errors import FastaError
from dnabert2_fast.io import fasta

tok = Tokenizer.from_pretrained("dnabert2")
TEXT = b">a\nACGT\n>b\nGGCC\n"
LONG = b">a\n" + b"ACGTTGCA" * 40_000 + b"\n"
SKIPPED = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"  # a frame of zstd without content


def zstd(data):
    return bytes(pa.compress(data, "zstd", asbytes=True))


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


BAD = {
    "sequence without a header": (b"ACGT\nACGT\n", "begins with"),
    "binary": (bytes(range(256)) * 40, "begins with"),
    "an ELF file": (b"\x7fELF" + bytes(200), "begins with"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "UTF-16"),
    "a header alone": (b">a", "ends in the middle of a header"),
    "a name that never ends": (b">" + b"x" * 200_000 + b"\nACGT\n", "more than 65536 bytes"),
    "NUL in a sequence": (b">a\nAC\0GT\n", r":2: record \"a\": .*NUL"),
    "NUL in a name": (b">a\0b\nACGT\n", r":1: .*NUL"),
    "a sparse tail": (TEXT + bytes(4096), r"record \"b\".*NUL"),
    "nothing, packed": (gzip.compress(b""), "the file is empty"),
    "nothing, in zstd": (zstd(b""), "the file is empty"),
    "packed twice": (gzip.compress(gzip.compress(TEXT)), "begins with"),
    "gzip damaged inside": (flipped(gzip.compress(LONG), 300), "gzip stream is damaged"),
    "gzip with a wrong checksum": (flipped(gzip.compress(LONG), -6), "gzip stream is damaged"),
    "gzip and then something else": (gzip.compress(TEXT) + b"\x1f\x8bgarbage", "gzip stream"),
    "gzip cut off in its second member": (
        gzip.compress(TEXT) + gzip.compress(LONG)[:-9],
        "gzip stream is damaged",
    ),
    "zstd damaged inside": (flipped(zstd(LONG), 9), "zstd stream"),
    "zstd cut off in its second frame": (zstd(TEXT) + zstd(LONG)[:-4], "zstd stream"),
    "zstd with a window of 2 GB": (b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20), "--long=31"),
    "FASTQ with too few qualities": (b"@r\nACGT\n+\nIII\n@s\nA\n+\nI\n", "4 letters and 3 qual"),
    "FASTQ with too many qualities": (b"@r\nACGT\n+\nIIIII\n", "4 letters and 5 qual"),
    "FASTQ without its plus line": (b"@r\nACGT\nIIII\n@s\n", r"lacks its '\+' line"),
    "FASTQ with a digit among letters": (b"@r\nACGT\nII9I\n@s\n", r":3: .*digit '9'"),
    "FASTQ of a wrapped record cut off": (b"@r\nAC\nGT\n+\nII\n", "4 letters and 2 qual"),
    "GenBank's numbers": (b">a\n        1 acgt\n", r":2: .*digit '1'"),
    "digits far down": (b">a\n" + b"ACGT\n" * 999 + b"AC2T\n", r":1001: .*digit '2'"),
    "bytes behind gzip": (gzip.compress(TEXT) + b"index", "trailing garbage ignored.*gunzip -c"),
    "bytes behind bzip2": (bz2.compress(TEXT) + b"index", "bytes that are not bzip2 follow"),
    "bytes behind zstd": (zstd(TEXT) + b"index", "bytes that are not zstd follow"),
    "bzip2 cut off": (bz2.compress(LONG)[:-9], "bzip2 stream is damaged or ends early"),
    "xz cut off": (lzma.compress(LONG)[:-9], "xz stream is damaged or ends early"),
    "xz damaged inside": (flipped(lzma.compress(LONG), 60), "xz stream is damaged"),
    "zip": (b"PK\x03\x04" + bytes(30), "unzip"),
    "tar": (gzip.compress(b"g.fa" + bytes(253) + b"ustar"), "tar archive"),
    "2bit": (b"\x43\x27\x41\x1a" + bytes(30), "twoBitToFa"),
    "CRAM": (b"CRAM\x03" + bytes(30), "samtools fasta"),
    "BAM": (gzip.compress(b"BAM\x01" + bytes(30)), "samtools fasta"),
    "SAM": (b"@HD\tVN:1.6\n@SQ\tSN:1\tLN:9\n", "is SAM"),
    "a pointer of git-lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "a web page": (b"<!DOCTYPE html><html>", "is a web page"),
    "FASTQ that turns into FASTA": (b"@r\nAC\n+\nII\n>b\nAC\n", "does not begin with '@'"),
    "FASTQ cut off": (b"@r\nACGT\n", "ends in the middle of a record"),
    "FASTQ cut off behind the plus line": (b"@r\nACGT\n+\n", "ends in the middle of a record"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_refused_with_file_position_and_remedy(tmp_path, capsys, content, message):
    path = tmp_path / "bad.fa"
    path.write_bytes(content)
    with pytest.raises(FastaError, match=message) as caught:
        list(read_fasta(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    # The commands that stream letters report the same, and leave nothing.
    with pytest.raises(FastaError, match=message):
        build_corpus([path], tmp_path / "c", tok, CorpusConfig(window_bp=4))
    with pytest.raises(FastaError, match=message):
        Tokenizer.train([path], 20)
    assert cli.main(["train-tokenizer", str(path), "--out", str(tmp_path / "t.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.fa"]


GOOD = {
    "Windows": (b">a\r\nAC\r\nGT\r\n>b\r\nGG\r\n", [("a", "ACGT"), ("b", "GG")]),
    "empty lines": (b">a\n\nAC\n\n\nGT\n\n>b\n\nGG\n", [("a", "ACGT"), ("b", "GG")]),
    "records without letters": (b">a\n>b\n>c\nA\n", [("a", ""), ("b", ""), ("c", "A")]),
    "headers without a name": (b">\nAC\n> \nGT\n", [("", "AC"), ("", "GT")]),
    "the same name twice": (b">a\nAC\n>a\nGT\n", [("a", "AC"), ("a", "GT")]),
    "blanks behind lines": (b">a\nACGT  \nACGT\t\nAC \n", [("a", "ACGTACGTAC")]),
    "two CR at each end": (b">a\r\r\nACGT\r\r\nAC\r\r\n", [("a", "ACGTAC")]),
    "blocks of ten": (b">a\nACGTACGTAC ACGTACGTAC\nAC GT\n", [("a", "ACGTACGTAC" * 2 + "ACGT")]),
    "a byte-order mark": (b"\xef\xbb\xbf" + TEXT, [("a", "ACGT"), ("b", "GGCC")]),
    "a blank first line": (b"\n \r\n" + TEXT, [("a", "ACGT"), ("b", "GGCC")]),
    "lines of old Macs": (TEXT.replace(b"\n", b"\r"), [("a", "ACGT"), ("b", "GGCC")]),
    "bzip2": (bz2.compress(TEXT), [("a", "ACGT"), ("b", "GGCC")]),
    "bzip2 of several streams": (bz2.compress(b">a\nAC") + bz2.compress(b"GT"), [("a", "ACGT")]),
    "xz": (lzma.compress(TEXT), [("a", "ACGT"), ("b", "GGCC")]),
    "xz of several streams, padded": (
        lzma.compress(b">a\nAC") + bytes(8) + lzma.compress(b"GT") + bytes(4),
        [("a", "ACGT")],
    ),
    "gzip padded with zeros": (gzip.compress(b">a\nAC") + bytes(512), [("a", "AC")]),
    "gzip with an empty member": (
        gzip.compress(b"") + gzip.compress(b">a\nAC") + gzip.compress(b""),
        [("a", "AC")],
    ),
    "zstd with frames that are skipped": (
        SKIPPED + zstd(b">a\nAC") + SKIPPED + SKIPPED + zstd(b"GT\n") + SKIPPED,
        [("a", "ACGT")],
    ),
    "FASTQ over several lines": (
        b"@r\nAC\nGT\n+r\n@I\n+I\n@s\nG\n+\n@\n",
        [("r", "ACGT"), ("s", "G")],
    ),
    "FASTQ of Windows": (b"@r\r\nAC\r\n+\r\nII\r\n@s\r\nG\r\n+\r\nI", [("r", "AC"), ("s", "G")]),
    "FASTQ without letters": (b"@r\n\n+\n\n@s\nG\n+\nI\n", [("r", ""), ("s", "G")]),
    "gaps of an alignment": (b">a\nAC--GT.*\n", [("a", "AC--GT.*")]),
    "no line break at the end": (b">a\nAC", [("a", "AC")]),
    "gzip of several members": (
        gzip.compress(b">a\nAC") + gzip.compress(b"GT\n"),
        [("a", "ACGT")],
    ),
    "zstd of several frames": (zstd(b">a\nAC") + zstd(b"GT\n"), [("a", "ACGT")]),
    "'@' as first quality": (b"@r\nAC\n+\n@I\n@s\nG\n+\n@\n", [("r", "AC"), ("s", "G")]),
}


@pytest.mark.parametrize(("content", "records"), GOOD.values(), ids=GOOD)
def test_odd_and_right(tmp_path, content, records):
    path = tmp_path / "odd.fa"
    path.write_bytes(content)
    assert [tuple(record) for record in read_fasta(path)] == records


def test_same_names_stay_two_records(tmp_path):
    path = tmp_path / "twice.fa"
    path.write_bytes(b">a\nACGT\n>a\nTTGG\n")
    corpus = build_corpus([path], tmp_path / "c", tok, CorpusConfig(window_bp=4, valid_fraction=0))
    assert [tok.decode(corpus.gather([i])[0]) for i in (0, 1)] == ["ACGT", "TTGG"]
    assert [corpus.where(i).record for i in (0, 1)] == ["a", "a"]


def bomb(megabytes, pack):
    """A header and one endless line, which takes a thousandth when packed."""
    sink = pa.BufferOutputStream()
    piece = b"ACGT" * (1 << 18)
    with pa.CompressedOutputStream(sink, pack) as packed:
        packed.write(b">a\n")
        for _ in range(megabytes):
            packed.write(piece)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_record_read_whole_has_a_limit(tmp_path, monkeypatch, pack):
    path = tmp_path / "bomb.fa"
    path.write_bytes(bomb(3, pack))
    assert len(next(iter(read_fasta(path))).sequence) == 3 << 20
    monkeypatch.setattr(fasta, "MAX_RECORD_BP", 3 << 19)
    with pytest.raises(FastaError, match=r"record \"a\": .*more than 1,572,864 letters") as caught:
        list(read_fasta(path))
    assert "cut it into pieces" in str(caught.value)


def run_within(megabytes, program, *arguments):
    """Run Python code that may take so much more memory than it has when the package is loaded."""
    head = (
        "import sys, resource; from dnabert2_fast import *; import pyarrow.parquet\n"
        "tok = Tokenizer.from_pretrained('dnabert2')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"most = used + ({megabytes} << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )


BUILD = """
from dnabert2_fast.corpus import CorpusConfig

config = CorpusConfig(window_bp=1000, shard_tokens=1 << 16)
build_corpus([sys.argv[1]], sys.argv[2], tok, config, threads=1)
"""


def test_a_long_line_is_cut_like_a_wrapped_one(tmp_path):
    letters = b"ACGTTGCATTAGNC" * 150_000
    (tmp_path / "line.fa").write_bytes(b">a\n" + letters)
    wrapped = b"".join(letters[i : i + 70] + b"\n" for i in range(0, len(letters), 70))
    (tmp_path / "wrapped.fa").write_bytes(b">a\n" + wrapped)
    one, other = (
        build_corpus(
            [tmp_path / f"{name}.fa"], tmp_path / name, tok, CorpusConfig(window_bp=None), threads=1
        )
        for name in ("line", "wrapped")
    )
    every = range(len(one))
    assert len(one) > 1000
    assert one.gather(every).values.tobytes() == other.gather(every).values.tobytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
def test_half_a_gigabyte_in_one_line_takes_no_more_memory_than_ten_would(tmp_path):
    path = tmp_path / "line.fa.zst"
    path.write_bytes(bomb(512, "zstd"))
    done = run_within(320, BUILD, path, tmp_path / "c")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(file["bases"] for file in Corpus.open(tmp_path / "c").read) == 512 << 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
def test_too_little_memory_for_a_record_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "line.fa.zst"
    path.write_bytes(bomb(640, "zstd"))
    done = run_within(400, "next(iter(read_fasta(sys.argv[1])))", path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "FastaError" in last, done.stderr[-2000:]
    assert str(path) in last
    assert "memory" in last


def test_python_inflates_what_we_refuse():
    """The damaged streams above are damaged by another reader's judgement too."""
    with pytest.raises((EOFError, zlib.error, OSError)):
        gzip.decompress(BAD["gzip damaged inside"][0])
    with pytest.raises((EOFError, zlib.error, OSError)):
        gzip.decompress(BAD["gzip with a wrong checksum"][0])
