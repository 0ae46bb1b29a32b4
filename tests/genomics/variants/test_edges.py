"""Variants at the edges: codes in the reference, foreign INFO, other assemblies, windows."""

import re
import warnings

import pyarrow.parquet as pq
import pytest
from helpers.models import classifier, masked_lm, tok

from dnabert2_fast import cli, score_variants, score_vcf
from dnabert2_fast.genomics.variants import ScoringConfig, Variant
from dnabert2_fast.genomics.variants.alleles import status_of
from dnabert2_fast.io.reference import Reference

HEADER = "##fileformat=VCFv4.2\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
CONTIG = "GATTACAGGCTTAACGTCCAT" * 12
CONFIG = ScoringConfig(window_bp=64, offsets_bp=(0,), both_strands=False)
pysam = pytest.importorskip("pysam")


@pytest.fixture(scope="module")
def mlm():
    return masked_lm()


def scored(folder, records, model, *, header=HEADER, out="y.vcf", **keywords):
    """Score records against CONTIG; returns the lines of the output."""
    text = header + COLUMNS + "".join("\t".join(record) + "\n" for record in records)
    (folder / "x.vcf").write_bytes(text.encode("latin-1"))
    genome = Reference({"chr1": CONTIG})
    score_vcf(folder / "x.vcf", genome, model, tok, folder / out, CONFIG, **keywords)
    return (folder / out).read_bytes().decode("latin-1").splitlines() if ".vcf" in out else None


@pytest.mark.parametrize(
    ("variant", "status"),
    [
        (("1", 4, "R", "C"), "ambiguous"),
        (("1", 4, "A", "C"), "ambiguous"),  # what VCF 4.3 writes for R
        (("1", 4, "G", "C"), "ambiguous"),
        (("1", 4, "C", "A"), "ref_mismatch"),  # R is A or G
        (("1", 4, "AC", "A"), "scored"),  # only the shared base is a code
        (("1", 4, "RC", "R"), "scored"),
        (("1", 3, "TA", "T"), "ambiguous"),
        (("1", 7, "NA", "N"), "scored"),
        (("1", 8, "AG", "G"), "scored"),
        (("1", 7, "NA", "A"), "ambiguous"),
        (("1", 8, "A", "N"), "ambiguous"),
        (("1", 8, "AN", "A"), "ref_mismatch"),
        (("1", 7, "A", "C"), "ref_mismatch"),  # N in the reference is N in a record
        (("1", 4, "A", "A"), "no_change"),
    ],
)
def test_only_changed_bases_are_judged(variant, status):
    #                         0123456789
    genome = Reference({"1": "ACGTRCTNAGC"})
    assert status_of(Variant(*variant), genome) == status


def test_equal_edits_have_equal_scores(mlm):
    genome = Reference({"1": f"{CONTIG[:100]}N{CONTIG[100:]}"})
    base, after = CONTIG[100], CONTIG[101]
    edits = [("1", 100, f"N{base}", "N"), ("1", 101, f"{base}{after}", after)]
    one, other = score_variants(edits, genome, mlm, tok, config=CONFIG)
    assert one.status == "scored_near_n"
    assert one == other


def test_info_of_others_stays(tmp_path, mlm):
    base = CONTIG[60]
    alt = "A" if base != "A" else "C"
    header = HEADER + (
        '##INFO=<ID=D2_DEPTH,Number=1,Type=Integer,Description="of another tool">\n'
        '##INFO=<ID=D2_LLR,Number=A,Type=Float,Description="old">\n'
        "##dnabert2_fast_score_variants=<ID=D2,Version=0>\n"
        "##dnabert2_fast_score_variants=<ID=OTHER,Version=0>\n"
    )
    infos = ["AC=1;", "", ";AC=1;;DP=2", "D2_DEPTH=7;D2_LLR=5;D2_STATUS=old;OTHER_LLR=1"]
    records = [("chr1", "61", ".", base, alt, ".", ".", info) for info in infos]
    lines = scored(tmp_path, records, mlm, header=header)
    kept = [line.split("\t")[7].split(";D2_STATUS=")[0] for line in lines if line[0] != "#"]
    assert kept[0] == "AC=1"
    assert kept[1].startswith("D2_STATUS=scored")
    assert kept[2:] == ["AC=1;DP=2", "D2_DEPTH=7;OTHER_LLR=1"]
    assert not [line for line in lines if line[0] != "#" and re.search(r";;|;\t|\t;", line)]
    names = [match[1] for line in lines if (match := re.match(r"##INFO=<ID=(\w+),", line))]
    assert names.count("D2_DEPTH") == names.count("D2_LLR") == 1
    written = [line for line in lines if "dnabert2_fast_score_variants" in line]
    assert len(written) == 2
    assert "ID=OTHER" in written[0]


def test_the_header_names_model_and_settings(tmp_path):
    model = classifier(num_labels=2)
    model.name_or_path = 'runs/"best"'
    lines = scored(tmp_path, [("chr1", "61", ".", CONTIG[60], "N", ".", ".", ".")], model)
    (line,) = [line for line in lines if "dnabert2_fast_score_variants" in line]
    assert line.startswith("##dnabert2_fast_score_variants=<ID=D2,Version=")
    assert r'Model="runs/\"best\""' in line
    for part in ('Reference="the reference"', "WindowBp=64", 'OffsetsBp="0"', 'Label="1"'):
        assert part in line
    assert re.search("Weights=[0-9a-f]{12},", line)


def test_two_models_in_one_file(tmp_path, mlm):
    base = CONTIG[60]
    alt = "A" if base != "A" else "C"
    record = ("chr1", "61", ".", base, alt, ".", ".", "AC=1")
    first = scored(tmp_path, [record], mlm)
    (tmp_path / "y.vcf").rename(tmp_path / "first.vcf")
    genome, out = Reference({"chr1": CONTIG}), tmp_path / "both.vcf"
    score_vcf(tmp_path / "first.vcf", genome, mlm, tok, out, CONFIG, prefix="B")
    cells = out.read_text().splitlines()[-1].split("\t")
    assert cells[7].startswith(first[-1].split("\t")[7] + ";B_STATUS=scored;B_LLR=")
    with pytest.raises(ValueError, match="prefix: must consist of letters"):
        score_vcf(tmp_path / "first.vcf", genome, mlm, tok, out, CONFIG, prefix="a b")
    with pysam.VariantFile(str(out)) as opened:
        (found,) = opened
        assert found.info["B_LLR"] == found.info["D2_LLR"]


def test_bytes_that_are_not_utf8_into_a_table(tmp_path, mlm):
    record = ("chr1", "61", "caf\xe9", CONTIG[60], "N", ".", ".", ".")
    scored(tmp_path, [record], mlm, out="y.parquet")
    assert pq.read_table(tmp_path / "y.parquet")["id"].to_pylist() == ["caf\ufffd"]


def test_another_assembly_is_named(tmp_path, mlm):
    header = HEADER + "##contig=<ID=1,assembly=b37,length=248956422>\n##contig=<ID=9,length=5>\n"
    wrong = {"A": "C", "C": "A", "G": "A", "T": "A"}
    records = [("1", str(i + 1), ".", wrong[CONTIG[i]], "T", ".", ".", ".") for i in range(60, 70)]
    with pytest.warns(UserWarning, match="another assembly") as caught:
        scored(tmp_path, records, mlm, header=header)
    first, second = (str(warning.message) for warning in caught)
    assert "gives 1 248,956,422 bases, the reference has 252 (1 of 1 contigs differ)" in first
    assert "REF differs from the reference for 10 of 10 alleles (100%)" in second


def test_no_warning_where_all_is_well(tmp_path, mlm):
    header = HEADER + f"##contig=<ID=1,length={len(CONTIG)}>\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored(tmp_path, [("1", "61", ".", CONTIG[60], "N", ".", ".", ".")], mlm, header=header)


def test_nothing_scored_is_an_error_of_the_command(tmp_path, capsys):
    (tmp_path / "g.fa").write_text(f">chr1\n{CONTIG}\n")
    (tmp_path / "x.vcf").write_text(f"{HEADER}{COLUMNS}chr7\t9\t.\tA\tC\t.\t.\t.\n")
    given = [str(tmp_path / "x.vcf"), "--reference", str(tmp_path / "g.fa")]
    given += ["--model", "mini", "--out", str(tmp_path / "y.vcf")]
    assert cli.main(["score-variants", *given]) == 2
    said = capsys.readouterr().err
    assert "chr7 not in g.fa, which has chr1" in said
    assert "x.vcf: none of its 1 alleles could be scored. See" in said.splitlines()[-1]
    assert "D2_STATUS=unknown_contig" in (tmp_path / "y.vcf").read_text()


def test_accessions_with_and_without_version():
    genome = Reference({"gi|1|ref|NC_000001.1| words": "A", "NC_000002": "C", "NC_3.1": "G"})
    first = "gi|1|ref|NC_000001.1| words"
    assert genome.resolve("NC_000001.1") == genome.resolve("NC_000001") == first
    assert genome.resolve("NC_000001.2") is None  # another version is another sequence
    assert genome.resolve("NC_000002.9") == "NC_000002"
    assert genome.resolve("NC_3") == "NC_3.1"
    twice = Reference({"NC_000001.1": "A", "NC_000001.2": "C"})
    assert twice.resolve("NC_000001") is None


def test_a_classifier_is_given_windows_of_its_own_length():
    model = classifier(num_labels=2, window_bp=70)
    variants, genome = [Variant("1", 60, CONTIG[60], "N")], Reference({"1": CONTIG})
    variants = [Variant("1", 60, CONTIG[60], "A" if CONTIG[60] != "A" else "C")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = score_variants(variants, genome, model, tok)
        same = score_variants(variants, genome, model, tok, config=ScoringConfig(window_bp=70))
    with pytest.warns(UserWarning, match="window_bp: 512, but the model was fine-tuned on 70 bp"):
        other = score_variants(variants, genome, model, tok, config=ScoringConfig(window_bp=512))
    assert own == same
    assert own[0].log_odds != other[0].log_odds
    assert ScoringConfig().for_model(masked_lm().config).window_bp == 512
