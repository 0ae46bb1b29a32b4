"""Floating-point operations of a training step, and the peak of a card."""

from __future__ import annotations

import re

import torch

from dnabert2_fast.model.config import Dnabert2Config

__all__ = ["peak_flops", "training_flops"]

PEAK_TFLOPS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "A40": 149.7,
    "A10": 125.0,
    "L40S": 362.0,
    "L4": 121.0,
}
"""Dense bfloat16 peaks from NVIDIA's data sheets, by words of the card's name; the first match
counts."""


def training_flops(config: Dnabert2Config, tokens: float, squares: float, labelled: float) -> float:
    """Return the multiplications and additions of forward and backward, matrices and attention.

    Parameters
    ----------
    config : Dnabert2Config
    tokens : float
    squares : float
        Sum of the squares of the sequences' lengths.
    labelled : float
        Tokens to predict: the last layer's output and the head run only on those.

    Notes
    -----
    Two operations per weight and token forward, four backward; attention has 4 per pair and
    channel. Keys that long attention leaves out are counted too.

    >>> round(training_flops(Dnabert2Config(), 512, 512**2, 77) / 512 / 1e9, 2)  # GFLOP a token
    0.7
    """
    size, width = config.hidden_size, config.intermediate_size
    mixing, rest = 3 * size * size, size * size + 3 * size * width
    head = size * size + size * config.vocab_size
    layers = config.num_hidden_layers
    weights = tokens * (layers * mixing + (layers - 1) * rest) + labelled * (rest + head)
    return 3.0 * (2 * weights + 4 * layers * size * squares)


def peak_flops(device: torch.device) -> float | None:
    """Return the listed bfloat16 peak of a card, None if it is unknown."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    # Whole words only: an RTX A4000 is not an A40, and an L40 is not an L4.
    fits = (peak for words, peak in PEAK_TFLOPS.items() if re.search(rf"\b{words}\b", name))
    return next((peak * 1e12 for peak in fits), None)
