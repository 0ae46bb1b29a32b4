"""What is installed here, what would run, and why the rest would not."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["report"]

PACKAGES = {
    "": ["numpy", "pyarrow"],
    "model": ["torch", "safetensors", "huggingface_hub"],
    "finetune": ["transformers", "accelerate", "peft", "scikit-learn"],
    "plots": ["matplotlib", "logomaker"],
    "variants": ["pysam"],
    "tracks": ["pyBigWig"],
    "attribution": ["scipy"],
    "ray": ["ray"],
    "xformers": ["xformers"],
}

# The example of the model's publishers, and the ids of the reference tokenizer.
KNOWN_SEQUENCE = "ACGTAGCATCGGATCTATCTATCGACACTTGGTTATCGATCTACGAGCATCTCGTTAGC"
KNOWN_IDS = [1, 5, 194, 32, 757, 1239, 2092, 294, 24, 359, 88, 93, 32, 75, 77, 19, 2]


def report() -> str:
    """Return the health report as text.

    >>> print(report().splitlines()[0].split()[0])
    dnabert2-fast
    """
    lines = [
        f"dnabert2-fast {_version('dnabert2-fast')}",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores",
        "",
        "Packages",
    ]
    for extra, packages in PACKAGES.items():
        found = ", ".join(f"{p} {_version(p) or 'missing'}" for p in packages)
        remedy = ""
        if extra and not all(map(_version, packages)):
            remedy = f'   -> pip install "dnabert2-fast[{extra}]"'
        lines.append(f"  {extra or 'base':9s} {found}{remedy}")
    lines += ["", *_tokenizer(), ""]
    if _version("torch"):
        lines += _attention()
    else:
        lines.append("Attention: torch is missing, so models cannot run (tokenizing can)")
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _tokenizer() -> list[str]:
    from dnabert2_fast.tokenizer import Tokenizer

    ids = Tokenizer.from_pretrained("dnabert2").encode(KNOWN_SEQUENCE).tolist()
    verdict = "works" if ids == KNOWN_IDS else f"WRONG ids {ids}, please report this"
    return ["Tokenizer", f"  published vocabulary: {verdict}"]


def _attention() -> list[str]:
    import torch

    from dnabert2_fast.attention import report as backends
    from dnabert2_fast.kernels import obstacle

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    lines = []
    for name in devices:
        device = torch.device(name)
        label = torch.cuda.get_device_name(device) if device.type == "cuda" else name
        lines.append(f"Attention on {label}, float32")
        statuses = backends(device, torch.float32)
        chosen = next((s.name for s in statuses if s.runs), None)
        lines += [
            f"  {s.name:11s} {'runs' if s.runs else 'does not run'}"
            f"{', chosen by auto' if s.name == chosen else ''}{': ' + s.reason if s.reason else ''}"
            for s in statuses
        ]
        lines.append(f"  fused GEGLU, norm and loss: {obstacle(device, torch.float32) or 'run'}")
    return lines
