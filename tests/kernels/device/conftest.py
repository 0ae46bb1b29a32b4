"""Tests of Triton kernels: on a CUDA device, or anywhere under Triton's interpreter.

The interpreter must be enabled before a kernel's module is imported, hence in a separate process:
tests/kernels/test_triton.py starts it. It is slow, so shapes are tiny. Its bfloat16 products are
wrong, so only float32 and float16 are tested there.
"""

import os

import pytest
import torch

if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pytest_generate_tests(metafunc):
    if "dtype" in metafunc.fixturenames:
        names = ["float32", "float16"] + ["bfloat16"] * torch.cuda.is_available()
        metafunc.parametrize("dtype", [getattr(torch, name) for name in names], ids=names)
