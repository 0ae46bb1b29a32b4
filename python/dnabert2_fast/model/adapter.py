"""Adapters of peft (LoRA, Hu et al., ICLR 2022), merged into the weights of their base model.

An adapter's folder has ``adapter_config.json``, which names the base model, and the two factors of
each changed matrix. Modules that were trained completely replace those of the base.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch

from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError

__all__ = ["CONFIG", "WEIGHTS", "base_of", "merge_adapter"]

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
MERGE = "Merge it with peft (merge_and_unload) and save the model."
# Kinds of peft that change the input or add layers, so that no weights can have them merged.
UNMERGEABLE = {
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
}


def base_of(folder: Path) -> str:
    """Return the name of an adapter's base model.

    Raises
    ------
    CheckpointError
        When the file is damaged or names no model.
    """
    base = _settings(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"{folder / CONFIG}: names no base model (base_model_name_or_path is {base!r}). Add "
            "its folder or hub id."
        )
    return base


def merge_adapter(
    weights: dict[str, torch.Tensor], adapter: dict[str, torch.Tensor], folder: Path
) -> None:
    """Add the adapter's changes to the base model's weights, in place.

    Parameters
    ----------
    weights : dict of str to Tensor
        Of the base model, under the names of this library.
    adapter : dict of str to Tensor
        Of the adapter, under the same names with peft's suffixes.
    folder : Path
        The adapter's, for its settings and for messages.

    Raises
    ------
    CheckpointError
        When it is not plain LoRA, or changes a matrix that the base model lacks.
    """
    settings = _settings(folder)
    kind = settings.get("peft_type")
    if kind in UNMERGEABLE:
        raise CheckpointError(
            f"{folder}: an adapter of the kind {kind} cannot be merged. Use it with peft, on its "
            f"base model {base_of(folder)}."
        )
    odd = [
        f"{name} {settings[name]!r}"
        for name in ("use_dora", "alpha_pattern", "lora_bias", "fan_in_fan_out")
        if settings.get(name)
    ]
    if kind != "LORA":
        odd = [f"peft_type {kind!r}"]
    if odd:
        raise CheckpointError(f"{folder}: only plain LoRA is merged here (got {odd[0]}). {MERGE}")
    for name, tensor in adapter.items():
        part = re.fullmatch(r"(.+)\.lora_([AB])(?:\.default)?\.weight", name)
        if part is None:
            if ".lora_" in name:
                raise CheckpointError(f"{folder}: {name} is not a factor of a matrix. {MERGE}")
            weights[name] = tensor
        elif part[2] == "A":
            target, after = f"{part[1]}.weight", name.replace(".lora_A", ".lora_B")
            if target not in weights and target.startswith("bert.pooler."):
                continue  # randomly initialised in training, and not saved with the adapter
            if target not in weights or after not in adapter:
                raise CheckpointError(
                    f"{folder}: not an adapter of this base model: {target} is missing. Correct "
                    f"base_model_name_or_path in {CONFIG}."
                )
            rank = tensor.shape[0]
            scale = settings["lora_alpha"] / (
                math.sqrt(rank) if settings.get("use_rslora") else rank
            )
            whole = weights[target]
            weights[target] = whole + (adapter[after] @ tensor * scale).to(whole.dtype)


def _settings(folder: Path) -> dict[str, Any]:
    try:
        return read_object(folder / CONFIG)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}. Copy it again.") from None
