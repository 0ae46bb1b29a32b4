"""Files by URI: their file system, state and copies.

The URIs of pyarrow are read and written: ``s3://``, ``gs://``, ``hdfs://``, ``file://``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from dnabert2_fast.errors import Dnabert2Error, InputWarning

__all__ = ["Storage", "copy_file", "naming_originals", "stamp_of", "storage_of"]

Storage = tuple[fs.FileSystem, str]
T = TypeVar("T", bound=Exception)


def storage_of(location: str) -> Storage:
    """Return the file system of a path or URI, and the path in it."""
    if "://" in location:
        storage, path = fs.FileSystem.from_uri(location)
        return storage, path.rstrip("/")
    return fs.LocalFileSystem(), str(Path(location).absolute())


def stamp_of(storage: fs.FileSystem, path: str) -> list[int]:
    """Return size in bytes and time of modification; raise FileNotFoundError if missing."""
    info = storage.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(f"{path}: no such file")
    return [info.size, info.mtime_ns or 0]


def copy_file(source: Storage, target: Storage) -> None:
    """Copy a file unchanged: pyarrow would decompress it by its name."""
    with (
        source[0].open_input_stream(source[1], compression=None) as old,
        target[0].open_output_stream(target[1], compression=None) as new,
    ):
        while block := old.read(1 << 22):
            new.write(block)


@contextmanager
def naming_originals(copies: Mapping[Path, Storage]) -> Iterator[None]:
    """Name the files that copies were made of in errors and warnings of this package."""

    def renamed(error: T) -> T:
        message = str(error)
        # One name may be the prefix of another.
        for copy in sorted(copies, key=lambda path: len(str(path)), reverse=True):
            message = message.replace(str(copy), copies[copy][1])
        return type(error)(message)

    with warnings.catch_warnings():  # restores showwarning
        show = warnings.showwarning

        def show_renamed(message: Warning | str, *where: Any, **options: Any) -> None:
            show(renamed(message) if isinstance(message, Warning) else message, *where, **options)

        warnings.showwarning = show_renamed
        try:
            yield
        except (Dnabert2Error, InputWarning) as error:
            raise renamed(error) from None
