"""Plots of vectors in two dimensions, one point per sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.checks import check_choice
from dnabert2_fast._internal.extras import needs, require_plots
from dnabert2_fast.genomics.figures import save_figure

__all__ = ["PICTURES", "plot_embeddings", "require_method"]

PICTURES = (".png", ".svg", ".pdf")
MAX_CLASSES = 20  # in a legend
MAX_POINTS = 10_000  # more would hide each other, so hexagons are drawn
COLORS = "viridis"


def plot_embeddings(
    vectors: npt.ArrayLike,
    path: str | os.PathLike[str],
    *,
    labels: Sequence[object] | None = None,
    method: Literal["pca", "umap"] = "pca",
    title: str = "",
    legend: str = "",
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Plot vectors in a plane and write the plot; returns the points.

    Parameters
    ----------
    vectors : array, shape (n, hidden_size)
        Rows with NaN are omitted from the plot, and their points are NaN.
    path : path
        .png, .svg or .pdf
    labels : sequence, optional
        One class per row, each with its own colour. More than 20 different numbers have a colour
        bar. Of more than 10,000 points, hexagons show the density, or the mean number.
    method : {"pca", "umap"}
        PCA shows the two directions of largest variance and their fraction of it; UMAP (McInnes et
        al. 2018, needs ``umap-learn``) shows neighbourhoods, not distances.
    title, legend : str
        Of the plot, and of the labels.
    seed : int
        Seed of UMAP.

    Returns
    -------
    ndarray, shape (n, 2)

    Raises
    ------
    ValueError
        When there are fewer than three finite rows, or the number of labels differs.

    Examples
    --------
    >>> import tempfile
    >>> vectors = np.random.default_rng(0).normal(size=(20, 8))
    >>> plot_embeddings(vectors, tempfile.mkdtemp() + "/x.png", labels=[0, 1] * 10).shape
    (20, 2)
    """
    require_method(method)
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    vectors = np.asarray(vectors, dtype=np.float64)
    whole = np.isfinite(vectors).all(1)
    if whole.sum() < 3:
        raise ValueError(f"vectors: must have at least 3 finite rows (got {int(whole.sum())}).")
    if labels is not None and len(labels) != len(vectors):
        raise ValueError(f"labels: must have one per vector, {len(vectors)} (got {len(labels)}).")
    points = np.full((len(vectors), 2), np.nan)
    if method == "pca":
        from sklearn.decomposition import PCA

        with np.errstate(invalid="ignore"):  # 0 / 0 for equal vectors
            fitted = PCA(2, random_state=seed).fit(vectors[whole])
        points[whole] = fitted.transform(vectors[whole])
        shares = np.nan_to_num(fitted.explained_variance_ratio_)
        names = [
            f"principal component {i} ({share:.0%} of variance)"
            for i, share in enumerate(shares, 1)
        ]
    else:
        from umap import UMAP

        points[whole] = UMAP(random_state=seed).fit_transform(vectors[whole])
        names = ["UMAP 1", "UMAP 2"]
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    x, y = points[whole].T
    kept = None if labels is None else [la for la, draw in zip(labels, whole, strict=True) if draw]
    classes: list[object] = [] if labels is None else sorted(set(labels), key=str)
    values = None if kept is None or len(classes) <= MAX_CLASSES else _numbers(kept)
    # Points cover about the same area whatever their number.
    size = float(np.clip(16_000 / len(x), 1.5, 12))
    dots: dict[str, Any] = {"s": size, "alpha": 0.7 if len(x) < 2_000 else 0.4, "linewidths": 0}
    bins: dict[str, Any] = {"gridsize": 80, "linewidths": 0, "cmap": COLORS}
    if values is not None:
        # A few outliers would take most of the colours.
        low, high = np.nanpercentile(values, [1, 99])
        if len(x) > MAX_POINTS:
            legend = f"{legend} (mean of a hexagon)".strip()
            drawn: ScalarMappable = axes.hexbin(x, y, values, vmin=low, vmax=high, **bins)
        else:
            drawn = axes.scatter(x, y, c=values, cmap=COLORS, vmin=low, vmax=high, **dots)
        figure.colorbar(drawn, label=legend, extend="both")
    elif len(classes) < 2 and len(x) > MAX_POINTS:
        figure.colorbar(axes.hexbin(x, y, bins="log", **bins), label="sequences in a hexagon")
    elif kept is None:
        axes.scatter(x, y, **dots)
    else:
        # In random order: the class drawn last would hide the others.
        order = np.random.default_rng(seed).permutation(len(x))
        number_of = {name: number for number, name in enumerate(classes)}
        colors = np.array([f"C{number_of[name] % 10}" for name in kept])
        axes.scatter(x[order], y[order], c=colors[order], **dots)
        if len(classes) <= MAX_CLASSES:
            for name in classes:
                axes.scatter([], [], s=24, color=f"C{number_of[name] % 10}", label=str(name))
            axes.legend(frameon=False, title=legend)
    count = f"{len(x):,} sequences"
    axes.set(xlabel=names[0], ylabel=names[1], title=f"{title}, {count}" if title else count)
    save_figure(figure, path, dpi=150)
    return points


def require_method(method: str) -> None:
    """Raise for an unknown method of `plot_embeddings`, or when its libraries are missing."""
    check_choice("method", method, ("pca", "umap"))
    require_plots()
    with needs(f'method="{method}"'):
        import_module("sklearn.decomposition" if method == "pca" else "umap")


def _numbers(labels: Sequence[object]) -> list[float] | None:
    """Return labels as numbers, None when one is not.

    >>> _numbers(["1", 2.5]), _numbers(["1", "gene"])
    ([1.0, 2.5], None)
    """
    try:
        return [float(str(label)) for label in labels]
    except ValueError:
        return None
