"""How variants are scored."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast.model.config import Dnabert2Config

__all__ = ["ScoringConfig"]

DEFAULT_WINDOW_BP = 512


@dataclass(frozen=True)
class ScoringConfig:
    """How windows are laid around a variant, and what is asked of a classifier.

    Parameters
    ----------
    window_bp
        Unchanged bases around a variant, half of them on each side; fewer at the ends of a
        record. A variant that changes more bases than this is not scored. If left out, the
        length that a classifier was fine-tuned on, and 512 for every other model.
    offsets_bp
        Shifts of the window against the variant, over which scores are averaged; an eighth of the
        window to the left, none, and to the right if left out.
    both_strands
        Average over the reverse complement too.
    label
        Class of a classifier whose probability is compared.
    batch_tokens
        Tokens of one batch, at most: more is faster until memory ends.

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
    label: int = 1
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name in ("window_bp", "batch_tokens"):
            check_at_least(name, getattr(self, name), 1)
        if self.offsets_bp == ():
            raise ValueError("offsets_bp: at least one is needed; 0 lays the variant in the middle")
        furthest = max(map(abs, self.offsets_bp or (0,)))
        if self.window_bp is not None and furthest >= self.window_bp // 2:
            raise ValueError(
                f"offsets_bp: {furthest} moves the variant out of a window with "
                f"{self.window_bp // 2} bases on each side"
            )

    def for_model(self, model: Dnabert2Config) -> ScoringConfig:
        """Return these settings with the window that fits a model.

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
        """The shifts, also when they were left out; needs `window_bp`."""
        if self.offsets_bp is not None:
            return self.offsets_bp
        assert self.window_bp is not None, "for_model sets it"
        return tuple(sorted({-(self.window_bp // 8), 0, self.window_bp // 8}))
