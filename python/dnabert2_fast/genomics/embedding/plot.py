"""Plots of vectors in two dimensions, one point per sequence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.checks import check_choice
from dnabert2_fast._internal.extras import needs
from dnabert2_fast.genomics.figures import save_figure

__all__ = ["PICTURES", "plot_embeddings"]

PICTURES = (".png", ".svg", ".pdf")
MAX_CLASSES = 20  # in a legend


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
        scale.
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
    check_choice("method", method, ("pca", "umap"))
    with needs("a plot"):
        from matplotlib.figure import Figure

    vectors = np.asarray(vectors, dtype=np.float64)
    whole = np.isfinite(vectors).all(1)
    if whole.sum() < 3:
        raise ValueError(f"vectors: must have at least 3 finite rows (got {int(whole.sum())}).")
    if labels is not None and len(labels) != len(vectors):
        raise ValueError(f"labels: must have one per vector, {len(vectors)} (got {len(labels)}).")
    points = np.full((len(vectors), 2), np.nan)
    if method == "pca":
        with needs('method="pca"'):
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
        with needs('method="umap"'):
            from umap import UMAP

        points[whole] = UMAP(random_state=seed).fit_transform(vectors[whole])
        names = ["UMAP 1", "UMAP 2"]
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    classes: list[object] = [None] if labels is None else sorted(set(labels), key=str)
    values = _numbers(classes) if len(classes) > MAX_CLASSES else None
    if labels is not None and values is not None:
        number_of = dict(zip(classes, values, strict=True))
        shown = [number_of[label] for label, draw in zip(labels, whole, strict=True) if draw]
        x, y = points[whole].T
        drawn = axes.scatter(x, y, s=8, alpha=0.7, c=shown, cmap="viridis")
        figure.colorbar(drawn, label=legend)
    else:
        for number, name in enumerate(classes):
            mine = whole if labels is None else whole & np.array([la == name for la in labels])
            x, y = points[mine].T
            axes.scatter(x, y, s=8, alpha=0.7, color=f"C{number % 10}", label=str(name))
        if labels is not None and len(classes) <= MAX_CLASSES:
            axes.legend(markerscale=2, frameon=False, title=legend)
    axes.set(xlabel=names[0], ylabel=names[1], title=title)
    save_figure(figure, path, dpi=150)
    return points


def _numbers(labels: Sequence[object]) -> list[float] | None:
    """Return labels as numbers, None when one is not.

    >>> _numbers(["1", 2.5]), _numbers(["1", "gene"])
    ([1.0, 2.5], None)
    """
    try:
        return [float(str(label)) for label in labels]
    except ValueError:
        return None
