"""Attention on packed sequences equals the formula, written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dnabert2_fast.attention import alibi_slopes, attention, report
from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.errors import BackendUnavailableError


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
    return (q, k, v), {"cu_seqlens": cu_seqlens, "max_seqlen": max(lengths)}


@given(st.lists(st.integers(0, 30) | st.just(7), min_size=1, max_size=6), st.integers(1, 5))
def test_formula(lengths, heads):
    slopes = alibi_slopes(heads)
    qkv, borders = packed(lengths, heads, 8)
    got = attention(*qkv, **borders, alibi_slopes=slopes)
    assert torch.allclose(got.double(), naive(*qkv, lengths, slopes), atol=2e-6)


def test_more_sequences_of_one_length_than_one_call_takes():
    lengths = [400] * 25 + [3]
    qkv, borders = packed(lengths, 2, 4)
    got = attention(*qkv, **borders, alibi_slopes=alibi_slopes(2))
    assert torch.allclose(got.double(), naive(*qkv, lengths, alibi_slopes(2)), atol=2e-6)


def test_long_sequences_and_gradients():
    """Beyond the query block; gradients against those of the formula."""
    slopes = alibi_slopes(3)
    lengths = [700, 5, 600, 600]
    qkv, borders = packed(lengths, 3, 8)
    leaves = [x.clone().requires_grad_() for x in qkv]
    attention(*leaves, **borders, alibi_slopes=slopes).square().sum().backward()
    exact = [x.clone().double().requires_grad_() for x in qkv]
    want = naive(*exact, lengths, slopes)
    want.square().sum().backward()
    assert torch.allclose(attention(*qkv, **borders, alibi_slopes=slopes).double(), want, atol=2e-6)
    for ours, theirs in zip(leaves, exact, strict=True):
        assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-5)


def test_slopes_and_bias_are_the_reference_numbers(data):
    golden = np.load(data / "golden" / "alibi.npz")
    names = [name for name in golden.files if name.startswith("slopes_")]
    assert len(names) == 10
    for name in names:
        np.testing.assert_allclose(alibi_slopes(int(name[7:])), golden[name], rtol=1e-7)
    for heads in (3, 12):
        bias = alibi_bias(alibi_slopes(heads), range(16), range(16), torch.float32)
        np.testing.assert_allclose(bias, golden[f"bias_{heads}_len16"], rtol=1e-7)


def test_backends_by_name():
    qkv, borders = packed([3], 1, 4)
    with pytest.raises(BackendUnavailableError, match='this version has "auto", "sdpa"'):
        attention(*qkv, **borders, alibi_slopes=alibi_slopes(1), backend="magic")
    statuses = report(torch.device("cpu"), torch.float32)
    assert statuses[0].name == "sdpa"
    assert statuses[0].runs
    assert all(status.reason for status in statuses if not status.runs)
