"""Scores of variants: how a model's answer changes from REF to ALT.

Alleles in one normal form, scores of alleles in memory, and VCF files with scores added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.genomics.variants.alleles import STATUSES, Variant
    from dnabert2_fast.genomics.variants.background import Background
    from dnabert2_fast.genomics.variants.config import ScoringConfig
    from dnabert2_fast.genomics.variants.scoring import VariantScore, score_variants
    from dnabert2_fast.genomics.variants.vcf_file import score_vcf

__all__ = [
    "STATUSES",
    "Background",
    "ScoringConfig",
    "Variant",
    "VariantScore",
    "score_variants",
    "score_vcf",
]

_HOME = {
    "STATUSES": "alleles",
    "Background": "background",
    "ScoringConfig": "config",
    "Variant": "alleles",
    "VariantScore": "scoring",
    "score_variants": "scoring",
    "score_vcf": "vcf_file",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
