"""Reverse complement, the obvious way."""

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def reverse_complement(text: str) -> str:
    """The other strand of upper-case A, C, G, T and N."""
    return "".join(COMPLEMENT[base] for base in reversed(text))
