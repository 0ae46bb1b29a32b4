"""Output that is either complete or absent: write under a temporary name, rename at the end.

>>> import tempfile, os
>>> target = os.path.join(tempfile.mkdtemp(), "ids.txt")
>>> with atomic_path(target) as path:
...     _ = path.write_text("1 5 2")
>>> open(target).read()
'1 5 2'
"""

from __future__ import annotations

import errno
import glob
import itertools
import json
import math
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "atomic_folder",
    "atomic_json",
    "atomic_path",
    "full_disk_of",
    "require_writable",
    "resolved",
    "temporary_beside",
]

# Error numbers of a full disk, a quota, and a limit of the process.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Files that this process is writing now, each with a number, so that threads use different names.
# Other files with its process id are from an earlier process: in a container, all have id 1.
_written_now: set[str] = set()
_numbers = itertools.count()


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` if the block succeeds.

    The caller creates a file there. An existing file is replaced in one step, and a symlink is
    followed. On any exception, Ctrl-C included, the temporary path is removed and `target` is
    unchanged. A device or a named pipe is yielded itself.

    Raises
    ------
    OSError
        When the parent folder is missing or cannot be written, or `target` is a folder: at once,
        before the caller has done any work.
    """
    target = resolved(target)
    if _is_special(target):
        yield target
        return
    require_writable(target)
    with temporary_beside(target) as temporary, full_disk_of(target):
        yield temporary
        temporary.replace(target)


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside `target`; rename it onto `target` if the block ends well.

    Missing folders around it are created, and an existing folder is moved aside for the instant of
    the exchange. All else is as in `atomic_path`.
    """
    target = resolved(target)
    require_writable(target, folder=True)
    with temporary_beside(target) as temporary, full_disk_of(target):
        temporary.mkdir()
        yield temporary
        if target.is_dir():
            with _name_of_mine(f".{target.name}.", ".old") as name:
                target.rename(target.with_name(name))
                temporary.rename(target)
                shutil.rmtree(target.with_name(name))
        else:
            temporary.rename(target)


def resolved(target: str | os.PathLike[str]) -> Path:
    """Return the path behind a symlink, so that the link stays; another path as it is."""
    return Path(os.path.realpath(target) if os.path.islink(target) else target)


def require_writable(target: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Raise at once the error that writing `target` would raise after the work.

    Parameters
    ----------
    target : path
    folder : bool
        Whether a folder will be written, not a file; folders around it are then created.

    Raises
    ------
    OSError
        When the parent folder is missing or cannot be written, or `target` is of the other kind.

    Examples
    --------
    >>> import tempfile
    >>> require_writable(os.path.join(tempfile.mkdtemp(), "ids.txt"))
    """
    target = resolved(target)
    if _is_special(target) and not folder:
        return
    if folder and target.exists() and not target.is_dir():
        what = "is a file, expected a folder. Choose another name"
        raise NotADirectoryError(errno.ENOTDIR, what, os.fspath(target))
    if not folder and target.is_dir():
        what = "is a folder, expected a file. Name a file in it"
        raise IsADirectoryError(errno.EISDIR, what, os.fspath(target))
    if folder:
        target.parent.mkdir(parents=True, exist_ok=True)
    elif not target.parent.is_dir():
        what = f"there is no folder {target.parent}. Create it first"
        raise FileNotFoundError(errno.ENOENT, what, os.fspath(target))
    with temporary_beside(target) as temporary:
        temporary.touch()


def _is_special(target: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, which must not be replaced."""
    return target.exists() and not target.is_file() and not target.is_dir()


def atomic_json(target: str | os.PathLike[str], value: object, *, indent: int | None = 1) -> None:
    """Write a value as JSON text; the file is complete or unchanged.

    The same value gives the same bytes. Characters outside ASCII are escaped, so that file names
    of any encoding can be written. JSON has no NaN and no infinity: they become null.

    Parameters
    ----------
    target : path
    value : object
        Any value that `json` can write.
    indent : int, optional
        Spaces per level; None writes one line.

    Raises
    ------
    OSError
        When the file cannot be written.
    TypeError
        When `json` cannot write the value.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "x.json")
    >>> atomic_json(path, {"seed": 1})
    >>> path.read_text().split()
    ['{', '"seed":', '1', '}']
    """
    with atomic_path(target) as path:
        text = json.dumps(_defined(value), indent=indent, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def _defined(value: object) -> object:
    """Return a value with None instead of NaN and infinity."""
    if isinstance(value, dict):
        return {name: _defined(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_defined(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def full_disk_of(path: Path) -> Iterator[None]:
    """Name `path` in an error of a full disk that names no file."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """Yield a free path beside `target`; remove it at the end if it exists.

    Files that killed processes of this machine left beside `target` are removed first. Errors name
    `target`, not the temporary path.
    """
    _clear(target)
    # Same folder, hence same file system, hence an atomic rename. The suffix is kept because
    # writers such as numpy choose the format by it.
    with _name_of_mine(f".{target.stem}.", f".part{target.suffix}") as name:
        temporary = target.with_name(name)
        try:
            yield temporary
        except Exception as error:
            _name_target(error, os.fspath(temporary), os.fspath(target))
            raise
        finally:
            _remove(temporary)


def _name_target(error: Exception, temporary: str, target: str) -> None:
    """Replace the temporary path in an error by the path that the user gave."""

    def named(part: Any) -> Any:
        return part.replace(temporary, target) if isinstance(part, str) else part

    error.args = tuple(map(named, error.args))
    if isinstance(error, OSError):
        error.filename, error.strerror = named(error.filename), named(error.strerror)
        error.filename2 = None if error.filename2 == target else error.filename2


@contextmanager
def _name_of_mine(before: str, after: str) -> Iterator[str]:
    """Yield a name that no other process or thread uses."""
    name = f"{before}{socket.gethostname()}-{os.getpid()}-{next(_numbers)}{after}"
    _written_now.add(name)
    try:
        yield name
    finally:
        _written_now.discard(name)


def _clear(target: Path) -> None:
    if not target.parent.is_dir():
        return
    host = re.escape(socket.gethostname())
    stem, suffix = re.escape(target.stem), re.escape(target.suffix)
    part = rf"\.{stem}\.{host}-(\d+)-\d+\.part{suffix}"
    old = rf"\.{re.escape(target.name)}\.{host}-(\d+)-\d+\.old"
    for path in target.parent.glob(f".{glob.escape(target.stem)}*"):
        aside = re.fullmatch(old, path.name)
        found = aside or re.fullmatch(part, path.name)
        if found is None or path.name in _written_now:
            continue
        process = int(found[1])
        if process != os.getpid() and _runs(process):
            continue
        if aside and not target.exists():
            path.rename(target)  # the process was killed during the exchange
        else:
            _remove(path)


def _runs(process: int) -> bool:
    if os.name == "nt":
        return True  # on Windows, signal 0 would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
