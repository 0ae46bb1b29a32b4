"""A plain training loop for models that take padded batches: the CNN and other checkpoints.

AdamW, a linear rise and decay of the rate, dev scored after every epoch, the best epoch kept. This
is the procedure of `finetune`, which uses packed batches and supports only this package's encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from dnabert2_fast._internal.progress import progress
from dnabert2_fast.finetuning.metrics import BEST_BY, scores

__all__ = ["Fit", "Logits", "fit", "probabilities_of"]

Logits = Callable[[npt.NDArray[np.int64]], torch.Tensor]
"""From numbers of rows to the model's outputs for them, shape (rows, classes)."""


class Fit(NamedTuple):
    """Duration and rate of training; names as in `FinetuneConfig`."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 50
    weight_decay: float = 0.01
    patience: int | None = None


def fit(
    model: nn.Module,
    rule: Fit,
    train: Logits,
    labels: npt.NDArray[np.int64],
    dev: Callable[[], npt.NDArray[np.float64]],
    dev_labels: npt.NDArray[np.int64],
    *,
    seed: int,
    frozen: nn.Module | None = None,
) -> None:
    """Train the parameters that require gradients; the model ends as after its best epoch on dev.

    Parameters
    ----------
    model : Module
    rule : Fit
    train : callable
        Outputs for rows of the training table.
    labels : ndarray of int64, shape (rows,)
    dev : callable
        Probabilities for all of dev.
    dev_labels : ndarray of int64
    seed : int
        Seed of the order of rows.
    frozen : Module, optional
        A part that stays in evaluation mode, without dropout.
    """
    wanted = torch.from_numpy(labels)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, rule.learning_rate, weight_decay=rule.weight_decay)
    steps = rule.epochs * -(-len(labels) // rule.batch_size)

    def share(step: int) -> float:
        rise = min(1.0, step / max(rule.warmup_steps, 1))
        return min(rise, (steps - step) / max(steps - rule.warmup_steps, 1))

    schedule = LambdaLR(optimizer, share)
    rng = np.random.default_rng(seed)
    best, best_state, since = -np.inf, {}, 0
    with progress(steps, "training", "steps") as bar:
        for epoch in range(rule.epochs):
            model.train()
            if frozen is not None:
                frozen.eval()
            order = rng.permutation(len(labels))
            for start in range(0, len(order), rule.batch_size):
                rows = order[start : start + rule.batch_size]
                logits = train(rows)
                loss = F.cross_entropy(logits.float(), wanted[rows].to(logits.device))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                bar.update()
            model.eval()
            score = scores(dev_labels, dev())[BEST_BY["multiclass"]]
            bar.note(epoch=epoch + 1, dev=score)
            since += 1
            if score > best:
                names = {name for name, p in model.named_parameters() if p.requires_grad}
                names |= {name for name, _ in model.named_buffers()}
                state = model.state_dict()
                kept = {name: state[name].clone() for name in names if name in state}
                best, best_state, since = score, kept, 0
            if rule.patience is not None and since >= rule.patience:
                break
    model.load_state_dict(best_state, strict=False)
    model.eval()


def probabilities_of(
    outputs: Logits, lengths: npt.NDArray[np.int64], batch_tokens: int
) -> npt.NDArray[np.float64]:
    """Return class probabilities of all rows, in batches of sequences of similar length.

    Parameters
    ----------
    outputs : callable
    lengths : ndarray of int64, shape (rows,)
        Size of a row: tokens, or bases.
    batch_tokens : int
        Maximum size of a padded batch; a longer sequence has its own batch.
    """
    order = np.argsort(lengths, kind="stable")
    parts, start = [], 0
    with torch.inference_mode():
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * lengths[order[end]] <= batch_tokens:
                end += 1
            logits = outputs(order[start:end])
            parts.append(logits.double().softmax(-1).cpu().numpy())
            start = end
    together = np.concatenate(parts)
    result = np.empty_like(together)
    result[order] = together
    return result
