"""Tell a bacterium from a human by the vectors of their sequences, offline.

"mini" is the small model in the package; for real work, use a larger one.
"""

import gzip
from csv import DictReader
from pathlib import Path

import dnabert2_fast
from dnabert2_fast import embed, read_fasta
from dnabert2_fast.genomics import plot_embeddings

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"
WINDOW_BP = 70


def main():
    bacterium = next(iter(read_fasta(DATA / "hpylori_G27.fa.gz"))).sequence
    with gzip.open(DATA / "prom_core_tata" / "test.csv.gz", "rt") as handle:
        human = [row["sequence"] for row in DictReader(handle)][:300]
    starts = range(0, 300 * 5_000, 5_000)
    windows = [bacterium[start : start + WINDOW_BP] for start in starts]
    vectors = embed([*human, *windows], both_strands=True)
    labels = ["human promoters"] * len(human) + ["Helicobacter pylori"] * len(windows)
    plot_embeddings(vectors, "species.png", labels=labels, title="two species, model mini")
    print(f"species.png: {len(vectors)} sequences of {WINDOW_BP} bases")


if __name__ == "__main__":
    main()
