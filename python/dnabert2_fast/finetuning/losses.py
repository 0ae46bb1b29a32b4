"""From a task to a model: its head, its loss, what is trained of it; from tables to tokens."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.errors import DataError
from dnabert2_fast.finetuning.task import IGNORED, Kind, Labelled, Task
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.heads import (
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
)
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = [
    "LORA_TARGETS",
    "Classifier",
    "Inputs",
    "Mode",
    "Pooling",
    "add_lora",
    "bases_of",
    "class_weights",
    "encode",
    "freeze_encoder",
    "load_classifier",
    "loss_of",
    "probabilities",
    "targets",
]

Classifier = Dnabert2ForSequenceClassification | Dnabert2ForTokenClassification
Mode = Literal["full", "lora", "probe"]
Pooling = Literal["cls", "mean"]

LORA_TARGETS = ("Wqkv", "dense", "gated_layers", "wo")


class Inputs(NamedTuple):
    """Sequences as a model takes them.

    Attributes
    ----------
    ids : Ragged
    type_ids : ndarray of int64, shape (total_tokens,), or None
        Which sequence of a pair a token is of.
    spans : ndarray of int64, shape (total_tokens, 2), or None
        Letters of each token, for tasks with an answer for each token or base.
    """

    ids: Ragged
    type_ids: npt.NDArray[np.int64] | None = None
    spans: npt.NDArray[np.int64] | None = None

    def batch(self, rows: npt.NDArray[np.int64]) -> PackedBatch:
        """Return some of the sequences, packed."""
        batch = PackedBatch.from_ragged(self.ids.take(rows))
        if self.type_ids is None:
            return batch
        types = [self.type_ids[self.ids.offsets[i] : self.ids.offsets[i + 1]] for i in rows]
        return replace(batch, token_type_ids=torch.from_numpy(np.concatenate(types)))

    def spans_of(self, row: int) -> npt.NDArray[np.int64] | None:
        """Return the letters of one sequence's tokens, shape (tokens, 2)."""
        if self.spans is None:
            return None
        return self.spans[self.ids.offsets[row] : self.ids.offsets[row + 1]]


def encode(
    task: Task,
    tokenizer: Tokenizer,
    sequences: Sequence[str],
    pairs: Sequence[str] | None = None,
    max_length: int | None = None,
) -> Inputs:
    """Tokenize what a task needs; `max_length` cuts at the end (a pair's longer one first)."""
    if not task.pairs and not task.by_position:
        return Inputs(tokenizer.encode_batch(sequences, max_length=max_length))
    whole = tokenizer.encode_batch_detailed(sequences, pairs, max_length=max_length)
    if task.pairs:
        return Inputs(whole.ids, type_ids=whole.type_ids)
    return Inputs(whole.ids, spans=whole.offsets)


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


def targets(
    task: Task, label: npt.NDArray[Any], spans: npt.NDArray[np.int64] | None
) -> torch.Tensor:
    """Return what one row's outputs should be.

    Parameters
    ----------
    task : Task
    label : ndarray
        Of this row, as in `Labelled`.
    spans : ndarray of int64, shape (tokens, 2), or None
        Letters of its tokens, for tasks with an answer for each token or base.

    Returns
    -------
    Tensor
        For classes int64 of shape (); for labels and numbers float32 of shape (outputs,); for
        tokens and bases float32 of shape (tokens, classes): how many of a token's labels are of
        each class.

    Raises
    ------
    DataError
        When there are not as many labels as tokens.
    """
    if spans is None:
        return torch.as_tensor(
            label, dtype=torch.int64 if task.kind == "classes" else torch.float32
        )
    counts = np.zeros((len(spans), len(task.names)), np.float32)
    if task.kind == "bases":
        owner, base = bases_of(spans)
        label = label[base]
    else:
        owner = np.flatnonzero(spans[:, 1] > spans[:, 0])
        cut = task.max_length is not None and len(label) >= len(owner)
        if len(label) != len(owner) and not cut:
            raise DataError(f"a sequence has {len(owner)} tokens, its label {len(label)}")
        label = label[: len(owner)]
    asked = label != IGNORED
    np.add.at(counts, (owner[asked], label[asked]), 1)
    return torch.from_numpy(counts)


def bases_of(spans: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for every base that a token covers the token and the base, in order.

    >>> [a.tolist() for a in bases_of(np.array([[0, 0], [0, 2], [2, 3], [0, 0]]))]
    [[1, 1, 2], [0, 1, 2]]
    """
    lengths = spans[:, 1] - spans[:, 0]
    owner = np.repeat(np.arange(len(spans)), lengths)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return owner, np.arange(len(owner)) - first + spans[owner, 0]


def loss_of(
    kind: Kind, logits: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean loss of a batch.

    Cross-entropy for classes, tokens and bases (a base's logits are its token's), binary
    cross-entropy for labels, squared error for numbers. `weights` are those of classes, or of the
    positives of each label.
    """
    logits = logits.float()
    if kind == "classes":
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
