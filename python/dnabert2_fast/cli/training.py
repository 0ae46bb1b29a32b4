"""Commands that train models and apply fine-tuned ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import tyro

from dnabert2_fast.cli._args import report

__all__ = ["evaluate", "finetune", "predict", "pretrain"]

Dtype = Literal["auto", "float32", "bfloat16", "int8"]


def pretrain(arguments: list[str], prog: str) -> None:
    """Parse `PretrainConfig` from the command line and run it."""
    from dnabert2_fast.pretraining.config import PretrainConfig

    config = tyro.cli(PretrainConfig, args=arguments, prog=prog)
    from dnabert2_fast.pretraining.train import pretrain as run

    result = run(config)
    if os.environ.get("RANK", "0") == "0":
        print(
            f"{result.folder}: evaluation loss {result.eval_loss:.4f}, "
            f"{result.eval_accuracy:.1%} of masked tokens guessed right"
        )


def finetune(arguments: list[str], prog: str) -> None:
    """Parse `FinetuneConfig` from the command line and run it."""
    from dnabert2_fast.finetuning.config import FinetuneConfig

    config = tyro.cli(FinetuneConfig, args=arguments, prog=prog)
    from dnabert2_fast.finetuning.runs import finetune as run

    try:
        result = run(config)
    except KeyboardInterrupt:
        if Path(f"{config.out}.unfinished").exists():
            print("finished epochs are kept; the same command goes on from them", file=sys.stderr)
        raise
    spread = result.deviations.get("test", {})
    listed = ", ".join(
        f"{name} {value:.3f}" + (f" ± {spread[name]:.3f}" if spread else "")
        for name, value in result.metrics["test"].items()
    )
    print(f"{result.folder}: {result.trained:,} of {result.parameters:,} parameters trained")
    print(f"test: {listed}")


def predict(
    model: str,
    file: Path,
    /,
    *,
    out: Path,
    rows: Literal["records", "windows"] = "records",
    window_bp: int | None = None,
    stride_bp: int | None = None,
    rna: bool = False,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: Dtype = "float32",
    device: str = "auto",
) -> None:
    """Write what a fine-tuned model says of every record of a file.

    A record longer than a window is cut into windows, the last of which ends with it; its answer is
    the mean of theirs. docs/guides/finetune.md says more.

    Parameters
    ----------
    model
        A folder that finetune wrote.
    file
        FASTA or FASTQ, packed or not, or .csv with a column sequence (or sequence1 and sequence2)
        and perhaps name; - is standard input.
    out
        .csv or .parquet; - is standard output.
    rows
        A row for each record, or for each window.
    window_bp
        Letters of a window; as many as the longest training sequence had if left out.
    stride_bp
        Letters from one window to the next; as many as a window has if left out.
    rna
        Read U as T.
    batch_tokens
        Tokens of one batch: more is faster until memory ends.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        bfloat16 is faster where the processor has it (auto takes it there); int8 is faster still on
        a CPU and less exact.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    """
    from dnabert2_fast.finetuning.config import PredictConfig
    from dnabert2_fast.finetuning.predict_file import predict as run

    written = run(
        model,
        file,
        out,
        PredictConfig(
            rows=rows,
            window_bp=window_bp,
            stride_bp=stride_bp,
            batch_tokens=batch_tokens,
            attention=attention,
            dtype=dtype,
            device=device,
            rna=rna,
        ),
    )
    report(out, f"{written:,} rows")


def evaluate(
    model: str,
    table: Path,
    /,
    *,
    out: Path,
    rna: bool = False,
    batch_tokens: int = 16384,
    attention: str = "auto",
    dtype: Dtype = "float32",
    device: str = "auto",
) -> None:
    """Compare a fine-tuned model's answers with the labels of a table.

    Parameters
    ----------
    model
        A folder that finetune wrote.
    table
        .csv or .csv.gz with labels as in training.
    out
        Folder to make, with metrics.json, predictions.csv and pictures.
    rna
        Read U as T.
    batch_tokens
        Tokens of one batch: more is faster until memory ends.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        As for predict.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    """
    from dnabert2_fast.finetuning.evaluation import evaluate as run

    values = run(
        model,
        table,
        out,
        batch_tokens=batch_tokens,
        attention=attention,
        dtype=dtype,
        device=device,
        rna=rna,
    )
    print(f"{out}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
