"""A track of a yeast chromosome against labels that training did not see.

    python benches/h3_track.py genome.fa.gz GUE/EMP/H3 [--classifier FOLDER]

The commands of docs/guides/finetune.md: finds the sequences of GUE's set H3 (dev and test) in the
genome of yeast, fine-tunes `mini` on these regions with whole chromosomes held out (6 minutes of
processor time), predicts along chromosome III, and prints the mean probability of H3 over its
labelled regions. docs/log.md has the figures.
"""

import csv
import gzip
import tempfile
from pathlib import Path

import numpy as np
import pyBigWig
from _harness import arguments

from dnabert2_fast import read_fasta
from dnabert2_fast.cli import main as command
from dnabert2_fast.io.strand import reverse_complement

CONTIG = "III"
CLASSES = ("other", "H3")


def regions(genome, gue):
    """Yield contig, start, end, class and strand of the sequences that are in the genome."""
    for split in ("dev", "test"):
        with gzip.open(gue / f"{split}.csv.gz", "rt") as handle:
            for row in csv.DictReader(handle):
                for strand, text in zip("+-", both(row["sequence"]), strict=True):
                    hits = ((name, bases.find(text)) for name, bases in genome.items())
                    name, start = next((hit for hit in hits if hit[1] >= 0), (None, 0))
                    if name:
                        label = CLASSES[int(row["label"])]
                        yield name, start, start + len(text), label, strand
                        break


def both(sequence):
    """Return a sequence and its reverse complement."""
    return sequence, reverse_complement(sequence)


def run(*words):
    """Run a command of `dnabert2-fast`."""
    if command(list(map(str, words))):
        raise SystemExit(f"{words[0]}: failed")


def main():
    parser = arguments(__doc__)
    parser.add_argument("gue", type=Path, help="folder of GUE's set H3")
    parser.add_argument("--classifier", help="a folder that an earlier run has trained")
    given = parser.parse_args()
    genome = {record.name: record.sequence.upper() for record in read_fasta(given.genome)}
    rows = list(regions(genome, given.gue))
    print(f"{len(rows):,} sequences found in the genome", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bed, reference, chromosome = folder / "H3.bed", folder / "all.fa", folder / "III.fa"
        bed.write_text("".join("{}\t{}\t{}\t{}\t0\t{}\n".format(*row) for row in rows))
        reference.write_text("".join(f">{name}\n{bases}\n" for name, bases in genome.items()))
        chromosome.write_text(f">{CONTIG}\n{genome[CONTIG]}\n")
        model = given.classifier or folder / "h3"
        if not given.classifier:
            tables = ("--reference", reference, "--data", folder / "tables")
            run("finetune", "mini", "--regions", bed, *tables, "--out", model)
        out = folder / "H3.bw"
        run("predict", model, chromosome, "--out", out, "--stride-bp", "100", "--both-strands")
        with pyBigWig.open(str(folder / "H3.H3.bw")) as track:
            for label in CLASSES:
                own = [row[1:3] for row in rows if row[0] == CONTIG and row[3] == label]
                means = [np.nanmean(track.values(CONTIG, *span)) for span in own]
                error = np.std(means, ddof=1) / len(means) ** 0.5
                print(f"{label}: mean {np.mean(means):.2f} ± {error:.2f} over {len(own)} regions")


if __name__ == "__main__":
    main()
