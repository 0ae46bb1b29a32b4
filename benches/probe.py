"""Linear probe of frozen mean embeddings, against random weights and k-mer counts.

    python benches/probe.py DATA_FOLDER MODEL [--sets prom/prom_core_tata ...] [--rows 3000]

DATA_FOLDER holds sets in the format of GUE: train, dev and test as .csv or .csv.gz. Without train,
dev replaces it and the row records that. For each of five seeds: draw training rows, fit a logistic
regression on standardised features, score the test rows. Each seed draws new random weights of the
model's shape. k-mers have length 1 to 6, weighted by tf-idf. Prints one JSON line per set and a
table.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dnabert2_fast import Dnabert2Model, Tokenizer, embed
from dnabert2_fast.benchmark import KmerVectorizer
from dnabert2_fast.finetuning.labels import read_labelled

SEEDS = 5


def table(folder, split):
    """The labelled rows of a split, None where it is missing."""
    paths = [folder / f"{split}.csv", folder / f"{split}.csv.gz"]
    path = next((path for path in paths if path.exists()), None)
    return path and read_labelled(path)


def drawn(labelled, rows, seed):
    """Some rows of a table, all if it has no more."""
    order = np.random.default_rng(seed).permutation(len(labelled.sequences))[:rows]
    return [labelled.sequences[i] for i in order], labelled.labels[order]


def score(classifier, train, y, test, wanted):
    classifier.fit(train, y)
    guessed = classifier.predict_proba(test)
    if guessed.shape[1] == 2:
        guessed = guessed[:, 1]
    area = roc_auc_score(wanted, guessed, multi_class="ovr")
    return matthews_corrcoef(wanted, classifier.predict(test)), area


def probe(features, train, y, test, wanted):
    x = features([*train, *test])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    return score(classifier, x[: len(train)], y, x[len(train) :], wanted)


def kmers(train, y, test, wanted):
    classifier = make_pipeline(KmerVectorizer(), LogisticRegression(max_iter=2000))
    return score(classifier, train, y, test, wanted)


def measure(folder, model, tokenizer, rows, test_rows):
    train = table(folder, "train")
    stand_in = train is None
    train = train or table(folder, "dev")
    scores = {"model": [], "random weights": [], "k-mers": []}
    for seed in range(SEEDS):
        given = (*drawn(train, rows, seed), *drawn(table(folder, "test"), test_rows, 0))
        torch.manual_seed(seed)
        fresh = Dnabert2Model(model.config).to(model.dtype).eval()
        for name, net in (("model", model), ("random weights", fresh)):
            scores[name].append(probe(lambda x, net=net: embed(x, net, tokenizer), *given))
        scores["k-mers"].append(kmers(*given))
    row = {"set": "/".join(folder.parts[-2:]), "train_rows": len(given[0])}
    row |= {"test_rows": len(given[2]), "trained_on": "dev" if stand_in else "train"}
    for name, values in scores.items():
        for metric, column in zip(("mcc", "auc"), np.array(values).T, strict=True):
            row[f"{name} {metric}"] = [
                round(float(column.mean()), 4),
                round(float(column.std()), 4),
            ]
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--dtype", default="float32")
    asked = parser.parse_args()
    model = Dnabert2Model.from_pretrained(asked.model, dtype=asked.dtype)
    tokenizer = Tokenizer.from_pretrained(asked.model)
    sets = asked.sets or sorted(
        str(path.parent.relative_to(asked.data)) for path in asked.data.glob("*/*/test.csv*")
    )
    rows = []
    for name in sets:
        rows.append(measure(asked.data / name, model, tokenizer, asked.rows, asked.test_rows))
        print(json.dumps(rows[-1]), flush=True)
    columns = [key for key in rows[0] if key.endswith(("mcc", "auc"))]
    print("\n| set | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for row in rows:
        cells = [f"{row[key][0]:.3f} ± {row[key][1]:.3f}" for key in columns]
        name = f"{row['set']} ({row['train_rows']:,} of {row['trained_on']})"
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
