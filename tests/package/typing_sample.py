"""A user's program, as `mypy --strict` reads it: test_typing.py checks it, nothing runs it."""

from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt
import torch

from dnabert2_fast import (
    Corpus,
    Dnabert2Config,
    Dnabert2ForMaskedLM,
    Dnabert2Model,
    FinetuneConfig,
    PackedBatch,
    Predictor,
    PretrainConfig,
    Ragged,
    TokenBatches,
    Tokenizer,
    build_corpus,
    embed,
    embed_positions,
    evaluate,
    finetune,
    pretrain,
    read_fasta,
    score_variants,
)
from dnabert2_fast.corpus import CorpusConfig
from dnabert2_fast.finetuning.predictor import Answers
from dnabert2_fast.genomics import DnaEmbedder, ScoringConfig, Variant, VariantScore
from dnabert2_fast.io import FastaRecord, Reference
from dnabert2_fast.model import export_onnx
from dnabert2_fast.tokenizer import TrainingConfig

Vectors = npt.NDArray[np.float32]


def tokens(fasta: Path) -> Ragged:
    tokenizer = Tokenizer.train([fasta], 1024, TrainingConfig(window_bp=1000))
    tokenizer.save(fasta.with_suffix(".json"))
    records = list(read_fasta(fasta))
    assert_type(records, list[FastaRecord])
    assert_type(tokenizer.encode(records[0].sequence), npt.NDArray[np.uint16])
    assert_type(tokenizer.decode([5, 6]), str)
    assert_type(tokenizer.vocab_size, int)
    return tokenizer.encode_batch([record.sequence for record in records], max_length=512)


def corpus(fasta: Path, tokenizer: Tokenizer) -> Corpus:
    built = build_corpus(
        [fasta], fasta.with_suffix(".corpus"), tokenizer, CorpusConfig(window_bp=400)
    )
    assert_type(len(built), int)
    assert_type(built.gather([0, 1]), Ragged)
    for batch in TokenBatches(built, batch_tokens=4096, seed=1, epochs=1):
        packed = PackedBatch.from_ragged(batch.ids)
        assert_type(packed.input_ids, torch.Tensor)
    return built


def train(folder: Path) -> float:
    run = pretrain(PretrainConfig(corpus=str(folder), out="run", size="tiny", steps=10))
    done = finetune(FinetuneConfig(model=str(run.folder), data="csv", out="classifier", epochs=1))
    assert_type(done.metrics, dict[str, dict[str, float]])
    assert_type(evaluate("classifier", "csv/test.csv", "scores"), dict[str, float])
    return done.metrics["test"]["mcc"]


def vectors(sequences: list[str], folder: Path) -> Vectors:
    tokenizer = Tokenizer.from_pretrained(folder)
    model = Dnabert2Model.from_pretrained(folder, device="auto", dtype="bfloat16")
    assert_type(model, Dnabert2Model)
    assert_type(model.config, Dnabert2Config)
    assert_type(embed_positions(sequences, model, tokenizer, per="base"), list[Vectors])
    export_onnx(model, folder / "model.onnx")
    whole = embed(sequences, model, tokenizer, pooling="mean", both_strands=True)
    assert_type(whole, Vectors)
    step = DnaEmbedder(str(folder), pooling="cls")
    assert_type(step.fit(sequences), DnaEmbedder)
    assert_type(step.fit(sequences).transform(sequences), Vectors)
    return whole


def states(model: Dnabert2Model, batch: PackedBatch) -> torch.Tensor:
    output = model(batch, output_hidden_states=True)
    assert_type(output.last_hidden_state, torch.Tensor)
    return output.pooler_output


def variants(fasta: Path, folder: Path) -> dict[str, float]:
    tokenizer = Tokenizer.from_pretrained(folder)
    model = Dnabert2ForMaskedLM.from_pretrained(folder)
    with_alternates = [Variant("chr1", 100, "A", "G"), Variant("chr1", 200, "AT", "A")]
    scores = score_variants(
        with_alternates, Reference(fasta), model, tokenizer, config=ScoringConfig(window_bp=256)
    )
    assert_type(scores, list[VariantScore])
    return {score.status: score.llr for score in scores}


def answers(folder: Path, sequences: list[str]) -> None:
    predictor = Predictor.load(folder, device="auto")
    assert_type(predictor(sequences, window_bp=300), Answers)


def mistakes() -> None:
    """Each is seen: a line whose comment ignores nothing is an error itself."""
    from dnabert2_fast import Tokeniser  # type: ignore[attr-defined]

    Tokenizer.from_pretrained("dnabert2").encode(5)  # type: ignore[arg-type]
    del Tokeniser
