"""Masked-LM pre-training on a corpus: any number of processes, resumable at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dnabert2_fast._internal.atomic import require_writable, resolved
from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.progress import announce, progress
from dnabert2_fast._internal.vocabulary import hash_vocabulary
from dnabert2_fast.attention import select
from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import State
from dnabert2_fast.errors import CheckpointError, CorpusError, DivergedError
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.distributed import (
    DistributedContext,
    gradients_wait,
    init_distributed,
)
from dnabert2_fast.model.heads import Dnabert2ForMaskedLM
from dnabert2_fast.model.precision import DTYPES, mixed_precision, name_device, resolve_dtype
from dnabert2_fast.optim import learning_rate, make_optimizers
from dnabert2_fast.pretraining.checkpoints import Checkpoints, detached
from dnabert2_fast.pretraining.config import SIZES, PretrainConfig
from dnabert2_fast.pretraining.evaluation import Evaluation, Scores, frequency_baseline
from dnabert2_fast.pretraining.flops import peak_flops, training_flops
from dnabert2_fast.pretraining.masking import Masker, key_of
from dnabert2_fast.pretraining.metrics_log import Reporter, StepSums, memory_gb
from dnabert2_fast.pretraining.microbatch import (
    Augmentation,
    BatchLayout,
    MaskedBatch,
    global_batches,
    mask,
    prefetch,
)
from dnabert2_fast.pretraining.plot import plot_losses
from dnabert2_fast.pretraining.run_folder import RunFolder
from dnabert2_fast.pretraining.signals import stop_between_steps
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["PretrainResult", "PretrainingCallback", "PretrainingRun", "pretrain"]

# The loss diverged if it is higher than the lowest by this, over at least this number of tokens.
DIVERGED_NATS, DIVERGED_TOKENS = 1.0, 200


class PretrainResult(NamedTuple):
    """The result of a run.

    Attributes
    ----------
    folder : Path
        Run folder, to be read with ``from_pretrained``.
    eval_loss : float
        Mean cross-entropy of masked held-out tokens, in nats.
    eval_accuracy : float
        Fraction of masked held-out tokens predicted correctly.
    baseline_loss : float
        The loss of predicting token frequencies of the training split.
    metrics : list of dict
        Lines of ``metrics.jsonl``.
    """

    folder: Path
    eval_loss: float
    eval_accuracy: float
    baseline_loss: float
    metrics: list[dict[str, float]]


class PretrainingCallback:
    """Hooks of a run: override the ones that you need.

    Every process calls them in the given order. A hook may read every attribute of the run and
    change its model; an exception ends the run without a checkpoint.

    Examples
    --------
    >>> class Losses(PretrainingCallback):
    ...     def __init__(self):
    ...         self.losses = []
    ...
    ...     def on_evaluation(self, run, scores):
    ...         self.losses.append((run.done, scores.loss))
    >>> callback = Losses()  # pretrain(config, callbacks=[callback])
    """

    def on_step(self, run: PretrainingRun) -> None:
        """Run after every update; `run.done` counts updates.

        Parameters
        ----------
        run : PretrainingRun
            The run in progress.
        """

    def on_metrics(self, run: PretrainingRun, line: dict[str, float]) -> None:
        """Run after every line of ``metrics.jsonl`` with its values; the first has step 0.

        Parameters
        ----------
        run : PretrainingRun
            The run in progress.
        line : dict of str to float
            Values of the line.
        """

    def on_evaluation(self, run: PretrainingRun, scores: Scores) -> None:
        """Run after every evaluation on the held-out split.

        Parameters
        ----------
        run : PretrainingRun
            The run in progress.
        scores : Scores
            Loss and accuracy on the held-out split.
        """

    def on_checkpoint(self, run: PretrainingRun, folder: Path) -> None:
        """Run after the content of a checkpoint was copied.

        It is written during training; `folder` appears when it is complete.

        Parameters
        ----------
        run : PretrainingRun
            The run in progress.
        folder : pathlib.Path
            Folder of the checkpoint.
        """


def pretrain(
    config: PretrainConfig, callbacks: Sequence[PretrainingCallback] = ()
) -> PretrainResult:
    r"""Train a masked language model; resumes a stopped run.

    Under `torchrun` the processes share the work; the result is the same up to rounding.

    Parameters
    ----------
    config : PretrainConfig
    callbacks : sequence of PretrainingCallback
        Called by every process after steps, lines of metrics, evaluations and checkpoints.

    Returns
    -------
    PretrainResult

    Raises
    ------
    CorpusError
        When the corpus cannot be read or has no held-out windows.
    CheckpointError
        When the run folder contains another run, its checkpoints are damaged, or `init_from` cannot
        be read or has another tokenizer.
    DivergedError
        When the loss is NaN or infinite, or far above its earlier level.
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
    out = resolved(config.out)
    check_utf8("out", out)
    if not out.is_dir():  # a finished run is only read
        require_writable(out, folder=True)
    corpus, held_out = _corpora(config)
    with init_distributed(config.device) as context:
        folder = RunFolder(out)
        settings = {**config.shaping(), "corpus_fingerprint": corpus.fingerprint}
        context.on_rank_zero(lambda: folder.claim(settings))
        if not context.on_rank_zero(lambda: folder.finished):
            PretrainingRun(config, folder, context, corpus, held_out, callbacks).train()
        return context.on_rank_zero(lambda: _result(folder))


def _corpora(config: PretrainConfig) -> tuple[Corpus, Corpus]:
    """Return the training and the held-out split."""
    other = config.eval_corpus or config.corpus
    corpus, held_out = Corpus.open(config.corpus), Corpus.open(other, "valid")
    if corpus.fingerprint != held_out.fingerprint:
        raise CorpusError(
            f"{other}: encoded with another tokenizer than {config.corpus}. Build it with "
            f"--tokenizer {config.corpus}."
        )
    for found, remedy in ((corpus, "smaller"), (held_out, "larger")):
        if not len(found):
            raise CorpusError(
                f"{found.folder}: has no windows in its split {found.split!r}. Build it with a "
                f"{remedy} --valid-fraction or more sequence."
            )
    return corpus, held_out


def _fresh_or_given(
    config: PretrainConfig, tokenizer: Tokenizer, dropout: float
) -> tuple[Dnabert2ForMaskedLM, Dnabert2Config]:
    """Return the model to train, and the configuration to write with its weights."""
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
                f"{config.init_from}: has another tokenizer than the corpus. Build the corpus with "
                f"--tokenizer {config.init_from}."
            )
        shape.require_vocabulary(tokenizer.vocabulary, config.init_from)
    shape = replace(shape, vocabulary_sha256=hash_vocabulary(tokenizer.vocabulary))
    model = Dnabert2ForMaskedLM(replace(shape, hidden_dropout_prob=dropout), config.attention)
    if given is not None:
        model.load_state_dict(given.state_dict())
    return model, shape


class PretrainingRun:
    """A run in progress: `train` runs its steps from the newest checkpoint to the end.

    Parameters
    ----------
    config : PretrainConfig
    folder : RunFolder
    context : DistributedContext
    corpus, held_out : Corpus
        The training and the held-out split.
    callbacks : sequence of PretrainingCallback

    Attributes
    ----------
    model : Module
        The callable model, with gradients shared among processes.
    shape : Dnabert2Config
        Its configuration, as written with the weights.
    dtype, backend : str
        Of matrix products, and of attention.
    optimizers : sequence of Optimizer
    done : int
        Steps so far.
    seconds : float
        Time of training so far, the same in all processes.
    tokens : int
        Tokens of all batches so far.
    learning_rate : float
        Of the last step.
    lowest_loss : float
        The lowest mean training loss so far, in nats; before training the held-out loss.

    Examples
    --------
    A callback receives the run:

    >>> from dnabert2_fast.pretraining import PretrainingCallback
    >>> class PrintTokens(PretrainingCallback):
    ...     def on_evaluation(self, run, *_):
    ...         print(f"{run.tokens:,} tokens after {run.done} steps")
    """

    def __init__(
        self,
        config: PretrainConfig,
        folder: RunFolder,
        context: DistributedContext,
        corpus: Corpus,
        held_out: Corpus,
        callbacks: Sequence[PretrainingCallback] = (),
    ) -> None:
        if config.fsdp and not torch.distributed.is_initialized():
            raise ValueError("fsdp: needs several processes. Start them with torchrun.")
        self.dtype = resolve_dtype(config.dtype, context.device, bfloat16_on_cpu=True)
        if self.dtype == "float16" and config.fsdp:
            raise ValueError("fsdp: does not support float16. Use --dtype float32, or no --fsdp.")
        self.backend = select(config.attention, context.device, DTYPES[self.dtype])
        self._scaler = torch.amp.GradScaler(context.device.type, enabled=self.dtype == "float16")
        torch.manual_seed(config.seed)
        self.config, self.resolved = config, config.resolved()
        self.schedule = config.schedule()
        self.folder, self.context, self.corpus = folder, context, corpus
        model, self.shape = _fresh_or_given(config, corpus.tokenizer, self.resolved.dropout)
        self.model = context.wrap(model.to(context.device), config.fsdp)
        self.optimizers = make_optimizers(
            self.model, self.resolved.optimizer, self.resolved.weight_decay
        )
        self.checkpoints = Checkpoints(folder.folder / "checkpoints", context, config.keep)
        self._augmentation = Augmentation(
            corpus, config.bpe_dropout, config.both_strands, config.seed
        )
        self._evaluation = Evaluation(held_out, config.eval_tokens, context)
        self._callbacks = callbacks
        self._reporter: Reporter | None = None
        self._corpus_state = State(epoch=0, position=0)
        self._sums = StepSums(context)
        self.done, self.tokens, self.lowest_loss = 0, 0, math.inf
        self.seconds = self.learning_rate = 0.0

    def train(self) -> None:
        """Run all remaining steps, and write the model.

        Raises
        ------
        DivergedError
            When the loss is NaN or infinite, or far above its earlier level.
        KeyboardInterrupt
            On Ctrl-C and SIGTERM, after a checkpoint was written.
        """
        config, steps = self.config, self.resolved.steps
        self._begin()
        began = time.monotonic() - self.seconds
        with (
            stop_between_steps() as stop,
            progress(steps, "pre-training", "steps") as bar,
            closing(self._batches()) as batches,
        ):
            bar.update(self.done)
            for batch in batches:
                self.step(batch)
                for callback in self._callbacks:
                    callback.on_step(self)
                # One clock, so that all processes have the same rate and end together.
                stopped, self.seconds = self.context.max(bool(stop), time.monotonic() - began)
                stopping, last = bool(stopped), self._progress >= self.schedule.length
                evaluating = self.done % config.eval_every == 0 or last
                logging = self.done % config.log_every == 0 or evaluating
                saving = (self.done % config.checkpoint_every == 0 or stopping) and not last
                if logging or saving:
                    totals = self._sums.totals()
                    self._check(totals)
                bar.update()
                if logging:
                    line = self._line(totals)
                    if evaluating:
                        line |= self.evaluate().as_metrics()
                    self._report(line)
                    bar.note(**{k: line[k] for k in ("loss", "eval_loss") if k in line})
                    self._sums.clear()
                if saving:
                    self.save()
                if last:
                    break
                if stopping:
                    self.checkpoints.wait()
                    if self._reporter is not None:
                        self._reporter.close()
                    raise KeyboardInterrupt
        self._finish()

    def step(self, batch: MaskedBatch) -> None:
        """Update the weights once, by the mean loss over a global batch.

        Parameters
        ----------
        batch : MaskedBatch
            The part of it for this process.
        """
        context, seed = self.context, self.config.seed
        device, whole = context.device, batch.source
        self.model.train()
        # Filled on the device: copying a number from main memory would wait for the device.
        labelled = torch.full((), float(sum(batch.counts)), device=device)
        everywhere = context.all_reduce_sum(labelled).clamp(min=1)
        loss_sum = torch.zeros((), device=device)
        rate = self.learning_rate = learning_rate(
            self._progress,
            peak=self.resolved.learning_rate,
            warmup=self.schedule.warmup,
            decay=self.schedule.decay,
            length=self.schedule.length,
        )
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        masked = zip(whole.micro_batches, *batch[:3], strict=True)
        for micro_batch, packed, labels, count in masked:
            # Dropout by number: the same on any number of processes with equal micro-batches.
            torch.manual_seed(key_of(seed, self.done, micro_batch.number))
            with gradients_wait(self.model, more=micro_batch is not whole.micro_batches[-1]):
                with mixed_precision(device, self.dtype):
                    loss = self.model(packed, labels, with_logits=False).loss * count
                # Processes' gradients are averaged, so each is scaled up by their number.
                self._scaler.scale(loss * (context.size / everywhere)).backward()
            loss_sum += loss.detach()
        for optimizer in self.optimizers:
            self._scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if hasattr(norm, "full_tensor"):
            norm = norm.full_tensor()
        if self._scaler.is_enabled():  # an overflow lowers the scale, and the step is left out
            norm = norm.nan_to_num(0.0, posinf=0.0)
        for optimizer in self.optimizers:
            self._scaler.step(optimizer)
        self._scaler.update()
        self._sums.add(whole, loss_sum, labelled, norm)
        self.done += 1
        self.tokens += whole.tokens
        self._corpus_state = whole.state

    def evaluate(self) -> Scores:
        """Return the scores on the held-out split; the model is left in `eval` mode.

        Returns
        -------
        Scores
        """
        scores = self._evaluation(self.model, self.dtype)
        for callback in self._callbacks:
            callback.on_evaluation(self, scores)
        return scores

    def save(self) -> None:
        """Start to write a checkpoint, from which the run resumes exactly."""
        began = time.perf_counter()
        position = {
            "step": self.done,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "lowest_loss": self.lowest_loss,
            **self._corpus_state,
            "sums": self._sums.totals(),
            "sum_steps": self._sums.steps,
            "scaler": self._scaler.state_dict(),
        }
        folder = self.checkpoints.save(
            self.model, self.shape, self.corpus.tokenizer, self.optimizers, position
        )
        self._sums.started += time.perf_counter() - began
        for callback in self._callbacks:
            callback.on_checkpoint(self, folder)

    def _begin(self) -> None:
        """Load the newest checkpoint, or score the model before the first step."""
        config, context = self.config, self.context
        if context.is_rank_zero:
            where = name_device(context.device)
            announce(f"pre-training on {where}: {self.dtype}, attention {self.backend}")
        kept = self.checkpoints.resume(self.model, self.optimizers)
        kept_until = -1 if kept is None else int(kept["step"])
        context.on_rank_zero(lambda: self.folder.forget_after(kept_until))
        if context.is_rank_zero:
            self._reporter = Reporter(
                self.folder, config.shaping(), config.tensorboard, config.wandb
            )
        if kept is not None:
            self.done, self.tokens = int(kept["step"]), int(kept["tokens"])
            self.seconds = float(kept["seconds"])
            self.lowest_loss = float(kept["lowest_loss"])
            self._corpus_state = State(epoch=kept["epoch"], position=kept["position"])
            self._sums.take_up(kept["sums"], kept["sum_steps"])
            if kept["scaler"] and self._scaler.is_enabled():
                self._scaler.load_state_dict(kept["scaler"])
            return
        scores = self.evaluate()
        self.lowest_loss = scores.loss
        baseline = context.on_rank_zero(lambda: frequency_baseline(self.corpus, self._evaluation))
        line = {"step": 0, "tokens": 0, **scores.as_metrics()}
        line |= {"baseline_loss": baseline.loss, "baseline_accuracy": baseline.accuracy}
        self._report(line)
        self._sums.clear()

    def _batches(self) -> Generator[MaskedBatch]:
        """Yield this process' part of every remaining global batch, each drawn in advance."""
        config, context = self.config, self.context
        drawn = global_batches(
            self.corpus,
            self._augmentation,
            BatchLayout(
                self.resolved.batch_tokens, config.micro_batch_tokens, context.rank, context.size
            ),
            seed=config.seed,
            first_step=self.done,
            state=self._corpus_state,
        )
        masker = Masker(self.corpus.tokenizer, self.resolved.mask_rate)
        pinned = context.device.type == "cuda"
        masked = (
            mask(batch, masker, key_of(config.seed, step), pinned=pinned)
            for step, batch in enumerate(drawn, self.done)
        )
        return prefetch(masked)

    @property
    def _progress(self) -> float:
        """Steps or seconds so far, as in the schedule."""
        return self.done if self.config.minutes is None else self.seconds

    def _check(self, totals: list[float]) -> None:
        """Raise `DivergedError` before a diverged model replaces a good one."""
        loss = totals[0] / max(totals[1], 1.0)
        far = totals[1] >= DIVERGED_TOKENS and loss > self.lowest_loss + DIVERGED_NATS
        if math.isfinite(sum(totals)) and not far:
            return
        self.checkpoints.wait()
        good = self.checkpoints.newest
        where = (
            "There is no checkpoint yet" if good is None else f"The last good checkpoint is {good}"
        )
        raise DivergedError(
            f"{self.folder.folder}: the training loss at step {self.done:,} is {loss:.4g}"
            + (f", earlier {self.lowest_loss:.4g}" if far else "")
            + f". {where}. Start another run with a lower learning rate"
            + ("." if good is None else f", or from it with --init-from {good}.")
        )

    def _line(self, totals: list[float]) -> dict[str, float]:
        """Return the metrics of the steps since the last line."""
        sums, device = self._sums, self.context.device
        seconds = time.perf_counter() - sums.started
        loss_sum, labelled, norms = totals
        line = {
            "step": self.done,
            "tokens": self.tokens,
            "loss": loss_sum / max(labelled, 1.0),
            "gradient_norm": norms / sums.steps,
            "tokens_per_second": sums.tokens / seconds,
        }
        memory = memory_gb(device)
        if memory is not None:
            line["memory_gb"] = memory
        peak = peak_flops(device)
        if peak is not None:
            timed = labelled * sums.timed_steps / sums.steps
            flops = training_flops(self.shape, sums.tokens, sums.squares, timed)
            line["mfu"] = flops / seconds / (peak * self.context.size)
        line["learning_rate"] = self.learning_rate
        if labelled >= DIVERGED_TOKENS:
            self.lowest_loss = min(self.lowest_loss, line["loss"])
        return line

    def _report(self, line: dict[str, float]) -> None:
        if self._reporter is not None:
            self._reporter.line(line)
        for callback in self._callbacks:
            callback.on_metrics(self, line)

    def _finish(self) -> None:
        """Write the model, and delete the checkpoints."""
        self.checkpoints.wait()
        final = detached(self.model, self.shape)
        if self._reporter is not None:
            self._reporter.close()
            self.corpus.tokenizer.save_pretrained(self.folder.folder)
            final.to(DTYPES[self.config.save_dtype]).save_pretrained(self.folder.folder)
        self.checkpoints.remove()


def _result(folder: RunFolder) -> PretrainResult:
    metrics = folder.metrics()
    if find_spec("matplotlib"):
        plot_losses(metrics, folder.folder / "loss.png")
    first, last = metrics[0], metrics[-1]
    return PretrainResult(
        folder.folder, last["eval_loss"], last["eval_accuracy"], first["baseline_loss"], metrics
    )
