"""The loop of fine-tuning: packed batches through `transformers.Trainer`, scored every epoch.

Trainer provides the loop, the rates, the checkpoints and the resuming. This module provides the
batches, the losses, and the evaluation by `Predictor` with a token budget.

Under `torchrun` every process draws the same batches and computes its part of the sequences.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.data_loader import prepare_data_loader
from safetensors import SafetensorError
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from dnabert2_fast._internal.progress import Progress, progress
from dnabert2_fast._internal.resume import not_written
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import DivergedError
from dnabert2_fast.finetuning.config import FinetuneConfig, Kind
from dnabert2_fast.finetuning.inputs import Inputs, encode, targets
from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.finetuning.losses import Classifier, loss_of, loss_weight
from dnabert2_fast.finetuning.metrics import BEST_BY, scores
from dnabert2_fast.finetuning.predictor import Answers, Predictor
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.distributed import DistributedContext, cut
from dnabert2_fast.model.precision import mixed_precision, resolve_dtype

__all__ = ["aligned", "answers_for", "count_parameters", "train"]


def train(
    config: FinetuneConfig,
    predictor: Predictor,
    tables: dict[str, Labelled],
    weights: torch.Tensor | None,
    folder: Path,
    context: DistributedContext,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train the predictor's model in place; it ends as it was after the best epoch.

    Parameters
    ----------
    config : FinetuneConfig
        With a learning rate.
    predictor : Predictor
        Parameters of its model that require gradients are trained.
    tables : dict of str to Labelled
        ``train`` and ``dev``.
    weights : Tensor or None
        As in `loss_of`.
    folder : Path
        For checkpoints; training resumes from an existing one.
    context : DistributedContext
    callbacks : sequence of TrainerCallback
        Called by Trainer, after our own.

    Raises
    ------
    DivergedError
        When the model returns NaN or infinity after an epoch.
    """
    task, dev = predictor.task, tables["dev"]
    device = context.device
    dtype = resolve_dtype(config.dtype, device)

    def examine() -> dict[str, float]:
        with mixed_precision(device, dtype):
            answers = answers_for(predictor, dev, context)
        if not np.isfinite(answers.outputs).all():
            raise DivergedError(
                f"{folder.parent}: dev predictions are NaN or infinite. Delete it and start again "
                f"with a learning rate below {config.learning_rate:g}."
            )
        scored = scores(*aligned(task, dev, answers), task.kind)
        scored.setdefault(BEST_BY[task.kind], 0.0)  # every label of dev has only one outcome
        return scored

    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,  # the best one, and the last one to resume from
        restore_callback_states_from_checkpoint=True,  # includes the epochs of `patience`
        load_best_model_at_end=True,
        metric_for_best_model=BEST_BY[task.kind],
        greater_is_better=True,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        label_names=["labels"],
        ddp_find_unused_parameters=False,
    )
    if arguments.device.type == "cuda":
        # On several cards Trainer would cut batches along their first axis, which is tokens here.
        arguments._n_gpu = 1
    own: list[TrainerCallback] = [_Bar(predictor.model, BEST_BY[task.kind])]
    if config.patience is not None:
        own.append(EarlyStoppingCallback(config.patience))
    examples = _Examples(predictor, tables["train"], weights, context)
    trainer = _Trainer(
        examine,
        model=_WithLoss(predictor.model, task.kind, weights, frozen=config.mode == "frozen"),
        args=arguments,
        train_dataset=examples,
        eval_dataset=examples,  # required by Trainer; `examine` reads dev
        data_collator=examples.collate,
        callbacks=[*own, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # hides messages about the times of checkpoints
    if not context.is_rank_zero:  # processes have different dropout
        seeds = np.random.SeedSequence((config.seed, context.rank))
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
    last = context.on_rank_zero(lambda: _last_whole(folder))
    try:
        trainer.train(resume_from_checkpoint=last)
    finally:
        logging.set_verbosity(verbosity)
    predictor.model.eval()


def answers_for(predictor: Predictor, table: Labelled, context: DistributedContext) -> Answers:
    """Return the answers for a table; each process computes those for a part of it."""
    if context.size == 1:
        return predictor(table.sequences, table.pairs)
    pairs = table.pairs or [""] * len(table.sequences)
    sizes = [len(a) + len(b) for a, b in zip(table.sequences, pairs, strict=True)]
    own = np.zeros(len(sizes), bool)
    own[cut(np.array(sizes), context.size, [context.rank])[0]] = True
    part = table.take(own)
    parts = context.all_gather(predictor(part.sequences, part.pairs))
    outputs, lengths, spans = zip(*parts, strict=True)
    if not predictor.task.by_position:
        return Answers(np.concatenate(outputs))
    return Answers(np.concatenate(outputs), np.concatenate(lengths), np.concatenate(spans))


def aligned(
    task: Task, table: Labelled, answers: Answers
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Return labels and the model's outputs, row by row.

    Tokens beyond `max_length`, and bases that no token covers, are omitted.
    """
    if answers.lengths is None or table.lengths is None:
        return table.labels, answers.outputs
    starts = np.repeat(np.cumsum(table.lengths) - table.lengths, answers.lengths)
    if task.kind == "bases":
        assert answers.spans is not None
        position = answers.spans[:, 0]
    else:
        ends = np.cumsum(answers.lengths)
        first = np.repeat(ends - answers.lengths, answers.lengths)
        position = np.arange(len(answers.outputs)) - first
    return table.labels[starts + position], answers.outputs


def _last_whole(folder: Path) -> str | None:
    """Return the last complete checkpoint."""
    steps = []
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            read_object(state)  # Trainer writes it last; a killed run leaves it incomplete
        except ValueError:
            continue
        if not all(map(zipfile.is_zipfile, state.parent.glob("rng_state*.pth"))):
            continue  # those of other processes may be later
        steps.append(int(state.parent.name.split("-")[1]))
    return str(folder / f"checkpoint-{max(steps)}") if steps else None


class _Examples(torch.utils.data.Dataset[int]):
    """Rows of a training table, by number; `collate` packs this process' part of a batch."""

    def __init__(
        self,
        predictor: Predictor,
        table: Labelled,
        weights: torch.Tensor | None,
        context: DistributedContext,
    ) -> None:
        self._weights, self._context = weights, context
        task = predictor.task
        self._task, self._labels = task, table.labels
        self._inputs: Inputs = encode(
            task, predictor.tokenizer, table.sequences, table.pairs, task.max_length
        )
        self._ends = None if table.lengths is None else np.cumsum(table.lengths)
        for row in range(len(self) if task.kind == "tokens" else 0):
            self._target(row)  # raises for a label of another length before training

    def __len__(self) -> int:
        return len(self._inputs.ids)

    def __getitem__(self, index: int) -> int:
        return index

    def _target(self, row: int) -> torch.Tensor:
        if self._ends is None:
            return targets(self._task, self._labels[row], None)
        label = self._labels[self._ends[row - 1] if row else 0 : self._ends[row]]
        return targets(self._task, label, self._inputs.spans_of(row))

    def collate(self, rows: list[int]) -> dict[str, Any]:
        task, context = self._task, self._context
        join = torch.cat if task.by_position else torch.stack
        targets_of_all = [self._target(row) for row in rows]
        whole = loss_weight(task.kind, join(targets_of_all), self._weights)
        # The mean of the processes' gradients is then the gradient of the whole batch.
        whole = whole / context.size
        (own,) = cut(self._inputs.ids.lengths[rows], context.size, [context.rank])
        if not len(own):  # a process without a sequence computes one that does not count
            own, whole = np.zeros(1, np.int64), torch.tensor(torch.inf)
        return {
            **vars(self._inputs.batch(np.array(rows)[own])),
            "labels": join([targets_of_all[i] for i in own]),
            "loss_weight": whole,
        }


class _WithLoss(nn.Module):
    """The model behind keyword arguments for `Trainer`: returns only a loss."""

    weights: torch.Tensor | None

    def __init__(
        self, model: Classifier, kind: Kind, weights: torch.Tensor | None, *, frozen: bool
    ) -> None:
        super().__init__()
        self.model, self.kind, self.frozen = model, kind, frozen
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self,
        input_ids: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        labels: torch.Tensor,
        loss_weight: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        batch = PackedBatch(input_ids, cu_seqlens, max_seqlen, token_type_ids)
        logits = self.model(batch).logits
        return {"loss": loss_of(self.kind, logits, labels, self.weights, loss_weight)}

    def train(self, mode: bool = True) -> _WithLoss:
        super().train(mode)
        if self.frozen:  # frozen parts compute features as in evaluation, without dropout
            self.model.bert.embeddings.eval()
            self.model.bert.encoder.eval()
        return self


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with this package's batches and evaluation."""

    control: Any
    state: Any
    args: Any
    train_dataset: Any
    data_collator: Any

    def __init__(self, examine: Callable[[], dict[str, float]], **options: Any) -> None:
        super().__init__(**options)
        self._examine = examine

    def get_train_dataloader(self) -> Any:
        """Return all batches in every process: `collate` divides them."""
        loader = torch.utils.data.DataLoader(
            self.train_dataset,
            self.args.train_batch_size,
            shuffle=True,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )
        return prepare_data_loader(
            loader,
            self.args.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            use_seedable_sampler=True,
            data_seed=self.args.seed,
            non_blocking=True,
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {f"eval_{name}": value for name, value in self._examine().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_checkpoint(self, *given: Any, **named: Any) -> None:
        try:
            super()._save_checkpoint(*given, **named)
        except (OSError, RuntimeError, SafetensorError) as error:
            name = f"checkpoint-{self.state.global_step}"
            raise not_written(Path(self.args.output_dir) / name, error) from None


class _Bar(TrainerCallback):  # type: ignore[misc]
    """Shows training on this package's progress bar instead of Trainer's own."""

    bar: Progress

    def __init__(self, model: Classifier, best_by: str) -> None:
        self._model, self._best_by = model, best_by

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trained, parameters = count_parameters(self._model)
        what = f"fine-tuning {trained:,} of {parameters:,} parameters"
        self.bar = progress(state.max_steps, what, "steps")
        self.bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any
    ) -> None:
        score = metrics[f"eval_{self._best_by}"]
        self.bar.note(epoch=state.epoch, **{f"dev_{self._best_by}": score})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.__exit__(None, None, None)


def count_parameters(model: Classifier) -> tuple[int, int]:
    """Return the number of trained parameters, and of all parameters of the model."""
    # peft keeps the untrained head beside the trained one.
    own = [p for name, p in model.named_parameters() if ".original_module." not in name]
    return sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)
