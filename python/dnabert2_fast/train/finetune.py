"""Fine-tuning on a labelled table with `transformers.Trainer`, and the scores that came out."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from dnabert2_fast.atomic import atomic_path
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model import Dnabert2ForSequenceClassification, PackedBatch
from dnabert2_fast.model.checkpoint import pick_device
from dnabert2_fast.progress import Progress, progress
from dnabert2_fast.ragged import Ragged
from dnabert2_fast.tokenizer import Tokenizer
from dnabert2_fast.train.data import Labelled, read_splits
from dnabert2_fast.train.metrics import kmer_baseline, scores

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune"]


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of a fine-tuning run; the defaults are the paper's for DNABERT-2.

    Parameters
    ----------
    model
        A checkpoint folder or a hub id; its tokenizer is used.
    data
        Folder with train, dev and test (.csv or .csv.gz; columns sequence, label).
    out
        Folder to make: the model of the epoch that scored best on dev, metrics.json and
        test_predictions.csv.
    epochs
        Passes over the training table.
    batch_size
        Sequences of one update.
    learning_rate
        Highest rate; it rises linearly over `warmup_steps`, then falls linearly to 0.
    warmup_steps
        Updates of the rise.
    weight_decay
        AdamW's.
    max_length
        Most tokens of a sequence, special ones included; longer ones are cut at the end.
    seed
        Of order, dropout and the fresh classifier.
    device
        auto (CUDA where there is one, else cpu), or cpu.
    attention
        Attention backend; see `dnabert2-fast doctor`.
    """

    model: Annotated[str, tyro.conf.Positional]
    data: str
    out: str
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 3e-5
    warmup_steps: int = 50
    weight_decay: float = 0.01
    max_length: int | None = None
    seed: int = 42
    device: str = "auto"
    attention: str = "auto"


class FinetuneResult(NamedTuple):
    """What came out.

    Attributes
    ----------
    folder : Path
        Loadable with ``Dnabert2ForSequenceClassification.from_pretrained``.
    metrics : dict of dict
        Scores under ``"dev"``, ``"test"`` and ``"test_baseline"`` (logistic regression on 5-mers).
    """

    folder: Path
    metrics: dict[str, dict[str, float]]


def finetune(config: FinetuneConfig) -> FinetuneResult:
    """Train a classifier; the output folder appears when everything is done.

    Raises
    ------
    DataError
        When a table is missing or damaged.
    CheckpointError
        When the model cannot be loaded, or `out` exists.
    """
    out = Path(config.out)
    if out.exists() and any(out.iterdir()):
        raise CheckpointError(f"{out}: exists already; choose another folder or delete this one")
    tables = read_splits(config.data)
    tokenizer = Tokenizer.from_pretrained(config.model)
    classes = int(tables["train"].labels.max()) + 1
    set_seed(config.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fresh heads are what is wanted here
        model = Dnabert2ForSequenceClassification.from_pretrained(
            config.model, attention=config.attention, num_labels=max(classes, 2)
        )
    model.config.require_vocabulary(tokenizer.vocab_size, config.model)
    encoded = {
        split: _Examples(table, tokenizer, config.max_length) for split, table in tables.items()
    }
    with atomic_path(out) as folder:
        folder.mkdir(parents=True)
        trainer = _trainer(config, model, encoded, folder)
        trainer.train()
        probabilities = {split: _predict(trainer, encoded[split]) for split in ("dev", "test")}
        metrics = {split: scores(tables[split].labels, p) for split, p in probabilities.items()}
        baseline = kmer_baseline(*tables["train"], tables["test"].sequences, classes=classes)
        metrics["test_baseline"] = scores(tables["test"].labels, baseline)
        shutil.rmtree(folder / "epochs")
        model.save_pretrained(folder)
        tokenizer.save(folder / tokenizer.file_name)
        _write_predictions(folder / "test_predictions.csv", tables["test"], probabilities["test"])
        for name, content in (("metrics.json", metrics), ("run.json", asdict(config))):
            (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return FinetuneResult(out, metrics)


class _Examples(torch.utils.data.Dataset[tuple[npt.NDArray[np.uint16], int]]):
    """Encoded sequences and their labels."""

    def __init__(self, table: Labelled, tokenizer: Tokenizer, max_length: int | None) -> None:
        self._ids = tokenizer.encode_batch(table.sequences, max_length=max_length)
        self._labels = table.labels

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint16], int]:
        return self._ids[index], int(self._labels[index])


def _collate(examples: list[tuple[npt.NDArray[np.uint16], int]]) -> dict[str, Any]:
    batch = PackedBatch.from_ragged(Ragged.from_list([ids for ids, _ in examples]))
    return {
        "input_ids": batch.input_ids,
        "cu_seqlens": batch.cu_seqlens,
        "max_seqlen": batch.max_seqlen,
        "labels": torch.tensor([label for _, label in examples]),
    }


class _ForTrainer(nn.Module):
    """The classifier behind keyword arguments, as `Trainer` calls it."""

    def __init__(self, model: Dnabert2ForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        cu_seqlens: torch.Tensor,
        max_seqlen: int,
        labels: torch.Tensor,
    ) -> dict[str, torch.Tensor | None]:
        loss, logits = self.model(PackedBatch(input_ids, cu_seqlens, max_seqlen), labels)
        return {"loss": loss, "logits": logits}


class _Bar(TrainerCallback):  # type: ignore[misc]
    """Shows training on this package's progress bar instead of Trainer's own."""

    bar: Progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = progress(state.max_steps, "fine-tuning", "steps")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any
    ) -> None:
        if "eval_mcc" in metrics:
            self.bar.note(epoch=state.epoch, dev_mcc=metrics["eval_mcc"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.__exit__(None, None, None)


def _trainer(
    config: FinetuneConfig,
    model: Dnabert2ForSequenceClassification,
    encoded: dict[str, _Examples],
    folder: Path,
) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder / "epochs"),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=4 * config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="mcc",
        seed=config.seed,
        use_cpu=pick_device(config.device).type == "cpu",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        label_names=["labels"],
    )
    trainer = Trainer(
        model=_ForTrainer(model),
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["dev"],
        data_collator=_collate,
        compute_metrics=_scored,
        callbacks=[_Bar()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _scored(outcome: Any) -> dict[str, float]:
    return scores(outcome.label_ids, _softmax(outcome.predictions))


def _predict(trainer: Trainer, examples: _Examples) -> npt.NDArray[np.float64]:
    return _softmax(trainer.predict(examples).predictions)


def _softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(-1).numpy()


def _write_predictions(path: Path, table: Labelled, probabilities: npt.NDArray[np.float64]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["label", *(f"probability_{i}" for i in range(probabilities.shape[1]))])
        for label, row in zip(table.labels.tolist(), probabilities.tolist(), strict=True):
            writer.writerow([label, *(f"{value:.6f}" for value in row)])
