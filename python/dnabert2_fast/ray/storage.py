"""Files by URI: their file system, state and copies.

The URIs of pyarrow are read and written: ``s3://``, ``gs://``, ``hdfs://``, ``file://``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from dnabert2_fast._internal.streams import URL
from dnabert2_fast.errors import Dnabert2Error, InputWarning

__all__ = ["Storage", "copy_file", "naming_originals", "stamp_of", "storage_of", "uri_of"]

Storage = tuple[fs.FileSystem, str]
T = TypeVar("T", bound=Exception)


def uri_of(location: str | os.PathLike[str]) -> str | None:
    """Return a URI as text, None for a path; a `Path` of a URI has lost a slash.

    >>> uri_of(Path("s3://bucket/x.fa")), uri_of("file:///tmp/x.fa"), uri_of("/tmp/x.fa")
    ('s3://bucket/x.fa', 'file:///tmp/x.fa', None)
    """
    text = os.fspath(location)
    if not URL.match(text) or os.path.exists(text):
        return None
    scheme, _, rest = text.partition(":")
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest.lstrip('/')}"


def storage_of(location: str | os.PathLike[str]) -> Storage:
    """Return the file system of a path or URI, and the path in it."""
    uri = uri_of(location)
    if uri is None:
        return fs.LocalFileSystem(), str(Path(location).absolute())
    try:
        storage, path = fs.FileSystem.from_uri(uri)
    except ValueError as error:  # another scheme
        raise ValueError(f"{uri}: {error}. Use a path, s3://, gs://, hdfs:// or file://.") from None
    return storage, path.rstrip("/")


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
