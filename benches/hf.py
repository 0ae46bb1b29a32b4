"""The tokenizer for `transformers`, against its stock fast tokenizer.

    python benches/hf.py GENOME.fa.gz

``__call__`` of both pads 1,000 strings of 1 kb into numpy arrays, on one thread. Each round takes
other strings, because the stock tokenizer caches words.
"""

import itertools
import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from _harness import Bench, Differ, Peer, arguments, read_bases
from transformers import PreTrainedTokenizerFast

from dnabert2_fast.hf import HFDnabert2Tokenizer
from dnabert2_fast.tokenizer import PACKAGED

STRINGS, LENGTH_BP = 1_000, 1_000
SPECIAL = {"unk_token": "[UNK]", "pad_token": "[PAD]"}


def same_arrays(own, theirs):
    equal = list(own) == list(theirs)
    if not (equal and all(np.array_equal(own[name], theirs[name]) for name in theirs)):
        raise Differ("the arrays differ")
    return "identical"


def main():
    given = arguments(__doc__).parse_args()
    bench, text = Bench("hf", given), read_bases(given.genome, 2 * STRINGS * LENGTH_BP)
    starts = itertools.cycle(range(0, len(text) - STRINGS * LENGTH_BP, STRINGS * LENGTH_BP))

    def draw():
        first = next(starts)
        return (
            [
                text[first + i : first + i + LENGTH_BP]
                for i in range(0, STRINGS * LENGTH_BP, LENGTH_BP)
            ],
        )

    ours = HFDnabert2Tokenizer()
    stock = PreTrainedTokenizerFast(tokenizer_file=str(PACKAGED["dnabert2"]), **SPECIAL)
    bench.compare(
        "1,000 strings of 1 kb, padded",
        lambda texts: ours(texts, padding=True, return_tensors="np"),
        Peer(
            "PreTrainedTokenizerFast",
            lambda texts: stock(texts, padding=True, return_tensors="np"),
            same_arrays,
            "transformers",
        ),
        draw=draw,
        amount=(STRINGS * LENGTH_BP / 1e6, "Mbases"),
    )


if __name__ == "__main__":
    main()
