"""Models as ONNX files: padded rectangles as input, for programs without Python or torch.

The packed encoder has no counterpart in ONNX, so its modules run on padded rectangles, with scores
for every pair of tokens. Memory and time grow with the square of the longest sequence.
"""

from __future__ import annotations

import os
import warnings
from copy import deepcopy

import torch
from torch import nn

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast.attention import alibi_slopes
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.heads import (
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2ForTokenClassification,
    Dnabert2Model,
)
from dnabert2_fast.model.int8 import is_int8
from dnabert2_fast.model.layers import Layer

__all__ = ["export_onnx"]

Exportable = (
    Dnabert2Model
    | Dnabert2ForMaskedLM
    | Dnabert2ForSequenceClassification
    | Dnabert2ForTokenClassification
)

MASKED = -1e9  # finite, so that a row of padding does not become NaN


def export_onnx(model: Exportable, path: str | os.PathLike[str]) -> None:
    """Write a model to an ONNX file, in float32, for any number and length of inputs.

    Parameters
    ----------
    model : Dnabert2Model, Dnabert2ForMaskedLM, Dnabert2For...Classification
        Or the model of `transformers` that an Auto class returned for it.
    path : path
        File to write. Its inputs are ``input_ids`` and ``attention_mask``, both int64 of shape
        (batch, length), the mask 0 at padding on either side; also ``token_type_ids`` if ``pairs``
        in the model's config is true, as after fine-tuning on pairs. Its output is
        ``last_hidden_state`` (batch, length, hidden_size), zero at padding, of a `Dnabert2Model`;
        ``logits`` of the others: (batch, length, ...), or (batch, num_labels) of a classifier of
        sequences.

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``onnx``.
    CheckpointError
        For a model in int8.
    TypeError
        For another kind of model, such as one with an adapter of peft that is not merged.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import Dnabert2Config
    >>> model = Dnabert2Model(Dnabert2Config(hidden_size=24, num_hidden_layers=1,
    ...     num_attention_heads=2, intermediate_size=8))
    >>> export_onnx(model, tempfile.mkdtemp() + "/model.onnx")
    """
    with needs("export_onnx"):
        import onnxscript as _  # noqa: F401 (torch's own message gives no remedy)
    of_transformers = getattr(type(model), "core", None)  # peft wraps a model and its attributes
    if of_transformers is not None:
        model = of_transformers(model)
    if not isinstance(model, Exportable):
        raise TypeError(
            f"model: must be a model of this library (got {type(model).__name__}). Merge an "
            "adapter first, with merge_and_unload()."
        )
    if is_int8(model):
        raise CheckpointError("model: int8 cannot be exported. Export the model it was read from.")
    padded = _Padded(deepcopy(model).cpu().float()).eval()
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if model.config.pairs else [])]
    # Sizes of 0 and 1 would be exported as constants.
    example = tuple(torch.ones(2, 3, dtype=torch.long) for _ in names)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with atomic_path(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        # All inputs have the same two sizes, and torch warns about the second one.
        warnings.filterwarnings("ignore", "# The axis name")
        torch.onnx.export(
            padded,
            example,
            temporary,
            input_names=names,
            output_names=["last_hidden_state" if isinstance(model, Dnabert2Model) else "logits"],
            dynamic_shapes=tuple(sizes for _ in names),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


class _Padded(nn.Module):
    """A model's own modules on padded rectangles."""

    def __init__(self, model: Exportable) -> None:
        super().__init__()
        self.model = model
        self.slopes = alibi_slopes(model.config.num_attention_heads)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        embeddings = self.model.bert.embeddings
        if token_type_ids is None:
            token_type_ids = input_ids.new_zeros(1, 1)
        types = embeddings.token_type_embeddings(token_type_ids)
        x: torch.Tensor = embeddings.LayerNorm(embeddings.word_embeddings(input_ids) + types)
        positions = torch.arange(input_ids.shape[1])
        distance = (positions[:, None] - positions[None, :]).abs()
        bias = -self.slopes[:, None, None] * distance
        bias = bias + MASKED * (1.0 - attention_mask.float())[:, None, None, :]
        for layer in self.model.bert.encoder.layer:
            assert isinstance(layer, Layer)
            mixed = _attention(x, layer, bias)
            x = layer.mlp(layer.attention.output(mixed, x))
        if isinstance(self.model, Dnabert2ForSequenceClassification):
            if self.model.config.classifier_pooling == "mean":
                mask = attention_mask.unsqueeze(-1).to(x.dtype)
                x = (x * mask).sum(1) / mask.sum(1).clamp(min=1)
            else:
                x = x[torch.arange(input_ids.shape[0]), attention_mask.argmax(1)]
            assert self.model.bert.pooler is not None, "a classifier of sequences has one"
            logits: torch.Tensor = self.model.classifier(self.model.bert.pooler(x))
            return logits
        if isinstance(self.model, Dnabert2ForMaskedLM):
            x = self.model.cls.predictions(x)
        elif isinstance(self.model, Dnabert2ForTokenClassification):
            x = self.model.classifier(x)
        return x * attention_mask.unsqueeze(-1).to(x.dtype)


def _attention(x: torch.Tensor, layer: Layer, bias: torch.Tensor) -> torch.Tensor:
    """Return ``softmax(q k^T / sqrt(head_dim) + bias) v`` of every head."""
    own = layer.attention.self
    rows = own.Wqkv(x).unflatten(-1, (3, own.heads, own.head_size))
    q, k, v = rows.permute(2, 0, 3, 1, 4).unbind(0)
    scores = q @ k.transpose(-1, -2) / own.head_size**0.5 + bias
    mixed: torch.Tensor = scores.softmax(-1) @ v
    return mixed.transpose(1, 2).flatten(2)
