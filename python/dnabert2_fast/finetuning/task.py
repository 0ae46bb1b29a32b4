"""What a fine-tuned model answers: the kind of task, its classes, and what it was trained on."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from dnabert2_fast._internal.atomic import atomic_json
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.config import Kind
from dnabert2_fast.model.weights import checkpoint_folder, weight_names

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """The task of a fine-tuned model; ``task.json`` of its folder.

    Parameters
    ----------
    kind : {"multiclass", "multilabel", "regression", "tokens", "bases"}
        One class per sequence; any number of labels; numbers; one class per token or base.
    names : tuple of str
        Of the classes, labels or numbers, in the order of the model's outputs.
    pairs : bool
        Whether a row has two sequences.
    max_length : int or None
        Maximum tokens of a sequence, special ones included; the model reads the first ones.
    window_bp : int
        Maximum bases that the model read of a training sequence. Windows have this length. 0 if
        unknown: then each sequence is one window, and ends at `max_length`.
    """

    kind: Kind
    names: tuple[str, ...]
    pairs: bool = False
    max_length: int | None = None
    window_bp: int = 0

    @property
    def by_position(self) -> bool:
        """Whether there is one answer per token or base."""
        return self.kind in ("tokens", "bases")

    def save(self, folder: Path) -> None:
        """Write ``task.json``.

        Parameters
        ----------
        folder : path
            An existing folder.
        """
        atomic_json(folder / "task.json", asdict(self))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Task:
        """Read ``task.json`` of a fine-tuned model's folder.

        A classifier that ``transformers.Trainer`` saved has none: its task is in ``config.json``.

        Parameters
        ----------
        folder : path
            Folder written by `finetune` or ``transformers.Trainer``, or its hub id.

        Returns
        -------
        Task

        Raises
        ------
        CheckpointError
            When both are missing or damaged.
        """
        folder = checkpoint_folder(folder)
        path = folder / "task.json"
        if not path.exists() and (folder / "config.json").exists():
            return _task_of_config(folder)
        try:
            values = read_object(path)
            if values["kind"] not in get_args(Kind):
                raise ValueError(f"kind must be one of {get_args(Kind)} (got {values['kind']!r})")
            return cls(**{**values, "names": tuple(values["names"])})
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder}: has no task.json. Give a folder that finetune wrote."
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path}: damaged: {error}. Copy the folder again.") from None


def _task_of_config(folder: Path) -> Task:
    """Return the task of a classifier that `transformers` saved, without a window length."""
    path = folder / "config.json"
    weights = weight_names(folder)
    if "classifier.weight" not in weights:
        raise CheckpointError(
            f"{folder}: has no task.json, and its weights have no classifier. Give a folder that "
            "finetune or Trainer wrote."
        )
    try:
        config = read_object(path)
        problem, names = config.get("problem_type"), config.get("id2label")
        if not names:  # transformers omits the default ones
            names = {i: f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
        kind: Kind = "multiclass"
        if "bert.pooler.dense.weight" not in weights:
            kind = "tokens"
        elif problem == "multi_label_classification":
            kind = "multilabel"
        elif problem == "regression" or len(names) == 1:
            kind = "regression"
        saved = folder / "tokenizer_config.json"
        length = read_object(saved).get("model_max_length") if saved.exists() else None
        return Task(
            kind,
            tuple(str(names[number]) for number in sorted(names, key=int)),
            pairs=bool(config.get("pairs")),
            # Without a maximum, transformers writes a number near 1e30.
            max_length=length if isinstance(length, int) and length < 1 << 30 else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}. Copy the folder again.") from None
