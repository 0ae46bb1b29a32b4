"""ALiBi attention on packed sequences with the flash-attn library (version 2, if installed).

Its bias is ``-slope * |i + Lk - Lq - j|``, which is the symmetric form when the numbers of queries
and keys are equal. Version 3 has no ALiBi; version 2 on the same card has it.
"""

from __future__ import annotations

import torch

__all__ = ["attention_flash"]


def attention_flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    alibi_slopes: torch.Tensor,
    dropout_p: float,
) -> torch.Tensor:
    """Return the attention of every sequence; arguments as in `dnabert2_fast.attention`."""
    from flash_attn import flash_attn_varlen_func

    out: torch.Tensor = flash_attn_varlen_func(
        q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen,
        dropout_p=dropout_p, alibi_slopes=alibi_slopes,
    )  # fmt: skip
    return out
