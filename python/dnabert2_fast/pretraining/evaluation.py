"""Scores of a masked language model on held-out sequence, and the frequency baseline."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import TokenBatches
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.distributed import DistributedContext
from dnabert2_fast.model.precision import mixed_precision
from dnabert2_fast.pretraining.masking import IGNORED, Masker, key_of
from dnabert2_fast.ragged import int32_offsets, token_batches

__all__ = ["EVAL_MASK_RATE", "Evaluation", "Scores", "frequency_baseline"]

# Independent of the training rate, so that runs are comparable.
EVAL_MASK_RATE = 0.15

# Tokens per batch of a process in evaluation.
MICRO_BATCH_TOKENS = 8192

# Number of training windows whose token frequencies are the baseline.
BASELINE_WINDOWS = 100_000


class Scores(NamedTuple):
    """Scores of masked held-out tokens.

    Attributes
    ----------
    loss : float
        Mean cross-entropy in nats.
    accuracy : float
        Fraction of tokens predicted correctly.
    """

    loss: float
    accuracy: float

    def as_metrics(self) -> dict[str, float]:
        """Return the scores under the names of ``metrics.jsonl``."""
        return {"eval_loss": self.loss, "eval_accuracy": self.accuracy}


class Evaluation:
    """Evaluation on the same windows with the same masks for every model and run.

    Parameters
    ----------
    corpus : Corpus
        The held-out split.
    tokens : int
        Maximum number of tokens; from a larger split, windows are drawn evenly.
    context : DistributedContext
    """

    def __init__(self, corpus: Corpus, tokens: int, context: DistributedContext) -> None:
        self._context = context
        masker = Masker(corpus.tokenizer, EVAL_MASK_RATE)
        windows = next(iter(TokenBatches(corpus, tokens, seed=0, epochs=1))).ids
        batch = PackedBatch.from_ragged(windows)
        positions = torch.arange(len(batch.input_ids))
        inputs, labels = masker(batch.input_ids, positions, key_of(0))
        self.labels = labels[labels != IGNORED]
        # Sharded models need the same number of calls in every process; the last may repeat a
        # batch.
        micro_batches = list(token_batches(windows.lengths, MICRO_BATCH_TOKENS))
        per_rank = -(-len(micro_batches) // context.size)
        self._micro_batches = []
        for number in range(context.rank * per_rank, (context.rank + 1) * per_rank):
            rows = micro_batches[min(number, len(micro_batches) - 1)]
            first, last = windows.offsets[rows.start], windows.offsets[rows.stop]
            borders = windows.offsets[rows.start : rows.stop + 1] - first
            wanted = labels[first:last]
            if number >= len(micro_batches):
                wanted = torch.full_like(wanted, IGNORED)
            packed = PackedBatch(
                inputs[first:last],
                torch.from_numpy(int32_offsets(borders)),
                int(np.diff(borders).max()),
            )
            self._micro_batches.append((packed, wanted))

    def __call__(self, model: nn.Module, dtype: str) -> Scores:
        """Return the scores of a model in a resolved dtype; it is left in `eval` mode."""
        model.eval()
        device = self._context.device
        sums = torch.zeros(2, device=device)
        with torch.no_grad(), mixed_precision(device, dtype):
            for batch, labels in self._micro_batches:
                asked = labels[labels != IGNORED].to(device)
                loss, logits = model(batch, labels)
                sums += torch.stack([loss * len(asked), (logits.argmax(-1) == asked).sum()])
        loss_sum, right = self._context.all_reduce_sum(sums).tolist()
        asked_for = max(len(self.labels), 1)
        return Scores(loss_sum / asked_for, right / asked_for)


def frequency_baseline(corpus: Corpus, evaluation: Evaluation) -> Scores:
    """Return the scores of predicting masked tokens by their frequency in training windows."""
    sample = np.unique(np.linspace(0, len(corpus) - 1, BASELINE_WINDOWS, dtype=np.int64))
    counts = np.bincount(corpus.gather(sample).values, minlength=corpus.tokenizer.vocab_size) + 1.0
    counts[corpus.tokenizer.special_mask] = 0
    frequency = torch.from_numpy(counts / counts.sum())
    wanted = evaluation.labels
    right = (wanted == int(frequency.argmax())).double().mean()
    return Scores(float(-frequency[wanted].log().mean()), float(right))
