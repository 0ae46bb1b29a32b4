"""Reverse complement, the obvious way."""

COMPLEMENT = dict(zip("ACGTacgt", "TGCAtgca", strict=True))


def reverse_complement(text: str) -> str:
    """The other strand; other letters stay as they are."""
    return "".join(COMPLEMENT.get(base, base) for base in reversed(text))
