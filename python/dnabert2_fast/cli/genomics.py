"""Verbs that ask a model about places in sequences: ``score-variants``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from safetensors import SafetensorError, safe_open

from dnabert2_fast.cli.tokenizers import load_tokenizer
from dnabert2_fast.genomics.alleles import STATUSES
from dnabert2_fast.genomics.variants import Model, ScoringRules
from dnabert2_fast.genomics.vcf import score_vcf
from dnabert2_fast.model import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
)

__all__ = ["load_model", "score_variants"]

Dtype = Literal["float32", "bfloat16"]
Rules = Annotated[ScoringRules, tyro.conf.arg(name="")]


def load_model(name: str, attention: str, dtype: str, device: str) -> Model:
    """Read a model as what its weights make it: a classifier, a masked language model, or neither.

    What is not a safetensors file is a masked language model, as the published checkpoint is.
    """
    kind: type[Model] = Dnabert2ForMaskedLM
    weights = Path(name, "model.safetensors") if Path(name).is_dir() else Path(name)
    if weights.suffix == ".safetensors" and weights.is_file():
        try:
            with safe_open(weights, "pt") as file:
                keys = set(file.keys())
        except SafetensorError:
            keys = set()  # reading it below says what is wrong
        if "classifier.weight" in keys:
            kind = Dnabert2ForSequenceClassification
        elif keys and not any(key.startswith("cls.") for key in keys):
            kind = Dnabert2Model
    return kind.from_pretrained(name, attention=attention, dtype=dtype, device=device)


def score_variants(
    *,
    vcf: Path,
    reference: Path,
    model: str,
    out: Path,
    rules: Rules = ScoringRules(),  # noqa: B008 (it is frozen)
    tokenizer: str | None = None,
    attention: str = "auto",
    dtype: Dtype = "float32",
    device: str = "auto",
) -> None:
    """Score every allele of a VCF file by what the model makes of it, against the reference.

    A masked language model gives log-likelihood ratios, a fine-tuned classifier differences of a
    class's probability, both distances of vectors; docs/guides/variants.md defines them.

    Parameters
    ----------
    vcf
        VCF, plain, gzip or bgzip, in any order.
    reference
        The genome, FASTA, plain or bgzip; an index is made if there is none.
    model
        A checkpoint folder or a hub id; a classifier if its weights are one's.
    out
        .vcf or .vcf.gz (records as they were, with INFO fields D2_...), or .parquet.
    tokenizer
        As for tokenize; the model's own if left out.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        bfloat16 is faster where the processor has it; scores are differences and lose digits.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    """
    tok = load_tokenizer(tokenizer or model)
    net = load_model(model, attention, dtype, device)
    counts = score_vcf(vcf, reference, net, tok, out, rules)
    print(f"{out}: {sum(counts.values()):,} alleles, {counts.get('scored', 0):,} scored")
    for status, number in counts.items():
        if status != "scored":
            reason = f"{status} ({STATUSES[status]})"
            print(f"warning: {number:,} alleles not scored: {reason}", file=sys.stderr)
