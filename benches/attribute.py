"""In-silico mutagenesis of 300 bp on CPU, against 900 forward passes of one mutant each.

    python benches/attribute.py GENOME.fa.gz [--classifier FOLDER]

The peer encodes and classifies one mutant at a time with this package; of 900 mutants, 46 are
timed. `attribute` does the same in batches. One thread; random weights of the published shape.
"""

import copy

import numpy as np
import torch
from _harness import Bench, Peer, aligned, arguments, read_bases, within

from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForSequenceClassification,
    PackedBatch,
    Tokenizer,
    attribute,
)
from dnabert2_fast.genomics import AttributionConfig

LENGTH_BP = 300
LOOPED = 45  # mutants in a round of the peer


def mutants_of(sequence):
    """Return position, base and sequence of every mutant."""
    return [
        (position, base, sequence[:position] + base + sequence[position + 1 :])
        for position, letter in enumerate(sequence)
        for base in "ACGT"
        if base != letter
    ]


def classifier(folder):
    """Return a classifier in float32, and its tokenizer."""
    if folder:
        model = Dnabert2ForSequenceClassification.from_pretrained(folder)
        return model, Tokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    model = Dnabert2ForSequenceClassification(Dnabert2Config()).eval()
    return model, Tokenizer.from_pretrained("dnabert2")


def main():
    parser = arguments(__doc__)
    parser.add_argument("--classifier", help="a fine-tuned classifier instead of random weights")
    given = parser.parse_args()
    bench, genome = Bench("attribute", given), read_bases(given.genome)
    sequence = genome[len(genome) // 2 :][:LENGTH_BP]
    full, tokenizer = classifier(given.classifier)
    half = copy.deepcopy(full).to(torch.bfloat16)
    config, mutants = AttributionConfig(both_strands=False), mutants_of(sequence)
    looped = mutants[:: len(mutants) // LOOPED]

    def effects(model):
        found = attribute(sequence, model, tokenizer, config=config).effects
        return np.array([found[position, "ACGT".index(base)] for position, base, _ in looped])

    @torch.inference_mode()
    def one_by_one(model):
        odds = []
        for text in (sequence, *(text for _, _, text in looped)):
            logits = model(PackedBatch.from_ragged(tokenizer.encode_batch([text]))).logits[0]
            odds.append(float(logits[1] - logits[0]))
        return np.array(odds[1:]) - odds[0]

    kind = "fine-tuned" if given.classifier else "random weights"
    # The effects of random weights are smaller than the rounding of bfloat16, so that of one
    # mutant per pass is the measure.
    rounding = float(np.abs(one_by_one(half) - one_by_one(full)).max())
    near, like_peer = within(rounding), within(1.25 * rounding)
    if given.classifier:
        near = like_peer = aligned(0.99)
    for dtype, model, peer_dtype, peer_model, same, goal in (
        ("float32", full, "float32", full, within(1e-4), None),
        ("bfloat16", half, "bfloat16", half, near, None),
        ("bfloat16", half, "float32", full, like_peer, 5),
    ):
        bench.compare(
            f"{LENGTH_BP} bp, {dtype}, {kind}",
            lambda model=model: effects(model),
            Peer(
                f"one mutant per pass, {peer_dtype}",
                lambda model=peer_model: one_by_one(model),
                same,
                package="dnabert2-fast",
                amount=len(looped) + 1,
            ),
            amount=(len(mutants), "mutants"),
            goal=goal,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
