"""How variants are scored."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert2_fast._internal.checks import check_at_least

__all__ = ["ScoringConfig"]


@dataclass(frozen=True)
class ScoringConfig:
    """How windows are laid around a variant, and what is asked of a classifier.

    Parameters
    ----------
    window_bp
        Unchanged bases around a variant, half of them on each side; fewer at the ends of a
        record. A variant that changes more bases than this is not scored.
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
    >>> ScoringConfig().offsets
    (-64, 0, 64)
    >>> ScoringConfig(window_bp=200, offsets_bp=(0,), both_strands=False).offsets  # one frame
    (0,)
    """

    window_bp: int = 512
    offsets_bp: tuple[int, ...] | None = None
    both_strands: bool = True
    label: int = 1
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        for name in ("window_bp", "batch_tokens"):
            check_at_least(name, getattr(self, name), 1)
        if not self.offsets:
            raise ValueError("offsets_bp: at least one is needed; 0 lays the variant in the middle")
        furthest = max(map(abs, self.offsets))
        if furthest >= self.window_bp // 2:
            raise ValueError(
                f"offsets_bp: {furthest} moves the variant out of a window with "
                f"{self.window_bp // 2} bases on each side"
            )

    @property
    def offsets(self) -> tuple[int, ...]:
        """The shifts, also when they were left out."""
        if self.offsets_bp is None:
            return -(self.window_bp // 8), 0, self.window_bp // 8
        return self.offsets_bp
