"""Masked-LM pre-training on a corpus: any number of processes, resumable at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dnabert2_fast._internal.progress import progress
from dnabert2_fast.attention import select
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import State
from dnabert2_fast.errors import CheckpointError, CorpusError, DivergedError
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.pretrained import has_bfloat16
from dnabert2_fast.optim import learning_rate, make_optimizers
from dnabert2_fast.pretraining.checkpoints import Checkpoints, detached
from dnabert2_fast.pretraining.config import SIZES, PretrainConfig, Settled
from dnabert2_fast.pretraining.distributed import Fleet, gradients_wait, join_fleet
from dnabert2_fast.pretraining.evaluation import Evaluation, frequency_baseline
from dnabert2_fast.pretraining.flops import peak_flops, training_flops
from dnabert2_fast.pretraining.masking import IGNORED, Masker, key_of
from dnabert2_fast.pretraining.metrics_log import Reporter, memory_gb
from dnabert2_fast.pretraining.microbatch import Step, Variation, ahead, step_batches
from dnabert2_fast.pretraining.plot import plot_losses
from dnabert2_fast.pretraining.run_folder import Run
from dnabert2_fast.pretraining.signals import stop_between_steps
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["PretrainResult", "pretrain"]

# A training loss so far above the lowest one so far has diverged, if so many tokens say so.
DIVERGED_NATS, DIVERGED_TOKENS = 1.0, 200


class PretrainResult(NamedTuple):
    """What came out of a run.

    Attributes
    ----------
    folder : Path
        Run folder, loadable with ``from_pretrained``.
    eval_loss : float
        Mean cross-entropy of masked held-out tokens, in nats.
    eval_accuracy : float
        Share of them guessed right.
    baseline_loss : float
        The loss of a guess by token frequency in the training split.
    metrics : list of dict
        Lines of ``metrics.jsonl``.
    """

    folder: Path
    eval_loss: float
    eval_accuracy: float
    baseline_loss: float
    metrics: list[dict[str, float]]


def pretrain(config: PretrainConfig) -> PretrainResult:
    r"""Train a masked language model; goes on with a run that was stopped.

    Under `torchrun` the processes share the work; the result is the same up to rounding.

    Parameters
    ----------
    config : PretrainConfig

    Returns
    -------
    PretrainResult

    Raises
    ------
    CorpusError
        When the corpus cannot be read or has no held-out window.
    CheckpointError
        When the run folder holds another run, its checkpoints are damaged, or `init_from` cannot be
        read or has another tokenizer.
    DivergedError
        When the loss is no number, or far above what it was.
    KeyboardInterrupt
        On Ctrl-C and SIGTERM, after a checkpoint was written.

    Examples
    --------
    >>> import tempfile
    >>> from dnabert2_fast import build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "x.fa").write_text(">a\n" + "ACGTTGCATTAGCA" * 500)
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> windows = CorpusConfig(window_bp=50, valid_fraction=0.4)
    >>> _ = build_corpus([folder / "x.fa"], folder / "corpus", tok, windows)
    >>> result = pretrain(PretrainConfig(
    ...     str(folder / "corpus"), out=str(folder / "run"), size="tiny", steps=2,
    ...     batch_tokens=512, dtype="float32"
    ... ))
    >>> result.eval_loss > 0, (result.folder / "model.safetensors").exists()
    (True, True)
    """
    corpus, held_out = _corpora(config)
    with join_fleet(config.device) as fleet:
        run = Run(Path(config.out))
        settings = {**config.shaping(), "corpus_fingerprint": corpus.fingerprint}
        fleet.on_first(lambda: run.claim(settings))
        if not fleet.on_first(lambda: run.finished):
            job = _prepare(config, run, fleet, corpus, held_out)
            _train(job)
        return fleet.on_first(lambda: _result(run))


def _corpora(config: PretrainConfig) -> tuple[Corpus, Corpus]:
    """Return the training and the held-out split."""
    other = config.eval_corpus or config.corpus
    corpus, held_out = Corpus.open(config.corpus), Corpus.open(other, "valid")
    if corpus.fingerprint != held_out.fingerprint:
        raise CorpusError(
            f"{other}: encoded with another tokenizer than {config.corpus}; build it with "
            f"--tokenizer {config.corpus}"
        )
    for found, remedy in ((corpus, "smaller"), (held_out, "larger")):
        if not len(found):
            raise CorpusError(
                f"{found.folder}: has no window in its split {found.split!r}; build it with a "
                f"{remedy} valid_fraction or more sequence"
            )
    return corpus, held_out


@dataclass(frozen=True)
class _Job:
    """A run under way.

    `model` is what is called, with gradients shared among processes; `shape` is its config.
    """

    config: PretrainConfig
    settled: Settled
    run: Run
    fleet: Fleet
    corpus: Corpus
    shape: Dnabert2Config
    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    masker: Masker
    variation: Variation
    evaluation: Evaluation
    checkpoints: Checkpoints
    bfloat16: bool


def _prepare(
    config: PretrainConfig, run: Run, fleet: Fleet, corpus: Corpus, held_out: Corpus
) -> _Job:
    if config.fsdp and not torch.distributed.is_initialized():
        raise ValueError("fsdp: shares weights among processes; start them with torchrun")
    auto = config.dtype == "auto" and has_bfloat16(fleet.device)
    bfloat16 = auto or config.dtype == "bfloat16"
    select(config.attention, fleet.device, torch.bfloat16 if bfloat16 else torch.float32)
    torch.manual_seed(config.seed)
    settled = config.settled()
    model, shape = _fresh_or_given(config, corpus.tokenizer, settled.dropout)
    wrapped = fleet.wrap(model.to(fleet.device), config.fsdp)
    return _Job(
        config,
        settled,
        run,
        fleet,
        corpus,
        shape,
        wrapped,
        make_optimizers(wrapped, settled.optimizer, settled.weight_decay),
        Masker(corpus.tokenizer, settled.mask_rate, fleet.device),
        Variation(corpus, config.bpe_dropout, config.both_strands, config.seed),
        Evaluation(held_out, config.eval_tokens, fleet),
        Checkpoints(run.folder / "checkpoints", fleet, config.keep),
        bfloat16,
    )


def _fresh_or_given(
    config: PretrainConfig, tokenizer: Tokenizer, dropout: float
) -> tuple[Dnabert2ForMaskedLM, Dnabert2Config]:
    """Return the model to train, and the shape to write beside its weights."""
    given = None
    if config.init_from is None:
        shape = replace(
            SIZES[config.size or "base"],
            vocab_size=tokenizer.vocab_size,
            pad_token_id=tokenizer.pad_id or 0,
        )
    else:
        given = Dnabert2ForMaskedLM.from_pretrained(config.init_from)
        shape = given.config
        theirs = Tokenizer.from_pretrained(config.init_from)
        if (theirs.vocabulary, theirs.matching) != (tokenizer.vocabulary, tokenizer.matching):
            raise CheckpointError(
                f"{config.init_from}: has another tokenizer than the corpus; build the corpus with "
                f"--tokenizer {config.init_from}"
            )
        shape.require_vocabulary(tokenizer.vocab_size, config.init_from)
    model = Dnabert2ForMaskedLM(replace(shape, hidden_dropout_prob=dropout), config.attention)
    if given is not None:
        model.load_state_dict(given.state_dict())
    return model, shape


class _Sums:
    """Sums over the steps since the last line of metrics.

    Losses, labelled tokens and gradient norms stay on the device, so that no step waits for them.
    """

    def __init__(self, job: _Job, kept: dict[str, Any]) -> None:
        self._fleet = job.fleet
        # What a checkpoint has kept is of all processes together: one of them takes it up.
        values = kept.get("sums", [0.0] * 3) if job.fleet.first else [0.0] * 3
        self.device = torch.tensor(values, dtype=torch.float32, device=job.fleet.device)
        self.steps = int(kept.get("sum_steps", 0))
        self.timed_steps = self.tokens = self.squares = 0
        self.started = time.perf_counter()

    def totals(self) -> list[float]:
        """Return the sums over all processes: loss, labelled tokens, gradient norm."""
        totals: list[float] = self._fleet.add_up(self.device).tolist()
        return totals

    def clear(self) -> None:
        """Begin anew, with the clock."""
        self.device.zero_()
        self.steps = self.timed_steps = self.tokens = self.squares = 0
        self.started = time.perf_counter()


def _train(job: _Job) -> None:
    config, settled, fleet = job.config, job.settled, job.fleet
    kept = job.checkpoints.resume(job.model, job.optimizers) or {"step": 0}
    done = int(kept["step"])
    fleet.on_first(lambda: job.run.forget_after(done if done else -1))
    reporter = None
    if fleet.first:
        reporter = Reporter(job.run, config.shaping(), config.tensorboard, config.wandb)
    if not done:
        first = job.evaluation(job.model, job.bfloat16)
        kept["lowest_loss"] = first.loss
        if reporter is not None:
            baseline = frequency_baseline(job.corpus, job.evaluation)
            line = {"step": 0, "tokens": 0, "eval_loss": first.loss}
            line |= {"eval_accuracy": first.accuracy, "baseline_loss": baseline.loss}
            reporter.line({**line, "baseline_accuracy": baseline.accuracy})
    sums = _Sums(job, kept)
    tokens, lowest = int(kept.get("tokens", 0)), float(kept["lowest_loss"])
    state = State(epoch=kept["epoch"], position=kept["position"]) if done else None
    drawn = step_batches(
        job.corpus,
        job.variation,
        batch_tokens=settled.batch_tokens,
        micro_batch_tokens=config.micro_batch_tokens,
        seed=config.seed,
        first_step=done,
        state=state,
        rank=fleet.rank,
        ranks=fleet.size,
    )
    steps = closing(ahead(islice(drawn, settled.steps - done)))  # type: ignore[type-var]
    with (
        stop_between_steps() as stop,
        progress(settled.steps, "pre-training", "steps") as bar,
        steps as batches,
    ):
        bar.update(done)
        for now, batch in enumerate(batches, start=done + 1):
            rate = learning_rate(
                now - 1,
                peak=settled.learning_rate,
                warmup_steps=settled.warmup_steps,
                decay_steps=settled.decay_steps,
                steps=settled.steps,
            )
            _update(job, batch, now - 1, rate, sums)
            tokens += batch.tokens
            last = now == settled.steps
            stopping = fleet.any(bool(stop))
            evaluating = now % config.eval_every == 0 or last
            logging = now % config.log_every == 0 or evaluating
            saving = (now % config.checkpoint_every == 0 or stopping) and not last
            if logging or saving:
                totals = sums.totals()
                _check(job, now, totals, lowest)
            bar.update()
            if logging:
                line = {"step": now, "tokens": tokens, **_rates(job, sums, totals)}
                line["learning_rate"] = rate
                if totals[1] >= DIVERGED_TOKENS:
                    lowest = min(lowest, line["loss"])
                if evaluating:
                    scores = job.evaluation(job.model, job.bfloat16)
                    line |= {"eval_loss": scores.loss, "eval_accuracy": scores.accuracy}
                if reporter is not None:
                    reporter.line(line)
                bar.note(**{k: line[k] for k in ("loss", "eval_loss") if k in line})
                sums.clear()
                totals = [0.0] * 3
            if saving:
                began = time.perf_counter()
                position = {"step": now, "tokens": tokens, "lowest_loss": lowest, **batch.state}
                position |= {"sums": totals, "sum_steps": sums.steps}
                job.checkpoints.save(
                    job.model, job.shape, job.corpus.tokenizer, job.optimizers, position
                )
                sums.started += time.perf_counter() - began
            if stopping and not last:
                job.checkpoints.wait()
                if reporter is not None:
                    reporter.close()
                raise KeyboardInterrupt
    job.checkpoints.wait()
    final = detached(job.model, job.shape)
    if reporter is not None:
        reporter.close()
        job.corpus.tokenizer.save(job.run.folder / job.corpus.tokenizer.file_name)
        final.save_pretrained(job.run.folder)
    job.checkpoints.remove()


def _update(job: _Job, batch: Step, step: int, rate: float, sums: _Sums) -> None:
    """One step: gradients of the mean loss over all labelled tokens of the global batch."""
    device, fleet = job.fleet.device, job.fleet
    job.model.train()
    key = key_of(job.config.seed, step)
    masked = []
    for piece in batch.pieces:
        packed, places = piece.batch.to(device), piece.places.to(device)
        inputs, labels = job.masker(packed.input_ids, places, key)
        labels = labels.masked_fill(places < 0, IGNORED)
        masked.append((replace(packed, input_ids=inputs), labels, (labels != IGNORED).sum()))
    labelled = torch.stack([count for _, _, count in masked]).sum()
    everywhere = fleet.add_up(labelled).clamp(min=1)
    loss_sum = torch.zeros((), device=device)
    for optimizer in job.optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
    for piece, (packed, labels, count) in zip(batch.pieces, masked, strict=True):
        # Dropout by the piece's number: the same in any process, if the pieces are the same.
        torch.manual_seed(key_of(job.config.seed, step, piece.number))
        with gradients_wait(job.model, more=piece is not batch.pieces[-1]):
            with torch.autocast(device.type, torch.bfloat16, enabled=job.bfloat16):
                piece_sum = job.model(packed, labels, with_logits=False).loss * count
            # Processes' gradients are averaged, so each is scaled up by their number.
            (piece_sum * (fleet.size / everywhere)).backward()
        loss_sum += piece_sum.detach()
    norm = nn.utils.clip_grad_norm_(job.model.parameters(), 1.0)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    for optimizer in job.optimizers:
        optimizer.step()
    # The norm is known to all, the others are each process' own.
    sums.device += torch.stack([loss_sum, labelled.float(), norm.float() * fleet.first])
    sums.steps += 1
    sums.timed_steps += 1
    sums.tokens += batch.tokens
    sums.squares += batch.squares


def _check(job: _Job, step: int, totals: list[float], lowest: float) -> None:
    """Raise `DivergedError` before a bad model is written over a good one."""
    loss = totals[0] / max(totals[1], 1.0)
    far = totals[1] >= DIVERGED_TOKENS and loss > lowest + DIVERGED_NATS
    if math.isfinite(sum(totals)) and not far:
        return
    job.checkpoints.wait()
    good = job.checkpoints.newest
    where = "there is no checkpoint yet" if good is None else f"the last good checkpoint is {good}"
    raise DivergedError(
        f"{job.run.folder}: at step {step:,} the training loss is {loss:.4g}"
        + (f", it was {lowest:.4g} before" if far else "")
        + f"; {where}; start another run with a lower learning rate"
        + ("" if good is None else f", or from it with --init-from {good}")
    )


def _rates(job: _Job, sums: _Sums, totals: list[float]) -> dict[str, float]:
    seconds = time.perf_counter() - sums.started
    rates = {
        "loss": totals[0] / max(totals[1], 1.0),
        "gradient_norm": totals[2] / sums.steps,
        "tokens_per_second": sums.tokens / seconds,
    }
    memory = memory_gb(job.fleet.device)
    if memory is not None:
        rates["memory_gb"] = memory
    peak = peak_flops(job.fleet.device)
    if peak is not None:
        labelled = totals[1] * sums.timed_steps / sums.steps
        flops = training_flops(job.shape, sums.tokens, sums.squares, labelled)
        rates["mfu"] = flops / seconds / (peak * job.fleet.size)
    return rates


def _result(run: Run) -> PretrainResult:
    metrics = run.metrics()
    if find_spec("matplotlib"):
        plot_losses(metrics, run.folder / "loss.png")
    first, last = metrics[0], metrics[-1]
    return PretrainResult(
        run.folder, last["eval_loss"], last["eval_accuracy"], first["baseline_loss"], metrics
    )
