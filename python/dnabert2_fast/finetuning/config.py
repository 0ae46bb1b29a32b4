"""Settings of a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

__all__ = ["LORA_TARGETS", "MAX_SEED", "FinetuneConfig", "Kind", "Mode", "Pooling", "PredictConfig"]

Kind = Literal["multiclass", "multilabel", "regression", "tokens", "bases"]
Mode = Literal["full", "lora", "frozen"]
Pooling = Literal["cls", "mean"]

MAX_SEED = (1 << 32) - 1  # of numpy's global generator, which `transformers` seeds
LORA_TARGETS = ("Wqkv", "dense", "gated_layers", "wo")


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of a fine-tuning run; the defaults are the paper's for DNABERT-2.

    Parameters
    ----------
    model
        A checkpoint folder or a hub id; its tokenizer is used.
    data
        Folder with train, dev and test (.csv or .csv.gz; columns sequence, label, or sequence1,
        sequence2, label), and labels.txt (label,label_name) if classes have names.
    out
        Folder to make: the model of the epoch that scored best on dev, metrics.json and
        test_predictions.csv. Stopped and started again, the run goes on from its last epoch;
        finished, it is not repeated.
    task
        What a label is: multiclass (one class: 0, 1, ... or names), multilabel (0;1;1), regression
        (a number), a class for each of the tokens (0;1;1) or bases (0011); auto tells the first
        three apart.
    mode
        full trains all parameters; lora adapters beside the encoder's matrices, and the head;
        frozen the head alone, on a frozen encoder.
    pooling
        What the head sees of a sequence: cls, its first token; mean, the mean of its tokens. Left
        out: what the checkpoint's config.json says, and cls where that says nothing.
    epochs
        Passes over the training table.
    batch_size
        Sequences of one update.
    learning_rate
        Highest rate; it rises linearly over `warmup_steps`, then falls linearly to 0. Left out:
        3e-5 for full, 3e-4 for lora, 1e-3 for frozen, times 768 / hidden_size.
    warmup_steps
        Updates of the rise.
    weight_decay
        AdamW's.
    patience
        Stop after so many epochs without a better score on dev.
    class_weights
        none, balanced (rare classes count more), or a number for each class, with commas.
    max_length
        Most tokens of a training sequence, special ones included; longer ones are cut at the end.
    lora_rank
        Rank of the adapters.
    lora_alpha
        Adapters are scaled by lora_alpha / lora_rank.
    lora_dropout
        Dropout before the adapters.
    lora_targets
        Matrices of the encoder that get adapters.
    seed
        Of order, dropout and the fresh classifier.
    seeds
        Runs, with the seeds seed, seed + 1, ...; the scores are then means, with deviations.
    batch_tokens
        Tokens of one batch in evaluation.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, mps.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    rna
        Read U as T.

    Examples
    --------
    >>> config = FinetuneConfig("mini", data="tables", out="classifier", mode="lora", seeds=3)
    >>> config.epochs, config.learning_rate  # None: 3e-4, as said above
    (3, None)
    """

    model: Annotated[str, tyro.conf.Positional]
    data: str
    out: str
    task: Kind | Literal["auto"] = "auto"
    mode: Mode = "full"
    pooling: Pooling | None = None
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float | None = None
    warmup_steps: int = 50
    weight_decay: float = 0.01
    patience: int | None = None
    class_weights: str = "none"
    max_length: int | None = None
    lora_rank: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = LORA_TARGETS
    seed: int = 42
    seeds: int = 1
    batch_tokens: int = 16384
    device: str = "auto"
    attention: str = "auto"
    rna: bool = False


@dataclass(frozen=True)
class PredictConfig:
    """How `predict` cuts records and computes.

    Parameters
    ----------
    rows
        records writes one row per record, windows one row per window.
    window_bp
        Bases of a window: longer records are cut. Left out: as long as the longest training
        sequence.
    stride_bp
        Bases from one window to the next; `window_bp` if left out. The last window ends with the
        record, and the answer of a record is the mean over its windows.
    batch_tokens
        Tokens of one batch: more is faster until memory ends.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        float32, bfloat16, float16, int8 or auto, as for ``from_pretrained``.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    rna
        Read U as T.

    Examples
    --------
    >>> PredictConfig(rows="windows", window_bp=512).stride_bp  # None: windows side by side
    """

    rows: Literal["records", "windows"] = "records"
    window_bp: int | None = None
    stride_bp: int | None = None
    batch_tokens: int = 16_384
    attention: str = "auto"
    dtype: str = "float32"
    device: str = "auto"
    rna: bool = False
