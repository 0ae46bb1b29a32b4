"""How likely a masked language model finds tokens, sequences and bases.

Masked tokens filled, pseudo-log-likelihoods of sequences and tables of them, and tracks along a
genome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.genomics.likelihood.config import TrackConfig
    from dnabert2_fast.genomics.likelihood.scores import fill_mask, pseudo_likelihood
    from dnabert2_fast.genomics.likelihood.table import likelihood_table
    from dnabert2_fast.genomics.likelihood.track import likelihood_hub, likelihood_track

__all__ = [
    "TrackConfig",
    "fill_mask",
    "likelihood_hub",
    "likelihood_table",
    "likelihood_track",
    "pseudo_likelihood",
]

_HOME = {
    "TrackConfig": "config",
    "fill_mask": "scores",
    "likelihood_hub": "track",
    "likelihood_table": "table",
    "likelihood_track": "track",
    "pseudo_likelihood": "scores",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
