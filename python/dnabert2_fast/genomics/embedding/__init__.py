"""One vector per sequence, or per token or base.

Pooling, vectors of sequences and of whole files, two-dimensional maps of them, and an estimator for
scikit-learn pipelines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.genomics.embedding.config import EmbeddingConfig, Pooling
    from dnabert2_fast.genomics.embedding.file import embed_file
    from dnabert2_fast.genomics.embedding.plot import plot_embeddings
    from dnabert2_fast.genomics.embedding.sklearn import DnaEmbedder
    from dnabert2_fast.genomics.embedding.vectors import embed, embed_positions

__all__ = [
    "DnaEmbedder",
    "EmbeddingConfig",
    "Pooling",
    "embed",
    "embed_file",
    "embed_positions",
    "plot_embeddings",
]

_HOME = {
    "DnaEmbedder": "sklearn",
    "EmbeddingConfig": "config",
    "Pooling": "config",
    "embed": "vectors",
    "embed_file": "file",
    "embed_positions": "vectors",
    "plot_embeddings": "plot",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
