"""Tokenizing from Python, one thread: CPU time of other exact tokenizers over ours, ids compared.

    python benches/encode.py GENOME.fa.gz

Peers: Hugging Face `tokenizers` (`encode_batch_fast`), and `tiktoken` and `gigatoken` where they
are installed, with the same vocabulary. Every repetition takes other strings, because some peers
cache whole words. Ours gives one flat numpy array, the peers what they give. Prints one JSON line a
row.
"""

import base64
import json
import os
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from tokenizers import Tokenizer as Reference

from dnabert2_fast import Tokenizer, read_fasta
from dnabert2_fast.tokenizer import PACKAGED

REPETITIONS = 5
PEER_BASES, OUR_BASES = 1_000_000, 8_000_000


def with_tokenizers(ours):
    reference = Reference.from_file(str(PACKAGED["dnabert2"]))
    return reference.encode_batch_fast, lambda rows: [row.ids[1:-1] for row in rows]


def with_tiktoken(ours):
    import tiktoken

    ranks = {token.encode(): i for i, token in enumerate(ours.vocabulary[5:])}
    peer = tiktoken.Encoding("dna", pat_str="[ACGT]+", mergeable_ranks=ranks, special_tokens={})

    def encode(texts):
        return peer.encode_ordinary_batch(texts, num_threads=1)

    return encode, lambda rows: [[i + 5 for i in row] for row in rows]


def with_gigatoken(ours):
    import gigatoken

    # It wants an entry for every byte: those first, then the merges in their order.
    tokens = [bytes([i]) for i in range(256)] + [t.encode() for t in ours.vocabulary[9:]]
    lines = [f"{base64.b64encode(token).decode()} {i}\n" for i, token in enumerate(tokens)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dna.tiktoken"
        path.write_text("".join(lines))
        peer = gigatoken.Tokenizer.from_tiktoken(path, pretokenizer="gpt2")
    letters = {ord(base): 5 + i for i, base in enumerate("ACGT")}

    def encode(texts):
        return peer.encode_batch(texts, parallel=False)

    def ids(rows):
        return [[letters[i] if i < 256 else i - 247 for i in row] for row in rows.to_list()]

    return encode, ids


# For each peer how it encodes a batch, which is timed, and how its answer becomes our ids.
PEERS = {"tokenizers": with_tokenizers, "tiktoken": with_tiktoken, "gigatoken": with_gigatoken}


def cpu_seconds(call):
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


class Genome:
    """Hands out stretches, each only once until all are used."""

    def __init__(self, path):
        text = "".join(record.sequence for record in read_fasta(path)).upper()
        self.text = text.translate(str.maketrans("", "", "NRYKMSWBDHVU"))
        self.cursor = 0

    def take(self, length, bases):
        count = max(1, bases // length)
        if self.cursor + count * length > len(self.text):
            self.cursor = 0
        first, self.cursor = self.cursor, self.cursor + count * length
        return [self.text[first + i * length : first + (i + 1) * length] for i in range(count)]


def row(peer, length, ratios, rates):
    values = {"ratio": round(median(ratios), 1), "our_megabases_per_second": round(median(rates))}
    print(json.dumps({"bench": "encode", "peer": peer, "length_bp": length, **values}), flush=True)


def resident():
    """Bytes of memory that this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(threads):
    """Print what a call holds at most beyond its input, sampled while it runs.

    Comes first, with random bases: what reading a genome leaves to the allocator would hide it.
    """
    bases = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), 32_000_000)
    texts = [piece.tobytes() for piece in np.split(bases, 32_000)]
    ours, peak, running = Tokenizer.from_pretrained("dnabert2"), 0, True

    def sample():
        nonlocal peak
        while running:
            peak = max(peak, resident())
            time.sleep(0.0005)

    watcher = threading.Thread(target=sample)
    before = resident()
    watcher.start()
    ours.encode_batch(texts, threads=threads)
    running = False
    watcher.join()
    bytes_a_base = round((peak - before) / len(bases), 2)
    print(json.dumps({"bench": "encode memory", "threads": threads, "bytes_a_base": bytes_a_base}))


def main(path):
    for threads in (1, 2):
        memory(threads)
    genome, ours = Genome(path), Tokenizer.from_pretrained("dnabert2")
    ours.encode_batch(genome.take(1_000, 1_000_000), threads=1)  # compiles the automaton
    for name, prepare in PEERS.items():
        if not find_spec(name):
            print(json.dumps({"bench": "encode", "peer": name, "skipped": "not installed"}))
            continue
        peer, ids = prepare(ours)
        sample = genome.take(1_000, 200_000)
        want = ours.encode_batch(sample, add_special_tokens=False).to_list()
        assert ids(peer(sample)) == want, f"{name} gives other ids"
        for length in (100, 1_000, 10_000, 1_000_000):
            ratios, rates = [], []
            for _ in range(REPETITIONS):
                few, many = genome.take(length, PEER_BASES), genome.take(length, OUR_BASES)
                theirs, _ = cpu_seconds(lambda few=few, peer=peer: peer(few))
                own, _ = cpu_seconds(lambda many=many: ours.encode_batch(many, threads=1))
                a_base = own / sum(map(len, many))
                ratios.append(theirs / sum(map(len, few)) / a_base)
                rates.append(1e-6 / a_base)
            row(name, length, ratios, rates)
    string = genome.text[:10_000_000]
    peer = Reference.from_file(str(PACKAGED["dnabert2"]))
    theirs, want = cpu_seconds(lambda: peer.encode(string).ids)
    runs = [cpu_seconds(lambda: ours.encode(string)) for _ in range(3)]
    assert runs[0][1].tolist() == want, "ids differ"
    own = median(seconds for seconds, _ in runs)
    row("tokenizers", len(string), [theirs / own], [len(string) / own / 1e6])


if __name__ == "__main__":
    main(sys.argv[1])
