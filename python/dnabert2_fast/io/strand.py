"""The other strand of a sequence."""

from __future__ import annotations

__all__ = ["reverse_complement"]

_COMPLEMENT = str.maketrans("ACGTURYKMBVDHacgturykmbvdh", "TGCAAYRMKVBHDtgcaayrmkvbhd")


def reverse_complement(sequence: str) -> str:
    """Return the other strand, read in its own direction.

    Parameters
    ----------
    sequence : str
        IUPAC letters keep their case; U becomes A. S, W, N and all other characters stay as they
        are.

    Returns
    -------
    str
        Other letters of IUPAC are complemented; case is kept.

    Examples
    --------
    >>> reverse_complement("AACGnRt")
    'aYnCGTT'
    """
    return sequence.translate(_COMPLEMENT)[::-1]
