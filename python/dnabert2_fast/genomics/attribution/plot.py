"""Plots of attributions: logos of scores, heat maps of mutations or weights."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.genomics.attribution.mutagenesis import BASES, Attribution
from dnabert2_fast.genomics.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_attribution"]

# Number of bases per line of a plot, and the maximum per plot.
LINE_BP = 100
MAX_BP = 2000
LETTER_INCHES = 0.085  # width of a character of the title
BASE_INCHES = 0.14  # width of a base of the logo

# What the scores of a target are, with their unit.
QUANTITIES = {
    "log_odds": "log-odds (nats)",
    "probability": "probability",
    "likelihood": "log-likelihood (nats)",
    "similarity": "cosine similarity",
    "attention": "attention weight",
}


def plot_attribution(
    attribution: Attribution,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    model: str = "",
    contig: str = "",
    start: int = 0,
    strand: str = "+",
) -> None:
    """Plot a logo of the scores and, for mutagenesis or attention, a heat map.

    For mutagenesis it shows every mutation, and a dot for each base of the sequence. For attention
    it is below the logo, in the same columns, and shows every pair of bases, with one row per
    attending base. Weights of [CLS] and [SEP] are not shown, so a row's sum is below 1. Characters
    other than A, C, G, T are written in grey. Marks at the top of the logo are the borders of the
    tokens, those at the bottom the borders on the other strand.

    Parameters
    ----------
    attribution : Attribution
        Of 1 to 2,000 bases.
    path : path
        File to write; ``.png`` or ``.svg``.
    title, model : str
        Names of the sequence and of the model.
    contig : str
        Where the sequence lies, for the axis.
    start : int
        Position of its first base in forward coordinates, from 0.
    strand : {"+", "-"}
        Strand of the contig that was read; on ``-`` positions descend.

    Raises
    ------
    ValueError
        When there are too many bases or none, or the suffix is another.
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
    with needs("a plot", "plots"):
        import logomaker  # noqa: F401 (fails before anything is computed)
        from matplotlib.figure import Figure

    path = Path(path)
    length = len(attribution.sequence)
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"plot: must end in .png or .svg (got {path.name}).")
    if not length:
        raise ValueError("plot: the sequence is empty. Give at least one base.")
    if length > MAX_BP:
        raise ValueError(
            f"plot: must have at most {MAX_BP:,} bases (got {length:,}). Write a track instead."
        )
    width = min(LINE_BP, length)
    lines = -(-length // width)
    letters = [1.3] * lines if attribution.effects is None else [1.3, 1.3] * lines
    square = [] if attribution.weights is None else [BASE_INCHES * width]
    heights = [*letters, *square]
    inches = max(2 + BASE_INCHES * width, 4.0)
    quantity = QUANTITIES[attribution.target].partition(" (")[0]
    if attribution.class_name:
        quantity += f" of {attribution.class_name}"
    parts = [attribution.method] + [quantity] * (attribution.method != attribution.target)
    parts += [f"model {model}"] * bool(model)
    text = (f"{title}: " if title else "") + ", ".join(parts)
    text = textwrap.fill(text, round(inches / LETTER_INCHES))
    inches_high = 0.6 + sum(heights) + 0.2 * text.count("\n")
    figure = Figure(figsize=(inches, inches_high), layout="constrained")
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    step = len(letters) // lines
    _draw_letters(attribution, list(grid[: len(letters) : step]), width)
    label = f"position in {contig} (0-based), strand {strand}" if contig else "position (0-based)"
    if attribution.effects is not None:
        _draw_effects(attribution, list(grid[1::2]), width)
        label += "; dots: bases of the sequence"
    if attribution.tokens:
        label += "; marks: token borders (above: strand read, below: other strand)"
    positions = np.arange(start, start + length)[:: 1 if strand == "+" else -1]
    for number, first in enumerate(range(0, length, width)):
        ticks, labels = _round_ones(positions[first : first + width], width)
        grid[number * step + step - 1].set_xticks(first + ticks, labels)
    if attribution.weights is not None:
        _draw_weights(attribution, grid[-1], *_round_ones(positions, length))
    grid[len(letters) - 1].set_xlabel(label, fontsize=8)
    figure.suptitle(text, fontsize=10)
    save_figure(figure, path, dpi=120)


def _round_ones(
    positions: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return index and text of the round positions, at most seven among `count`."""
    step = next((size for size in (1, 2, 5, 10, 20, 50, 100, 200) if count <= 7 * size), 500)
    found = np.flatnonzero(positions % step == 0)
    return found, [f"{position:,}" for position in positions[found]]


def _draw_letters(attribution: Attribution, grid: list[Axes], width: int) -> None:
    """Draw one line of the logo into each of the axes."""
    import pandas as pd
    from logomaker import Logo

    scores = np.nan_to_num(attribution.scores)
    low, high = min(scores.min(), 0), max(scores.max(), 0)
    margin = 0.05 * (high - low) or 1.0
    letters = np.array([[letter == base for base in BASES] for letter in attribution.sequence])
    heights = letters * scores[:, None]
    for axes, start in zip(grid, range(0, len(scores), width), strict=True):
        some = heights[start : start + width]
        table = pd.DataFrame(some, index=range(start, start + len(some)), columns=list(BASES))
        if some.any():
            Logo(table, ax=axes, show_spines=False, baseline_width=0.5)
        axes.set_xlim(start - 0.5, start + width - 0.5)
        axes.set_ylim(low - margin, high + margin)
        _draw_borders(attribution, axes, start, width)
        axes.set_ylabel(QUANTITIES[attribution.target].replace(" (", "\n("), fontsize=7)
        axes.tick_params(labelsize=7)
        for index, letter in enumerate(attribution.sequence[start : start + width], start):
            if letter not in BASES:
                axes.text(index, 0, letter, color="grey", fontsize=7, ha="center", va="bottom")
        if attribution.effects is not None:
            axes.set_xticks([])


def _draw_borders(attribution: Attribution, axes: Axes, start: int, width: int) -> None:
    """Mark where tokens end: at the top those of the forward strand, at the bottom the others."""
    for strand, low, high in (("+", 0.9, 1.0), ("-", 0.0, 0.1)):
        own = [token for token in attribution.tokens if token.strand == strand]
        borders = {token.start for token in own} | {token.end for token in own}
        seen = [border - 0.5 for border in borders if start <= border <= start + width]
        heights = axes.get_xaxis_transform()
        axes.vlines(seen, low, high, transform=heights, colors="gray", linewidth=0.8)


def _draw_effects(attribution: Attribution, grid: list[Axes], width: int) -> None:
    """Draw one line of mutations, four high, into each of the axes."""
    effects = attribution.effects
    assert effects is not None, "only mutagenesis has effects"
    strongest = float(np.nan_to_num(np.abs(effects)).max()) or 1.0
    for axes, start in zip(grid, range(0, len(effects), width), strict=True):
        some = effects[start : start + width]
        image = axes.imshow(
            some.T,
            cmap="RdBu_r",
            vmin=-strongest,
            vmax=strongest,
            aspect="auto",
            interpolation="nearest",
            extent=(start - 0.5, start + len(some) - 0.5, 3.5, -0.5),
        )
        own = [
            (at, BASES.index(letter))
            for at, letter in enumerate(attribution.sequence[start : start + width], start)
            if letter in BASES
        ]
        if own:
            index, row = np.array(own).T
            axes.scatter(index, row, s=3, color="black", linewidths=0)
        axes.set_xlim(start - 0.5, start + width - 0.5)
        axes.set_ylim(3.5, -0.5)
        axes.set_yticks(range(4), list(BASES), fontsize=7)
        axes.tick_params(labelsize=7)
    bar = grid[0].figure.colorbar(image, ax=list(grid), fraction=0.015, pad=0.01)
    bar.set_label(f"change of\n{QUANTITIES[attribution.target]}", fontsize=7)
    bar.ax.tick_params(labelsize=7)


def _draw_weights(
    attribution: Attribution, axes: Axes, ticks: npt.NDArray[np.int64], labels: list[str]
) -> None:
    """Draw the attention weights of every pair of bases."""
    assert attribution.weights is not None, "only attention has weights"
    # In the columns of the letters, unless these have several lines.
    image = axes.imshow(attribution.weights, cmap="viridis", aspect="auto", interpolation="nearest")
    if len(attribution.sequence) <= LINE_BP:
        own = [token.end - 0.5 for token in attribution.tokens if token.strand == "+"][:-1]
        axes.vlines(own, *axes.get_ylim(), colors="white", linewidth=0.4)
        axes.hlines(own, *axes.get_xlim(), colors="white", linewidth=0.4)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    lines = "lines: token borders (strand read); " if len(attribution.sequence) <= LINE_BP else ""
    note = f"attended position\n{lines}the rest of each row's sum of 1 is on [CLS] and [SEP]"
    axes.set_xlabel(note, fontsize=8)
    axes.set_ylabel("attending position", fontsize=8)
    axes.tick_params(labelsize=7)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.015, pad=0.01)
    bar.set_label("attention weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
