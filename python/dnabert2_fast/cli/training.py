"""Commands that train models and apply fine-tuned ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from dnabert2_fast.cli._args import DtypeOrInt8, Folder, report, require_output
from dnabert2_fast.finetuning.config import FinetuneConfig
from dnabert2_fast.io.tracks import is_segments, is_track
from dnabert2_fast.pretraining.config import PretrainConfig

__all__ = ["evaluate", "finetune", "predict", "pretrain"]


def pretrain(config: PretrainConfig) -> None:
    """Train a masked language model on a corpus.

    The recipe provides settings that are omitted.

    Examples
    --------
    dnabert2-fast pretrain corpus --out run --steps 10000
    dnabert2-fast pretrain corpus --out run --recipe fast --size small
    torchrun --nproc-per-node 4 -m dnabert2_fast.cli pretrain corpus --out run
    """
    from dnabert2_fast._internal.stopped import newest_step
    from dnabert2_fast.pretraining.train import pretrain as run

    try:
        result = run(config)
    except KeyboardInterrupt as error:
        if (step := newest_step(Path(config.out))) is not None:
            steps = config.resolved().steps
            whole = "" if steps is None else f" of {steps:,}"
            error.add_note(f"step {step:,}{whole} is kept in {config.out}")
        raise
    if is_rank_zero():
        print(
            f"{result.folder}: evaluation loss {result.eval_loss:.4f}, "
            f"{result.eval_accuracy:.1%} of masked tokens predicted correctly"
        )


def finetune(config: FinetuneConfig) -> None:
    """Train a classifier or regressor on labelled tables, or on regions of a genome.

    Defaults are the paper's for DNABERT-2.

    Examples
    --------
    dnabert2-fast finetune mini --data promoters --out run
    dnabert2-fast finetune zhihan1996/DNABERT-2-117M --data promoters --out run --mode lora
    dnabert2-fast finetune mini --data table.csv --label-column class --split 0.8,0.1,0.1 --out run
    """
    from dnabert2_fast.finetuning.genome_tables import make_tables
    from dnabert2_fast.finetuning.runs import finetune as run

    if config.regions is not None and is_rank_zero():
        print(make_tables(config), flush=True)
    try:
        result = run(config)
    except KeyboardInterrupt as error:
        if Path(f"{config.out}.unfinished").exists():
            error.add_note(f"finished epochs are kept in {config.out}.unfinished")
        raise
    if not is_rank_zero():
        return
    print(f"{result.folder}: {result.trained:,} of {result.parameters:,} parameters trained")
    for split, title in (("test", "test"), ("test_baseline", "test, linear model on 5-mers")):
        if split in result.metrics:
            spread = result.deviations.get(split, {})
            listed = ", ".join(
                f"{name} {value:.3f}" + (f" ± {spread[name]:.3f}" if spread else "")
                for name, value in result.metrics[split].items()
            )
            print(f"{title}: {listed}")


def predict(
    model: str,
    file: Path,
    /,
    *,
    out: Path,
    rows: Literal["records", "windows"] = "records",
    window_bp: int | None = None,
    stride_bp: int | None = None,
    regions: Path | None = None,
    both_strands: bool = False,
    sequence_column: str | None = None,
    rna: bool = False,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: DtypeOrInt8 = "auto",
    device: str = "auto",
    ray: str | None = None,
) -> None:
    """Write the answers of a fine-tuned model for every record of a file, or along a genome.

    Table: a record longer than a window is cut into windows; the last one ends with the record. The
    answer is the mean over the windows. Track: each base has the answer of the window around the
    middle of its bin of --stride-bp (docs/guides/finetune.md).

    Parameters
    ----------
    model
        A folder that finetune wrote, or its hub id.
    file
        FASTA or FASTQ (plain, gz, bgz, zst), or a table .csv, .tsv (also .gz) or .parquet with a
        column sequence (or sequence1 and sequence2) and optionally name; with --regions a genome as
        FASTA, plain or bgzip.
    out
        Table: .csv, .tsv (also .gz) or .parquet; - is standard output. Track: .bw, .bigwig,
        .bedgraph, or .bed for the segments in which a class is predicted; text also .gz or .bgz.
        Each class has its file: x.NAME.bw for x.bw.
    rows
        Table: one row per record or region, or per window.
    window_bp
        Length of a window in bases. Default: the longest training sequence.
    stride_bp
        Bases from one window to the next. Default: the window's length.
    regions
        BED file: predict for these regions of the genome instead of whole records. Regions on the
        strand - are reverse complemented; positions stay those of the genome.
    both_strands
        Average the answers for a window and for its reverse complement; for bases, base by base.
    sequence_column
        Column of a table with the sequences. Default: sequence.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 on older ones,
        float32 elsewhere. bfloat16 is also faster on CPUs that support it; int8 is faster on a
        CPU and less exact.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    ray
        Table: address of a Ray cluster, auto, local (this machine) or ray://HOST:PORT.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast predict run reads.fa.gz --out answers.csv
    dnabert2-fast predict run genome.fa --stride-bp 50 --out promoters.bw
    dnabert2-fast predict run genome.fa --regions peaks.bed --both-strands --out peaks.parquet
    """
    from dnabert2_fast.finetuning.config import PredictConfig
    from dnabert2_fast.finetuning.file import predict_file

    if not (is_track(out) or is_segments(out)):
        require_output(out)
    config = PredictConfig(
        rows=rows,
        window_bp=window_bp,
        stride_bp=stride_bp,
        regions=regions,
        both_strands=both_strands,
        sequence_column=sequence_column,
        batch_tokens=batch_tokens,
        attention=attention,
        dtype=dtype,
        device=device,
        rna=rna,
    )
    if ray is not None:
        from dnabert2_fast import ray as over_ray
        from dnabert2_fast.ray import tasks

        with tasks.connected(ray):
            reserved = over_ray.RayTasks.of_cluster(device)
            written = over_ray.predict_file(file, out, model, config, tasks=reserved)
        print(f"{out}: {written:,} rows")
        return
    written = predict_file(file, out, model, config)
    if is_track(out) or is_segments(out):
        from dnabert2_fast.finetuning.predict_track import track_paths
        from dnabert2_fast.finetuning.task import Task

        paths = track_paths(out, Task.load(model).names)
        print(f"{', '.join(map(str, paths))}: {written:,} windows")
    else:
        report(out, f"{written:,} rows")


def evaluate(
    model: str,
    table: Path,
    /,
    *,
    out: Folder,
    sequence_column: str | None = None,
    label_column: str | None = None,
    rna: bool = False,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: DtypeOrInt8 = "auto",
    device: str = "auto",
) -> None:
    """Compare a fine-tuned model's answers with the labels of a table.

    Parameters
    ----------
    model
        A folder that finetune wrote, or its hub id.
    table
        .csv, .tsv (also .gz) or .parquet, with labels as in training.
    out
        Folder to create, with report.html, metrics.json, predictions.csv and plots.
    sequence_column
        Column of the table with the sequences. Default: sequence.
    label_column
        Column of the table with the labels. Default: label.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        As in predict.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    rna
        Read U as T.

    Examples
    --------
    dnabert2-fast evaluate run test.csv --out evaluated
    dnabert2-fast evaluate run other_species.csv.gz --device cuda --out evaluated
    """
    from dnabert2_fast.finetuning.evaluation import evaluate as run
    from dnabert2_fast.finetuning.report import trained_scores
    from dnabert2_fast.finetuning.rows import ColumnNames

    values = run(
        model,
        table,
        out,
        batch_tokens=batch_tokens,
        attention=attention,
        dtype=dtype,
        device=device,
        columns=ColumnNames(sequence_column, label_column),
        rna=rna,
    )
    print(f"{out}: {listed(values)}")
    trained = trained_scores(model)
    for split, title in (("test", "its own test"), ("test_baseline", "linear model on 5-mers")):
        if split in trained:
            print(f"  when it was trained, {title}: {listed(trained[split])}")


def is_rank_zero() -> bool:
    """Return whether this process of `torchrun` is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def listed(values: dict[str, float]) -> str:
    """Return scores by name on one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
