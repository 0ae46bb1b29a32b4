"""Applications of a trained model to genomes.

Embeddings, scores of variants, attribution to bases, and likelihoods. Each has its own package and
and is exported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.genomics.attribution.config import AttributionConfig
    from dnabert2_fast.genomics.attribution.motifs import enriched_kmers
    from dnabert2_fast.genomics.attribution.mutagenesis import Attribution, TokenScore, attribute
    from dnabert2_fast.genomics.attribution.plot import plot_attribution
    from dnabert2_fast.genomics.attribution.shuffle import dinucleotide_shuffle
    from dnabert2_fast.genomics.embedding.config import EmbeddingConfig, Pooling
    from dnabert2_fast.genomics.embedding.file import embed_file
    from dnabert2_fast.genomics.embedding.plot import plot_embeddings
    from dnabert2_fast.genomics.embedding.sklearn import DnaEmbedder
    from dnabert2_fast.genomics.embedding.vectors import embed, embed_positions
    from dnabert2_fast.genomics.likelihood.config import TrackConfig
    from dnabert2_fast.genomics.likelihood.scores import fill_mask, pseudo_likelihood
    from dnabert2_fast.genomics.likelihood.table import likelihood_table
    from dnabert2_fast.genomics.likelihood.track import likelihood_hub, likelihood_track
    from dnabert2_fast.genomics.variants.alleles import STATUSES, Variant
    from dnabert2_fast.genomics.variants.background import Background
    from dnabert2_fast.genomics.variants.config import ScoringConfig
    from dnabert2_fast.genomics.variants.scoring import VariantScore, score_variants
    from dnabert2_fast.genomics.variants.vcf_file import score_vcf

__all__ = [
    "STATUSES",
    "Attribution",
    "AttributionConfig",
    "Background",
    "DnaEmbedder",
    "EmbeddingConfig",
    "Pooling",
    "ScoringConfig",
    "TokenScore",
    "TrackConfig",
    "Variant",
    "VariantScore",
    "attribute",
    "dinucleotide_shuffle",
    "embed",
    "embed_file",
    "embed_positions",
    "enriched_kmers",
    "fill_mask",
    "likelihood_hub",
    "likelihood_table",
    "likelihood_track",
    "plot_attribution",
    "plot_embeddings",
    "pseudo_likelihood",
    "score_variants",
    "score_vcf",
]

_HOME = {
    "STATUSES": "variants.alleles",
    "Attribution": "attribution.mutagenesis",
    "AttributionConfig": "attribution.config",
    "Background": "variants.background",
    "DnaEmbedder": "embedding.sklearn",
    "EmbeddingConfig": "embedding.config",
    "Pooling": "embedding.config",
    "ScoringConfig": "variants.config",
    "TokenScore": "attribution.mutagenesis",
    "TrackConfig": "likelihood.config",
    "Variant": "variants.alleles",
    "VariantScore": "variants.scoring",
    "attribute": "attribution.mutagenesis",
    "dinucleotide_shuffle": "attribution.shuffle",
    "embed": "embedding.vectors",
    "embed_file": "embedding.file",
    "embed_positions": "embedding.vectors",
    "enriched_kmers": "attribution.motifs",
    "fill_mask": "likelihood.scores",
    "likelihood_hub": "likelihood.track",
    "likelihood_table": "likelihood.table",
    "likelihood_track": "likelihood.track",
    "plot_attribution": "attribution.plot",
    "plot_embeddings": "embedding.plot",
    "pseudo_likelihood": "likelihood.scores",
    "score_variants": "variants.scoring",
    "score_vcf": "variants.vcf_file",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
