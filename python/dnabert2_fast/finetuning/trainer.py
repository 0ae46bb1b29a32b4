"""The loop of fine-tuning: packed batches through `transformers.Trainer`, scored every epoch.

Trainer provides the loop, the rates, the checkpoints and the resuming. This module provides the
batches, the losses, and the evaluation by `Predictor` with a token budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
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
from dnabert2_fast.finetuning.losses import Classifier, loss_of
from dnabert2_fast.finetuning.metrics import BEST_BY, scores
from dnabert2_fast.finetuning.predictor import Answers, Predictor
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.precision import mixed_precision, resolve_dtype
from dnabert2_fast.model.pretrained import pick_device

__all__ = ["aligned", "count_parameters", "train"]


def train(
    config: FinetuneConfig,
    predictor: Predictor,
    tables: dict[str, Labelled],
    weights: torch.Tensor | None,
    folder: Path,
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
    callbacks : sequence of TrainerCallback
        Called by Trainer, after our own.

    Raises
    ------
    DivergedError
        When the model returns NaN or infinity after an epoch.
    """
    task, dev = predictor.task, tables["dev"]
    device = pick_device(config.device)
    dtype = resolve_dtype(config.dtype, device)

    def examine() -> dict[str, float]:
        with mixed_precision(device, dtype):
            answers = predictor(dev.sequences, dev.pairs)
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
    )
    if arguments.device.type == "cuda":
        # On several cards Trainer would cut batches along their first axis, which is tokens here.
        arguments._n_gpu = 1
    own: list[TrainerCallback] = [_Bar(predictor.model, BEST_BY[task.kind])]
    if config.patience is not None:
        own.append(EarlyStoppingCallback(config.patience))
    examples = _Examples(predictor, tables["train"])
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
    try:
        trainer.train(resume_from_checkpoint=_last_whole(folder))
    finally:
        logging.set_verbosity(verbosity)
    predictor.model.eval()


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
        steps.append(int(state.parent.name.split("-")[1]))
    return str(folder / f"checkpoint-{max(steps)}") if steps else None


class _Examples(torch.utils.data.Dataset[int]):
    """Rows of a training table, by number; `collate` packs some of them."""

    def __init__(self, predictor: Predictor, table: Labelled) -> None:
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
        batch = self._inputs.batch(np.array(rows))
        wanted = [self._target(row) for row in rows]
        return {
            **vars(batch),
            "labels": torch.cat(wanted) if self._task.by_position else torch.stack(wanted),
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
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        batch = PackedBatch(input_ids, cu_seqlens, max_seqlen, token_type_ids)
        logits = self.model(batch).logits
        return {"loss": loss_of(self.kind, logits, labels, self.weights)}

    def train(self, mode: bool = True) -> _WithLoss:
        super().train(mode)
        if self.frozen:  # frozen parts compute features as in evaluation, without dropout
            self.model.bert.embeddings.eval()
            self.model.bert.encoder.eval()
        return self


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with this package's evaluation."""

    control: Any
    state: Any
    args: Any

    def __init__(self, examine: Callable[[], dict[str, float]], **options: Any) -> None:
        super().__init__(**options)
        self._examine = examine

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
