"""Settings of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from dnabert2_fast.finetuning.config import Mode, Pooling

__all__ = ["GueConfig"]


@dataclass(frozen=True)
class GueConfig:
    """Settings of GUE; default epochs, rates and batches are the paper's for each set.

    Parameters
    ----------
    data
        Folder of the benchmark with EMP/H3, mouse/0, ..., each with train, dev and test (.csv or
        .csv.gz). Missing sets are skipped and named.
    out
        Folder for result files and the report; the same command resumes a stopped run.
    model
        Checkpoints to run, folders or hub ids: DNABERT-2, DNABERT, Nucleotide Transformer,
        Llama-type.
    tasks
        Sets (EMP/H3), tasks (EMP, TF-M, CVC, TF-H, PD, CPD, SSP, SC-F, SC-V, EPI) or GUE, GUE+.
        Default: all.
    systems
        kmers (logistic regression, always run), cnn (a small network from scratch), model.
    modes
        How models are trained: frozen (only the head), lora, full.
    pooling
        Input of the head for models of this architecture: cls, the first token; mean, the mean of
        all tokens. Default: the one in the checkpoint's config.json. Other models have their own
        heads.
    seeds
        Number of runs, with the seeds seed, seed + 1, ...; kmers has no seed and runs once.
    seed
        The first seed.
    epochs
        Epochs of models, instead of the paper's.
    learning_rate
        Learning rate of models, in all modes, instead of the paper's.
    batch_tokens
        Maximum tokens per batch in evaluation.
    device
        auto (CUDA if available, else cpu) or cpu.
    attention
        Attention backend; see `dnabert2-fast doctor`.

    Examples
    --------
    >>> config = GueConfig("GUE", out="report", model=("run",), modes=("frozen", "full"), seeds=3)
    >>> config.systems, config.tasks  # () means all
    (('kmers', 'cnn', 'model'), ())
    """

    data: str
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")]
    model: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    systems: tuple[Literal["kmers", "cnn", "model"], ...] = ("kmers", "cnn", "model")
    modes: tuple[Mode, ...] = ("full",)
    pooling: Pooling | None = None
    seeds: int = 1
    seed: int = 42
    epochs: int | None = None
    learning_rate: float | None = None
    batch_tokens: int = 16_384
    device: str = "auto"
    attention: str = "auto"
