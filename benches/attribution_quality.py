"""How well attributions find planted motifs: area under precision and recall of their bases.

    python benches/attribution_quality.py [--classifier FOLDER]

Random sequences of 80 bases, half of them with one of two motifs of ten bases. `mini` is fine-tuned
to distinguish them (7 minutes on a busy machine with two cores), and each method scores the bases
of other sequences with a motif. Figures per method:

* the mean average precision over sequences, of the scores and of the scores minus their mean for
  tokens of the same length in shuffled sequences;
* the number of 4-mers that `enriched_kmers` finds in random sequences without a motif at q < 0.05
  (none is correct), against shuffled sequences and against all positions;
* the smallest number of copies of a motif among random sequences at which `enriched_kmers` finds a
  6-mer of it at q < 0.05, against shuffled sequences, in 18 of 20 draws.
"""

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _harness import Bench, Theirs, arguments
from sklearn.metrics import average_precision_score

from dnabert2_fast import (
    Dnabert2ForSequenceClassification,
    FinetuneConfig,
    Tokenizer,
    attribute,
    finetune,
)
from dnabert2_fast.genomics import AttributionConfig, enriched_kmers
from dnabert2_fast.genomics.attribution.shuffle import dinucleotide_shuffle
from dnabert2_fast.io.strand import reverse_complement

MOTIFS = ("TGACTCAGCA", "CCACGTGGCA")
LENGTH_BP = 80
SPLITS = {"train": 3000, "dev": 300, "test": 300}
METHODS = ("mutagenesis", "occlusion", "gradients", "lrp", "attention")
DRAWS, NEEDED = 20, 18


def random_sequence(rng):
    """Return random bases."""
    return "".join(rng.choices("ACGT", k=LENGTH_BP))


def planted(rng):
    """Return random bases with a motif, and whether each is of the motif."""
    text, motif = random_sequence(rng), rng.choice(MOTIFS)
    start = rng.randrange(LENGTH_BP - len(motif))
    inside = np.zeros(LENGTH_BP, bool)
    inside[start : start + len(motif)] = True
    return text[:start] + motif + text[start + len(motif) :], inside


def trained(folder, rng):
    """Fine-tune `mini` to tell sequences with a motif from random ones; returns its folder."""
    for split, count in SPLITS.items():
        rows = [(planted(rng)[0] if i % 2 else random_sequence(rng), i % 2) for i in range(count)]
        lines = ["sequence,label", *(f"{text},{label}" for text, label in rows)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    out = str(folder / "classifier")
    config = FinetuneConfig("mini", str(folder), out, epochs=4, learning_rate=2e-4, device="cpu")
    finetune(config)
    return out


def without_length(found, null):
    """Return scores minus the mean of shuffled tokens of the same length, over both strands."""
    lengths = np.array([token.end - token.start for one in null for token in one.tokens])
    values = np.array([token.score for one in null for token in one.tokens])
    means = {n: values[lengths == n].mean() for n in np.unique(lengths)}
    scores = np.zeros(len(found.sequence))
    for start, end, _, score, _ in found.tokens:
        share = 1 if found.method == "occlusion" else 1 / (end - start)
        scores[start:end] += (score - means.get(end - start, values.mean())) * share
    return scores


def fewest_copies(motif, with_motif, without, rng):
    """Return the smallest number of copies that is found; None if all are too few.

    Both lists hold pairs of attributions: of a sequence and of the same sequence shuffled.
    """

    def is_found(copies):
        chosen = rng.sample(with_motif, copies) + rng.sample(without, len(without) - copies)
        found, shuffled = zip(*chosen, strict=True)
        kmers = enriched_kmers(found, 6, shuffled=shuffled)
        texts = (motif, reverse_complement(motif))
        return any(one.q_value < 0.05 and any(one.kmer in text for text in texts) for one in kmers)

    for copies in range(1, len(with_motif) + 1):
        if sum(is_found(copies) for _ in range(DRAWS)) >= NEEDED:
            return copies
    return None


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("--classifier", help="a folder that an earlier run has trained")
    parser.add_argument("--sequences", type=int, default=40, help="of each kind")
    given = parser.parse_args()
    bench, rng = Bench("attribution_quality", given), random.Random(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.classifier or trained(Path(temporary), rng)
        model = Dnabert2ForSequenceClassification.from_pretrained(folder)
        tokenizer = Tokenizer.from_pretrained(folder)
    rng = random.Random(2)
    rows = [planted(rng) for _ in range(given.sequences)]
    plain = [random_sequence(rng) for _ in range(given.sequences)]
    for method in METHODS:
        config = AttributionConfig(method)

        def score(texts, config=config):
            found = [attribute(text, model, tokenizer, config=config) for text in texts]
            return [replace(one, effects=None, weights=None) for one in found]

        texts = [text for text, _ in rows]
        found = score(texts)
        null_of_found = score([dinucleotide_shuffle(text, rng) for text in texts])
        null = score([dinucleotide_shuffle(text, rng) for text in plain])
        own, corrected = [], []
        for one, (_, inside) in zip(found, rows, strict=True):
            own.append(average_precision_score(inside, one.scores))
            if method != "mutagenesis":
                corrected.append(average_precision_score(inside, without_length(one, null)))
        bench.record(method, "average precision", "", [np.mean(own)], higher=True)
        if corrected:
            case = f"{method}, minus the mean of its token length"
            bench.record(case, "average precision", "", [np.mean(corrected)], higher=True)
        alone = score(plain)
        false = [
            sum(kmer.q_value < 0.05 for kmer in enriched_kmers(alone, 4, shuffled=shuffled))
            for shuffled in (null, None)
        ]
        words = f"against all positions: {false[1]}"
        bench.record(method, "false 4-mers", "", [false[0]], Theirs(None, None, (), words))

        without = list(zip(alone, null, strict=True))
        pairs = list(zip(found, null_of_found, rows, strict=True))
        for motif in MOTIFS:
            own = [(one, other) for one, other, (text, _) in pairs if motif in text]
            copies = fewest_copies(motif, own, without, rng)
            words = f"of {len(plain)} sequences; {len(own)} copies at most"
            case = f"{method}, {motif}" if copies else f"{method}, {motif} (never found)"
            bench.record(case, "copies", "", [copies or len(own)], Theirs(None, None, (), words))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
