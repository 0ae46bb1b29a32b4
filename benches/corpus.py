"""FASTA.gz to a corpus: wall clock against inflating the same file alone.

    python benches/corpus.py GENOME.fa.gz

Inflating is done by ISA-L (package `isal`) where it is installed, else by gzip. Prints one JSON
line.
"""

import gzip
import json
import sys
import tempfile
import time
from importlib.util import find_spec
from statistics import median

from dnabert2_fast import Tokenizer, build_corpus


def main(path):
    inflate = gzip
    if find_spec("isal"):
        from isal import igzip as inflate
    tokenizer, ratios = Tokenizer.from_pretrained("dnabert2"), []
    for _ in range(5):
        start = time.perf_counter()
        with inflate.open(path, "rb") as handle:
            while handle.read(1 << 22):
                pass
        alone = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            build_corpus([path], f"{folder}/corpus", tokenizer, window_bp=1000)
            ratios.append(alone / (time.perf_counter() - start))
    row = {
        "bench": "corpus",
        "inflate": inflate.__name__,
        "speed_over_inflating": round(median(ratios), 2),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1])
