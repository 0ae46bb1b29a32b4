"""Checkpoints of other models in `transformers`, with this package's tokenizers.

DNABERT (BERT on overlapping k-mers), the Nucleotide Transformer (ESM on adjacent 6-mers) and
Llama-type models such as METAGENE-1: every model that ``AutoModelForSequenceClassification`` loads,
with the ``vocab.txt`` or ``tokenizer.json`` in its folder.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging

from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.benchmark.epochs import Fit, fit, probabilities_of
from dnabert2_fast.benchmark.flops import HEADS, Cost, cost_of, matrices_of
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.finetuning.config import Mode
from dnabert2_fast.finetuning.inputs import Inputs, encode
from dnabert2_fast.finetuning.labels import Labelled
from dnabert2_fast.finetuning.task import Task
from dnabert2_fast.model.pretrained import pick_device
from dnabert2_fast.model.weights import FOLDER, checkpoint_folder
from dnabert2_fast.tokenizer import Tokenizer

__all__ = ["Foreign", "checksum", "local_folder", "read_config", "train_foreign"]

LORA_RANK, LORA_ALPHA, LORA_DROPOUT = 8, 16, 0.05  # as in the paper for the Nucleotide Transformer


@cache
def local_folder(name: str) -> Path:
    """Return the folder of a checkpoint; download it if the name is a hub id.

    Raises
    ------
    CheckpointError
        When it is neither, or has no ``config.json``.
    """
    folder = checkpoint_folder(name)
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{folder}: has no config.json. Give a folder with a checkpoint.")
    return folder


@cache
def checksum(folder: Path) -> str:
    """Return a short SHA-256 of a checkpoint's contents."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in FOLDER for path in folder.glob(pattern)}):
        with path.open("rb") as handle:
            total.update(path.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()[:16]


class Foreign(NamedTuple):
    """The result of `train_foreign`.

    Attributes
    ----------
    outputs : dict of str to ndarray of float64, shape (rows, classes)
        Probabilities for ``dev`` and ``test``.
    cost : Cost
    trained : int
        Number of trained parameters.
    tokens : ndarray of int64
        Number of tokens of each test row, as input of the model.
    """

    outputs: dict[str, npt.NDArray[np.float64]]
    cost: Cost
    trained: int
    tokens: npt.NDArray[np.int64]


def train_foreign(
    folder: Path,
    task: Task,
    tables: dict[str, Labelled],
    mode: Mode,
    rule: Fit,
    *,
    seed: int,
    batch_tokens: int = 16_384,
    device: str = "auto",
) -> Foreign:
    """Fine-tune a checkpoint and return its answers for ``dev`` and ``test``.

    Parameters
    ----------
    folder : Path
        With config, weights and tokenizer.
    task : Task
        Of the kind ``multiclass``.
    tables : dict of str to Labelled
    mode : {"full", "lora", "frozen"}
        As in `FinetuneConfig`; adapters are added to every matrix of the encoder.
    rule : Fit
    seed : int
    batch_tokens : int
        Maximum tokens per batch in evaluation.
    device : str

    Raises
    ------
    CheckpointError
        When transformers cannot load it, weights of the encoder are missing, or the tokenizer has
        more ids than the model.
    """
    tokenizer = Tokenizer.from_pretrained(folder)
    torch_device = pick_device(device)
    torch.manual_seed(seed)
    model = _load(folder, tokenizer, len(task.names)).to(torch_device)
    inputs = {
        split: encode(task, tokenizer, table.sequences, table.pairs, _max_tokens(model.config))
        for split, table in tables.items()
    }
    cost = cost_of(model, model.config.num_hidden_layers, model.config.hidden_size)
    base = model.base_model
    trainable = _prepare(model, mode)

    def outputs(split: str, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        return _outputs(trainable, inputs[split], rows, tokenizer.pad_id or 0, torch_device)

    def answers(split: str) -> npt.NDArray[np.float64]:
        lengths = inputs[split].ids.lengths
        return probabilities_of(lambda rows: outputs(split, rows), lengths, batch_tokens)

    fit(
        trainable,
        rule,
        lambda rows: outputs("train", rows),
        tables["train"].labels,
        lambda: answers("dev"),
        tables["dev"].labels,
        seed=seed,
        frozen=base if mode == "frozen" else None,
    )
    trained = sum(p.numel() for p in trainable.parameters() if p.requires_grad)
    return Foreign(
        {split: answers(split) for split in ("dev", "test")},
        cost,
        trained,
        inputs["test"].ids.lengths,
    )


def _load(folder: Path, tokenizer: Tokenizer, classes: int) -> Any:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # hides its list of heads, which are random on purpose
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, num_labels=classes)
        if tokenizer.pad_id is not None:  # Llama-type models find the last token by it
            config.pad_token_id = tokenizer.pad_id
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: transformers cannot load it: {str(error).splitlines()[0]}"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
    missing = sorted(
        set(matrices_of(model)) & {k.rpartition(".")[0] for k in report["missing_keys"]}
    )
    if missing:
        raise CheckpointError(f"{folder}: the weights have no {missing[0]}. Use a full checkpoint.")
    if tokenizer.vocab_size > model.config.vocab_size:
        raise CheckpointError(
            f"{folder}: the model has {model.config.vocab_size} ids, the tokenizer "
            f"{tokenizer.vocab_size}. Use the tokenizer that the model was trained with."
        )
    return model


def _max_tokens(config: Any) -> int | None:
    """Return the maximum number of tokens, which the model's positions allow."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or config.model_type != "esm":
        return positions
    first: int = config.pad_token_id + 1  # the first position id
    return positions - first


def _prepare(model: Any, mode: Mode) -> Any:
    """Return the model with the parameters to train in a mode."""
    if mode == "full":
        return model
    if mode == "frozen":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(bool(HEADS & set(name.split("."))))
        return model
    from peft import LoraConfig, get_peft_model

    heads = HEADS & {name.rpartition(".")[2] for name, _ in model.named_modules()}
    settings = LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=LORA_DROPOUT,
        target_modules=list(matrices_of(model)),
        modules_to_save=sorted(heads),
    )
    return get_peft_model(model, settings)


def _outputs(
    model: Any, inputs: Inputs, rows: npt.NDArray[np.int64], pad_id: int, device: torch.device
) -> torch.Tensor:
    ids, mask = inputs.ids.take(rows).to_padded(pad_id)
    batch = {"input_ids": ids, "attention_mask": mask}
    if inputs.type_ids is not None and getattr(model.config, "type_vocab_size", 0) > 1:
        offsets = inputs.ids.offsets
        types = [inputs.type_ids[offsets[row] : offsets[row + 1]] for row in rows]
        batch["token_type_ids"] = np.zeros_like(ids)
        batch["token_type_ids"][mask > 0] = np.concatenate(types)
    tensors = {name: torch.from_numpy(value).to(device) for name, value in batch.items()}
    logits: torch.Tensor = model(**tensors).logits
    return logits


def read_config(folder: Path) -> dict[str, Any]:
    """Return the contents of a ``config.json``."""
    return read_object(folder / "config.json")
