"""The program ``dnabert2-fast``: one command for each task of the library.

`commands` has the list of them. It is imported at first use: until then, Ctrl-C meets no library,
and ``python -m dnabert2_fast.cli`` ends in exit code 130 whenever it comes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.cli.commands import COMMANDS, COMPLETION, STRICT, main, usage

__all__ = ["COMMANDS", "COMPLETION", "STRICT", "entry_point", "main", "usage"]

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    _HOME = dict.fromkeys(("COMMANDS", "COMPLETION", "STRICT", "main", "usage"), "commands")
    __getattr__, __dir__ = attach(__name__, _HOME)


def entry_point() -> None:
    """Run the command line and exit with its code; the entry point of the installed program."""
    try:
        from dnabert2_fast.cli.commands import main

        code = main()
    except KeyboardInterrupt:  # while the command line is imported, or reports an interrupt
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
