"""Programs in processes of their own, forked from a server that has imported torch already.

Importing torch and this package takes seconds; forking takes milliseconds. Each process is fresh
but for these imports: it has its own folder, environment, signals, standard output and error.
What is imported at all, or what exec() does, is tested with `subprocess` instead.
"""

import multiprocessing
import multiprocessing.util
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

SERVER = multiprocessing.get_context("forkserver") if os.name != "nt" else None
if SERVER:
    SERVER.set_forkserver_preload(
        ["pytest", "torch", "pyarrow.parquet", "dnabert2_fast.cli", "dnabert2_fast.model"]
    )
TIMEOUT_S = 300


def _short_sockets() -> None:
    """Let multiprocessing's sockets lie in /tmp, for paths of AF_UNIX have 107 bytes at most."""
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    multiprocessing.util.get_temp_dir()  # which is kept
    tempfile.tempdir = before


if SERVER:
    _short_sockets()


class Ended(NamedTuple):
    """What is left of a process: its exit code (negative for a signal), and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Program:
    """A running process; as a context manager it never outlives the block.

    Parameters
    ----------
    start : sequence of str
        ``-c CODE``, ``-m MODULE`` or ``FILE``, each with arguments, as after ``python``.
    cwd : path
        The folder in which it runs.
    env : dict, optional
        Variables that differ from this process's; None removes one.
    max_file_bytes : int, optional
        No file may grow beyond this size; the write fails with EFBIG.
    """

    def __init__(
        self,
        *start: object,
        cwd: str | os.PathLike[str],
        env: dict[str, str | None] | None = None,
        max_file_bytes: int | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="program-")
        self.stdout, self.stderr = (Path(self._folder.name, name) for name in ("out", "err"))
        changed = {**os.environ, **(env or {})}
        variables = {name: value for name, value in changed.items() if value is not None}
        self._process = SERVER.Process(
            target=_run,
            args=(
                [str(word) for word in start],
                str(cwd),
                variables,
                str(self.stdout),
                str(self.stderr),
                max_file_bytes,
            ),
        )
        self._process.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._folder.cleanup()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, which must be running."""
        assert self._process.exitcode is None, f"ended before signal {number}: {self.ended()}"
        os.kill(self._process.pid, number)

    def wait_for(self, event: Callable[[], object]) -> None:
        """Return once `event()` is true; fail if the process ends, or does not get there."""
        deadline = time.monotonic() + TIMEOUT_S
        while not event():
            assert self._process.is_alive(), f"ended too early: {self.ended()}"
            assert time.monotonic() < deadline, "never got there"
            self._process.join(0.005)

    def ended(self) -> Ended:
        """Wait for the end."""
        self._process.join(TIMEOUT_S)
        assert self._process.exitcode is not None, f"still running after {TIMEOUT_S} s"
        out, err = (path.read_text(errors="replace") for path in (self.stdout, self.stderr))
        return Ended(self._process.exitcode, out, err)


def run(*start: object, cwd: str | os.PathLike[str], **options) -> Ended:
    """Run a program to its end; see `Program`."""
    with Program(*start, cwd=cwd, **options) as program:
        return program.ended()


def run_cli(*arguments: object, cwd: str | os.PathLike[str], **options) -> Ended:
    """Run a command of ``dnabert2-fast`` to its end; see `Program`."""
    return run("-m", "dnabert2_fast.cli", *arguments, cwd=cwd, **options)


def _run(
    start: Sequence[str],
    cwd: str,
    variables: dict[str, str],
    stdout: str,
    stderr: str,
    max_file_bytes: int | None,
) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None  # found again, from these variables
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    if max_file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    kind, *rest = start
    sys.path.insert(0, "" if kind in ("-c", "-m") else str(Path(kind).parent))
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        names = {"__name__": "__main__"}
        exec(compile(rest[0], "<program>", "exec"), names)
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")
