"""The DNABERT-2 encoder on packed sequences, its heads, and their files.

A configuration, a packed batch, the layers, the four public models with `from_pretrained` and
`save_pretrained`, inference in 8-bit integers, and export to ONNX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.model.batch import PackedBatch
    from dnabert2_fast.model.config import Dnabert2Config
    from dnabert2_fast.model.heads import (
        Dnabert2ForMaskedLM,
        Dnabert2ForSequenceClassification,
        Dnabert2ForTokenClassification,
        Dnabert2Model,
    )
    from dnabert2_fast.model.onnx import export_onnx
    from dnabert2_fast.model.outputs import ClassifierOutput, EncoderOutput, MaskedLMOutput

__all__ = [
    "ClassifierOutput",
    "Dnabert2Config",
    "Dnabert2ForMaskedLM",
    "Dnabert2ForSequenceClassification",
    "Dnabert2ForTokenClassification",
    "Dnabert2Model",
    "EncoderOutput",
    "MaskedLMOutput",
    "PackedBatch",
    "export_onnx",
]

_HOME = {
    "ClassifierOutput": "outputs",
    "Dnabert2Config": "config",
    "Dnabert2ForMaskedLM": "heads",
    "Dnabert2ForSequenceClassification": "heads",
    "Dnabert2ForTokenClassification": "heads",
    "Dnabert2Model": "heads",
    "EncoderOutput": "outputs",
    "MaskedLMOutput": "outputs",
    "PackedBatch": "batch",
    "export_onnx": "onnx",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
