"""Fine-tuning on labelled tables, and prediction with the result.

`finetune` trains a classifier or regressor for sequences, pairs, tokens or bases. `Predictor` and
`predict` apply it to sequences, `predict_file` to files; `evaluate` compares answers with labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.finetuning.config import FinetuneConfig, PredictConfig
    from dnabert2_fast.finetuning.evaluation import evaluate
    from dnabert2_fast.finetuning.file import predict_file
    from dnabert2_fast.finetuning.predict import predict
    from dnabert2_fast.finetuning.predictor import Answers, Predictor
    from dnabert2_fast.finetuning.runs import FinetuneResult, finetune
    from dnabert2_fast.finetuning.task import Task

__all__ = [
    "Answers",
    "FinetuneConfig",
    "FinetuneResult",
    "PredictConfig",
    "Predictor",
    "Task",
    "evaluate",
    "finetune",
    "predict",
    "predict_file",
]

_HOME = {
    "Answers": "predictor",
    "FinetuneConfig": "config",
    "FinetuneResult": "runs",
    "PredictConfig": "config",
    "Predictor": "predictor",
    "Task": "task",
    "evaluate": "evaluation",
    "finetune": "runs",
    "predict": "predict",
    "predict_file": "file",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
