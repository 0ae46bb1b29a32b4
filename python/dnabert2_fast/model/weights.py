"""Files of a checkpoint: where they are, and which parameters they fill.

Weights are read from ``model.safetensors`` or the published ``pytorch_model.bin`` (tensors only; no
other pickle is opened). Reading is strict: every key must be known and every shape must match.
There are two exceptions for published files. The tied matrix may have either name or both, and a
bare encoder may lack the ``bert.`` prefix.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.config import Dnabert2Config

__all__ = [
    "FRESH",
    "PACKAGED",
    "Files",
    "check_layers",
    "first_line",
    "locate",
    "match",
    "read_config",
    "read_weights",
]

PACKAGED = {"mini": Path(__file__).parents[1] / "data" / "mini"}
"""Models in the package (docs/models); a file or folder of that name has priority."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
EMBEDDING = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
HEADS = ("bert.pooler.", "cls.", "classifier.")
FRESH = {
    "bert.pooler.": "Fine-tune the model before using pooler_output.",
    "classifier.": "Fine-tune the model before using its logits.",
}


class Files(NamedTuple):
    """Paths of a checkpoint's two files; a weights file may come without a config."""

    config: Path | None
    weights: Path


def read_config(path: Path) -> Dnabert2Config:
    """Read a ``config.json``.

    Raises
    ------
    CheckpointError
        When it is not JSON, or a field is wrong; names file and field.
    """
    try:
        values = read_object(path)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}. Copy or download it again.") from None
    return Dnabert2Config.from_dict(values, source=str(path))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file into memory, without running code in it.

    Raises
    ------
    CheckpointError
        When the file is damaged or truncated, or contains anything but tensors.
    """
    damaged = f"{path}: damaged, truncated, or not a weights file"
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = load_file(path)
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{damaged} ({first_line(error)}). Copy or download it again."
        ) from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: contains more than tensors, so it is not opened. Use a safetensors file."
        ) from None
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise CheckpointError(f"{path}: is not a table of named tensors. Use a safetensors file.")
    return loaded


def check_layers(config: Dnabert2Config, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Raise CheckpointError when there are fewer layers than in the config."""
    names = (re.match(r"(?:bert\.)?encoder\.layer\.(\d+)\.", name) for name in weights)
    layers = len({name[1] for name in names if name})
    if layers < config.num_hidden_layers:
        raise CheckpointError(
            f"{source}: not the weights of this model: has {layers} layers, the config has "
            f"{config.num_hidden_layers}. Use the config.json of these weights."
        )


def match(
    model: nn.Module, weights: Mapping[str, torch.Tensor], source: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the weights by the model's names, and the heads that are missing.

    Raises
    ------
    CheckpointError
        When keys are missing or unknown, or shapes or types do not match.
    """
    own = model.state_dict()
    given = _released_names(weights)
    if DECODER in own:
        given = _with_both_tied(given, source)
    absent_heads = [
        head
        for head in FRESH
        if any(name.startswith(head) for name in own)
        and not any(name.startswith(head) for name in given)
    ]
    missing = [n for n in own if n not in given and not n.startswith(tuple(absent_heads))]
    unknown = [n for n in given if n not in own and not n.startswith(HEADS)]
    if missing or unknown:
        raise CheckpointError(
            f"{source}: not the weights of this model ({_listed('missing', missing)}; "
            f"{_listed('unknown', unknown)}). Use the config.json of these weights."
        )
    for name, tensor in own.items():
        if name in given and given[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name} must have the shape {tuple(tensor.shape)} of the config "
                f"(got {tuple(given[name].shape)})."
            )
        if name in given and not given[name].is_floating_point():
            raise CheckpointError(
                f"{source}: {name} must be floating-point numbers (got {given[name].dtype})."
            )
    return given, absent_heads


def locate(name: str | os.PathLike[str], revision: str | None, local: bool) -> Files:
    """Return the files of a checkpoint; download them if its name is a hub id."""
    path = Path(name)
    check_utf8("model", path)
    if not path.exists():
        path = PACKAGED.get(str(name), path)
    if path.is_file():
        config = path.with_name("config.json")
        return Files(config if config.exists() else None, path)
    if path.is_dir():
        config = path / "config.json"
        weights = next((path / w for w in WEIGHTS if (path / w).exists()), None)
        if not config.exists() or weights is None:
            lacking = "config.json" if not config.exists() else " or ".join(WEIGHTS)
            raise CheckpointError(
                f"{path}: is not a checkpoint, because it has no {lacking}. Give a folder that "
                "contains both files."
            )
        return Files(config, weights)
    # "owner/name" is a hub id, unless its first half is a folder here: then the path is misspelt.
    if str(name).count("/") != 1 or path.parent.is_dir():
        raise CheckpointError(f"{name}: no such checkpoint folder or file. Check the path.")
    return _download(str(name), revision, local)


def _download(name: str, revision: str | None, local: bool) -> Files:
    # The name of a revision becomes part of a path; hub ids are checked by the library.
    good = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*")
    if revision is not None and not (good.fullmatch(revision) and ".." not in revision):
        raise CheckpointError(f"revision: {revision!r} is not the name of a branch, tag or commit.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    def get(file: str) -> Path:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=local))

    try:
        config = get("config.json")
        try:
            return Files(config, get(WEIGHTS[0]))
        except EntryNotFoundError:
            return Files(config, get(WEIGHTS[1]))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{name}: is not a folder here, and the hub returned no model ({first_line(error)}). "
            "Check the name and the network."
        ) from None


def _released_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    bare = ("embeddings.", "encoder.", "pooler.")
    return {f"bert.{n}" if n.startswith(bare) else n: tensor for n, tensor in weights.items()}


def _with_both_tied(given: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    embedding, decoder = given.get(EMBEDDING), given.get(DECODER)
    if embedding is not None and decoder is not None:
        if not torch.equal(embedding, decoder):
            raise CheckpointError(
                f"{source}: {EMBEDDING} and {DECODER} are one matrix and must be equal. Save the "
                "model again with tied weights."
            )
        return given
    shared = decoder if embedding is None else embedding
    return given if shared is None else {**given, EMBEDDING: shared, DECODER: shared}


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{what}: {shown or 'none'}{more}"


def first_line(error: Any) -> str:
    """Return the first line of an error's message, or its type when it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
