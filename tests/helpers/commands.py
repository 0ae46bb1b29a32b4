"""Command lines of documents and packages, read by the command's own parser."""

import functools
import inspect
import shlex

from dnabert2_fast import cli
from dnabert2_fast.cli import _parser


def parse_only(line, monkeypatch):
    """Parse the arguments of a command line (without "dnabert2-fast"); nothing is run."""
    described = _parser.described

    def not_run(target):
        made = described(target)
        return made if inspect.isclass(made) else functools.wraps(made)(lambda *_, **__: None)

    monkeypatch.setattr(_parser, "described", not_run)
    command, *arguments = shlex.split(line)
    _parser.parse(_parser.target_of(cli.COMMANDS[command][1]()), arguments, command)
