"""Settings of attribution, and where its results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast.io.tracks import TRACK_SUFFIXES

__all__ = ["AttributionConfig", "AttributionOutput", "Method", "Target"]

Method = Literal["mutagenesis", "occlusion", "gradients", "attention"]
Target = Literal["log_odds", "probability", "likelihood", "similarity"]


@dataclass(frozen=True)
class AttributionConfig:
    """What is asked, and how.

    Parameters
    ----------
    method
        mutagenesis: every base becomes each of the three others; occlusion: every token becomes
        [MASK]; gradients: integrated gradients from a sequence of [MASK]; attention: how much of
        the last layer's attention weights each base gets.
    target
        log_odds or probability of a classifier's class; likelihood (masked language model,
        mutagenesis only): of the tokens that a mutation changes; similarity: cosine of the vector
        to that of the unchanged sequence. If left out, the first that the model has of log_odds,
        likelihood (for mutagenesis), similarity. Attention has none.
    label
        Class of a classifier.
    both_strands
        Average with what the reverse complement gives.
    steps
        Points between the masked and the real sequence for gradients.
    batch_tokens
        Tokens of one batch, at most: more is faster until memory ends.

    Raises
    ------
    ValueError
        When method or target is none of these, or a number is below 1.

    Notes
    -----
    Integrated gradients are those of Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep
    Networks" (ICML 2017), over the embeddings.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2ForMaskedLM, Tokenizer, attribute
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> config = AttributionConfig("occlusion", both_strands=False)
    >>> attribute("ACGTTGCATTAGCA", model, tok, config).target
    'similarity'
    """

    method: Method = "mutagenesis"
    target: Target | None = None
    label: int = 1
    both_strands: bool = True
    steps: int = 32
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name, known in (("method", get_args(Method)), ("target", (None, *get_args(Target)))):
            if getattr(self, name) not in known:
                listed = ", ".join(f'"{one}"' for one in known if one)
                raise ValueError(f'{name}: "{getattr(self, name)}" is not one of {listed}')
        for name in ("steps", "batch_tokens"):
            check_at_least(name, getattr(self, name), 1)


@dataclass(frozen=True)
class AttributionOutput:
    """Where results go; at least one place is needed.

    Parameters
    ----------
    out
        .bedgraph, or .bw or .bigwig (scores), or .parquet (one row a base, with effects).
    plots
        Folder to make, with a picture of each sequence.
    plot_format
        Kind of the pictures.
    motifs
        .tsv of k-mers in regions of high scores, with a hypergeometric test.
    kmer
        Bases of a k-mer of the motifs.
    background
        FASTA of sequences to test the motifs against; the sequences' own places if left out.
    """

    out: Path | None = None
    plots: Path | None = None
    plot_format: Literal["png", "svg"] = "png"
    motifs: Path | None = None
    kmer: int = 6
    background: Path | None = None

    def __post_init__(self) -> None:
        if self.out is None and self.plots is None and self.motifs is None:
            raise ValueError("out: give at least one of out, plots, motifs")
        suffixes = (*TRACK_SUFFIXES, ".parquet")
        if self.out is not None and self.out.suffix not in suffixes:
            raise ValueError(f"out: {self.out.name} must end in {', '.join(suffixes)}")
        if self.motifs is not None and self.motifs.suffix != ".tsv":
            raise ValueError(f"motifs: {self.motifs.name} must end in .tsv")
        check_at_least("kmer", self.kmer, 1)
