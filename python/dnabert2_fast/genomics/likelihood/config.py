"""Settings of a likelihood track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dnabert2_fast._internal.checks import check_at_least, check_choice

__all__ = ["TrackConfig", "TrackKind"]

TrackKind = Literal["entropy", "log_likelihood"]


@dataclass(frozen=True)
class TrackConfig:
    """Value that `likelihood_track` writes for each base, and its windows.

    Parameters
    ----------
    kind
        entropy: of the base when its token is masked, in bits, 0 to 2. The probability of a base is
        the sum over all tokens with that base in this position, counted from the token's start,
        relative to all tokens that are long enough. log_likelihood: the masked token's
        log-probability in nats, divided equally among its bases.
    window_bp
        Bases that the model reads at a time. The middle half of each window is written, so every
        base has a quarter of a window on both sides; windows end with their sequence.
    mask_stride
        As in `pseudo_likelihood`.
    both_strands
        Average over both strands, whose tokens have different borders.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.

    Raises
    ------
    ValueError
        When `kind` is neither, or a number is too small.

    Examples
    --------
    >>> TrackConfig("log_likelihood", window_bp=1024).both_strands
    True
    """

    kind: TrackKind = "entropy"
    window_bp: int = 512
    mask_stride: int | None = None
    both_strands: bool = True
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(TrackKind))
        check_at_least("window_bp", self.window_bp, 4)  # half of it is written
        check_at_least("mask_stride", self.mask_stride, 2)
        check_at_least("batch_tokens", self.batch_tokens, 1)
