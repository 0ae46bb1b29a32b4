"""Masked-LM pre-training on a corpus.

`pretrain` runs on any number of processes, and a stopped run resumes at the same step with the
same windows and masks. A run folder holds settings, metrics, checkpoints and the final model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.pretraining.config import PretrainConfig
    from dnabert2_fast.pretraining.train import (
        PretrainingCallback,
        PretrainingRun,
        PretrainResult,
        pretrain,
    )

__all__ = [
    "PretrainConfig",
    "PretrainResult",
    "PretrainingCallback",
    "PretrainingRun",
    "pretrain",
]

_HOME = {
    "PretrainConfig": "config",
    "PretrainResult": "train",
    "PretrainingCallback": "train",
    "PretrainingRun": "train",
    "pretrain": "train",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
