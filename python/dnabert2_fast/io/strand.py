"""The other strand of a sequence."""

from __future__ import annotations

__all__ = ["COMPLEMENT"]

COMPLEMENT = str.maketrans("ACGTURYKMBVDHacgturykmbvdh", "TGCAAYRMKVBHDtgcaayrmkvbhd")
"""For `str.translate`: every IUPAC letter to its complement, case kept."""
