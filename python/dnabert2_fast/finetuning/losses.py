"""From a task to a model: its head, its loss, and which of its parameters are trained."""

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
from dnabert2_fast.finetuning.task import IGNORED, Labelled, Task
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
    "probabilities",
]

Classifier = Dnabert2ForSequenceClassification | Dnabert2ForTokenClassification


def load_classifier(
    task: Task,
    folder: str,
    *,
    pooling: Pooling | None = None,
    attention: str = "auto",
    dtype: str = "float32",
    device: str = "cpu",
) -> Classifier:
    """Read a model as what a task needs, with a fresh head if it has none of that size.

    `pooling` is what the head sees of a sequence; the checkpoint's own when left out.
    """
    kind: type[Classifier] = Dnabert2ForSequenceClassification
    if task.by_position:
        kind = Dnabert2ForTokenClassification
    with warnings.catch_warnings():
        # Pooler and classifier drawn fresh are what fine-tuning begins with.
        warnings.filterwarnings("ignore", message=".*drawn fresh", category=UserWarning)
        return kind.from_pretrained(
            folder,
            attention=attention,
            dtype=dtype,
            device=device,
            num_labels=len(task.names),
            classifier_pooling=pooling,
        )


def loss_of(
    kind: Kind, logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean loss of a batch.

    Cross-entropy for classes, tokens and bases (a base's logits are its token's), binary
    cross-entropy for labels, squared error for numbers. `weights` are those of classes, or of the
    positives of each label.
    """
    logits = logits.float()
    if kind == "multiclass":
        return F.cross_entropy(logits, wanted, weight=weights)
    if kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights)
    if kind == "regression":
        return F.mse_loss(logits, wanted)
    counts = wanted if weights is None else wanted * weights
    # A batch in which nothing is asked has loss 0, not 0 / 0.
    return -(counts * logits.log_softmax(-1)).sum() / counts.sum().clamp(min=1e-9)


def probabilities(kind: Kind, logits: torch.Tensor) -> torch.Tensor:
    """Return probabilities in float64; numbers stay what they are."""
    logits = logits.double()
    if kind == "regression":
        return logits
    return logits.sigmoid() if kind == "multilabel" else logits.softmax(-1)


def class_weights(given: str, task: Task, table: Labelled) -> torch.Tensor | None:
    """Return the weights of the loss.

    Parameters
    ----------
    given : str
        ``"none"``; ``"balanced"`` (rows / (classes * rows of the class), as scikit-learn has it; of
        a label negatives / positives); or numbers with commas, one a class.
    task : Task
    table : Labelled
        The training table.

    Raises
    ------
    ValueError
        When `given` is none of these, or the task has no classes.
    """
    if given == "none":
        return None
    if task.kind == "regression":
        raise ValueError(f"class_weights: {given} needs classes; this is a regression")
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
            f'class_weights: "{given}" is neither none nor balanced nor {len(task.names)} numbers '
            "with commas, none below 0 and not all 0"
        )
    return torch.tensor(numbers)


def freeze_encoder(model: Classifier) -> None:
    """Leave only the head (pooler and classifier) to be trained."""
    for part in (model.bert.embeddings, model.bert.encoder):
        part.requires_grad_(False)


def add_lora(
    model: Classifier, *, rank: int, alpha: float, dropout: float, layers: Sequence[str]
) -> PeftModel:
    """Freeze the encoder and put low-rank adapters (Hu et al., ICLR 2022) beside its matrices.

    The head is trained as a whole. Layers are matched in the encoder alone: the pooler has a
    ``dense`` too, which is fresh in most checkpoints.

    Raises
    ------
    ValueError
        When the encoder has no matrix of such a name; lists those it has.
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
            f"lora_targets: {', '.join(strange) or 'none given'}; the encoder has "
            f"{', '.join(sorted(linear))}"
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
