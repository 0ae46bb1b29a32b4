"""Results of a tokenizer besides ids: type ids, coordinates, windows, replaced letters."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast.ragged import Ragged

__all__ = ["EncodedBatch", "Encoding", "ReplacedCounts", "Windows", "cut_windows"]


class Encoding(NamedTuple):
    """Ids of one sequence or pair, with type ids and offsets.

    Attributes
    ----------
    ids : ndarray of uint16, shape (tokens,)
    type_ids : ndarray of int64, shape (tokens,)
        0 for the first sequence of a pair, 1 for the second, as in the template.
    offsets : ndarray of int64, shape (tokens, 2)
        Start and end of each token in its sequence, 0-based half-open, in letters; (0, 0) for
        special tokens.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> found = Tokenizer.from_pretrained("dnabert2").encode_detailed("ACGTTGCANACG")
    >>> found.ids.tolist()
    [1, 5, 134, 32, 0, 5, 3206, 2]
    >>> [(start, end) for start, end in found.offsets.tolist()]
    [(0, 0), (0, 1), (1, 5), (5, 8), (8, 9), (9, 10), (10, 12), (0, 0)]
    """

    ids: npt.NDArray[np.uint16]
    type_ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class EncodedBatch(NamedTuple):
    """Ids of many sequences or pairs, with type ids and offsets.

    Attributes
    ----------
    ids : Ragged
    type_ids : ndarray of int64, shape (total_tokens,)
        As in `Encoding`, for ``ids.values``.
    offsets : ndarray of int64, shape (total_tokens, 2)
        As in `Encoding`, for ``ids.values``.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> found = tok.encode_batch_detailed(["ACGTTGCA", "ACG"], ["TTAA", "CC"])
    >>> found.ids.to_list()
    [[1, 5, 134, 32, 2, 84, 2], [1, 5, 3206, 2, 13, 2]]
    >>> found.type_ids.tolist()
    [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]
    """

    ids: Ragged
    type_ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class Windows(NamedTuple):
    """Sequences of any length cut into windows of tokens.

    Attributes
    ----------
    ids : Ragged
        One row per window, special tokens included.
    sequence : ndarray of int64, shape (windows,)
        Index of the sequence of each window.
    start_bp, end_bp : ndarray of int64, shape (windows,)
        First letter of the window in its sequence and one past its last, 0-based.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> windows = tok.encode_windows(["ACGTTGCATTAGC" * 4, "ACG"], max_length=8)
    >>> for row in range(len(windows.ids)):
    ...     print(windows.sequence[row], windows.start_bp[row], windows.end_bp[row])
    0 0 24
    0 24 50
    0 50 52
    1 0 3
    """

    ids: Ragged
    sequence: npt.NDArray[np.int64]
    start_bp: npt.NDArray[np.int64]
    end_bp: npt.NDArray[np.int64]


class ReplacedCounts(NamedTuple):
    """Numbers of letters that the policies of a tokenizer change.

    Attributes
    ----------
    folded : int
        Lower-case letters read as upper-case ones.
    unknown : dict of str to int
        How often each letter outside the vocabulary occurs.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> counts = tok.replaced(["acgTN"]).plus(tok.replaced(["RNN"]))
    >>> counts.unknown["N"]
    3
    >>> print(counts)
    3 lower-case letters read as upper-case; letters outside the vocabulary: 'N' 3, 'R' 1
    """

    folded: int
    unknown: dict[str, int]

    def plus(self, other: ReplacedCounts) -> ReplacedCounts:
        """Add up the counts of two parts.

        Parameters
        ----------
        other : ReplacedCounts
            Counts of another part.

        Returns
        -------
        ReplacedCounts
        """
        return ReplacedCounts(
            self.folded + other.folded, dict(Counter(self.unknown) + Counter(other.unknown))
        )

    def __str__(self) -> str:
        parts = [f"{self.folded:,} lower-case letters read as upper-case"] if self.folded else []
        common = Counter(self.unknown).most_common()
        if common:
            listed = ", ".join(f"{letter!r} {count:,}" for letter, count in common)
            parts.append(f"letters outside the vocabulary: {listed}")
        return "; ".join(parts) or "every letter has a token"


def cut_windows(
    whole: EncodedBatch,
    room: int,
    stride: int,
    frame: tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
    from_left: bool,
) -> Windows:
    """Cut sequences without special tokens into windows of `room` tokens, `stride` of them shared.

    `frame` goes around each window. Windows follow each other from the side that truncation keeps,
    as the overflowing parts of Hugging Face `tokenizers` do.
    """
    lengths = whole.ids.lengths
    excess = np.maximum(lengths - room, 0)
    counts = 1 + -(-excess // (room - stride))
    sequence = np.repeat(np.arange(len(lengths)), counts)
    turn = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
    if from_left:
        end = lengths[sequence] - turn * (room - stride)
        start = np.maximum(end - room, 0)
    else:
        start = turn * (room - stride)
        end = np.minimum(start + room, lengths[sequence])
    before, after = frame
    inside, around = end - start, len(before) + len(after)
    offsets = np.zeros(len(sequence) + 1, np.int64)
    np.cumsum(inside + around, out=offsets[1:])
    # Position of every token of a window in the flat values of all sequences.
    first = whole.ids.offsets[sequence] + start
    shift = np.repeat(first - (np.cumsum(inside) - inside), inside)
    positions = np.arange(len(shift)) + shift
    values = np.empty(offsets[-1], np.uint16)
    own = np.ones(len(values), bool)
    for i, token in enumerate(before):
        values[offsets[:-1] + i], own[offsets[:-1] + i] = token, False
    for i, token in enumerate(after, start=-len(after)):
        values[offsets[1:] + i], own[offsets[1:] + i] = token, False
    values[own] = whole.ids.values[positions]
    filled = inside > 0
    spans = np.zeros((len(sequence), 2), np.int64)
    spans[filled, 0] = whole.offsets[first[filled], 0]
    spans[filled, 1] = whole.offsets[(first + inside - 1)[filled], 1]
    return Windows(Ragged(values, offsets), sequence, spans[:, 0], spans[:, 1])
