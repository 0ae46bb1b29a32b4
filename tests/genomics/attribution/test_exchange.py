"""Exports for motif tools hold the attributions; JASPAR motifs are found with their scores."""

import csv

import numpy as np
import pytest
from helpers.checkpoints import save_tiny
from helpers.dna import reverse_complement

from dnabert2_fast.cli import main
from dnabert2_fast.errors import DataError
from dnabert2_fast.genomics import Attribution, enriched_kmers
from dnabert2_fast.genomics.attribution.exchange import JasparMotifs, write_meme, write_modisco

rng = np.random.default_rng(2)
TBP = """>MA0108.1 TBP
A [ 61 16 352 3 354 268 360 222 155 56 83 82 82 68 77 ]
C [ 145 46 0 10 0 0 3 2 44 135 147 127 118 107 101 ]
G [ 152 18 2 2 5 0 20 44 157 150 128 128 128 139 140 ]
T [ 31 309 35 374 30 121 6 121 33 48 31 52 61 75 71 ]
>MA9999.1 polyA
A [ 99 99 99 99 99 99 99 99 ]
C [ 0 0 0 0 0 0 0 0 ]
G [ 0 0 0 0 0 0 0 0 ]
T [ 1 1 1 1 1 1 1 1 ]
"""
SITE = "GTATAAAAGGCGGGG"


def random_bases(count):
    return "".join(rng.choice([*"ACGT"], count))


def planted(sites, length=200):
    """A random sequence with sites at given positions, where the scores are high."""
    letters, scores = [*random_bases(length)], rng.normal(0, 0.01, length)
    for at, site in sites.items():
        letters[at : at + len(site)] = site
        scores[at : at + len(site)] = 1
    return Attribution("".join(letters), "occlusion", "log_odds", scores)


def test_modisco_arrays(tmp_path):
    found = []
    for _ in range(3):
        text = random_bases(12)[:-1] + "N"
        effects = rng.normal(size=(12, 4))
        for at, letter in enumerate(text[:-1]):
            effects[at, "ACGT".index(letter)] = 0
        effects[-1] = np.nan
        scores = -effects.sum(1) / 3
        found.append(Attribution(text, "mutagenesis", "log_odds", scores, effects))
    write_modisco(tmp_path, found)
    # As `modisco motifs` reads them (tfmodisco-lite, modiscolite/cli.py).
    sequences = np.load(tmp_path / "sequences.npz")["arr_0"]
    hypothetical = np.load(tmp_path / "scores.npz")["arr_0"]
    assert sequences.shape == hypothetical.shape == (3, 4, 12)
    assert sequences.dtype == hypothetical.dtype == np.float32
    for one, one_hot, scores in zip(found, sequences, hypothetical, strict=True):
        text = "".join("ACGT"[column.argmax()] if column.any() else "N" for column in one_hot.T)
        assert text == one.sequence
        present = (one_hot * scores).sum(0)
        np.testing.assert_allclose(present[:-1], one.scores[:-1], rtol=1e-5)
        np.testing.assert_allclose(scores[:, :-1].sum(0), 0, atol=1e-5)
        # Differences between bases are those of the effects.
        gaps = scores[1:, :-1] - scores[:-1, :-1]
        np.testing.assert_allclose(gaps, 4 / 3 * np.diff(one.effects[:-1].T, axis=0), atol=1e-5)
        assert not scores[:, -1].any()
    other = Attribution("ACG", "mutagenesis", "log_odds", np.zeros(3), np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"must have one length \(got 3 to 12 bases\)"):
        write_modisco(tmp_path, [*found, other])


def read_meme(path):
    """A reader of the format, by its definition: named matrices whose rows add up to 1."""
    text = path.read_text()
    head, *motifs = text.split("MOTIF ")
    assert head.startswith("MEME version ")
    assert "ALPHABET= ACGT\n" in head
    assert "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n" in head
    found = {}
    for motif in motifs:
        name, shape, *rows = motif.strip().split("\n")
        words = shape.replace("=", "= ").split()
        settings = dict(zip(words[2::2], words[3::2], strict=True))
        matrix = np.array([[float(cell) for cell in row.split()] for row in rows])
        assert (settings["alength="], settings["w="]) == ("4", str(len(matrix)))
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
        found[name] = matrix, int(settings["nsites="])
    return found


def test_meme_has_the_bases_around_an_enriched_kmer(tmp_path):
    site = "CCTATAAAGG"
    found = [planted({30: site, 120: reverse_complement(site)}) for _ in range(20)]
    kmers = enriched_kmers(found, 6)
    path = tmp_path / "x.meme"
    assert write_meme(path, kmers, found) == sum(row.q_value <= 0.05 for row in kmers) > 0
    motifs = read_meme(path)
    matrix, sites = motifs[min("TATAAA", reverse_complement("TATAAA"))]
    letters = "".join("ACGT"[row.argmax()] for row in matrix)
    assert letters in (site, reverse_complement(site))
    assert sites == 40
    assert matrix.max(1).min() == 1  # all sites are alike
    assert list(motifs) == [row.kmer for row in kmers if row.q_value <= 0.05]


@pytest.fixture
def jaspar(tmp_path):
    pytest.importorskip("lightmotif")
    (tmp_path / "x.jaspar").write_text(TBP)
    return tmp_path / "x.jaspar"


def test_hits_have_the_scores_of_their_bases(jaspar):
    motifs = JasparMotifs(jaspar)
    found = planted({30: SITE, 120: reverse_complement(SITE)})
    scores = found.scores.copy()
    scores[30:45] = 0
    scores[120:125] = np.nan
    found = Attribution(found.sequence, "occlusion", "log_odds", scores)
    one, other = [hit for hit in motifs.scan(found) if hit.motif == "MA0108.1"]
    assert (one.start, one.end, one.strand, one.high_bp) == (30, 45, "+", 0)
    assert (other.start, other.end, other.strand, other.high_bp) == (120, 135, "-", 10)
    counts = np.array([[float(c) for c in line[3:-1].split()] for line in TBP.splitlines()[1:5]])
    shares = (counts + 0.1) / (counts + 0.1).sum(0)
    bits = sum(np.log2(shares["ACGT".index(b), i] / 0.25) for i, b in enumerate(SITE))
    for hit, mean in ((one, 0), (other, 1)):
        assert (hit.motif_name, hit.attribution) == ("TBP", mean)
        wanted = (mean - np.nanmean(scores)) / np.nanstd(scores)
        assert hit.z_score == pytest.approx(wanted)
        assert hit.score == pytest.approx(bits, abs=1e-3)
        assert 0 < hit.p_value <= 1e-4
    nothing = Attribution("ACGTN", "occlusion", "log_odds", np.full(5, np.nan))
    assert motifs.scan(nothing) == []
    assert motifs.scan(planted({3: "N" * 8}, 12)) == []  # shorter than TBP, and without poly(A)


def test_files_of_other_kinds_are_refused(tmp_path):
    pytest.importorskip("lightmotif")
    (tmp_path / "x.txt").write_text("MEME version 5\n")
    with pytest.raises(DataError, match=r"x\.txt: (has no motif in|is not a) JASPAR"):
        JasparMotifs(tmp_path / "x.txt")


def test_on_the_command_line(tmp_path, jaspar, capsys):
    model = save_tiny(tmp_path / "m", hidden_size=24, num_attention_heads=3, intermediate_size=8)
    genome = random_bases(40) + SITE + "A" * 12 + random_bases(40)
    (tmp_path / "g.fa").write_text(f">chr1\n{genome}\n")
    (tmp_path / "r.bed").write_text("chr1\t20\t80\tpeak\t0\t-\nchr1\t40\t100\tnext\n")
    arguments = ["attribute", str(tmp_path / "g.fa"), "--regions", str(tmp_path / "r.bed")]
    arguments += ["--model", str(model), "--no-both-strands", "--device", "cpu"]
    files = {name: str(tmp_path / name) for name in ("mod", "k.meme", "h.tsv")}
    outputs = ["--modisco", files["mod"], "--motifs", files["k.meme"], "--jaspar", str(jaspar)]
    assert main([*arguments, *outputs, "--hits", files["h.tsv"]]) == 0
    assert np.load(tmp_path / "mod" / "sequences.npz")["arr_0"].shape == (2, 4, 60)
    read_meme(tmp_path / "k.meme")
    with open(files["h.tsv"]) as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    for row in rows:
        start, end = int(row["start"]), int(row["end"])
        bases = genome[start:end]
        if row["motif"] == "MA9999.1":
            bases = reverse_complement(bases) if row["strand"] == "-" else bases
            assert bases.count("A") >= 7
        assert row["contig"] == "chr1"
        assert row["name"] in ("peak", "next")
    for wrong, message in (
        (["--jaspar", str(jaspar)], "motifs, modisco, hits: give at least one"),
        (["--hits", files["h.tsv"]], "jaspar, hits: give both"),
        (["--modisco", files["mod"], "--method", "occlusion"], "requires --method mutagenesis"),
        (
            ["--motifs", "x.txt"],
            ".parquet, or in .meme (got x.txt)",
        ),
    ):
        capsys.readouterr()
        assert main([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err
