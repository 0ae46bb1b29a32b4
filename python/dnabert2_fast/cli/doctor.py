"""What is installed, what would run, why the rest would not, and the remedy.

Each finding at the end names what is wrong, what the library does instead, and the remedy. A
missing optional library is not a finding: the table of extras shows how to install it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import import_module
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from dnabert2_fast._internal.extras import UNLOCKS, Found, base, extras, find, install

if TYPE_CHECKING:
    import torch

__all__ = ["report"]

# The example of the model's publishers, and the ids of the reference tokenizer.
KNOWN_SEQUENCE = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
KNOWN_IDS = [1, 5, 194, 32, 757, 1239, 2092, 294, 24, 359, 88, 93, 32, 75, 77, 19, 2]

CUDA_BUILDS = "a CUDA build from https://pytorch.org/get-started"


def report() -> str:
    """Return the health report as text.

    >>> print(report().splitlines()[0].split()[0])
    dnabert2-fast
    """
    findings: list[str] = []
    lines = [
        f"dnabert2-fast {find(Requirement('dnabert2-fast')).version}",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores",
        "",
        *_packages(findings),
        "",
        *_tokenizer(findings),
        "",
        *_models(findings),
        "",
    ]
    if not findings:
        return "\n".join([*lines, "No problems found"])
    return "\n".join([*lines, "Findings", *(f"  * {finding}" for finding in findings)])


def _packages(findings: list[str]) -> list[str]:
    found = [find(library) for library in base()]
    lines = ["Packages", *_row("base", found, "tokenize, build-corpus", None, findings)]
    for name, extra in extras().items():
        found = [find(library) for library in extra.libraries]
        lines += _row(name, found, UNLOCKS[name], install(name), findings)
    return lines


def _row(
    name: str, libraries: list[Found], unlocks: str, command: str | None, findings: list[str]
) -> list[str]:
    found = ", ".join(f"{x.library.name} {x.version or 'missing'}" for x in libraries)
    lines = [f"  {name:11s} {unlocks}", f"{'':14s}{found}"]
    upgrade = (command or install()).replace("install", "install --upgrade", 1)
    findings += [
        f"{x.library.name} {x.version} is not {x.library.specifier}: "
        f"{unlocks} may fail -> {upgrade}"
        for x in libraries
        if x.version is not None and not x.enough
    ]
    if command and any(library.version is None for library in libraries):
        lines[-1] += f"\n{'':14s}-> {command}"
    return lines


def _tokenizer(findings: list[str]) -> list[str]:
    try:
        from dnabert2_fast.tokenizer import Tokenizer
    except ImportError as error:
        findings.append(
            f"the extension cannot be loaded ({_first_line(error)}): no command works -> "
            + install().replace("install", "install --force-reinstall --no-deps", 1)
        )
        return ["Tokenizer", "  cannot be loaded"]
    ids = Tokenizer.from_pretrained("dnabert2").encode(KNOWN_SEQUENCE).tolist()
    if ids == KNOWN_IDS:
        return ["Tokenizer", "  published vocabulary: works"]
    findings.append(f"the published vocabulary gives wrong ids, {ids} -> please report this")
    return ["Tokenizer", "  published vocabulary: WRONG ids"]


def _models(findings: list[str]) -> list[str]:
    (library,) = (r for r in extras()["model"].libraries if r.name == "torch")
    found = find(library)
    remedy = install("model")
    if found.version is None:
        findings.append(
            f"torch is missing: models cannot run, tokenizing and corpora can -> {remedy}"
        )
        return ["Models", "  torch is missing"]
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        findings.append(
            f"torch {found.version} is installed and cannot be imported ({_first_line(error)}): "
            "models cannot run, tokenizing and corpora can -> pip install --force-reinstall torch"
        )
        return ["Models", f"  torch {found.version} cannot be imported"]
    if not found.enough:  # reported with the packages
        return ["Models", f"  torch {found.version} is too old"]
    built = torch.version.cuda or torch.version.hip
    lines = ["Models", f"  torch {found.version}, built for {'CUDA ' + built if built else 'CPU'}"]
    findings += _unused_gpu(torch)
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    for name in devices:
        lines += _attention(torch.device(name), findings)
    return lines


def _unused_gpu(torch: Any) -> list[str]:
    """Report why torch does not find a GPU that the machine has."""
    gpu = None if torch.cuda.is_available() else _gpu_of_machine()
    if gpu is None:
        return []
    if torch.version.cuda is None:
        return [
            f"torch {torch.__version__} is built without CUDA, and this machine has {gpu}: models "
            f"run on the CPU -> install {CUDA_BUILDS}"
        ]
    try:
        torch.zeros(1, device="cuda")
        reason = "no reason was reported"
    except (RuntimeError, AssertionError) as error:
        reason = _first_line(error)
    return [
        f"torch is built for CUDA {torch.version.cuda} and cannot use {gpu} ({reason}): models "
        f"run on the CPU -> update the driver, or install {CUDA_BUILDS} for the driver you have"
    ]


def _gpu_of_machine() -> str | None:
    """Return the name of the first NVIDIA GPU from the driver's own program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.splitlines()), None)


def _attention(device: torch.device, findings: list[str]) -> list[str]:
    import torch

    from dnabert2_fast.attention import report as backends
    from dnabert2_fast.kernels import unavailable_reason
    from dnabert2_fast.model.precision import DTYPES, name_device, resolve_dtype

    label = name_device(device)
    if device.type == "cuda" and (broken := _cannot_compute(device)):
        findings.append(
            f"{label}: torch {torch.__version__} cannot compute on it ({broken}): use the CPU, "
            f"--device cpu -> install {CUDA_BUILDS} that supports this card"
        )
        return [f"  {label}: does not compute"]
    name = resolve_dtype("auto", device)
    dtype = DTYPES[name]
    statuses = backends(device, dtype)
    chosen = next(status.name for status in statuses if status.runs)
    lines = [f"  Attention on {label}, {name} (--dtype auto)"]
    lines += [
        f"    {s.name:11s} {'runs' if s.runs else 'does not run'}"
        f"{', chosen by auto' if s.name == chosen else ''}{': ' + s.reason if s.reason else ''}"
        for s in statuses
    ]
    unfused = unavailable_reason(device, dtype)
    lines.append(f"    fused GEGLU, norm and loss: {unfused or 'run'}")
    if device.type != "cuda":
        return lines
    reasons = {status.name: status.reason for status in statuses}
    if reasons["triton"]:
        findings.append(f"{label}: {chosen} is used for attention; triton: {reasons['triton']}")
    if unfused:
        findings.append(f"{label}: plain torch is used for GEGLU, norm and loss; triton: {unfused}")
    return lines


def _cannot_compute(device: torch.device) -> str | None:
    import torch

    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
