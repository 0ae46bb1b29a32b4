"""Sequences of unequal length as one flat array of values and one array of offsets.

All token ids in the package have this form; no step between the genome and the attention kernel
needs padding.

>>> rag = Ragged.from_list([[1, 5, 2], [1, 2]])
>>> len(rag), rag[0].tolist(), rag.lengths.tolist()
(2, [1, 5, 2], [3, 2])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_BATCH_TOKENS", "Ragged", "as_ids", "int32_offsets", "require_fits", "token_batches"]

MAX_ID = np.iinfo(np.uint16).max
MAX_BATCH_TOKENS = np.iinfo(np.int32).max
"""Maximum number of tokens per batch of a model: attention kernels take 32-bit offsets."""


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A batch of ``n`` id sequences without padding.

    Parameters
    ----------
    values : ndarray of uint16, shape (total_tokens,)
        All ids, one sequence after the other.
    offsets : ndarray of int64, shape (n + 1,)
        Sequence ``i`` is ``values[offsets[i]:offsets[i + 1]]``; first 0, last ``total_tokens``.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> ids = Tokenizer.from_pretrained("dnabert2").encode_batch(["ACGTTGCA", "ACG"])
    >>> ids
    Ragged(2 sequences, 9 tokens)
    >>> ids[0].tolist(), ids.offsets.tolist()
    ([1, 5, 134, 32, 2], [0, 5, 9])
    """

    values: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_list(cls, rows: Sequence[npt.ArrayLike]) -> Ragged:
        """Make a batch from lists of ids; ``from_list([])`` is the empty batch.

        Parameters
        ----------
        rows : sequence of array_like of int
            Ids of each sequence.

        Returns
        -------
        Ragged

        Raises
        ------
        ValueError
            When an id is not an integer from 0 to 65535.

        Examples
        --------
        >>> Ragged.from_list([[7], [8, 9]]).values.tolist()
        [7, 8, 9]
        """
        arrays = [as_ids(row) for row in rows]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.uint16), offsets)

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged]) -> Ragged:
        """Concatenate batches.

        Parameters
        ----------
        parts : sequence of Ragged
            Batches in the order of the result.

        Returns
        -------
        Ragged

        Examples
        --------
        >>> Ragged.concatenate([Ragged.from_list([[7]]), Ragged.from_list([[8, 9]])]).to_list()
        [[7], [8, 9]]
        """
        lengths = [part.lengths for part in parts]
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        values = [part.values for part in parts]
        return cls(np.concatenate([np.empty(0, np.uint16), *values]), offsets)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each sequence, shape (n,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.uint16]:
        """Return the ids of one sequence, a view."""
        index = range(len(self))[index]  # negative indices, and IndexError past the end
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint16]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Ragged({len(self)} sequences, {len(self.values)} tokens)"

    def take(self, indices: npt.ArrayLike) -> Ragged:
        """Return the given sequences, in the given order, as a new batch.

        Parameters
        ----------
        indices : array_like of int, shape (k,)
            Numbers of sequences.

        Returns
        -------
        Ragged
            `k` sequences.

        Examples
        --------
        >>> Ragged.from_list([[7], [8, 9]]).take([1, 0]).to_list()
        [[8, 9], [7]]
        """
        picked = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[picked]
        offsets = np.zeros(len(picked) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Position of every output value: start of its row in `self`, plus its index in the row.
        shift = np.repeat(self.offsets[:-1][picked] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + shift], offsets)

    def to_list(self) -> list[list[int]]:
        """Return Python lists; slow, because each token becomes a Python int.

        Returns
        -------
        list of list of int
        """
        return [row.tolist() for row in self]

    def to_padded(
        self, pad_id: int = 3, side: str = "right"
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return ``(input_ids, attention_mask)``, both int64 of shape (n, longest).

        Parameters
        ----------
        pad_id : int
            Id written at padding; 3 is [PAD] in the DNABERT-2 vocabulary.
        side : {"right", "left"}
            The side that is padded.

        Returns
        -------
        input_ids : ndarray of int64, shape (n, longest)
        attention_mask : ndarray of int64, shape (n, longest)
            1 for tokens, 0 for padding.

        Raises
        ------
        ValueError
            When `side` is another value.

        Examples
        --------
        >>> ids, mask = Ragged.from_list([[1, 5, 2], [1, 2]]).to_padded(side="left")
        >>> ids.tolist(), mask.tolist()
        ([[1, 5, 2], [3, 1, 2]], [[1, 1, 1], [0, 1, 1]])
        """
        if side not in ("right", "left"):
            raise ValueError(f"side: must be one of 'right', 'left' (got {side!r}).")
        lengths = self.lengths[:, None]
        width = int(lengths.max(initial=0))
        position = np.arange(width)[None, :]
        mask = position < lengths if side == "right" else position >= width - lengths
        ids = np.full((len(self), width), pad_id, dtype=np.int64)
        ids[mask] = self.values
        return ids, mask.astype(np.int64)

    def to_arrow(self) -> pa.LargeListArray:
        """Return an Arrow ``large_list<uint16>`` array over the same memory.

        Returns
        -------
        pyarrow.LargeListArray
            One list per sequence, without a copy.
        """
        import pyarrow as pa

        from dnabert2_fast._internal.arrow import numbers

        return pa.LargeListArray.from_arrays(numbers(self.offsets), numbers(self.values))

    def to_torch(self) -> tuple[Any, Any]:
        """Return ``(input_ids, cu_seqlens)`` as torch tensors (int64, int32).

        Returns
        -------
        input_ids : torch.Tensor of int64, shape (tokens,)
        cu_seqlens : torch.Tensor of int32, shape (n + 1,)
            Start of each sequence, and the end of the last one.

        Raises
        ------
        ValueError
            When there are 2^31 tokens or more.
        """
        import torch

        offsets = int32_offsets(self.offsets)
        return torch.from_numpy(self.values.astype(np.int64)), torch.from_numpy(offsets)


def as_ids(ids: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Return the ids of one sequence as uint16.

    Raises
    ------
    ValueError
        When `ids` is not a sequence of integers from 0 to 65535.
    """
    if isinstance(ids, Ragged) or (wide := np.asarray(ids)).ndim != 1:
        raise ValueError("ids: must be those of one sequence. Pass the rows one by one.")
    if wide.size and wide.dtype.kind not in "iu":
        raise ValueError(f"ids: must be integers (got {wide.dtype}).")
    if wide.dtype != np.uint16 and wide.size and not 0 <= wide.min() <= wide.max() <= MAX_ID:
        raise ValueError(f"ids: must be between 0 and {MAX_ID} (got {wide.min()} to {wide.max()}).")
    return np.ascontiguousarray(wide, dtype=np.uint16)


def int32_offsets(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return offsets as int32, which attention requires.

    Raises
    ------
    ValueError
        When there are 2^31 tokens or more.
    """
    require_fits(int(offsets[-1]))
    return offsets.astype(np.int32)


def require_fits(tokens: int) -> None:
    """Raise ValueError when a batch has too many tokens."""
    if tokens > MAX_BATCH_TOKENS:
        raise ValueError(
            f"batch: must have at most {MAX_BATCH_TOKENS:,} tokens (got {tokens:,}). Make smaller "
            "batches."
        )


def token_batches(
    lengths: npt.NDArray[np.int64], batch_tokens: int, start: int = 0
) -> Iterator[slice]:
    """Yield slices of consecutive sequences with at most `batch_tokens` tokens each.

    A longer sequence has its own slice; `start` is the index of the first sequence.

    >>> list(token_batches(np.array([3, 3, 9, 1]), 6))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    ends = np.cumsum(lengths)
    while start < len(ends):
        used = ends[start - 1] if start else 0
        last = int(np.searchsorted(ends, used + batch_tokens, side="right"))
        last = max(last, start + 1)
        yield slice(start, last)
        start = last
