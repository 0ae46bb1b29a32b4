"""How a vocabulary suits genomes, against counts made plainly."""

import csv
import math
import re
from collections import Counter

import pytest

from dnabert2_fast import Tokenizer, read_fasta
from dnabert2_fast.cli import main
from dnabert2_fast.tokenizer import PACKAGED
from dnabert2_fast.tokenizer import assessment as assess

GENOME = PACKAGED["dnabert2"].parent / "demo" / "hpylori_G27.fa.gz"


def test_assessment_is_what_counting_gives(tmp_path):
    tok = Tokenizer.from_pretrained("dnabert2")
    text = next(iter(read_fasta(GENOME))).sequence[:30_000]
    (tmp_path / "a.fa").write_text(f">a\n{text}NNN\n")
    (tmp_path / "b.fa").write_text(f">b\n{text[:5000]}\n>c\nACGT\n")
    [a, b] = assess.assess(tok, [tmp_path / "a.fa", tmp_path / "b.fa"])
    tokens = tok.tokens(tok.encode(text, add_special_tokens=False))
    counts = Counter(tokens)
    entropy = -sum(n / len(tokens) * math.log2(n / len(tokens)) for n in counts.values())
    assert (a.name, a.bases, a.tokens) == ("a.fa", 30_000, len(tokens))
    assert a.bits_per_token == pytest.approx(entropy)
    assert a.bits_per_base == pytest.approx(entropy * len(tokens) / 30_000)
    assert a.used == pytest.approx(len(counts) / 4091)
    assert a.rare == pytest.approx(1 - sum(n >= 100 for n in counts.values()) / 4091)
    species = {str(tmp_path / "a.fa"): "mouse", str(tmp_path / "b.fa"): "mouse"}
    [mouse] = assess.assess(tok, list(species), species)
    assert (mouse.name, mouse.bases) == ("mouse", a.bases + b.bases)


def test_smaller_vocabularies_are_the_first_merges():
    text = next(iter(read_fasta(GENOME))).sequence[:100_000]
    large = Tokenizer.train([text], 500)
    for size in (16, 256):
        small = Tokenizer.train([text], size)
        assert assess.shortened(large, size).vocabulary == small.vocabulary
    assert assess.overlap(large, assess.shortened(large, 256)) == pytest.approx(251 / 495)


def test_the_verbs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = next(iter(read_fasta(GENOME)))
    (tmp_path / "some.fa").write_text(f">{record.name}\n{record.sequence[:200_000]}\n")
    arguments = ["vocab-sizes", "some.fa", "--out", "sizes", "--largest", "1024"]
    assert main([*arguments, "--sample", "0.5"]) == 0
    with open("sizes/sizes.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["vocab_size"]) for row in rows] == [256, 512, 1024]
    lengths = [float(row["bases_per_token"]) for row in rows]
    assert lengths == sorted(lengths)
    flops = [float(row["megaflops_per_base"]) for row in rows]
    assert flops == sorted(flops, reverse=True)
    assert (tmp_path / "sizes" / "sizes.png").stat().st_size > 10_000
    capsys.readouterr()
    info = ["info", "sizes/tokenizer.json", "--on", "some.fa", "--against", "dnabert2"]
    assert main([*info, "--plot", "on.png"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"some\.fa +200,000", printed)
    assert "of all tokens in common" in printed
    assert (tmp_path / "on.png").stat().st_size > 10_000
