"""Masked-LM pre-training on a corpus, one process, resumable at every step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import tyro

from dnabert2_fast.attention import select
from dnabert2_fast.corpus import Corpus, TokenBatches
from dnabert2_fast.corpus.sample import State
from dnabert2_fast.errors import CorpusError
from dnabert2_fast.model import Dnabert2Config, Dnabert2ForMaskedLM, PackedBatch
from dnabert2_fast.model.checkpoint import pick_device
from dnabert2_fast.progress import progress
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.train.loop import Run, adamw, learning_rate, stop_between_steps
from dnabert2_fast.train.mlm import IGNORED, Masker
from dnabert2_fast.train.plot import plot_losses

__all__ = ["SIZES", "PretrainConfig", "PretrainResult", "pretrain"]

SIZES = {
    "tiny": Dnabert2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256
    ),
    "mini": Dnabert2Config(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536
    ),
    "base": Dnabert2Config(),
}

# Held-out batches of one evaluation.
EVAL_BATCHES = 8

# Training windows whose token frequencies make the baseline.
BASELINE_WINDOWS = 100_000


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run.

    Parameters
    ----------
    corpus
        Folder made by build-corpus; its tokenizer sets the vocabulary.
    out
        Run folder. Started again with the same settings, the run goes on where it stopped.
    size
        tiny (0.3M parameters beside the vocabulary), mini (14M), base (DNABERT-2, 117M).
    steps
        Updates.
    batch_tokens
        Tokens of one update, at most.
    learning_rate
        Highest rate; it rises linearly for `warmup_steps`, then falls linearly to 0.
    warmup_steps
        Updates of the rise.
    weight_decay
        AdamW's, for matrices.
    mask_rate
        Share of tokens to predict.
    eval_every
        Updates between evaluations on the held-out split.
    checkpoint_every
        Updates between checkpoints; one is also written on Ctrl-C.
    seed
        Of weights, order, masks and dropout.
    device
        auto (CUDA where there is one, else cpu), cpu, cuda, cuda:1, mps.
    dtype
        bfloat16 computes in mixed precision; weights stay float32.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    """

    corpus: Annotated[str, tyro.conf.Positional]
    out: str
    size: Literal["tiny", "mini", "base"] = "base"
    steps: int = 100_000
    batch_tokens: int = 32_768
    learning_rate: float = 5e-4
    warmup_steps: int = 1_000
    weight_decay: float = 1e-5
    mask_rate: float = 0.15
    eval_every: int = 500
    checkpoint_every: int = 1_000
    seed: int = 0
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")


class PretrainResult(NamedTuple):
    """What came out of a run.

    Attributes
    ----------
    folder : Path
        Run folder, loadable with ``from_pretrained``.
    eval_loss : float
        Mean cross-entropy of masked held-out tokens, in nats.
    baseline_loss : float
        The same for a guess by token frequency in the training split.
    metrics : list of dict
        Lines of ``metrics.jsonl``.
    """

    folder: Path
    eval_loss: float
    baseline_loss: float
    metrics: list[dict[str, float]]


def pretrain(config: PretrainConfig) -> PretrainResult:
    """Train a masked language model; goes on with a run that was stopped.

    Raises
    ------
    CorpusError
        When the corpus cannot be read or has no held-out window.
    CheckpointError
        When the run folder holds another run.
    KeyboardInterrupt
        On Ctrl-C, after a checkpoint was written.
    """
    corpus, held_out = Corpus.open(config.corpus), Corpus.open(config.corpus, "valid")
    if not len(corpus) or not len(held_out):
        raise CorpusError(
            f"{config.corpus}: {len(corpus)} training and {len(held_out)} held-out windows; both "
            "are needed, build it with another valid_fraction or more sequence"
        )
    tokenizer = corpus.tokenizer
    shaping = {k: v for k, v in asdict(config).items() if k not in ("out", "device", "attention")}
    run = Run(Path(config.out), {**shaping, "corpus_fingerprint": corpus.fingerprint})
    if run.finished:
        return _result(run)
    device = pick_device(config.device)
    select(config.attention, device, getattr(torch, config.dtype))
    torch.manual_seed(config.seed)
    shape = replace(
        SIZES[config.size], vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_id or 0
    )
    model = Dnabert2ForMaskedLM(shape, config.attention).to(device)
    optimizer = adamw(model, config.weight_decay)
    position = run.resume(model, optimizer) or {
        "step": 0,
        "epoch": 0,
        "position": 0,
        "loss_sum": 0.0,
    }
    evaluation = _Evaluation(held_out, tokenizer, config)
    if not position["step"]:
        baseline = _frequency_loss(corpus, evaluation)
        first = evaluation.loss(model)
        run.log(step=0, eval_loss=first, baseline_loss=baseline)
    _train(config, run, model, optimizer, corpus, evaluation, position)
    run.finish(model, tokenizer)
    return _result(run)


def _train(
    config: PretrainConfig,
    run: Run,
    model: Dnabert2ForMaskedLM,
    optimizer: torch.optim.Optimizer,
    corpus: Corpus,
    evaluation: _Evaluation,
    position: dict[str, float],
) -> None:
    masker = Masker(corpus.tokenizer, config.mask_rate)
    state = State(epoch=int(position["epoch"]), position=int(position["position"]))
    batches = TokenBatches(corpus, config.batch_tokens, seed=config.seed, state=state)
    done = int(position["step"])
    # Of the steps since the last evaluation; a tensor, so that no step waits for its loss.
    loss_sum = torch.tensor(position["loss_sum"], dtype=torch.float64, device=model.device)
    with stop_between_steps() as stop, progress(config.steps, "pre-training", "steps") as bar:
        bar.update(done)
        for step, drawn in zip(range(done, config.steps), batches, strict=False):
            model.train()
            rate = learning_rate(
                step,
                peak=config.learning_rate,
                warmup_steps=config.warmup_steps,
                steps=config.steps,
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            # Masks from their own generator, dropout from torch's: both a function of the step.
            draws = _generator(config.seed, step)
            torch.manual_seed(int(torch.randint(2**62, (), generator=draws)))
            batch, labels = _masked(drawn.ids, masker, draws)
            with _precision(config):
                loss = model(batch, labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss_sum += loss.detach()
            bar.update()
            now = step + 1
            if now % config.eval_every == 0 or now == config.steps:
                since = (now - 1) % config.eval_every + 1
                train_loss, eval_loss = float(loss_sum) / since, evaluation.loss(model)
                loss_sum.zero_()
                run.log(step=now, loss=train_loss, eval_loss=eval_loss, learning_rate=rate)
                bar.note(loss=train_loss, eval_loss=eval_loss)
            if now % config.checkpoint_every == 0 or stop:
                where: dict[str, float] = {"step": now, "loss_sum": float(loss_sum)}
                where |= {"epoch": drawn.state["epoch"], "position": drawn.state["position"]}
                run.save(model, corpus.tokenizer, optimizer, where)
            if stop and now < config.steps:
                raise KeyboardInterrupt


class _Evaluation:
    """The same masked held-out batches every time."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, config: PretrainConfig) -> None:
        self._config = config
        masker = Masker(tokenizer, config.mask_rate)
        batches = TokenBatches(corpus, config.batch_tokens, seed=0, epochs=1)
        self.batches = [
            _masked(drawn.ids, masker, _generator(0, number))
            for number, drawn in enumerate(islice(batches, EVAL_BATCHES))
        ]
        self.asked = sum(int((labels != IGNORED).sum()) for _, labels in self.batches)

    def loss(self, model: Dnabert2ForMaskedLM) -> float:
        """Return the mean cross-entropy of masked tokens, in nats."""
        model.eval()
        total = 0.0
        with torch.inference_mode(), _precision(self._config):
            for batch, labels in self.batches:
                total += float(model(batch, labels).loss) * int((labels != IGNORED).sum())
        return total / max(self.asked, 1)


def _frequency_loss(corpus: Corpus, evaluation: _Evaluation) -> float:
    """Cross-entropy of guessing masked tokens by their frequency in training windows."""
    sample = np.unique(np.linspace(0, len(corpus) - 1, BASELINE_WINDOWS, dtype=np.int64))
    counts = np.bincount(corpus.gather(sample).values, minlength=corpus.tokenizer.vocab_size) + 1.0
    counts[sorted(corpus.tokenizer.special_ids)] = 0
    frequency = torch.from_numpy(counts / counts.sum())
    wanted = torch.cat([labels[labels != IGNORED] for _, labels in evaluation.batches])
    return float(-frequency[wanted].log().mean())


def _masked(
    ids: Ragged, masker: Masker, draws: torch.Generator
) -> tuple[PackedBatch, torch.Tensor]:
    batch = PackedBatch.from_ragged(ids)
    inputs, labels = masker(batch.input_ids, draws)
    return replace(batch, input_ids=inputs), labels


def _generator(seed: int, number: int) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))


def _precision(config: PretrainConfig) -> torch.autocast:
    kind = pick_device(config.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=config.dtype == "bfloat16")


def _result(run: Run) -> PretrainResult:
    metrics = run.metrics()
    baseline = metrics[0]["baseline_loss"]
    if find_spec("matplotlib"):
        plot_losses(metrics, run.folder / "loss.png")
    return PretrainResult(run.folder, metrics[-1]["eval_loss"], baseline, metrics)
