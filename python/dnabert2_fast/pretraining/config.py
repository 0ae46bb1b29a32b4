"""Settings of a pre-training run: recipes and model sizes by name, and every option."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from dnabert2_fast._internal.checks import (
    check_at_least,
    check_between,
    check_not_negative,
    check_positive,
    check_seed,
)
from dnabert2_fast.model.config import Dnabert2Config

__all__ = ["NOT_SHAPING", "RECIPES", "SIZES", "PretrainConfig", "Recipe"]

SIZES = {
    "tiny": Dnabert2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256
    ),
    # The maximum depth for 16 MB in bfloat16 with 4,096 tokens (the tied matrix is written twice)
    # and the published head size; that leaves a gated width of 896 instead of 1,024. Dropout is for
    # later fine-tuning (recipes have their own): with 0.1 it learns less (docs/log.md).
    "mini": Dnabert2Config(
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=896,
        hidden_dropout_prob=0.0,
    ),
    "small": Dnabert2Config(
        hidden_size=512, num_hidden_layers=8, num_attention_heads=8, intermediate_size=2048
    ),
    "base": Dnabert2Config(),
    "large": Dnabert2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}


class Recipe(NamedTuple):
    """Settings that belong together; each can be replaced.

    Attributes
    ----------
    optimizer : {"adamw", "muon"}
    learning_rate : float
        Maximum rate.
    warmup_share : float
        Fraction of the steps in which the rate rises.
    decay_share : float
        Fraction of the steps, at the end, in which it falls.
    weight_decay : float
    mask_rate : float
    dropout : float
    steps : int
    batch_tokens : int
    """

    optimizer: Literal["adamw", "muon"]
    learning_rate: float
    warmup_share: float
    decay_share: float
    weight_decay: float
    mask_rate: float
    dropout: float
    steps: int
    batch_tokens: int


RECIPES = {
    # DNABERT-2's paper: 4,096 sequences of 128 tokens, 500,000 steps, 30,000 of them warm-up, then
    # decay to 0; AdamW with MosaicBERT's betas 0.9 and 0.98, epsilon 1e-6 and weight decay 1e-5.
    "paper": Recipe("adamw", 5e-4, 0.06, 0.94, 1e-5, 0.15, 0.1, 500_000, 4096 * 128),
    # Muon (Jordan et al. 2024) for the encoder's matrices, AdamW for the rest; a constant rate
    # between warm-up and decay (Hu et al. 2024); 30 % of tokens masked (Wettig et al. 2023); no
    # dropout, since no sequence occurs often enough to be memorised (Geiping and Goldstein 2023).
    # For losses of small models, see docs/log.md.
    "fast": Recipe("muon", 2e-3, 0.02, 0.3, 1e-2, 0.3, 0.0, 100_000, 4096 * 128),
}


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run; the recipe provides those that are omitted.

    Parameters
    ----------
    corpus
        Folder written by build-corpus; its tokenizer defines the vocabulary.
    out
        Run folder. The same command resumes a stopped run.
    recipe
        paper: AdamW as in the DNABERT-2 paper (rate 5e-4, 6 % warm-up, linear decay, 15 % masked,
        dropout 0.1, 500,000 steps of 524,288 tokens). fast: Muon at 2e-3, warm-up, stable, decay,
        30 % masked, no dropout, 100,000 steps of the same size.
    size
        tiny, mini, small, base (DNABERT-2) or large: 0.8M, 6.8M, 36M, 117M or 408M parameters with
        a vocabulary of 4,096. Default: base.
    init_from
        Start from this model, a folder or a hub id, and its sizes instead of random weights.
    steps
        Number of updates. Default: the recipe's.
    minutes
        End the run after this time instead of after `steps`; the rate then follows the clock, with
        the recipe's shares of warm-up and decay. Evaluations and checkpoints count, the first and
        the last evaluation do not. A resumed run has the time that is left.
    batch_tokens
        Maximum tokens of one update, over all processes together. Default: the recipe's.
    micro_batch_tokens
        Approximate tokens per micro-batch of a process; larger batches use several micro-batches.
    optimizer
        adamw, or muon (Jordan et al. 2024) for the encoder's matrices and AdamW for the rest.
        Default: the recipe's.
    learning_rate
        Maximum learning rate. Default: the recipe's.
    warmup_steps
        Updates in which the rate rises linearly. Default: the recipe's.
    decay_steps
        Updates at the end in which the rate falls linearly to 0. Default: the recipe's.
    weight_decay
        Weight decay of matrices. Default: the recipe's.
    mask_rate
        Fraction of tokens to predict in training; evaluation always uses 0.15. Default: the
        recipe's.
    dropout
        Dropout of hidden values in this run. The config.json of the result contains the rate of its
        size (0.1), the default for fine-tuning. Default: the recipe's.
    bpe_dropout
        Fraction of merges dropped at random in each step, for other tokens of the same bases.
    both_strands
        Train on the reverse complement of half of the windows, drawn at random in each step.
    log_every
        Updates between lines of metrics.jsonl.
    eval_every
        Updates between evaluations on the held-out split.
    eval_tokens
        Maximum held-out tokens per evaluation.
    eval_corpus
        Evaluate on the held-out split of this corpus, such as another species built with
        --valid-fraction 1. Default: the same corpus.
    checkpoint_every
        Updates between checkpoints; one is also written on Ctrl-C and SIGTERM.
    keep
        Number of newest checkpoints to keep.
    seed
        Seed of weights, order, masks and dropout.
    device
        auto (CUDA if available, else cpu), cpu, cuda, cuda:1 or mps.
    dtype
        auto: bfloat16 on CPUs that support it and on CUDA cards of compute capability 8.0 and
        above, float16 with loss scaling on older cards, float32 elsewhere. In 16 bits the weights
        stay in float32.
    save_dtype
        Dtype of the weights in the finished model. bfloat16 halves the file; checkpoints of the run
        stay in float32.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    fsdp
        Shard weights and optimizer over processes (FSDP2) instead of a copy in each (DDP).
    tensorboard
        Also write OUT/tensorboard.
    wandb
        Also report to this project of Weights & Biases.

    Raises
    ------
    ValueError
        When a number is out of range, or `size` is set together with `init_from`.

    Examples
    --------
    >>> config = PretrainConfig("corpus", out="run", recipe="fast", size="small", steps=2000)
    >>> config.resolved().optimizer, config.resolved().warmup_steps
    ('muon', 40)
    """

    corpus: Annotated[str, tyro.conf.Positional]
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")]
    recipe: Literal["paper", "fast"] = "paper"
    size: Literal["tiny", "mini", "small", "base", "large"] | None = None
    init_from: str | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_tokens: int | None = None
    micro_batch_tokens: int = 16_384
    optimizer: Literal["adamw", "muon"] | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    decay_steps: int | None = None
    weight_decay: float | None = None
    mask_rate: float | None = None
    dropout: float | None = None
    bpe_dropout: float = 0.0
    both_strands: bool = False
    log_every: int = 10
    eval_every: int = 500
    eval_tokens: int = 131_072
    eval_corpus: str | None = None
    checkpoint_every: int = 1_000
    keep: int = 2
    seed: int = 0
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    attention: str = "auto"
    fsdp: bool = False
    tensorboard: bool = False
    wandb: str | None = None

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_tokens",
            "micro_batch_tokens",
            "log_every",
            "eval_every",
            "eval_tokens",
            "checkpoint_every",
            "keep",
        ):
            check_at_least(name, getattr(self, name), 1)
        for name in ("warmup_steps", "decay_steps", "weight_decay"):
            check_not_negative(name, getattr(self, name))
        check_seed(self.seed)
        for name in ("learning_rate", "minutes"):
            check_positive(name, getattr(self, name))
        for name in ("steps", "warmup_steps", "decay_steps"):
            if self.minutes is not None and getattr(self, name) is not None:
                raise ValueError(f"{name}: must be omitted with minutes, which set the schedule.")
        check_between("mask_rate", self.mask_rate, 0, 1, but_not=0)
        for name in ("bpe_dropout", "dropout"):
            check_between(name, getattr(self, name), 0, 1, but_not=1)
        if self.size is not None and self.init_from is not None:
            raise ValueError("size: must be omitted with init_from, whose model has a size.")

    def resolved(self) -> ResolvedConfig:
        """Return the values of all options that a recipe provides.

        Returns
        -------
        ResolvedConfig

        Examples
        --------
        >>> PretrainConfig("corpus", "run").resolved().warmup_steps
        30000
        >>> PretrainConfig("corpus", "run", steps=100).resolved()[-2:]
        (6, 94)
        """
        recipe = RECIPES[self.recipe]
        given = {name: getattr(self, name, None) for name in Recipe._fields}
        chosen = recipe._replace(**{k: v for k, v in given.items() if v is not None})
        steps: int | None = chosen.steps
        warmup, decay = self.warmup_steps, self.decay_steps
        if self.minutes is not None:
            steps = None
        else:
            if warmup is None:
                warmup = round(chosen.warmup_share * chosen.steps)
            if decay is None:
                decay = min(round(chosen.decay_share * chosen.steps), max(chosen.steps - warmup, 1))
        return ResolvedConfig(
            chosen.optimizer,
            chosen.learning_rate,
            chosen.weight_decay,
            chosen.mask_rate,
            chosen.dropout,
            steps,
            chosen.batch_tokens,
            warmup,
            decay,
        )

    def schedule(self) -> Schedule:
        """Return the lengths of run, warm-up and decay, in steps or in seconds.

        Returns
        -------
        Schedule

        Examples
        --------
        >>> PretrainConfig("corpus", "run", recipe="fast", minutes=10).schedule()
        Schedule(length=600, warmup=12.0, decay=180.0)
        """
        if self.minutes is not None:
            recipe, seconds = RECIPES[self.recipe], 60 * self.minutes
            return Schedule(seconds, recipe.warmup_share * seconds, recipe.decay_share * seconds)
        resolved = self.resolved()
        assert resolved.steps is not None
        assert resolved.warmup_steps is not None
        assert resolved.decay_steps is not None
        return Schedule(resolved.steps, resolved.warmup_steps, resolved.decay_steps)

    def shaping(self) -> dict[str, Any]:
        """Return all settings that affect the result, as in ``run.json``.

        Returns
        -------
        dict
        """
        every = {**asdict(self), **self.resolved()._asdict()}
        return {name: value for name, value in every.items() if name not in NOT_SHAPING}


class ResolvedConfig(NamedTuple):
    """A recipe with the requested changes; no steps for a run of `minutes`."""

    optimizer: Literal["adamw", "muon"]
    learning_rate: float
    weight_decay: float
    mask_rate: float
    dropout: float
    steps: int | None
    batch_tokens: int
    warmup_steps: int | None
    decay_steps: int | None


class Schedule(NamedTuple):
    """Lengths in steps, or in seconds for a run of `minutes`."""

    length: float
    warmup: float
    decay: float


NOT_SHAPING = (
    "out",
    "micro_batch_tokens",
    "log_every",
    "checkpoint_every",
    "keep",
    "device",
    "attention",
    "fsdp",
    "tensorboard",
    "wandb",
)
"""Settings that may change when a run resumes, because they do not affect the result."""
