"""The batch loop of inference: sort by length, cut by token budget, encode.

Sequences of similar length share a batch, so that no kernel waits for one long sequence. The
longest come first: if memory is too small, the first batch fails, not the last. The result for a
sequence does not depend on its batch; rows are written back by their indices.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.ragged import Ragged, token_batches

__all__ = ["length_sorted_batches", "packed_batches"]


def length_sorted_batches(
    lengths: npt.NDArray[np.int64], batch_tokens: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the indices of the sequences of each batch, the longest sequences first.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Number of tokens of each sequence.
    batch_tokens : int
        Maximum number of tokens of a batch; a longer sequence has its own batch.

    Yields
    ------
    ndarray of int64, shape (k,)
        Indices into `lengths`; each occurs in exactly one batch. Equal lengths keep their order.

    Examples
    --------
    >>> [rows.tolist() for rows in length_sorted_batches(np.array([3, 9, 1, 3]), 6)]
    [[1], [0, 3], [2]]
    """
    order = np.argsort(-lengths, kind="stable")
    for span in token_batches(lengths[order], batch_tokens):
        yield order[span]


def packed_batches(
    ids: Ragged, batch_tokens: int
) -> Iterator[tuple[npt.NDArray[np.int64], PackedBatch]]:
    """Yield the batches of `length_sorted_batches` with their token ids, on the CPU.

    Parameters
    ----------
    ids : Ragged
        Encoded sequences.
    batch_tokens : int
        As in `length_sorted_batches`.

    Yields
    ------
    rows : ndarray of int64, shape (k,)
        The sequences of the batch, as indices into `ids`.
    batch : PackedBatch
        Sequence ``i`` of it is ``ids[rows[i]]``.

    Examples
    --------
    >>> ids = Ragged.from_list([[1, 2], [1, 5, 5, 2], [1, 7, 2]])
    >>> for rows, batch in packed_batches(ids, batch_tokens=5):
    ...     print(rows.tolist(), batch.input_ids.tolist())
    [1] [1, 5, 5, 2]
    [2, 0] [1, 7, 2, 1, 2]
    """
    for rows in length_sorted_batches(ids.lengths, batch_tokens):
        yield rows, PackedBatch.from_ragged(ids.take(rows))
