"""Thirty-two threads on one tokenizer, corpus and trainers of their own, against one thread.

    python3.14t benches/free_threads.py [ROUNDS]

Meant for a Python without the global lock, where threads really meet; needs neither torch nor
transformers. Prints a JSON line; any other answer than one thread's is an error.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dnabert2_fast import Corpus, Tokenizer, build_corpus
from dnabert2_fast.corpus import CorpusConfig

THREADS = 32


def main(rounds: int) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("ACGTN", k=rng.randint(1, 4000))) for _ in range(200)]
    tokenizer = Tokenizer.from_pretrained("dnabert2")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.fa").write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(texts)))
        build_corpus(
            [folder / "x.fa"], folder / "corpus", tokenizer, CorpusConfig(window_bp=100, min_bp=1)
        )
        corpus = Corpus.open(folder / "corpus")

        def answers(seed: int) -> list[object]:
            draws = np.random.default_rng(seed)
            some = [texts[i] for i in draws.integers(0, len(texts), 20)]
            windows = corpus.gather(draws.integers(0, len(corpus), 50))
            trained = Tokenizer.train(some[:5], 80, threads=2)
            return [
                [tokenizer.encode(text).tolist() for text in some],
                [ids.tolist() for ids in tokenizer.encode_batch(some, threads=2)],
                [tokenizer.decode(tokenizer.encode(text)) for text in some],
                [ids.tolist() for ids in windows],
                trained.encode(some[0]).tolist(),
            ]

        seeds = list(range(8))
        alone = [answers(seed) for seed in seeds]
        with ThreadPoolExecutor(THREADS) as pool:
            jobs = [(seed, pool.submit(answers, seed)) for seed in seeds * rounds]
            wrong = sum(job.result() != alone[seed] for seed, job in jobs)
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(json.dumps({"bench": "free_threads", "lock": locked, "jobs": len(jobs), "wrong": wrong}))
    if wrong:
        sys.exit("threads changed an answer")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
