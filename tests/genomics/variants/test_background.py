"""Token frequencies of genomes: counts, tables by vocabulary, and scores relative to them."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest
from helpers.models import masked_lm, tok
from helpers.processes import run_cli
from helpers.project import ROOT
from helpers.variants import CONFIG, CONTIG, GENOME, VARIANTS, gain_per_base, mlm

from dnabert2_fast import Tokenizer
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.genomics.variants import Background, ScoringConfig, score_variants, score_vcf
from dnabert2_fast.genomics.variants.context import expected_logs, sample_windows
from dnabert2_fast.io import Reference

rng = random.Random(5)
RECORDS = ["".join(rng.choices("ACGT", k=900)), "".join(rng.choices("ACGTN", k=300)), "acgtta"]


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(RECORDS)))
    return path


@pytest.fixture(scope="module")
def other():
    """A tokenizer that the package has no table for."""
    return Tokenizer.train([RECORDS[0].encode()], vocab_size=40)


def test_counts_equal_those_of_one_token_at_a_time(genome):
    counts = Counter()
    for record in RECORDS:
        counts.update(token for token in tok.encode(record).tolist() if token > 4)
    found = Background.count([genome, genome], tok)
    assert found.genomes == ("genome.fa", "genome.fa")
    assert {token: n for token, n in enumerate(found.counts) if n} == {
        token: 2 * n for token, n in counts.items()
    }
    total = sum(2 * counts[token] + 1 for token in range(5, tok.vocab_size))
    logs = found.log_probabilities(tok)
    for token in (5, 6, 200, *counts):
        assert logs[token] == pytest.approx(math.log((2 * counts[token] + 1) / total))
    assert np.isnan(logs[:5]).all()
    assert np.exp(logs[5:]).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["dnabert2", "mini"])
def test_the_package_has_a_table_for_its_vocabularies(name):
    tokenizer = Tokenizer.from_pretrained(name)
    table = Background.of(tokenizer)
    assert len(table.counts) == tokenizer.vocab_size
    assert table == Background.load(ROOT / f"python/dnabert2_fast/data/background/{name}.json")
    assert table != Background.of(Tokenizer.from_pretrained({"mini": "dnabert2"}.get(name, "mini")))


def test_a_table_is_found_by_vocabulary_not_by_the_text_of_the_file():
    changed = json.dumps(json.loads(tok.text), indent=7)
    assert changed != tok.text
    assert Background.of(Tokenizer.from_text(changed)) == Background.of(tok)


def test_a_table_of_another_vocabulary_is_refused(genome, tmp_path):
    mini = Tokenizer.from_pretrained("mini")  # of the same size
    Background.count([genome], mini).save(tmp_path / "mini.json")
    assert Background.of(mini, tmp_path / "mini.json") == Background.count([genome], mini)
    config = ScoringConfig(window_bp=64, background=str(tmp_path / "mini.json"))
    with pytest.raises(CheckpointError, match=r"mini\.json: a background of another vocabulary"):
        score_variants(VARIANTS, GENOME, mlm, tok, config=config)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"vocabulary": "a", "genomes": 3}'])
def test_a_damaged_table_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"x\.json: a table needs vocabulary, genomes"):
        Background.of(tok, tmp_path / "x.json")


def test_another_vocabulary_needs_a_genome(genome, other, tmp_path):
    model = masked_lm(vocab_size=other.vocab_size)
    with pytest.warns(UserWarning, match="context_llr is left out: the package has no token"):
        scores = score_variants(VARIANTS, GENOME, model, other, config=CONFIG)
    assert all(math.isnan(score.context_llr) for score in scores)
    assert all(math.isfinite(score.llr) for score in scores)
    (tmp_path / "x.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"chr1\t301\t.\t{VARIANTS[0].ref}\t{VARIANTS[0].alt}\t.\t.\t.\n"
    )
    out = tmp_path / "y.vcf"
    with pytest.warns(UserWarning, match="context_llr is left out"):
        score_vcf(tmp_path / "x.vcf", GENOME, model, other, out, CONFIG)
    assert "CLLR" not in out.read_text()
    assert "D2_LLR=" in out.read_text()
    config = ScoringConfig(window_bp=120, offsets_bp=(-7, 0), background=str(genome))
    score_vcf(tmp_path / "x.vcf", GENOME, model, other, out, config, prefix="B")
    (score,) = score_variants(VARIANTS[:1], GENOME, model, other, config=config)
    assert f";B_CLLR={score.context_llr:.6g};" in out.read_text()
    assert 'Background="genome.fa"' in out.read_text()
    assert score.context_llr != score.llr


def test_command_line(genome, tmp_path):
    Background.count([genome], tok).save(tmp_path / "other.json")
    (tmp_path / "x.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"0\t301\t.\t{RECORDS[0][300]}\t{RECORDS[0][300]}AT\t.\t.\t.\n"
    )
    given = ["score-variants", tmp_path / "x.vcf", "--reference", genome]
    given += ["--model", "mini", "--out", tmp_path / "y.vcf", "--background"]
    done = run_cli(*given, tmp_path / "other.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "other.json: a background of another vocabulary" in done.stderr
    done = run_cli(*given, genome, "--prefix", "B", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ";B_CLLR=" in (tmp_path / "y.vcf").read_text()


def test_windows_for_the_mean_gain_cover_all_contigs_evenly():
    bases = "".join(rng.choices("ACGT", k=5000))
    genome = Reference({"a": bases[:3000], "n": "N" * 1000, "b": bases[3000:], "c": "ACGT"})
    found = sample_windows(genome, 100)
    assert {len(text) for text in found} == {100}
    starts = [bases.find(text) for text in found]
    assert -1 not in starts
    assert starts == sorted(starts)
    # One window per 6004 / 256 bases, and none of N.
    assert len(found) == pytest.approx(5000 / 6004 * 256, abs=3)
    assert starts[0] == 0
    assert starts[-1] == 4900


def test_a_genome_of_unknown_bases_has_no_gain():
    genome = Reference({"chr1": CONTIG[:300] + "N" * 60 + CONTIG[360:420], "x": "N" * 400})
    config = ScoringConfig(window_bp=500, offsets_bp=(0,))
    table = Background.of(tok)
    expected = expected_logs(table, mlm, tok, genome, config)
    assert np.array_equal(expected[5:], table.log_probabilities(tok)[5:])


def test_every_base_of_a_token_has_the_mean_gain():
    logs = Background.of(tok).log_probabilities(tok)
    lengths = np.array([len(token) for token in tok.vocabulary])
    expected = expected_logs(Background.of(tok), mlm, tok, GENOME, CONFIG)
    gain = (expected - logs)[5:] / lengths[5:]
    assert gain == pytest.approx(gain_per_base(CONFIG.window_bp), abs=1e-6)
    assert gain[0] != 0
