"""Tokenizing from Python, one thread: CPU time against Hugging Face `tokenizers`, ids compared.

    python benches/encode.py GENOME.fa.gz

Every repetition takes other strings, because the peer caches whole words. Prints one JSON line
a row.
"""

import json
import os
import sys
import time
from statistics import median

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer as Reference

from dnabert2_fast import Tokenizer, read_fasta
from dnabert2_fast.tokenizer import PACKAGED

REPETITIONS = 5


def cpu_seconds(call):
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def main(path):
    genome = "".join(r.sequence for r in read_fasta(path)).upper()
    genome = genome.translate(str.maketrans("", "", "NRYKMSWBDHVU"))
    ours = Tokenizer.from_pretrained("dnabert2")
    theirs = Reference.from_file(str(PACKAGED["dnabert2"]))
    cursor = 0
    for length in (100, 1_000, 10_000, 1_000_000):
        rows = []
        for _ in range(REPETITIONS):
            count = max(1, 1_000_000 // length)
            if cursor + count * length > len(genome):
                cursor = 0
            texts = [genome[cursor + i * length : cursor + (i + 1) * length] for i in range(count)]
            cursor += count * length
            slow, want = cpu_seconds(lambda texts=texts: theirs.encode_batch_fast(texts))
            fast, got = cpu_seconds(lambda texts=texts: ours.encode_batch(texts, threads=1))
            assert got.to_list() == [e.ids for e in want], "ids differ"
            rows.append((slow / fast, count * length / fast / 1e6))
        ratio, rate = median(r for r, _ in rows), median(v for _, v in rows)
        row = {"bench": "encode", "length_bp": length, "ratio": ratio, "megabases_per_second": rate}
        print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
