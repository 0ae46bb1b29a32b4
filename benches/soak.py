"""Encode and embed in a loop; prints how memory grows.

    python benches/soak.py --minutes 60

Every round encodes batches of fresh random sequences, short and long, and embeds some with a tiny
model; memory is the resident size that the kernel reports. The slope is that of a straight line
through all rounds after the first tenth, in which tables and pools fill. Then the bench makes ten
thousand small calls of each kind (a twentieth for embed) and prints the growth in bytes per call.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dnabert2_fast import Dnabert2Config, Dnabert2Model, Tokenizer, embed
from dnabert2_fast.errors import TokenizerError

SMALL_CALLS = 10_000


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def rounds(
    minutes: float, tokenizer: Tokenizer, model: Dnabert2Model
) -> tuple[list[float], list[int]]:
    """Work for `minutes`; returns the time in seconds and the resident bytes of each round."""
    rng = random.Random(0)
    began = time.monotonic()
    times, sizes = [], []
    while time.monotonic() - began < 60 * minutes:
        texts = ["".join(rng.choices("ACGTN", k=rng.randint(1, 3000))) for _ in range(60)]
        ids = tokenizer.encode_batch(texts)
        assert [tokenizer.decode(row) for row in ids] == texts
        tokenizer.encode_batch_detailed(texts[:10], texts[10:20])
        tokenizer.encode("".join(texts))
        embed(texts[:20], model, tokenizer, batch_tokens=2048)
        times.append(time.monotonic() - began)
        sizes.append(resident())
    return times, sizes


def small_calls(tokenizer: Tokenizer, model: Dnabert2Model) -> dict[str, float]:
    """Return the growth in bytes per call of short calls, errors among them."""

    def refused() -> None:
        try:
            Tokenizer.from_text("{")
        except TokenizerError:
            return

    ids = tokenizer.encode("ACGTTGCA")
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "encode": (SMALL_CALLS, lambda: tokenizer.encode("ACGTTGCA")),
        "encode_batch": (SMALL_CALLS, lambda: tokenizer.encode_batch(["ACGT", "T"], threads=2)),
        "encode_detailed": (SMALL_CALLS, lambda: tokenizer.encode_detailed("ACGT", "TT")),
        "decode": (SMALL_CALLS, lambda: tokenizer.decode(ids)),
        "an error": (SMALL_CALLS, refused),
        "embed": (SMALL_CALLS // 20, lambda: embed(["ACGT"], model, tokenizer)),
    }
    grown = {}
    for name, (count, call) in calls.items():
        for _ in range(count // 10):
            call()
        gc.collect()
        before = resident()
        for _ in range(count):
            call()
        gc.collect()
        grown[name] = (resident() - before) / count
    return grown


def main() -> None:
    """Print the slope and the small calls' growth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--minutes", type=float, default=5)
    given = parser.parse_args()
    os.environ["DNABERT2_FAST_PROGRESS"] = "0"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    shape = Dnabert2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = Dnabert2Model(shape).eval()
    times, sizes = rounds(given.minutes, tokenizer, model)
    first = len(times) // 10
    slope = np.polyfit(times[first:], np.array(sizes[first:]) / 1e6, 1)[0] * 3600
    print(
        f"{given.minutes:g} minutes, {len(times)} rounds: {sizes[first] / 1e6:.0f} MB after the "
        f"first tenth, {sizes[-1] / 1e6:.0f} MB at the end, slope {slope:+.1f} MB per hour"
    )
    for name, growth in small_calls(tokenizer, model).items():
        print(f"{name:16s} {growth:+.1f} bytes per call")


if __name__ == "__main__":
    main()
