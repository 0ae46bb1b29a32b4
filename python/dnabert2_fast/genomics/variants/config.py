"""Settings of variant scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast.model.config import Dnabert2Config

__all__ = ["ScoringConfig"]

DEFAULT_WINDOW_BP = 512


@dataclass(frozen=True)
class ScoringConfig:
    """Windows around a variant, and the class of a classifier.

    Parameters
    ----------
    window_bp
        Unchanged bases around a variant, half of them on each side; fewer at the ends of a contig.
        A variant that changes more bases is not scored. Default: the length that a classifier was
        fine-tuned on, and 512 for every other model.
    offsets_bp
        Shifts of the window relative to the variant, over which scores are averaged. Default: an
        eighth of the window to the left, none, and an eighth to the right.
    both_strands
        Also average over the reverse complement.
    label
        Class of a classifier whose probability is compared: its name, or its number from 0.
    background
        A genome as FASTA, or a .json table of `Background`: its token frequencies are what
        ``context_llr`` is relative to. Default: the table in the package, for the published
        vocabulary and for the one of ``mini``.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.

    Raises
    ------
    ValueError
        When a number is below 1, or an offset moves the variant out of its window.

    Examples
    --------
    >>> ScoringConfig(window_bp=512).offsets
    (-64, 0, 64)
    >>> ScoringConfig(window_bp=200, offsets_bp=(0,), both_strands=False).offsets  # one frame
    (0,)
    """

    window_bp: int | None = None
    offsets_bp: tuple[int, ...] | None = None
    both_strands: bool = True
    label: Annotated[str | int, tyro.conf.arg(metavar="CLASS")] = 1
    background: str | None = None
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name in ("window_bp", "batch_tokens"):
            check_at_least(name, getattr(self, name), 1)
        if self.offsets_bp == ():
            raise ValueError("offsets_bp: give at least one; 0 centres the variant.")
        furthest = max(map(abs, self.offsets_bp or (0,)))
        if self.window_bp is not None and furthest >= self.window_bp // 2:
            raise ValueError(
                f"offsets_bp: must be less than {self.window_bp // 2}, half of window_bp (got "
                f"{furthest}). Use smaller offsets or a larger window."
            )

    def for_model(self, model: Dnabert2Config) -> ScoringConfig:
        """Return these settings with the window for a model.

        Parameters
        ----------
        model : Dnabert2Config
            Its ``window_bp`` is the default of a fine-tuned classifier.

        Returns
        -------
        ScoringConfig

        Warns
        -----
        UserWarning
            When a classifier was fine-tuned on another length than `window_bp`.
        """
        if self.window_bp is None:
            return replace(self, window_bp=model.window_bp or DEFAULT_WINDOW_BP)
        if model.window_bp not in (None, self.window_bp):
            warnings.warn(
                f"window_bp: {self.window_bp}, but the model was fine-tuned on {model.window_bp} "
                f"bp. Leave it out to score windows of {model.window_bp} bp.",
                stacklevel=3,
            )
        return self

    @property
    def offsets(self) -> tuple[int, ...]:
        """Return the offsets or their defaults; needs `window_bp`."""
        if self.offsets_bp is not None:
            return self.offsets_bp
        assert self.window_bp is not None, "for_model sets it"
        return tuple(sorted({-(self.window_bp // 8), 0, self.window_bp // 8}))
