"""Attention by its formula, and random packed inputs for it."""

import math

import numpy as np
import torch


def naive(q, k, v, lengths, slopes):
    """softmax(q k / sqrt(d) - slope |i - j|) v in float64, one sequence and head at a time."""
    out, start = [], 0
    for length in lengths:
        rows = slice(start, start + length)
        start += length
        distance = (torch.arange(length)[:, None] - torch.arange(length)[None]).abs()
        heads = []
        for h, slope in enumerate(slopes):
            scores = q[rows, h].double() @ k[rows, h].double().T / math.sqrt(q.shape[-1])
            weights = (scores - slope.double() * distance).softmax(-1)
            heads.append(weights @ v[rows, h].double())
        out.append(torch.stack(heads, 1))
    return torch.cat(out)


def packed(lengths, heads, size, seed=0):
    draws = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(sum(lengths), heads, size, generator=draws) for _ in range(3))
    cu_seqlens = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    return (q, k, v), {"cu_seqlens": cu_seqlens, "max_seqlen": max(lengths, default=0)}
