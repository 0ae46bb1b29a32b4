"""Fused kernels equal the same formulas in plain torch, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dnabert2_fast import kernels
from dnabert2_fast.kernels import triton_masked_lm_loss
from dnabert2_fast.kernels.triton_add_norm import add_norm
from dnabert2_fast.kernels.triton_geglu import geglu
from dnabert2_fast.kernels.triton_masked_lm_loss import masked_lm_loss


def draw(*shape, dtype, device, seed=0):
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(device, dtype)


def compare(ours, plain, leaves, grad):
    """Results and gradients within twice the error of the same precision written out plainly."""
    results = []
    for run, kind in ((ours, None), (plain, None), (plain, torch.float64)):
        given = [x.to(kind or x.dtype).detach().requires_grad_() for x in leaves]
        out = run(*given)
        out.backward(grad.to(out.dtype) if out.ndim else None)
        results.append([out.detach().double(), *(x.grad.double() for x in given)])
    eps = torch.finfo(leaves[0].dtype).eps
    for mine, theirs, truth in zip(*results, strict=True):
        assert torch.isfinite(mine).all()
        error = (mine - truth).abs().max()
        assert error <= 2 * (theirs - truth).abs().max() + eps * truth.abs().max()


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_geglu(rows, dtype, device):
    def plain(x):
        gate, value = x.chunk(2, dim=-1)
        return F.gelu(gate) * value

    x = draw(rows, 96, dtype=dtype, device=device) * 3
    grad = draw(rows, 48, dtype=dtype, device=device, seed=1)
    if rows:
        compare(lambda x: geglu(x, x, 0.0), plain, [x], grad)
    else:
        assert geglu(x, x, 0.0).shape == (0, 48)


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("width", [48, 64])
def test_add_norm(rows, width, dtype, device):
    def plain(x, residual, weight, bias):
        return F.layer_norm(x + residual, (width,), weight, bias, 1e-12)

    def ours(x, residual, weight, bias):
        return add_norm(x, residual, weight, bias, x, 1e-12, 0.0)[0]

    leaves = [draw(rows, width, dtype=dtype, device=device, seed=s) for s in (0, 1)]
    leaves += [draw(width, dtype=dtype, device=device, seed=s) for s in (2, 3)]
    compare(ours, plain, leaves, draw(rows, width, dtype=dtype, device=device, seed=4))


def test_add_norm_of_more_rows_than_programs(device, monkeypatch):
    monkeypatch.setattr("dnabert2_fast.kernels.triton_add_norm.PROGRAMS", 3)
    test_add_norm(10, 48, torch.float32, device)


def dropped(run, x, grad, rate):
    """The output with dropout and the gradient of `x`; the same seed both times."""
    seed = torch.tensor([11], device=x.device)
    leaf = x.clone().requires_grad_()
    out = run(leaf, seed, rate)
    out.backward(grad)
    return out.detach(), leaf.grad


def test_dropout_of_geglu(device):
    x = draw(30, 128, dtype=torch.float32, device=device)
    grad = torch.ones(30, 64, device=device)
    whole, whole_grad = dropped(geglu, x, grad, 0.0)
    out, x_grad = dropped(geglu, x, grad, 0.25)
    kept = out != 0
    assert 0.2 < float((~kept).float().mean()) < 0.3
    assert torch.allclose(out[kept], whole[kept] / 0.75, rtol=1e-5)
    both = torch.cat([kept, kept], 1)
    assert torch.allclose(x_grad, torch.where(both, whole_grad / 0.75, 0), rtol=1e-5, atol=1e-7)
    other = geglu(x, torch.tensor([12], device=device), 0.25)
    assert not torch.equal(other != 0, kept)


def test_dropout_of_add_norm(device):
    """What was dropped can be read off the gradient; then the same mask in plain torch."""
    x = draw(30, 64, dtype=torch.float32, device=device).abs() + 0.1
    norm = nn.LayerNorm(64).to(device)
    residual = torch.zeros(30, 64, device=device, requires_grad=True)

    def run(x, seed, rate):
        return add_norm(x, residual, norm.weight, norm.bias, seed, norm.eps, rate)[0]

    grad = draw(30, 64, dtype=torch.float32, device=device, seed=1)
    out, x_grad = dropped(run, x, grad, 0.25)
    kept = x_grad != 0
    assert 0.2 < float((~kept).float().mean()) < 0.3
    leaf = x.clone().requires_grad_()
    want = norm(torch.where(kept, leaf / 0.75, 0))
    want.backward(grad)
    assert torch.allclose(out, want, atol=1e-5)
    assert torch.allclose(x_grad, leaf.grad, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 20])
def test_masked_lm_loss(rows, dtype, device, monkeypatch):
    """Seven rows of logits at a time, and a vocabulary that is not a power of two."""
    monkeypatch.setattr(triton_masked_lm_loss, "LOGITS", 7 * 50)
    monkeypatch.setattr(triton_masked_lm_loss, "BLOCK", 32)
    labels = torch.randint(50, (rows,), generator=torch.Generator().manual_seed(0)).to(device)

    def plain(hidden, weight, bias):
        return F.cross_entropy(F.linear(hidden, weight, bias), labels, reduction="sum")

    leaves = [draw(n, 16, dtype=dtype, device=device, seed=n) for n in (rows, 50)]
    leaves.append(draw(50, dtype=dtype, device=device))
    compare(lambda *x: masked_lm_loss(*x, labels)[0], plain, leaves, torch.tensor(1.0))


def test_masked_lm_loss_of_no_row(device):
    leaves = [torch.zeros(n, 16, device=device, requires_grad=True) for n in (0, 50)]
    bias = torch.zeros(50, device=device, requires_grad=True)
    loss = masked_lm_loss(*leaves, bias, torch.zeros(0, dtype=torch.int64, device=device))[0]
    loss.backward()
    assert loss.item() == 0
    assert not leaves[1].grad.any()


def test_add_norm_keeps_no_input_without_dropout(device, monkeypatch):
    """For the backward pass the sum is enough."""
    monkeypatch.setattr(kernels, "fused", lambda x: True)
    x, residual = (torch.randn(64, 48, device=device, requires_grad=True) for _ in range(2))
    norm, kept = nn.LayerNorm(48).to(device), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        kernels.add_norm(x, residual, norm)
    assert sum(t.shape == x.shape for t in kept) == 1
