"""Background log-probabilities of tokens: how often each occurs in genomes, without context.

A longer token is rarer, so a model's log-probability of it is mostly its frequency. The difference
of the two is the information of the context (pointwise mutual information, Church and Hanks 1990).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Background"]

PACKAGED = Path(__file__).parents[2] / "data" / "background"

# Bases tokenized in one call; bounds the memory.
CHUNK_BP = 1 << 24


@dataclass(frozen=True)
class Background:
    """Numbers of tokens in genomes, for one vocabulary.

    Parameters
    ----------
    vocabulary
        SHA-256 of the vocabulary and of the way it is matched.
    genomes
        Names of the files that were counted.
    counts
        Occurrences of each token, one number per identifier.

    Examples
    --------
    >>> tokenizer = Tokenizer.from_pretrained("mini")
    >>> human = Background.of(tokenizer)
    >>> human.genomes
    ('human_chr20_GRCh37.fa.gz',)
    >>> logs = human.log_probabilities(tokenizer)
    >>> bool(logs[tokenizer.encode("TTTT")[1]] > logs[tokenizer.encode("CGCG")[1]])
    True
    """

    vocabulary: str
    genomes: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, path: str | os.PathLike[str] | None = None
    ) -> Background | None:
        """Return the background of a file, or the packaged one of a vocabulary.

        Parameters
        ----------
        tokenizer : Tokenizer
        path : path, optional
            A FASTA file, which is counted, or a ``.json`` table of `save`.

        Returns
        -------
        Background or None
            None when the package has no background for the vocabulary.

        Raises
        ------
        CheckpointError
            When a table belongs to another vocabulary.

        Examples
        --------
        >>> Background.of(Tokenizer.train(["ACACGTGT"], 11)) is None  # needs a genome
        True
        """
        if path is None:
            key = _key(tokenizer)
            tables = map(cls.load, sorted(PACKAGED.glob("*.json")))
            return next((table for table in tables if table.vocabulary == key), None)
        if not os.fspath(path).endswith(".json"):
            return cls.count([path], tokenizer)
        table = cls.load(path)
        if table.vocabulary != _key(tokenizer):
            raise CheckpointError(
                f"{path}: a background of another vocabulary than the tokenizer's. Give the "
                "genome as FASTA to count its tokens."
            )
        return table

    @classmethod
    def count(cls, genomes: Sequence[str | os.PathLike[str]], tokenizer: Tokenizer) -> Background:
        r"""Count the tokens of FASTA files, without tokens of letters other than ACGT.

        Parameters
        ----------
        genomes : sequence of path
            FASTA or FASTQ.
        tokenizer : Tokenizer
            Its vocabulary is counted.

        Returns
        -------
        Background

        Examples
        --------
        >>> import tempfile
        >>> genome = Path(tempfile.mkdtemp()) / "genome.fa"
        >>> _ = genome.write_text(">1\nACGTNNACGT\n")
        >>> sum(Background.count([genome], Tokenizer.from_pretrained("mini")).counts)
        4
        """
        counts = np.zeros(tokenizer.vocab_size, np.int64)
        for genome in genomes:
            for record in read_fasta(genome):
                for start in range(0, len(record.sequence), CHUNK_BP):
                    ids = tokenizer.encode(record.sequence[start : start + CHUNK_BP])
                    counts += np.bincount(ids, minlength=tokenizer.vocab_size)
        counts[tokenizer.special_mask] = 0
        names = tuple(Path(genome).name for genome in genomes)
        return cls(_key(tokenizer), names, tuple(counts.tolist()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Background:
        """Read a table that `save` wrote.

        Parameters
        ----------
        path : path
            JSON file.

        Returns
        -------
        Background

        Raises
        ------
        CheckpointError
            When it is not such a table.

        Examples
        --------
        >>> import tempfile
        >>> table = Background.of(Tokenizer.from_pretrained("mini"))
        >>> table.save(path := Path(tempfile.mkdtemp()) / "mini.json")
        >>> Background.load(path) == table
        True
        """
        try:
            found = read_object(Path(path))
            return cls(found["vocabulary"], tuple(found["genomes"]), tuple(found["counts"]))
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(
                f"{path}: a table needs vocabulary, genomes and counts. Write it with "
                "Background.save."
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts as JSON.

        Parameters
        ----------
        path : path
            File to write.
        """
        content = {"vocabulary": self.vocabulary, "genomes": self.genomes, "counts": self.counts}
        atomic_json(Path(path), content)

    @property
    def digest(self) -> str:
        """SHA-256 of the counts."""
        return hashlib.sha256(json.dumps(self.counts).encode()).hexdigest()

    def log_probabilities(self, tokenizer: Tokenizer) -> npt.NDArray[np.float64]:
        """Return the log-probability of each token, with one added to each count.

        Special tokens have NaN.

        Parameters
        ----------
        tokenizer : Tokenizer
            With the vocabulary of the counts.

        Returns
        -------
        ndarray of float64, shape (vocab_size,)
            In nats.
        """
        raised = np.array(self.counts, np.float64) + 1
        raised[tokenizer.special_mask] = np.nan
        return np.log(raised / np.nansum(raised))


def _key(tokenizer: Tokenizer) -> str:
    """Return the hash of what decides the tokens of a sequence."""
    parts = [tokenizer.matching, *tokenizer.vocabulary]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
