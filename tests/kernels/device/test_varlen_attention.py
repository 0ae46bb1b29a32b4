"""The Triton attention equals the formula, values and gradients."""

import math
from itertools import accumulate

import pytest
import torch

from dnabert2_fast.attention import alibi_slopes, count_scores, triton_varlen
from dnabert2_fast.attention.alibi import alibi_bias
from dnabert2_fast.attention.skipping import SLACK
from dnabert2_fast.attention.triton_varlen import Tiles

ON_GPU = torch.cuda.is_available()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles in a short sequence; on a GPU the real ones, and longer sequences."""
    if not ON_GPU:
        monkeypatch.setattr(triton_varlen, "tiles_for", lambda *_, **__: Tiles(32, 16, 4, 2))


def by_definition(q, k, v, lengths, slopes, dtype):
    """One sequence and head at a time, the whole bias, in the given precision."""
    out = []
    for stop, length in zip(accumulate(lengths), lengths, strict=True):
        rows = slice(stop - length, stop)
        a, b, c = (x[rows].transpose(0, 1).to(dtype) for x in (q, k, v))
        bias = alibi_bias(slopes, range(length), range(length), torch.float64).to(dtype)
        scores = a @ b.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias
        out.append((scores.softmax(-1) @ c).transpose(0, 1))
    return torch.cat(out)


def inputs(lengths, heads, size, dtype, device, seed=0):
    draws = torch.Generator().manual_seed(seed)
    qkv = torch.randn(sum(lengths), 3, heads, size, generator=draws).to(device, dtype)
    borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    return qkv, {"cu_seqlens": borders, "max_seqlen": max(lengths, default=0)}


def with_gradients(run, qkv, grad):
    leaf = qkv.detach().requires_grad_()
    out = run(*leaf.unbind(1))
    out.backward(grad.to(out.dtype))
    return [out.detach().double(), leaf.grad.double()]


def holds_the_rule(qkv, borders, lengths, slopes):
    """Off from float64 by at most twice what the same precision is when written out plainly."""
    grad = torch.randn(len(qkv), *qkv.shape[2:], generator=torch.Generator().manual_seed(1)).to(
        qkv.device
    )
    ours = with_gradients(
        lambda *x: triton_varlen.attention_triton(
            *x, **borders, alibi_slopes=slopes, dropout_p=0.0
        ),
        qkv,
        grad.to(qkv.dtype),
    )
    plain, exact = (
        with_gradients(
            lambda *x, d=d: by_definition(*x, lengths, slopes, d), qkv.to(d), grad.to(qkv.dtype)
        )
        for d in (qkv.dtype, torch.float64)
    )
    for mine, theirs, truth in zip(ours, plain, exact, strict=True):
        assert torch.isfinite(mine).all()
        floor = torch.finfo(qkv.dtype).eps * truth.abs().max()
        assert (mine - truth).abs().max() <= 2 * (theirs - truth).abs().max() + floor


@pytest.mark.parametrize("size", [16, 24, 64] if not ON_GPU else [16, 32, 64, 80, 96, 128])
def test_ragged_lengths(size, dtype, device):
    lengths = [1, 40, 3, 0, 64, 33] if not ON_GPU else [1, 513, 37, 0, 128, 1, 700, 2048]
    heads = 2 if not ON_GPU else 12
    qkv, borders = inputs(lengths, heads, size, dtype, device)
    holds_the_rule(qkv, borders, lengths, alibi_slopes(heads).to(device))


def test_single_tokens_and_an_empty_batch(device):
    qkv, borders = inputs([1, 1, 1], 2, 16, torch.float32, device)
    slopes = alibi_slopes(2).to(device)
    out = triton_varlen.attention_triton(
        *qkv.unbind(1), **borders, alibi_slopes=slopes, dropout_p=0.0
    )
    assert torch.allclose(out, qkv[:, 2], atol=1e-6)
    empty, borders = inputs([], 2, 16, torch.float32, device)
    leaf = empty.requires_grad_()
    out = triton_varlen.attention_triton(
        *leaf.unbind(1), **borders, alibi_slopes=slopes, dropout_p=0.0
    )
    out.sum().backward()
    assert out.shape == (0, 2, 16)


def test_steep_slopes_lose_no_digits(device):
    """The bias is split into a row's and a column's part; neither may swamp the scores."""
    lengths = [90] if not ON_GPU else [700]
    qkv, borders = inputs(lengths, 2, 16, torch.float32, device)
    holds_the_rule(qkv, borders, lengths, torch.tensor([8.0, 0.7], device=device))


@pytest.mark.parametrize(
    ("which", "position", "norm", "seen"),
    [(0, 3, 60.0, True), (1, 80, 60.0, True), (1, 80, 1e-6, False), (2, 80, 1e3, False)],
)
def test_far_keys_are_left_out_unless_they_matter(
    which, position, norm, seen, dtype, device, monkeypatch
):
    """Nothing changes, with single tokens of huge or tiny norms; against meeting all tiles."""
    lengths = [96, 20] if not ON_GPU else [4096, 700]
    slopes = torch.tensor([3.0, 0.2], device=device)
    qkv, borders = inputs(lengths, 2, 16, dtype, device)
    grad = torch.randn(len(qkv), 2, 16, generator=torch.Generator().manual_seed(1))

    def run(skip_from):
        monkeypatch.setattr(triton_varlen, "SKIP_FROM", skip_from)
        with count_scores() as scores:
            results = with_gradients(
                lambda *x: triton_varlen.attention_triton(
                    *x, **borders, alibi_slopes=slopes, dropout_p=0.0
                ),
                qkv,
                grad.to(device),
            )
        return results, scores

    _, plain = run(1)
    assert plain.left_out > 0.1
    qkv[position, which, 0] *= norm
    results, scores = run(1)
    whole, everything = run(10**9)
    assert everything.left_out == 0
    assert scores.total == plain.total == everything.total
    assert (scores.computed > plain.computed) == seen
    for some, all_of_it in zip(results, whole, strict=True):
        assert torch.isfinite(all_of_it).all()
        assert (some - all_of_it).abs().max() <= torch.finfo(dtype).eps * all_of_it.abs().max()


def test_the_blocks_met_are_those_of_the_bound(device, monkeypatch):
    """The kernels' ranges against the bound written out, tile by tile."""
    monkeypatch.setattr(triton_varlen, "SKIP_FROM", 1)
    lengths, slopes = [75, 1, 40], torch.tensor([3.0, 0.6], device=device)
    qkv, borders = inputs(lengths, 2, 16, torch.float32, device)
    qkv[60, 1, 1] *= 40
    q, k, v = qkv.unbind(1)
    launch = triton_varlen._Launch(q, k, v, slopes=slopes, backward=False, **borders)
    rows, block = launch.shape.rows, launch.shape.block
    plan = [tuple(entry) for entry in launch.plan.tolist() if entry[0] >= 0]
    assert plan == [
        (s, row)
        for length, s in sorted(((n, i) for i, n in enumerate(lengths)), key=lambda x: -x[0])
        for row in range(0, length, rows)
    ]
    eps = torch.finfo(torch.float32).eps
    for of_keys in (False, True):
        got = launch.ranges(of_keys=of_keys).tolist()
        for tile, (s, row) in enumerate(plan):
            start, length = sum(lengths[:s]), lengths[s]
            for head in range(2):
                x, y, z = (a[start : start + length, head].float() for a in (q, k, v))
                tile_rows = range(row, min(row + rows, length))
                needed = [
                    number
                    for number in range(-(-length // block))
                    if _needed(
                        x, y, z, tile_rows,
                        range(number * block, min((number + 1) * block, length)),
                        float(slopes[head]), math.log(length) - math.log(eps / 4), block, of_keys,
                    )
                ]  # fmt: skip
                first = min([row // block, *needed])
                last = max([min((row + rows) // block, -(-length // block)) - 1, *needed])
                assert got[head][tile] == [first, last + 1]


def _needed(q, k, v, tile, other, slope, margin, block, of_keys):
    queries, keys = (other, tile) if of_keys else (tile, other)
    scale = q.shape[-1] ** -0.5

    def of(x, positions):
        return x[positions.start : positions.stop]

    distance = max(0, tile.start - (other.start + block - 1), other.start - (tile.start + 31))
    highest = of(q, queries).norm(dim=-1).max() * scale * of(k, keys).norm(dim=-1).max()
    own = ((of(q, queries) * of(k, queries)).sum(-1) * scale).min()
    means = of(v, queries).norm(dim=-1).split(block)
    mean = min(float(x.mean()) for x in means)
    excess = math.log(max(1.0, float(of(v, keys).norm(dim=-1).max()) / mean))
    bound = highest * (1 + SLACK) + SLACK - own - slope * distance + excess
    return bool(bound >= -margin)


def test_dropout(device):
    """Rate, unbiasedness, and gradients through the same mask, found by finite differences."""
    lengths = [48]
    qkv, borders = inputs(lengths, 2, 16, torch.float32, device)
    slopes = torch.zeros(2, device=device)
    q, k, _ = qkv.unbind(1)
    seed = torch.tensor([7], device=device)

    def run(q, k, v):
        return triton_varlen.varlen_attention(
            q, k, v, borders["cu_seqlens"], slopes, seed, borders["max_seqlen"], 0.25
        )[0]

    # With one-hot values the output is the weights themselves.
    ones = torch.eye(48, device=device)[:, None].repeat(1, 2, 1)
    weights = run(*(torch.nn.functional.pad(x, (0, 32)) for x in (q, k)), ones)
    assert 0.2 < float((weights == 0).float().mean()) < 0.3
    whole = ((q * 1.0).transpose(0, 1) @ k.transpose(0, 1).transpose(1, 2) / 48**0.5).softmax(-1)
    kept = weights.transpose(0, 1) != 0
    assert torch.allclose(weights.transpose(0, 1)[kept], (whole / 0.75)[kept], rtol=1e-4)
    leaf = qkv.clone().requires_grad_()
    grad = torch.randn(48, 2, 16, generator=torch.Generator().manual_seed(2)).to(device)
    run(*leaf.unbind(1)).backward(grad)
    step = torch.randn(qkv.shape, generator=torch.Generator().manual_seed(3)).to(device)
    ahead, behind = (
        float((run(*(qkv + sign * 1e-2 * step).unbind(1)).double() * grad).sum())
        for sign in (1, -1)
    )
    assert math.isclose((ahead - behind) / 2e-2, float((leaf.grad * step).sum()), rel_tol=2e-3)


@pytest.mark.skipif(ON_GPU, reason="takes more memory than it touches, which a GPU has not")
def test_positions_beyond_31_bits(device):
    """Rows so far apart that the last one is beyond 2^31 numbers: as of a million tokens."""
    tokens, stride = 48, 3 << 24
    assert (tokens - 1) * stride > 2**31
    qkv, borders = inputs([tokens], 2, 16, torch.float16, device)
    try:
        wide = [torch.empty(tokens, stride, dtype=torch.float16) for _ in range(3)]
    except RuntimeError:
        pytest.skip("no address space for 15 GB that are not touched")
    slopes = alibi_slopes(2)
    apart = [room[:, :32].view(tokens, 2, 16) for room in wide]
    for x, mine in zip(apart, qkv.unbind(1), strict=True):
        x.copy_(mine)
    results = []
    for given in (qkv.unbind(1), apart):
        leaves = [x.detach().requires_grad_() for x in given]
        out = triton_varlen.attention_triton(*leaves, **borders, alibi_slopes=slopes, dropout_p=0.0)
        results.append([out, *torch.autograd.grad(out, leaves, out.detach())])
    for near, far in zip(*results, strict=True):
        assert torch.equal(near, far)
