"""The program ``dnabert2-fast``: one command for each task of the library.

Commands are loaded when they are called, so that tokenizing starts without torch. Bad input ends in
one line on standard error and exit code 2; Ctrl-C in exit code 130; both leave no half-written
file behind.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro

from dnabert2_fast._internal.extras import EXTRA_OF, needs
from dnabert2_fast.cli.tokenizers import info as show_info
from dnabert2_fast.cli.tokenizers import tokenize, train_tokenizer, vocab_sizes
from dnabert2_fast.errors import Dnabert2Error, InputWarning


def _doctor() -> None:
    """Say what is installed, which attention backend would run, and why not the others."""
    from dnabert2_fast.cli.doctor import report

    print(report())


def _demo(out: Path = Path("demo-out"), seed: int = 0) -> None:
    """Run the whole library offline on a small real genome, in about two minutes.

    Parameters
    ----------
    out
        Folder for results, plots and a summary; replaced if it is a demo's.
    seed
        Changes the random initial weights and masks.
    """
    from dnabert2_fast.cli.demo import run

    print(run(out, seed=seed))


def _pretrain(arguments: list[str], prog: str) -> None:
    from dnabert2_fast.cli.training import pretrain

    pretrain(arguments, prog)


def _finetune(arguments: list[str], prog: str) -> None:
    from dnabert2_fast.cli.training import finetune

    finetune(arguments, prog)


def _gue(arguments: list[str], prog: str) -> None:
    from dnabert2_fast.cli.benchmark import gue

    gue(arguments, prog)


def _build_corpus(arguments: list[str], prog: str) -> None:
    from dnabert2_fast.cli.corpora import build_corpus

    tyro.cli(build_corpus, args=arguments, prog=prog, config=(tyro.conf.OmitArgPrefixes,))


def _from(module: str, name: str) -> Callable[[list[str], str], None]:
    def run(arguments: list[str], prog: str) -> None:
        command = getattr(import_module(f"dnabert2_fast.cli.{module}"), name)
        tyro.cli(command, args=arguments, prog=prog, config=(tyro.conf.OmitArgPrefixes,))

    return run


def _function(run: Callable[..., None]) -> Callable[[list[str], str], None]:
    return lambda arguments, prog: tyro.cli(run, args=arguments, prog=prog)


COMMANDS: dict[str, tuple[str, Callable[[list[str], str], None]]] = {
    "tokenize": ("sequences to token ids", _function(tokenize)),
    "train-tokenizer": ("genomes to a vocabulary", _function(train_tokenizer)),
    "vocab-sizes": ("trade-off between sizes of a vocabulary", _function(vocab_sizes)),
    "build-corpus": ("genomes to memory-mapped token shards", _build_corpus),
    "pretrain": ("a corpus to a masked language model", _pretrain),
    "finetune": ("labelled tables to a classifier or regressor", _finetune),
    "predict": ("what a fine-tuned model says of sequences", _from("training", "predict")),
    "evaluate": ("a fine-tuned model against labels", _from("training", "evaluate")),
    "embed": ("sequences to vectors", _from("embedding", "embed")),
    "score-variants": ("a VCF file to the same with scores", _from("genomics", "score_variants")),
    "attribute": ("which bases an answer rests on", _from("genomics", "attribute")),
    "fill-mask": ("likeliest tokens where a sequence has [MASK]", _from("genomics", "fill_mask")),
    "likelihood": ("how likely sequences or bases are", _from("genomics", "likelihood")),
    "gue": ("models against the GUE benchmark and the paper", _gue),
    "info": ("what a tokenizer, corpus or checkpoint is", _function(show_info)),
    "doctor": ("what is installed and which attention runs", _function(_doctor)),
    "demo": ("all of the above on a small real genome, offline", _function(_demo)),
}


# Taken out before a command reads its own options.
STRICT = "--strict"


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {command:16s} {what}" for command, (what, _) in COMMANDS.items()]
    head = "usage: dnabert2-fast COMMAND [options]      (dnabert2-fast COMMAND --help says more)\n"
    strict = "\n  --strict, with any command: warnings about input files are errors"
    return "\n".join([head, *lines, strict])


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(version("dnabert2-fast"))
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        print(f"error: there is no command {command!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings(), needs(command, EXTRA_OF.get(command)):
            warnings.showwarning = _one_line_warning
            if STRICT in arguments:
                arguments = [argument for argument in arguments if argument != STRICT]
                warnings.simplefilter("error", InputWarning)
            COMMANDS[command][1](arguments[1:], f"dnabert2-fast {command}")
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if "pip install" not in str(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Dnabert2Error, OSError, ValueError, OverflowError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def entry_point() -> Any:
    """Leave the process with the exit code; the entry point of the installed program."""
    sys.exit(main())
