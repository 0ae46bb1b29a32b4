"""What is written for given numbers, to the letter: VCF lines, table rows, warnings."""

import re
import warnings
from importlib.metadata import version

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.models import classifier, encoder, masked_lm, tok

from dnabert2_fast.genomics.variants import ScoringConfig, score_vcf, vcf_file
from dnabert2_fast.genomics.variants.alleles import STATUSES
from dnabert2_fast.genomics.variants.scoring import VariantScore
from dnabert2_fast.io.reference import Reference

pytest.importorskip("pysam")

CONTIG = "GATTACAGGCTTAACGTCCAT" * 12
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
CONFIG = ScoringConfig(window_bp=64, offsets_bp=(-3, 0), label=0)
RECORDS = [
    "chr1\t1\trs1\tG\tA,<X>,C\t9.5\tPASS\tA=1;D2_LLR=3;D2_LLRX=4;;B\tGT:X\t0/1",
    "1\t2\t.\tA\tC\t.\t.\t.",
    "1\t3\t.\tT\t.\t.\t.\tK",
    "chr1\t4\t.\tA\tT\t.\t.\tD2_STATUS=old",
    "chr1\t5\trs5\tA\tAG\t.\t.\tE",
]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Score records whose numbers are 1, 2, 3 ..., allele after allele."""
    calls = []

    def numbers(variants, genome, model, tokenizer, config, bar, background):
        calls.append((len(variants), genome, model, tokenizer, config))
        for variant in variants:
            scored = vcf_file.located(variant, genome, config)
            if scored.status != "scored":
                yield scored
                continue
            values = {"llr": -0.00001234567, "llr_sd": 1 / 3, "ref_tokens": 1.0, "cosine": 1e6}
            values |= {"context_llr": -1.5}
            values |= {"alt_tokens": 2.0, "l2": 12345678.0, "log_odds": 0.5, "probability": 0.25}
            values["other_letters"] = 3.5
            yield scored._replace(
                **{name: values[name] for name in vcf_file._names(model, background)}
            )

    monkeypatch.setattr(vcf_file, "score_stream", numbers)

    def written(out, model, records=RECORDS, header=("##fileformat=VCFv4.2",), **options):
        (tmp_path / "x.vcf").write_text("\n".join([*header, COLUMNS, *records]) + "\n")
        genome = Reference({"chr1": CONTIG})
        options = {"config": CONFIG, **options}
        counts = score_vcf(tmp_path / "x.vcf", genome, model, tok, tmp_path / out, **options)
        return counts, tmp_path / out, calls

    return written


def info(name, kind, what):
    return f'##INFO=<ID=D2_{name},Number=A,Type={kind},Description="{what}">'


WHETHER = f"Whether dnabert2_fast scored the allele, or why not: {','.join(STATUSES)}"
DISTANCES = [
    info("COSINE", "Float", "1 - cosine of the windows' mean-pooled vectors"),
    info("L2", "Float", "Euclidean distance of the windows' mean-pooled vectors"),
    info("OTHER_LETTERS", "Float", "letters other than A, C, G, T in the window, mean over frames"),
]


def test_a_file_of_a_masked_language_model(write):
    model = masked_lm()
    model.name_or_path = "a\\b"
    header = [
        "##fileformat=VCFv4.2",
        "##INFO=<ID=D2_LLR,Number=1,Type=Float,Description=old>",
        "##INFO=<ID=D2_LLRX,Number=1,Type=Float,Description=other>",
        "##dnabert2_fast_score_variants=<ID=D2,Version=0>",
        "##dnabert2_fast_score_variants=<ID=D3,Version=0>",
    ]
    counts, path, calls = write("y.vcf", model, header=header)
    assert list(counts.items()) == [("scored", 4), ("ref_mismatch", 1), ("not_sequence", 1)]
    lines = path.read_text().splitlines()
    (weights,) = re.findall("Weights=([0-9a-f]{12}),", lines[-7])
    numbers = "D2_LLR=-1.23457e-05{};D2_LLR_SD=0.333333{};D2_CLLR=-1.5{};D2_REF_TOKENS=1{}"
    numbers += ";D2_ALT_TOKENS=2{};D2_COSINE=1e+06{};D2_L2=1.23457e+07{};D2_OTHER_LETTERS=3.5{}"
    one, of_three = (
        numbers.format(*[""] * 8),
        numbers.format(
            ",.,-1.23457e-05",
            ",.,0.333333",
            ",.,-1.5",
            ",.,1",
            ",.,2",
            ",.,1e+06",
            ",.,1.23457e+07",
            ",.,3.5",
        ),
    )
    assert lines == [
        header[0],
        header[2],
        header[4],
        info("STATUS", "String", WHETHER),
        info("LLR", "Float", "log-likelihood of the tokens that differ, ALT minus REF, nats"),
        info(
            "LLR_SD",
            "Float",
            "standard deviation of the log-likelihood ratio over strands and window offsets",
        ),
        info(
            "CLLR",
            "Float",
            "LLR minus that of the same tokens in average contexts of a genome, nats",
        ),
        info("REF_TOKENS", "Float", "tokens of REF that differ, mean over frames"),
        info("ALT_TOKENS", "Float", "tokens of ALT that differ, mean over frames"),
        *DISTANCES,
        f"##dnabert2_fast_score_variants=<ID=D2,Version={version('dnabert2-fast')},"
        f'Model="a\\\\b",Weights={weights},Reference="the reference",WindowBp=64,'
        'OffsetsBp="-3 0",BothStrands=true,Background="human_chr20_GRCh37.fa.gz">',
        COLUMNS,
        "chr1\t1\trs1\tG\tA,<X>,C\t9.5\tPASS\tA=1;D2_LLRX=4;B;"
        f"D2_STATUS=scored,not_sequence,scored;{of_three}\tGT:X\t0/1",
        f"1\t2\t.\tA\tC\t.\t.\tD2_STATUS=scored;{one}",
        RECORDS[2],
        "chr1\t4\t.\tA\tT\t.\t.\tD2_STATUS=ref_mismatch",
        f"chr1\t5\trs5\tA\tAG\t.\t.\tE;D2_STATUS=scored;{one}",
    ]
    ((alleles, genome, *given),) = calls
    assert (alleles, genome.lengths, given) == (6, {"chr1": len(CONTIG)}, [model, tok, CONFIG])


def test_a_file_of_other_models(write):
    _, path, _ = write("y.vcf", encoder())
    header = [line for line in path.read_text().splitlines() if line.startswith("##INFO")]
    assert header == [info("STATUS", "String", WHETHER), *DISTANCES]
    scored = "D2_STATUS=scored;D2_COSINE=1e+06;D2_L2=1.23457e+07;D2_OTHER_LETTERS=3.5\n"
    assert scored in path.read_text()
    _, path, _ = write("z.vcf", classifier(num_labels=2, class_names=("no", "yes")), prefix="B_1")
    lines = path.read_text().splitlines()
    odds = "log(p / (1 - p)) of class no, ALT minus REF"
    assert [line.replace("B_1_", "D2_") for line in lines if line.startswith("##INFO")] == [
        info("STATUS", "String", WHETHER),
        *DISTANCES,
        info("LOG_ODDS", "Float", odds),
        info("PROBABILITY", "Float", "probability of class no, ALT minus REF"),
    ]
    assert lines[7].endswith(',BothStrands=true,Label="no">')
    assert "D2_STATUS=old" in lines[-2]  # of another prefix
    assert lines[-1].endswith(";B_1_LOG_ODDS=0.5;B_1_PROBABILITY=0.25")


def test_settings_that_are_left_out(write):
    model = classifier(num_labels=3, window_bp=40)
    _, path, calls = write("y.vcf", model, config=None)
    assert calls[0][-1] == ScoringConfig(window_bp=40)
    assert 'WindowBp=40,OffsetsBp="-5 0 5",BothStrands=true,Label="1">' in path.read_text()


@pytest.mark.parametrize("group_rows", [1, 2, 3, 4, 100])
def test_a_table(write, monkeypatch, group_rows):
    monkeypatch.setattr(vcf_file, "GROUP_ROWS", group_rows)
    counts, path, _ = write("y.parquet", masked_lm())
    assert counts == {"scored": 4, "ref_mismatch": 1, "not_sequence": 1}
    opened = pq.ParquetFile(path)
    numbers = ["llr", "llr_sd", "context_llr", "ref_tokens", "alt_tokens"]
    numbers += ["cosine", "l2", "other_letters"]
    names = ["chrom", "pos", "id", "ref", "alt", "status"]
    names += ["normal_start", "normal_ref", "normal_alt", *numbers]
    assert opened.schema_arrow.names == names
    kinds = dict.fromkeys(names, pa.string()) | {"pos": pa.int64(), "normal_start": pa.int64()}
    assert dict(zip(names, opened.schema_arrow.types, strict=True)) == {
        **kinds,
        **dict.fromkeys(numbers, pa.float64()),
    }
    sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
    assert sizes == {1: [3, 1, 1, 1], 2: [3, 2, 1], 3: [3, 3], 4: [4, 2], 100: [6]}[group_rows]
    scored = [-0.00001234567, 1 / 3, -1.5, 1, 2, 1e6, 12345678, 3.5]
    nothing = [None] * 11
    rows = [list(row.values()) for row in opened.read().to_pylist()]
    assert rows == [
        ["chr1", 1, "rs1", "G", "A", "scored", 0, "G", "A", *scored],
        ["chr1", 1, "rs1", "G", "<X>", "not_sequence", *nothing],
        ["chr1", 1, "rs1", "G", "C", "scored", 0, "G", "C", *scored],
        ["1", 2, ".", "A", "C", "scored", 1, "A", "C", *scored],
        ["chr1", 4, ".", "A", "T", "ref_mismatch", *nothing],
        ["chr1", 5, "rs5", "A", "AG", "scored", 5, "", "G", *scored],
    ]


@pytest.mark.parametrize("wrong", ["2D", "a b", "", "D2,", "_D"])
def test_prefixes_that_vcf_does_not_allow(write, wrong):
    with pytest.raises(ValueError, match=r"^prefix: must consist of letters, digits and _"):
        write("y.vcf", encoder(), prefix=wrong)


@pytest.mark.parametrize("out", ["y.bcf", "y.vcf.bz2", "vcf"])
def test_outputs_of_other_kinds(write, out):
    with pytest.raises(
        ValueError, match=rf"^out: must end in .*\.parquet, or in \.vcf, \.vcf\.gz .got {out}"
    ):
        write(out, encoder())


def test_records_are_taken_in_chunks_that_are_part_of_the_settings(write, monkeypatch):
    monkeypatch.setattr(vcf_file, "CHUNK_RECORDS", 2)
    asked = []
    real = vcf_file.fingerprint
    monkeypatch.setattr(
        vcf_file,
        "fingerprint",
        lambda *given, **inputs: asked.append(inputs) or real(*given, **inputs),
    )
    _, path, calls = write("y.vcf", encoder())
    assert [call[0] for call in calls] == [4, 1, 1]
    (inputs,) = asked
    source = Reference({"chr1": CONTIG}).source
    wanted = {"vcf": path.with_name("x.vcf"), "reference": source, "chunk": 2}
    assert inputs == {**wanted, "frequencies": None, "scores": list(VariantScore._fields)}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (["chr1\t1\t.\tG\tA\t.\t.\t.", "chr1\t1\t.\tA\tG\t.\t.\t."], None),
        (
            ["chr1\t1\t.\tG\tA\t.\t.\t.", "chr1\t1\t.\tA\tG,C\t.\t.\t."],
            r"x\.vcf: REF differs from the reference for 2 of 3 alleles \(67%\)\. The file was",
        ),
        (["chr1\t1\t.\tG\t<X>\t.\t.\t."], None),
        (
            [f"c{i}\t1\t.\tG\tA\t.\t.\t." for i in (2, 1, 2, 3)],
            r"x\.vcf: c2, c1, c3 not in the reference, which has chr1$",
        ),
        (
            [f"c{i}\t1\t.\tG\tA\t.\t.\t." for i in range(5)],
            r"x\.vcf: c0, c1, c2 and 2 more not in the reference, which has chr1$",
        ),
    ],
)
def test_warnings_of_what_is_not_scored(write, records, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write("y.vcf", encoder(), records=records)
    assert len(caught) == (message is not None)
    for warning in caught:
        assert re.search(message, str(warning.message))
        assert warning.category is UserWarning
        assert warning.filename == __file__


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([f"##contig=<ID=1,length={len(CONTIG)}>", "##contig=<ID=7,length=5>"], None),
        (["##contig=<ID=1>"], None),
        (
            [f"##contig=<ID=chr1,length={len(CONTIG)}>", "##contig=<ID=1,assembly=x,length=2520>"],
            r"x\.vcf: the header gives 1 2,520 bases, the reference has 252 \(1 of 2 contigs",
        ),
    ],
)
def test_warnings_of_lengths(write, header, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write("y.vcf", encoder(), header=["##fileformat=VCFv4.2", *header])
    assert len(caught) == (message is not None)
    for warning in caught:
        assert re.search(message, str(warning.message))
        assert warning.filename == __file__


def test_numbers_have_a_row_per_variant():
    assert vcf_file._numbers([], Reference({}), encoder(), tok, CONFIG, None, None).shape == (0, 10)
    assert len(VariantScore._fields) == 12
