"""Draw which bases of a human promoter a classifier's answer rests on, offline.

The model has random weights, so the plots mean nothing; use a fine-tuned one instead.
"""

import csv
import gzip
from pathlib import Path

import dnabert2_fast
from dnabert2_fast import Dnabert2Config, Dnabert2ForSequenceClassification, Tokenizer, attribute
from dnabert2_fast.genomics import AttributionConfig, plot_attribution

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"


def main():
    with gzip.open(DATA / "prom_core_tata" / "test.csv.gz", "rt") as handle:
        promoter = next(row["sequence"] for row in csv.DictReader(handle) if row["label"] == "1")
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    model = Dnabert2ForSequenceClassification(
        Dnabert2Config(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        )
    )
    for method in ("mutagenesis", "gradients"):
        found = attribute(promoter, model, tokenizer, AttributionConfig(method=method))
        plot_attribution(found, f"{method}.png", title="promoter")
        best = int(found.scores.argmax())
        print(f"{method}: base {best} ({promoter[best]}) supports the class most")


if __name__ == "__main__":
    main()
