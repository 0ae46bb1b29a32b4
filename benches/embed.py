"""Embedding ragged reads on CPU: CPU time against the usual padded float32 loop, values compared.

    python benches/embed.py GENOME.fa.gz

The peer is what most scripts do: 16 reads a batch in input order, padded to the longest, float32,
the ALiBi bias added to every score, mean over real tokens. Weights are random, of the published
shape. Prints one JSON line.
"""

import json
import math
import random
import sys
import tempfile
import time
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed, read_fasta
from dnabert2_fast.attention import alibi_slopes

READS, REPETITIONS = 32, 3


def padded_states(model, ids, mask):
    """The encoder on a rectangle, from the model's own weights."""
    bert = model.bert
    x = bert.embeddings.LayerNorm(
        bert.embeddings.word_embeddings(ids) + bert.embeddings.token_type_embeddings.weight[0]
    )
    rows, length, size = x.shape
    heads = model.config.num_attention_heads
    distance = (torch.arange(length)[:, None] - torch.arange(length)).abs()
    bias = -alibi_slopes(heads)[:, None, None] * distance + (1 - mask[:, None, None]) * -1e4
    for layer in bert.encoder.layer:
        qkv = layer.attention.self.Wqkv(x).view(rows, length, 3, heads, size // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(size // heads) + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, size)
        output = layer.attention.output
        x = output.LayerNorm(output.dense(mixed) + x)
        gate, value = layer.mlp.gated_layers(x).chunk(2, -1)
        x = layer.mlp.layernorm(layer.mlp.wo(F.gelu(gate) * value) + x)
    return x


@torch.no_grad()
def padded_loop(model, tokenizer, reads):
    rows = []
    for i in range(0, len(reads), 16):
        batch = tokenizer.encode_batch(reads[i : i + 16])
        ids, mask = map(torch.from_numpy, batch.to_padded())
        real = (mask * (ids > 4)).float()
        states = padded_states(model, ids, mask.float())
        rows.append((states * real[..., None]).sum(1) / real.sum(1, keepdim=True))
    return torch.cat(rows).numpy()


def cpu_seconds(call):
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def main(path):
    rng = random.Random(3)
    genome = "".join(record.sequence for record in read_fasta(path)).upper().replace("N", "")
    lengths = [int(2 ** rng.uniform(6.6, 11.3)) for _ in range(READS)]
    starts = [rng.randrange(len(genome) - length) for length in lengths]
    reads = [genome[start : start + n] for start, n in zip(starts, lengths, strict=True)]
    torch.manual_seed(0)
    model, tokenizer = Dnabert2Model(Dnabert2Config()).eval(), Tokenizer.from_pretrained("dnabert2")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        half = Dnabert2Model.from_pretrained(folder, dtype="bfloat16")
    ratios, ratios_half = [], []
    for _ in range(REPETITIONS):
        slow, want = cpu_seconds(lambda: padded_loop(model, tokenizer, reads))
        fast, got = cpu_seconds(lambda: embed(reads, model, tokenizer))
        fast_half, near = cpu_seconds(lambda: embed(reads, half, tokenizer))
        ratios.append(slow / fast)
        ratios_half.append(slow / fast_half)
    cosine = (near * want).sum(1) / np.linalg.norm(near, axis=1) / np.linalg.norm(want, axis=1)
    row = {
        "bench": "embed",
        "float32_ratio": round(median(ratios), 2),
        "float32_error": float(f"{np.abs(got - want).max():.1e}"),
        "bfloat16_ratio": round(median(ratios_half), 2),
        "bfloat16_cosine": round(float(cosine.min()), 6),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1])
