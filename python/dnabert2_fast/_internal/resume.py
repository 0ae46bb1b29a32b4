"""Results stored beside an unfinished output, from which a stopped run resumes.

`embed`, `score_variants` and `predict` work through their input in chunks. They keep the results of
each chunk until the output is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dnabert2_fast._internal.atomic import atomic_json, atomic_path, temporary_beside
from dnabert2_fast._internal.settings import differences
from dnabert2_fast._internal.streams import is_stdout, is_stream, refuse_url
from dnabert2_fast._internal.strict_json import read_object
from dnabert2_fast.errors import CheckpointError, Dnabert2Error

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

__all__ = ["ResumeStore", "fingerprint", "not_written"]

# Parameters with at most this number of values are hashed in full, larger ones by every 97th value.
HASHED_NUMBERS = 65_536

SETTINGS = "settings.json"


class EncodesSequences(Protocol):
    """The part of a tokenizer that results depend on; `Tokenizer` implements it."""

    @property
    def fingerprint(self) -> str:
        """Return the hash of its file."""

    @property
    def case(self) -> str:
        """How lower-case letters are read: "upper" or "compat"."""


class HasFingerprint(Protocol):
    """A model that is not of torch."""

    fingerprint: str
    dtype: str


def fingerprint(
    model: torch.nn.Module | HasFingerprint,
    tokenizer: EncodesSequences,
    config: DataclassInstance,
    **inputs: Any,
) -> dict[str, Any]:
    """Return the settings that results depend on; files by name, size and modification time.

    What comes through a pipe is never the same again.

    The fields of `config` and the names of `inputs` must differ.
    """
    found: dict[str, Any] = {"model": _hash_of(model), "dtype": str(model.dtype)}
    found |= {"tokenizer": tokenizer.fingerprint, "case": tokenizer.case, **asdict(config)}
    for name, given in inputs.items():
        if isinstance(given, Path) and is_stream(given):
            found[name] = uuid.uuid4().hex
        elif isinstance(given, Path):
            refuse_url(given)
            state = given.stat()
            found[name] = [os.fspath(given.resolve()), state.st_size, state.st_mtime_ns]
        else:
            found[name] = given
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # tuples become lists


def _hash_of(model: torch.nn.Module | HasFingerprint) -> str:
    if not hasattr(model, "state_dict"):
        return str(model.fingerprint)
    import torch

    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        # An int8 layer stores its weight and bias together, as a tuple.
        for parameter in value if isinstance(value, tuple) else (value,):
            if not torch.is_tensor(parameter):
                continue
            flat = parameter.detach().dequantize().flatten()
            some = flat if flat.numel() <= HASHED_NUMBERS else flat[::97]
            digest.update(name.encode())
            digest.update(some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


class ResumeStore:
    """A folder ``OUT.parts`` with one file for each chunk of the input that is done.

    Parameters
    ----------
    out : Path
        With standard output nothing is kept.
    settings : dict
        See `fingerprint`; results of other settings are deleted.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self._keeps = not is_stdout(out)
        self.folder = out.with_name(f"{out.name}.parts")
        if not self._keeps:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Processes that share the work start together: the folder appears once, complete.
        with temporary_beside(self.folder) as fresh:
            if self._holds(settings):
                return
            if self.folder.exists():
                self.remove()
            fresh.mkdir()
            atomic_json(fresh / SETTINGS, settings)
            try:
                fresh.rename(self.folder)
            except OSError:
                if not self._holds(settings):
                    raise

    def _holds(self, settings: dict[str, Any]) -> bool:
        try:
            return not differences(read_object(self.folder / SETTINGS), settings)
        except (OSError, ValueError):
            return False

    def take(
        self, number: int, rows: int, compute: Callable[[], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """Return the results of a chunk, one row per item, computed unless they are stored."""
        if not self._keeps:
            return compute()
        path = self.folder / f"{number:08d}.npy"
        try:
            done: npt.NDArray[Any] = np.load(path)
            if len(done) == rows:
                return done
        except (OSError, ValueError):
            pass
        numbers = compute()
        content = io.BytesIO()  # numpy's own error for a full disk names no file and no reason
        np.save(content, numbers)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.getbuffer())
        return numbers

    @contextmanager
    def until_done(self) -> Iterator[None]:
        """Delete the folder when the block succeeds; a stopped run keeps it to resume."""
        try:
            yield
        except BaseException as error:
            # After a damaged input, or before the first chunk, there is nothing to resume.
            if isinstance(error, Dnabert2Error) or not self.chunks:
                self.remove()
            elif isinstance(error, KeyboardInterrupt) and self._keeps:
                error.add_note(f"{self.chunks:,} chunks of the results are kept in {self.folder}")
            raise
        self.remove()

    @property
    def chunks(self) -> int:
        """Number of complete chunks."""
        return sum(1 for _ in self.folder.glob("*.npy"))

    def remove(self) -> None:
        """Delete the folder."""
        if self._keeps:
            shutil.rmtree(self.folder, ignore_errors=True)


def not_written(target: Path, error: BaseException) -> CheckpointError:
    """Return the exception to raise when writing `target` failed.

    On a full disk torch reports only that a file is too short.
    """
    free = shutil.disk_usage(target.parent).free / 1e6
    reason = " ".join(str(error).split())[-200:]
    return CheckpointError(
        f"{target}: could not be written, {free:,.1f} MB are free on the disk ({reason}). Free "
        "space and run the command again."
    )
