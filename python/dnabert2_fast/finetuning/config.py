"""Settings of a fine-tuning run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

__all__ = ["LORA_TARGETS", "MAX_SEED", "FinetuneConfig", "Kind", "Mode", "Pooling", "PredictConfig"]

Kind = Literal["multiclass", "multilabel", "regression", "tokens", "bases"]
Mode = Literal["full", "lora", "frozen"]
Pooling = Literal["cls", "mean"]

MAX_SEED = (1 << 32) - 1  # maximum of numpy's global generator, which `transformers` seeds
LORA_TARGETS = ("Wqkv", "dense", "gated_layers", "wo")


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of a fine-tuning run; the defaults are the paper's for DNABERT-2.

    Parameters
    ----------
    model
        A checkpoint folder or a hub id; its tokenizer is used.
    data
        One table with all rows, or a folder with train, dev and test: .csv, .tsv (also .gz) or
        .parquet with the columns sequence, label, or sequence1, sequence2, label. A folder may
        have labels.txt (label,label_name). With `regions` the tables are written there. In Python
        also a pandas, polars or Arrow table, or a dict of them with the keys train, dev and test.
    out
        Folder to create: the model of the best epoch on dev, metrics.json and
        test_predictions.csv. The same command resumes a stopped run from its last epoch; a finished
        run is not repeated.
    task
        Meaning of a label: multiclass (one class: 0, 1, ... or names), multilabel (0;1;1),
        regression (a number), or a class for each of the tokens (0;1;1) or bases (0011). auto
        detects the first three.
    mode
        full trains all parameters; lora trains adapters of the encoder's matrices, and the head;
        frozen trains only the head.
    pooling
        Input of the head: cls, the first token; mean, the mean of all tokens. Default: the one in
        the checkpoint's config.json, else cls.
    epochs
        Number of passes over the training table.
    batch_size
        Sequences per update.
    learning_rate
        Maximum rate; it rises linearly over `warmup_steps`, then falls linearly to 0. Default:
        3e-5 for full, 3e-4 for lora, 1e-3 for frozen, times 768 / hidden_size.
    warmup_steps
        Number of updates in which the rate rises.
    weight_decay
        Weight decay of AdamW.
    patience
        Stop after this number of epochs without a better score on dev.
    class_weights
        none, balanced (rare classes count more), or one number per class, separated by commas.
    max_length
        Maximum tokens of a sequence, special ones included; longer ones are cut at the end, also in
        dev, test and prediction.
    lora_rank
        Rank of the adapters.
    lora_alpha
        Adapters are scaled by lora_alpha / lora_rank.
    lora_dropout
        Dropout before the adapters.
    lora_targets
        Matrices of the encoder with adapters.
    sequence_column
        Column of the table with the sequences. Default: sequence.
    label_column
        Column of the table with the labels. Default: label.
    split
        Shares of train, dev and test of the table. Classes have these shares in each; rows with the
        same sequence stay together. `seed` is the seed of the split too.
    group_column
        Column of the table whose values are kept together, such as chromosome, family or patient.
    regions
        BED file: make the tables from windows around these regions of `reference`. Each name is a
        class. Regions of one class get as many others as negatives, with like GC on the same
        contig. Dev and test are contigs of their own.
    reference
        The genome of `regions` as FASTA, plain or bgzip.
    label
        Column of `regions` with the classes: name or score.
    signal
        bigWig file: predict the mean signal of each region instead of classes.
    window_bp
        Length of the windows around regions. Default: the median of the regions.
    seed
        Seed of the order, the dropout, the random classifier and the negatives.
    seeds
        Number of runs, with the seeds seed, seed + 1, ...; scores are then means with deviations.
    batch_tokens
        Maximum tokens per batch in evaluation.
    device
        auto (CUDA if available, else cpu), cpu, cuda or mps.
    dtype
        auto: bfloat16 on CUDA cards of compute capability 8.0 and above, float16 with loss scaling
        on older ones, float32 elsewhere. In 16 bits the weights stay in float32.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    rna
        Read U as T.

    Examples
    --------
    >>> config = FinetuneConfig("mini", data="tables", out="classifier", mode="lora", seeds=3)
    >>> config.epochs, config.learning_rate  # None: 3e-4 for lora
    (3, None)
    """

    model: Annotated[str, tyro.conf.Positional]
    data: Annotated[Any, tyro.conf.arg(constructor=str)]  # from the command line, a path
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")]
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
    sequence_column: str | None = None
    label_column: str | None = None
    split: str = "0.8,0.1,0.1"
    group_column: str | None = None
    regions: str | None = None
    reference: str | None = None
    label: Literal["name", "score"] = "name"
    signal: str | None = None
    window_bp: int | None = None
    seed: int = 42
    seeds: int = 1
    batch_tokens: int = 16384
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: str = "auto"
    rna: bool = False


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `predict_file`: windows, device, precision and batch size.

    Parameters
    ----------
    rows
        records writes one row per record, windows one row per window.
    window_bp
        Length of a window in bases; longer records are cut into windows. Default: the longest
        training sequence. A model of `max_length` tokens reads only the first ones of a record by
        default, as in training.
    stride_bp
        Bases from one window to the next. Default: `window_bp`. The last window ends with the
        record, and the answer of a record is the mean over its windows.
    regions
        BED file: predict for these regions of a genome. Around the middle of each bin of
        `stride_bp` the model reads a window; regions on the strand ``-`` are reverse complemented.
    both_strands
        Average the answers of a window and of its reverse complement, for `bases` base by base.
    sequence_column
        Column of a table with the sequences. Default: sequence.
    batch_tokens
        Maximum tokens per batch; more is faster and needs more memory.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    dtype
        auto, float32, bfloat16, float16 or int8, as in ``from_pretrained``.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    rna : bool
        Read U as T.

    Examples
    --------
    >>> PredictConfig(rows="windows", window_bp=512).stride_bp  # None: windows side by side
    """

    rows: Literal["records", "windows"] = "records"
    window_bp: int | None = None
    stride_bp: int | None = None
    regions: str | os.PathLike[str] | None = None
    both_strands: bool = False
    sequence_column: str | None = None
    batch_tokens: int = 16_384
    attention: str = "auto"
    dtype: str = "auto"
    device: str = "auto"
    rna: bool = False
