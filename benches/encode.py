"""Tokenizing from Python on one thread, against other exact tokenizers.

    python benches/encode.py GENOME.fa.gz

Peers: Hugging Face `tokenizers` (`encode_batch_fast`, in version 1 `encode_batch`), `tiktoken` and
`gigatoken` with the same vocabulary; those that are not installed are left out. Each round takes
other strings, because some peers cache whole texts. Ours returns one flat numpy array, the peers
what they return.
"""

import base64
import os
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from _harness import Bench, Peer, alone, arguments, identical, read_bases
from tokenizers import Tokenizer as Reference

from dnabert2_fast import Tokenizer
from dnabert2_fast.tokenizer import PACKAGED

LENGTHS = {"100 bp": 100, "1 kb": 1_000, "10 kb": 10_000, "1 Mb": 1_000_000}
ROUND_BP, LONG_BP = 2_000_000, 10_000_000


def with_tokenizers(ours):
    reference = Reference.from_file(str(PACKAGED["dnabert2"]))
    encode = getattr(reference, "encode_batch_fast", reference.encode_batch)
    return encode, lambda rows: [row.ids[1:-1] for row in rows]


def with_tiktoken(ours):
    import tiktoken

    ranks = {token.encode(): i for i, token in enumerate(ours.vocabulary[5:])}
    peer = tiktoken.Encoding("dna", pat_str="[ACGT]+", mergeable_ranks=ranks, special_tokens={})

    def encode(texts):
        return peer.encode_ordinary_batch(texts, num_threads=1)

    return encode, lambda rows: [[i + 5 for i in row] for row in rows]


def with_gigatoken(ours):
    import gigatoken

    # It requires an entry for every byte: those first, then the merges in their order.
    tokens = [bytes([i]) for i in range(256)] + [t.encode() for t in ours.vocabulary[9:]]
    lines = [f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dna.tiktoken"
        path.write_text("".join(lines))
        peer = gigatoken.Tokenizer.from_tiktoken(path, pretokenizer="gpt2")
    bases = {ord(base): 5 + i for i, base in enumerate("ACGT")}

    def encode(texts):
        return peer.encode_batch(texts, parallel=False)

    def ids(rows):
        return [[bases[i] if i < 256 else i - 247 for i in row] for row in rows.to_list()]

    return encode, ids


# For each peer: how it encodes a batch, which is timed, and how its output becomes our ids.
PEERS = {"tokenizers": with_tokenizers, "tiktoken": with_tiktoken, "gigatoken": with_gigatoken}


# Smallest good ratios to each generation of `tokenizers`.
GOALS = {
    "0": {"100 bp": 120, "1 kb": 120, "10 kb": 120, "1 Mb": 120, "10 Mb": 500},
    "1": {"100 bp": 80, "1 kb": 110, "10 kb": 110, "1 Mb": 110, "10 Mb": 250},
}


class Genome:
    """Hands out pieces, each only once until all are used."""

    def __init__(self, text):
        self.text, self.cursor = text, 0

    def take(self, length, bases):
        count = max(1, bases // length)
        if self.cursor + count * length > len(self.text):
            self.cursor = 0
        first, self.cursor = self.cursor, self.cursor + count * length
        return [self.text[first + i * length : first + (i + 1) * length] for i in range(count)]


def same_ids(own, theirs):
    return identical(own.tolist(), theirs)


def encode_random(threads):
    """For memory: 32 Mb in 1 kb pieces."""
    draws = np.random.default_rng(1)
    texts = [draws.choice(np.frombuffer(b"ACGT", np.uint8), 1000).tobytes() for _ in range(32_000)]
    ours = Tokenizer.from_pretrained("dnabert2")

    def call():
        return len(ours.encode_batch(texts, threads=threads))

    return call


def main():
    given = arguments(__doc__).parse_args()
    bench, goals = Bench("encode", given), GOALS[version("tokenizers").split(".")[0]]
    for threads in (1, 2):
        grown = [alone(encode_random, threads, threads=threads).peak / 32e6 for _ in range(3)]
        case = f"32 Mb in 1 kb pieces, {threads} thread{'s' * (threads > 1)}"
        bench.record(case, "memory beyond the input", "bytes/base", grown)
    genome, ours = Genome(read_bases(given.genome, LONG_BP)), Tokenizer.from_pretrained("dnabert2")
    ours.encode_batch(genome.take(1_000, 1_000_000), threads=1)  # compiles the automaton
    for name in filter(find_spec, PEERS):
        peer, ids = PEERS[name](ours)

        def same(own, theirs, ids=ids):
            return identical([row[1:-1] for row in own.to_list()], ids(theirs))

        for case, length in LENGTHS.items():
            bench.compare(
                f"{case} pieces",
                lambda texts: ours.encode_batch(texts, threads=1),
                Peer(name, peer, same),
                draw=lambda length=length: (genome.take(length, ROUND_BP),),
                amount=(ROUND_BP / 1e6, "Mbases"),
                goal=goals[case] if name == "tokenizers" else None,
            )
    peer = Reference.from_file(str(PACKAGED["dnabert2"]))
    bench.compare(
        "one string of 10 Mb",
        ours.encode,
        Peer("tokenizers", lambda text: peer.encode(text).ids, same_ids),
        draw=lambda: genome.take(LONG_BP, LONG_BP),
        amount=(LONG_BP / 1e6, "Mbases"),
        goal=goals["10 Mb"],
    )


if __name__ == "__main__":
    main()
