"""Muon in stacks of matrices makes the updates of torch's loop."""

import pytest
import torch
from torch import nn

from dnabert2_fast.optim import Muon

SHAPES = [(24, 8), (8, 24), (24, 8), (8, 8), (24, 8)]


def trained(make):
    generator = torch.Generator().manual_seed(0)
    matrices = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    start = [matrix.detach().clone() for matrix in matrices]
    optimizer = make(matrices)
    for _ in range(3):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()
    return [matrix.detach() - first for matrix, first in zip(matrices, start, strict=True)]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
def test_equal_to_the_loop_of_torch():
    ours = trained(lambda given: Muon(given, lr=0.1, weight_decay=0.3))
    theirs = trained(
        lambda given: torch.optim.Muon(
            given, lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"
        )
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() < 1e-2 * other.norm()  # bfloat16 within


def test_matrices_without_gradient_stay():
    first, second = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    first.grad = torch.eye(4)
    Muon([first, second], lr=0.1, weight_decay=0.0).step()
    assert not torch.equal(first, second)
    assert torch.equal(second, torch.ones(4, 4))
