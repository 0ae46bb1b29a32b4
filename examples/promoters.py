"""Recognise human promoters by frozen embeddings in a scikit-learn pipeline, offline.

The model has random weights; the number printed is what it takes to beat. Use a trained model's
folder instead.
"""

import csv
import gzip
import tempfile
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dnabert2_fast
from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer
from dnabert2_fast.genomics import DnaEmbedder

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo" / "prom_core_tata"


def main():
    with gzip.open(DATA / "dev.csv.gz", "rt") as handle:
        rows = list(csv.DictReader(handle))
    sequences, labels = [row["sequence"] for row in rows], [row["label"] for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        Dnabert2Model(
            Dnabert2Config(
                hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
            )
        ).save_pretrained(folder)
        Tokenizer.from_pretrained("dnabert2").save(f"{folder}/tokenizer.json")
        steps = DnaEmbedder(folder), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)
        scores = cross_val_score(
            make_pipeline(*steps), sequences, labels, cv=3, scoring="matthews_corrcoef"
        )
    print(f"{len(rows)} sequences, MCC {scores.mean():.2f} by three-fold cross-validation")


if __name__ == "__main__":
    main()
