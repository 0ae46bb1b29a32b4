"""A pre-training step on CPU, 4 x 128 tokens at the published size, against a plain loop.

    python benches/pretrain.py GENOME.fa.gz [REPETITIONS]

The peer is what most scripts do: padded, float32, the ALiBi bias added to every score, the head on
every token, torch's AdamW as it comes; both with dropout 0.1. Steps take turns, processor time and
wall clock of all threads; the first of each is left out. Then the input pipeline: what drawing such
a batch from a corpus of the genome takes, as a share of our step. Prints one JSON line.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from dnabert2_fast import Corpus, PretrainConfig, Tokenizer, build_corpus
from dnabert2_fast.attention import alibi_slopes
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.model import PackedBatch
from dnabert2_fast.pretraining import PretrainingRun
from dnabert2_fast.pretraining.distributed import init_distributed
from dnabert2_fast.pretraining.microbatch import (
    WINDOW_POSITIONS,
    Augmentation,
    BatchLayout,
    GlobalBatch,
    MicroBatch,
    global_batches,
)
from dnabert2_fast.pretraining.run_folder import RunFolder

ROWS, LENGTH = 4, 128
LAYERS, HIDDEN, HEADS, WIDTH, VOCABULARY = 12, 768, 12, 3072, 4096
WINDOW_BP = 640  # about 128 tokens


class PlainLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.gated = nn.Linear(HIDDEN, 2 * WIDTH, bias=False)
        self.down = nn.Linear(WIDTH, HIDDEN)
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.drop = nn.Dropout(0.1)

    def forward(self, x, bias):
        rows, length, _ = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = self.norm1(self.drop(self.out(mixed)) + x)
        gate, value = self.gated(x).chunk(2, -1)
        return self.norm2(self.down(self.drop(F.gelu(gate) * value)) + x)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, HIDDEN)
        self.norm, self.drop = nn.LayerNorm(HIDDEN), nn.Dropout(0.1)
        self.layers = nn.ModuleList(PlainLayer() for _ in range(LAYERS))
        self.dense, self.head_norm = nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN)
        self.decoder = nn.Linear(HIDDEN, VOCABULARY)
        self.decoder.weight = self.words.weight

    def forward(self, ids, mask):
        x = self.drop(self.norm(self.words(ids)))
        place = torch.arange(ids.shape[1])
        distance = (place[:, None] - place).abs()
        bias = -alibi_slopes(HEADS)[:, None, None] * distance
        bias = bias + (1.0 - mask[:, None, None, :]) * -1e4
        for layer in self.layers:
            x = layer(x, bias)
        return self.decoder(self.head_norm(F.gelu(self.dense(x))))


def plain_step(model, optimizer, ids):
    """Mask, forward, backward, update."""
    chosen = torch.rand(ids.shape) < 0.15
    labels = ids.masked_fill(~chosen, -100)
    fate = torch.rand(ids.shape)
    inputs = torch.where(chosen & (fate < 0.8), 4, ids)
    inputs = torch.where(chosen & (fate >= 0.9), torch.randint(5, VOCABULARY, ids.shape), inputs)
    logits = model(inputs, torch.ones(ids.shape))
    loss = F.cross_entropy(logits.view(-1, VOCABULARY), labels.view(-1), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def timed(call):
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def main(path, repetitions=5):
    with tempfile.TemporaryDirectory() as name, init_distributed("cpu") as context:
        folder = Path(name)
        tokenizer = Tokenizer.from_pretrained("dnabert2")
        corpus = build_corpus([path], folder / "c", tokenizer, CorpusConfig(window_bp=WINDOW_BP))
        config = PretrainConfig(str(folder / "c"), str(folder / "run"), eval_tokens=1000)
        held_out = Corpus.open(folder / "c", "valid")
        run = PretrainingRun(config, RunFolder(folder / "run"), context, corpus, held_out)
        batches = global_batches(
            corpus,
            Augmentation(corpus, 0.0, False, 0),
            BatchLayout(ROWS * LENGTH, ROWS * LENGTH),
            seed=0,
        )
        next(batches)
        drawing, _ = timed(lambda: [next(batches) for _ in range(500)])

        torch.manual_seed(0)
        plain = Plain()
        optimizer = torch.optim.AdamW(plain.parameters(), lr=5e-4)
        ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH))
        borders = torch.arange(0, ROWS * LENGTH + 1, LENGTH, dtype=torch.int32)
        positions = (
            torch.arange(ROWS)[:, None] * WINDOW_POSITIONS + torch.arange(LENGTH)
        ).flatten()
        micro_batch = MicroBatch(PackedBatch(ids.flatten(), borders, LENGTH), positions, 0)
        batch = GlobalBatch(
            [micro_batch], ids.numel(), ROWS * LENGTH**2, {"epoch": 0, "position": 0}
        )
        times = []
        for number in range(repetitions + 1):
            theirs = timed(lambda: plain_step(plain, optimizer, ids))
            ours = timed(lambda: run.step(batch))
            if number:
                times.append((*theirs, *ours))
        cpu = [a / c for a, _, c, _ in times]
        wall = [b / d for _, b, _, d in times]
        row = {
            "bench": "pretrain",
            "threads": torch.get_num_threads(),
            "bfloat16": run.bfloat16,
            "cpu_ratio": round(median(cpu), 2),
            "cpu_ratios": [round(x, 2) for x in sorted(cpu)],
            "wall_ratio": round(median(wall), 2),
            "our_cpu_seconds": round(median(c for _, _, c, _ in times), 2),
            "pipeline_share": float(f"{drawing / 500 / median(c for _, _, c, _ in times):.1e}"),
        }
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
