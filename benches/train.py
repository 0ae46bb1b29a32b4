"""Training a vocabulary of 4,096 tokens: processor time, elapsed time and memory of all trainers.

    python benches/train.py GENOME.fa.gz ... [--megabases 30] [--no-peers]

Peers: Hugging Face's `BpeTrainer`, whose merges are compared, and `rustbpe` if it is installed;
`--no-peers` is for texts that they cannot hold. Each training runs in a process of its own on the
same 1 kb pieces; ours includes reading the FASTA file and writing the result. Memory is the growth
of the process' peak. Further cases compare ours with itself: unbroken sequence with pieces, all of
the text with a third of it, and a memory limit with none.
"""

import argparse
import json
import os
import tempfile
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from _harness import Bench, Theirs, alone, arguments, identical, package_version, read_bases

from dnabert2_fast import Tokenizer

os.environ["DNABERT2_FAST_PROGRESS"] = "0"


def lines_of(pieces):
    return [line for line in Path(pieces).read_text().split() if line[0] != ">"]


def merges_of(path):
    listed = json.loads(Path(path).read_text())["model"]["merges"]
    return [merge.split() if isinstance(merge, str) else merge for merge in listed]


def ours(pieces, out, threads, memory_limit):
    def call():
        options = {"threads": threads, "memory_limit": memory_limit}
        Tokenizer.train([pieces], 4096, **options).save(out)

    return call


def tokenizers(pieces, out, _threads):
    from tokenizers import Tokenizer as Reference
    from tokenizers import models, pre_tokenizers, trainers

    lines = lines_of(pieces)
    tokenizer = Reference(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"],
        show_progress=False,
    )

    def call():
        tokenizer.train_from_iterator(lines, trainer)
        tokenizer.save(out)

    return call


def rustbpe(pieces, _out, _threads):
    from rustbpe import Tokenizer as Peer

    lines = lines_of(pieces)

    def call():
        # It starts from all bytes: as many merges as ours.
        Peer().train_from_iterator(iter(lines), 256 + 4087, pattern="[ACGT]+")

    return call


def write(path, texts):
    """Write FASTA, wrapped as genomes are where a record is long."""
    with Path(path).open("w") as handle:
        for number, text in enumerate(texts):
            handle.write(f">r{number}\n")
            handle.writelines(text[i : i + 1000] + "\n" for i in range(0, len(text), 1000))
    return path


class Trainings:
    """Trains in processes of their own, and records what that cost."""

    def __init__(self, bench, folder):
        self.bench, self.folder = bench, folder

    def own(self, pieces, threads, memory_limit=None):
        """Return costs of a few trainings, and the merges."""
        out = self.folder / "own.json"
        given = (ours, str(pieces), str(out), threads, memory_limit)
        costs = [alone(*given, threads=threads) for _ in range(min(3, self.bench.rounds))]
        return costs, merges_of(out)

    def against(self, peer, case, pieces, bases, threads, own, merges):
        """Record ours against a peer."""
        out = self.folder / "theirs.json"
        cost = alone(peer, str(pieces), str(out), threads, threads=threads)
        same = identical(merges, merges_of(out)) if out.exists() else "not compared"
        name = peer.__name__
        goals = {"CPU time": 30} if name == "tokenizers" else {}
        for metric, unit, value in (
            ("CPU time", "s", lambda cost: cost.cpu),
            ("wall time", "s", lambda cost: cost.wall),
            ("memory", "bytes/base", lambda cost: cost.peak / bases),
        ):
            against = Theirs(name, package_version(name), [value(cost)], same)
            self.bench.record(case, metric, unit, map(value, own), against, goal=goals.get(metric))
        out.unlink(missing_ok=True)

    def itself(self, case, own, peer, costs, scale=1.0, same=None):
        """Record the processor time of one way of ours against that of another."""
        theirs = [scale * cost.cpu for cost in costs]
        against = Theirs(f"ours, {peer}", package_version("dnabert2-fast"), theirs, same)
        self.bench.record(case, "CPU time", "s", [cost.cpu for cost in own], against)


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("genomes", nargs="+", type=Path)
    parser.add_argument("--megabases", type=int, default=30)
    parser.add_argument("--no-peers", action=argparse.BooleanOptionalAction)
    given = parser.parse_args()
    bench = Bench("train", given)
    text = "".join(chain.from_iterable(map(read_bases, given.genomes)))[: given.megabases * 10**6]
    listed = [text[i : i + 1000] for i in range(0, len(text), 1000)]
    size = f"{len(text) / 1e6:g} Mb"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trainings = Trainings(bench, folder)
        pieces, third = write(folder / "1.fa", listed), write(folder / "3.fa", listed[::3])
        whole, tenth = write(folder / "w.fa", [text]), write(folder / "10.fa", listed[::10])
        for threads in (2, 1):
            costs, merges = trainings.own(pieces, threads)
            case = f"{size} in 1 kb pieces, {threads} thread{'s' * (threads > 1)}"
            peers = [] if given.no_peers else [tokenizers]
            peers += [rustbpe] if find_spec("rustbpe") and threads == 1 and peers else []
            for peer in peers:
                trainings.against(peer, case, pieces, len(text), threads, costs, merges)
        trainings.itself(f"{size} unbroken", trainings.own(whole, 1)[0], "1 kb pieces", costs)
        part, _ = trainings.own(third, 1)
        trainings.itself(case, costs, "three times a third of it", part, scale=3)
        free, merges = trainings.own(tenth, 1)
        tight, same = trainings.own(tenth, 1, tenth.stat().st_size // 2)
        case = f"{len(text) / 1e7:g} Mb in half a byte per base"
        trainings.itself(case, tight, "no limit", free, same=identical(same, merges))


if __name__ == "__main__":
    main()
