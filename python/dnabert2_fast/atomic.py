"""Output that is either whole or absent: write under a temporary name, rename at the end.

>>> import tempfile, os
>>> target = os.path.join(tempfile.mkdtemp(), "ids.txt")
>>> with atomic_path(target) as path:
...     _ = path.write_text("1 5 2")
>>> open(target).read()
'1 5 2'
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block ends well.

    The caller creates a file or a folder there. An existing file is replaced in one step; an
    existing folder is moved aside for the instant of the exchange. On any exception, Ctrl-C
    included, the temporary path is removed and `target` is as it was before.

    Raises
    ------
    OSError
        When the parent folder is missing or cannot be written.
    """
    target = Path(target)
    # Same folder, hence same file system, hence an atomic rename; the suffix is kept because
    # writers such as numpy choose the format by it.
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield temporary
        if target.is_dir() and temporary.is_dir():
            aside = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(aside)
            temporary.rename(target)
            shutil.rmtree(aside)
        else:
            temporary.replace(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
