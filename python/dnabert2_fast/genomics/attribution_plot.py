"""Pictures of attributions: letters as tall as their scores, and a heat map of mutations."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.extras import needs
from dnabert2_fast.genomics.attribution import BASES, Attribution

__all__ = ["plot_attribution"]

# Bases of one line of the picture, and the most that a picture shows.
LINE_BP = 100
MOST_BP = 2000


def plot_attribution(
    attribution: Attribution, path: str | os.PathLike[str], *, title: str = ""
) -> None:
    """Draw a logo of the scores and, of mutagenesis, a heat map of every mutation.

    Parameters
    ----------
    attribution : Attribution
        Of 1 to 2,000 bases.
    path : path
        Picture to write; ``.png`` or ``.svg``.
    title : str
        Name of the sequence.

    Raises
    ------
    ValueError
        When there are more bases or none, or the suffix is another.
    ModuleNotFoundError
        Without the extra ``plots``.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Dnabert2ForMaskedLM, Tokenizer, attribute
    >>> model, tok = Dnabert2ForMaskedLM.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> path = Path(tempfile.mkdtemp(), "promoter.svg")
    >>> plot_attribution(attribute("ACGTTGCA", model, tok), path, title="promoter")
    >>> path.stat().st_size > 1000
    True
    """
    with needs("a picture", "plots"):
        import pandas as pd
        from logomaker import Logo
        from matplotlib.figure import Figure

    path = Path(path)
    length = len(attribution.sequence)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"plot: {path.name} must end in .png or .svg")
    if not length:
        raise ValueError("plot: the sequence is empty")
    if length > MOST_BP:
        raise ValueError(
            f"plot: {length:,} bases are more than the {MOST_BP:,} that a picture shows; "
            "write a track instead"
        )
    effects = attribution.effects
    width = min(LINE_BP, length)
    lines = -(-length // width)
    kinds = 1 if effects is None else 2
    figure = Figure(figsize=(2 + 0.14 * width, 0.6 + lines * kinds * 1.3), layout="constrained")
    grid = figure.subplots(lines * kinds, 1, squeeze=False)[:, 0]
    scores = np.nan_to_num(attribution.scores)
    low, high = min(scores.min(), 0), max(scores.max(), 0)
    margin = 0.05 * (high - low) or 1.0
    letters = np.array([[letter == base for base in BASES] for letter in attribution.sequence])
    heights = letters * scores[:, None]
    strongest = 0.0 if effects is None else float(np.nan_to_num(np.abs(effects)).max()) or 1.0
    for line in range(lines):
        start, end = line * width, min((line + 1) * width, length)
        axes = grid[line * kinds]
        table = pd.DataFrame(heights[start:end], index=range(start, end), columns=list(BASES))
        if heights[start:end].any():
            Logo(table, ax=axes, show_spines=False, baseline_width=0.5)
        axes.set_xlim(start - 0.5, start + width - 0.5)
        axes.set_ylim(low - margin, high + margin)
        axes.set_ylabel("score", fontsize=8)
        axes.tick_params(labelsize=7)
        if effects is not None:
            axes.set_xticks([])
            below = grid[line * kinds + 1]
            picture = below.imshow(
                effects[start:end].T,
                cmap="RdBu_r",
                vmin=-strongest,
                vmax=strongest,
                aspect="auto",
                interpolation="nearest",
                extent=(start - 0.5, end - 0.5, 3.5, -0.5),
            )
            below.set_xlim(start - 0.5, start + width - 0.5)
            below.set_yticks(range(4), list(BASES), fontsize=7)
            below.tick_params(labelsize=7)
    grid[-1].set_xlabel("base, 0-based", fontsize=8)
    if effects is not None:
        bar = figure.colorbar(picture, ax=list(grid), fraction=0.015, pad=0.01)
        bar.set_label(f"change of {attribution.target}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    name = f"{title}: " if title else ""
    figure.suptitle(f"{name}{attribution.method}, {attribution.target}", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
