"""The DNABERT-2 encoder and its heads, on packed sequences."""

from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.bert import (
    ClassifierOutput,
    Dnabert2ForMaskedLM,
    Dnabert2ForSequenceClassification,
    Dnabert2Model,
    EncoderOutput,
    MaskedLMOutput,
)
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.heads import Dnabert2ForTokenClassification

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
]
