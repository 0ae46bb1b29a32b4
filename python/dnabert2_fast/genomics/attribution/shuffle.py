"""Random sequences with the dinucleotides of a given one.

Two adjacent letters are an edge from the first to the second, and a sequence is a walk over all
edges. A random walk over the same edges is a shuffle (Altschul and Erickson, "Significance of
Nucleotide Sequence Alignments", Molecular Biology and Evolution 1985).
"""

from __future__ import annotations

import itertools
import random

__all__ = ["dinucleotide_shuffle"]


def dinucleotide_shuffle(sequence: str, rng: random.Random) -> str:
    """Shuffle a sequence so that its dinucleotides and both ends stay.

    Parameters
    ----------
    sequence : str
    rng : random.Random

    Returns
    -------
    str

    Examples
    --------
    >>> dinucleotide_shuffle("AACATAGA", random.Random(3))
    'ACAATAGA'
    """
    after: dict[str, list[str]] = {}
    for letter, follower in itertools.pairwise(sequence):
        after.setdefault(letter, []).append(follower)
    # The last edges of all letters must lead to the last letter, or edges would remain.
    while True:
        last = {letter: rng.choice(after[letter]) for letter in after if letter != sequence[-1]}
        if all(_leads_to(sequence[-1], letter, last) for letter in last):
            break
    edges = {}
    for letter, followers in after.items():
        if letter in last:
            followers.remove(last[letter])
        rng.shuffle(followers)
        edges[letter] = iter([*followers, *last.get(letter, "")])
    shuffled = list(sequence[:1])
    for _ in sequence[1:]:
        shuffled.append(next(edges[shuffled[-1]]))
    return "".join(shuffled)


def _leads_to(goal: str, letter: str, last: dict[str, str]) -> bool:
    """Return whether the last edges lead from a letter to another; False for a cycle."""
    for _ in last:
        if letter == goal:
            break
        letter = last[letter]
    return letter == goal
