"""Statistics of vocabularies on genomes: bases per token, entropy, use of the tokens.

A good vocabulary makes sequences short, but has no tokens that are too rare to learn. Entropy is
that of single tokens, in bits. Divided by the bases per token, it is the loss per base of a model
of token frequencies (2 bits for a uniform guess).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import progress
from dnabert2_fast.io.arguments import file_list, printable
from dnabert2_fast.io.fasta import read_chunks
from dnabert2_fast.tokenizer._encode import naming_records
from dnabert2_fast.tokenizer._tokenizer import Tokenizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Assessment", "assess", "plot_assessments", "plot_vocab_sizes", "vocab_sizes"]

RARE = 100
"""A token that occurs fewer times than this in an assessed genome is rare."""

SIZES = tuple(2**n for n in range(8, 16))

# The published shape: width, and weights of twelve layers (attention in and out, gated layers in
# and out).
HIDDEN_SIZE = 768
ENCODER_WEIGHTS = 12 * HIDDEN_SIZE * (3 * 768 + 768 + 2 * 3072 + 3072)
MASKED_SHARE = 0.15


class Assessment(NamedTuple):
    """Statistics of a vocabulary on one genome or species.

    Attributes
    ----------
    name : str
    counts : ndarray of int64, shape (vocab_size,)
        Number of occurrences of every token, without special tokens.
    lengths : ndarray of int64, shape (vocab_size,)
        Number of letters of every token.
    """

    name: str
    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def bases(self) -> int:
        """Total number of letters."""
        return int(self.counts @ self.lengths)

    @property
    def tokens(self) -> int:
        """Total number of tokens."""
        return int(self.counts.sum())

    @property
    def bases_per_token(self) -> float:
        """Mean number of letters per token."""
        return self.bases / max(1, self.tokens)

    @property
    def bits_per_token(self) -> float:
        """Entropy of single tokens."""
        share = self.counts[self.counts > 0] / max(1, self.tokens)
        return float(-(share @ np.log2(share)))

    @property
    def bits_per_base(self) -> float:
        """Entropy of single tokens per letter."""
        return self.bits_per_token / max(self.bases_per_token, 1e-9)

    @property
    def used(self) -> float:
        """Share of the vocabulary that occurs at least once."""
        return float((self.counts > 0).sum() / (self.lengths > 0).sum())

    @property
    def rare(self) -> float:
        """Share of the vocabulary that occurs fewer than 100 times."""
        return float(((self.counts < RARE) & (self.lengths > 0)).sum() / (self.lengths > 0).sum())

    def plus(self, other: Assessment) -> Assessment:
        """Return the statistics of two genomes of one species together.

        Parameters
        ----------
        other : Assessment
            Statistics of another genome with the same tokenizer.

        Returns
        -------
        Assessment
        """
        return Assessment(self.name, self.counts + other.counts, self.lengths)


def assess(
    tokenizer: Tokenizer,
    files: Iterable[str | os.PathLike[str]],
    species: Mapping[str, str] | None = None,
    *,
    rna: bool = False,
) -> list[Assessment]:
    r"""Tokenize genomes and return statistics of the vocabulary.

    Parameters
    ----------
    tokenizer : Tokenizer
    files : iterable of paths
        FASTA or FASTQ, compressed or not.
    species : mapping of str to str, optional
        Species by path: files of one species are assessed together. `species_by_path` makes one.
    rna : bool
        Read U as T.

    Returns
    -------
    list of Assessment
        One per file, or per species.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.fa")
    >>> _ = open(path, "w").write(">a\nACGTTGCATTAGC\n")
    >>> [genome] = assess(Tokenizer.from_pretrained("dnabert2"), [path])
    >>> genome.name, genome.bases, genome.tokens
    ('x.fa', 13, 4)
    """
    special = np.array(sorted(tokenizer.special_ids), np.int64)
    lengths = np.array([len(token) for token in tokenizer.vocabulary], np.int64)
    lengths[special] = 0
    found: dict[str, Assessment] = {}
    with progress(None, "assessing", "letters") as bar:
        for file in file_list(files):
            path = os.fsdecode(file)
            name = (species or {}).get(path) or printable(Path(path).name)
            bar.note(file=printable(Path(path).name))
            counts = np.zeros(len(lengths), np.int64)
            for names, sequences in read_chunks(path, rna=rna):
                with naming_records(path, names):
                    ids = tokenizer.encode_batch(sequences, add_special_tokens=False).values
                counts += np.bincount(ids, minlength=len(lengths))
                bar.update(sum(map(len, sequences)))
            counts[special] = 0
            genome = Assessment(name, counts, lengths)
            found[name] = found[name].plus(genome) if name in found else genome
    return list(found.values())


def table(genomes: Sequence[Assessment]) -> str:
    """Return assessments as a table of text."""
    rows = [("genome", "bases", "bases/token", "bits/token", "bits/base", "used", "rare")]
    for g in genomes:
        rates = (f"{g.bases_per_token:.3f}", f"{g.bits_per_token:.3f}", f"{g.bits_per_base:.4f}")
        rows.append((g.name, f"{g.bases:,}", *rates, f"{g.used:.1%}", f"{g.rare:.1%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in rows)


def overlap(one: Tokenizer, other: Tokenizer) -> float:
    """Return the share of tokens that two vocabularies have in common.

    Parameters
    ----------
    one, other : Tokenizer
        The vocabularies.

    Returns
    -------
    float
        Tokens in both, divided by tokens in either, without special tokens.

    Examples
    --------
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> overlap(tok, tok)
    1.0
    """
    a, b = (
        {token for i, token in enumerate(tok.vocabulary) if i not in tok.special_ids}
        for tok in (one, other)
    )
    return len(a & b) / len(a | b)


def shortened(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """Return the vocabulary that training would have made at a smaller size: its first merges.

    >>> tok = shortened(Tokenizer.from_pretrained("dnabert2"), 12)
    >>> tok.vocabulary[-3:]
    ['AA', 'TT', 'TG']
    """
    file = json.loads(tokenizer.text)
    special = len(file["model"]["vocab"]) - len(file["model"]["merges"])
    file["model"]["vocab"] = {
        token: i for token, i in file["model"]["vocab"].items() if i < vocab_size
    }
    file["model"]["merges"] = file["model"]["merges"][: vocab_size - special]
    return Tokenizer.from_text(json.dumps(file))


def vocab_sizes(
    tokenizer: Tokenizer,
    files: Iterable[str | os.PathLike[str]],
    sizes: Sequence[int] = SIZES,
    *,
    rna: bool = False,
) -> list[dict[str, float]]:
    r"""Measure sequence length and token frequency by vocabulary size on genomes.

    Parameters
    ----------
    tokenizer : Tokenizer
        The tokenizer of the largest size; smaller ones have its first merges.
    files : iterable of paths
        Genomes to measure on.
    sizes : sequence of int
    rna : bool
        Read U as T.

    Returns
    -------
    list of dict
        For each size ``vocab_size``, ``bases_per_token``, ``bits_per_token``, ``bits_per_base``,
        ``used``, ``rare`` (see `Assessment`) and ``megaflops_per_base``: two operations per
        weight and token of a DNABERT-2 encoder and of its masked-LM head on masked tokens, divided
        by the bases per token, in millions.

    Raises
    ------
    ValueError
        When the tokenizer has fewer tokens than the smallest size.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "x.fa")
    >>> _ = open(path, "w").write(">a\nACGTTGCATTAGC\n")
    >>> rows = vocab_sizes(Tokenizer.from_pretrained("dnabert2"), [path], sizes=[256, 4096])
    >>> [(row["vocab_size"], round(row["bases_per_token"], 2)) for row in rows]
    [(256, 2.6), (4096, 3.25)]
    """
    rows = []
    files = file_list(files)
    if tokenizer.vocab_size < min(sizes):
        raise ValueError(
            f"tokenizer: must have at least {min(sizes)} tokens, the smallest size "
            f"(got {tokenizer.vocab_size}). Train on more bases."
        )
    for size in sorted(size for size in sizes if size <= tokenizer.vocab_size):
        first, *rest = assess(shortened(tokenizer, size), files, rna=rna)
        whole = first
        for more in rest:
            whole = whole.plus(more)
        head = MASKED_SHARE * HIDDEN_SIZE * (HIDDEN_SIZE + size)
        flops = 2 * (ENCODER_WEIGHTS + head) / whole.bases_per_token
        rows.append(
            {
                "vocab_size": size,
                "bases_per_token": whole.bases_per_token,
                "bits_per_token": whole.bits_per_token,
                "bits_per_base": whole.bits_per_base,
                "used": whole.used,
                "rare": whole.rare,
                "megaflops_per_base": flops / 1e6,
            }
        )
    return rows


def plot_assessments(genomes: Sequence[Assessment], path: str | os.PathLike[str]) -> None:
    """Plot the lengths of tokens and their counts by rank, one line per genome.

    Needs the extra ``plots``; the suffix of `path` sets the format.

    Parameters
    ----------
    genomes : sequence of Assessment
        One per line of the plot.
    path : path
        .png, .svg or .pdf.
    """
    with needs("a plot"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    by_length, by_rank = figure.subplots(1, 2)
    for genome in genomes:
        share = np.bincount(genome.lengths, genome.counts) / max(1, genome.tokens)
        shown = np.flatnonzero(np.cumsum(share) < 0.9999)[-1] + 2
        by_length.plot(np.arange(1, shown), share[1:shown], "o-", ms=3, lw=1, label=genome.name)
        ranked = np.sort(genome.counts[genome.counts > 0])[::-1] / max(1, genome.tokens)
        by_rank.loglog(np.arange(1, len(ranked) + 1), ranked, lw=1, label=genome.name)
    by_length.set_xlabel("token length (bases)")
    by_length.set_ylabel("fraction of tokens")
    by_rank.set_xlabel("token rank")
    by_rank.set_ylabel("fraction of tokens")
    by_rank.legend(frameon=False, fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def plot_vocab_sizes(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Plot the result of `vocab_sizes`; needs the extra ``plots``.

    Parameters
    ----------
    rows : sequence of mapping
        Result of `vocab_sizes`.
    path : path
        .png, .svg or .pdf.
    """
    with needs("a plot"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 3))
    sizes = [row["vocab_size"] for row in rows]
    for axes, key, label in zip(
        panels,
        ("bases_per_token", "megaflops_per_base", "rare"),
        ("bases per token", "megaflops per base", "fraction of tokens seen < 100 times"),
        strict=True,
    ):
        axes.plot(sizes, [row[key] for row in rows], "o-", ms=4, lw=1)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("vocabulary size (tokens)")
        axes.set_ylabel(label)
        axes.axvline(4096, color="grey", ls="--", lw=1)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
