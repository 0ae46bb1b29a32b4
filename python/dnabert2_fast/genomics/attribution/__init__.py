"""Which bases a model's answer depends on.

Mutagenesis of bases; occlusion, integrated gradients and attention of tokens; files, plots, and
k-mers enriched in high-scoring regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.genomics.attribution.config import AttributionConfig
    from dnabert2_fast.genomics.attribution.motifs import enriched_kmers
    from dnabert2_fast.genomics.attribution.mutagenesis import Attribution, TokenScore, attribute
    from dnabert2_fast.genomics.attribution.plot import plot_attribution
    from dnabert2_fast.genomics.attribution.shuffle import dinucleotide_shuffle

__all__ = [
    "Attribution",
    "AttributionConfig",
    "TokenScore",
    "attribute",
    "dinucleotide_shuffle",
    "enriched_kmers",
    "plot_attribution",
]

_HOME = {
    "Attribution": "mutagenesis",
    "AttributionConfig": "config",
    "TokenScore": "mutagenesis",
    "attribute": "mutagenesis",
    "dinucleotide_shuffle": "shuffle",
    "enriched_kmers": "motifs",
    "plot_attribution": "plot",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
