"""Training 4,096 tokens: CPU time, wall clock and memory of Hugging Face's trainer over ours.

    python benches/train.py GENOME.fa.gz [MEGABASES]

Each runs in a process of its own on the same 1 kb pieces; the merges are compared. Prints one JSON
line a number of threads.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnabert2_fast import Tokenizer, read_fasta


def reference(pieces, out, threads):
    from tokenizers import Tokenizer as Reference
    from tokenizers import models, pre_tokenizers, trainers

    lines = [line for line in Path(pieces).read_text().split() if line[0] != ">"]
    tokenizer = Reference(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
        show_progress=False,
    )
    yield
    tokenizer.train_from_iterator(lines, trainer)
    yield
    tokenizer.save(out)


def ours(pieces, out, threads):
    yield
    tokenizer = Tokenizer.train([pieces], 4096, threads=threads)
    yield
    tokenizer.save(out)


def peak_bytes():
    """Linux only; `getrusage` would count what the starting process had in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measured(work):
    """CPU seconds and wall seconds of the middle step, and the peak of memory it added in bytes."""
    next(work)
    before = peak_bytes()
    cpu, wall = time.process_time(), time.perf_counter()
    next(work)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = peak_bytes() - before
    next(work, None)
    return cpu, wall, peak


def in_a_process(name, pieces, out, threads):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "DNABERT2_FAST_PROGRESS": "0"}
    command = [sys.executable, __file__, "--one", name, pieces, out, str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return map(float, done.stdout.split()[-3:])


def merges(path):
    listed = json.loads(Path(path).read_text())["model"]["merges"]
    return [merge.split() if isinstance(merge, str) else merge for merge in listed]


def main(path, megabases):
    with tempfile.TemporaryDirectory() as folder:
        pieces, theirs, own = (f"{folder}/{name}" for name in ("x.fa", "theirs.json", "own.json"))
        written = 0
        with Path(pieces).open("w") as handle:
            for record in read_fasta(path):
                text = record.sequence.upper().translate(str.maketrans("", "", "NRYKMSWBDHVU"))
                text = text[: megabases * 1_000_000 - written]
                for i in range(0, len(text), 1000):
                    handle.write(f">w{written + i}\n{text[i : i + 1000]}\n")
                written += len(text)
        for threads in (1, 2):
            cpu, wall, peak = in_a_process("reference", pieces, theirs, threads)
            our_cpu, our_wall, our_peak = in_a_process("ours", pieces, own, threads)
            row = {
                "bench": "train",
                "megabases": round(written / 1e6),
                "threads": threads,
                "merges": "identical" if merges(theirs) == merges(own) else "DIFFER",
                "cpu_ratio": round(cpu / our_cpu, 1),
                "wall_ratio": round(wall / our_wall, 1),
                "bytes_a_base": round(our_peak / written, 1),
                "their_bytes_a_base": round(peak / written, 1),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        work = {"reference": reference, "ours": ours}[sys.argv[2]]
        print(*measured(work(sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 30)
