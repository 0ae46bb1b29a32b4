"""Learning rates by step, and optimizers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

__all__ = [
    "PUBLISHED_WIDTH",
    "RATES",
    "Muon",
    "finetuning_rate",
    "learning_rate",
    "make_optimizers",
]

# Maximum rates of fine-tuning at the published width: the paper's for all parameters, the usual
# ones for adapters and for a head alone.
RATES = {"full": 3e-5, "lora": 3e-4, "frozen": 1e-3}
PUBLISHED_WIDTH = 768

BETAS, EPS = (0.9, 0.98), 1e-6  # of MosaicBERT and the DNABERT-2 paper

# Of Muon (Jordan et al. 2024): coefficients and number of Newton-Schulz steps.
QUINTIC, NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5
MUON_MOMENTUM = 0.95


def learning_rate(at: float, *, peak: float, warmup: float, decay: float, length: float) -> float:
    """Return the rate at a step or second: linear rise, constant, linear decay.

    Parameters
    ----------
    at : float
        Steps or seconds so far.
    peak : float
        Maximum rate.
    warmup, decay : float
        Length of the rise, and of the decay.
    length : float
        Length of the whole run.

    Returns
    -------
    float

    Examples
    --------
    >>> arguments = dict(peak=1.0, warmup=2, decay=4, length=6)
    >>> [learning_rate(step, **arguments) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    rise = (at + 1) / warmup if warmup else 1.0
    fall = (length - at) / decay if decay else 1.0
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
    `Muon`; all other parameters use AdamW.

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
        found.append(Muon(muon, lr=0.0, weight_decay=weight_decay))
    return found


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates of matrices (Jordan et al. 2024).

    The same updates as ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``: scaled to those of
    AdamW, so that one learning rate fits both (Liu et al. 2025). Matrices of one shape are stacked,
    so that a step has as many products as there are shapes, not matrices.

    Parameters
    ----------
    params : iterable of Parameter
        Matrices.
    lr : float
    weight_decay : float

    Examples
    --------
    >>> matrix = nn.Parameter(torch.eye(2))
    >>> matrix.grad = torch.tensor([[0.0, 3.0], [-3.0, 0.0]])
    >>> Muon([matrix], lr=0.1, weight_decay=0.0).step()
    >>> (matrix.detach() - torch.eye(2)).abs().max() < 0.1  # of any scale of the gradient
    tensor(True)
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the matrices once.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients again.

        Returns
        -------
        float or None
            The loss of the closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            same_shape = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    same_shape[matrix.shape].append(matrix)
            for shape, matrices in same_shape.items():
                gradients = [matrix.grad for matrix in matrices]
                states = [self.state[matrix] for matrix in matrices]
                for state, gradient in zip(states, gradients, strict=True):
                    if not state:
                        state["momentum_buffer"] = torch.zeros_like(gradient)
                momenta = [state["momentum_buffer"] for state in states]
                torch._foreach_lerp_(momenta, gradients, 1 - MUON_MOMENTUM)
                nesterov = torch._foreach_lerp(gradients, momenta, MUON_MOMENTUM)
                updates = _orthogonalised(torch.stack(nesterov).bfloat16()).to(matrices[0].dtype)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_add_(matrices, list(updates.unbind()), alpha=-rate)
        return loss


def _orthogonalised(batch: torch.Tensor) -> torch.Tensor:
    """Return matrices with nearly equal singular values, shape (n, rows, columns)."""
    a, b, c = QUINTIC
    is_tall = batch.shape[1] > batch.shape[2]
    x = batch.mT if is_tall else batch
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
