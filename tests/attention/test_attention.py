"""Attention on packed sequences equals the formula, written out."""

import math

import numpy as np
import pytest
import torch
from helpers.attention import naive, packed
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert2_fast.attention import alibi_slopes, attention, report, sdpa
from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.skipping import key_ranges
from dnabert2_fast.errors import BackendUnavailableError


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


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of eight queries, so that short sequences have far keys to leave out."""
    monkeypatch.setattr(sdpa, "LONG", 8)
    monkeypatch.setattr(sdpa, "QUERY_BLOCK", 8)


def dense(q, k, v, slopes):
    """One sequence with the whole bias, in the precision of its input."""
    rows, keys, values = (x.transpose(0, 1)[None] for x in (q, k, v))
    bias = alibi_bias(slopes, range(len(q)), range(len(q)), q.dtype)
    done = torch.nn.functional.scaled_dot_product_attention(
        rows, keys, values, attn_mask=bias[None]
    )
    return done[0].transpose(0, 1)


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(9, 90),
    seed=st.integers(0, 10**6),
    norms=st.lists(st.sampled_from([1e-3, 0.1, 1.0, 10.0, 60.0]), min_size=3, max_size=3),
    outliers=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 89), st.sampled_from([1e-6, 30.0, 1e3, 1e6])),
        max_size=4,
    ),
    slope=st.sampled_from([0.75, 5.0, 40.0]),
)
def test_leaving_out_far_keys_changes_nothing(length, seed, norms, outliers, slope):
    """Norms large and small, single tokens with huge queries, keys or values, anywhere.

    Keys are left out as for float32, and all else is computed in float64. So only a key left out
    can change the result by as much as the rounding of float32.
    """
    qkv, borders = packed([length], 2, 8, seed)
    qkv = [x * norm for x, norm in zip(qkv, norms, strict=True)]
    for which, position, norm in outliers:
        qkv[which][position % length, 0] *= norm
    slopes = torch.tensor([slope, slope / 4])  # products with distances are exact
    left_out = []

    def ranges(q, k, v, slopes, block):
        found = key_ranges(q.float(), k.float(), v.float(), slopes, block)
        left_out.append(1 - float(found.diff().float().mean()) / length)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdpa, "LONG", 8)
        patch.setattr(sdpa, "QUERY_BLOCK", 8)
        patch.setattr(sdpa, "key_ranges", ranges)
        got = attention(*(x.double() for x in qkv), **borders, alibi_slopes=slopes)
    want = naive(*qkv, [length], slopes)
    if not left_out[0]:
        return
    scale = qkv[2].double().norm(dim=-1).mean(0)[None, :, None]
    assert ((got - want).abs() <= torch.finfo(torch.float32).eps / 2 * scale).all()


def test_far_keys_are_left_out_unless_they_matter():
    q, k, v = (x.transpose(0, 1)[None] for x in packed([4096], 2, 16)[0])
    slopes = torch.tensor([0.5, 0.001])
    plain = key_ranges(q, k, v, slopes, 256)
    assert plain[8, 0].tolist() == [7 * 256, 10 * 256]
    assert plain[8, 1].tolist() == [0, 4096]
    seen = k.clone()
    seen[0, 0, 3000] *= 1e4
    assert key_ranges(q, seen, v, slopes, 256)[0, 0].tolist() == [0, 12 * 256]
    for broken in (math.nan, math.inf):
        seen[0, 0, 4000] = broken
        assert key_ranges(q, seen, v, slopes, 256)[0, 0].tolist() == [0, 4096]
    large = v.clone()
    large[0, 0, 100] *= 1e30
    wide = key_ranges(q, k, large, slopes, 256) != plain
    assert wide[:, 0].any()


def test_gradients_without_far_keys(short_blocks):
    slopes = torch.tensor([4.0, 0.3])
    qkv, borders = packed([70, 3, 41], 2, 8)
    leaves = [x.clone().requires_grad_() for x in qkv]
    attention(*leaves, **borders, alibi_slopes=slopes).square().sum().backward()
    exact = [x.clone().double().requires_grad_() for x in qkv]
    naive(*exact, [70, 3, 41], slopes).square().sum().backward()
    for ours, theirs in zip(leaves, exact, strict=True):
        assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_without_far_keys(short_blocks, dtype):
    slopes = torch.tensor([4.0, 0.3])
    qkv, borders = packed([120], 2, 8)
    half = [x.to(dtype) for x in qkv]
    want = naive(*half, [120], slopes)
    got = attention(*half, **borders, alibi_slopes=slopes).double()
    theirs = (dense(*half, slopes).double() - want).abs().max()
    assert (got - want).abs().max() <= 2 * theirs


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [16, 64, 128])
def test_eight_thousand_tokens(dtype, size):
    """Values and gradients within twice the error of the same precision written out plainly."""
    slopes = torch.tensor([0.7071068])
    qkv, borders = packed([8192], 1, size)
    results = []
    for run in ("ours", "plain", "exact"):
        kind = torch.float64 if run == "exact" else dtype
        leaves = [x.to(dtype).to(kind).clone().requires_grad_() for x in qkv]
        if run == "ours":
            out = attention(*leaves, **borders, alibi_slopes=slopes)
        elif run == "plain":
            out = dense(*leaves, slopes)
        else:
            out = naive(*leaves, [8192], slopes)
        out.backward(qkv[0].to(dtype).to(kind))
        results.append([out.detach().double(), *(x.grad.double() for x in leaves)])
    for ours, plain, exact in zip(*results, strict=True):
        floor = torch.finfo(dtype).eps * exact.abs().max()
        assert (ours - exact).abs().max() <= 2 * (plain - exact).abs().max() + floor


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
    with pytest.raises(BackendUnavailableError, match='must be one of "auto", "triton"'):
        attention(*qkv, **borders, alibi_slopes=alibi_slopes(1), backend="magic")
    statuses = report(torch.device("cpu"), torch.float32)
    assert statuses[0].name == "sdpa"
    assert statuses[0].runs
    assert all(status.reason for status in statuses if not status.runs)


def test_no_scores_are_none_left_out():
    from dnabert2_fast.attention import count_scores

    with count_scores() as scores:
        pass
    assert scores.left_out == 0
