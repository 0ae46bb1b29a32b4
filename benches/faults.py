"""Kill every command at random moments, start it again, and compare with an undisturbed run.

    python benches/faults.py                  # five kills of each running command, tiny inputs
    python benches/faults.py --kills 50 --commands build-corpus embed
    python benches/faults.py --signal TERM    # the signal of a scheduler before it kills

Each trial starts a command as a process of its own in an empty folder, kills it after a time drawn
evenly from the length of an undisturbed run, and starts the same command until it ends well. A
trial that ends before its kill does not count, though its outcome is compared as well. A trial has
failed if any output differs by a byte from the undisturbed one (in JSON, by anything but times), or
anything else lies in the folder.

The undisturbed run is started from the command line. The processes of the trials are forked from
one that has imported the library and done nothing else, so that it is the work that is killed and
not the start of Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import dnabert2_fast
from dnabert2_fast import (
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Tokenizer,
    build_corpus,
    cli,
)
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.finetuning.task import Task

# Imported before trials are forked.
MODULES = (
    "dnabert2_fast.cli.corpora",
    "dnabert2_fast.cli.embedding",
    "dnabert2_fast.cli.genomics",
    "dnabert2_fast.cli.tokenizers",
    "dnabert2_fast.finetuning.runs",
    "dnabert2_fast.finetuning.file",
    "dnabert2_fast.pretraining.train",
    "matplotlib.pyplot",
    "sklearn.linear_model",
)

FORKED = multiprocessing.get_context("forkserver")

# Written beside results, and never twice alike: clocks, speeds and names of folders.
TIMES = {"tokens_per_second", "memory_gb", "seconds", "out", "folder", "peak_memory_gb"}


def prepare(folder: Path) -> dict[str, list[str]]:
    """Make tiny inputs; returns what each command is called with."""
    rng = random.Random(1)
    letters = "".join(rng.choices("ACGT", k=400_000))
    genome = folder / "genome.fa"
    records = (letters[i : i + 4000] for i in range(0, len(letters), 4000))
    genome.write_text("".join(f">r{i}\n{record}\n" for i, record in enumerate(records)))
    tokenizer = Tokenizer.train([letters[:100_000]], 64)
    tokenizer.save(folder / "tokenizer.json")
    build_corpus(
        [genome], folder / "corpus", tokenizer, CorpusConfig(window_bp=200, valid_fraction=0.02)
    )
    model = folder / "model"
    shape = Dnabert2Config(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    Dnabert2ForMaskedLM(shape).save_pretrained(model)
    tokenizer.save(model / "tokenizer.json")
    calls = folder / "calls.vcf"
    turned = str.maketrans("ACGT", "GTAC")
    sites = ((i // 40, i % 40 * 100 + 50) for i in range(4000))  # 40 in each record
    changes = ((n, at, letters[4000 * n + at]) for n, at in sites)
    rows = (f"r{n}\t{at + 1}\t.\t{a}\t{a.translate(turned)}\t.\t.\t." for n, at, a in changes)
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    calls.write_text("\n".join(["##fileformat=VCFv4.2", columns, *rows]) + "\n")
    classifier = folder / "classifier"
    Dnabert2ForSequenceClassification(replace(shape, num_labels=2)).save_pretrained(classifier)
    tokenizer.save(classifier / "tokenizer.json")
    Task("multiclass", ("no", "yes"), window_bp=25).save(classifier)
    tables = folder / "tables"
    tables.mkdir()
    for split, count in (("train", 200), ("dev", 20), ("test", 20)):
        texts = (f"{''.join(rng.choices('ACGT', k=60))},{i % 2}" for i in range(count))
        (tables / f"{split}.csv").write_text("sequence,label\n" + "\n".join(texts) + "\n")
    lines = {
        "train-tokenizer": f"{genome} --out t.json --vocab-size 500 --memory-limit-gb 0.00002 "
        "--threads 1",
        "build-corpus": f"{genome} --out c --tokenizer {folder}/tokenizer.json --window-bp 100 "
        "--shard-tokens 4000 --threads 1",
        "embed": f"{genome} --model {model} --out v.npy --window-bp 25 --batch-tokens 1024",
        "score-variants": f"{calls} --reference {genome} --model {model} --out s.vcf "
        "--window-bp 32 --offsets-bp 0",
        "predict": f"{classifier} {genome} --out p.csv --rows windows --batch-tokens 1024",
        "pretrain": f"{folder}/corpus --out run --size tiny --steps 40 --batch-tokens 600 "
        "--checkpoint-every 5 --eval-every 10 --device cpu",
        "finetune": f"{model} --data {tables} --out done --epochs 6 --batch-size 16 --device cpu",
    }
    return {command: line.split() for command, line in lines.items()}


def plain(path: Path) -> object:
    """Return the contents of a file, without times where it has some."""
    unfinished = path.name.startswith(".")  # its JSON may be half written
    if path.suffix in (".json", ".jsonl") and not unfinished:
        return [strip(json.loads(line)) for line in joined(path)]
    return path.read_bytes()


def joined(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def strip(value: object) -> object:
    """Drop times and names of folders."""
    if isinstance(value, dict):
        return {k: strip(v) for k, v in value.items() if k not in TIMES}
    return [strip(v) for v in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, object]:
    """Return what every file below a folder holds, by its path; folders hold nothing."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # Plots contain the time at which they were drawn.
        plot = path.suffix == ".png" and not path.name.startswith(".")
        found[name] = None if path.is_dir() or plot else plain(path)
    return found


def undisturbed(arguments: list[str], folder: Path) -> None:
    """Run a command from the command line, to its end."""
    line = [sys.executable, "-W", "ignore", "-m", "dnabert2_fast.cli", *arguments]
    subprocess.run(line, cwd=folder, stdout=subprocess.DEVNULL, check=True)


def forked(arguments: list[str], folder: Path, kill_after: float | None, number: int) -> int | None:
    """Run a command, kill it after `kill_after` seconds; returns its exit code, None if killed."""
    process = FORKED.Process(target=_command, args=(arguments, folder))
    process.start()
    process.join(kill_after)
    alive = process.exitcode is None
    if alive:
        assert process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(process.pid, number)
        process.join()
    code = None if alive else process.exitcode
    process.close()
    return code


def _command(arguments: list[str], folder: Path) -> None:
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    sys.exit(cli.main(arguments))


def trials(
    command: str, arguments: list[str], kills: int, number: int, base: Path, rng: random.Random
) -> tuple[int, int, list[str]]:
    """Kill a command `kills` times while it runs; returns trials, restarts and failures."""
    whole = base / f"{command}-whole"
    whole.mkdir()
    undisturbed([command, *arguments], whole)
    want = contents(whole)
    again = base / f"{command}-forked"
    again.mkdir()
    began = time.monotonic()
    if forked([command, *arguments], again, None, number) != 0 or contents(again) != want:
        raise SystemExit(f"{command}: gives something else when it is forked")
    length = time.monotonic() - began
    trial, met, restarts, wrong = 0, 0, 0, []
    while met < kills:
        trial += 1
        folder = base / f"{command}-trial"
        folder.mkdir()
        alive = forked([command, *arguments], folder, rng.uniform(0, length), number)
        met += alive is None
        for _ in range(20):
            if contents(folder) == want:
                break  # it was killed on its way out
            restarts += 1
            if forked([command, *arguments], folder, None, number) == 0:
                break
        got = contents(folder)
        if got != want:
            differ = sorted(
                name for name in want.keys() | got.keys() if got.get(name) != want.get(name)
            )
            wrong.append(f"trial {trial}: {differ[:5]}")
            shutil.copytree(folder, base / f"{command}-wrong-{trial}")
        shutil.rmtree(folder)
    return trial, restarts, wrong


def main() -> int:
    """Run the trials and print one line per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--commands", nargs="*")
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "INT"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder to keep what went wrong in")
    given = parser.parse_args()
    os.environ |= {"DNABERT2_FAST_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
    os.environ["PYTHONPATH"] = str(Path(dnabert2_fast.__file__).parents[1])  # from any folder
    FORKED.set_forkserver_preload([*MODULES])
    first = FORKED.Process(target=int)  # imports are over when it ends
    first.start()
    first.join()
    base = given.keep or Path(tempfile.mkdtemp(prefix="faults"))
    base.mkdir(parents=True, exist_ok=True)
    commands = prepare(base)
    failed = 0
    for command in given.commands or commands:
        number = getattr(signal, f"SIG{given.signal}")
        tried, restarts, wrong = trials(
            command, commands[command], given.kills, number, base, random.Random(given.seed)
        )
        failed += len(wrong)
        print(
            f"{command:16s} SIG{given.signal} {given.kills} kills in {tried} trials, "
            f"{restarts} restarts, {len(wrong)} wrong",
            *wrong,
            sep="\n  " if wrong else "",
            flush=True,
        )
    if not given.keep:
        shutil.rmtree(base)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
