"""The command ``embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dnabert2_fast.cli._args import File, load_tokenizer, part_of

__all__ = ["embed"]


def embed(
    file: File,
    /,
    out: Path,
    model: str = "mini",
    tokenizer: str | None = None,
    pooling: Literal["mean", "cls", "max"] = "mean",
    layers: tuple[int, ...] = (-1,),
    context_bp: int | None = None,
    both_strands: bool = False,
    window_bp: int | None = None,
    column: str = "sequence",
    regions: Path | None = None,
    rna: bool = False,
    part: str | None = None,
    plot: Path | None = None,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "float32",
    device: str = "auto",
) -> None:
    """Turn sequences into vectors, one a record, in input order.

    Parameters
    ----------
    file
        FASTA or FASTQ, packed or not; a .csv or .tsv with a column of sequences; a .txt with one a
        line; - is standard input; with --regions a genome as FASTA, plain or bgzip.
    out
        .npy (float32, names in OUT.names.txt), .parquet (columns name, contig, start, end,
        embedding) or .h5ad (AnnData).
    model
        A checkpoint folder or a hub id; the small model in the package if left out.
    tokenizer
        As for tokenize; the model's own if left out.
    pooling
        mean and max run over the tokens of real bases, cls takes the first token.
    layers
        Layers whose states are averaged: 0 is the embeddings, -1 the last.
    context_bp
        Read longer sequences in windows of so many bases that overlap by a quarter, every base
        counting once; whole, by long attention, if left out.
    both_strands
        Average over a sequence and its reverse complement.
    window_bp
        Cut records into windows of so many bases, one row each, named record:start-end.
    column
        Column of a table that holds the sequences; rows are named by their number.
    regions
        BED file: one row a region of the genome, forward strand, in the file's order.
    rna
        Read U as T.
    part
        I/N: only the I-th of N shares, so that several devices or jobs work on one file; the same
        command without it then puts them together.
    plot
        .png, .svg or .pdf with the two directions of largest variance.
    batch_tokens
        Tokens of one batch: more is faster until memory ends.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        bfloat16 is faster where the processor has it (auto takes it there), with cosine > 0.999 to
        float32; int8 is faster still on a CPU and less exact: compare on your own data.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    """
    from dnabert2_fast.attention import count_scores
    from dnabert2_fast.genomics.embedding.file import embed_file
    from dnabert2_fast.genomics.embedding.plot import PICTURES, plot_embeddings
    from dnabert2_fast.genomics.embedding.vectors import EmbeddingConfig, read_encoder
    from dnabert2_fast.io.regions import SequenceFile

    if plot is not None and out.suffix != ".npy":
        raise ValueError("plot: is drawn from a .npy; give --out vectors.npy")
    if plot is not None and plot.suffix not in PICTURES:
        raise ValueError(f"plot: {plot.name} must end in {', '.join(PICTURES)}")
    if plot is not None and part is not None:
        raise ValueError("plot: is drawn of all parts; leave it out with part")
    tok = load_tokenizer(tokenizer or model)
    net = read_encoder(model, attention=attention, dtype=dtype, device=device)
    with count_scores() as scores:
        rows = embed_file(
            SequenceFile(file, column, regions, window_bp, rna),
            net,
            tok,
            out,
            EmbeddingConfig(pooling, layers, context_bp, both_strands, batch_tokens),
            part=None if part is None else part_of(part),
        )
    if part is not None:
        print(f"{out}: {rows:,} vectors, part {part}, are in {out}.parts")
        return
    kind = dtype if dtype == "int8" else str(net.dtype).removeprefix("torch.")
    how = f"{kind}, attention {net.attention_backend.name}"
    if scores.left_out >= 0.005:
        how += f", {scores.left_out:.0%} of attention scores left out"
    print(f"{out}: {rows:,} vectors of {net.config.hidden_size} ({how})")
    if plot is not None:
        import numpy as np

        plot_embeddings(np.load(out, mmap_mode="r"), plot, title=str(file))
        print(f"{plot}: a point a vector")
