"""``python -m dnabert2_fast`` is the command ``dnabert2-fast``."""

from dnabert2_fast.cli import entry_point

__all__ = ["entry_point"]

if __name__ == "__main__":
    entry_point()
