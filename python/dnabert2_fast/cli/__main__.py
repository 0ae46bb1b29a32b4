"""``python -m dnabert2_fast.cli`` is the command ``dnabert2-fast``."""

from dnabert2_fast.cli import entry_point

entry_point()
