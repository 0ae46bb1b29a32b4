"""Scaling of regression targets to unit deviation in training, and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.finetuning.losses import Classifier
from dnabert2_fast.finetuning.task import Task

__all__ = ["in_own_units", "standardised"]


def standardised(
    task: Task, tables: dict[str, Labelled]
) -> tuple[dict[str, Labelled], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return tables whose numbers have mean 0 and deviation 1 in training; other labels stay.

    A random head returns numbers near 0, and a learning rate fits one scale of the loss.
    """
    if task.kind != "regression":
        return tables, np.zeros(1), np.ones(1)
    labels = tables["train"].labels
    centre, scale = labels.mean(0), labels.std(0)
    scale[scale == 0] = 1
    scaled = {s: t._replace(labels=(t.labels - centre) / scale) for s, t in tables.items()}
    return scaled, centre, scale


def in_own_units(
    model: Classifier, centre: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> None:
    """Fold the inverse of `standardised` into the last layer."""
    last: Any = model.classifier
    last = getattr(last, "modules_to_save", {"default": last})["default"]  # the trained one of peft
    with torch.no_grad():
        by = torch.tensor(scale, dtype=last.weight.dtype, device=last.weight.device)
        last.weight.mul_(by[:, None])
        last.bias.mul_(by).add_(torch.tensor(centre, dtype=by.dtype, device=by.device))
