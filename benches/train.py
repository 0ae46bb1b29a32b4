"""Training 4,096 tokens: CPU time, wall clock and memory of other trainers over ours.

    python benches/train.py GENOME.fa.gz [MEGABASES]

Peers: Hugging Face's `BpeTrainer`, whose merges are compared, and `rustbpe` where it is installed.
Each runs in a process of its own on the same 1 kb pieces. Further rows hold ours against itself:
unbroken sequence against pieces, all of it against a third, and a memory limit against none. Prints
JSON lines.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

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


def rustbpe(pieces, out, threads):
    from rustbpe import Tokenizer as Peer

    lines = [line for line in Path(pieces).read_text().split() if line[0] != ">"]
    yield
    # It starts from all bytes: as many merges as ours.
    Peer().train_from_iterator(iter(lines), 256 + 4087, pattern="[ACGT]+")
    yield


def ours(pieces, out, threads, **options):
    yield
    tokenizer = Tokenizer.train([pieces], 4096, threads=threads, **options)
    yield
    tokenizer.save(out)


def limited(pieces, out, threads):
    """Ours in half a byte a base."""
    return ours(pieces, out, threads, memory_limit=Path(pieces).stat().st_size // 2)


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


WORK = {"reference": reference, "rustbpe": rustbpe, "ours": ours, "limited": limited}


def write(path, records):
    """Write FASTA, wrapped as genomes are when a record is long."""
    with Path(path).open("w") as handle:
        for number, text in enumerate(records):
            handle.write(f">r{number}\n")
            handle.writelines(text[i : i + 1000] + "\n" for i in range(0, len(text), 1000))


def pieces_of(texts):
    return [text[i : i + 1000] for text in texts for i in range(0, len(text), 1000)]


def row(**values):
    print(json.dumps({"bench": "train", **values}), flush=True)


def main(path, megabases):
    texts, room = [], megabases * 1_000_000
    for record in read_fasta(path):
        text = record.sequence.upper().translate(str.maketrans("", "", "NRYKMSWBDHVU"))[:room]
        room -= len(text)
        texts += [text] if text else []
    written = sum(map(len, texts))
    with tempfile.TemporaryDirectory() as folder:
        names = ("pieces.fa", "whole.fa", "third.fa", "few.fa", "theirs.json", "own.json")
        pieces, whole, third, few, theirs, own = (f"{folder}/{name}" for name in names)
        listed = pieces_of(texts)
        write(pieces, listed)
        write(whole, texts)
        write(third, listed[::3])
        write(few, listed[: max(1, len(listed) // 10)])
        for threads in (1, 2):
            cpu, wall, peak = in_a_process("reference", pieces, theirs, threads)
            runs = [tuple(in_a_process("ours", pieces, own, threads)) for _ in range(3)]
            our_cpu, our_wall, our_peak = map(median, zip(*runs, strict=True))
            row(
                peer="tokenizers",
                megabases=round(written / 1e6),
                threads=threads,
                merges="identical" if merges(theirs) == merges(own) else "DIFFER",
                cpu_ratio=round(cpu / our_cpu, 1),
                wall_ratio=round(wall / our_wall, 1),
                bytes_a_base=round(our_peak / written, 1),
                their_bytes_a_base=round(peak / written, 1),
            )
            if threads == 1:
                alone = our_cpu
        if find_spec("rustbpe"):
            cpu, _, peak = in_a_process("rustbpe", pieces, theirs, 1)
            ratio = round(cpu / alone, 1)
            row(peer="rustbpe", threads=1, cpu_ratio=ratio, bytes_a_base=round(peak / written, 1))
        cpu, _, _ = in_a_process("ours", whole, own, 1)
        row(peer="ours, 1 kb pieces", of="unbroken sequence", cpu_ratio=round(cpu / alone, 2))
        cpu, _, _ = in_a_process("ours", third, own, 1)
        row(peer="ours, a third of it", of="all", cpu_ratio=round(alone / cpu, 2))
        cpu, _, _ = in_a_process("ours", few, theirs, 1)
        limited_cpu, _, _ = in_a_process("limited", few, own, 1)
        same = "identical" if merges(theirs) == merges(own) else "DIFFER"
        ratio = round(limited_cpu / cpu)
        row(peer="ours, a tenth of it", of="half a byte a base", merges=same, cpu_ratio=ratio)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        work = WORK[sys.argv[2]]
        print(*measured(work(sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 30)
