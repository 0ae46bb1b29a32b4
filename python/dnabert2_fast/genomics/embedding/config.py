"""Settings of vectors of sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dnabert2_fast._internal.checks import check_at_least, check_choice

__all__ = ["EmbeddingConfig", "Pooling"]

Pooling = Literal["mean", "cls", "max"]


@dataclass(frozen=True)
class EmbeddingConfig:
    """Settings of the conversion of sequences to vectors.

    Parameters
    ----------
    pooling
        mean and max use the tokens of real bases: [CLS], [SEP] and [UNK] are excluded. cls uses the
        state of the first token.
    layers
        Layers whose states are averaged: 0 is the embeddings, 1 the first layer, -1 the last.
    context_bp
        Bases that the model reads at once. Longer sequences are read in windows of that length that
        overlap by a quarter, and every base counts once. Default: whole sequences of any length, in
        which attention skips keys that cannot matter.
    both_strands
        Average over the sequence and its reverse complement.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.

    Raises
    ------
    ValueError
        When a setting is out of range.

    Examples
    --------
    For `embed_file`; `embed` and `DnaEmbedder` take each field as an argument:

    >>> EmbeddingConfig(layers=(-2, -1), both_strands=True).pooling
    'mean'
    >>> from dnabert2_fast import embed
    >>> embed(["ACGTTAGC"], layers=(-2, -1), both_strands=True).shape
    (1, 256)
    """

    pooling: Pooling = "mean"
    layers: tuple[int, ...] = (-1,)
    context_bp: int | None = None
    both_strands: bool = False
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, get_args(Pooling))
        if not self.layers:
            raise ValueError("layers: give at least one, for example -1, the last.")
        check_at_least("context_bp", self.context_bp, 4)
        check_at_least("batch_tokens", self.batch_tokens, 1)
