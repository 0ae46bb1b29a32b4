"""Pipes and standard streams: what can be read once only, and text output that may be a pipe.

``-`` is standard input or output, as in other tools.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from dnabert2_fast._internal.atomic import atomic_path
from dnabert2_fast._internal.extras import needs
from dnabert2_fast.errors import DataError

__all__ = ["PACKED", "URL", "is_stdout", "is_stream", "refuse_url", "require_file", "text_output"]


PACKED = (".gz", ".bgz")  # endings of text that is written as bgzip

# Normal paths have one of the two slashes.
URL = re.compile("[A-Za-z][A-Za-z0-9]+:/")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a pipe or another source that can be read once only.

    Examples
    --------
    >>> is_stream("-"), is_stream(os.curdir)
    (True, False)
    """
    if os.fspath(path) == "-":
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def require_file(path: str | os.PathLike[str], why: str) -> None:
    """Raise `DataError` for a pipe or URL where a file is needed, before anything is read.

    Parameters
    ----------
    path : path
    why : str
        What is done with the file that cannot be done with a pipe.

    Examples
    --------
    >>> require_file("-", "it is read twice")
    Traceback (most recent call last):
    dnabert2_fast.errors.DataError: -: is a pipe, and it is read twice. Write it to a file first.
    """
    if is_stream(path):
        raise DataError(f"{path}: is a pipe, and {why}. Write it to a file first.")
    refuse_url(path)


def refuse_url(path: str | os.PathLike[str]) -> None:
    """Raise `DataError` for a URL, which the system calls a missing file.

    >>> refuse_url("https://x.org/genome.fa")
    Traceback (most recent call last):
    dnabert2_fast.errors.DataError: https://x.org/genome.fa: is a URL. Download it first.
    """
    if URL.match(os.fspath(path)) and not os.path.exists(path):
        raise DataError(f"{path}: is a URL. Download it first.")


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Return whether an output path means standard output.

    >>> is_stdout("-"), is_stdout("x.tsv")
    (True, False)
    """
    return os.fspath(path) in ("-", "/dev/stdout", "/dev/fd/1")


@contextmanager
def text_output(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open an output for text as bytes: a file that is whole or absent, or standard output.

    A name that ends in .gz or .bgz is written as bgzip, which every reader of gzip reads.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp(), "x.tsv")
    >>> with text_output(path) as handle:
    ...     _ = handle.write(b"a")
    >>> path.read_text()
    'a'
    """
    if is_stdout(path):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.fspath(path).endswith(PACKED):
        with needs("a bgzip file"):
            import pysam

        with atomic_path(path) as temporary, closing(_bgzip(pysam, temporary)) as packed:
            yield packed
        return
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        yield handle


def _bgzip(pysam: Any, path: Path) -> IO[bytes]:
    return pysam.BGZFile(os.fsencode(path), "wb")  # type: ignore[no-any-return]
