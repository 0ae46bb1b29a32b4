"""Embedding ragged reads on CPU, against the usual padded float32 loop.

    python benches/embed.py GENOME.fa.gz

The peer is what most scripts do: 16 reads per batch in input order, padded to the longest,
float32, the ALiBi bias added to every score, mean over real tokens. Weights are random, of the
published shape. 32 reads of 100 to 2,500 bp.
"""

import random

import torch
from _harness import Bench, Peer, aligned, arguments, read_bases, within
from _reference import padded_states, random_models

from dnabert2_fast import Dnabert2Config, Tokenizer, embed

READS = 32


@torch.no_grad()
def padded_loop(model, tokenizer, reads):
    rows = []
    for i in range(0, len(reads), 16):
        batch = tokenizer.encode_batch(reads[i : i + 16])
        ids, mask = map(torch.from_numpy, batch.to_padded())
        real = (mask * (ids > 4)).float()
        states = padded_states(model.bert, ids, mask.bool())
        rows.append((states * real[..., None]).sum(1) / real.sum(1, keepdim=True))
    return torch.cat(rows).numpy()


def main():
    given = arguments(__doc__).parse_args()
    bench, genome, rng = Bench("embed", given), read_bases(given.genome), random.Random(3)
    lengths = [int(2 ** rng.uniform(6.6, 11.3)) for _ in range(READS)]
    starts = [rng.randrange(len(genome) - length) for length in lengths]
    reads = [genome[start : start + n] for start, n in zip(starts, lengths, strict=True)]
    full, half = random_models(Dnabert2Config(), "bfloat16")
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    for dtype, model, same, goal in (
        ("float32", full, within(2e-5), None),
        ("bfloat16", half, aligned(0.9995), 5),
    ):
        bench.compare(
            f"32 reads, {dtype}, 1 thread",
            lambda model=model: embed(reads, model, tokenizer),
            Peer("padded float32 loop", lambda: padded_loop(full, tokenizer, reads), same, "torch"),
            amount=(READS, "reads"),
            goal=goal,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
