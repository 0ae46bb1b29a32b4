"""The model of a task: its head, its loss, and which of its parameters are trained."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.finetuning.config import Kind, Pooling
from dnabert2_fast.finetuning.labels import IGNORED, Labelled
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.heads import (
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
)

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = [
    "Classifier",
    "add_lora",
    "class_weights",
    "freeze_encoder",
    "load_classifier",
    "loss_of",
    "loss_weight",
    "probabilities",
]

Classifier = Dnabert2ForSequenceClassification | Dnabert2ForTokenClassification


def load_classifier(
    task: Task,
    folder: str,
    *,
    pooling: Pooling | None = None,
    attention: str = "auto",
    dtype: str = "auto",
    device: str = "cpu",
) -> Classifier:
    """Read a model for a task; its head is randomly initialised unless the sizes match.

    `pooling` is the input of the head; the checkpoint's own if omitted.
    """
    kind: type[Classifier] = Dnabert2ForSequenceClassification
    if task.by_position:
        kind = Dnabert2ForTokenClassification
    with warnings.catch_warnings():
        # Fine-tuning starts with a random pooler and classifier on purpose.
        warnings.filterwarnings("ignore", message=".*randomly initialised", category=UserWarning)
        return kind.from_pretrained(
            folder,
            attention=attention,
            dtype=dtype,
            device=device,
            num_labels=len(task.names),
            classifier_pooling=pooling,
        )


def loss_of(
    kind: Kind,
    logits: torch.Tensor,
    wanted: torch.Tensor,
    weights: torch.Tensor | None,
    whole: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean loss of a batch; of a part of it, its share of that mean.

    Cross-entropy for multiclass, tokens and bases (a base has its token's logits), binary
    cross-entropy for multilabel, squared error for regression. `weights` are those of classes, or
    of the positives of each label. `whole` is `loss_weight` of the whole batch, by default of
    `wanted`.
    """
    logits = logits.float()
    if kind == "multiclass":
        total = F.cross_entropy(logits, wanted, weight=weights, reduction="sum")
    elif kind == "multilabel":
        total = F.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=weights, reduction="sum"
        )
    elif kind == "regression":
        total = F.mse_loss(logits, wanted, reduction="sum")
    else:
        counts = wanted if weights is None else wanted * weights
        total = -(counts * logits.log_softmax(-1)).sum()
    return total / (loss_weight(kind, wanted, weights) if whole is None else whole)


def loss_weight(kind: Kind, wanted: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return the sum of the weights in the mean loss of a batch."""
    if kind == "multiclass" and weights is not None:
        found = weights[wanted].sum()
    elif kind in ("multiclass", "multilabel", "regression"):
        found = torch.tensor(float(wanted.numel()))
    else:
        found = (wanted if weights is None else wanted * weights).sum()
    # A batch without labels, or whose classes all have weight 0, has loss 0 instead of 0 / 0.
    return found.clamp(min=1e-9)


def probabilities(kind: Kind, logits: torch.Tensor) -> torch.Tensor:
    """Return probabilities in float64; numbers are unchanged."""
    logits = logits.double()
    if kind == "regression":
        return logits
    return logits.sigmoid() if kind == "multilabel" else logits.softmax(-1)


def class_weights(given: str, task: Task, table: Labelled) -> torch.Tensor | None:
    """Return the weights of the loss.

    Parameters
    ----------
    given : str
        ``"none"``; ``"balanced"`` (rows / (classes * rows of the class), as in scikit-learn; for a
        label negatives / positives); or one number per class, separated by commas.
    task : Task
    table : Labelled
        The training table.

    Raises
    ------
    ValueError
        When `given` is not one of these, or the task has no classes.
    """
    if given == "none":
        return None
    if task.kind == "regression":
        raise ValueError(f'class_weights: must be "none" for regression (got "{given}").')
    if given == "balanced":
        if task.kind == "multilabel":
            positives = table.labels.sum(0).clip(min=1)
            return torch.tensor((len(table.labels) - positives) / positives, dtype=torch.float32)
        labels = table.labels[table.labels != IGNORED]
        counts = np.bincount(labels, minlength=len(task.names)).clip(min=1)
        return torch.tensor(len(labels) / (len(task.names) * counts), dtype=torch.float32)
    try:
        numbers = [float(part) for part in given.split(",")]
    except ValueError:
        numbers = []
    good = all(0 <= number < math.inf for number in numbers) and any(numbers)
    if len(numbers) != len(task.names) or not good:
        raise ValueError(
            f"class_weights: must be none, balanced or {len(task.names)} comma-separated numbers "
            f'>= 0, not all 0 (got "{given}").'
        )
    return torch.tensor(numbers)


def freeze_encoder(model: Classifier) -> None:
    """Train only the head (pooler and classifier)."""
    for part in (model.bert.embeddings, model.bert.encoder):
        part.requires_grad_(False)


def add_lora(
    model: Classifier, *, rank: int, alpha: float, dropout: float, layers: Sequence[str]
) -> PeftModel:
    """Freeze the encoder and add low-rank adapters (Hu et al., ICLR 2022) to its matrices.

    The head is trained completely. Layers are matched only in the encoder: the pooler has a
    ``dense`` too, which is randomly initialised in most checkpoints.

    Raises
    ------
    ValueError
        When the encoder has no matrix with such a name; lists its matrices.
    """
    with needs("an adapter"):
        from peft import LoraConfig, get_peft_model

    linear = {
        name.rpartition(".")[2]
        for name, part in model.bert.encoder.named_modules()
        if isinstance(part, torch.nn.Linear)
    }
    strange = [name for name in layers if name not in linear]
    if strange or not layers:
        raise ValueError(
            f"lora_targets: must be matrices of the encoder: {', '.join(sorted(linear))} (got "
            f"{', '.join(strange) or 'none'})."
        )
    heads = ["classifier"] if model.bert.pooler is None else ["pooler", "classifier"]
    names = "|".join(map(re.escape, layers))
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=rf".*encoder\.layer\..*\.({names})",
        modules_to_save=heads,
    )
    return get_peft_model(model, settings)
