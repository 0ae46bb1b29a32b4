"""Commands ``embed`` and ``export-onnx``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.cli._args import DtypeOrInt8, Folder, load_tokenizer, part_of, require_output

if TYPE_CHECKING:
    from dnabert2_fast.genomics.embedding.onnx import OnnxEncoder
    from dnabert2_fast.model.pretrained import Pretrained

__all__ = ["embed", "export_onnx"]

# What --color-by computes from a sequence in upper case.
MEASURES: dict[str | None, Callable[[str], float]] = {
    "gc": lambda text: sum(map(text.count, "GC")) / (sum(map(text.count, "ACGTU")) or math.nan),
    "length": len,
}


def embed(
    file: Path,
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
    ray: str | None = None,
    plot: Path | None = None,
    method: Literal["pca", "umap"] = "pca",
    color_by: str | None = None,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: DtypeOrInt8 = "auto",
    device: str = "auto",
    runtime: Literal["torch", "onnx"] = "torch",
) -> None:
    """Convert sequences to vectors, one per record, in input order.

    Parameters
    ----------
    file
        FASTA or FASTQ, plain or gz, bgz, zst; a .csv or .tsv with a column of sequences; a .txt
        with one per line; with --regions a genome as FASTA, plain or bgzip.
    out
        .npy (float32, names in OUT.names.txt), .parquet (columns name, contig, start, end, strand,
        embedding), .csv or .tsv (also .gz; columns embedding0, embedding1, ...) or .h5ad (AnnData).
    model
        A checkpoint folder or a hub id, owner/name or owner/name@revision; mini is the small model
        in the package.
    tokenizer
        As in tokenize. Default: the model's own.
    pooling
        mean and max use the tokens of real bases, cls uses the first token.
    layers
        Layers whose states are averaged: 0 is the embeddings, -1 the last.
    context_bp
        Read longer sequences in windows of this length that overlap by a quarter; every base counts
        once. Default: whole sequences.
    both_strands
        Average over a sequence and its reverse complement.
    window_bp
        Cut records into windows of this length, one row each, named record:start-end.
    column
        Column of sequences in a table; rows are named by their number.
    regions
        BED file, plain or gz: one row per region of the genome, in file order. Regions on the
        strand - are reverse complemented.
    part
        I/N: compute only part I of N, so that several devices or jobs share one file. The same
        command without it then joins the parts.
    ray
        Address of a Ray cluster: auto, local (this machine) or ray://HOST:PORT. FILE and --out may
        then be URIs, such as s3://BUCKET/x.fa.
    plot
        Plot of the vectors in two dimensions: .png, .svg or .pdf.
    method
        Of --plot: pca shows the two directions of largest variance, umap neighbourhoods.
    color_by
        Colour the points of --plot by gc (fraction of G and C), length (of the sequence), or a
        column of the table.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. bfloat16 is also faster on CPUs that support it, with cosine > 0.999 to
        float32; int8 is faster on a CPU and less exact: compare on your own data.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    runtime
        onnx: ONNX Runtime on the CPU, without torch; --model is then a folder that export-onnx
        wrote. Vectors are equal to 1e-5.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast embed reads.fa.gz --out vectors.npy
    dnabert2-fast embed reads.fa --out vectors.npy --plot map.png --method umap --color-by gc
    dnabert2-fast embed genome.fa --regions peaks.bed --window-bp 512 --out peaks.parquet
    """
    from dnabert2_fast.genomics.embedding.config import EmbeddingConfig
    from dnabert2_fast.genomics.embedding.file import embed_file, require_format
    from dnabert2_fast.genomics.embedding.plot import PICTURES, plot_embeddings, require_method
    from dnabert2_fast.io.arguments import printable
    from dnabert2_fast.io.regions import SequenceFile, read_pieces
    from dnabert2_fast.io.tables import read_labels

    if plot is not None and out.suffix != ".npy":
        raise ValueError("--plot: needs vectors in a .npy. Use --out vectors.npy.")
    if plot is not None and plot.suffix not in PICTURES:
        raise ValueError(f"--plot: must end in {', '.join(PICTURES)} (got {plot.name}).")
    if plot is not None and part is not None:
        raise ValueError("--plot: cannot be used with --part. Use it when the parts are joined.")
    if color_by is not None and plot is None:
        raise ValueError("--color-by: colours a plot. Add --plot.")
    measured = color_by in MEASURES
    if color_by is not None and not measured and (window_bp is not None or regions is not None):
        raise ValueError(
            "--color-by: a column needs one row of a table per vector. Leave out --window-bp and "
            "--regions, or use gc or length."
        )
    if ray is not None:
        if part is not None or plot is not None or runtime == "onnx":
            raise ValueError("--ray: cannot be used with --part, --plot or --runtime onnx.")
        from dnabert2_fast import ray as over_ray
        from dnabert2_fast.ray import tasks

        source = SequenceFile(file, column, regions, window_bp, rna)
        config = EmbeddingConfig(pooling, layers, context_bp, both_strands, batch_tokens)
        tok = None if tokenizer is None else load_tokenizer(tokenizer)
        with tasks.connected(ray):
            reserved = over_ray.RayTasks.of_cluster(device)
            rows = over_ray.embed_file(
                source, model, tok, out, config, tasks=reserved, attention=attention, dtype=dtype
            )
        print(f"{out}: {rows:,} vectors")
        return
    require_format(out)
    require_output(out)
    require_output(plot)
    if plot is not None:
        require_method(method)
    source = SequenceFile(file, column, regions, window_bp, rna)
    labels: list[Any] | None = None
    if measured:
        require_file(file, "--color-by reads it a second time")
    elif color_by is not None:
        labels = read_labels(file, color_by)
    config = EmbeddingConfig(pooling, layers, context_bp, both_strands, batch_tokens)
    number = None if part is None else part_of(part)
    net: Pretrained | OnnxEncoder
    if runtime == "onnx":
        from dnabert2_fast.genomics.embedding.onnx import OnnxEncoder

        if attention != "auto" or dtype not in ("auto", "float32") or device not in ("auto", "cpu"):
            raise ValueError(
                "--runtime onnx: runs in float32 on the CPU. Leave out --attention, --dtype and "
                "--device."
            )
        tok, net = load_tokenizer(tokenizer or model), OnnxEncoder(model)
        rows, how = embed_file(source, net, tok, out, config, part=number), net.dtype
    else:
        from dnabert2_fast._internal.progress import announce
        from dnabert2_fast.attention import count_scores
        from dnabert2_fast.genomics.loading import load_encoder

        net, tok = load_encoder(model, tokenizer, device=device, dtype=dtype, attention=attention)
        announce(net.what_runs)
        with count_scores() as scores:
            rows = embed_file(source, net, tok, out, config, part=number)
        kind = dtype if dtype == "int8" else str(net.dtype).removeprefix("torch.")
        how = f"{kind}, attention {net.attention_backend.name}"
        if scores.left_out >= 0.005:
            how += f", {scores.left_out:.0%} of attention scores left out"
    if part is not None:
        print(f"{out}: {rows:,} vectors, part {part}, are in {out}.parts")
        return
    print(f"{out}: {rows:,} vectors of {net.config.hidden_size} ({how})")
    if plot is not None:
        import numpy as np

        if color_by in MEASURES:
            labels = [MEASURES[color_by](piece.sequence.upper()) for piece in read_pieces(source)]
        plot_embeddings(
            np.load(out, mmap_mode="r"),
            plot,
            labels=labels,
            method=method,
            title=f"{printable(file.name)}, model {printable(Path(model).name)}",
            legend={"gc": "fraction of G and C", "length": "length in bases"}.get(
                color_by or "", color_by or ""
            ),
        )
        print(f"{plot}: one point per vector")


def export_onnx(model: str = "mini", /, *, out: Folder) -> None:
    """Write an encoder as an ONNX file, for embed --runtime onnx and programs without Python.

    Its output is the states of the last layer (docs/guides/embed.md). Needs the extra onnx.

    Parameters
    ----------
    model
        A checkpoint folder or a hub id; mini is the small model in the package.
    out
        Folder to create: model.onnx, config.json and the tokenizer.

    Examples
    --------
    dnabert2-fast export-onnx --out exported
    dnabert2-fast export-onnx zhihan1996/DNABERT-2-117M --out exported
    """
    from dnabert2_fast._internal.atomic import atomic_folder, atomic_json
    from dnabert2_fast.genomics.embedding.onnx import FILE
    from dnabert2_fast.genomics.loading import load_encoder
    from dnabert2_fast.model.heads import Dnabert2Model
    from dnabert2_fast.model.onnx import export_onnx as export

    require_output(out, folder=True)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names libraries of other models
    net, tok = load_encoder(model, dtype="float32", device="cpu")
    assert isinstance(net, Dnabert2Model), "it is read by name"
    with atomic_folder(out) as folder:
        export(net, folder / FILE)
        atomic_json(folder / "config.json", net.config.to_dict(), indent=2)
        tok.save_pretrained(folder)
        size = (folder / FILE).stat().st_size
    print(f"{out}: {FILE} of {size / 1e6:.0f} MB, config.json and the tokenizer")
