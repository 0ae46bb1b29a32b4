"""Inputs of Ray's tasks, and workers that are killed."""

import os
import random
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dnabert2_fast import Tokenizer
from dnabert2_fast.io import SourceFile

tok = Tokenizer.from_pretrained("dnabert2")
RULES = {"window_bp": 200, "shard_tokens": 1 << 12, "both_strands": True}


def one_after_the_other(numbers, task, *_, **__):
    return {number: task(number) for number in numbers}


def four_species(folder, length_bp):
    """Make the inputs of four species, each a unit of its own; of one only half is taken."""
    files = []
    for i in range(4):
        letters = "".join(random.Random(i).choices("ACGT", k=length_bp))
        files.append(folder / f"{i}.fa")
        files[-1].write_text("".join(f">r{n}\n{letters[n:]}\n" for n in range(30)))
    caps = [None, 15 * length_bp, None, None]
    return [SourceFile(f, f"s{i}", "g", 1.0, caps[i]) for i, f in enumerate(files)]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def is_ours(process):
    """Whether a process descends from this one; other clusters may be at work beside it."""
    while process > 1:
        if process == os.getpid():
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False


@contextmanager
def one_killed_after(begun):
    """Kill a worker at work once some of it is done."""
    killed, over = [], threading.Event()

    def kill_one():
        while not killed and not over.wait(0.005):
            if not begun():
                continue
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # a process that has ended meanwhile
                    at_work = (folder / "cmdline").read_bytes().startswith(b"ray::_attempt")
                    if at_work and is_ours(int(folder.name)):
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(folder.name)
                        break

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert killed


def make_reads(folder, chunks):
    """Write `chunks` chunks of sequences, the last one not full, and a small model."""
    torch = pytest.importorskip("torch")
    from dnabert2_fast import Dnabert2Config, Dnabert2Model

    torch.manual_seed(1)
    sizes = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 8}
    Dnabert2Model(Dnabert2Config(num_hidden_layers=1, **sizes)).save_pretrained(folder / "model")
    draws = random.Random(1)
    with (folder / "x.fa").open("w") as file:
        for i in range(chunks * 4096 - 100):
            file.write(f">r{i}\n{''.join(draws.choices('ACGT', k=draws.randrange(8, 13)))}\n")
    return folder


def embed_here(reads, out, **how):
    from dnabert2_fast import Dnabert2Model, embed_file

    return embed_file(
        reads / "x.fa", Dnabert2Model.from_pretrained(reads / "model"), tok, out, **how
    )
