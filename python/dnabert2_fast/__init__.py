"""DNABERT-2 from genome to embeddings.

Exact byte-pair tokenizing in Rust, memory-mapped corpora, and a DNABERT-2 encoder that never pads.
Names are loaded when they are first used: tokenizing never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnabert2_fast.benchmark.gue_run import GueConfig, gue
    from dnabert2_fast.benchmark.kmers import KmerVectorizer
    from dnabert2_fast.corpus.build import build_corpus
    from dnabert2_fast.corpus.read import Corpus
    from dnabert2_fast.corpus.sample import Mixture, TokenBatches
    from dnabert2_fast.finetuning.config import FinetuneConfig
    from dnabert2_fast.finetuning.evaluation import evaluate
    from dnabert2_fast.finetuning.predict_file import predict
    from dnabert2_fast.finetuning.predictor import Predictor
    from dnabert2_fast.finetuning.runs import finetune
    from dnabert2_fast.genomics.attribution.config import AttributionRules
    from dnabert2_fast.genomics.attribution.motifs import enriched_kmers
    from dnabert2_fast.genomics.attribution.mutagenesis import Attribution, attribute
    from dnabert2_fast.genomics.attribution.plot import plot_attribution
    from dnabert2_fast.genomics.embedding.file import embed_file
    from dnabert2_fast.genomics.embedding.plot import plot_embeddings
    from dnabert2_fast.genomics.embedding.sklearn import DnaEmbedder
    from dnabert2_fast.genomics.embedding.vectors import EmbeddingRules, embed, embed_positions
    from dnabert2_fast.genomics.likelihood.scores import fill_mask, pseudo_likelihood
    from dnabert2_fast.genomics.likelihood.track import likelihood_track
    from dnabert2_fast.genomics.variants.alleles import Variant
    from dnabert2_fast.genomics.variants.config import ScoringRules
    from dnabert2_fast.genomics.variants.scoring import VariantScore, score_variants
    from dnabert2_fast.genomics.variants.vcf_file import score_vcf
    from dnabert2_fast.io.fasta import Record, read_fasta
    from dnabert2_fast.io.manifest import Input, read_manifest
    from dnabert2_fast.io.reference import Reference
    from dnabert2_fast.model.batch import PackedBatch
    from dnabert2_fast.model.config import Dnabert2Config
    from dnabert2_fast.model.heads import (
        Dnabert2ForMaskedLM,
        Dnabert2ForSequenceClassification,
        Dnabert2ForTokenClassification,
        Dnabert2Model,
    )
    from dnabert2_fast.model.onnx import export_onnx
    from dnabert2_fast.pretraining.config import PretrainConfig
    from dnabert2_fast.pretraining.train import pretrain
    from dnabert2_fast.ragged import Ragged
    from dnabert2_fast.tokenizer._results import BatchEncoding, Encoding, Replaced, Windows
    from dnabert2_fast.tokenizer._tokenizer import Tokenizer

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
    "Attribution": "genomics.attribution.mutagenesis",
    "AttributionRules": "genomics.attribution.config",
    "BatchEncoding": "tokenizer._results",
    "Corpus": "corpus.read",
    "DnaEmbedder": "genomics.embedding.sklearn",
    "Dnabert2Config": "model.config",
    "Dnabert2ForMaskedLM": "model.heads",
    "Dnabert2ForSequenceClassification": "model.heads",
    "Dnabert2ForTokenClassification": "model.heads",
    "Dnabert2Model": "model.heads",
    "EmbeddingRules": "genomics.embedding.vectors",
    "Encoding": "tokenizer._results",
    "FinetuneConfig": "finetuning.config",
    "GueConfig": "benchmark.gue_run",
    "Input": "io.manifest",
    "KmerVectorizer": "benchmark.kmers",
    "Mixture": "corpus.sample",
    "PackedBatch": "model.batch",
    "Predictor": "finetuning.predictor",
    "PretrainConfig": "pretraining.config",
    "Ragged": "ragged",
    "Record": "io.fasta",
    "Reference": "io.reference",
    "Replaced": "tokenizer._results",
    "ScoringRules": "genomics.variants.config",
    "TokenBatches": "corpus.sample",
    "Tokenizer": "tokenizer._tokenizer",
    "Variant": "genomics.variants.alleles",
    "VariantScore": "genomics.variants.scoring",
    "Windows": "tokenizer._results",
    "attribute": "genomics.attribution.mutagenesis",
    "build_corpus": "corpus.build",
    "embed": "genomics.embedding.vectors",
    "embed_file": "genomics.embedding.file",
    "embed_positions": "genomics.embedding.vectors",
    "enriched_kmers": "genomics.attribution.motifs",
    "evaluate": "finetuning.evaluation",
    "export_onnx": "model.onnx",
    "fill_mask": "genomics.likelihood.scores",
    "finetune": "finetuning.runs",
    "gue": "benchmark.gue_run",
    "likelihood_track": "genomics.likelihood.track",
    "plot_attribution": "genomics.attribution.plot",
    "plot_embeddings": "genomics.embedding.plot",
    "predict": "finetuning.predict_file",
    "pretrain": "pretraining.train",
    "pseudo_likelihood": "genomics.likelihood.scores",
    "read_fasta": "io.fasta",
    "read_manifest": "io.manifest",
    "score_variants": "genomics.variants.scoring",
    "score_vcf": "genomics.variants.vcf_file",
}


if not TYPE_CHECKING:  # or a misspelt name would be of type Any

    def __getattr__(name: str) -> Any:
        from dnabert2_fast._internal.lazy import attribute

        return attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
