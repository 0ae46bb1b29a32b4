"""How figures are written: whole or not at all, and text in SVG files stays text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dnabert2_fast._internal.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure"]


def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: int) -> None:
    """Write a figure in the format of the suffix."""
    import matplotlib as mpl

    kind = os.fspath(path).rpartition(".")[2]
    # Letters as paths could be neither searched nor edited.
    with atomic_path(path) as temporary, mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(temporary, format=kind, dpi=dpi)
