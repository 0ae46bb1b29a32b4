"""Sequences to vectors: packed batches through the encoder, pooled over real bases.

Sequences are sorted by length and packed by token budget. A vector does not depend on other
sequences in its batch, and rows are in input order. A sequence is read in one or more views: whole
or in overlapping windows, on one strand or both. In a window, a token's weight is its number of
bases. A base in two windows counts half in each, so that every base counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast._internal.checks import check_choice
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast.genomics.embedding.config import EmbeddingConfig, Pooling
from dnabert2_fast.genomics.embedding.pooling import pool_states
from dnabert2_fast.genomics.embedding.views import (
    Vectors,
    View,
    count_empty,
    token_weights,
    views_of,
    warn_of_empty,
)
from dnabert2_fast.genomics.loading import load_encoder
from dnabert2_fast.genomics.masked import evaluating, finite_on_host
from dnabert2_fast.io.arguments import Sequences, checked
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.batching import packed_batches
from dnabert2_fast.model.pretrained import Pretrained
from dnabert2_fast.model.weights import Name
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_texts

__all__ = ["embed", "embed_positions"]


def embed(
    sequences: Sequences,
    model: Pretrained | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    pooling: Pooling = "mean",
    layers: Sequence[int] = (-1,),
    context_bp: int | None = None,
    both_strands: bool = False,
    batch_tokens: int = 16_384,
) -> npt.NDArray[np.float32]:
    """Return one vector per sequence.

    Parameters
    ----------
    sequences : list, tuple, generator, array, series or path
        Of `str`, `bytes` or `FastaRecord`; a path is a FASTA or FASTQ file.
    model : str, path or model
        A name as for ``from_pretrained``, such as ``"mini"`` in the package, a checkpoint folder or
        a hub id; or a model that was read before, which saves reading it in every call.
    tokenizer : Tokenizer, str or path, optional
        The one that the model was trained with. Default: the model's own, found by its name.
    device : str or torch.device
        ``"auto"`` is CUDA if available, else the CPU; for a model object, its own. With another
        device or dtype than its own, a copy of the object computes.
    dtype : {"auto", "float32", "bfloat16", "float16", "int8"}
        As in ``from_pretrained``; ``"auto"`` is that of a model object.
    pooling, layers, context_bp, both_strands, batch_tokens
        See `EmbeddingConfig`.

    Returns
    -------
    ndarray of float32, shape (n, hidden_size)
        A row of NaN, with a warning, for a sequence without bases (except with ``cls``).

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.
    TypeError
        For one string, or elements of another type.
    ValueError
        When the model has no such layer, or another setting is not valid.

    Examples
    --------
    >>> embed(["ACGTTAGC", "TTAA"]).shape
    (2, 256)
    """
    config = EmbeddingConfig(pooling, tuple(layers), context_bp, both_strands, batch_tokens)
    given = checked(sequences)
    net, tok = load_encoder(model, tokenizer, device=device, dtype=dtype)
    texts = known_texts(given, tok)
    with progress(len(texts), "embedding", "sequences") as bar:
        vectors = embed_quietly(texts, net, tok, config, bar)
    warn_of_empty(count_empty(vectors), len(vectors))
    return vectors


def embed_positions(
    sequences: Sequences,
    model: Pretrained | Name = "mini",
    tokenizer: Tokenizer | Name | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    per: Literal["token", "base"] = "base",
    layers: Sequence[int] = (-1,),
    batch_tokens: int = 16_384,
) -> list[npt.NDArray[np.float32]]:
    """Return the state of every token of bases, or of every character.

    Parameters
    ----------
    sequences, model, tokenizer, device, dtype, layers, batch_tokens
        As in `embed`.
    per : {"token", "base"}
        A base has the state of its token; a character without a token has NaN.

    Returns
    -------
    list of ndarray of float32, each (tokens or characters of the sequence, hidden_size)

    Raises
    ------
    CheckpointError
        When tokenizer and model have different vocabularies.
    ValueError
        When the model has no such layer, or `per` is neither.

    Examples
    --------
    >>> [x.shape for x in embed_positions(["ACGTTAGC", "TTAA"])]
    [(8, 256), (4, 256)]
    """
    check_choice("per", per, ("token", "base"))
    config = EmbeddingConfig(layers=tuple(layers), batch_tokens=batch_tokens)
    given = checked(sequences)
    net, tok = load_encoder(model, tokenizer, device=device, dtype=dtype)
    texts = known_texts(given, tok)
    found: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
    with progress(len(texts), "embedding", "sequences") as bar:
        views = [View(i, text, None) for i, text in enumerate(texts)]
        for batch in _batches(views, net, tok, config):
            (states,) = finite_on_host(batch.states, net, batch.states)
            for row, view in enumerate(batch.views):
                rows = slice(batch.borders[row], batch.borders[row + 1])
                real, spans = batch.real[rows], batch.offsets[rows]
                own = states[rows][real]
                if per == "base":
                    letters = np.full((len(view.text), own.shape[1]), np.nan, np.float32)
                    for state, (first, last) in zip(own, spans[real], strict=True):
                        letters[first:last] = state
                    own = letters
                found[view.output_row] = own
            bar.update(len(batch.views))
    return found


class _Encoded(NamedTuple):
    views: list[View]
    packed: PackedBatch
    borders: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    real: npt.NDArray[np.bool_]
    states: torch.Tensor


def embed_quietly(
    texts: Sequence[str],
    model: Pretrained,
    tokenizer: Tokenizer,
    config: EmbeddingConfig,
    bar: Progress,
) -> npt.NDArray[np.float32]:
    """Return the result of `embed`, without its progress bar and its warning."""
    views = views_of(texts, config)
    vectors = Vectors(len(texts), views, model.config.hidden_size, config)
    for batch in _batches(views, model, tokenizer, config):
        borders = pairwise(batch.borders.tolist())
        spans = [batch.offsets[first:last] for first, last in borders]
        weights = np.concatenate(list(map(token_weights, batch.views, spans)))
        on_device = pool_states(
            batch.states,
            batch.packed,
            torch.from_numpy(batch.real),
            config.pooling,
            torch.from_numpy(weights),
        )
        (pooled,) = finite_on_host(batch.states, model, on_device)
        index = np.repeat(np.arange(len(batch.views)), np.diff(batch.borders))
        sizes = np.bincount(index, weights * batch.real, minlength=len(batch.views)).tolist()
        if config.pooling == "cls":
            sizes = [1.0] * len(batch.views)
        bar.update(sum(map(vectors.add, batch.views, pooled, sizes)))
    return vectors.result()


def _batches(
    views: list[View], model: Pretrained, tokenizer: Tokenizer, config: EmbeddingConfig
) -> Iterator[_Encoded]:
    """Yield batches of views of similar length, with the averaged states of the chosen layers."""
    depth = model.config.num_hidden_layers
    for layer in config.layers:
        if not -depth - 1 <= layer <= depth:
            raise ValueError(f"layers: must be between 0 (embeddings) and {depth} (got {layer}).")
    encoded = tokenizer.encode_batch_detailed([view.text for view in views])
    last_alone = {layer % (depth + 1) for layer in config.layers} == {depth}
    for rows, packed in packed_batches(encoded.ids, config.batch_tokens):
        borders = encoded.ids.offsets
        offsets = [encoded.offsets[borders[row] : borders[row + 1]] for row in rows]
        real = ~tokenizer.special_mask[packed.input_ids.numpy()]
        seams = packed.cu_seqlens.numpy()
        packed = packed.to(model.device)
        # Only while the model runs, so that the caller's code between batches keeps its mode.
        with evaluating(model):
            states: list[torch.Tensor] | None = None if last_alone else []
            out = model.bert.encode(packed, states=states)
            if states is not None:
                out = torch.stack([states[layer].float() for layer in config.layers]).mean(0)
        chosen = [views[row] for row in rows]
        yield _Encoded(chosen, packed, seams, np.concatenate(offsets), real, out)
