"""Sequence files of every packing are read alike; damaged ones are refused by name."""

import gzip
import struct
import sys
import zlib

import pyarrow as pa
import pytest

from dnabert2_fast import read_fasta
from dnabert2_fast.errors import FastaError

TEXT = b">one first record\r\nACGTN\r\nacg\r\n>two\nTTTT\nGG\n"
RECORDS = [("one", "ACGTNacg"), ("two", "TTTTGG")]


def members(data: bytes) -> bytes:
    """Several gzip members, as bgzip writes them."""
    return b"".join(gzip.compress(data[i : i + 7]) for i in range(0, len(data), 7))


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, members, zstd])
@pytest.mark.parametrize("name", ["a.fa", "a.fa.gz", "a"])  # the content decides, not the name
def test_packings(tmp_path, pack, name):
    path = tmp_path / name
    path.write_bytes(pack(TEXT))
    assert [tuple(record) for record in read_fasta(path)] == RECORDS


def test_gzip_without_isal(tmp_path, monkeypatch):
    """The core's own library stands in for ISA-L where it is not installed."""
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.igzip", None)
    (tmp_path / "a.fa.gz").write_bytes(members(TEXT))
    assert [tuple(record) for record in read_fasta(tmp_path / "a.fa.gz")] == RECORDS
    (tmp_path / "a.fa.gz").write_bytes(gzip.compress(TEXT * 1000)[:-30])
    with pytest.raises(FastaError, match="gzip stream is damaged or ends early"):
        list(read_fasta(tmp_path / "a.fa.gz"))


def bgzip(data: bytes) -> bytes:
    """Blocks as bgzip writes them, the empty last one too."""
    blocks = []
    for piece in [data[i : i + 11] for i in range(0, len(data), 11)] + [b""]:
        deflate = zlib.compressobj(wbits=-15)
        body = deflate.compress(piece) + deflate.flush()
        size = struct.pack("<H", len(body) + 25)
        head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\x00BC\x02\x00" + size
        blocks.append(head + body + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(blocks)


def test_bgzip_in_blocks(tmp_path):
    path = tmp_path / "a.fa.gz"
    path.write_bytes(bgzip(TEXT))
    assert [tuple(record) for record in read_fasta(path)] == RECORDS
    path.write_bytes(bgzip(TEXT * 100)[:-40])
    with pytest.raises(FastaError, match="gzip stream is damaged or ends early"):
        list(read_fasta(path))
    damaged = bytearray(bgzip(TEXT * 100))
    (size,) = struct.unpack_from("<H", damaged, 16)
    damaged[size + 1 - 8] ^= 4  # the first block's checksum
    path.write_bytes(damaged)
    with pytest.raises(FastaError, match="bgzip stream is damaged or ends early"):
        list(read_fasta(path))


def test_fastq_and_last_line_without_break(tmp_path):
    path = tmp_path / "reads.fq"
    path.write_bytes(b"@r1 x\nACGT\n+\nIIII\n@r2\nGG\n+r2\n##")
    assert [tuple(record) for record in read_fasta(path)] == [("r1", "ACGT"), ("r2", "GG")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"chrom,start\n1,2\n", "begins with"),
        (b"@r1\nACGT\n+\nII\n", "FASTQ record is damaged"),
        (gzip.compress(TEXT * 1000)[:-30], "gzip stream is damaged or ends early"),
        (gzip.compress(TEXT)[:4], "gzip stream is damaged or ends early"),
        (zstd(TEXT * 1000)[:-9], "zstd stream is damaged or ends early"),
        (gzip.compress(b"PK\x03\x04"), "is a zip archive"),
    ],
)
def test_damaged(tmp_path, content, message):
    path = tmp_path / "bad.fa"
    path.write_bytes(content)
    with pytest.raises(FastaError, match=message) as caught:
        list(read_fasta(path))
    assert "bad.fa" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.fa"):
        read_fasta(tmp_path / "none.fa")


@pytest.mark.parametrize("which", ["smallest two", pytest.param("six", marks=pytest.mark.full)])
def test_every_genome_is_read_whole(shared, which):
    paths = sorted((shared / "data" / "genomes").glob("*.fa.gz"))
    if which == "six":
        chosen = paths[:6]
    else:
        chosen = sorted(paths, key=lambda path: path.stat().st_size)[:2]
    for path in chosen:
        with gzip.open(path, "rt") as handle:
            lines = handle.read().splitlines()
        want = sum(len(line) for line in lines if not line.startswith(">"))
        records = list(read_fasta(path))
        assert len(records) == sum(line.startswith(">") for line in lines)
        assert sum(len(record.sequence) for record in records) == want
