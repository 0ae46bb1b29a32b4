"""The GUE benchmark: models, baselines and the figures of the paper.

Sets and their splits, systems under one interface (models, a network trained from scratch, linear
models on k-mers), compute costs, and reports with tables and plots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.benchmark.config import GueConfig
    from dnabert2_fast.benchmark.gue_run import gue
    from dnabert2_fast.benchmark.kmers import KmerVectorizer

__all__ = [
    "GueConfig",
    "KmerVectorizer",
    "gue",
]

_HOME = {
    "GueConfig": "config",
    "KmerVectorizer": "kmers",
    "gue": "gue_run",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
