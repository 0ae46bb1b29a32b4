"""Checkpoints: a folder of ``config.json`` and weights under the released key names.

Weights are read from ``model.safetensors`` or the released ``pytorch_model.bin`` (tensors only, no
other pickle is ever opened), and strictly: every key must be known and every shape must fit. Two
liberties are taken because published files need them: the tied matrix may stand under either name
or both, and a bare encoder may lack the ``bert.`` prefix. What a checkpoint truly lacks, a pooler
or a classifier, is drawn fresh and said aloud.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.attention import BackendStatus, explain, select
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.model.blank import blank
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.int8 import is_int8, quantize_int8

if TYPE_CHECKING:
    from dnabert2_fast.model.encoder import Bert

__all__ = [
    "Pretrained",
    "fit",
    "has_bfloat16",
    "initialise",
    "pick_device",
    "read_config",
    "read_weights",
]

PACKAGED = {"mini": Path(__file__).parents[1] / "data" / "mini"}
"""Models in the package (docs/models); a file or folder of that name comes first."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
EMBEDDING = "bert.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
HEADS = ("bert.pooler.", "cls.", "classifier.")
FRESH = {
    "bert.pooler.": "pooler_output means nothing until the model is fine-tuned",
    "classifier.": "logits mean nothing until the model is fine-tuned",
}
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # of everything but the matrices
}


class Files(NamedTuple):
    """Where a checkpoint's two files lie; a weights file may come without a config."""

    config: Path | None
    weights: Path


class Pretrained(nn.Module):
    """What every public model can do besides computing: be read, be written, say where it is."""

    config: Dnabert2Config
    bert: Bert

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        attention: str = "auto",
        dtype: str = "float32",
        device: str | torch.device = "cpu",
        num_labels: int | None = None,
        classifier_pooling: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Read a model, ready for inference (`eval` mode).

        Parameters
        ----------
        name_or_path : str or path
            ``"mini"``, the small model in the package; a folder with ``config.json`` and weights;
            a weights file (``config.json`` is read beside it; without one the published 117M
            shape is assumed); or a hub id such as ``"zhihan1996/DNABERT-2-117M"``.
        attention : str
            Attention backend; ``dnabert2-fast doctor`` lists them.
        dtype : {"float32", "bfloat16", "float16", "int8", "auto"}
            ``"auto"`` takes bfloat16 where the device has instructions for it, else float32.
            ``"int8"`` multiplies matrices in 8-bit integers: for inference on a CPU, see
            `dnabert2_fast.model.int8`.
        device : str or torch.device
            ``"auto"`` takes CUDA where there is one, else the CPU.
        num_labels : int, optional
            Classes of a classifier; the checkpoint's own when left out. Another number than the
            checkpoint's gives a fresh classifier.
        classifier_pooling : {"cls", "mean"}, optional
            What the pooler is given, see `Dnabert2Config`; the checkpoint's own when left out.
        revision : str, optional
            Branch, tag or commit on the hub.
        local_files_only : bool
            Never ask the network, take what was downloaded before.

        Raises
        ------
        CheckpointError
            When files are missing or damaged, or keys or shapes do not fit; names them.
        BackendUnavailableError
            When `attention` names a backend that cannot run here.
        ValueError
            When torch knows no such device, or sees none here.

        Examples
        --------
        >>> from dnabert2_fast import Dnabert2ForMaskedLM
        >>> model = Dnabert2ForMaskedLM.from_pretrained("mini")
        >>> model.config.num_hidden_layers, model.dtype, model.training
        (6, torch.float32, False)
        """
        device = pick_device(device)
        if dtype == "auto":
            dtype = "bfloat16" if has_bfloat16(device) else "float32"
        if dtype not in DTYPES:
            raise CheckpointError(f'dtype="{dtype}": one of auto, {", ".join(DTYPES)} is expected')
        select(attention, device, DTYPES[dtype])
        files = _locate(name_or_path, revision, local_files_only)
        config = Dnabert2Config() if files.config is None else read_config(files.config)
        weights = read_weights(files.weights)
        if num_labels is not None and num_labels != config.num_labels:
            config = replace(config, num_labels=num_labels)
            weights = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
        if classifier_pooling is not None:
            config = replace(config, classifier_pooling=classifier_pooling)
        _check_layers(config, weights, str(files.weights))
        model = blank(lambda: cls(config, attention))
        model.tie()
        _matched(model, weights, str(files.weights))  # before memory of any size is taken
        model.to_empty(device="cpu")
        model.tie()
        fit(model, weights, str(files.weights))
        model.to(device, DTYPES[dtype]).eval()
        if dtype == "int8":
            quantize_int8(model)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder, making it if needed.

        Every key of the released layout is written, the tied matrix under both of its names, so
        that any reader can load the file without a key map.

        Raises
        ------
        CheckpointError
            For a model in int8.
        """
        if is_int8(self):
            raise CheckpointError("a model in int8 is for inference; save the one it was read from")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Copies, because safetensors refuses tensors that share memory.
        tensors = {name: tensor.cpu().clone() for name, tensor in self.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as path:
            path.write_bytes(save(tensors, metadata={"format": "pt"}))
        with atomic_path(folder / "config.json") as path:
            path.write_text(json.dumps(self.config.to_dict(), indent=2) + "\n", encoding="utf-8")

    def tie(self) -> None:
        """Share matrices that the architecture shares; nothing unless a model overrides it."""

    def checkpoint_activations(self, enabled: bool = True) -> None:
        """Keep only layers' inputs for the backward pass and compute the rest again.

        A training step then takes about a third more time and the memory of one layer at a time.
        """
        self.bert.checkpoints_activations = enabled

    @property
    def attention_backend(self) -> BackendStatus:
        """Which attention runs for this model where it is now, and why.

        >>> from dnabert2_fast import Dnabert2Config, Dnabert2Model
        >>> Dnabert2Model(Dnabert2Config(num_hidden_layers=1)).attention_backend.name
        'sdpa'
        """
        return explain(self.bert.backend, self.device, self.dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype


def pick_device(name: str | torch.device) -> torch.device:
    """Return the device of that name; ``"auto"`` takes CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        When torch knows no such device, or does not see one here.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device="{name}": {_first_line(error)}') from None
    if device.type == "cuda":
        seen = torch.cuda.device_count() if cuda else 0
    else:
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        other = found is not None and found.type == device.type
        seen = torch.accelerator.device_count() if other else int(device.type == "cpu")
    if not seen:
        kind = "CUDA" if device.type == "cuda" else device.type
        raise ValueError(f'device="{name}": torch {torch.__version__} sees no {kind} device here')
    if (device.index or 0) >= seen:
        raise ValueError(f'device="{name}": there are {seen} here, counted from 0')
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, so that it is faster than float32.

    >>> has_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


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
        raise CheckpointError(f"{path}: {error}; copy or download it again") from None
    return Dnabert2Config.from_dict(values, source=str(path))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file into memory, without running any code it may hold.

    Raises
    ------
    CheckpointError
        When the file is damaged, cut off, or holds anything but tensors.
    """
    damaged = f"{path}: damaged, cut off, or not a weights file; copy or download it again"
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, torch.Tensor] = load_file(path)
            return tensors
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{damaged} ({_first_line(error)})") from None
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: holds more than tensors and is not opened") from None
    if not isinstance(loaded, dict) or not all(map(torch.is_tensor, loaded.values())):
        raise CheckpointError(f"{path}: a table of named tensors is expected")
    return loaded


def fit(model: Pretrained, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Load `weights` into a model that carries the released key names.

    Warns
    -----
    UserWarning
        When the pooler or the classifier is not in the checkpoint and is drawn fresh.

    Raises
    ------
    CheckpointError
        When keys are missing or unknown, or shapes differ.
    """
    given, absent_heads = _matched(model, weights, source)
    own = model.state_dict()
    model.load_state_dict({name: given[name] for name in own if name in given}, strict=False)
    for head in absent_heads:
        part = model.get_submodule(head.removesuffix("."))
        initialise(part, model.config.initializer_range)
        name = head.removesuffix(".").rpartition(".")[2]
        warnings.warn(f"{source} has no {name}: drawn fresh; {FRESH[head]}", stacklevel=3)


def _check_layers(config: Dnabert2Config, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Raise CheckpointError when there are not as many layers as the config says."""
    names = (re.match(r"(?:bert\.)?encoder\.layer\.(\d+)\.", name) for name in weights)
    layers = len({name[1] for name in names if name})
    if layers < config.num_hidden_layers:
        raise CheckpointError(
            f"{source}: not the weights of this model: missing: bert.encoder.layer.{layers} and "
            f"what follows; the config has {config.num_hidden_layers} layers"
        )


def _matched(
    model: Pretrained, weights: Mapping[str, torch.Tensor], source: str
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the weights by the model's names, and the heads that it has to draw.

    Raises
    ------
    CheckpointError
        When keys are missing or unknown, or shapes or types do not fit.
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
            f"{source}: not the weights of this model: "
            f"{_listed('missing', missing)}; {_listed('unknown', unknown)}"
        )
    for name, tensor in own.items():
        if name in given and given[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(given[name].shape)}, the config asks for "
                f"{tuple(tensor.shape)}"
            )
        if name in given and not given[name].is_floating_point():
            raise CheckpointError(
                f"{source}: {name} has type {given[name].dtype}; a floating-point type is expected"
            )
    return given, absent_heads


def initialise(module: nn.Module, deviation: float) -> None:
    """Draw fresh weights as BERT does: normal matrices, zero biases, unit norms."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, (nn.Linear, nn.LayerNorm)) and part.bias is not None:
            nn.init.zeros_(part.bias)


def _locate(name: str | os.PathLike[str], revision: str | None, local: bool) -> Files:
    path = Path(name)
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
            raise CheckpointError(f"{path}: not a checkpoint, {lacking} is not in it")
        return Files(config, weights)
    # "owner/name" is a hub id, unless its first half is a folder here: then it is a typing slip.
    if str(name).count("/") != 1 or path.parent.is_dir():
        raise CheckpointError(f"{name}: no such checkpoint folder or file")
    return _download(str(name), revision, local)


def _download(name: str, revision: str | None, local: bool) -> Files:
    # The name of a revision becomes part of a path; hub ids are checked by the library.
    good = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*")
    if revision is not None and not (good.fullmatch(revision) and ".." not in revision):
        raise CheckpointError(f"revision={revision!r}: is no name of a branch, tag or commit")
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
            f"{name}: no such folder here, and the hub did not give it: {_first_line(error)}"
        ) from None


def _released_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    bare = ("embeddings.", "encoder.", "pooler.")
    return {f"bert.{n}" if n.startswith(bare) else n: tensor for n, tensor in weights.items()}


def _with_both_tied(given: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    embedding, decoder = given.get(EMBEDDING), given.get(DECODER)
    if embedding is not None and decoder is not None:
        if not torch.equal(embedding, decoder):
            raise CheckpointError(
                f"{source}: {EMBEDDING} and {DECODER} are one matrix and must be equal"
            )
        return given
    shared = decoder if embedding is None else embedding
    return given if shared is None else {**given, EMBEDDING: shared, DECODER: shared}


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{what}: {shown or 'none'}{more}"


def _first_line(error: Any) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
