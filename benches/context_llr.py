"""How far variant scores of `mini` follow the change of the number of tokens.

    python benches/context_llr.py genome.fa.gz variants.vcf.gz [--alleles 1000]

Scores as many SNVs, insertions and deletions each, drawn with a fixed seed. Prints R² of `llr` and
of `context_llr` with the change of the number of tokens, and their means with standard errors for
every change that 20 alleles have. The table in docs/guides/variants.md is from human chromosome 20
(GRCh37) and the sites of 1000 Genomes at 1 to 4 Mb (20 minutes on one core). Drawn alleles that
cannot be scored are left out.
"""

import random
from itertools import islice

import numpy as np
from _harness import arguments

from dnabert2_fast import Dnabert2ForMaskedLM, Tokenizer, read_fasta, score_variants
from dnabert2_fast.genomics.variants import ScoringConfig
from dnabert2_fast.genomics.variants.alleles import variants_of
from dnabert2_fast.io import Reference
from dnabert2_fast.io.vcf import read_vcf

KINDS = {
    "SNVs": lambda one: len(one.ref) == len(one.alt) == 1,
    "insertions": lambda one: len(one.ref) < len(one.alt),
    "deletions": lambda one: len(one.ref) > len(one.alt),
}


def main():
    parser = arguments(__doc__)
    parser.add_argument("vcf", help="VCF file")
    parser.add_argument("--alleles", type=int, default=1000, help="of each kind")
    given = parser.parse_args()
    with read_vcf(given.vcf) as (_, records):
        alleles = [one for record in records for one in variants_of(record) if one.alt.isalpha()]
    random.Random(7).shuffle(alleles)
    genome = Reference({record.name: record.sequence for record in read_fasta(given.genome)})
    tokenizer = Tokenizer.from_pretrained("mini")
    model = Dnabert2ForMaskedLM.from_pretrained("mini")
    config = ScoringConfig(window_bp=512, offsets_bp=(0,))
    for kind, is_kind in KINDS.items():
        some = list(islice(filter(is_kind, alleles), given.alleles))
        scores = score_variants(some, genome, model, tokenizer, config=config)
        rows = np.array([[s.alt_tokens - s.ref_tokens, s.llr, s.context_llr] for s in scores])
        change, *both = rows[np.isfinite(rows).all(axis=1)].T
        squared = [np.corrcoef(change, score)[0, 1] ** 2 for score in both]
        print(f"{kind}: R² {squared[0]:.3f} (llr), {squared[1]:.3f} (context_llr)", flush=True)
        for value, count in zip(*np.unique(np.round(change), return_counts=True), strict=True):
            if count >= 20:
                own = [score[np.round(change) == value] for score in both]
                means = [f"{x.mean():+.2f} ± {x.std(ddof=1) / count**0.5:.2f}" for x in own]
                print(f"  {int(value):+d} tokens ({count}): mean {means[0]}, {means[1]}")


if __name__ == "__main__":
    main()
