"""Scores of variants from file to file: records stay as they were written."""

import gzip
import os
import re
import threading
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from helpers.models import make, masked_lm, tok
from helpers.variants import CONFIG, CONTIG, GENOME, VARIANTS, cls, enc, mlm, twin

from dnabert2_fast import Dnabert2ForSequenceClassification, cli
from dnabert2_fast._internal.progress import Progress
from dnabert2_fast.errors import DataError, InputWarning
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.genomics.variants import vcf_file as vcf_module
from dnabert2_fast.genomics.variants.alleles import Variant, variants_of
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.genomics.variants.scoring import score_variants
from dnabert2_fast.genomics.variants.vcf_file import score_vcf
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import read_vcf

pysam = pytest.importorskip("pysam")

HEAD = '##fileformat=VCFv4.2\n##INFO=<ID=AC,Number=A,Type=Integer,Description="count">\n'
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def vcf_text():
    """Unsorted, several alleles, undeclared contigs and fields, samples, odd numbers."""
    other = "A" if CONTIG[300] != "A" else "C"
    third = next(base for base in "ACGT" if base not in (CONTIG[300], other))
    lines = [
        f"1\t501\trs2\t{CONTIG[500:509]}\t{CONTIG[500]}\t1e-7\tPASS\tAF=0.10;X;Y=a,b\tGT:Q\t0|1:9",
        f"chr1\t301\t.\t{CONTIG[300]}\t{other},<DEL>,{third},*\t.\t.\t.\tGT\t1/2",
        f"chr1\t301\t.\t{other}\t{CONTIG[300]}\t.\t.\tD2_LLR=9;AC=1;D2_STATUS=old\tGT\t.",
        f"chr1\t10\t.\t{CONTIG[9]}\t.\t.\t.\tAC=0\tGT\t0/0",
        "chrUn\t10\tä\tA\tC\t.\t.\tAC=1\tGT\t0/0",
        f"MT\t1\t.\t{CONTIG[-1]}\t{CONTIG[-1]}G\t.\t.\t.\tGT\t0/0",
    ]
    return HEAD + COLUMNS + "\tFORMAT\ts1\n" + "\n".join(lines) + "\n"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "x.vcf").write_text(vcf_text(), encoding="utf-8")
    fasta = "".join(
        f">{name}\n" + "\n".join(re.findall(".{1,60}", text)) + "\n"
        for name, text in (("chr1", CONTIG), ("chrM", CONTIG[::-1]))
    )
    (tmp_path / "g.fa").write_text(fasta)
    for model, name in ((mlm, "mlm"), (cls, "cls"), (enc, "enc")):
        model.save_pretrained(tmp_path / name)
        tok.save(tmp_path / name / "tokenizer.json")
    return tmp_path


def test_records_keep_order_and_text(files):
    counts = score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, files / "y.vcf", CONFIG)
    assert counts == {"scored": 4, "ref_mismatch": 1, "unknown_contig": 1, "not_sequence": 2}
    before = (files / "x.vcf").read_text("utf-8").splitlines()
    after = (files / "y.vcf").read_text("utf-8").splitlines()
    records = [line.split("\t") for line in after if not line.startswith("#")]
    sources = [line.split("\t") for line in before if not line.startswith("#")]
    for old, new in zip(sources, records, strict=True):
        assert (old[:7], old[8:]) == (new[:7], new[8:])
        kept = [part for part in old[7].split(";") if not part.startswith("D2_") and part != "."]
        assert new[7].split(";")[: len(kept)] == (kept or new[7].split(";")[:0])
    info = [dict(p.partition("=")[::2] for p in record[7].split(";")) for record in records]
    assert [each.get("D2_STATUS") for each in info] == [
        "scored",
        "scored,not_sequence,scored,not_sequence",
        "ref_mismatch",
        None,
        "unknown_contig",
        "scored",
    ]
    assert "D2_LLR" not in info[2]
    assert records[3][7] == "AC=0"
    first = info[1]["D2_LLR"].split(",")
    assert [value == "." for value in first] == [False, True, False, True]
    wanted = twin(mlm, Variant("1", 300, CONTIG[300], records[1][4].split(",")[0]), CONTIG, CONFIG)
    assert float(first[0]) == pytest.approx(wanted["llr"], rel=1e-4, abs=1e-4)


def test_htslib_reads_what_is_written(files):
    score_vcf(files / "x.vcf", files / "g.fa", cls, tok, files / "y.vcf.gz", CONFIG)
    with gzip.open(files / "y.vcf.gz", "rt", encoding="utf-8") as handle:
        text = handle.read()
    assert "class 1, ALT minus REF" in text
    with pysam.VariantFile(str(files / "y.vcf.gz")) as opened:
        found = list(opened)
        assert "D2_LLR" not in opened.header.info
    assert len(found) == 6
    assert [len(record.info["D2_STATUS"]) for record in found if record.alts] == [1, 4, 1, 1, 1]
    values = found[1].info["D2_PROBABILITY"]
    assert [value is None for value in values] == [False, True, False, True]
    # Scored again, nothing is written twice.
    again = score_vcf(files / "y.vcf.gz", files / "g.fa", cls, tok, files / "z.vcf", CONFIG)
    assert again["scored"] == 4
    assert (files / "z.vcf").read_text("utf-8") == text


def test_parquet(files, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.genomics.variants.vcf_file.CHUNK_RECORDS", 2)
    monkeypatch.setattr("dnabert2_fast.genomics.variants.vcf_file.GROUP_ROWS", 2)
    counts = score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, files / "y.parquet", CONFIG)
    rows = pq.read_table(files / "y.parquet").to_pylist()
    assert len(rows) == sum(counts.values()) == 8
    assert [row["pos"] for row in rows] == [501, 301, 301, 301, 301, 301, 10, 1]
    for row in rows:
        assert (row["llr"] is not None) == (row["status"] == "scored")
    with read_vcf(files / "x.vcf") as (_, records):
        variants = [variant for record in records for variant in variants_of(record)]
    scores = score_variants(variants, GENOME, mlm, tok, config=CONFIG)
    for row, score in zip(rows, scores, strict=True):
        assert row["status"] == score.status
        if score.status == "scored":
            assert row["llr"] == pytest.approx(score.llr, abs=1e-5)
            normal = (row["normal_start"], row["normal_ref"], row["normal_alt"])
            assert normal == score.normal[1:]


def test_long_gaps_without_alleles(files):
    """An all-sites file: nothing is scored, every line comes through."""
    line = f"chr1\t10\t.\t{CONTIG[9]}\t.\t.\t.\t."
    (files / "x.vcf").write_text(f"{COLUMNS}\n" + f"{line}\n" * 1000)
    assert score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, files / "y.vcf") == {}
    assert (files / "y.vcf").read_text().count(line) == 1000


def test_damaged_files_end_in_one_line(files):
    packed = gzip.compress(vcf_text().encode())
    (files / "cut.vcf.gz").write_bytes(packed[:-20])
    with pysam.BGZFile(str(files / "cut2.vcf.gz"), "wb") as sink:
        sink.write(vcf_text().encode())
    (files / "cut2.vcf.gz").write_bytes((files / "cut2.vcf.gz").read_bytes()[:-28])
    (files / "few.vcf").write_text(f"{COLUMNS}\nchr1\t5\t.\tA\tC\n")
    (files / "pos.vcf").write_text(f"{COLUMNS}\nchr1\tfive\t.\tA\tC\t.\t.\t.\n")
    (files / "empty.vcf").write_text(f"{COLUMNS}\nchr1\t5\t.\tA\tC,,G\t.\t.\t.\n")
    (files / "none.vcf").write_text("chr1\t5\t.\tA\tC\t.\t.\t.\n")
    (files / "x.bcf").write_bytes(gzip.compress(b"BCF\2\2"))
    bad = {
        "cut.vcf.gz": "damaged or ends early",
        "few.vcf": "vcf:2: is not a VCF record",
        "pos.vcf": "vcf:2: is not a VCF record",
        "empty.vcf": "vcf:2: is not a VCF record",
        "none.vcf": "begins with #CHROM is missing",
        "x.bcf": "is BCF",
    }
    for name, message in bad.items():
        with pytest.raises(DataError, match=message):
            score_vcf(files / name, files / "g.fa", mlm, tok, files / "y.vcf")
        assert not (files / "y.vcf").exists()
    with pytest.raises(ValueError, match=r"or in \.vcf"):
        score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, files / "y.bcf")
    with pytest.warns(InputWarning, match=r"cut2\.vcf\.gz: lacks the EOF marker"):
        score_vcf(files / "cut2.vcf.gz", files / "g.fa", mlm, tok, files / "y.vcf")


@pytest.mark.parametrize("name", ["y.vcf.gz", "y.parquet"])
@pytest.mark.parametrize("genome", ["file", "text"])
def test_stopped_it_goes_on(files, monkeypatch, name, genome):
    monkeypatch.setattr("dnabert2_fast.genomics.variants.vcf_file.CHUNK_RECORDS", 2)
    text = {"chr1": CONTIG, "chrM": CONTIG[::-1]}
    reference = Reference(files / "g.fa" if genome == "file" else text)
    calls, real = [], vcf_module.score_stream

    def interrupt_the_second(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    def score(out):
        return score_vcf(files / "x.vcf", reference, mlm, tok, out, CONFIG)

    counts = score(files / name)
    want = (files / name).read_bytes()
    (files / name).unlink()
    before = sorted(files.iterdir())
    monkeypatch.setattr(vcf_module, "score_stream", interrupt_the_second)
    with pytest.raises(KeyboardInterrupt):
        score(files / name)
    assert sorted({*files.iterdir()} - {*before}) == [files / f"{name}.parts"]
    assert score(files / name) == counts
    assert len(calls) == 2 + 2  # two of three chunks were left
    assert (files / name).read_bytes() == want
    assert sorted(files.iterdir()) == sorted([*before, files / name])


def test_progress_has_the_total_but_for_a_pipe(files, monkeypatch):
    totals, done = [], []

    class Bar(Progress):
        def __init__(self, total, *words):
            totals.append(total)
            super().__init__(total, *words)

        def __exit__(self, *error):
            done.append(self._done)
            super().__exit__(*error)

    monkeypatch.setattr(vcf_module, "progress", Bar)
    monkeypatch.setattr(vcf_module, "CHUNK_RECORDS", 2)
    remove = vcf_module.ResumeStore.remove
    monkeypatch.setattr(vcf_module.ResumeStore, "remove", lambda _: None)
    for _ in range(2):  # the second run takes every chunk from the first
        score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, files / "y.vcf", CONFIG)
    monkeypatch.setattr(vcf_module.ResumeStore, "remove", remove)
    assert (totals, done) == ([8, 8], [8, 8])
    os.mkfifo(files / "pipe.vcf")
    writer = threading.Thread(
        target=lambda: (files / "pipe.vcf").write_bytes((files / "x.vcf").read_bytes())
    )
    writer.start()
    score_vcf(files / "pipe.vcf", files / "g.fa", mlm, tok, files / "y.vcf", CONFIG)
    writer.join()
    assert (totals[2:], done[2:]) == ([None], [8])


def test_other_settings_and_early_stops_leave_nothing(files, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.genomics.variants.vcf_file.CHUNK_RECORDS", 2)
    Reference(files / "g.fa")
    before = sorted(files.iterdir())
    out = files / "y.vcf"
    with pytest.raises(ValueError, match="label"):
        score_vcf(files / "x.vcf", files / "g.fa", cls, tok, out, ScoringConfig(label=9))
    assert sorted(files.iterdir()) == before
    with monkeypatch.context() as patch:
        patch.setattr("dnabert2_fast._internal.progress.Progress.update", stop_after_one())
        with pytest.raises(KeyboardInterrupt):
            score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, out, CONFIG)
    other = replace(CONFIG, both_strands=not CONFIG.both_strands)
    score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, out, other)
    got = out.read_bytes()
    out.unlink()
    score_vcf(files / "x.vcf", files / "g.fa", mlm, tok, out, other)
    assert out.read_bytes() == got


def stop_after_one():
    calls = []

    def update(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    return update


def test_bfloat16_is_near():
    full = masked_lm().eval()
    half = masked_lm().eval().bfloat16()
    for a, b in zip(
        score_variants(VARIANTS[:4], GENOME, full, tok, config=CONFIG),
        score_variants(VARIANTS[:4], GENOME, half, tok, config=CONFIG),
        strict=True,
    ):
        assert a.ref_tokens == b.ref_tokens
        assert b.llr == pytest.approx(a.llr, abs=0.3)
        assert b.l2 == pytest.approx(a.l2, rel=0.2)


def test_references(files, tmp_path, monkeypatch):
    text = (files / "g.fa").read_bytes()
    with pysam.BGZFile(str(files / "b.fa.gz"), "wb") as sink:
        sink.write(text)
    (files / "plain.fa.gz").write_bytes(gzip.compress(text))
    (files / "ragged.fa").write_text(">a\nACGT\nACGTACGT\nAC\n")
    plain, packed = Reference(files / "g.fa"), Reference(files / "b.fa.gz")
    for start, end in ((0, 10), (55, 130), (-5, 3), (1430, 2000), (9, 9), (2000, 2010)):
        wanted = GENOME.fetch("chr1", start, end)
        assert plain.fetch("chr1", start, end) == packed.fetch("chr1", start, end) == wanted
    assert plain.lengths == packed.lengths == GENOME.lengths
    assert (files / "b.fa.gz.gzi").exists()
    with pytest.raises(DataError, match="bgzip"):
        Reference(files / "plain.fa.gz")
    with pytest.raises(DataError, match="one length"):
        Reference(files / "ragged.fa")
    with pytest.raises(FileNotFoundError):
        Reference(files / "nothing.fa")
    # Beside a file in a folder that cannot be written, nothing is made.
    for index in ("g.fa.fai", "b.fa.gz.fai", "b.fa.gz.gzi"):
        (files / index).unlink()
    monkeypatch.setattr("os.access", lambda *_: False)
    before = sorted(path.name for path in files.iterdir())
    assert Reference(files / "g.fa").fetch("chr1", 3, 99) == CONTIG[3:99]
    assert Reference(files / "b.fa.gz").fetch("chr1", 3, 99) == CONTIG[3:99]
    assert sorted(path.name for path in files.iterdir()) == before


def test_an_index_older_than_its_file_warns(files):
    Reference(files / "g.fa")
    os.utime(files / "g.fa.fai", (0, 0))
    with pytest.warns(UserWarning, match=r"g\.fa\.fai: is older than g\.fa\. Delete it"):
        Reference(files / "g.fa")


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [(kind, False) for kind in ("multilabel", "regression", "tokens", "bases")]
    + [("multiclass", True)],
)
def test_other_answers_than_a_class_are_refused(files, capsys, tmp_path, kind, pairs):
    """Models of pairs, or whose numbers are not logits of mutually exclusive classes."""
    model = tmp_path / "fine"
    make(Dnabert2ForSequenceClassification, num_labels=3).save_pretrained(model)
    tok.save(model / "tokenizer.json")
    Task(kind, ("a", "b", "c"), pairs).save(model)
    given = ["--model", str(model), "--out", str(tmp_path / "y.parquet")]
    genome = str(files / "g.fa")
    for verb in (
        ["score-variants", str(files / "x.vcf"), "--reference", genome],
        ["attribute", genome],
    ):
        assert cli.main([*verb, *given]) == 2
        said = capsys.readouterr().err
        assert "Give a classifier of one class per" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "y.parquet").exists()


def test_command_line(files, capsys):
    common = ["score-variants", str(files / "x.vcf"), "--reference", str(files / "g.fa")]
    short = ["--window-bp", "120", "--offsets-bp", "-7", "0"]
    columns = {"mlm": "llr", "cls": "probability", "enc": "l2"}
    for name, column in columns.items():
        out = files / f"{name}.parquet"
        model = ["--model", str(files / name), "--out", str(out)]
        assert cli.main([*common, *model, *short]) == 0
        printed = capsys.readouterr()
        assert "8 alleles, 4 scored" in printed.out
        assert "1 alleles not scored: ref_mismatch (REF differs from" in printed.err
        assert pq.read_table(out)[column].null_count == 4
    wrong = [*common, "--model", str(files / "cls"), "--out", str(files / "n.vcf"), "--label", "7"]
    assert cli.main(wrong) == 2
    assert capsys.readouterr().err.startswith("error: --label: must be between 0 and 2 (got 7)")
    assert not (files / "n.vcf").exists()
