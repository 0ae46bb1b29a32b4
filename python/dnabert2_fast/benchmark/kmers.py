"""Counts of k-mers: the baseline for every genome model.

A logistic regression on them beats the frozen embeddings of published models on most sets of GUE.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.utils.validation import check_is_fitted

from dnabert2_fast.io.arguments import Sequences, only_column, text_list
from dnabert2_fast.io.strand import reverse_complement
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["KmerVectorizer"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class KmerVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Convert sequences to tf-idf weighted counts of overlapping k-mers.

    Lower case counts as upper case; k-mers with other characters are not counted.

    Parameters
    ----------
    k : sequence of int
        Lengths, 1 to 8.
    tfidf : bool
        ``(1 + log(count)) * inverse document frequency``, rows of length 1, like scikit-learn's
        `TfidfTransformer(sublinear_tf=True)`; False gives plain counts.
    both_strands : bool
        Also count the reverse complement's k-mers.

    Attributes
    ----------
    tfidf_ : TfidfTransformer or None

    Examples
    --------
    >>> KmerVectorizer((1, 2), tfidf=False).fit_transform(["ACGT", "aaNA"]).toarray()[:, :6]
    array([[1., 1., 1., 1., 0., 1.],
           [3., 0., 0., 0., 1., 0.]], dtype=float32)
    """

    def __init__(
        self,
        k: Sequence[int] = (1, 2, 3, 4, 5, 6),
        *,
        tfidf: bool = True,
        both_strands: bool = False,
    ) -> None:
        self.k = k
        self.tfidf = tfidf
        self.both_strands = both_strands

    def fit(self, X: Sequences, y: object = None) -> Self:
        """Learn the document frequencies.

        Parameters
        ----------
        X : list of str, shape (n,)
            Sequences.
        y : None
            Ignored.

        Returns
        -------
        KmerVectorizer
            The fitted transformer.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Sequences, y: object = None, **_: Any) -> sparse.csr_matrix:
        """Learn the document frequencies and return the rows of `X`.

        Parameters
        ----------
        X : list of str, shape (n,)
            Sequences.
        y : None
            Ignored.
        **_
            Ignored.

        Returns
        -------
        csr_matrix of float32, shape (n, sum of 4 ** k)

        Raises
        ------
        ValueError
            When `k` is empty or contains a length below 1 or above 8.
        """
        if not self.k or not all(1 <= k <= 8 for k in self.k):
            raise ValueError(f"k: must be lengths between 1 and 8 (got {self.k}).")
        self.tfidf_ = TfidfTransformer(sublinear_tf=True) if self.tfidf else None
        counts = self._counts(X)
        return counts if self.tfidf_ is None else self.tfidf_.fit_transform(counts)

    def transform(self, X: Sequences) -> sparse.csr_matrix:
        """Return the weighted counts of each sequence.

        Parameters
        ----------
        X : list of str, shape (n,)
            Sequences.

        Returns
        -------
        csr_matrix of float32, shape (n, sum of 4 ** k)
        """
        check_is_fitted(self, "tfidf_")
        counts = self._counts(X)
        return counts if self.tfidf_ is None else self.tfidf_.transform(counts)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[Any]:
        """Return the k-mers, by length and then alphabetically.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str, shape (sum of 4 ** k,)
        """
        return np.array([kmer for k in self.k for kmer in _kmers(k)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.sparse = False
        return tags

    def _counts(self, X: Sequences) -> sparse.csr_matrix:
        rows = text_list(only_column(X), "X")
        return sparse.hstack([self._of_length(k, rows) for k in self.k], format="csr")

    def _of_length(self, k: int, rows: list[str]) -> sparse.csr_matrix:
        columns, borders = _positions(k, rows)
        row_index = np.repeat(np.arange(len(rows)), np.diff(borders))
        shape = (len(rows), 4**k)
        ones = np.ones(len(columns), np.float32)
        counts = sparse.csr_matrix((ones, (row_index, columns)), shape=shape)
        if self.both_strands:
            counts = counts + counts[:, _turned(k)]
        return counts


def _kmers(k: int) -> list[str]:
    return ["".join(letters) for letters in product("ACGT", repeat=k)]


def _turned(k: int) -> list[int]:
    """Return the number of each k-mer's reverse complement."""
    number = {kmer: i for i, kmer in enumerate(_kmers(k))}
    return [number[reverse_complement(kmer)] for kmer in _kmers(k)]


def _positions(k: int, rows: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of the k-mers of all rows, concatenated, and the offsets of the rows."""
    if k == 1:
        letters = np.frombuffer("".join(rows).upper().encode("ascii", "replace"), np.uint8)
        codes = np.full(256, -1)
        codes[np.frombuffer(b"ACGT", np.uint8)] = range(4)
        columns = codes[letters]
        lengths = np.array([len(row) for row in rows], np.int64)
    else:
        ids = _tokenizer(k).encode_batch(rows, add_special_tokens=False)
        columns = ids.values.astype(np.int64) - len(SPECIAL)
        lengths = ids.lengths
    real = columns >= 0
    before = np.concatenate([[0], np.cumsum(real)])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return columns[real], before[ends]


_tokenizers: dict[int, Tokenizer] = {}


def _tokenizer(k: int) -> Tokenizer:
    """Return a tokenizer of overlapping k-mers, like DNABERT's."""
    if k not in _tokenizers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "vocab.txt")
            path.write_text("\n".join([*SPECIAL, *_kmers(k)]) + "\n")
            _tokenizers[k] = Tokenizer.from_file(path)
    return _tokenizers[k]
