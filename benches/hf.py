"""The tokenizer of `transformers`: processor time of the stock fast tokenizer over ours.

    python benches/hf.py GENOME.fa.gz

A batch of 1 kb strings is padded into numpy arrays through ``__call__`` of both, on one core, and
the arrays are compared. Every repetition takes other strings, because the stock one caches words.
Prints one JSON line.
"""

import json
import os
import sys
import time
from statistics import median

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np
from transformers import PreTrainedTokenizerFast

from dnabert2_fast import read_fasta
from dnabert2_fast.hf import HFDnabert2Tokenizer
from dnabert2_fast.tokenizer import PACKAGED

REPETITIONS, STRINGS, LENGTH_BP = 7, 1_000, 1_000
SPECIAL = {"unk_token": "[UNK]", "pad_token": "[PAD]"}


def cpu_seconds(call, texts):
    start = time.process_time()
    batch = call(texts, padding=True, return_tensors="np")
    return time.process_time() - start, batch


def main(path):
    text = "".join(record.sequence for record in read_fasta(path)).upper().replace("N", "")
    pieces = [text[i : i + LENGTH_BP] for i in range(0, len(text) - LENGTH_BP, LENGTH_BP)]
    ours = HFDnabert2Tokenizer()
    stock = PreTrainedTokenizerFast(tokenizer_file=str(PACKAGED["dnabert2"]), **SPECIAL)
    ours(pieces[:STRINGS])  # compiles the automaton
    ratios, shares = [], []
    for turn in range(1, REPETITIONS + 1):
        texts = pieces[turn * STRINGS : (turn + 1) * STRINGS]
        assert len(texts) == STRINGS, "the genome is too small"
        theirs, want = cpu_seconds(stock, texts)
        own, got = cpu_seconds(ours, texts)
        assert list(got) == list(want)
        assert all(np.array_equal(got[name], want[name]) for name in want), "ids differ"
        ratios.append(theirs / own)
        shares.append(1e9 * own / (STRINGS * LENGTH_BP))
    print(
        json.dumps(
            {
                "bench": "hf tokenizer",
                "length_bp": LENGTH_BP,
                "ratio": round(median(ratios), 1),
                "lowest_ratio": round(min(ratios), 1),
                "our_nanoseconds_per_base": round(median(shares), 1),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
