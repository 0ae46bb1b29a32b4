"""``python -m dnabert2_fast.cli`` is the command ``dnabert2-fast``."""

import sys

from dnabert2_fast.cli import main

sys.exit(main())
