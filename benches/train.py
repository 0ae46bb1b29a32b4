"""Training 4,096 tokens: CPU time, wall clock and memory of other trainers over ours.

    python benches/train.py GENOME.fa.gz ... [--megabases 30] [--alone]

Peers: Hugging Face's `BpeTrainer`, whose merges are compared, and `rustbpe` where it is installed;
`--alone` leaves them out, for texts that they cannot hold. Each runs in a process of its own on the
same 1 kb pieces. Further rows hold ours against itself: unbroken sequence against pieces, all of it
against a third, and a memory limit against none. Prints JSON lines. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

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


class Cost(NamedTuple):
    """CPU seconds and wall seconds, and bytes: added to the peak of memory, read, written."""

    cpu: float
    wall: float
    peak: float
    read: float
    written: float


def peak_bytes():
    """What this process took at most; `getrusage` would count the starting process's memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def read_and_written():
    """Bytes that this process has read and written, from memory of the system or from disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return [int(line.split()[1]) for line in lines[:2]]


def measured(work):
    """What the middle step costs."""
    next(work)
    before, (read, written) = peak_bytes(), read_and_written()
    cpu, wall = time.process_time(), time.perf_counter()
    next(work)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak, (read_after, written_after) = peak_bytes() - before, read_and_written()
    next(work, None)
    return Cost(cpu, wall, peak, read_after - read, written_after - written)


def in_a_process(name, pieces, out, threads):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "DNABERT2_FAST_PROGRESS": "0"}
    command = [sys.executable, __file__, "--one", name, pieces, out, str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return Cost(*map(float, done.stdout.split()[-len(Cost._fields) :]))


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


def main(paths, megabases, alone):
    texts, room = [], megabases * 1_000_000
    for record in chain.from_iterable(map(read_fasta, paths)):
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
        tenth = listed[: max(1, len(listed) // 10)]
        write(few, tenth)
        for threads in (2, 1):
            runs = [in_a_process("ours", pieces, own, threads) for _ in range(3)]
            ours = Cost(*map(median, zip(*runs, strict=True)))
            if alone:
                continue
            peer = in_a_process("reference", pieces, theirs, threads)
            row(
                peer="tokenizers",
                megabases=round(written / 1e6),
                threads=threads,
                merges="identical" if merges(theirs) == merges(own) else "DIFFER",
                cpu_ratio=round(peer.cpu / ours.cpu, 1),
                wall_ratio=round(peer.wall / ours.wall, 1),
                bytes_a_base=round(ours.peak / written, 1),
                their_bytes_a_base=round(peer.peak / written, 1),
            )
        if find_spec("rustbpe") and not alone:
            peer = in_a_process("rustbpe", pieces, theirs, 1)
            row(
                peer="rustbpe",
                threads=1,
                cpu_ratio=round(peer.cpu / ours.cpu, 1),
                bytes_a_base=round(ours.peak / written, 1),
                their_bytes_a_base=round(peer.peak / written, 1),
            )
        unbroken = in_a_process("ours", whole, own, 1)
        ratio = round(unbroken.cpu / ours.cpu, 2)
        row(peer="ours, 1 kb pieces", of="unbroken sequence", cpu_ratio=ratio)
        part = in_a_process("ours", third, own, 1)
        row(
            peer="ours, a third of it",
            of="all",
            megabases=round(written / 1e6, 1),
            cpu_ratio=round(ours.cpu / part.cpu, 2),
            bytes_a_base=round(ours.peak / written, 1),
        )
        free = in_a_process("ours", few, theirs, 1)
        limited = in_a_process("limited", few, own, 1)
        row(
            peer="ours, a tenth of it",
            of="half a byte a base",
            megabases=round(sum(map(len, tenth)) / 1e6, 1),
            merges="identical" if merges(theirs) == merges(own) else "DIFFER",
            cpu_ratio=round(limited.cpu / free.cpu),
            cpu_seconds=round(limited.cpu, 1),
            # The file of sequences is read once, the text that was written from it again and again.
            times_read=round((limited.read - Path(few).stat().st_size) / limited.written),
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        work = WORK[sys.argv[2]]
        print(*measured(work(sys.argv[3], sys.argv[4], int(sys.argv[5]))))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("genomes", nargs="+")
        parser.add_argument("--megabases", type=int, default=30)
        parser.add_argument("--alone", action="store_true")
        given = parser.parse_args()
        main(given.genomes, given.megabases, given.alone)
