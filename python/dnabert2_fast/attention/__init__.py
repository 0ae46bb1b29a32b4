"""Attention with ALiBi on packed sequences: one function and one table of backends.

A backend is chosen by what runs on the device and dtype at hand, never by what can be imported. A
backend asked for by name either runs or is an error that says why not and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch

from dnabert2_fast.attention import sdpa
from dnabert2_fast.attention.alibi import alibi_slopes
from dnabert2_fast.errors import BackendUnavailableError

__all__ = ["BackendStatus", "alibi_slopes", "attention", "report", "select"]


class _Backend(NamedTuple):
    run: Callable[..., torch.Tensor]
    unavailable: Callable[[torch.device, torch.dtype], str | None]


class BackendStatus(NamedTuple):
    """Whether a backend runs here, and why or why not."""

    name: str
    runs: bool
    reason: str


# In the order in which "auto" prefers them.
_BACKENDS = {"sdpa": _Backend(sdpa.attention_sdpa, sdpa.unavailable)}

# Libraries that people look for; this version has no path through them, and says so.
_OTHERS = {"triton": "triton", "flash_attn": "flash_attn", "xformers": "xformers"}


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
    """Return ``softmax(q k^T / sqrt(head_dim) - slope * |i - j|) v``, each sequence by itself.

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
        Share of attention weights to drop (training).
    backend : str
        ``"auto"`` or a name from `report`.

    Returns
    -------
    Tensor, shape (total_tokens, heads, head_dim)

    Raises
    ------
    BackendUnavailableError
        When `backend` names one that cannot run here.

    Examples
    --------
    >>> q = torch.randn(5, 2, 16)
    >>> borders = torch.tensor([0, 2, 5], dtype=torch.int32)
    >>> attention(
    ...     q, q, q, cu_seqlens=borders, max_seqlen=3, alibi_slopes=alibi_slopes(2)
    ... ).shape
    torch.Size([5, 2, 16])
    """
    return _BACKENDS[select(backend, q.device, q.dtype)].run(
        q,
        k,
        v,
        cu_seqlens=cu_seqlens,
        max_seqlen=max_seqlen,
        alibi_slopes=alibi_slopes,
        dropout_p=dropout_p,
    )


def select(backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return the name of the backend that runs; raises as `attention` does."""
    for name, candidate in _BACKENDS.items():
        if backend in ("auto", name):
            reason = candidate.unavailable(device, dtype)
            if reason is None:
                return name
            if backend == name:
                raise BackendUnavailableError(f'attention="{name}": {reason}; use attention="auto"')
    known = ", ".join(f'"{name}"' for name in ("auto", *_BACKENDS))
    raise BackendUnavailableError(f'attention="{backend}": this version has {known}')


def report(device: torch.device, dtype: torch.dtype) -> list[BackendStatus]:
    """Return what runs on a device, in the order of preference, then what does not."""
    statuses = []
    for name, backend in _BACKENDS.items():
        reason = backend.unavailable(device, dtype)
        statuses.append(BackendStatus(name, reason is None, reason or ""))
    for name, module in _OTHERS.items():
        installed = "installed" if find_spec(module) else "not installed"
        statuses.append(
            BackendStatus(name, False, f"{installed}; this version has no backend for it")
        )
    return statuses
