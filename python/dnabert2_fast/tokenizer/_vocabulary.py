"""Locations of vocabularies, and the names of their parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from dnabert2_fast._internal.extras import install
from dnabert2_fast._internal.hub import HubError, MissingFileError, fetch
from dnabert2_fast._internal.names import advice, is_hub_id
from dnabert2_fast._internal.stopped import stopped_run
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import TokenizerError

__all__ = [
    "CONFIG",
    "FILES",
    "PACKAGED",
    "Case",
    "Matching",
    "Policies",
    "Unknown",
    "find_file",
    "id_of",
    "saved_policies",
]

Case = Literal["upper", "compat"]
Unknown = Literal["unk", "split", "error"]
Matching = Literal["bpe", "longest", "longest-first"]

_DATA = Path(__file__).parents[1] / "data"
PACKAGED = {
    "dnabert2": _DATA / "dnabert2.tokenizer.json",
    "mini": _DATA / "mini" / "tokenizer.json",
}
"""Tokenizers in the package; a file or folder of that name comes first."""
FILES = ("tokenizer.json", "vocab.txt")
CONFIG = "tokenizer_config.json"


class Policies(NamedTuple):
    """How lower-case and unknown letters are read; see `Tokenizer`."""

    case: Case = "upper"
    unknown: Unknown = "unk"


def saved_policies(path: Path) -> Policies:
    """Return the policies in the ``tokenizer_config.json`` of a tokenizer's folder.

    Raises
    ------
    TokenizerError
        When that file is damaged, or has a value that is not allowed.
    """
    config = path.with_name(CONFIG)
    if path.name not in FILES or not config.exists():
        return Policies()
    try:
        values = read_object(config)
    except ValueError as error:
        raise TokenizerError(f"{config}: {error}. Copy it again.") from None
    for name, allowed in (("case", get_args(Case)), ("unknown", get_args(Unknown))):
        if values.get(name) not in (None, *allowed):
            raise TokenizerError(
                f"{config}: {name} must be one of {', '.join(allowed)} (got {values[name]!r})."
            )
    return Policies(values.get("case") or "upper", values.get("unknown") or "unk")


def find_file(name: str | os.PathLike[str]) -> Path:
    """Return the file of a tokenizer by the names that `Tokenizer.from_pretrained` takes."""
    path = Path(name)
    if not path.exists():
        path = PACKAGED.get(str(name), path)
    if path.is_dir():
        path = _base_of_adapter(path)
    if path.is_dir():
        path = next((path / file for file in FILES if (path / file).exists()), path / FILES[0])
    if not path.exists():
        if (unfinished := stopped_run(Path(name))) is not None:
            raise TokenizerError(f"{name}: {unfinished}.")
        if is_hub_id(name):
            return _download(str(name))
        if not path.suffix:
            raise TokenizerError(f"{name}: no such model or tokenizer. {advice(name, PACKAGED)}")
    return path


def id_of(vocabulary: Sequence[str], *names: str) -> int | None:
    """Return the id of the first of some tokens that a vocabulary has.

    >>> id_of(["[UNK]", "[CLS]"], "[BOS]", "[CLS]")
    1
    """
    return next((vocabulary.index(name) for name in names if name in vocabulary), None)


def _base_of_adapter(folder: Path) -> Path:
    """Return the folder of the base model for an adapter of peft without a tokenizer."""
    config = folder / "adapter_config.json"
    if not config.exists() or any((folder / file).exists() for file in FILES):
        return folder
    try:
        base = read_object(config).get("base_model_name_or_path")
    except ValueError as error:
        raise TokenizerError(f"{config}: {error}. Copy it again.") from None
    return find_file(base) if isinstance(base, str) else folder


def _download(name: str) -> Path:
    here = f"{name!r} is not a file or folder here"
    try:
        for file in FILES:
            try:
                path = fetch(name, file)
            except MissingFileError:
                if file == FILES[-1]:
                    raise
                continue
            break
        with suppress(MissingFileError):
            fetch(name, CONFIG)  # is read beside it
        return path
    except ImportError:
        raise TokenizerError(
            f"{here}. To read it from the hub, install the extra: {install('model')}"
        ) from None
    except HubError as error:
        raise TokenizerError(f"{here}, and the hub returned no tokenizer ({error}).") from None
