"""DNABERT-2 from genome to embeddings.

Exact byte-pair tokenizing in Rust, memory-mapped corpora, and a DNABERT-2 encoder that never pads.
Names are loaded when they are first used: tokenizing never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnabert2_fast.benchmark.gue import GueConfig, gue
    from dnabert2_fast.benchmark.kmers import KmerVectorizer
    from dnabert2_fast.corpus import Corpus, Mixture, TokenBatches, build_corpus
    from dnabert2_fast.encodings import BatchEncoding, Encoding, Replaced, Windows
    from dnabert2_fast.fasta import Record, read_fasta
    from dnabert2_fast.genomics.alleles import Variant
    from dnabert2_fast.genomics.attribution import Attribution, AttributionRules, attribute
    from dnabert2_fast.genomics.attribution_plot import plot_attribution
    from dnabert2_fast.genomics.embed import EmbeddingRules, embed, embed_positions
    from dnabert2_fast.genomics.embed_file import embed_file
    from dnabert2_fast.genomics.embed_plot import plot_embeddings
    from dnabert2_fast.genomics.embedder import DnaEmbedder
    from dnabert2_fast.genomics.likelihood import fill_mask, pseudo_likelihood
    from dnabert2_fast.genomics.likelihood_track import likelihood_track
    from dnabert2_fast.genomics.motifs import enriched_kmers
    from dnabert2_fast.genomics.reference import Reference
    from dnabert2_fast.genomics.variants import ScoringRules, VariantScore, score_variants
    from dnabert2_fast.genomics.vcf import score_vcf
    from dnabert2_fast.manifest import Input, read_manifest
    from dnabert2_fast.model import (
        Dnabert2Config,
        Dnabert2ForMaskedLM,
        Dnabert2ForSequenceClassification,
        Dnabert2ForTokenClassification,
        Dnabert2Model,
        PackedBatch,
    )
    from dnabert2_fast.model.onnx import export_onnx
    from dnabert2_fast.ragged import Ragged
    from dnabert2_fast.tokenizer import Tokenizer
    from dnabert2_fast.train.finetune import FinetuneConfig, finetune
    from dnabert2_fast.train.predict import predict
    from dnabert2_fast.train.predict_scores import evaluate
    from dnabert2_fast.train.predictor import Predictor
    from dnabert2_fast.train.pretrain import PretrainConfig, pretrain

__all__ = [
    "Attribution",
    "AttributionRules",
    "BatchEncoding",
    "Corpus",
    "DnaEmbedder",
    "Dnabert2Config",
    "Dnabert2ForMaskedLM",
    "Dnabert2ForSequenceClassification",
    "Dnabert2ForTokenClassification",
    "Dnabert2Model",
    "EmbeddingRules",
    "Encoding",
    "FinetuneConfig",
    "GueConfig",
    "Input",
    "KmerVectorizer",
    "Mixture",
    "PackedBatch",
    "Predictor",
    "PretrainConfig",
    "Ragged",
    "Record",
    "Reference",
    "Replaced",
    "ScoringRules",
    "TokenBatches",
    "Tokenizer",
    "Variant",
    "VariantScore",
    "Windows",
    "attribute",
    "build_corpus",
    "embed",
    "embed_file",
    "embed_positions",
    "enriched_kmers",
    "evaluate",
    "export_onnx",
    "fill_mask",
    "finetune",
    "gue",
    "likelihood_track",
    "plot_attribution",
    "plot_embeddings",
    "predict",
    "pretrain",
    "pseudo_likelihood",
    "read_fasta",
    "read_manifest",
    "score_variants",
    "score_vcf",
]

_HOME = {
    "Attribution": "genomics.attribution",
    "AttributionRules": "genomics.attribution",
    "BatchEncoding": "encodings",
    "Corpus": "corpus",
    "DnaEmbedder": "genomics.embedder",
    "Dnabert2Config": "model",
    "Dnabert2ForMaskedLM": "model",
    "Dnabert2ForSequenceClassification": "model",
    "Dnabert2ForTokenClassification": "model",
    "Dnabert2Model": "model",
    "EmbeddingRules": "genomics.embed",
    "Encoding": "encodings",
    "FinetuneConfig": "train.finetune",
    "GueConfig": "benchmark.gue",
    "Input": "manifest",
    "KmerVectorizer": "benchmark.kmers",
    "Mixture": "corpus",
    "PackedBatch": "model",
    "Predictor": "train.predictor",
    "PretrainConfig": "train.pretrain",
    "Ragged": "ragged",
    "Record": "fasta",
    "Reference": "genomics.reference",
    "Replaced": "encodings",
    "ScoringRules": "genomics.variants",
    "TokenBatches": "corpus",
    "Tokenizer": "tokenizer",
    "Variant": "genomics.alleles",
    "VariantScore": "genomics.variants",
    "Windows": "encodings",
    "attribute": "genomics.attribution",
    "build_corpus": "corpus",
    "embed": "genomics.embed",
    "embed_file": "genomics.embed_file",
    "embed_positions": "genomics.embed",
    "enriched_kmers": "genomics.motifs",
    "evaluate": "train.predict_scores",
    "export_onnx": "model.onnx",
    "fill_mask": "genomics.likelihood",
    "finetune": "train.finetune",
    "gue": "benchmark.gue",
    "likelihood_track": "genomics.likelihood_track",
    "plot_attribution": "genomics.attribution_plot",
    "plot_embeddings": "genomics.embed_plot",
    "predict": "train.predict",
    "pretrain": "train.pretrain",
    "pseudo_likelihood": "genomics.likelihood",
    "read_fasta": "fasta",
    "read_manifest": "manifest",
    "score_variants": "genomics.variants",
    "score_vcf": "genomics.vcf",
}


if not TYPE_CHECKING:  # or a misspelt name would be of type Any

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'dnabert2_fast' has no attribute {name!r}")
        from dnabert2_fast.extras import EXTRA_OF, needs

        with needs(f"dnabert2_fast.{name}", EXTRA_OF.get(name)):
            value = getattr(import_module(f"dnabert2_fast.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
