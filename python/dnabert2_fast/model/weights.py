"""Files of a checkpoint: where they are, and which parameters they fill.

Weights are read from ``model.safetensors`` or the published ``pytorch_model.bin`` (tensors only; no
other pickle is opened), whole or in shards with an index, or as an adapter with its base model.
Reading is strict: every key must be known and every shape must match. There are exceptions: the
tied matrix may have either name or both, a bare encoder may lack the ``bert.`` prefix, and names
may begin with those of wrappers (``module.``, ``_orig_mod.``).
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from dnabert2_fast._internal.checks import check_utf8
from dnabert2_fast._internal.hub import HubError, MissingFileError, fetch, fetch_folder
from dnabert2_fast._internal.names import advice, is_hub_id
from dnabert2_fast._internal.stopped import stopped_run
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast._internal.vocabulary import hash_of_file
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model import adapter as adapters
from dnabert2_fast.model.config import Dnabert2Config

__all__ = [
    "FOLDER",
    "FRESH",
    "PACKAGED",
    "TOKENIZER_ALONE",
    "Files",
    "Name",
    "check_layers",
    "checkpoint_folder",
    "first_line",
    "locate",
    "match",
    "own_vocabulary",
    "read_config",
    "read_files",
    "weight_names",
]

Name: TypeAlias = str | os.PathLike[str]
"""A packaged model, a checkpoint folder or a hub id."""

PACKAGED = {"mini": Path(__file__).parents[1] / "data" / "mini"}
"""Models in the package (docs/models); a file or folder of that name has priority."""
TOKENIZER_ALONE = {
    "dnabert2": "only the tokenizer is in the package. For the model, give "
    "zhihan1996/DNABERT-2-117M, which is downloaded."
}
"""Names of tokenizers in the package that have no model there, and the remedy."""

Value = TypeVar("Value")

TOKENIZER = "tokenizer.json"
INDEX = ".index.json"  # of shards
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
FOLDER = ("*.json", "vocab.txt", "*.safetensors", "pytorch_model*.bin")
"""What is read of a checkpoint's folder on the hub."""
# Names that DataParallel, torch.compile, and a class with the model as an attribute put in front.
WRAPPERS = ("module.", "_orig_mod.", "model.")
EMBEDDING = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
HEADS = ("bert.pooler.", "cls.", "classifier.")
FRESH = {
    "bert.pooler.": "Fine-tune the model before using pooler_output.",
    "classifier.": "Fine-tune the model before using its logits.",
}


class Files(NamedTuple):
    """Paths of a checkpoint's files; a weights file may come without a config.

    Those of an adapter are the base model's weights and the adapter's folder.
    """

    config: Path | None
    weights: Path
    adapter: Path | None = None


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


def read_files(files: Files) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights under the released names, an adapter merged into its base.

    Raises
    ------
    CheckpointError
        As in `read_weights` and `merge_adapter`.
    """
    weights = _released_names(read_weights(files.weights))
    if files.adapter is not None:
        path = _first(files.adapter, adapters.WEIGHTS)
        if path is None:
            raise CheckpointError(f"{files.adapter}: has no {adapters.WEIGHTS[0]}. Copy it again.")
        own = {
            name.removeprefix("base_model.model."): tensor
            for name, tensor in read_weights(path).items()
        }
        adapters.merge_adapter(weights, _released_names(own), files.adapter)
    return weights


def own_vocabulary(files: Files) -> str | None:
    """Return the hash of the vocabulary that came with a checkpoint; None without one."""
    folders = (files.adapter, files.weights.parent)
    hashes = (hash_of_file(folder / TOKENIZER) for folder in folders if folder is not None)
    return next(filter(None, hashes), None)


def weight_names(name: str | os.PathLike[str]) -> set[str]:
    """Return the released names of a checkpoint's weights; none if it cannot be read."""
    try:
        files = locate(name, None, local=False)
        if files.weights.suffix == ".safetensors":
            with safe_open(files.weights, "pt") as file:
                found = dict.fromkeys(file.keys())
        elif files.weights.name.endswith(INDEX):
            found = dict.fromkeys(_shards(files.weights))
        else:
            found = torch.load(files.weights, map_location="meta", weights_only=True)
        names = set(_released_names(found))
        adapter = files.adapter and _first(files.adapter, adapters.WEIGHTS)
        if adapter:
            names |= {key.removeprefix("base_model.model.") for key in read_weights(adapter)}
    except (CheckpointError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError,
            pickle.UnpicklingError):  # fmt: skip
        return set()  # `from_pretrained` reports what is wrong
    return names


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file, or the shards of an index, without running code in it.

    Raises
    ------
    CheckpointError
        When the file is damaged or truncated, or contains anything but tensors.
    """
    if path.name.endswith(INDEX):
        tensors: dict[str, torch.Tensor] = {}
        for file in dict.fromkeys(_shards(path).values()):
            tensors |= read_weights(path.with_name(file))
        return tensors
    damaged = f"{path}: damaged, truncated, or not a weights file"
    try:
        if path.suffix == ".safetensors":
            whole: dict[str, torch.Tensor] = load_file(path)
            return whole
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


def _index(index: Path) -> dict[str, str]:
    """Return the file of every tensor, all of them in the folder of the index."""
    try:
        shards: dict[str, str] = read_object(index)["weight_map"]
        if not all(Path(file).name == file for file in shards.values()):
            raise ValueError("a shard is in another folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: damaged ({first_line(error)}). Copy it again.") from None
    return shards


def _shards(index: Path) -> dict[str, str]:
    shards = _index(index)
    absent = [file for file in shards.values() if not index.with_name(file).exists()]
    if absent:
        raise CheckpointError(f"{index}: the shard {absent[0]} is missing. Copy it again.")
    return shards


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


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
    if (unfinished := stopped_run(path)) is not None:
        raise CheckpointError(f"{path}: {unfinished}.")
    if path.is_file():
        config = path.with_name("config.json")
        return Files(config if config.exists() else None, path)
    if path.is_dir():
        config = path / "config.json"
        weights = _first(path, WEIGHTS)
        if weights is None and (path / adapters.CONFIG).exists():
            return _adapted(path, config if config.exists() else None, revision, local)
        if not config.exists() or weights is None:
            lacking = "config.json" if not config.exists() else " or ".join(WEIGHTS[::2])
            raise CheckpointError(
                f"{path}: is not a checkpoint, because it has no {lacking}. Give a folder that "
                "contains both files."
            )
        return Files(config, weights)
    if str(name) in TOKENIZER_ALONE:
        raise CheckpointError(f"{name}: {TOKENIZER_ALONE[str(name)]}")
    if not is_hub_id(name):
        raise CheckpointError(
            f"{name}: no such checkpoint folder or file. {advice(name, PACKAGED)}"
        )
    return _download(str(name), revision, local)


def checkpoint_folder(name: str | os.PathLike[str]) -> Path:
    """Return a checkpoint's folder; download it if its name is a hub id.

    Raises
    ------
    CheckpointError
        When the hub does not return it.
    """
    path = Path(name)
    if path.exists():
        return path
    if not is_hub_id(name):
        return PACKAGED.get(str(name), path)
    try:
        return fetch_folder(str(name), FOLDER)
    except HubError as error:
        raise CheckpointError(
            f"{name}: is not a folder here, and the hub returned no model ({error})."
        ) from None


def _adapted(path: Path, config: Path | None, revision: str | None, local: bool) -> Files:
    base = adapters.base_of(path)
    try:
        files = locate(base, revision, local)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: is an adapter, whose base model is not found ({error}). Correct "
            f"base_model_name_or_path in {adapters.CONFIG}, or give a merged model."
        ) from None
    if files.adapter is not None:
        raise CheckpointError(f"{path}: is an adapter of an adapter, {base}. Merge that one first.")
    return Files(config or files.config, files.weights, path)


def _download(name: str, revision: str | None, local: bool) -> Files:
    def get(file: str) -> Path:
        return fetch(name, file, revision, local=local)

    try:
        config = get("config.json")
        for file in WEIGHTS:
            try:
                weights = get(file)
            except MissingFileError:
                if file == WEIGHTS[-1]:
                    raise
                continue
            if file.endswith(INDEX):
                for shard in dict.fromkeys(_index(weights).values()):
                    get(shard)
            break
        with suppress(MissingFileError):
            get(TOKENIZER)  # for `own_vocabulary`
        return Files(config, weights)
    except HubError as error:
        raise CheckpointError(
            f"{name}: is not a folder here, and the hub returned no model ({error})."
        ) from None


def _released_names(weights: Mapping[str, Value]) -> dict[str, Value]:
    while wrapper := next((w for w in WRAPPERS if all(n.startswith(w) for n in weights)), None):
        if not weights:
            break
        weights = {name.removeprefix(wrapper): tensor for name, tensor in weights.items()}
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
