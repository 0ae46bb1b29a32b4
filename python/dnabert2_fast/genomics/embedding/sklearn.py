"""Embeddings as a step of a scikit-learn pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dnabert2_fast.genomics.embedding.config import Pooling
from dnabert2_fast.genomics.embedding.vectors import embed
from dnabert2_fast.genomics.loading import load_encoder
from dnabert2_fast.io.arguments import Sequences, only_column, sequence_list
from dnabert2_fast.model.pretrained import Pretrained
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["DnaEmbedder"]


class DnaEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Convert sequences to vectors; the model is not trained.

    Parameters
    ----------
    model, tokenizer, device, dtype
        As in `embed`; a name is read when the step is fitted.
    pooling, layers, context_bp, both_strands, batch_tokens
        As in `embed`.

    Attributes
    ----------
    model_ : Dnabert2Model, or the object given
    tokenizer_ : Tokenizer

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipeline = make_pipeline(DnaEmbedder(), LogisticRegression())
    >>> pipeline.fit(["ACGTACGT", "TTTTAATT"], [0, 1]).predict(["ACGTACG"]).shape
    (1,)
    """

    def __init__(
        self,
        model: Pretrained | Name = "mini",
        tokenizer: Tokenizer | Name | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        pooling: Pooling = "mean",
        layers: Sequence[int] = (-1,),
        context_bp: int | None = None,
        both_strands: bool = False,
        batch_tokens: int = 16_384,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.dtype = dtype
        self.pooling = pooling
        self.layers = layers
        self.context_bp = context_bp
        self.both_strands = both_strands
        self.batch_tokens = batch_tokens

    def fit(self, X: Sequences, y: object = None) -> Self:
        """Read the model; `X` is only checked to hold sequences, `y` is ignored.

        Parameters
        ----------
        X : list of str, shape (n,)
            Sequences, or a table with one column of them.
        y : None
            Ignored.

        Returns
        -------
        DnaEmbedder
            The fitted transformer.
        """
        sequence_list(only_column(X), "X")
        self.model_, self.tokenizer_ = load_encoder(
            self.model, self.tokenizer, device=self.device, dtype=self.dtype
        )
        return self

    def transform(self, X: Sequences) -> npt.NDArray[np.float32]:
        """Return one vector per sequence.

        Parameters
        ----------
        X : list of str, shape (n,)
            Sequences, or a table with one column of them.

        Returns
        -------
        ndarray of float32, shape (n, hidden_size)
        """
        check_is_fitted(self)
        return embed(
            sequence_list(only_column(X), "X"),
            self.model_,
            self.tokenizer_,
            pooling=self.pooling,
            layers=self.layers,
            context_bp=self.context_bp,
            both_strands=self.both_strands,
            batch_tokens=self.batch_tokens,
        )

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[Any]:
        """Return the names of the columns: ``embedding0``, ``embedding1``, ...

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str, shape (hidden_size,)
        """
        check_is_fitted(self)
        width = self.model_.config.hidden_size
        return np.array([f"embedding{i}" for i in range(width)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = True
        return tags
