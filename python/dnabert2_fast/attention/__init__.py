"""Attention with ALiBi on packed sequences: one function and one table of backends.

A backend is chosen by what runs on the device with the dtype, not by what can be imported. Before
its first use on an accelerator it must compute a small example correctly, forward and backward. A
backend that is requested by name either runs or raises an error with the reason and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch

from dnabert2_fast._internal.extras import install
from dnabert2_fast._internal.torch_compile import constant_result
from dnabert2_fast.attention.alibi import alibi_slopes
from dnabert2_fast.attention.sdpa import attention_sdpa
from dnabert2_fast.attention.skipping import Scores, count_scores
from dnabert2_fast.attention.weights import attention_weights
from dnabert2_fast.errors import BackendUnavailableError

__all__ = [
    "BackendStatus",
    "Scores",
    "alibi_slopes",
    "attention",
    "attention_weights",
    "count_scores",
    "explain",
    "report",
    "select",
]

HALF = (torch.float16, torch.bfloat16)

# Head size of the small example when no model is given: the published one's.
PROBED_HEAD_DIM = 64


class _Backend(NamedTuple):
    """The function of a backend, and its requirements."""

    module: str
    function: str
    library: str = "torch"
    remedy: str = ""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, *HALF)
    capability: tuple[int, int] = (0, 0)
    max_head_dim: int | None = None


class BackendStatus(NamedTuple):
    """Whether a backend runs here, and the reason.

    Attributes
    ----------
    name : str
        Name of the backend.
    runs : bool
        Whether it runs.
    reason : str
        Why it was chosen, or why it does not run.
    """

    name: str
    runs: bool
    reason: str


# In the order of preference of "auto".
_BACKENDS = {
    "triton": _Backend(
        "triton_varlen",
        "attention_triton",
        "triton",
        "pip install triton",
        capability=(8, 0),
        max_head_dim=128,
    ),
    "flash_attn": _Backend(
        "flash", "attention_flash", "flash_attn", "pip install flash-attn", HALF, (8, 0), 256
    ),
    "flex": _Backend("flex", "attention_flex", "triton", "pip install triton", capability=(8, 0)),
    "sdpa": _Backend("sdpa", "attention_sdpa"),
    "xformers": _Backend("xformers", "attention_xformers", "xformers", install("xformers")),
}


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    alibi_slopes: torch.Tensor,
    dropout_p: float = 0.0,
    backend: str = "auto",
) -> torch.Tensor:
    """Return ``softmax(q k^T / sqrt(head_dim) - slope * |i - j|) v``, per sequence.

    Parameters
    ----------
    q, k, v : Tensor, shape (total_tokens, heads, head_dim)
        All sequences one after the other.
    cu_seqlens : Tensor of int32, shape (n + 1,)
        Borders of the sequences: first 0, last ``total_tokens``.
    max_seqlen : int
        Tokens of the longest sequence.
    alibi_slopes : Tensor of float32, shape (heads,)
        See `alibi_slopes`.
    dropout_p : float
        Probability of dropping an attention weight (training).
    backend : str
        ``"auto"`` or a name from `report`.

    Returns
    -------
    Tensor, shape (total_tokens, heads, head_dim)

    Raises
    ------
    BackendUnavailableError
        When the requested `backend` cannot run here.

    Examples
    --------
    >>> q = torch.randn(5, 2, 16)
    >>> borders = torch.tensor([0, 2, 5], dtype=torch.int32)
    >>> attention(
    ...     q, q, q, cu_seqlens=borders, max_seqlen=3, alibi_slopes=alibi_slopes(2)
    ... ).shape
    torch.Size([5, 2, 16])
    """
    return _functions[select(backend, q.device, q.dtype, q.shape[-1])](
        q,
        k,
        v,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
    )


@constant_result
def select(
    backend: str, device: torch.device, dtype: torch.dtype, head_dim: int = PROBED_HEAD_DIM
) -> str:
    """Return the name of the backend that runs.

    Parameters
    ----------
    backend : str
        Name of a backend, or ``"auto"``.
    device : torch.device
        Where the model is.
    dtype : torch.dtype
        Of queries, keys and values.
    head_dim : int
        Size of a head.

    Returns
    -------
    str

    Raises
    ------
    BackendUnavailableError
        When the backend does not run there.
    """
    if backend != "auto" and backend not in _BACKENDS:
        known = ", ".join(f'"{name}"' for name in ("auto", *_BACKENDS))
        raise BackendUnavailableError(f'attention: must be one of {known} (got "{backend}").')
    if backend == "auto":
        backend = next(
            name for name in _BACKENDS if _unavailable_reason(name, device, dtype, head_dim) is None
        )
    reason = _unavailable_reason(backend, device, dtype, head_dim)
    if reason is not None:
        raise BackendUnavailableError(f'attention="{backend}": {reason}. Use attention="auto".')
    _load(backend)
    return backend


def report(device: torch.device, dtype: torch.dtype) -> list[BackendStatus]:
    """Return all backends: those that run, by preference, then the others.

    Parameters
    ----------
    device : torch.device
        Where the model is.
    dtype : torch.dtype
        Of queries, keys and values.

    Returns
    -------
    list of BackendStatus
    """
    reasons = {name: _unavailable_reason(name, device, dtype) for name in _BACKENDS}
    statuses = [BackendStatus(name, why is None, why or "") for name, why in reasons.items()]
    return sorted(statuses, key=lambda status: not status.runs)


def explain(backend: str, device: torch.device, dtype: torch.dtype) -> BackendStatus:
    """Return the backend that runs, and why it was chosen.

    Parameters
    ----------
    backend : str
        Name of a backend, or ``"auto"``.
    device : torch.device
        Where the model is.
    dtype : torch.dtype
        Of queries, keys and values.

    Returns
    -------
    BackendStatus

    Raises
    ------
    BackendUnavailableError
        When the backend does not run there.
    """
    name = select(backend, device, dtype)
    if backend != "auto":
        return BackendStatus(name, True, "requested")
    reason = "the first that runs here"
    for better in _BACKENDS:
        if better == name:
            break
        reason += f"; {better}: {_unavailable_reason(better, device, dtype)}"
    return BackendStatus(name, True, reason)


# Backends that were requested, so that a library is imported only when it is used.
_functions: dict[str, Callable[..., torch.Tensor]] = {}


def _load(name: str) -> Callable[..., torch.Tensor]:
    if name not in _functions:
        module = import_module(f"dnabert2_fast.attention.{_BACKENDS[name].module}")
        _functions[name] = getattr(module, _BACKENDS[name].function)
    return _functions[name]


@lru_cache
def _unavailable_reason(
    name: str, device: torch.device, dtype: torch.dtype, head_dim: int = PROBED_HEAD_DIM
) -> str | None:
    """Return why a backend cannot run, None when it can."""
    backend = _BACKENDS[name]
    if name == "sdpa":
        return None
    if backend.max_head_dim is not None and head_dim > backend.max_head_dim:
        return f"supports heads of at most {backend.max_head_dim} dimensions (got {head_dim})"
    if dtype not in backend.dtypes:
        return f"does not support {str(dtype).removeprefix('torch.')}"
    if device.type != "cuda":
        return f"needs a CUDA device (got {device.type})"
    if not find_spec(backend.library):
        return f"{backend.library} is not installed: {backend.remedy}"
    found = torch.cuda.get_device_capability(device)
    if found < backend.capability:
        needed, has = (".".join(map(str, pair)) for pair in (backend.capability, found))
        return f"needs compute capability {needed} (this card has {has})"
    return _failure(name, device, dtype, head_dim)


@lru_cache
def _failure(
    name: str, device: torch.device, dtype: torch.dtype, head_dim: int = PROBED_HEAD_DIM
) -> str | None:
    """Return what is wrong with the result of a small example, None when it is correct.

    The reference is the same computation in float64 on the CPU, which does not depend on settings
    of the device.
    """
    with torch.inference_mode(False), torch.enable_grad():
        draws = torch.Generator().manual_seed(0)
        lengths = [1, 19, 70]
        borders = torch.tensor([0, 1, 20, 90], dtype=torch.int32)
        slopes = alibi_slopes(2)
        shape = (sum(lengths), 2, head_dim)
        inputs = [torch.randn(shape, generator=draws).to(dtype) for _ in range(4)]

        def run(
            function: Callable[..., torch.Tensor], device: torch.device, dtype: torch.dtype
        ) -> list[torch.Tensor]:
            *leaves, grad = (x.to(device, dtype, copy=True) for x in inputs)
            out = function(
                *(x.requires_grad_() for x in leaves),
                cu_seqlens=borders.to(device),
                max_seqlen=max(lengths),
                alibi_slopes=slopes.to(device),
                dropout_p=0.0,
            )
            return [out.detach(), *torch.autograd.grad(out, leaves, grad)]

        try:
            results = run(_load(name), device, dtype)
        except Exception as error:
            return f"failed on a small example: {type(error).__name__}: {error}".split("\n")[0]
        exact = run(attention_sdpa, torch.device("cpu"), torch.float64)
    errors = [
        float((ours.cpu().double() - theirs).abs().max() / theirs.abs().max())
        for ours, theirs in zip(results, exact, strict=True)
    ]
    # NaN is not below the limit either.
    if not all(off <= 40 * torch.finfo(dtype).eps for off in errors):
        return f"is wrong by {', '.join(f'{off:.1e}' for off in errors)} on a small example"
    return None
