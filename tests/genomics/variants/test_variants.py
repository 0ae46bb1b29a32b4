"""Variants score as in a plain definition, however they are written, batched and named."""

import gzip

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.dna import reverse_complement
from helpers.models import classifier, masked_lm, tok
from helpers.processes import run
from helpers.project import ROOT
from helpers.variants import (
    CONFIG,
    CONTIG,
    GENOME,
    VARIANTS,
    check,
    cls,
    enc,
    mlm,
    smallest_edit,
    tokens_apart,
    twin,
    variant_at,
)
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast import Tokenizer, read_fasta
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.genomics.variants.alleles import Variant, normalise, status_of, variants_of
from dnabert2_fast.genomics.variants.config import ScoringConfig
from dnabert2_fast.genomics.variants.scoring import differing_tokens, score_variants
from dnabert2_fast.genomics.variants.vcf_file import score_vcf
from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import read_vcf

pysam = pytest.importorskip("pysam")


@pytest.mark.parametrize("model", [mlm, cls, enc], ids=["mlm", "classifier", "encoder"])
def test_equals_the_naive_twin(model):
    scores = score_variants(VARIANTS, GENOME, model, tok, config=CONFIG)
    for variant, score in zip(VARIANTS, scores, strict=True):
        check(score, twin(model, variant, CONTIG, CONFIG))


def test_one_strand_and_one_frame():
    config = ScoringConfig(window_bp=80, offsets_bp=(5,), both_strands=False)
    (score,) = score_variants(VARIANTS[:1], GENOME, mlm, tok, config=config)
    check(score, twin(mlm, VARIANTS[0], CONTIG, config))
    assert score.llr_sd == 0


def test_the_other_strand_of_everything_scores_alike():
    """Reverse complement of genome and variant: the same frames, in another order."""
    other = Reference({"chr1": reverse_complement(CONTIG)})
    start, ref, alt = 300, CONTIG[300], VARIANTS[0].alt
    turned = Variant(
        "chr1", len(CONTIG) - 1 - start, reverse_complement(ref), reverse_complement(alt)
    )
    config = ScoringConfig(window_bp=120, offsets_bp=(-5, 0, 5))
    (a,) = score_variants([VARIANTS[0]], GENOME, mlm, tok, config=config)
    (b,) = score_variants([turned], other, mlm, tok, config=config)
    assert a.llr == pytest.approx(b.llr, abs=1e-5)
    assert a.l2 == pytest.approx(b.l2, abs=1e-5)


def test_back_is_minus_there():
    (there,) = score_variants([VARIANTS[2]], GENOME, mlm, tok, config=CONFIG)
    start, ref, alt = there.normal[1:]
    mutated = CONTIG[:start] + alt + CONTIG[start + len(ref) :]
    (back,) = score_variants(
        [(("1"), start, alt, ref)], Reference({"1": mutated}), mlm, tok, config=CONFIG
    )
    assert back.llr == pytest.approx(-there.llr, abs=1e-5)
    assert (back.ref_tokens, back.alt_tokens) == (there.alt_tokens, there.ref_tokens)


# --- forms of alleles -----------------------------------------------------------------------------


@given(st.data())
def test_normal_form_is_the_smallest_edit(data):
    """In repetitive sequence, where an indel has many equivalent positions."""
    contig = data.draw(st.text("AC", min_size=1, max_size=40))
    start = data.draw(st.integers(0, len(contig) - 1))
    ref = contig[start : start + data.draw(st.integers(1, 6))]
    alt = data.draw(st.text("AC", max_size=6).filter(lambda text: text != ref))
    variant = Variant("1", start, ref, alt)
    assert normalise(variant, Reference({"1": contig}))[1:] == smallest_edit(contig, variant)


def test_far_shifts():
    contig = "G" + "CA" * 2000 + "T"
    got = normalise(Variant("1", 3999, "CAT", "T"), Reference({"1": contig}))
    assert got == Variant("1", 1, "CA", "")
    got = normalise(Variant("1", 3999, "A", "ACA"), Reference({"1": contig[1:]}))
    assert got == Variant("1", 0, "", "CA")


def test_equal_variants_score_alike_to_the_last_digit():
    """The same deletion and insertion of a repeat unit, at many positions and in many spellings."""
    at = 700
    ways = [variant_at(at + 2 * i, 3, CONTIG[at + 2 * i]) for i in range(0, 18, 3)]
    ways += [variant_at(at - 5, 30, CONTIG[at - 5 : at + 23]), variant_at(at + 1, 3, "A")]
    scores = score_variants(ways, GENOME, mlm, tok, config=CONFIG)
    assert len({variant[1:3] for variant in ways}) == len(ways)
    assert len(set(scores)) == 1
    inserted = [variant_at(at + 2 * i, 2, "CACA") for i in range(5)]
    assert len(set(score_variants(inserted, GENOME, mlm, tok, config=CONFIG))) == 1


@pytest.mark.parametrize(
    ("given_variant", "status"),
    [
        (("1", 300, CONTIG[300], VARIANTS[0].alt), "scored"),
        (("chr1", 300, CONTIG[300].lower(), VARIANTS[0].alt.lower()), "scored"),
        (("MT", 0, CONTIG[-1], "A" if CONTIG[-1] != "A" else "C"), "scored"),
        (("M", 0, CONTIG[-1], "A" if CONTIG[-1] != "A" else "C"), "scored"),
        (("chr1", 300, VARIANTS[0].alt, CONTIG[300]), "ref_mismatch"),
        (("chr2", 300, "A", "C"), "unknown_contig"),
        (("chr1", -1, "A", "C"), "off_contig"),
        (("chr1", len(CONTIG) - 1, CONTIG[-1] + "A", "C"), "off_contig"),
        (("chr1", 300, CONTIG[300], ""), "scored"),
        (("chr1", 300, "", "ACCA"), "scored"),
        (("chr1", 300, "", ""), "no_change"),
        (("chr1", 300, CONTIG[300], "<DEL>"), "not_sequence"),
        (("chr1", 300, CONTIG[300], "*"), "not_sequence"),
        (("chr1", 300, CONTIG[300], "."), "not_sequence"),
        (("chr1", 300, CONTIG[300], f"{CONTIG[300]}[chr1:700["), "not_sequence"),
        (("chr1", 300, CONTIG[300], f".{CONTIG[300]}"), "not_sequence"),
        (("chr1", 300, CONTIG[300], "N"), "ambiguous"),
        (("chr1", 300, CONTIG[300], "R"), "ambiguous"),
        (("chr1", 300, CONTIG[300], CONTIG[300]), "no_change"),
        (("chr1", 300, CONTIG[300], CONTIG[300] + "A" * 121), "too_long"),
        (("chr1", 300, CONTIG[300:422], CONTIG[300]), "too_long"),
    ],
)
def test_what_is_not_scored_says_why(given_variant, status):
    (score,) = score_variants([given_variant], GENOME, mlm, tok, config=CONFIG)
    assert score.status == status
    assert (score.llr == score.llr) == (status == "scored")
    if status not in ("scored", "too_long"):
        assert status_of(Variant(*given_variant), GENOME) == status


def test_letters_around_a_variant_may_be_unknown():
    contig = CONTIG[:299] + "N" + CONTIG[300] + "n" + CONTIG[302:330] + "R" + CONTIG[331:]
    (score,) = score_variants([VARIANTS[0]], Reference({"chr1": contig}), mlm, tok, config=CONFIG)
    assert score.status == "scored_near_n"
    check(score, twin(mlm, VARIANTS[0], contig.upper(), CONFIG))


def test_a_token_that_is_deleted_whole_is_looked_at_from_both_sides():
    ref, alt = np.array([1, 7, 50, 60, 2]), np.array([1, 7, 60, 2])
    got = [positions.tolist() for positions in differing_tokens(ref, alt, frozenset({1, 2}))]
    assert got == [[1, 2, 3], [1, 2]]


def test_equal_tokens_at_both_ends_are_not_struck_off_twice():
    """One of three equal tokens is deleted: the two that stay match from the left alone."""
    ref, alt = np.array([1, 7, 7, 7, 2]), np.array([1, 7, 7, 2])
    got = [positions.tolist() for positions in differing_tokens(ref, alt, frozenset({1, 2}))]
    assert got == tokens_apart(ref.tolist(), alt.tolist()) == [[2, 3], [2]]


def test_chunks_and_duplicates_do_not_matter(monkeypatch):
    whole = score_variants(VARIANTS * 2, GENOME, mlm, tok, config=CONFIG)
    monkeypatch.setattr("dnabert2_fast.genomics.variants.scoring.CHUNK_ALLELES", 3)
    parts = score_variants(VARIANTS * 2, GENOME, mlm, tok, config=CONFIG)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a[2:], b[2:], atol=1e-5)
    assert whole[: len(VARIANTS)] == whole[len(VARIANTS) :]


def test_windows_shared_by_alleles_are_computed_once(monkeypatch):
    """Three alleles of one site: one reference window per frame, its positions masked once."""
    site = [Variant("chr1", 300, CONTIG[300], alt) for alt in "ACGT" if alt != CONTIG[300]]
    sizes = []
    from dnabert2_fast.genomics.variants import scoring as module

    real = module.token_log_likelihood

    def counted(ids, masks, *rest):
        sizes.append((len(ids), len(masks.rows)))
        return real(ids, masks, *rest)

    monkeypatch.setattr(module, "token_log_likelihood", counted)
    scores = score_variants(site, GENOME, mlm, tok, config=CONFIG)
    frames = 4
    assert sizes[0][0] == frames * (1 + 3)
    spans = sum((score.ref_tokens + score.alt_tokens) * frames for score in scores)
    assert sizes[0][1] < spans
    score_variants(site * 5, GENOME, mlm, tok, config=CONFIG)
    assert sizes[1] == sizes[0]


def test_the_models_mode_is_left_as_it_was():
    model = masked_lm()
    model.train()
    (a,) = score_variants(VARIANTS[:1], GENOME, model, tok, config=CONFIG)
    assert model.training
    model.eval()
    assert score_variants(VARIANTS[:1], GENOME, model, tok, config=CONFIG) == [a]
    assert not model.training


def test_bad_arguments():
    with pytest.raises(CheckpointError, match="the model has 4096 ids, the tokenizer 11"):
        score_variants(VARIANTS, GENOME, mlm, Tokenizer.train(["ACACGTGT"], 11))
    with pytest.raises(ValueError, match=r"label: must be between 0 and 2 .got 3"):
        score_variants(VARIANTS, GENOME, cls, tok, config=ScoringConfig(label=3))
    with pytest.raises(ValueError, match="one output"):
        score_variants(VARIANTS, GENOME, classifier(num_labels=1), tok)
    with pytest.raises(ValueError, match="offsets_bp: must be less than 60"):
        ScoringConfig(window_bp=120, offsets_bp=(0, -60))
    with pytest.raises(ValueError, match="at least one"):
        ScoringConfig(offsets_bp=())
    assert ScoringConfig(window_bp=100).offsets == (-12, 0, 12)
    with pytest.raises(ValueError, match="window_bp: must be at least 1"):
        ScoringConfig(window_bp=0)


# --- large real data ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chr20(shared):
    record = next(iter(read_fasta(shared / "data" / "genomes" / "human_chr20_GRCh37.fa.gz")))
    return Reference({record.name: record.sequence})


def test_vt_pairs_score_alike(shared, chr20, tmp_path):
    """194 indels of 1000 Genomes as found, and as `vt normalize` writes them."""
    config = ScoringConfig(window_bp=128, offsets_bp=(0,), both_strands=False)
    tables = []
    for kind in ("IN", "OUT"):
        path = shared / "data" / "variants" / f"vt_normalize_01_{kind}.vcf.gz"
        out = tmp_path / f"{kind}.parquet"
        assert score_vcf(path, chr20, mlm, tok, out, config) == {"scored": 194}
        key = ("normal_start", "normal_ref", "normal_alt")
        rows = pq.read_table(out).to_pylist()
        tables.append(sorted(rows, key=lambda row: tuple(row[name] for name in key)))
    rewritten = 0
    for a, b in zip(*tables, strict=True):
        for name in ("normal_start", "normal_ref", "normal_alt", "llr", "cosine", "l2"):
            assert a[name] == pytest.approx(b[name], abs=1e-5), name
        rewritten += (a["pos"], a["ref"], a["alt"]) != (b["pos"], b["ref"], b["alt"])
    assert rewritten == 80


def test_every_site_of_1000_genomes_fits_the_reference(shared, chr20):
    path = shared / "data" / "variants" / "1000G_chr20_1-4Mb_GRCh37.sites.vcf.gz"
    with read_vcf(path) as (_, records):
        variants = [variant for record in records for variant in variants_of(record)]
    assert len(variants) == 24_990
    assert {status_of(variant, chr20) for variant in variants} == {"scored"}
    # Normal forms of single bases are themselves; none is empty on both sides.
    for variant in variants:
        normal = normalise(variant, chr20)
        assert normal.ref != normal.alt
        if len(variant.ref) == len(variant.alt) == 1:
            assert normal == variant


def test_dbsnp_rows(shared):
    """A table of single bases as variants, scored over a piece of chromosome 22."""
    folder = shared / "data"
    (record,) = read_fasta(folder / "genomes" / "human_chr22_20-21M_GRCh38.fa.gz")
    genome = Reference({record.name: record.sequence})
    variants = []
    with gzip.open(folder / "variants" / "chr22_20-21M_GRCh38.snp.tsv.gz", "rt") as handle:
        for line in handle:
            _, kind, name, start, value = line.rstrip("\n").split("\t")
            at = int(start)
            if kind == "single":
                variants.append(Variant(name, at, record.sequence[at], value))
            elif kind == "deletion":
                variants.append(Variant(name, at, record.sequence[at : at + int(value)], ""))
            else:
                variants.append(Variant(name, at, "", value))
    assert len(variants) == 3502
    statuses = [status_of(variant, genome) for variant in variants]
    assert statuses.count("ref_mismatch") == 0
    some = variants[::35]
    config = ScoringConfig(window_bp=100, offsets_bp=(0,))
    scores = score_variants(some, genome, mlm, tok, config=config)
    for variant, score in list(zip(some, scores, strict=True))[::12]:
        near = record.sequence[: variant.end + 5000]
        check(score, twin(mlm, variant, near, config, (record.sequence,)))


@pytest.mark.full
def test_the_example_runs(tmp_path):
    done = run(ROOT / "examples" / "score_variants.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    statuses = [line.split("\t")[2] for line in done.stdout.splitlines()]
    assert statuses == ["scored"] * 5 + ["ref_mismatch"]


def test_other_letters_of_the_window_by_hand():
    """10 bases on each side, the contig ends behind 9: NNN lies before the base, R behind it."""
    genome = Reference({"1": "NNN" + "ACGTTGC" + "A" + "TRGC" + "ACGTT" * 9})
    config = ScoringConfig(window_bp=20, offsets_bp=(0,))
    variants = [Variant("1", 10, "A", "G"), Variant("1", 13, "G", "A"), Variant("1", 40, "A", "G")]
    scores = score_variants(variants, genome, mlm, tok, config=config)
    assert [score.status for score in scores] == ["scored_near_n"] * 2 + ["scored"]
    assert [score.other_letters for score in scores[:2]] == [4, 1]
    shifted = score_variants(variants[:1], genome, mlm, tok, config=ScoringConfig(20, (-2, 0, 2)))
    assert shifted[0].other_letters == pytest.approx((4 + 4 + 2) / 3)
