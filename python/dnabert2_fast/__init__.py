"""DNABERT-2 from genome to embeddings.

Exact byte-pair tokenizing in Rust, memory-mapped corpora, and a DNABERT-2 encoder that never pads.
The most common names are here. Result types, settings, plots and file readers are in `tokenizer`,
`corpus`, `io`, `model`, `attention`, `pretraining`, `finetuning`, `genomics`, `benchmark`, `hf`,
`ray` and `errors`. A name is loaded at its first use, so tokenizing never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.corpus.build import build_corpus
    from dnabert2_fast.corpus.read import Corpus
    from dnabert2_fast.corpus.sample import Mixture, TokenBatches
    from dnabert2_fast.finetuning.config import FinetuneConfig
    from dnabert2_fast.finetuning.evaluation import evaluate
    from dnabert2_fast.finetuning.file import predict_file
    from dnabert2_fast.finetuning.predict import predict
    from dnabert2_fast.finetuning.predictor import Predictor
    from dnabert2_fast.finetuning.runs import finetune
    from dnabert2_fast.genomics.attribution.mutagenesis import attribute
    from dnabert2_fast.genomics.embedding.file import embed_file
    from dnabert2_fast.genomics.embedding.vectors import embed, embed_positions
    from dnabert2_fast.genomics.likelihood.scores import fill_mask, pseudo_likelihood
    from dnabert2_fast.genomics.variants.scoring import score_variants
    from dnabert2_fast.genomics.variants.vcf_file import score_vcf
    from dnabert2_fast.io.fasta import read_fasta
    from dnabert2_fast.model.batch import PackedBatch
    from dnabert2_fast.model.config import Dnabert2Config
    from dnabert2_fast.model.heads import (
        Dnabert2ForMaskedLM,
        Dnabert2ForSequenceClassification,
        Dnabert2ForTokenClassification,
        Dnabert2Model,
    )
    from dnabert2_fast.pretraining.config import PretrainConfig
    from dnabert2_fast.pretraining.train import pretrain
    from dnabert2_fast.ragged import Ragged
    from dnabert2_fast.tokenizer._tokenizer import Tokenizer

__all__ = [
    "Corpus",
    "Dnabert2Config",
    "Dnabert2ForMaskedLM",
    "Dnabert2ForSequenceClassification",
    "Dnabert2ForTokenClassification",
    "Dnabert2Model",
    "FinetuneConfig",
    "Mixture",
    "PackedBatch",
    "Predictor",
    "PretrainConfig",
    "Ragged",
    "TokenBatches",
    "Tokenizer",
    "attribute",
    "build_corpus",
    "embed",
    "embed_file",
    "embed_positions",
    "evaluate",
    "fill_mask",
    "finetune",
    "predict",
    "predict_file",
    "pretrain",
    "pseudo_likelihood",
    "read_fasta",
    "score_variants",
    "score_vcf",
]

_HOME = {
    "Corpus": "corpus.read",
    "Dnabert2Config": "model.config",
    "Dnabert2ForMaskedLM": "model.heads",
    "Dnabert2ForSequenceClassification": "model.heads",
    "Dnabert2ForTokenClassification": "model.heads",
    "Dnabert2Model": "model.heads",
    "FinetuneConfig": "finetuning.config",
    "Mixture": "corpus.sample",
    "PackedBatch": "model.batch",
    "Predictor": "finetuning.predictor",
    "PretrainConfig": "pretraining.config",
    "Ragged": "ragged",
    "TokenBatches": "corpus.sample",
    "Tokenizer": "tokenizer._tokenizer",
    "attribute": "genomics.attribution.mutagenesis",
    "build_corpus": "corpus.build",
    "embed": "genomics.embedding.vectors",
    "embed_file": "genomics.embedding.file",
    "embed_positions": "genomics.embedding.vectors",
    "evaluate": "finetuning.evaluation",
    "fill_mask": "genomics.likelihood.scores",
    "finetune": "finetuning.runs",
    "predict": "finetuning.predict",
    "predict_file": "finetuning.file",
    "pretrain": "pretraining.train",
    "pseudo_likelihood": "genomics.likelihood.scores",
    "read_fasta": "io.fasta",
    "score_variants": "genomics.variants.scoring",
    "score_vcf": "genomics.variants.vcf_file",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
