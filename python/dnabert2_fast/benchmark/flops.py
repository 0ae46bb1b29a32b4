"""Floating-point operations of each model per sequence, from its configuration.

The count is of multiplications and additions of a forward pass: two per weight and token, and in
attention four per pair of tokens and channel. Heads, embeddings, norms and activations are
omitted; they are below one percent. The paper does not describe its count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dnabert2_fast.benchmark.published import Row, read_published
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM

__all__ = ["Cost", "Efficiency", "cost_of", "efficiency", "matrices_of", "published_cost"]

REFERENCE = "DNABERT-2"
HEADS = frozenset({"pooler", "classifier", "score", "lm_head", "cls"})


class Cost(NamedTuple):
    """The numbers that determine the cost of an encoder.

    Attributes
    ----------
    parameters : int
    weights : int
        Weights of the matrices that every token passes.
    layers, width : int
    """

    parameters: int
    weights: int
    layers: int
    width: int

    def flops(self, tokens: npt.ArrayLike) -> float:
        """Return the mean over sequences with these numbers of tokens.

        >>> Cost(10, 8, layers=1, width=2).flops([3])
        120.0
        """
        n = np.asarray(tokens, np.float64)
        return float(np.mean(2 * n * self.weights + 4 * n * n * self.layers * self.width))


def cost_of(model: nn.Module, layers: int, width: int) -> Cost:
    """Return a torch model's cost: its parameters, and the weights of its matrices except heads."""
    weights = sum(part.weight.numel() for part in matrices_of(model).values())
    return Cost(sum(p.numel() for p in model.parameters()), weights, layers, width)


def matrices_of(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the matrices that every token passes, by name."""
    beside = HEADS | {"contact_head"}  # the head of ESM for proteins, unused by classifiers
    return {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and not beside & set(name.split("."))
    }


class Efficiency(TypedDict):
    """A row of the table of efficiency; unpublished figures are None."""

    system: str
    parameters: int
    tokens: float
    gflops: float
    relative: float
    published_parameters_M: float | None
    published_relative: float | None


def efficiency() -> list[Efficiency]:
    """Recompute the paper's table 2, for sequences of 500 bp, from configurations.

    >>> [(row["parameters"] // 10**6, round(row["relative"], 2)) for row in efficiency()[-2:]]
    [(117, 1.0), (117, 1.0)]
    """
    figures = {row["model"]: row for row in read_published("efficiency")}
    shapes = read_published("configurations")
    reference = next(row for row in shapes if row["model"] == REFERENCE)
    base = published_cost(REFERENCE).flops(_number(reference, "tokens_at_500bp"))
    rows: list[Efficiency] = []
    for shape in shapes:
        cost = published_cost(str(shape["model"]))
        tokens = _number(shape, "tokens_at_500bp")
        flops, printed = cost.flops(tokens), figures[str(shape["model"])]
        rows.append(
            {
                "system": str(shape["model"]),
                "parameters": cost.parameters,
                "tokens": tokens,
                "gflops": flops / 1e9,
                "relative": flops / base,
                "published_parameters_M": _number(printed, "parameters_M"),
                "published_relative": _number(printed, "relative_flops"),
            }
        )
    return rows


@cache
def published_cost(name: str) -> Cost:
    """Return the cost of a model of ``configurations.csv``, without memory for its weights."""
    shape = next(row for row in read_published("configurations") if row["model"] == name)
    layers, width = int(_number(shape, "layers")), int(_number(shape, "width"))
    with torch.device("meta"):
        model = _BUILDERS[str(shape["architecture"])](
            {
                "vocab_size": int(_number(shape, "vocabulary")),
                "hidden_size": width,
                "num_hidden_layers": layers,
                "num_attention_heads": int(_number(shape, "heads")),
                "intermediate_size": int(_number(shape, "inner")),
                "max_position_embeddings": int(_number(shape, "positions")),
            }
        )
    return cost_of(model, layers, width)


def _bert(values: dict[str, Any]) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    built: nn.Module = BertForMaskedLM(BertConfig(**values))
    return built


def _esm(values: dict[str, Any]) -> nn.Module:
    from transformers import EsmConfig, EsmForMaskedLM

    built: nn.Module = EsmForMaskedLM(EsmConfig(**values, pad_token_id=1, mask_token_id=2))
    return built


def _dnabert2(values: dict[str, Any]) -> nn.Module:
    return Dnabert2ForMaskedLM(Dnabert2Config(**values))


_BUILDERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "bert": _bert,
    "esm": _esm,
    "dnabert2": _dnabert2,
}


def _number(row: Row, name: str) -> float:
    value = row[name]
    assert isinstance(value, float), f"{row['model']} has no {name}"
    return value
