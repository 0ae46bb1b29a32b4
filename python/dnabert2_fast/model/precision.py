"""Which number format a computation has: one rule for all commands, models and runs."""

from __future__ import annotations

import torch

from dnabert2_fast.errors import CheckpointError

__all__ = ["DTYPES", "has_bfloat16", "mixed_precision", "name_device", "resolve_dtype"]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # of all parameters but the matrices
}


def resolve_dtype(name: str, device: torch.device, *, bfloat16_on_cpu: bool = False) -> str:
    """Return the dtype that a computation uses, by name.

    ``"auto"`` is bfloat16 on CUDA devices of compute capability 8.0 and above, float16 on older
    ones, and float32 elsewhere. All other names are returned unchanged.

    Parameters
    ----------
    name : str
        ``"auto"`` or a name in `DTYPES`.
    device : torch.device
    bfloat16_on_cpu : bool
        Return bfloat16 also for a CPU that has instructions for it. Pre-training sets this: its
        weights stay in float32, and bfloat16 doubles its rate there.

    Raises
    ------
    CheckpointError
        For an unknown name.

    Examples
    --------
    >>> resolve_dtype("auto", torch.device("cpu"))
    'float32'
    """
    if name != "auto":
        if name not in DTYPES:
            raise CheckpointError(
                f'dtype: must be one of auto, {", ".join(DTYPES)} (got "{name}").'
            )
        return name
    if device.type == "cuda":
        new = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if new else "float16"
    fast = bfloat16_on_cpu and device.type == "cpu" and has_bfloat16()
    return "bfloat16" if fast else "float32"


def has_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16, which make it faster than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def mixed_precision(device: torch.device, dtype: str) -> torch.autocast:
    """Return a context in which float32 weights are multiplied in a resolved dtype.

    >>> with mixed_precision(torch.device("cpu"), "bfloat16"):
    ...     torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype
    torch.bfloat16
    """
    half = DTYPES[dtype]
    if half == torch.float32:
        return torch.autocast(device.type, torch.bfloat16, enabled=False)
    return torch.autocast(device.type, half)


def name_device(device: torch.device) -> str:
    """Return the name of a device as in reports: a card's own name, else its type.

    >>> name_device(torch.device("cpu"))
    'cpu'
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
