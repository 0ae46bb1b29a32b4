"""The list of commands, and the function that runs one.

Commands are imported when they are called, so that tokenizing starts without torch. Invalid input
ends in one line on standard error and exit code 2, Ctrl-C in exit code 130. Both leave no partial
files.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from dnabert2_fast._internal.extras import EXTRA_OF, needs
from dnabert2_fast.cli._args import Folder
from dnabert2_fast.cli._parser import SHELLS, as_typed, call, completion, did_you_mean
from dnabert2_fast.errors import Dnabert2Error, InputWarning

__all__ = ["COMMANDS", "COMPLETION", "STRICT", "main", "usage"]


def _doctor() -> None:
    """Show installed libraries, the attention backend that would run, and why others would not.

    Examples
    --------
    dnabert2-fast doctor
    """
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

    Examples
    --------
    dnabert2-fast demo
    dnabert2-fast demo --out results --seed 1
    """
    from dnabert2_fast.cli.demo import run

    try:
        print(run(out, seed=seed))
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # what its steps would keep is deleted


def _at(path: str) -> Callable[[], Callable[..., None]]:
    module, _, name = path.partition(".")
    return lambda: getattr(import_module(f"dnabert2_fast.cli.{module}"), name)


# What a command does, and how its function is imported.
COMMANDS: dict[str, tuple[str, Callable[[], Callable[..., None]]]] = {
    "tokenize": ("convert sequences to token ids", _at("tokenizers.tokenize")),
    "train-tokenizer": ("train a vocabulary on genomes", _at("tokenizers.train_tokenizer")),
    "vocab-sizes": ("compare vocabulary sizes", _at("tokenizers.vocab_sizes")),
    "build-corpus": (
        "convert genomes to memory-mapped token shards",
        _at("corpora.build_corpus"),
    ),
    "pretrain": ("train a masked language model on a corpus", _at("training.pretrain")),
    "finetune": (
        "train a classifier or regressor on labelled tables",
        _at("training.finetune"),
    ),
    "predict": ("apply a fine-tuned model to sequences", _at("training.predict")),
    "evaluate": ("compare a fine-tuned model with labels", _at("training.evaluate")),
    "embed": ("convert sequences to vectors", _at("embedding.embed")),
    "export-onnx": ("write a model as an ONNX file", _at("embedding.export_onnx")),
    "score-variants": ("add scores to a VCF file", _at("genomics.score_variants")),
    "attribute": ("score the contribution of each base", _at("genomics.attribute")),
    "fill-mask": ("predict tokens at [MASK]", _at("genomics.fill_mask")),
    "likelihood": ("compute likelihoods of sequences or bases", _at("genomics.likelihood")),
    "gue": ("run the GUE benchmark beside the paper's figures", _at("benchmark.gue")),
    "publish": ("upload a trained model with a model card", _at("publishing.publish")),
    "install-skill": ("write instructions for an AI agent", _at("skill.install_skill")),
    "info": ("describe a tokenizer, corpus, model or sequence file", _at("tokenizers.info")),
    "doctor": ("show installed libraries and attention backends", lambda: _doctor),
    "demo": ("run all of this on a small real genome, offline", lambda: _demo),
}


# Taken out before a command reads its own options.
STRICT = "--strict"
COMPLETION = "--tyro-print-completion"


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {command:16s} {what}" for command, (what, _) in COMMANDS.items()]
    head = "usage: dnabert2-fast COMMAND [options]      (options: dnabert2-fast COMMAND --help)\n"
    strict = "\n  --strict, with any command: warnings about input files are errors"
    complete = f"  {COMPLETION} SHELL: print completion with Tab for bash, zsh or fish"
    return "\n".join([head, *lines, strict, complete])


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(version("dnabert2-fast"))
        return 0
    if arguments[0] == COMPLETION:
        return _print_completion(arguments[1:])
    command = arguments[0]
    if command not in COMMANDS:
        near = did_you_mean(command, COMMANDS) or " Run dnabert2-fast --help."
        print(f"error: {command}: is not a command.{near}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # for file names that are not UTF-8
    typed = arguments
    try:
        with warnings.catch_warnings(), needs(command, EXTRA_OF.get(command)):
            warnings.showwarning = _one_line_warning
            if STRICT in arguments:
                arguments = [argument for argument in arguments if argument != STRICT]
                warnings.simplefilter("error", InputWarning)
            call(COMMANDS[command][1](), arguments[1:], f"dnabert2-fast {command}")
    except BrokenPipeError:  # the reader of a pipe such as `| head` has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        print(_interrupted(error, typed), file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if "pip install" not in str(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Dnabert2Error, OSError, ValueError, OverflowError) as error:
        print(f"error: {as_typed(_one_line(error), arguments)}", file=sys.stderr)
        return 2
    return 0


def _print_completion(shells: list[str]) -> int:
    if len(shells) != 1 or shells[0] not in SHELLS:
        got = " ".join(shells) or "nothing"
        print(f"error: {COMPLETION}: must be bash, zsh or fish (got {got}).", file=sys.stderr)
        return 2
    functions = {name: function() for name, (_, function) in COMMANDS.items()}
    print(completion(functions, shells[0]))
    return 0


def _interrupted(error: KeyboardInterrupt, typed: list[str]) -> str:
    """Return the last line of a command that was stopped: what is kept, and how to resume."""
    notes = getattr(error, "__notes__", ())  # of every layer; the outermost names the output
    if not notes:
        return "interrupted"
    return f"interrupted: {notes[-1]}; resume with: {shlex.join(['dnabert2-fast', *typed])}"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _one_line_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
