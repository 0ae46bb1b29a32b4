"""Settings of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dnabert2_fast.finetuning.config import Mode, Pooling

__all__ = ["GueConfig"]


@dataclass(frozen=True)
class GueConfig:
    """What to run of GUE; epochs, rates and batches are the paper's for each set if left out.

    Parameters
    ----------
    data
        Folder of the benchmark, with EMP/H3, mouse/0, ... in it, each with train, dev and test
        (.csv or .csv.gz). Sets that are not there are skipped and named.
    out
        Folder for result files and the report; started again, a run goes on.
    model
        Checkpoints to run, folders or hub ids: ours, DNABERT, Nucleotide Transformer, Llama-type.
    tasks
        Sets (EMP/H3), tasks (EMP, TF-M, CVC, TF-H, PD, CPD, SSP, SC-F, SC-V, EPI) or GUE, GUE+; all
        if left out.
    systems
        kmers (logistic regression, always run), cnn (a small network from scratch), model.
    modes
        How models are trained: frozen (the head alone), lora, full.
    pooling
        What the head of models of this architecture sees: cls, the first token; mean, the mean of
        all tokens. Left out: what the checkpoint's config.json says. Others have heads of their
        own.
    seeds
        Runs of each, with the seeds seed, seed + 1, ...; kmers has no seed and runs once.
    seed
        The first.
    epochs
        Of models, instead of the paper's.
    learning_rate
        Of models, in all modes, instead of the paper's.
    batch_tokens
        Tokens of one batch in evaluation.
    device
        auto (CUDA where there is one, else cpu), or cpu.
    attention
        Attention backend; see `dnabert2-fast doctor`.

    Examples
    --------
    >>> config = GueConfig("GUE", out="report", model=("run",), modes=("frozen", "full"), seeds=3)
    >>> config.systems, config.tasks  # () stands for all
    (('kmers', 'cnn', 'model'), ())
    """

    data: str
    out: str
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
