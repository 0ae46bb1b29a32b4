"""Sequences to token ids and back, exactly as Hugging Face `tokenizers` does it.

`Tokenizer` reads, trains, writes and applies a vocabulary; its results include offsets, windows and
counts of replaced letters. Whole files are streamed, and `assess` measures a vocabulary on genomes.
Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.tokenizer._results import EncodedBatch, Encoding, ReplacedCounts, Windows
    from dnabert2_fast.tokenizer._tokenizer import Tokenizer
    from dnabert2_fast.tokenizer._train import Source, TrainingConfig, TrainingReport
    from dnabert2_fast.tokenizer._vocabulary import PACKAGED, Case, Unknown
    from dnabert2_fast.tokenizer.assessment import (
        Assessment,
        assess,
        overlap,
        plot_assessments,
        plot_vocab_sizes,
        vocab_sizes,
    )
    from dnabert2_fast.tokenizer.file import Tokenized, tokenize_file

__all__ = [
    "PACKAGED",
    "Assessment",
    "Case",
    "EncodedBatch",
    "Encoding",
    "ReplacedCounts",
    "Source",
    "Tokenized",
    "Tokenizer",
    "TrainingConfig",
    "TrainingReport",
    "Unknown",
    "Windows",
    "assess",
    "overlap",
    "plot_assessments",
    "plot_vocab_sizes",
    "tokenize_file",
    "vocab_sizes",
]

_HOME = {
    "PACKAGED": "_vocabulary",
    "Assessment": "assessment",
    "EncodedBatch": "_results",
    "Case": "_vocabulary",
    "Encoding": "_results",
    "ReplacedCounts": "_results",
    "Source": "_train",
    "Tokenized": "file",
    "Tokenizer": "_tokenizer",
    "TrainingConfig": "_train",
    "TrainingReport": "_train",
    "Unknown": "_vocabulary",
    "Windows": "_results",
    "assess": "assessment",
    "overlap": "assessment",
    "plot_assessments": "assessment",
    "plot_vocab_sizes": "assessment",
    "tokenize_file": "file",
    "vocab_sizes": "assessment",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
