"""Sequences to vectors: packed batches through the encoder, pooled over real bases.

Sequences are sorted by length within a stretch of input and packed by token budget; a vector does
not depend on its batch neighbours, and rows come back in input order.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.fasta import read_fasta
from dnabert2_fast.model import Dnabert2Model, PackedBatch
from dnabert2_fast.progress import Progress, progress
from dnabert2_fast.ragged import token_batches
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["embed", "embed_file", "pool_states"]

Pooling = Literal["mean", "cls", "max"]

# Sequences sorted and packed together by `embed_file`: enough to make batches of like length.
CHUNK_SEQUENCES = 4096


class Piece(NamedTuple):
    """A sequence to embed and the name of its row."""

    name: str
    sequence: str


def embed(
    sequences: Sequence[str | bytes],
    model: Dnabert2Model,
    tokenizer: Tokenizer,
    *,
    pooling: Pooling = "mean",
    batch_tokens: int = 16_384,
) -> npt.NDArray[np.float32]:
    """Return one vector a sequence.

    Parameters
    ----------
    sequences : sequence of str or bytes
    model : Dnabert2Model
    tokenizer : Tokenizer
        The one that the model was trained with.
    pooling : {"mean", "cls", "max"}
        ``mean`` and ``max`` run over the tokens of real bases: [CLS], [SEP] and [UNK] are left out.
        ``cls`` is the state of the first token.
    batch_tokens : int
        Tokens of one batch, at most; a longer sequence makes a batch of its own.

    Returns
    -------
    ndarray of float32, shape (n, hidden_size)
        A row of NaN, with a warning, for a sequence without any base (not with ``cls``).

    Raises
    ------
    CheckpointError
        When tokenizer and model have vocabularies of different sizes.

    Examples
    --------
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2Model(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8)).eval()
    >>> embed(["ACGTTAGC", "TTAA"], model, Tokenizer.from_pretrained("dnabert2")).shape
    (2, 24)
    """
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    with progress(len(sequences), "embedding", "sequences") as bar:
        vectors = _embed(sequences, model, tokenizer, pooling, batch_tokens, bar)
    _warn_of_empty(vectors)
    return vectors


def embed_file(
    path: str | os.PathLike[str],
    model: Dnabert2Model,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    pooling: Pooling = "mean",
    window_bp: int | None = None,
    batch_tokens: int = 16_384,
) -> int:
    """Embed every record of a FASTA or FASTQ file; returns the number of vectors.

    Parameters
    ----------
    path : path
        FASTA or FASTQ, plain or gz, bgz, zst.
    model, tokenizer, pooling, batch_tokens
        As in `embed`.
    out : path
        ``.npy`` (float32; names, one a line, in ``OUT.names.txt`` beside it) or ``.parquet``
        (columns ``name`` and ``embedding``).
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
    if out.suffix not in (".npy", ".parquet"):
        raise ValueError(f"out: {out.name} must end in .npy or .parquet")
    if window_bp is not None and window_bp < 1:
        raise ValueError(f"window_bp: {window_bp} is not positive")
    model.config.require_vocabulary(tokenizer.vocab_size, "tokenizer")
    pieces = _pieces(path, window_bp)
    with atomic_path(out) as temporary, progress(None, "embedding", "sequences") as bar:
        chunks = _embedded(pieces, model, tokenizer, pooling, batch_tokens, bar)
        if out.suffix == ".parquet":
            return _write_parquet(chunks, temporary, model.config.hidden_size)
        with atomic_path(out.with_name(f"{out.name}.names.txt")) as names:
            return _write_npy(chunks, temporary, names, model.config.hidden_size)


def _pieces(path: str | os.PathLike[str], window_bp: int | None) -> Iterator[Piece]:
    for name, sequence in read_fasta(path):
        if window_bp is None:
            yield Piece(name, sequence)
            continue
        for start in range(0, max(len(sequence), 1), window_bp):
            window = sequence[start : start + window_bp]
            yield Piece(f"{name}:{start}-{start + len(window)}", window)


def _embedded(
    pieces: Iterable[Piece],
    model: Dnabert2Model,
    tokenizer: Tokenizer,
    pooling: Pooling,
    batch_tokens: int,
    bar: Progress,
) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
    pieces = iter(pieces)
    while chunk := list(islice(pieces, CHUNK_SEQUENCES)):
        sequences = [piece.sequence for piece in chunk]
        vectors = _embed(sequences, model, tokenizer, pooling, batch_tokens, bar)
        _warn_of_empty(vectors)
        yield [piece.name for piece in chunk], vectors


def _embed(
    sequences: Sequence[str | bytes],
    model: Dnabert2Model,
    tokenizer: Tokenizer,
    pooling: Pooling,
    batch_tokens: int,
    bar: Progress,
) -> npt.NDArray[np.float32]:
    if pooling not in ("mean", "cls", "max"):
        raise ValueError(f'pooling: "{pooling}" is not one of "mean", "cls", "max"')
    ids = tokenizer.encode_batch(sequences)
    lengths = ids.lengths
    special = torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
    special[sorted(tokenizer.special_ids)] = True
    vectors = np.full((len(ids), model.config.hidden_size), np.nan, dtype=np.float32)
    order = np.argsort(-lengths, kind="stable")
    with torch.inference_mode():
        for stretch in token_batches(lengths[order], batch_tokens):
            rows = order[stretch]
            batch = PackedBatch.from_ragged(ids.take(rows))
            real = ~special[batch.input_ids]
            vectors[rows] = _pool(model, batch, real, pooling).float().cpu().numpy()
            bar.update(len(rows))
    return vectors


def _pool(
    model: Dnabert2Model, batch: PackedBatch, real: torch.Tensor, pooling: Pooling
) -> torch.Tensor:
    batch = batch.to(model.device)
    return pool_states(model.bert.encode(batch), batch, real, pooling)


def pool_states(
    states: torch.Tensor, batch: PackedBatch, real: torch.Tensor, pooling: Pooling = "mean"
) -> torch.Tensor:
    """Return one vector a sequence, shape (n, hidden_size), from the states of its tokens.

    Parameters
    ----------
    states : Tensor, shape (total_tokens, hidden_size)
    batch : PackedBatch
        On the device of `states`.
    real : Tensor of bool, shape (total_tokens,)
        Tokens that ``mean`` and ``max`` run over; a sequence without any gives NaN.
    pooling : {"mean", "cls", "max"}
    """
    if pooling == "cls":
        return states[batch.cu_seqlens[:-1].long()]
    real = real.to(states.device)
    lengths = batch.cu_seqlens.diff().long()
    owner = torch.repeat_interleave(torch.arange(len(batch), device=states.device), lengths)[real]
    states = states[real].float()
    pooled = states.new_zeros(len(batch), states.shape[1])
    counts = torch.bincount(owner, minlength=len(batch))
    if pooling == "mean":
        pooled.index_add_(0, owner, states)
        return pooled / counts[:, None]  # 0 / 0 is the NaN of a sequence without bases
    index = owner[:, None].expand_as(states)
    pooled.scatter_reduce_(0, index, states, "amax", include_self=False)
    return pooled.masked_fill(counts[:, None] == 0, float("nan"))


def _warn_of_empty(vectors: npt.NDArray[np.float32]) -> None:
    empty = int(np.isnan(vectors[:, 0]).sum())
    if empty:
        warnings.warn(
            f"{empty} of {len(vectors)} sequences have no A, C, G or T: their vectors are NaN",
            stacklevel=3,
        )


def _write_parquet(
    chunks: Iterator[tuple[list[str], npt.NDArray[np.float32]]], path: Path, width: int
) -> int:
    kind = pa.list_(pa.float32(), width)
    schema = pa.schema([("name", pa.string()), ("embedding", kind)])
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for names, vectors in chunks:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind)
            columns = [pa.array(names, pa.string()), column]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            rows += len(names)
    return rows


def _write_npy(
    chunks: Iterator[tuple[list[str], npt.NDArray[np.float32]]],
    path: Path,
    names_path: Path,
    width: int,
) -> int:
    """Stream rows behind a header that is filled in at the end, when their number is known.

    NumPy leaves room in the header for the number of rows to grow, so its length does not change.
    """

    def write_header() -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(vectors_file, header)

    rows = 0
    with path.open("wb") as vectors_file, names_path.open("w", encoding="utf-8") as names_file:
        write_header()
        for names, vectors in chunks:
            vectors_file.write(vectors.astype("<f4").tobytes())
            names_file.writelines(f"{name}\n" for name in names)
            rows += len(names)
        vectors_file.seek(0)
        write_header()
    return rows
