"""The extras of the package: what each enables, and which one contains a missing library.

Requirements come from the installed package's metadata. No library is imported to look it up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = [
    "EXTRA_OF",
    "UNLOCKS",
    "Extra",
    "Found",
    "base",
    "extras",
    "find",
    "install",
    "needs",
    "remedy",
    "require_plots",
]


class Extra(NamedTuple):
    """The libraries that an extra requires, and the extras that it contains."""

    libraries: tuple[Requirement, ...]
    contains: tuple[str, ...]


class Found(NamedTuple):
    """A required library as installed; `version` is None when it is missing."""

    library: Requirement
    version: str | None

    @property
    def enough(self) -> bool:
        """Whether it is installed and new enough; 2.6.0a0+nv and the like count as 2.6."""
        if self.version is None:
            return False
        from packaging.version import Version

        return Version(self.version).base_version in self.library.specifier


# A library in several extras is reported with the first of them.
UNLOCKS = {
    "model": "pretrain, embed, predict, likelihood, fill-mask",
    "finetune": "finetune, evaluate, DnaEmbedder, KmerVectorizer",
    "hf": "dnabert2_fast.hf for transformers",
    "variants": "score-variants; indexed FASTA",
    "plots": "plots",
    "umap": "UMAP plots of vectors",
    "tracks": "bigWig files",
    "attribution": "attribute, enriched k-mers",
    "motifs": "attribute --jaspar",
    "onnxruntime": "embed --runtime onnx, without torch",
    "onnx": "export_onnx, export-onnx",
    "gue": "gue and its plots",
    "anndata": "embed to .h5ad",
    "datasets": "corpora as Hugging Face datasets",
    "ray": "corpora and vectors on a Ray cluster",
    "tensorboard": "pretrain --tensorboard",
    "wandb": "pretrain --wandb",
    "xformers": "one more attention backend on CUDA",
    "demo": "demo",
}

# Public names and commands that need more than the first library that is missing.
EXTRA_OF = {
    "DnaEmbedder": "finetune",
    "KmerVectorizer": "finetune",
    "evaluate": "finetune,plots",
    "finetune": "finetune",
    "GueConfig": "gue",
    "gue": "gue",
    "export-onnx": "onnx",
    "attribute": "attribution",
    "score-variants": "model,variants",
    "demo": "demo",
}

# Import names that differ from the names to install.
PACKAGE_OF = {"sklearn": "scikit-learn", "umap": "umap-learn"}


def base() -> tuple[Requirement, ...]:
    """Return the requirements of the package without extras."""
    return tuple(r for r in _requirements() if r.marker is None)


@cache
def extras() -> dict[str, Extra]:
    """Return the extras of `UNLOCKS` by name, in that order.

    >>> [library.name for library in extras()["tracks"].libraries]
    ['pybigwig']
    >>> extras()["umap"].contains
    ('plots',)
    """
    found = {}
    for name in UNLOCKS:
        mine = [r for r in _requirements() if r.marker and r.marker.evaluate({"extra": name})]
        libraries = tuple(r for r in mine if r.name != "dnabert2-fast")
        contains = (extra for r in mine if r.name == "dnabert2-fast" for extra in sorted(r.extras))
        found[name] = Extra(libraries, tuple(contains))
    return found


def _requirements() -> list[Requirement]:
    """Return all requirements; empty when the package runs from a folder, not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in requires("dnabert2-fast") or ()]
    except PackageNotFoundError:
        return []


def find(library: Requirement) -> Found:
    """Look up the installed version of a library.

    >>> from packaging.requirements import Requirement
    >>> find(Requirement("no-such-thing>=1")).version is None
    True
    """
    try:
        return Found(library, version(library.name))
    except PackageNotFoundError:
        return Found(library, None)


@cache
def install(extra: str = "") -> str:
    """Return the command that installs the package, an extra, or several separated by commas."""
    option, name = _installed_from()
    return f'pip install {option}"{name}{f"[{extra}]" if extra else ""}"'


def _installed_from() -> tuple[str, str]:
    """Return pip's option and the clone, wheel or name of the package that is installed.

    pip writes ``direct_url.json`` (PEP 610) for a package that is not from an index.
    """
    try:
        text = metadata.distribution("dnabert2-fast").read_text("direct_url.json")
    except PackageNotFoundError:
        text = None
    about = json.loads(text or "{}")
    url = urlsplit(about.get("url", ""))
    path = Path(url2pathname(url.path))
    if url.scheme != "file" or not path.exists():
        return "", "dnabert2-fast"
    editable = about.get("dir_info", {}).get("editable", False)
    return "--editable " if editable else "", str(path)


def remedy(module: str | None) -> str | None:
    """Return the command that installs a module, None for a module in no extra.

    >>> remedy("sklearn.metrics") == install("finetune")
    True
    >>> remedy("huggingface_hub") == install("model")
    True
    >>> remedy("antigravity")
    """
    from packaging.utils import canonicalize_name

    name = (module or "").partition(".")[0]
    package = canonicalize_name(PACKAGE_OF.get(name, name))
    for extra, (libraries, _) in extras().items():
        if any(canonicalize_name(library.name) == package for library in libraries):
            return install(extra)
    return None


@contextmanager
def needs(what: str, extra: str | None = None) -> Iterator[None]:
    """Name the extra to install when an import in the block fails.

    Parameters
    ----------
    what : str
        The feature that needs the library, for the message.
    extra : str, optional
        The extras to name, separated by commas; found by the library if omitted.

    Raises
    ------
    ModuleNotFoundError
        Replaces Python's own error and names the command to run.

    Examples
    --------
    >>> with needs("plotting"):  # doctest: +ELLIPSIS
    ...     raise ModuleNotFoundError("no", name="matplotlib.figure")
    Traceback (most recent call last):
    ModuleNotFoundError: plotting needs matplotlib: pip install ...[plots]"
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


def require_plots(library: str = "matplotlib.figure") -> None:
    """Raise, before anything is computed, when the library that draws a plot is missing.

    Parameters
    ----------
    library : str
        The module to import.

    Raises
    ------
    ModuleNotFoundError
        Names the command to run.
    """
    with needs("a plot", "plots"):
        import_module(library)
