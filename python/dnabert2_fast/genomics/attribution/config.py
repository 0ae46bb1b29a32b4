"""Settings of attribution and of its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from dnabert2_fast._internal.checks import check_at_least, check_choice
from dnabert2_fast.io.table_writer import require_ending
from dnabert2_fast.io.tracks import TRACK_SUFFIXES, is_track

__all__ = ["AttributionConfig", "AttributionOutput", "Method", "Target"]

Method = Literal["mutagenesis", "occlusion", "gradients", "lrp", "attention"]
Target = Literal["log_odds", "probability", "likelihood", "similarity"]


@dataclass(frozen=True)
class AttributionConfig:
    """Settings of an attribution.

    Parameters
    ----------
    method
        mutagenesis: every base is replaced by each of the three others; occlusion: every token is
        replaced by [MASK]; gradients: integrated gradients from a sequence of [MASK]; lrp:
        layer-wise relevance propagation; attention: the last layer's attention weight of each base.
    target
        log_odds or probability of a classifier's class; likelihood (masked language model,
        mutagenesis only): of the tokens that a mutation changes; similarity: cosine of the vector
        to that of the unchanged sequence. Default: the first that the model supports of log_odds,
        likelihood (for mutagenesis), similarity. Attention has no target.
    label
        Class of a classifier: its name, or its number from 0.
    both_strands
        Average with the attribution of the reverse complement.
    steps
        Points between the masked and the real sequence for gradients.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.

    Raises
    ------
    ValueError
        When method or target is not one of these, or a number is below 1.

    Notes
    -----
    Integrated gradients are those of Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep
    Networks" (ICML 2017), over the embeddings.

    Examples
    --------
    >>> from dnabert2_fast import attribute
    >>> config = AttributionConfig("occlusion", both_strands=False)
    >>> attribute("ACGTTGCATTAGCA", config=config).target
    'similarity'
    """

    method: Method = "mutagenesis"
    target: Target | None = None
    label: Annotated[str | int, tyro.conf.arg(metavar="CLASS")] = 1
    both_strands: bool = True
    steps: int = 32
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        check_choice("method", self.method, get_args(Method))
        check_choice("target", self.target, (None, *get_args(Target)))
        for name in ("steps", "batch_tokens"):
            check_at_least(name, getattr(self, name), 1)


@dataclass(frozen=True)
class AttributionOutput:
    """Where results are written; at least one output is required.

    Parameters
    ----------
    out
        .bedgraph, .bw or .bigwig (scores), or a table .csv, .tsv (also .gz) or .parquet, with one
        row per base, and effects.
    tokens
        Table with one row per token, of both strands if both are read.
    plots
        Folder to create, with a plot of each sequence.
    plot_format
        Format of the plots.
    motifs
        Table of k-mers in regions of high scores, with a hypergeometric test; or .meme: those with
        q <= 0.05 as matrices in MEME format.
    kmer
        Length of the motifs' k-mers.
    background
        FASTA of sequences to test the motifs against. Default: regions of high scores of the same
        sequences after a shuffle that keeps dinucleotides.
    modisco
        Folder to create, with sequences.npz and scores.npz for `modisco motifs` of TF-MoDISco.
    jaspar
        Motifs in JASPAR format, which are searched in all sequences.
    hits
        Table of the matches of `jaspar`, with the scores of their bases.
    """

    out: Path | None = None
    tokens: Path | None = None
    plots: Path | None = None
    plot_format: Literal["png", "svg"] = "png"
    motifs: Path | None = None
    kmer: int = 6
    background: Path | None = None
    modisco: Path | None = None
    jaspar: Path | None = None
    hits: Path | None = None

    def __post_init__(self) -> None:
        if not any((self.out, self.tokens, self.plots, self.motifs, self.modisco, self.hits)):
            raise ValueError("out, tokens, plots, motifs, modisco, hits: give at least one.")
        if (self.jaspar is None) != (self.hits is None):
            raise ValueError("jaspar, hits: give both, the motifs and the file of their matches.")
        if self.out is not None and not is_track(self.out):
            require_ending(self.out, others=TRACK_SUFFIXES, what="for a track")
        if self.motifs is not None:
            require_ending(self.motifs, "motifs", (".meme",))
        for name, path in (("tokens", self.tokens), ("hits", self.hits)):
            if path is not None:
                require_ending(path, name)
        check_at_least("kmer", self.kmer, 1)
