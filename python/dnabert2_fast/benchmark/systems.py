"""The compared systems: one interface for a linear model, a network and checkpoints of any kind.

A system receives the tables of a set and a seed, trains on train, chooses on dev, and is scored on
test by `dnabert2_fast.finetuning.metrics.scores`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from dnabert2_fast.benchmark.checkpoints import (
    checksum,
    local_folder,
    read_config,
    train_foreign,
)
from dnabert2_fast.benchmark.cnn import CNN_FIT, train_cnn
from dnabert2_fast.benchmark.epochs import Fit
from dnabert2_fast.benchmark.flops import cost_of
from dnabert2_fast.benchmark.kmers import KmerVectorizer
from dnabert2_fast.benchmark.sets import GueSet
from dnabert2_fast.finetuning.config import FinetuneConfig, Mode, Pooling
from dnabert2_fast.finetuning.inputs import encode
from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.finetuning.metrics import scores
from dnabert2_fast.finetuning.runs import finetune
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.config import Dnabert2Config, is_ours
from dnabert2_fast.model.heads import Dnabert2ForSequenceClassification
from dnabert2_fast.model.pretrained import pick_device
from dnabert2_fast.optim import PUBLISHED_WIDTH, RATES
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Case", "CnnSystem", "KmerSystem", "ModelSystem", "Outcome", "System"]

FOREIGN_LORA_RATE = 1e-4  # as in the paper for the Nucleotide Transformer


class Case(NamedTuple):
    """A set with its tables, as input of every system."""

    spec: GueSet
    folder: Path
    task: Task
    tables: dict[str, Labelled]


class Outcome(NamedTuple):
    """The result of a run.

    Attributes
    ----------
    metrics : dict of dict
        Scores for ``dev`` and ``test``.
    parameters, trained : int
    flops : float
        FLOPs of a forward pass, mean over test rows.
    tokens : float or None
        Mean over test rows, for systems with a tokenizer.
    """

    metrics: dict[str, dict[str, float]]
    parameters: int
    trained: int
    flops: float
    tokens: float | None = None


class System(Protocol):
    """A model that is trained on one table and scored on another."""

    @property
    def name(self) -> str:
        """Name in reports."""

    @property
    def seeded(self) -> bool:
        """Whether the results depend on the seed."""

    def settings(self, case: Case) -> dict[str, Any]:
        """Return the settings of its results, besides the data and the seed."""

    def run(self, case: Case, seed: int, work: Path) -> Outcome:
        """Train and score; `work` is a folder from which a stopped run resumes."""


@dataclass(frozen=True)
class KmerSystem:
    """Logistic regression (C = 1) on tf-idf counts of k-mers of length 1 to 6."""

    name: str = "k-mers"
    seeded: bool = False

    def settings(self, case: Case) -> dict[str, Any]:
        """Return C and k."""
        return {"C": 1.0, "k": [1, 2, 3, 4, 5, 6]}

    def run(self, case: Case, seed: int, work: Path) -> Outcome:
        """Train and score."""
        train, classes = case.tables["train"], len(case.task.names)
        vectorizers = [KmerVectorizer() for _ in _sides(train)]
        model = LogisticRegression(C=1.0, max_iter=1000)
        fitted = [v.fit_transform(s) for v, s in zip(vectorizers, _sides(train), strict=True)]
        model.fit(sparse.hstack(fitted, format="csr"), train.labels)
        metrics, flops = {}, 0.0
        for split in ("dev", "test"):
            table = case.tables[split]
            parts = [v.transform(s) for v, s in zip(vectorizers, _sides(table), strict=True)]
            counts = sparse.hstack(parts, format="csr")
            outputs = np.zeros((len(table.labels), classes))
            outputs[:, model.classes_] = model.predict_proba(counts)
            metrics[split] = scores(table.labels, outputs)
            flops = 2.0 * counts.nnz / counts.shape[0] * model.coef_.shape[0]
        parameters = model.coef_.size + model.intercept_.size
        return Outcome(metrics, parameters, parameters, flops)


@dataclass(frozen=True)
class CnnSystem:
    """`DnaCnn`, from scratch."""

    device: str = "auto"
    rule: Fit = CNN_FIT
    name: str = "CNN"
    seeded: bool = True

    def settings(self, case: Case) -> dict[str, Any]:
        """Return the settings of training."""
        return self.rule._asdict()

    def run(self, case: Case, seed: int, work: Path) -> Outcome:
        """Train and score."""
        done = train_cnn(
            case.tables, len(case.task.names), seed=seed, device=self.device, rule=self.rule
        )
        parameters = sum(p.numel() for p in done.model.parameters())
        return Outcome(_scored(case, done.outputs), parameters, parameters, done.flops)


@dataclass(frozen=True)
class ModelSystem:
    """A checkpoint in one training mode; ours by `finetune`, others by `train_foreign`.

    Parameters
    ----------
    model : str
        A folder or a hub id.
    mode : {"frozen", "lora", "full"}
        Trained parameters: the head, adapters and the head, or all.
    epochs : int, optional
        Default: the set's.
    learning_rate : float, optional
        Maximum rate. Default: the paper's for ``full``, and the usual ones for the others.
    batch_tokens : int
        Maximum tokens per batch in evaluation.
    device, attention : str
    pooling : {"cls", "mean"}, optional
        Input of the head of our models. Default: the checkpoint's.
    """

    model: str
    mode: Mode
    epochs: int | None = None
    learning_rate: float | None = None
    batch_tokens: int = 16_384
    device: str = "auto"
    attention: str = "auto"
    pooling: Pooling | None = None
    seeded: bool = True

    @property
    def name(self) -> str:
        """Name of the checkpoint and the mode."""
        return f"{Path(self.model).name} {self.mode}"

    def require_readable(self) -> None:
        """Raise the error of a missing model, tokenizer or device, before any system is trained."""
        Tokenizer.from_pretrained(local_folder(self.model))
        pick_device(self.device)

    def settings(self, case: Case) -> dict[str, Any]:
        """Return checkpoint and training settings."""
        whose: dict[str, Any] = {"sha256": checksum(local_folder(self.model)), "mode": self.mode}
        if self._is_ours():
            whose["pooling"] = self.pooling
        return {**whose, **self._fit(case)._asdict()}

    def _fit(self, case: Case) -> Fit:
        spec = case.spec
        rate = self.learning_rate
        if rate is None and self.mode == "full":
            rate = spec.learning_rate
        elif rate is None and self.mode == "lora" and not self._is_ours():
            rate = FOREIGN_LORA_RATE
        elif rate is None:
            rate = RATES[self.mode]
        if self.learning_rate is None and self._is_ours():  # as finetune does by default
            rate *= PUBLISHED_WIDTH / read_config(local_folder(self.model))["hidden_size"]
        epochs = self.epochs or spec.epochs_for(len(case.tables["train"].labels))
        return Fit(epochs, spec.batch_size, rate)

    def _is_ours(self) -> bool:
        return is_ours(read_config(local_folder(self.model)))

    def run(self, case: Case, seed: int, work: Path) -> Outcome:
        """Train and score."""
        folder = local_folder(self.model)
        if self._is_ours():
            return self._finetune(folder, case, seed, work)
        done = train_foreign(
            folder,
            case.task,
            case.tables,
            self.mode,
            self._fit(case),
            seed=seed,
            batch_tokens=self.batch_tokens,
            device=self.device,
        )
        metrics, tokens = _scored(case, done.outputs), done.tokens
        flops = done.cost.flops(tokens)
        return Outcome(metrics, done.cost.parameters, done.trained, flops, float(tokens.mean()))

    def _finetune(self, folder: Path, case: Case, seed: int, work: Path) -> Outcome:
        rule, out = self._fit(case), work / "finetuned"
        if not (out / "metrics.json").exists():
            work.mkdir(parents=True, exist_ok=True)
            config = FinetuneConfig(
                str(folder),
                str(case.folder),
                str(out),
                task="multiclass",
                mode=self.mode,
                pooling=self.pooling,
                epochs=rule.epochs,
                batch_size=rule.batch_size,
                learning_rate=rule.learning_rate,
                warmup_steps=rule.warmup_steps,
                weight_decay=rule.weight_decay,
                seed=seed,
                batch_tokens=self.batch_tokens,
                device=self.device,
                attention=self.attention,
            )
            finetune(config)
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        counts = json.loads((out / "run.json").read_text(encoding="utf-8"))
        config_of = Dnabert2Config.from_dict(read_config(out))
        with torch.device("meta"):
            model = Dnabert2ForSequenceClassification(config_of)
        cost = cost_of(model, config_of.num_hidden_layers, config_of.hidden_size)
        tokens = tokens_of(Tokenizer.from_pretrained(out), case)
        scored = {split: metrics[split] for split in ("dev", "test")}
        return Outcome(
            scored,
            counts["parameters"],
            counts["trained"],
            cost.flops(tokens),
            float(tokens.mean()),
        )


def tokens_of(tokenizer: Tokenizer, case: Case) -> npt.NDArray[np.int64]:
    """Return the number of tokens of each test row, special ones included."""
    test = case.tables["test"]
    return encode(case.task, tokenizer, test.sequences, test.pairs).ids.lengths


def _sides(table: Labelled) -> list[Sequence[str]]:
    return [table.sequences] if table.pairs is None else [table.sequences, table.pairs]


def _scored(case: Case, outputs: dict[str, npt.NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    return {split: scores(case.tables[split].labels, outputs[split]) for split in outputs}
