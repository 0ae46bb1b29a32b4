"""In-silico mutagenesis of 300 bp: CPU time against 900 forward passes of one mutant each.

    python benches/attribute.py GENOME.fa.gz [CLASSIFIER] [--threads N] [--rounds N]

The peer is a loop over the mutants: encode one, run the classifier in float32. `attribute` does the
same in batches, in float32 and in bfloat16; both strands would double both sides. Speed is that of
the published shape with random weights, agreement (of the effects with float32's) that of
CLASSIFIER, a fine-tuned checkpoint, if one is given. Each round times a tenth of the loop before
and after `attribute`. Prints one JSON line.
"""

import argparse
import json
import time
from statistics import median

import numpy as np
import torch

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForSequenceClassification,
    PackedBatch,
    Tokenizer,
    attribute,
    read_fasta,
)
from dnabert2_fast.genomics import AttributionConfig

LENGTH_BP = 300
LOOPED = 45  # mutants of the loop that are timed, before and after each


def cpu_seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def mutants_of(sequence):
    return [
        sequence[:place] + base + sequence[place + 1 :]
        for place, letter in enumerate(sequence)
        for base in "ACGT"
        if base != letter
    ]


@torch.inference_mode()
def one_by_one(model, tokenizer, mutants):
    for mutant in mutants:
        model(PackedBatch.from_ragged(tokenizer.encode_batch([mutant])))


def ratios(sequence, rounds):
    """Seconds of 900 single float32 passes over those of `attribute`, by dtype."""
    torch.manual_seed(0)
    config, tokenizer = Dnabert2Config(), Tokenizer.from_pretrained("dnabert2")
    model = Dnabert2ForSequenceClassification(config).eval()
    half = Dnabert2ForSequenceClassification(config).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    mutants = mutants_of(sequence)
    some = mutants[:: len(mutants) // LOOPED]
    config = AttributionConfig(both_strands=False)
    found = {"float32": [], "bfloat16": [], "bfloat16_against_bfloat16": []}

    def loop(which):
        return cpu_seconds(lambda: one_by_one(which, tokenizer, some)) / len(some) * len(mutants)

    one_by_one(model, tokenizer, some[:3])
    one_by_one(half, tokenizer, some[:3])
    for _ in range(rounds):
        slow, slow_half = loop(model), loop(half)
        fast = cpu_seconds(lambda: attribute(sequence, model, tokenizer, config))
        fast_half = cpu_seconds(lambda: attribute(sequence, half, tokenizer, config))
        slow, slow_half = (slow + loop(model)) / 2, (slow_half + loop(half)) / 2
        found["float32"].append(slow / fast)
        found["bfloat16"].append(slow / fast_half)
        found["bfloat16_against_bfloat16"].append(slow_half / fast_half)
    return {name: [round(f(own), 2) for f in (median, min, max)] for name, own in found.items()}


def agreement(sequence, checkpoint):
    """How far the effects in bfloat16 are from those in float32: correlation, relative error."""
    tokenizer = Tokenizer.from_pretrained(checkpoint)
    effects = []
    for dtype in ("float32", "bfloat16"):
        model = Dnabert2ForSequenceClassification.from_pretrained(checkpoint, dtype=dtype)
        found = attribute(sequence, model, tokenizer).effects
        effects.append(found[found != 0])
    exact, near = effects
    error = np.linalg.norm(near - exact) / np.linalg.norm(exact)
    return {
        "correlation": round(float(np.corrcoef(exact, near)[0, 1]), 5),
        "relative_error": round(float(error), 4),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("genome")
    parser.add_argument("classifier", nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    letters = next(iter(read_fasta(asked.genome))).sequence.upper().replace("N", "")
    sequence = letters[len(letters) // 2 :][:LENGTH_BP]
    row = {"bench": "attribute", "bp": len(sequence), "threads": asked.threads}
    row |= ratios(sequence, asked.rounds)
    if asked.classifier:
        row |= agreement(sequence, asked.classifier)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
