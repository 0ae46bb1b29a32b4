"""Score variants of a bacterial genome that travels with the package, offline.

"mini" is the small model in the package; for real work, use a larger one.
"""

from pathlib import Path

import dnabert2_fast
from dnabert2_fast import read_fasta, score_variants
from dnabert2_fast.genomics import ScoringConfig, Variant
from dnabert2_fast.io import Reference

DATA = Path(dnabert2_fast.__file__).parent / "data" / "demo"


def main():
    genome = Reference(
        {record.name: record.sequence for record in read_fasta(DATA / "hpylori_G27.fa.gz")}
    )
    contig = next(iter(genome.lengths))
    base, next_base = genome.fetch(contig, 5000, 5002)
    variants = [
        *(Variant(contig, 5000, base, alt) for alt in "ACGT" if alt != base),  # 0-based
        Variant(contig, 5000, base, base + "GATTACA"),
        Variant(contig, 5000, base + next_base, base),
        Variant(contig, 5000, "N", "A"),
    ]
    scores = score_variants(variants, genome, "mini", config=ScoringConfig(window_bp=256))
    for variant, score in zip(variants, scores, strict=True):
        print(
            f"{variant.start}\t{variant.ref}>{variant.alt}\t{score.status}"
            f"\tllr {score.llr:.3f} +- {score.llr_sd:.3f}\tl2 {score.l2:.4f}"
        )


if __name__ == "__main__":
    main()
