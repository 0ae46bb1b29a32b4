"""The other strand of a sequence."""

from __future__ import annotations

__all__ = ["reverse_complement"]

_COMPLEMENT = str.maketrans("ACGTURYKMBVDHacgturykmbvdh", "TGCAAYRMKVBHDtgcaayrmkvbhd")


def reverse_complement(sequence: str) -> str:
    """Return the other strand, read in its own direction.

    Parameters
    ----------
    sequence : str
        IUPAC letters keep their case; U becomes A. All other characters are unchanged, like S, W
        and N.

    Returns
    -------
    str
        The reverse complement.

    Examples
    --------
    >>> reverse_complement("AACGnRt")
    'aYnCGTT'
    """
    return sequence.translate(_COMPLEMENT)[::-1]
