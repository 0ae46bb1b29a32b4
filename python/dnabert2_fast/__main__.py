"""``python -m dnabert2_fast`` is the command ``dnabert2-fast``."""

from __future__ import annotations

import sys

__all__ = ["entry_point"]


def entry_point() -> None:
    """Run the command line and exit with its code; the entry point of the installed program."""
    try:
        from dnabert2_fast.cli import main

        code = main()
    except KeyboardInterrupt:  # while the command line is imported, or reports an interrupt
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    entry_point()
