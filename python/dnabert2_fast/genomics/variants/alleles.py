"""Variants as edits of the reference: which can be scored, and one form for equivalent ones.

Two records that produce the same sequence are one variant. The form used here omits shared bases
and is shifted as far left as possible (Tan, Abecasis and Kang, "Unified representation of genetic
variants", Bioinformatics 2015). So equivalent variants are equal values.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from dnabert2_fast.io.reference import Reference
from dnabert2_fast.io.vcf import VcfRecord

__all__ = [
    "OTHER_LETTER",
    "READINGS",
    "SCORED",
    "STATUSES",
    "Variant",
    "normalise",
    "readings",
    "status_of",
    "variants_of",
]

STATUSES = {
    "scored": "has scores",
    "scored_near_n": "has scores, with N or another letter within 8 bases",
    "ref_mismatch": "REF differs from the reference",
    "unknown_contig": "the reference has no such contig",
    "off_contig": "the position is outside the contig",
    "not_sequence": "a symbolic allele, a breakend, * or a missing ALT",
    "ambiguous": "a changed base is not A, C, G or T, in REF, ALT or the reference",
    "no_change": "ALT equals REF",
    "too_long": "more bases change than the window has around them",
}

# Statuses of alleles with scores.
SCORED = ("scored", "scored_near_n")

# The bases of each ambiguity code (NC-IUB 1984). N is left out, because VCF writes it as N.
IUPAC = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
}

OTHER_LETTER = re.compile("[^ACGT]")

# Number of sequences that a sequence with unknown bases is read as.
READINGS = len("ACGT")

# Number of bases read at a time when an indel is shifted to the left.
SHIFT_BP = 256


class Variant(NamedTuple):
    """One allele: `ref` at `start` becomes `alt`.

    Attributes
    ----------
    contig : str
    start : int
        First base of `ref`, 0-based; POS of a VCF record is ``start + 1``.
    ref, alt : str

    Examples
    --------
    POS 8 of a VCF file, A is replaced by AT:

    >>> insertion = Variant("chr20", 7, "A", "AT")
    >>> insertion.start, insertion.end
    (7, 8)
    """

    contig: str
    start: int
    ref: str
    alt: str

    @property
    def end(self) -> int:
        """One past the last base of `ref`."""
        return self.start + len(self.ref)


def variants_of(record: VcfRecord) -> list[Variant]:
    """Return one variant per alternate allele of a VCF record.

    >>> variants_of(VcfRecord("", "20", 7, "rs1", "A", ("C", "AT")))[1]
    Variant(contig='20', start=6, ref='A', alt='AT')
    """
    return [Variant(record.chrom, record.pos - 1, record.ref, alt) for alt in record.alts]


def status_of(variant: Variant, reference: Reference) -> str:
    """Return ``"scored"`` for a variant that can be scored, else the reason; see `STATUSES`.

    >>> genome = Reference({"1": "ACGTN"})
    >>> [status_of(Variant(*given), genome) for given in (("chr1", 1, "C", "T"),
    ...     ("1", 1, "G", "T"), ("2", 1, "C", "T"), ("1", 5, "C", "T"), ("1", 1, "C", "<DEL>"))]
    ['scored', 'ref_mismatch', 'unknown_contig', 'off_contig', 'not_sequence']

    Only changed bases matter, however long the unchanged sequence in a record is:

    >>> status_of(Variant("1", 3, "TN", "N"), genome), status_of(Variant("1", 4, "N", "A"), genome)
    ('scored', 'ambiguous')
    """
    name = reference.resolve(variant.contig)
    if name is None:
        return "unknown_contig"
    if variant.start < 0 or variant.end > reference.length(name):
        return "off_contig"
    if variant.alt and not variant.alt.isalpha():
        return "not_sequence"
    ref, alt = variant.ref.upper(), variant.alt.upper()
    bases = reference.fetch(name, variant.start, variant.end)
    if ref != bases and not _is_read_of(ref, bases):
        return "ref_mismatch"
    head, changed, alt = _without_shared(ref, alt)
    if not (changed or alt):
        return "no_change"
    letters = set(changed + alt + bases[head : head + len(changed)])
    return "scored" if letters <= set("ACGT") else "ambiguous"


def readings(text: str, start: int) -> list[str]:
    """Return the sequences that a sequence with unknown bases is read as; alone if it has none.

    Each letter besides A, C, G, T becomes each base of its code in turn, N all four. The
    first of them is random, but always the same at a position of the contig (`start` is that of
    `text`), so that overlapping windows have equal sequences.

    >>> readings("ACRT", 0)
    ['ACAT', 'ACGT', 'ACAT', 'ACGT']
    >>> [sorted(bases) for bases in zip(*readings("AN", 10))]
    [['A', 'A', 'A', 'A'], ['A', 'C', 'G', 'T']]
    """
    chosen: list[tuple[int, str]] = []
    for found in OTHER_LETTER.finditer(text):
        bases = IUPAC.get(found[0], "ACGT")
        first = random.Random(start + found.start()).randrange(len(bases))
        chosen.append((found.start(), bases[first:] + bases[:first]))
    if not chosen:
        return [text]
    letters, found_texts = list(text), []
    for reading in range(READINGS):
        for position, bases in chosen:
            letters[position] = bases[reading % len(bases)]
        found_texts.append("".join(letters))
    return found_texts


def _is_read_of(ref: str, bases: str) -> bool:
    """Return whether REF is valid for a reference with IUPAC codes.

    VCF 4.3 (1.6.1, REF) requires a concrete base where the reference has a code, the first in the
    alphabet; every base of the code is accepted here.
    """
    return len(ref) == len(bases) and all(
        letter == base or letter in IUPAC.get(base, "")
        for letter, base in zip(ref, bases, strict=True)
    )


def normalise(variant: Variant, reference: Reference) -> Variant:
    """Return the common form of equivalent variants; the contig has the reference's name.

    >>> genome = Reference({"1": "GGCACACATT"})
    >>> normalise(Variant("chr1", 6, "CAT", "T"), genome)
    Variant(contig='1', start=2, ref='CA', alt='')
    >>> normalise(Variant("1", 1, "GCA", "G"), genome)
    Variant(contig='1', start=2, ref='CA', alt='')
    """
    name = reference.resolve(variant.contig)
    assert name is not None, "only a variant with the status scored has a normal form"
    start, ref, alt = variant.start, variant.ref.upper(), variant.alt.upper()
    head, ref, alt = _without_shared(ref, alt)
    start += head
    if not ref or not alt:
        moved = ref or alt
        shift = _shift(moved, name, start, reference)
        turn = len(moved) - shift % len(moved)
        moved = moved[turn:] + moved[:turn]
        start, ref, alt = start - shift, moved if ref else "", moved if alt else ""
    return Variant(name, start, ref, alt)


def _without_shared(ref: str, alt: str) -> tuple[int, str, str]:
    """Return the length of the shared start, and the rest without it and without a shared end."""
    tail = _shared(ref[::-1], alt[::-1])
    ref, alt = ref[: len(ref) - tail], alt[: len(alt) - tail]
    head = _shared(ref, alt)
    return head, ref[head:], alt[head:]


def _shared(one: str, other: str) -> int:
    """Return the length of the shared start of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _shift(moved: str, name: str, start: int, reference: Reference) -> int:
    """Return by how many bases inserted or deleted text can move left, rotating on the way."""
    shift = 0
    while start > shift:
        before = reference.fetch(name, start - shift - SHIFT_BP, start - shift)
        for base in reversed(before):
            if base != moved[-1 - shift % len(moved)]:
                return shift
            shift += 1
    return shift
