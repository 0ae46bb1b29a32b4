"""The program ``dnabert2-fast``: one command for each task of the library.

Commands are imported when they are called, so that tokenizing starts without torch. Invalid input
ends in one line on standard error and exit code 2, Ctrl-C in exit code 130. Both leave no partial
files.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dnabert2_fast._internal.extras import EXTRA_OF, needs
from dnabert2_fast.cli._args import Folder
from dnabert2_fast.cli._parser import did_you_mean, parse
from dnabert2_fast.cli.tokenizers import info as show_info
from dnabert2_fast.cli.tokenizers import tokenize, train_tokenizer, vocab_sizes
from dnabert2_fast.errors import Dnabert2Error, InputWarning


def _doctor() -> None:
    """Show installed libraries, the attention backend that would run, and why others would not."""
    from dnabert2_fast.cli.doctor import report

    print(report())


def _demo(out: Folder = Path("demo-out"), seed: int = 0) -> None:
    """Run the whole library offline on a small real genome, in about two minutes.

    Parameters
    ----------
    out
        Folder for results, plots and a summary. An earlier demo's folder is replaced.
    seed
        Seed of the random initial weights and masks.
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

    parse(build_corpus, arguments, prog)


def _from(module: str, name: str) -> Callable[[list[str], str], None]:
    def run(arguments: list[str], prog: str) -> None:
        command = getattr(import_module(f"dnabert2_fast.cli.{module}"), name)
        parse(command, arguments, prog)

    return run


def _function(run: Callable[..., None]) -> Callable[[list[str], str], None]:
    return lambda arguments, prog: parse(run, arguments, prog)


COMMANDS: dict[str, tuple[str, Callable[[list[str], str], None]]] = {
    "tokenize": ("convert sequences to token ids", _function(tokenize)),
    "train-tokenizer": ("train a vocabulary on genomes", _function(train_tokenizer)),
    "vocab-sizes": ("compare vocabulary sizes", _function(vocab_sizes)),
    "build-corpus": ("convert genomes to memory-mapped token shards", _build_corpus),
    "pretrain": ("train a masked language model on a corpus", _pretrain),
    "finetune": ("train a classifier or regressor on labelled tables", _finetune),
    "predict": ("apply a fine-tuned model to sequences", _from("training", "predict")),
    "evaluate": ("compare a fine-tuned model with labels", _from("training", "evaluate")),
    "embed": ("convert sequences to vectors", _from("embedding", "embed")),
    "score-variants": ("add scores to a VCF file", _from("genomics", "score_variants")),
    "attribute": ("score the contribution of each base", _from("genomics", "attribute")),
    "fill-mask": ("predict tokens at [MASK]", _from("genomics", "fill_mask")),
    "likelihood": ("compute likelihoods of sequences or bases", _from("genomics", "likelihood")),
    "gue": ("run the GUE benchmark beside the paper's figures", _gue),
    "info": ("describe a tokenizer, corpus, model or sequence file", _function(show_info)),
    "doctor": ("show installed libraries and attention backends", _function(_doctor)),
    "demo": ("run all of this on a small real genome, offline", _function(_demo)),
}


# Taken out before a command reads its own options.
STRICT = "--strict"


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {command:16s} {what}" for command, (what, _) in COMMANDS.items()]
    head = "usage: dnabert2-fast COMMAND [options]      (options: dnabert2-fast COMMAND --help)\n"
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
        near = did_you_mean(command, COMMANDS) or " See dnabert2-fast --help for the commands."
        print(f"error: {command}: is not a command.{near}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # for file names that are not UTF-8
    try:
        with warnings.catch_warnings(), needs(command, EXTRA_OF.get(command)):
            warnings.showwarning = _one_line_warning
            if STRICT in arguments:
                arguments = [argument for argument in arguments if argument != STRICT]
                warnings.simplefilter("error", InputWarning)
            COMMANDS[command][1](arguments[1:], f"dnabert2-fast {command}")
    except BrokenPipeError:  # the reader of a pipe such as `| head` has ended
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
    """Exit the process with the exit code; the entry point of the installed program."""
    sys.exit(main())
