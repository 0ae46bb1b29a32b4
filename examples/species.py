"""Tell a bacterium from a human by the vectors of their sequences, offline.

The model has random weights and hardly separates the two. With a trained model, the plot
shows what it has learnt.
"""

import gzip
from csv import DictReader
from pathlib import Path

import dnabert2_fast
from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed, read_fasta
from dnabert2_fast.genomics import plot_embeddings

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"
WINDOW_BP = 70


def main():
    bacterium = next(iter(read_fasta(DATA / "hpylori_G27.fa.gz"))).sequence
    with gzip.open(DATA / "prom_core_tata" / "test.csv.gz", "rt") as handle:
        human = [row["sequence"] for row in DictReader(handle)][:300]
    starts = range(0, 300 * 5_000, 5_000)
    windows = [bacterium[start : start + WINDOW_BP] for start in starts]
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    model = Dnabert2Model(
        Dnabert2Config(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        )
    ).eval()
    vectors = embed([*human, *windows], model, tokenizer, both_strands=True)
    labels = ["human promoters"] * len(human) + ["Helicobacter pylori"] * len(windows)
    plot_embeddings(vectors, "species.png", labels=labels, title="two species, untrained model")
    print(f"species.png: {len(vectors)} sequences of {WINDOW_BP} bases")


if __name__ == "__main__":
    main()
