"""Vectors of whole files, streamed: sequences in chunks, rows in input order.

Finished chunks are stored beside the output until it is complete, so that a stopped run resumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.resume import ResumeStore, fingerprint
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
from dnabert2_fast.genomics.embedding.onnx import OnnxEncoder
from dnabert2_fast.genomics.embedding.views import count_empty, warn_of_empty
from dnabert2_fast.io.regions import Piece, SequenceFile, read_pieces
from dnabert2_fast.io.table_writer import (
    is_text_table,
    kind_of_table,
    require_ending,
    table_writer,
)
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.tokenizer.unknown import known_pieces

if TYPE_CHECKING:
    from dnabert2_fast.model.pretrained import Pretrained

__all__ = ["embed_file"]

# Number of sequences sorted and packed together, enough for batches of similar length.
CHUNK_SEQUENCES = 4096

# Maximum number of bases in them, so that only one or two chromosomes are in memory.
CHUNK_BP = 1 << 26


def embed_file(
    source: SequenceFile | str | os.PathLike[str],
    model: Pretrained | OnnxEncoder | str | os.PathLike[str],
    tokenizer: Tokenizer | str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    config: EmbeddingConfig | None = None,
    *,
    part: tuple[int, int] | None = None,
) -> int:
    r"""Embed every record of a file.

    The same call resumes a stopped run from finished chunks, which are in ``OUT.parts`` until the
    output is complete.

    Parameters
    ----------
    source : path or SequenceFile
        FASTA or FASTQ, compressed or not; a table (.csv, .tsv) or lines (.txt). `SequenceFile`
        chooses a column or regions of a genome, and cuts into windows: one row each.
    model, tokenizer
        As in `embed`, or an `OnnxEncoder`.
    out : path
        ``.npy`` (float32; names, one per line, in ``OUT.names.txt``), ``.parquet`` (columns
        ``name``, ``contig``, ``start``, ``end``, ``strand``, ``embedding``), ``.csv`` or ``.tsv``
        (also .gz; columns ``embedding0``, ``embedding1``, ... instead) or ``.h5ad`` (AnnData:
        vectors in ``X``, positions and strands in ``obs``; extra ``anndata``).
    config : EmbeddingConfig, optional
    part : tuple of int, optional
        ``(i, n)``: compute only part `i` of `n`, 1 <= i <= n, into ``OUT.parts``. Parts may be
        computed at the same time, on other devices and machines that share the folder. The same
        call without `part` then joins them.

    Returns
    -------
    int
        Number of vectors.

    Raises
    ------
    FastaError, DataError
        When a file is not readable to its end; no output is written then.
    CheckpointError
        When tokenizer and model have different vocabularies.
    ValueError
        When `out` has another suffix, or a setting is not valid.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "reads.fa").write_text(">one\nACGTTAGC\n>two\nTTAAGGCC\n")
    >>> from dnabert2_fast import Dnabert2Model
    >>> model, tok = Dnabert2Model.from_pretrained("mini"), Tokenizer.from_pretrained("mini")
    >>> embed_file(folder / "reads.fa", model, tok, folder / "vectors.npy")
    2
    >>> np.load(folder / "vectors.npy").shape
    (2, 256)
    >>> halves = SequenceFile(folder / "reads.fa", window_bp=4)
    >>> embed_file(halves, model, tok, folder / "halves.npy", EmbeddingConfig("max"))
    4
    >>> (folder / "vectors.npy.names.txt").read_text().split()
    ['one', 'two']
    """
    out = Path(out)
    require_format(out)
    source, config = SequenceFile.of(source), config or EmbeddingConfig()
    if part is not None and not 1 <= part[0] <= part[1]:
        last = f"{part[1]}/{part[1]}"
        raise ValueError(f"part: must be between 1/{part[1]} and {last} (got {part[0]}/{part[1]}).")
    if part is not None:
        require_file(source.path, "every part reads it")
    model, tokenizer = _loaded(model, tokenizer)
    pieces = known_pieces(read_pieces(source), tokenizer, source.path)
    files = {"path": Path(source.path), "regions": source.regions and Path(source.regions)}
    parts = ResumeStore(out, inputs_of(source, files, model, tokenizer, config))
    if part is not None:
        with progress(None, "embedding", "sequences") as bar:
            chunks = _embedded(pieces, model, tokenizer, config, parts, bar, part)
            return sum(len(done) for done, _ in chunks)
    bar_of_all = progress(None, "embedding", "sequences")
    width = model.config.hidden_size
    with parts.until_done(), bar_of_all as bar:
        chunks = _embedded(pieces, model, tokenizer, config, parts, bar)
        if kind_of_table(out) is not None:
            return _write_table(chunks, out, width)
        with atomic_path(out) as temporary:
            if out.suffix == ".h5ad":
                return _write_h5ad(chunks, temporary, width)
            with atomic_path(out.with_name(f"{out.name}.names.txt")) as names:
                return _write_npy(chunks, temporary, names, width)


def _loaded(
    model: Pretrained | OnnxEncoder | str | os.PathLike[str],
    tokenizer: Tokenizer | str | os.PathLike[str] | None,
) -> tuple[Pretrained | OnnxEncoder, Tokenizer]:
    """Return model and tokenizer for either runtime."""
    if not isinstance(model, OnnxEncoder):
        from dnabert2_fast.genomics.loading import load_encoder  # imports torch

        return load_encoder(model, tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        if tokenizer is None:
            raise ValueError("tokenizer: is required with an OnnxEncoder. Give that of its folder.")
        tokenizer = Tokenizer.from_pretrained(tokenizer)
    model.config.require_vocabulary(tokenizer.vocabulary, "tokenizer")
    return model, tokenizer


def require_format(out: Path) -> None:
    """Raise `ValueError` for another suffix, before any work."""
    require_ending(out, others=(".npy", ".h5ad"))
    if out.suffix == ".h5ad":
        with needs("a file for AnnData"):
            import anndata  # noqa: F401


def inputs_of(
    source: SequenceFile,
    files: Mapping[str, object],
    model: Pretrained | OnnxEncoder,
    tokenizer: Tokenizer,
    config: EmbeddingConfig,
) -> dict[str, Any]:
    """Return the settings that vectors of files depend on; equal settings have equal chunks.

    `files` identify the content of the source's files, ``path`` and ``regions``.
    """
    read = {"window_bp": source.window_bp, "column": source.column, "rna": source.rna}
    read |= {"chunk": CHUNK_SEQUENCES}
    return fingerprint(model, tokenizer, config, **files, **read)


def _embedded(
    pieces: Iterator[Piece],
    model: Pretrained | OnnxEncoder,
    tokenizer: Tokenizer,
    config: EmbeddingConfig,
    parts: ResumeStore,
    bar: Progress,
    part: tuple[int, int] = (1, 1),
) -> Iterator[tuple[list[Piece], npt.NDArray[np.float32]]]:
    empty = rows = 0
    for number, chunk in enumerate(_chunks(pieces)):
        if number % part[1] != part[0] - 1:
            continue
        sequences = [piece.sequence for piece in chunk]
        compute = partial(embed_chunk, sequences, model, tokenizer, config, bar)
        vectors = parts.take(number, len(chunk), compute)
        empty, rows = empty + count_empty(vectors), rows + len(vectors)
        yield chunk, vectors
    warn_of_empty(empty, rows)


def embed_chunk(
    sequences: list[str],
    model: Pretrained | OnnxEncoder,
    tokenizer: Tokenizer,
    config: EmbeddingConfig,
    bar: Progress,
) -> npt.NDArray[np.float32]:
    """Return the vectors of a chunk, by either runtime."""
    if isinstance(model, OnnxEncoder):
        return model.embed_quietly(sequences, tokenizer, config, bar)
    from dnabert2_fast.genomics.embedding.vectors import embed_quietly  # imports torch

    return embed_quietly(sequences, model, tokenizer, config, bar)


def _chunks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    pieces = iter(pieces)
    while chunk := list(islice(pieces, 1)):
        letters = len(chunk[0].sequence)
        while len(chunk) < CHUNK_SEQUENCES and letters < CHUNK_BP:
            following = next(pieces, None)
            if following is None:
                break
            chunk.append(following)
            letters += len(following.sequence)
        yield chunk


def _write_table(
    chunks: Iterator[tuple[list[Piece], npt.NDArray[np.float32]]], path: Path, width: int
) -> int:
    kind, as_text = pa.list_(pa.float32(), width), is_text_table(path)
    text, whole = pa.string(), pa.int64()
    fields = {"name": text, "contig": text, "start": whole, "end": whole, "strand": text}
    vector = [("embedding", kind)]
    if as_text:
        vector = [(f"embedding{i}", pa.float32()) for i in range(width)]
    schema = pa.schema([*fields.items(), *vector])
    rows = 0
    with table_writer(path, schema) as write:
        for pieces, vectors in chunks:
            columns = [
                pa.array([piece.name for piece in pieces], pa.string()),
                pa.array([piece.contig for piece in pieces], pa.string()),
                pa.array([piece.start for piece in pieces], pa.int64()),
                pa.array([piece.end for piece in pieces], pa.int64()),
                pa.array([piece.strand for piece in pieces], pa.string()),
            ]
            if as_text:
                columns += [pa.array(column) for column in vectors.T]
            else:
                flat = pa.array(vectors.ravel())
                columns.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
            write(pa.Table.from_arrays(columns, schema=schema))
            rows += len(pieces)
    return rows


def _write_h5ad(
    chunks: Iterator[tuple[list[Piece], npt.NDArray[np.float32]]], path: Path, width: int
) -> int:
    """Stream vectors into ``X`` of the on-disk format of AnnData, which writes obs and var itself.

    https://anndata.readthedocs.io/en/stable/fileformat-prose.html
    """
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    names: list[str] = []
    obs: dict[str, list[object]] = {"contig": [], "start": [], "end": [], "strand": []}
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        x = file.create_dataset("X", (0, width), "<f4", maxshape=(None, width))
        x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for pieces, vectors in chunks:
            x.resize(len(x) + len(vectors), axis=0)
            x[len(x) - len(vectors) :] = vectors
            names += [piece.name for piece in pieces]
            obs["contig"] += [piece.contig for piece in pieces]
            obs["start"] += [piece.start for piece in pieces]
            obs["end"] += [piece.end for piece in pieces]
            obs["strand"] += [piece.strand for piece in pieces]
        write_elem(file, "obs", pd.DataFrame(obs, index=pd.Index(names, dtype=object)))
        columns = pd.Index([f"embedding{i}" for i in range(width)], dtype=object)
        write_elem(file, "var", pd.DataFrame(index=columns))
    return len(names)


def _write_npy(
    chunks: Iterator[tuple[list[Piece], npt.NDArray[np.float32]]],
    path: Path,
    names_path: Path,
    width: int,
) -> int:
    """Stream rows after a header that is completed at the end, when their number is known.

    NumPy reserves space in the header for the number of rows, so its length does not change.
    """

    def write_header() -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(vectors_file, header)

    rows = 0
    with path.open("wb") as vectors_file, names_path.open("w", encoding="utf-8") as names_file:
        write_header()
        for pieces, vectors in chunks:
            vectors_file.write(vectors.astype("<f4").tobytes())
            names_file.writelines(f"{piece.name}\n" for piece in pieces)
            rows += len(pieces)
        vectors_file.seek(0)
        write_header()
    return rows
