"""Reading and writing of checkpoints, shared by the public models.

A checkpoint is a folder of ``config.json`` and weights under the published key names. A pooler or a
classifier that is missing in it is randomly initialised, with a warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from dnabert2_fast._internal.atomic import atomic_json, atomic_path
from dnabert2_fast.attention import BackendStatus, explain, select
from dnabert2_fast.errors import CheckpointError
from dnabert2_fast.io.arguments import printable
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.encoder import Bert
from dnabert2_fast.model.int8 import is_int8, quantize_int8
from dnabert2_fast.model.precision import DTYPES, name_device, resolve_dtype
from dnabert2_fast.model.weights import (
    FRESH,
    check_layers,
    first_line,
    locate,
    match,
    own_vocabulary,
    read_config,
    read_files,
)

__all__ = ["Pretrained", "fit", "init_empty_weights", "initialise", "pick_device"]

Module = TypeVar("Module", bound=nn.Module)


class Pretrained(nn.Module):
    """Base class of the public models: reading, writing, and where the weights are."""

    config: Dnabert2Config
    bert: Bert
    name_or_path: str = ""  # source of the weights, as given by the caller

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        attention: str = "auto",
        dtype: str = "auto",
        device: str | torch.device = "cpu",
        num_labels: int | None = None,
        classifier_pooling: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Read a model for inference (`eval` mode).

        Parameters
        ----------
        name_or_path : str or path
            ``"mini"``, the small model in the package; a folder with ``config.json`` and weights,
            or with a LoRA adapter of peft, which is merged into its base model; a weights file
            (``config.json`` is read from its folder; without one the published 117M model is
            assumed); or a hub id such as ``"zhihan1996/DNABERT-2-117M"``, with a revision as
            ``"zhihan1996/DNABERT-2-117M@main"``.
        attention : str
            Attention backend; ``dnabert2-fast doctor`` lists them.
        dtype : {"float32", "bfloat16", "float16", "int8", "auto"}
            ``"auto"`` is bfloat16 on CUDA devices of compute capability 8.0 and above, float16 on
            older ones, and float32 elsewhere. ``"int8"`` multiplies matrices in 8-bit integers:
            for inference on a CPU, see `dnabert2_fast.model.int8`.
        device : str or torch.device
            ``"auto"`` is CUDA if available, else the CPU.
        num_labels : int, optional
            Number of classes of a classifier; the checkpoint's own if omitted. Another number than
            the checkpoint's gives a randomly initialised classifier.
        classifier_pooling : {"cls", "mean"}, optional
            Input of the pooler, see `Dnabert2Config`; the checkpoint's own if omitted.
        revision : str, optional
            Branch, tag or commit on the hub, if `name_or_path` has none.
        local_files_only : bool
            Use only files that were downloaded before.

        Returns
        -------
        Dnabert2Model
            Of the class on which it is called, in evaluation mode.

        Raises
        ------
        CheckpointError
            When files are missing or damaged, or keys or shapes do not match; names them.
        BackendUnavailableError
            When `attention` names a backend that cannot run here.
        ValueError
            When torch does not support the device, or finds none here.

        Examples
        --------
        >>> from dnabert2_fast import Dnabert2ForMaskedLM
        >>> model = Dnabert2ForMaskedLM.from_pretrained("mini")
        >>> model.config.num_hidden_layers, model.dtype, model.training
        (6, torch.float32, False)
        """
        device = pick_device(device)
        dtype = resolve_dtype(dtype, device)
        select(attention, device, DTYPES[dtype])
        files = locate(name_or_path, revision, local_files_only)
        config = Dnabert2Config() if files.config is None else read_config(files.config)
        if config.vocabulary_sha256 is None:
            config = replace(config, vocabulary_sha256=own_vocabulary(files))
        weights = read_files(files)
        if files.adapter is not None and "classifier.weight" in weights:
            config = replace(config, num_labels=len(weights["classifier.weight"]))
        if num_labels is not None and num_labels != config.num_labels:
            config = replace(config, num_labels=num_labels, class_names=())
            weights = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
        if classifier_pooling is not None:
            config = replace(config, classifier_pooling=classifier_pooling)
        check_layers(config, weights, str(files.weights))
        model = init_empty_weights(lambda: cls(config, attention))
        model.tie()
        match(model, weights, str(files.weights))  # before memory is allocated
        model.to_empty(device="cpu")
        model.tie()
        fit(model, weights, str(files.weights))
        model.to(device, DTYPES[dtype]).eval()
        if dtype == "int8":
            quantize_int8(model)
        model.name_or_path = os.fspath(name_or_path)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder.

        Every key of the published layout is written, the tied matrix under both of its names, so
        that any reader can load the file without a key map.

        Parameters
        ----------
        folder : path
            Created if it does not exist.

        Raises
        ------
        CheckpointError
            For a model in int8.
        """
        if is_int8(self):
            raise CheckpointError("model: int8 cannot be saved. Save the model it was read from.")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Copies, because safetensors rejects tensors that share memory.
        tensors = {name: tensor.cpu().clone() for name, tensor in self.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as path:
            path.write_bytes(save(tensors, metadata={"format": "pt"}))
        atomic_json(folder / "config.json", self.config.to_dict(), indent=2)

    def tie(self) -> None:
        """Share matrices that the architecture shares; models override this."""

    def checkpoint_activations(self, enabled: bool = True) -> None:
        """Store only layers' inputs for the backward pass and recompute the rest.

        A training step then takes about a third longer and needs the memory of one layer at a time.

        Parameters
        ----------
        enabled : bool
            False stores all activations again.
        """
        self.bert.checkpoints_activations = enabled

    @property
    def attention_backend(self) -> BackendStatus:
        """Return which attention backend runs for this model on its device, and why.

        >>> from dnabert2_fast import Dnabert2Config, Dnabert2Model
        >>> Dnabert2Model(Dnabert2Config(num_hidden_layers=1)).attention_backend.name
        'sdpa'
        """
        return explain(self.bert.backend, self.device, self.dtype)

    @property
    def what_runs(self) -> str:
        """Return model, device, dtype and attention backend in one line.

        >>> from dnabert2_fast import Dnabert2Model
        >>> Dnabert2Model.from_pretrained("mini").what_runs
        'mini on cpu: float32, attention sdpa'
        """
        kind = "int8" if is_int8(self) else str(self.dtype).removeprefix("torch.")
        name = printable(self.name_or_path or type(self).__name__)
        where = name_device(self.device)
        return f"{name} on {where}: {kind}, attention {self.attention_backend.name}"

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights."""
        return next(self.parameters()).dtype


def pick_device(name: str | torch.device) -> torch.device:
    """Return the device of a name; ``"auto"`` is CUDA if available, else the CPU.

    Raises
    ------
    ValueError
        When torch does not support the device, or finds none here.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device: "{name}" is not a torch device ({first_line(error)}).') from None
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
        raise ValueError(
            f'device: torch {torch.__version__} finds no {kind} device (got "{name}"). '
            'Use "auto", or run dnabert2-fast doctor.'
        )
    if (device.index or 0) >= seen:
        raise ValueError(f'device: the index must be below {seen} (got "{name}").')
    return device


def fit(model: Pretrained, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Load `weights` into a model with the published key names.

    Warns
    -----
    UserWarning
        When the pooler or the classifier is not in the checkpoint and is randomly initialised.

    Raises
    ------
    CheckpointError
        When keys are missing or unknown, or shapes differ.
    """
    given, absent_heads = match(model, weights, source)
    own = model.state_dict()
    model.load_state_dict({name: given[name] for name in own if name in given}, strict=False)
    for head in absent_heads:
        part = model.get_submodule(head.removesuffix("."))
        initialise(part, model.config.initializer_range)
        name = head.removesuffix(".").rpartition(".")[2]
        warnings.warn(
            f"{source}: has no {name}; it is randomly initialised. {FRESH[head]}", stacklevel=3
        )


def initialise(module: nn.Module, deviation: float) -> None:
    """Initialise weights like BERT: normal matrices, zero biases, unit norms."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=deviation)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, (nn.Linear, nn.LayerNorm)) and part.bias is not None:
            nn.init.zeros_(part.bias)


class _NoDraws(TorchFunctionMode):
    """Skip functions of `torch.nn.init`: on the meta device they import torch's compiler."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return function(*args, **(kwargs or {}))


def init_empty_weights(make: Callable[[], Module]) -> Module:
    """Return the result of `make` on the meta device: shapes without memory.

    >>> init_empty_weights(lambda: nn.Linear(1 << 20, 1 << 20)).weight.is_meta
    True
    """
    with torch.device("meta"), _NoDraws():
        return make()
