"""From FASTA to a corpus, and from a corpus to batches.

    python benches/corpus.py GENOME.fa.gz [MORE.fa.gz ...]

Figures of one file are of the first. Peers: inflating the file alone with ISA-L (package `isal`);
reading it with pyfastx, encoding with Hugging Face `tokenizers` and putting lists into numpy; and
`datasets.map` with the tokenizer of `transformers`. The last two are run on a part of the file, on
all cores as they come; a peer that is not installed is passed over. Prints a JSON line a figure.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from isal import igzip

from dnabert2_fast import TokenBatches, Tokenizer, _native, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.corpus.build import native_builder
from dnabert2_fast.tokenizer import PACKAGED

PEER_BP = 4_000_000
WINDOW_BP = 1000
ROUNDS = 5

tok = Tokenizer.from_pretrained("dnabert2")


def seconds(work, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def built(paths):
    """Seconds to build a corpus, and what came out."""
    times = []
    for _ in range(ROUNDS):
        folder = Path(tempfile.mkdtemp())
        start = time.perf_counter()
        corpus = build_corpus(paths, folder / "c", tok, CorpusConfig(window_bp=WINDOW_BP))
        times.append(time.perf_counter() - start)
        bases = sum(file["bases"] for file in corpus.read)
        size = sum(path.stat().st_size for path in corpus.folder.iterdir())
        shutil.rmtree(folder)
    return median(times), bases, size


def inflate(path):
    with igzip.open(path, "rb") as handle:
        while handle.read(1 << 22):
            pass


def show(**row):
    print(json.dumps({"bench": "corpus", **row}), flush=True)


def one_file(path, folder):
    alone = seconds(lambda: inflate(path))
    gz, bases, _ = built([path])
    show(figure="gz against inflating alone (ISA-L)", ratio=round(alone / gz, 2))
    plain, blocks = folder / "plain.fa", folder / "blocks.fa.gz"
    with igzip.open(path, "rb") as packed, plain.open("wb") as handle:
        shutil.copyfileobj(packed, handle)
    os.sync()
    inflated, _, _ = built([plain])
    show(figure="plain FASTA", mb_a_second=round(bases / inflated / 1e6))
    stages(plain, bases)
    stages(path, bases)
    if shutil.which("bgzip"):
        with blocks.open("wb") as handle:
            subprocess.run(["bgzip", "-c", plain], check=True, stdout=handle)
        show(figure="bgzip against gzip", ratio=round(gz / built([blocks])[0], 2))
    chains(path, folder, gz / bases, inflated / bases)


def stages(path, bases):
    """Each stage with those before it; all threads at work."""
    resolved = {"case": "upper", **CorpusConfig(window_bp=WINDOW_BP).resolved()}
    every = [2**64 - 1] * 2

    def build(done):
        with tempfile.TemporaryDirectory() as folder:
            nothing = lambda *_: None  # noqa: E731
            native_builder(tok, resolved, "{}", 0).build(
                number=0,
                folder=Path(folder),
                files=[path],
                keep=1.0,
                done=done,
                shards=0,
                report=nothing,
                keep_origins=nothing,
                note_shard=nothing,
            )

    work = {
        "read and parse": lambda: _native.count_bases(path, True, lambda _: None),
        "and cut": lambda: build(every),
        "and encode and write": lambda: build([0, 0]),
    }
    row = {name: round(bases / seconds(call) / 1e6) for name, call in work.items()}
    show(figure=f"Mb/s by stage, {path.suffix[1:]}", **row)


def processor_time(path, letters):
    """Seconds of processor time that the whole build takes, and two of its parts alone."""

    def cpu(call):
        times = []
        for _ in range(2 * ROUNDS):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        return round(median(times), 3)

    windows = [letters[i : i + WINDOW_BP].encode() for i in range(0, len(letters), WINDOW_BP)]
    row = {"inflate": cpu(lambda: inflate(path))}
    row["encode"] = cpu(lambda: tok.encode_batch(windows, threads=1))
    with tempfile.TemporaryDirectory() as folder:
        places = iter(range(99))
        row["build"] = cpu(
            lambda: build_corpus(
                [path], f"{folder}/{next(places)}", tok, CorpusConfig(window_bp=WINDOW_BP)
            )
        )
    show(figure="processor seconds", **row)


def chains(path, folder, gz, plain):
    """The usual ways, from plain FASTA, against seconds a base from either."""
    letters = "".join(r.sequence for r in read_fasta(path)).upper().replace("N", "")
    processor_time(path, letters)
    letters = letters[:PEER_BP]
    part = folder / "part.fa"
    part.write_text(f">part\n{letters}\n")
    if find_spec("pyfastx") and find_spec("tokenizers"):
        import pyfastx
        import tokenizers

        encoder = tokenizers.Tokenizer.from_file(os.fspath(PACKAGED["dnabert2"]))

        def chain():
            for _, sequence in pyfastx.Fastx(os.fspath(part)):
                windows = [sequence[i : i + WINDOW_BP] for i in range(0, len(sequence), WINDOW_BP)]
                rows = [np.array(e.ids, np.uint16) for e in encoder.encode_batch(windows)]
                np.save(folder / "ids.npy", np.concatenate(rows))

        theirs = seconds(chain, 3) / len(letters)
        row = {"gz": round(theirs / gz), "plain": round(theirs / plain)}
        show(figure="times as fast as pyfastx, tokenizers, numpy", **row)
    if find_spec("datasets") and find_spec("transformers"):
        import datasets
        from transformers import PreTrainedTokenizerFast

        datasets.disable_progress_bars()
        encoder = PreTrainedTokenizerFast(tokenizer_file=os.fspath(PACKAGED["dnabert2"]))

        def usual():
            windows = [letters[i : i + WINDOW_BP] for i in range(0, len(letters), WINDOW_BP)]
            data = datasets.Dataset.from_dict({"sequence": windows})
            data = data.map(
                lambda rows: {"input_ids": encoder(rows["sequence"])["input_ids"]},
                batched=True,
                remove_columns=["sequence"],
                load_from_cache_file=False,
            )
            data.save_to_disk(folder / "dataset")

        theirs = seconds(usual, 3) / len(letters)
        row = {"gz": round(theirs / gz), "plain": round(theirs / plain)}
        show(figure="times as fast as datasets.map with transformers", **row)


def many_files(paths, folder):
    times, bases, size = built(paths)
    row = {"mb": round(bases / 1e6), "mb_a_second": round(bases / times / 1e6)}
    show(figure=f"{len(paths)} files", **row, bytes_a_base=round(size / bases, 2))
    program = (
        "import re, sys\n"
        "from dnabert2_fast import Tokenizer, build_corpus\n"
        "from dnabert2_fast.corpus import CorpusConfig\n"
        "tok = Tokenizer.from_pretrained('dnabert2')\n"
        "def peak():\n"
        "    return re.search('VmHWM:.*?([0-9]+)', open('/proc/self/status').read())[1]\n"
        "before = peak()\n"
        f"build_corpus(sys.argv[2:], sys.argv[1], tok, CorpusConfig(window_bp={WINDOW_BP}))\n"
        "print(peak(), before)"
    )
    one_line = folder / "one_line.fa"
    with one_line.open("w") as handle:
        handle.write(">one\n")
        for path in paths:
            handle.writelines(record.sequence for record in read_fasta(path))
    for name, files in (("all files", paths), ("one record on one line", [one_line])):
        command = [sys.executable, "-c", program, folder / f"memory {name}", *files]
        peak, before = map(int, subprocess.check_output(command).split())
        mb = {"peak_mb": round(peak / 1024), "of_which_before_mb": round(before / 1024)}
        show(figure=f"memory, {name}", **mb)


def batches(paths, folder):
    corpus = build_corpus(paths, folder / "batches", tok, CorpusConfig(window_bp=WINDOW_BP))
    start, tokens = time.perf_counter(), 0
    for batch in TokenBatches(corpus, 1 << 15, epochs=1):
        tokens += len(batch.ids.values)
    rate = tokens / (time.perf_counter() - start)
    show(figure="shuffled packed batches", million_tokens_a_second=round(rate / 1e6))
    if find_spec("datasets"):
        from dnabert2_fast.corpus import as_dataset

        theirs = as_dataset(corpus).shuffle(seed=0).with_format("numpy")
        start, tokens = time.perf_counter(), 0
        for rows in theirs.iter(128):
            tokens += sum(len(row) for row in rows["input_ids"])
            if tokens > 2_000_000:
                break
        ratio = rate * (time.perf_counter() - start) / tokens
        show(figure="batches against datasets, shuffled, in numpy", ratio=round(ratio, 1))


def main(paths):
    with tempfile.TemporaryDirectory() as folder:
        one_file(paths[0], Path(folder))
        many_files(paths, Path(folder))
        batches(paths, Path(folder))


if __name__ == "__main__":
    os.environ.setdefault("DNABERT2_FAST_PROGRESS", "0")
    main([Path(path) for path in sys.argv[1:]])
