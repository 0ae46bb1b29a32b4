"""A small convolutional network on bases, trained from scratch: a baseline without pre-training.

Three convolutions over one-hot bases, pooled to their maximum and mean, then two dense layers;
about 60,000 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dnabert2_fast.benchmark.epochs import Fit, fit, probabilities_of
from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.model.pretrained import pick_device

__all__ = ["CNN_FIT", "DnaCnn", "TrainedCnn", "train_cnn"]

CNN_FIT = Fit(epochs=20, batch_size=64, learning_rate=2e-3, patience=4)
WIDTH, DROPOUT = 64, 0.3
BATCH_BP = 1 << 18  # bases per batch in evaluation
PAD = 4

_CODES = np.full(256, PAD, np.uint8)
for _number, _letters in enumerate(("Aa", "Cc", "Gg", "Tt")):
    _CODES[np.frombuffer(_letters.encode(), np.uint8)] = _number


class DnaCnn(nn.Module):
    """Convolutions over one-hot bases.

    Parameters
    ----------
    classes : int
    pairs : bool
        Whether a row has two sequences; both use the same convolutions.

    Examples
    --------
    >>> DnaCnn(3)(codes_of(["ACGTNACGTA", "GATTACA"])).shape
    torch.Size([2, 3])
    """

    def __init__(self, classes: int, *, pairs: bool = False) -> None:
        super().__init__()
        self.pairs = pairs
        self.first = _convolution(4, 15)
        self.second = _convolution(WIDTH, 7)
        self.third = _convolution(WIDTH, 5)
        self.pool = nn.MaxPool1d(2, ceil_mode=True)
        self.head = nn.Sequential(
            nn.Linear(2 * WIDTH * (1 + pairs), WIDTH),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, classes),
        )

    def forward(self, codes: torch.Tensor, pairs: torch.Tensor | None = None) -> torch.Tensor:
        """Return outputs of shape (n, classes) for codes of shape (n, bases), `PAD` at the end.

        Other characters are coded as `PAD` too.
        """
        features = [self._features(one) for one in (codes, pairs) if one is not None]
        logits: torch.Tensor = self.head(torch.cat(features, -1))
        return logits

    def _features(self, codes: torch.Tensor) -> torch.Tensor:
        inside = torch.arange(codes.shape[1], device=codes.device) < lengths_of(codes)[:, None]
        x = nn.functional.one_hot(codes.long(), PAD + 1)[..., :PAD].to(torch.float32).mT
        for layer in (self.first, self.second, self.third):
            if layer is not self.first:
                x, inside = self.pool(x), self.pool(inside[:, None].float())[:, 0] > 0
            # Padding stays 0, so that a sequence's answer does not depend on its neighbours.
            x = layer(x) * inside[:, None]
        mean = x.sum(-1) / inside.sum(-1, keepdim=True)
        return torch.cat([x.amax(-1), mean], -1)


def _convolution(channels: int, letters: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(channels, WIDTH, letters, padding="same"),
        nn.BatchNorm1d(WIDTH),
        nn.ReLU(),
        nn.Dropout(DROPOUT / 3),
    )


def codes_of(sequences: Sequence[str]) -> torch.Tensor:
    """Return bases as numbers 0 to 3, other characters as `PAD`; shape (n, bases)."""
    rows = [_CODES[np.frombuffer(s.encode("ascii", "replace"), np.uint8)] for s in sequences]
    codes = np.full((len(rows), max(map(len, rows))), PAD, np.uint8)
    for row, code in zip(codes, rows, strict=True):
        row[: len(code)] = code
    return torch.from_numpy(codes)


def lengths_of(codes: torch.Tensor) -> torch.Tensor:
    """Return where the last base of each row ends, at least 1."""
    positions = torch.arange(1, codes.shape[1] + 1, device=codes.device)
    return ((codes != PAD) * positions).amax(-1).clamp(min=1)


class TrainedCnn(NamedTuple):
    """The result of `train_cnn`.

    Attributes
    ----------
    model : DnaCnn
    outputs : dict of str to ndarray of float64, shape (rows, classes)
        Probabilities for ``dev`` and ``test``.
    flops : float
        Of a forward pass over a test row of mean length, counted by torch.
    """

    model: DnaCnn
    outputs: dict[str, npt.NDArray[np.float64]]
    flops: float


def train_cnn(
    tables: dict[str, Labelled],
    classes: int,
    *,
    seed: int,
    device: str = "auto",
    rule: Fit = CNN_FIT,
) -> TrainedCnn:
    """Train on ``train``, stop by ``dev``, answer for ``dev`` and ``test``."""
    torch_device = pick_device(device)
    torch.manual_seed(seed)
    model = DnaCnn(classes, pairs=tables["train"].pairs is not None).to(torch_device)

    def outputs(table: Labelled, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        codes = codes_of([table.sequences[row] for row in rows]).to(torch_device)
        if table.pairs is None:
            logits: torch.Tensor = model(codes)
            return logits
        logits = model(codes, codes_of([table.pairs[row] for row in rows]).to(torch_device))
        return logits

    def answers(split: str) -> npt.NDArray[np.float64]:
        table = tables[split]
        return probabilities_of(lambda rows: outputs(table, rows), letters_of(table), BATCH_BP)

    train, dev = tables["train"], tables["dev"]
    fit(
        model,
        rule,
        lambda rows: outputs(train, rows),
        train.labels,
        lambda: answers("dev"),
        dev.labels,
        seed=seed,
    )
    flops = _flops(model, letters_of(tables["test"]))
    return TrainedCnn(model, {split: answers(split) for split in ("dev", "test")}, flops)


def letters_of(table: Labelled) -> npt.NDArray[np.int64]:
    """Return the number of bases of each row, or of the longer sequence of a pair."""
    seconds = table.sequences if table.pairs is None else table.pairs
    return np.array(
        [max(len(a), len(b)) for a, b in zip(table.sequences, seconds, strict=True)], np.int64
    )


def _flops(model: DnaCnn, letters: npt.NDArray[np.int64]) -> float:
    device = next(model.parameters()).device
    codes = torch.zeros((1, round(float(letters.mean()))), dtype=torch.uint8, device=device)
    pairs = codes if model.pairs else None
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(codes, pairs)
    return float(counter.get_total_flops())
