"""Tables from a genome have the windows, labels and chromosomes that they claim."""

import csv
import gzip
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.checkpoints import save_tiny
from helpers.dna import reverse_complement

from dnabert2_fast import FinetuneConfig, finetune
from dnabert2_fast.cli import main
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.genome_tables import make_tables
from dnabert2_fast.finetuning.labels import read_splits

pyBigWig = pytest.importorskip("pyBigWig")
SPLITS = ("train", "dev", "test")
rng = np.random.default_rng(5)


def random_bases(count, gc):
    return "".join(rng.choice([*"ACGT"], count, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2]))


# Each contig changes its composition along the way, so that matching by GC matters.
GENOME = {
    f"chr{i}": "".join(random_bases(2000, gc) for gc in (0.3, 0.5, 0.7, 0.7, 0.7))
    for i in range(1, 7)
}
GENOME["chrN"] = "N" * 300 + random_bases(100, 0.5)


@pytest.fixture
def files(tmp_path):
    text = "".join(f">{name}\n{bases}\n" for name, bases in GENOME.items())
    (tmp_path / "x.fa").write_text(text)
    return tmp_path


def write_bed(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return str(path)


def regions(count=12, contigs=6, name=lambda i: f"peak_{i}"):
    """Regions in the part with most GC, of 80 to 120 bases."""
    rows = []
    for number in range(count * contigs):
        start = 4100 + 150 * (number % count)
        size = 80 + 10 * (number % 5)
        strand = "+-"[number % 2]
        rows.append(
            (f"chr{number // count + 1}", start, start + size, name(number), number, strand)
        )
    return rows


def config_of(files, rows, **options):
    bed = write_bed(files / "x.bed", rows)
    return FinetuneConfig(
        "mini",
        str(files / "data"),
        str(files / "out"),
        regions=bed,
        reference=str(files / "x.fa"),
        **options,
    )


def read(files):
    rows = {}
    for split in SPLITS:
        text = gzip.decompress((files / "data" / f"{split}.csv.gz").read_bytes()).decode()
        rows[split] = list(csv.DictReader(text.splitlines()))
    return rows, json.loads((files / "data" / "tables.json").read_text())


def position(row):
    contig, _, rest = row["name"].partition(":")
    span, strand = rest[:-3], rest[-2]
    return contig, *map(int, span.split("-")), strand


def gc(text):
    return sum(text.count(base) for base in "GC") / len(text)


def check_rows(tables):
    """Each row has the bases of its name, and no window overlaps one of another table."""
    seen = {}
    for split, rows in tables.items():
        for row in rows:
            contig, start, end, strand = position(row)
            bases = GENOME[contig][start:end]
            assert row["sequence"] == (reverse_complement(bases) if strand == "-" else bases)
            seen.setdefault(contig, []).append((start, end, split))
    for spans in seen.values():
        spans.sort()
        for (_, end, one), (start, _, other) in pairwise(spans):
            assert one == other or end <= start


def test_one_class_gets_negatives_of_the_same_contig_and_gc(files):
    rows = regions()
    line = make_tables(config_of(files, rows))
    tables, record = read(files)
    check_rows(tables)
    positives = [row for split in SPLITS for row in tables[split] if row["label"] == "1"]
    negatives = [row for split in SPLITS for row in tables[split] if row["label"] == "0"]
    assert len(positives) == len(negatives) == len(rows)
    want = set()
    for contig, start, end, *_, strand in rows:
        middle = start - (100 - (end - start)) // 2  # the median is 100
        want.add((contig, middle, middle + 100, strand))
    assert {position(row) for row in positives} == want
    differences = []
    for one, other in zip(positives, negatives, strict=True):
        assert position(one)[0] == position(other)[0]
        assert position(one)[3] == position(other)[3]
        differences.append(abs(gc(one["sequence"]) - gc(other["sequence"])))
    assert np.median(differences) <= 0.02  # any other position of a contig: 0.2
    assert np.mean(differences) <= 0.03
    assert record["gc"]["region"] == pytest.approx(0.7, abs=0.03)
    assert record["gc"]["background"] == pytest.approx(record["gc"]["region"], abs=0.02)
    for row in negatives:
        contig, start, end, _ = position(row)
        assert all(c != contig or end <= s or e <= start for c, s, e, *_ in rows)
    contigs = {split: {position(row)[0] for row in tables[split]} for split in SPLITS}
    assert all(contigs.values())
    assert sum(map(len, contigs.values())) == len(set.union(*contigs.values()))
    assert (
        files / "data" / "labels.txt"
    ).read_text() == "label,label_name\n0,background\n1,region\n"
    task, _ = read_splits(files / "data")
    assert (task.kind, task.names, task.window_bp) == ("multiclass", ("background", "region"), 100)
    assert record["split_by"] == "contig"
    assert record["window_bp"] == 100
    assert record["counts"]["test"] == {"background": 12, "region": 12}
    assert line == (
        f"{files / 'data'}: train 96 rows (48 background, 48 region); dev 24 rows (12 background, "
        f"12 region) of {contigs['dev'].pop()}; test 24 rows (12 background, 12 region) of "
        f"{contigs['test'].pop()}; windows of 100 bp"
    )


def test_the_same_tables_are_made_once(files):
    config = config_of(files, regions())
    first = make_tables(config)
    before = {path.name: path.read_bytes() for path in (files / "data").iterdir()}
    times = [path.stat().st_mtime_ns for path in (files / "data").iterdir()]
    assert make_tables(config) == first
    assert [path.stat().st_mtime_ns for path in (files / "data").iterdir()] == times
    with pytest.raises(DataError, match=r"was made with other settings: seed 42 \(requested 7\)"):
        make_tables(replace(config, seed=7))
    make_tables(replace(config, data=str(files / "again")))
    assert {path.name: path.read_bytes() for path in (files / "again").iterdir()} == before


def test_names_are_classes(files):
    make_tables(config_of(files, regions(name=lambda i: ("TSS", "enhancer", "a, b")[i % 3])))
    tables, record = read(files)
    check_rows(tables)
    task, parsed = read_splits(files / "data")
    assert task.names == ("TSS", "a, b", "enhancer")
    assert sum(len(table.sequences) for table in parsed.values()) == 72
    assert record["counts"]["dev"] == {"TSS": 4, "a, b": 4, "enhancer": 4}


def test_scores_are_classes_or_numbers(files):
    rows = [(*row[:4], (0, 1000)[i % 2], row[5]) for i, row in enumerate(regions())]
    make_tables(config_of(files, rows, label="score"))
    assert read_splits(files / "data")[0].names == ("0", "1000")
    rows = [(*row[:4], i / 8, row[5]) for i, row in enumerate(regions())]
    make_tables(replace(config_of(files, rows, label="score"), data=str(files / "numbers")))
    task, tables = read_splits(files / "numbers")
    assert task.kind == "regression"
    got = np.concatenate([tables[split].labels[:, 0] for split in SPLITS])
    assert sorted(got) == [row[4] for row in rows]
    whole = replace(
        config_of(files, regions(), label="score"), data=str(files / "whole"), task="regression"
    )
    make_tables(whole)
    assert read_splits(files / "whole", "regression")[0].kind == "regression"


def test_a_signal_is_the_mean_of_each_region(files):
    values = rng.normal(size=10000)
    with pyBigWig.open(str(files / "x.bw"), "w") as wig:
        wig.addHeader([(str(i), 10000) for i in range(1, 7)])  # without "chr"
        for i in range(1, 7):
            starts = [*range(10000)] if i != 2 else [*range(4200)]
            wig.addEntries(
                [str(i)] * len(starts),
                starts,
                ends=[s + 1 for s in starts],
                values=values[: len(starts)].tolist(),
            )
    make_tables(config_of(files, regions(), signal=str(files / "x.bw")))
    tables, record = read(files)
    check_rows(tables)
    want = {}
    for contig, start, end, *_, strand in regions():
        middle = start - (100 - (end - start)) // 2
        inside = values[start:end].copy()
        if contig == "chr2":
            inside[max(4200 - start, 0) :] = 0
        if np.any(inside):
            want[contig, middle, middle + 100, strand] = inside.mean()
    got = {position(row): float(row["label"]) for split in SPLITS for row in tables[split]}
    assert got.keys() == want.keys()
    np.testing.assert_allclose([got[key] for key in want], [*want.values()], rtol=1e-4, atol=1e-6)
    assert record["left_out"]["without signal"] == 72 - len(want) == 11
    assert not (files / "data" / "labels.txt").exists()


def test_one_chromosome_is_split_by_position(files):
    rows = [("chr1", start, start + 100, "x") for start in range(100, 5800, 70)]
    line = make_tables(config_of(files, rows, window_bp=90))
    tables, record = read(files)
    check_rows(tables)
    assert record["split_by"] == "position"
    assert all(tables.values())
    assert record["left_out"]["across a border"] > 0
    assert "across a border" in line
    ends = [max(position(row)[2] for row in tables[split]) for split in SPLITS]
    assert ends == sorted(ends)


def test_what_means_nothing_is_left_out(files):
    rows = [("chrN", 0, 100, "x"), ("chrN", 320, 380, "x")] + [row[:4] for row in regions()]
    again = [(*row[:3], "again") for row in rows[2:4]]
    make_tables(config_of(files, [*rows, *again], window_bp=100))
    tables, record = read(files)
    check_rows(tables)
    assert record["left_out"] == {"mostly N": 1, "repeated": 2}
    sequences = [row["sequence"] for split in SPLITS for row in tables[split]]
    canonical = {min(text, reverse_complement(text)) for text in sequences}
    assert len(canonical) == len(sequences)


def test_of_two_classes_for_one_window_there_is_none(files):
    rows = [(*row[:3], "ab"[i % 2]) for i, row in enumerate(regions())]
    make_tables(config_of(files, [*rows, (*rows[0][:3], "b")], window_bp=100))
    tables, record = read(files)
    assert record["left_out"] == {"repeated": 2}
    first = f"chr1:{4100 - 10}-{4100 + 90}(+)"
    assert first not in {row["name"] for split in SPLITS for row in tables[split]}


def test_refusals(files, capsys):
    config = config_of(files, regions())
    (files / "empty.bed").write_text("")
    (files / "x.txt").write_text("text")
    bad = [
        (replace(config, regions=str(files / "empty.bed")), DataError, "has no regions"),
        (replace(config, reference=None), ValueError, "requires --reference"),
        (replace(config, window_bp=3), ValueError, r"at least 16 \(got 3"),
        (replace(config, signal=str(files / "x.txt")), DataError, "is not a bigWig file"),
        (replace(config, task="regression"), ValueError, "Set --label score, or --signal"),
        (replace(config, data=str(files)), DataError, "exists already, and --regions writes"),
    ]
    for wrong, error, message in bad:
        with pytest.raises(error, match=message):
            make_tables(wrong)
    rows = write_bed(files / "few.bed", regions(count=1, contigs=2))
    with pytest.raises(DataError, match=r"too few regions, so that dev is empty \(got 2\)"):
        make_tables(replace(config, regions=rows))
    scores = write_bed(files / "scores.bed", [(*row[:4], "high") for row in regions()])
    with pytest.raises(DataError, match=r"the score of chr1:4100-4180 must be a number"):
        make_tables(replace(config, regions=scores, label="score"))
    with pyBigWig.open(str(files / "other.bw"), "w") as wig:
        wig.addHeader([("scaffold", 9)])
        wig.addEntries(["scaffold"], [0], ends=[9], values=[1.0])
    with pytest.raises(DataError, match=r"none of the contigs .* \(it has scaffold; they are on"):
        make_tables(replace(config, signal=str(files / "other.bw")))
    assert not (files / "data").exists()
    with pytest.raises(ValueError, match=r"signal: requires --regions"):
        finetune(replace(config, regions=None, reference=None, signal="x.bw"))
    with pytest.raises(ValueError, match="task: must be multiclass or regression with --regions"):
        finetune(replace(config, task="bases"))
    assert main(["finetune", "mini", "--data", "d", "--out", "o", "--window-bp", "9"]) == 2
    assert "--window-bp: requires --regions" in capsys.readouterr().err


def test_finetune_from_a_genome(files, capsys):
    model = save_tiny(files / "model", hidden_size=24, num_attention_heads=3, intermediate_size=8)
    bed = write_bed(files / "x.bed", regions())
    arguments = ["finetune", str(model), "--data", str(files / "data"), "--out"]
    arguments += [str(files / "out"), "--regions", bed, "--reference", str(files / "x.fa")]
    arguments += ["--epochs", "1", "--device", "cpu", "--mode", "frozen"]
    assert main(arguments) == 0
    first, *_, scored, last = capsys.readouterr().out.strip().splitlines()
    assert first.startswith(f"{files / 'data'}: train 96 rows (48 background, 48 region); dev ")
    assert scored.startswith("test: accuracy ")
    metrics = json.loads((files / "out" / "metrics.json").read_text())
    baseline = f"{metrics['test_baseline']['accuracy']:.3f}"
    assert last.startswith(f"test, linear model on 5-mers: accuracy {baseline}, ")
    assert main(arguments) == 0  # nothing is made again
    task = json.loads((files / "out" / "task.json").read_text())
    assert (task["names"], task["window_bp"]) == (["background", "region"], 100)
