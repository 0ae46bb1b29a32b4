"""The extras of the package: what each unlocks, and which to install for a library that is missing.

The tests hold this table against ``pyproject.toml``. Nothing is imported to look a library up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

__all__ = ["BASE", "EXTRAS", "EXTRA_OF", "Extra", "Found", "find", "install", "needs", "remedy"]


class Extra(NamedTuple):
    """What an extra unlocks, the least version of each library, and the extras that it contains."""

    unlocks: str
    packages: dict[str, str]
    contains: tuple[str, ...] = ()


class Found(NamedTuple):
    """A library as it is installed; `version` is None when it is missing."""

    package: str
    version: str | None
    least: str

    @property
    def enough(self) -> bool:
        """Whether it is there and new enough."""
        return self.version is not None and _number(self.version) >= _number(self.least)


BASE = {"isal": "1.6", "numpy": "1.26", "pyarrow": "15", "tqdm": "4.66", "tyro": "0.9"}

# A library that several extras have is looked for in the first of them.
EXTRAS = {
    "model": Extra(
        "pretrain, embed, predict, likelihood, fill-mask",
        {"torch": "2.6", "safetensors": "0.4", "huggingface_hub": "0.26"},
    ),
    "finetune": Extra(
        "finetune, evaluate, DnaEmbedder, KmerVectorizer",
        {
            "transformers": "4.57",
            "accelerate": "1.1",
            "peft": "0.17",
            "scikit-learn": "1.4",
            "scipy": "1.11",
        },
        ("model",),
    ),
    "hf": Extra("dnabert2_fast.hf for transformers", {"transformers": "4.57"}, ("model",)),
    "variants": Extra("score-variants; indexed FASTA", {"pysam": "0.22"}),
    "plots": Extra("pictures", {"matplotlib": "3.8", "logomaker": "0.8.6"}),
    "umap": Extra(
        "maps of vectors by UMAP", {"scikit-learn": "1.4", "umap-learn": "0.5.6"}, ("plots",)
    ),
    "tracks": Extra("bigWig files", {"pyBigWig": "0.3.24"}),
    "attribution": Extra(
        "attribute, enriched k-mers", {"scipy": "1.11"}, ("model", "plots", "tracks")
    ),
    "onnx": Extra(
        "export_onnx; running its files",
        {"onnx": "1.18", "onnxruntime": "1.20", "onnxscript": "0.5"},
        ("model",),
    ),
    "gue": Extra("gue and its pictures", {}, ("finetune", "plots")),
    "anndata": Extra("embed to .h5ad", {"anndata": "0.11"}),
    "datasets": Extra("corpora as Hugging Face datasets", {"datasets": "3"}),
    "ray": Extra("corpora and vectors by a Ray cluster", {"ray": "2.40"}),
    "tensorboard": Extra("pretrain --tensorboard", {"tensorboard": "2.15"}),
    "wandb": Extra("pretrain --wandb", {"wandb": "0.17"}),
    "xformers": Extra("one more attention backend on CUDA", {"xformers": "0.0.30"}),
}

# Public names and verbs that need more than the first library that they miss tells.
EXTRA_OF = {
    "DnaEmbedder": "finetune",
    "KmerVectorizer": "finetune",
    "evaluate": "finetune,plots",
    "finetune": "finetune",
    "GueConfig": "gue",
    "gue": "gue",
    "attribute": "attribution",
    "score-variants": "model,variants",
    "demo": "finetune,plots",
}

# Names to import that are not names to install.
PACKAGE_OF = {"sklearn": "scikit-learn", "umap": "umap-learn"}


def find(packages: dict[str, str]) -> list[Found]:
    """Look up the installed version of each library.

    >>> find({"numpy": "1.26", "no-such-thing": "1"})[1]
    Found(package='no-such-thing', version=None, least='1')
    """
    found = []
    for package, least in packages.items():
        try:
            found.append(Found(package, version(package), least))
        except PackageNotFoundError:
            found.append(Found(package, None, least))
    return found


def install(extra: str) -> str:
    """Return the command that installs an extra, or several with commas between."""
    return f'pip install "dnabert2-fast[{extra}]"'


def remedy(module: str | None) -> str | None:
    """Return the command that makes a module importable, None for one that no extra has.

    >>> remedy("sklearn.metrics")
    'pip install "dnabert2-fast[finetune]"'
    >>> remedy("antigravity")
    """
    name = (module or "").partition(".")[0]
    package = PACKAGE_OF.get(name, name)
    for extra, (_, packages, _) in EXTRAS.items():
        if package in packages:
            return install(extra)
    return None


@contextmanager
def needs(what: str, extra: str | None = None) -> Iterator[None]:
    """Name the extra to install when an import within finds a library missing.

    Parameters
    ----------
    what : str
        The thing that needs the library, for the message.
    extra : str, optional
        The extras to name, with commas between; found by the library if left out.

    Raises
    ------
    ModuleNotFoundError
        In place of Python's own, with the command to run.

    Examples
    --------
    >>> with needs("plotting"):
    ...     raise ModuleNotFoundError("no", name="matplotlib.figure")
    Traceback (most recent call last):
    ModuleNotFoundError: plotting needs matplotlib: pip install "dnabert2-fast[plots]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        command = install(extra) if extra else remedy(library)
        if command is None or library == "dnabert2_fast" or "pip install" in str(error):
            raise
        message = f"{what} needs {library}: {command}"
        raise ModuleNotFoundError(message, name=error.name) from error


def _number(text: str) -> tuple[int, ...]:
    """Return the release of a version: 2.6.0+cpu is (2, 6), and so is 2.6rc1."""
    release = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(digits) for digits in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
