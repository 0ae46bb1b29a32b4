"""Arguments that several commands share, and how they are read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dnabert2_fast._internal.atomic import require_writable
from dnabert2_fast._internal.streams import is_stdout

if TYPE_CHECKING:
    from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "Dtype",
    "DtypeOrInt8",
    "Folder",
    "load_tokenizer",
    "part_of",
    "report",
    "require_output",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DtypeOrInt8 = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]


def load_tokenizer(name: str) -> Tokenizer:
    """Read a tokenizer by name, with a late import to keep this module light."""
    from dnabert2_fast.tokenizer import Tokenizer

    return Tokenizer.from_pretrained(name)


def require_output(out: Path | None, *, folder: bool = False) -> None:
    """Raise for an output that cannot be written, before anything is read or loaded."""
    if out is not None and not is_stdout(out):
        require_writable(out, folder=folder)


def report(out: Path, text: str) -> None:
    """Print what was written and where; on standard error if standard output has the results."""
    if is_stdout(out):
        print(f"standard output: {text}", file=sys.stderr)
    else:
        print(f"{out}: {text}")


def part_of(text: str) -> tuple[int, int]:
    """Parse a part, written I/N."""
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal()):
        raise ValueError(f'part: must be like 3/10 (got "{text}").')
    return int(number), int(of)
