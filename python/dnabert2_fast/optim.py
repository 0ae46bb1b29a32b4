"""Learning rates by step, and optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["PUBLISHED_WIDTH", "RATES", "finetuning_rate", "learning_rate", "make_optimizers"]

# Maximum rates of fine-tuning at the published width: the paper's for all parameters, the usual
# ones for adapters and for a head alone.
RATES = {"full": 3e-5, "lora": 3e-4, "frozen": 1e-3}
PUBLISHED_WIDTH = 768

BETAS, EPS = (0.9, 0.98), 1e-6  # of MosaicBERT and the DNABERT-2 paper


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, decay_steps: int, steps: int
) -> float:
    """Return the rate of a step: linear rise, constant part, linear decay to 0.

    Parameters
    ----------
    step : int
        Counted from 0.
    peak : float
        Maximum rate.
    warmup_steps, decay_steps : int
        Steps of the rise, and of the decay.
    steps : int
        Number of all steps.

    Returns
    -------
    float

    Examples
    --------
    >>> arguments = dict(peak=1.0, warmup_steps=2, decay_steps=4, steps=6)
    >>> [learning_rate(step, **arguments) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    rise = (step + 1) / warmup_steps if warmup_steps else 1.0
    fall = (steps - step) / decay_steps if decay_steps else 1.0
    return peak * min(1.0, rise, fall)


def finetuning_rate(mode: str, hidden_size: int) -> float:
    """Return the maximum learning rate of a fine-tuning mode.

    With Adam the best rate of a matrix is inversely proportional to its width (Yang et al., "Tensor
    Programs V", 2022). The packaged model was measured at this rate (docs/gue_results.md).

    Parameters
    ----------
    mode : str
        ``"full"``, ``"lora"`` or ``"frozen"``.
    hidden_size : int
        Width of the model; narrower models have higher rates.

    Returns
    -------
    float

    Examples
    --------
    >>> finetuning_rate("full", 768), round(finetuning_rate("full", 256), 6)
    (3e-05, 9e-05)
    """
    return RATES[mode] * PUBLISHED_WIDTH / hidden_size


def make_optimizers(
    model: nn.Module, kind: str, weight_decay: float
) -> Sequence[torch.optim.Optimizer]:
    """Return the optimizers of a masked language model.

    Biases and norms have no weight decay. Under ``"muon"`` the matrices of the encoder's layers use
    Muon, with updates scaled to those of AdamW so that one learning rate fits both (Liu et al.
    2025); all other parameters use AdamW.

    Parameters
    ----------
    model : torch.nn.Module
        The caller sets the learning rate at each step.
    kind : str
        ``"adamw"`` or ``"muon"``.
    weight_decay : float
        Of matrices.

    Returns
    -------
    list of torch.optim.Optimizer

    Raises
    ------
    ValueError
        When the installed torch has no Muon.
    """
    muon, matrices, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif kind == "muon" and ".encoder.layer." in name:
            muon.append(parameter)
        else:
            matrices.append(parameter)
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS, fused=True)
    ]
    if muon:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(
                f"optimizer: torch {torch.__version__} has no Muon. Use torch >= 2.9, or adamw."
            )
        found.append(
            torch.optim.Muon(
                muon, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return found
