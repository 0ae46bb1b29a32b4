"""From FASTA to a corpus, and from a corpus to batches, with all threads.

    python benches/corpus.py GENOME.fa.gz [MORE.fa.gz ...]

Cases of one file are of the first. Peers: decompressing the file alone with ISA-L (package `isal`);
reading it with pyfastx, encoding with `tokenizers` and putting lists into numpy; and
`datasets.map` with the tokenizer of `transformers`. Those that are not installed are left out.
Files are in the page cache.
"""

import itertools
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _harness import (
    Bench,
    Differ,
    Peer,
    Theirs,
    alone,
    arguments,
    identical,
    package_version,
    read_bases,
    timed,
)
from isal import igzip

from dnabert2_fast import TokenBatches, Tokenizer, _native, build_corpus, read_fasta
from dnabert2_fast.corpus import CorpusConfig, as_dataset
from dnabert2_fast.corpus.build import native_builder
from dnabert2_fast.tokenizer import PACKAGED

os.environ["DNABERT2_FAST_PROGRESS"] = "0"
CONFIG = CorpusConfig(window_bp=1000, valid_fraction=0)
PART_BP = 16_000_000  # what the slow peers get
BATCH_TOKENS = 1 << 15

tok = Tokenizer.from_pretrained("dnabert2")


def decompress(path):
    """Return the number of bytes."""
    size = 0
    with igzip.open(path, "rb") as handle:
        while block := handle.read(1 << 22):
            size += len(block)
    return size


def ids_of(corpus):
    return corpus.gather(np.arange(len(corpus))).values


def fresh(folder):
    """Return a path that does not exist: a corpus that exists is not built again."""
    return Path(tempfile.mkdtemp(dir=folder)) / "corpus"


def against_decompressing(bench, path, folder):
    """The whole way from a compressed file; the peer does its first step."""
    letters = len("".join(record.sequence for record in read_fasta(path)))

    def whole(corpus, size):
        read = sum(file["bases"] + sum(file["other_letters"].values()) for file in corpus.read)
        if read != letters or not letters <= size < 1.1 * letters:
            raise Differ("the file was not read as a whole")
        return "both read the whole file"

    # Elapsed time has no goal: the disk and other processes move it.
    for clock, goal in (("CPU", 1 / 2.6), ("wall", None)):
        bench.compare(
            f"{path.name} to shards",
            lambda out: build_corpus([path], out, tok, CONFIG),
            Peer("decompressing alone", lambda _out: decompress(path), whole, "isal"),
            draw=lambda: (fresh(folder),),
            amount=(letters / 1e6, "Mbases"),
            clock=clock,
            goal=goal,
        )


def with_pyfastx(part, folder):
    import pyfastx
    import tokenizers

    encoder = tokenizers.Tokenizer.from_file(os.fspath(PACKAGED["dnabert2"]))

    def chain():
        for _, sequence in pyfastx.Fastx(os.fspath(part)):
            windows = [sequence[i : i + 1000] for i in range(0, len(sequence), 1000)]
            rows = [np.array(e.ids, np.uint16) for e in encoder.encode_batch(windows)]
            np.save(folder / "ids.npy", np.concatenate(rows))
        return np.load(folder / "ids.npy", mmap_mode="r")

    return chain


def with_datasets(part, folder):
    import datasets
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    encoder = PreTrainedTokenizerFast(tokenizer_file=os.fspath(PACKAGED["dnabert2"]))

    def chain():
        sequence = next(iter(read_fasta(part))).sequence
        windows = [sequence[i : i + 1000] for i in range(0, len(sequence), 1000)]
        data = datasets.Dataset.from_dict({"sequence": windows}).map(
            lambda rows: {"input_ids": encoder(rows["sequence"])["input_ids"]},
            batched=True,
            remove_columns=["sequence"],
            load_from_cache_file=False,
        )
        data.save_to_disk(folder / "dataset")
        return data

    return chain


def against_chains(bench, path, folder):
    """The usual ways, from plain FASTA."""
    part, sequence = folder / "part.fa", read_bases(path)[:PART_BP]
    sequence = sequence[: len(sequence) // 1000 * 1000]
    part.write_text(f">part\n{sequence}\n")
    for name, package, needs, prepare, ids in (
        ("pyfastx, tokenizers, numpy", "tokenizers", "pyfastx", with_pyfastx, np.asarray),
        ("datasets.map, transformers", "datasets", "datasets", with_datasets,
         lambda data: np.array(list(itertools.chain(*data["input_ids"])), np.uint16)),
    ):  # fmt: skip
        if find_spec(needs):
            chain = prepare(part, folder)

            def same(own, theirs, ids=ids):
                return identical(ids_of(own), ids(theirs))

            bench.compare(
                f"{len(sequence) / 1e6:g} Mb of plain FASTA to shards",
                lambda out: build_corpus([part], out, tok, CONFIG),
                Peer(name, lambda _out, chain=chain: chain(), same, package),
                draw=lambda: (fresh(folder),),
                amount=(len(sequence) / 1e6, "Mbases"),
                clock="wall",
            )


def stages(bench, path, bases, folder):
    """Each stage with those before it."""
    resolved = {"case": "upper", **CONFIG.resolved()}
    every = [2**64 - 1] * 2

    def read():
        _native.count_bases(path, fold_case=True, rna=False, report=lambda _: None)

    def build(done):
        nothing = lambda *_: None  # noqa: E731
        native_builder(tok, resolved, "{}", 0).build(
            number=0,
            folder=Path(tempfile.mkdtemp(dir=folder)),
            files=[path],
            keep=1.0,
            done=done,
            shards=0,
            report=nothing,
            keep_origins=nothing,
            note_shard=nothing,
        )

    for stage, call in (
        ("read and parse", read),
        ("and cut into windows", lambda: build(every)),
        ("and encode and write", lambda: build([0, 0])),
        ("and everything else", lambda: build_corpus([path], fresh(folder), tok, CONFIG)),
    ):
        rates = [bases / 1e6 / timed(call).wall for _ in range(bench.rounds)]
        bench.record(f"{path.name}: {stage}", "wall time", "Mbases/s", rates)


def building(paths, out):
    """For memory: imports are done before."""

    def call():
        build_corpus(paths, out, tok, CONFIG)

    return call


def whole_files(bench, paths, folder):
    """Size and memory of a corpus of all files, and its batches."""
    corpus = build_corpus(paths, folder / "all", tok, CONFIG)
    bases = sum(file["bases"] for file in corpus.read)
    case = f"{len(paths)} file{'s' * (len(paths) > 1)}, {round(bases / 1e6)} Mb"
    size = sum(path.stat().st_size for path in corpus.folder.iterdir())
    bench.record(case, "size on disk", "bytes/base", [size / bases])
    one_line = folder / "one_line.fa"
    one_line.write_text(">one\n" + "".join(map(read_bases, paths)))
    for name, files in ((case, paths), (f"{case}, in one line", [one_line])):
        peaks = [alone(building, files, fresh(folder), threads=2).peak / 1e6 for _ in range(3)]
        bench.record(name, "memory", "MB", peaks)
    batches(bench, corpus, case)


def batches(bench, corpus, case):
    """Shuffled packed batches; of `datasets` a part, in another random order."""

    def ours():
        return sum(len(batch.ids.values) for batch in TokenBatches(corpus, BATCH_TOKENS, epochs=1))

    total = ours()
    theirs = []
    if find_spec("datasets"):
        data = as_dataset(corpus).shuffle(seed=0).with_format("numpy")

        def some():
            parts = itertools.islice(data.iter(128), 60)
            return sum(len(row) for part in parts for row in part["input_ids"])

        theirs = [cost.value / 1e6 / cost.wall for cost in [timed(some) for _ in range(3)]]
    against = Theirs("datasets, shuffled", package_version("datasets"), theirs)
    rates = [total / 1e6 / timed(ours).wall for _ in range(3)]
    case = f"shuffled batches of {BATCH_TOKENS:,} tokens, {case}"
    bench.record(case, "wall time", "Mtokens/s", rates, against if theirs else None, higher=True)


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("genomes", nargs="+", type=Path)
    given = parser.parse_args()
    bench, path = Bench("corpus", given), given.genomes[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        against_decompressing(bench, path, folder)
        against_chains(bench, path, folder)
        plain = folder / path.name.removesuffix(".gz")
        with igzip.open(path, "rb") as packed, plain.open("wb") as handle:
            shutil.copyfileobj(packed, handle)
        os.sync()
        bases = len(read_bases(path))
        for source in (plain, path):
            stages(bench, source, bases, folder)
        whole_files(bench, given.genomes, folder)


if __name__ == "__main__":
    main()
