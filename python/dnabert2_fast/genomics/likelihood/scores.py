"""How likely a masked language model finds sequence: masks filled, sequences, places on a genome.

A masked model has no likelihood of a sequence. What stands in for it is the pseudo-log-likelihood:
each token masked by itself, the log-probabilities of the true tokens added up (Salazar et al.,
"Masked Language Model Scoring", ACL 2020).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.masked import (
    Masks,
    evaluating,
    mask_id_of,
    places_of_bases,
    token_log_likelihood,
)
from dnabert2_fast.io.fasta import read_fasta
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

__all__ = [
    "FilledToken",
    "Likelihood",
    "fill_mask",
    "likelihood_table",
    "pseudo_likelihood",
    "require_masked_lm",
]

# Sequences computed together.
CHUNK = 64


class FilledToken(NamedTuple):
    """A token that may stand at a mask.

    Attributes
    ----------
    token : str
    token_id : int
    probability : float
        Of all ids of the vocabulary together 1.
    """

    token: str
    token_id: int
    probability: float


class Likelihood(NamedTuple):
    """Pseudo-log-likelihood of a sequence.

    Attributes
    ----------
    log_likelihood : float
        Sum over its tokens, in nats.
    tokens, bases : int
        How many were predicted, and the bases that they spell; [UNK] is left out.
    """

    log_likelihood: float
    tokens: int
    bases: int

    @property
    def perplexity(self) -> float:
        """Exponential of the mean loss of a token; comparable within one vocabulary only."""
        return math.exp(-self.log_likelihood / self.tokens) if self.tokens else math.nan

    @property
    def bits_per_base(self) -> float:
        """Loss a base, in bits; comparable between vocabularies. Guessing evenly gives 2."""
        return -self.log_likelihood / self.bases / math.log(2) if self.bases else math.nan


def fill_mask(
    model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, sequence: str, top_k: int = 5
) -> list[list[FilledToken]]:
    """Return the likeliest tokens at every ``[MASK]`` of a sequence, the likeliest first.

    A mask stands for one token, of any number of bases; no mask sees what another is filled with.

    Parameters
    ----------
    model : Dnabert2ForMaskedLM
    tokenizer : Tokenizer
        The one that the model was trained with.
    sequence : str
        Letters, and the vocabulary's mask token (``[MASK]``) in one or more places.
    top_k : int
        Tokens a mask.

    Returns
    -------
    list of list of FilledToken
        One list a mask, in order.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.
    ValueError
        When the sequence has no ``[MASK]``, or `top_k` is no number of tokens.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2ForMaskedLM(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8))
    >>> tokenizer = Tokenizer.from_pretrained("dnabert2")
    >>> [len(found) for found in fill_mask(model, tokenizer, "ACG[MASK]TTAG[MASK]", top_k=3)]
    [3, 3]
    """
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    if not 1 <= top_k <= tokenizer.vocab_size:
        raise ValueError(f"top_k: {top_k} does not lie between 1 and {tokenizer.vocab_size}")
    ids = tokenizer.encode(sequence)
    masked = torch.from_numpy(ids == mask_id_of(tokenizer))
    if not masked.any():
        mask = tokenizer.vocabulary[mask_id_of(tokenizer)]
        raise ValueError(f"sequence: has no {mask}; write one where a token is to be filled in")
    batch = PackedBatch.from_ragged(Ragged.from_list([ids]))
    labels = torch.where(masked, batch.input_ids, -100)  # asks for these rows alone
    with evaluating(model):
        logits = model(batch, labels).logits
        assert logits is not None, "they were asked for"
        best = logits.float().softmax(-1).topk(top_k)
    words = tokenizer.vocabulary
    return [
        [FilledToken(words[i], i, p) for i, p in zip(chosen, shares, strict=True)]
        for chosen, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def pseudo_likelihood(
    sequences: Sequence[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    *,
    every: int | None = None,
    batch_tokens: int = 16_384,
) -> list[Likelihood]:
    """Return how likely sequences are.

    Parameters
    ----------
    sequences : sequence of str
    model : Dnabert2ForMaskedLM
    tokenizer : Tokenizer
        The one that the model was trained with.
    every : int, optional
        Mask every so-manieth token together, which takes so many passes a sequence instead of one
        for each token. The model then sees less, and the numbers are others;
        docs/guides/likelihood.md says how far off. Left out, each token is masked by itself.
    batch_tokens : int
        Tokens of one batch, at most; a longer sequence makes a batch of its own.

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2ForMaskedLM(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8))
    >>> found, = pseudo_likelihood(["ACGTTGCATTN"], model, Tokenizer.from_pretrained("dnabert2"))
    >>> found.bases, found.perplexity > 1
    (10, True)
    """
    require_masked_lm(model, tokenizer, every, batch_tokens)
    with progress(len(sequences), "likelihood", "sequences") as bar:
        return _likelihoods(sequences, model, tokenizer, every, batch_tokens, bar)


def likelihood_table(
    path: str | os.PathLike[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    window_bp: int | None = None,
    every: int | None = None,
    batch_tokens: int = 16_384,
) -> int:
    """Write the likelihood of every record of a FASTA or FASTQ file; returns their number.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or gz, bgz, zst.
    model, tokenizer, every, batch_tokens
        As in `pseudo_likelihood`.
    out : path
        ``.tsv`` or ``.parquet``: name, log_likelihood, tokens, bases, perplexity, bits_per_base.
    window_bp : int, optional
        Cut records into windows of so many letters, one row each, named ``record:start-end``
        (0-based, half-open).

    Raises
    ------
    FastaError
        When the file is not readable to its end; nothing is written then.
    ValueError
        When `out` has another suffix.
    """
    out = Path(out)
    if out.suffix not in (".tsv", ".parquet"):
        raise ValueError(f"out: {out.name} must end in .tsv or .parquet")
    if window_bp is not None and window_bp < 1:
        raise ValueError(f"window_bp: {window_bp} is not positive")
    require_masked_lm(model, tokenizer, every, batch_tokens)
    stream, rows = _pieces(path, window_bp), 0
    with (
        atomic_path(out) as temporary,
        _writer(temporary) as write,
        progress(None, "likelihood", "sequences") as bar,
    ):
        while chunk := list(islice(stream, CHUNK)):
            texts = [text for _, text in chunk]
            found = _likelihoods(texts, model, tokenizer, every, batch_tokens, bar)
            write([name for name, _ in chunk], found)
            rows += len(chunk)
    return rows


def _likelihoods(
    sequences: Sequence[str],
    model: Dnabert2ForMaskedLM,
    tokenizer: Tokenizer,
    every: int | None,
    batch_tokens: int,
    bar: Progress,
) -> list[Likelihood]:
    encoded = tokenizer.encode_batch_detailed(list(sequences))
    ids = encoded.ids
    places = [places_of_bases(row, tokenizer) for row in ids]
    masks = Masks.of(places, every)
    with evaluating(model):
        logs = token_log_likelihood(model, mask_id_of(tokenizer), ids, masks, batch_tokens)
    owner = np.repeat(masks.rows, np.diff(masks.offsets))
    sums = np.bincount(owner, logs, len(ids))
    spans = encoded.offsets[ids.offsets[owner] + masks.places]
    bases = np.bincount(owner, spans[:, 1] - spans[:, 0], len(ids))
    bar.update(len(ids))
    return [Likelihood(float(sums[i]), len(own), int(bases[i])) for i, own in enumerate(places)]


def require_masked_lm(
    model: Dnabert2ForMaskedLM, tokenizer: Tokenizer, every: int | None, batch_tokens: int
) -> None:
    """Raise an error that says what does not fit together."""
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    if every is not None and every < 2:
        raise ValueError(f"every: {every} is below 2; leave it out to mask one token at a time")
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens: {batch_tokens} is not positive")


def _pieces(path: str | os.PathLike[str], window_bp: int | None) -> Iterator[tuple[str, str]]:
    for name, sequence in read_fasta(path):
        size = window_bp or max(len(sequence), 1)
        for start in range(0, max(len(sequence), 1), size):
            piece = sequence[start : start + size]
            yield (f"{name}:{start}-{start + len(piece)}" if window_bp else name), piece


COLUMNS = {
    "name": pa.string(),
    "log_likelihood": pa.float64(),
    "tokens": pa.int64(),
    "bases": pa.int64(),
    "perplexity": pa.float64(),
    "bits_per_base": pa.float64(),
}


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[list[str], list[Likelihood]], None]]:
    """Open a table; gives what writes rows into it."""

    def columns(names: list[str], found: list[Likelihood]) -> list[list[Any]]:
        numbers = [(*each, each.perplexity, each.bits_per_base) for each in found]
        return [names, *map(list, zip(*numbers, strict=True))]

    if path.suffix == ".parquet":
        schema = pa.schema(list(COLUMNS.items()))
        with pq.ParquetWriter(path, schema) as parquet:
            yield lambda *rows: parquet.write_table(pa.table(columns(*rows), schema=schema))
        return
    with path.open("w", encoding="utf-8") as text:
        text.write("\t".join(COLUMNS) + "\n")
        yield lambda *rows: text.writelines(
            "\t".join([name, *(f"{value:.8g}" for value in numbers)]) + "\n"
            for name, *numbers in zip(*columns(*rows), strict=True)
        )
