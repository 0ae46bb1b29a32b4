"""Compare inputs whose cost per base once jumped with the usual cost, in one run.

    python benches/cliffs.py [--rounds 5] [--megabases 2]

Each case is compared with a usual one, or with Hugging Face `tokenizers` where that sets the
minimum. Both are timed alternately, on one thread, by processor time. The goal is a third of the
usual speed, or the speed of `tokenizers`; the exit code is 1 if any ratio is below it.
"""

import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _harness import Bench, Theirs, arguments, package_version
from tokenizers import Tokenizer as Reference
from tokenizers import models, pre_tokenizers, trainers

from dnabert2_fast import Tokenizer, read_fasta

THIRD = 1 / 3


def gap_tokenizer():
    """A vocabulary in which ten N and more are one token, as text for both libraries."""
    base = json.loads(Tokenizer.train([random_bases(200_000)], 1024).text)
    model = base["model"]
    for token in ("N", "-"):
        model["vocab"][token] = len(model["vocab"])
    step = {"type": "Replace", "pattern": {"Regex": "N{10,}"}, "content": "-"}
    split = {"pattern": {"String": "-"}, "behavior": "Isolated", "invert": False}
    parts = {"normalizer": step, "pre_tokenizer": {"type": "Split", **split}}
    return json.dumps({**base, **parts, "post_processor": None})


def random_bases(count):
    return "".join(random.choices("ACGT", k=count))


def bpe_trainer(sequences):
    tokenizer = Reference(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=512, show_progress=False)
    tokenizer.train_from_iterator(sequences, trainer)


def wrapped(text, width, folder):
    """A FASTA file of records of 1 kb, in lines of ``width`` bases."""
    path = folder / f"{width}.fa"
    with path.open("w") as file:
        for start in range(0, len(text), 1000):
            record = text[start : start + 1000]
            lines = [record[at : at + width] for at in range(0, len(record), width)]
            file.write(f">r{start}\n" + "\n".join(lines) + "\n")
    return path


def read_all(path):
    for _ in read_fasta(path):
        pass


def cases(bases, folder):
    """Name, goal, the case and what it is compared with: calls with the bases of each."""
    tok = Tokenizer.from_pretrained("dnabert2")
    text = random_bases(bases)
    tok.encode(text)  # compiled
    usual = (lambda: tok.encode(text), bases)

    gapped = gap_tokenizer()
    ours, theirs = Tokenizer.from_text(gapped), Reference.from_str(gapped)
    gaps = ("N" * 12).join(text[i : i + 500] for i in range(0, bases, 500))
    few = ("N" * 12).join([text[: bases // 2], text[bases // 2 :]])
    ours.encode(few)
    yield (
        "many gap tokens, to few",
        THIRD,
        (lambda: ours.encode(gaps), len(gaps)),
        (
            lambda: ours.encode(few),
            len(few),
        ),
    )
    some = gaps[: len(gaps) // 8]
    yield (
        "many gap tokens, to tokenizers",
        1.0,
        (lambda: ours.encode(some), len(some)),
        (
            lambda: theirs.encode(some),
            len(some),
        ),
    )
    unknown = "N" * bases
    yield "text of [UNK]", THIRD, (lambda: tok.encode(unknown), bases), usual
    yield "dropout=0", THIRD, (lambda: tok.encode(text, dropout=0), bases), usual

    short = [text[i : i + 50] for i in range(0, bases // 2, 50)]
    rows = tok.encode_batch(short, threads=1)
    long = tok.encode_batch([text], threads=1)
    yield (
        "reverse complement of rows of 50 bases",
        THIRD,
        (
            lambda: tok.reverse_complement(rows),
            bases // 2,
        ),
        (lambda: tok.reverse_complement(long), bases),
    )

    narrow, whole = wrapped(text, 60, folder), wrapped(text, 1000, folder)
    yield (
        "reading records of 1 kb in lines of 60 bases",
        THIRD,
        (lambda: read_all(narrow), bases),
        (lambda: read_all(whole), bases),
    )

    for bp in (4, 12):
        pieces = [text[i : i + bp] for i in range(0, bases, bp)]
        yield (
            f"training on sequences of {bp} bases",
            1.0,
            (
                lambda pieces=pieces: Tokenizer.train(pieces, 512, threads=1),
                bases,
            ),
            (lambda pieces=pieces: bpe_trainer(pieces), bases),
        )
    equal = [text[i % 50 * 100 :][:100] for i in range(bases // 100)]
    yield (
        "training on equal sequences",
        1.0,
        (
            lambda: Tokenizer.train(equal, 512, threads=1),
            bases,
        ),
        (lambda: bpe_trainer(equal), bases),
    )


def first_and_second(bases):
    """Processor time per base of the first and the second long string of this process.

    Short sequences came before, enough of them that the automaton is compiled.
    """
    random.seed(0)
    tok, text = Tokenizer.from_pretrained("dnabert2"), random_bases(bases)
    tok.encode_batch([text[i : i + 50] for i in range(0, 400_000, 50)], threads=1)
    return [nanoseconds(lambda: tok.encode(text), bases) for _ in range(2)]


def nanoseconds(call, bases):
    """Processor time per base."""
    began = time.process_time()
    call()
    return (time.process_time() - began) / bases * 1e9


def main():
    parser = arguments(__doc__, genome=False)
    parser.add_argument("--megabases", type=float, default=2)
    given = parser.parse_args()
    random.seed(0)
    bench, missed = Bench("cliffs", given), []
    bases = int(given.megabases * 1e6)

    def record(name, goal, pairs):
        ours, theirs = zip(*pairs, strict=True)
        peer = "tokenizers" if goal == 1 else "the usual case"
        against = Theirs(peer, package_version(peer), theirs)
        bench.record(name, "CPU time", "ns/base", ours, against, goal=round(goal, 3))
        if median(b / a for a, b in pairs) < goal:
            missed.append(name)

    with tempfile.TemporaryDirectory() as folder:
        for name, goal, case, usual in cases(bases, Path(folder)):
            pairs = [(nanoseconds(*case), nanoseconds(*usual)) for _ in range(given.rounds)]
            record(name, goal, pairs)
    spawn = multiprocessing.get_context("spawn")
    pairs = []
    for _ in range(given.rounds):
        with spawn.Pool(1) as new:
            pairs.append(new.apply(first_and_second, (bases,)))
    record("first long string of a process, to its second", THIRD, pairs)
    if missed:
        sys.exit(f"below the goal: {', '.join(missed)}")


if __name__ == "__main__":
    main()
