"""Odd and hostile VCF files: every record is answered with a status, or the file is refused."""

import gzip

import pyarrow.parquet as pq
import pytest
from helpers.models import masked_lm, tok
from helpers.variants import CONFIG

from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics.variants.vcf_file import score_vcf
from dnabert2_fast.io import vcf
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import read_vcf

CONTIG = "ACGTTGCATTAGCCATTACGGATCA" * 8
GENOME = Reference({"1": CONTIG, "X": "ACGT" * 40})
HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
mlm = masked_lm().eval()

STATUSES = {
    "a substitution": (f"1\t50\t.\t{CONTIG[49]}\tN", "ambiguous"),
    "a symbolic allele": (f"1\t50\t.\t{CONTIG[49]}\t<DEL>", "not_sequence"),
    "a symbolic insertion": (f"1\t50\t.\t{CONTIG[49]}\t<INS:ME:ALU>", "not_sequence"),
    "a breakend": (f"1\t50\t.\t{CONTIG[49]}\t{CONTIG[49]}]17:198982]", "not_sequence"),
    "a spanning deletion": (f"1\t50\t.\t{CONTIG[49]}\t*", "not_sequence"),
    "a missing contig": ("7\t50\t.\tA\tC", "unknown_contig"),
    "a contig of path tricks": ("../../1\t50\t.\tA\tC", "unknown_contig"),
    "a contig of spaces": (" \t50\t.\tA\tC", "unknown_contig"),
    "position 0": ("1\t0\t.\tA\tC", "off_contig"),
    "a position behind the end": ("1\t201\t.\tA\tC", "off_contig"),
    "a position of 30 digits": (f"1\t{'9' * 30}\t.\tA\tC", "off_contig"),
    "a REF longer than the contig": (f"1\t1\t.\t{'A' * 500}\tC", "off_contig"),
    "another REF": (f"1\t50\t.\t{'C' if CONTIG[49] != 'C' else 'G'}\tT", "ref_mismatch"),
    "no change": (f"1\t50\t.\t{CONTIG[49]}\t{CONTIG[49].lower()}", "no_change"),
    "letters beyond ASCII": (f"1\t50\t.\t{CONTIG[49]}\té", "ambiguous"),
    "an insertion of ten thousand": (f"1\t50\t.\t{CONTIG[49]}\t{'A' * 10_000}", "too_long"),
}


def test_every_record_has_its_status_in_any_order(tmp_path):
    """All at once, unsorted, with Windows' line breaks and a contig that no header names."""
    good = f"X\t20\trs1\t{'ACGT'[19 % 4]}\tA"
    rows = [row for row, _ in STATUSES.values()] + [good]
    wanted = [status for _, status in STATUSES.values()] + ["scored"]
    lines = "".join(f"{row}\t.\t.\t.\r\n" for row in rows)
    (tmp_path / "x.vcf").write_text(HEAD + lines, encoding="utf-8")
    score_vcf(tmp_path / "x.vcf", GENOME, mlm, tok, tmp_path / "y.vcf", CONFIG)
    found = [
        line for line in (tmp_path / "y.vcf").read_text("utf-8").splitlines() if line[0] != "#"
    ]
    assert [line.split("\t")[:5] for line in found] == [row.split("\t") for row in rows]
    statuses = [line.split("D2_STATUS=")[1].split(";")[0] for line in found]
    assert dict(zip(rows, statuses, strict=True)) == dict(zip(rows, wanted, strict=True))


def test_numbers_too_large_for_a_table_are_refused_by_name(tmp_path):
    (tmp_path / "x.vcf").write_text(f"{HEAD}1\t{'9' * 30}\t.\tA\tC\t.\t.\t.\n")
    with pytest.raises(DataError, match=r"x\.vcf.*POS.*does not fit"):
        score_vcf(tmp_path / "x.vcf", GENOME, mlm, tok, tmp_path / "y.parquet", CONFIG)
    assert not (tmp_path / "y.parquet").exists()
    (tmp_path / "x.vcf").write_text(f"{HEAD}1\t{2**40}\t.\tA\tC\t.\t.\t.\n")
    score_vcf(tmp_path / "x.vcf", GENOME, mlm, tok, tmp_path / "y.parquet", CONFIG)
    assert pq.read_table(tmp_path / "y.parquet")["pos"].to_pylist() == [2**40]


BAD = {
    "nothing": (b"", "is not a VCF"),
    "binary": (bytes(range(256)), "is not a VCF"),
    "spaces for tabs": (HEAD.encode() + b"1 50 . A C . . .\n", "x.vcf:3: is not a VCF record"),
    "a negative position": (HEAD.encode() + b"1\t-5\t.\tA\tC\t.\t.\t.\n", "x.vcf:3: "),
    "an empty REF": (HEAD.encode() + b"1\t5\t.\t\tC\t.\t.\t.\n", "x.vcf:3: "),
    "a position of 5000 digits": (
        HEAD.encode() + b"1\t" + b"9" * 5000 + b"\t.\tA\tC\t.\t.\t.\n",
        "x.vcf:3: ",
    ),
    "a header that never ends": (b"##x=" + b"A" * 5000, "is not a VCF"),
    "gzip damaged inside": (
        gzip.compress(HEAD.encode() + b"1\t5\t.\tA\tC\t.\t.\t.\n" * 999)[:40] + b"\xff" * 40,
        "damaged or ends early",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_refused(tmp_path, content, message):
    (tmp_path / "x.vcf").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        score_vcf(tmp_path / "x.vcf", GENOME, mlm, tok, tmp_path / "y.vcf", CONFIG)
    assert "x.vcf" in str(caught.value)
    assert not (tmp_path / "y.vcf").exists()


def test_a_packed_line_without_end_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(vcf, "MAX_LINE_BYTES", 1 << 16)
    (tmp_path / "x.vcf.gz").write_bytes(gzip.compress(b"##x=" + b"A" * (1 << 20)))
    with (
        pytest.raises(DataError, match=":1: has more than 65,536 bytes"),
        read_vcf(tmp_path / "x.vcf.gz"),
    ):
        pass
