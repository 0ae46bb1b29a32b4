"""Tasks of Ray by number; a task runs again when its worker died."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.extras import needs
from dnabert2_fast._internal.progress import progress
from dnabert2_fast._internal.streams import require_file
from dnabert2_fast.errors import Dnabert2Error, InputWarning

__all__ = [
    "Part",
    "RayTasks",
    "connected",
    "each",
    "in_parts",
    "model_on_workers",
    "on_workers",
]

T = TypeVar("T")
Part = tuple[int, int]

# Runs of a task whose worker dies, for example because the machine is out of memory.
RUNS = 4

# Time in which tasks may end by themselves, and maximum time to wait for cancelled ones, whose
# workers hold files open.
GRACE_S, CANCEL_S = 1, 10

# Ray's own log and that of its workers would break the progress bar.
QUIET = {"log_to_driver": False, "logging_level": "error"}

# Errors of inputs and settings. A task returns them, so that the caller gets them unchanged.
EXPECTED = (Dnabert2Error, OSError, ValueError, OverflowError, ModuleNotFoundError)


@dataclass(frozen=True)
class RayTasks:
    """The number of tasks, and the resources that Ray reserves for each.

    Parameters
    ----------
    parts : int
        Number of tasks. A task computes every `parts`-th chunk of the input; with more tasks than
        workers, less is lost when a worker dies.
    num_cpus : float
        Processors per task, if it has no GPU.
    num_gpus : float
        GPUs per task; 0 computes on the CPU.

    Raises
    ------
    ValueError
        When `parts` is less than 1, or another number is negative.

    Examples
    --------
    >>> RayTasks(64, num_gpus=1)
    RayTasks(parts=64, num_cpus=1, num_gpus=1)
    """

    parts: int
    num_cpus: float = 1
    num_gpus: float = 0

    def __post_init__(self) -> None:
        check_at_least("parts", self.parts, 1)
        check_at_least("num_cpus", self.num_cpus, 0)
        check_at_least("num_gpus", self.num_gpus, 0)

    @property
    def device(self) -> str:
        """The device of each task.

        Returns
        -------
        str

        Examples
        --------
        >>> RayTasks(64, num_gpus=1).device
        'cuda'
        """
        return "cuda" if self.num_gpus else "cpu"

    @classmethod
    def of_cluster(cls, device: str = "auto") -> RayTasks:
        """Return two tasks per GPU of the cluster or, without GPUs, per processor.

        Parameters
        ----------
        device : {"auto", "cpu", "cuda"}
            ``"auto"`` uses GPUs if the cluster has any.

        Returns
        -------
        RayTasks

        Raises
        ------
        ValueError
            When `device` is another one, or ``"cuda"`` and the cluster has no GPU.

        Examples
        --------
        >>> RayTasks.of_cluster("cpu")  # doctest: +SKIP
        RayTasks(parts=32, num_cpus=1, num_gpus=0)
        """
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(
                f"device: must be auto, cpu or cuda with Ray, which chooses the GPU (got {device})."
            )
        found = _cluster().cluster_resources()
        gpus, cpus = int(found.get("GPU", 0)), int(found.get("CPU", 1))
        if device == "cuda" and not gpus:
            raise ValueError("device: the Ray cluster has no GPU (got cuda). Use cpu.")
        if gpus and device != "cpu":
            return cls(2 * gpus, num_gpus=1)
        return cls(2 * max(cpus, 1))


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, without its log; disconnect at the end.

    Parameters
    ----------
    address : str
        ``"local"`` starts a cluster on this machine, ``"auto"`` finds the one of this machine;
        else ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises
    ------
    ConnectionError
        When the cluster does not exist, or does not answer.
    ModuleNotFoundError
        When Ray is missing; names the extra to install.
    """
    with needs("--ray"):
        import ray

    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, **own, **QUIET)
    except Exception as error:  # Ray raises this class itself when a start takes too long
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise ConnectionError(
            f"ray: cannot connect to {address} ({reason}). Start a cluster with "
            "`ray start --head`, or use local."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _cluster() -> Any:
    """Return the module of Ray, connected; without ``ray.init``, Ray finds or starts a cluster."""
    with needs("dnabert2_fast.ray"):
        import ray

    if not ray.is_initialized():
        ray.init(**QUIET)
    return ray


def each(
    numbers: Iterable[int],
    task: Callable[[int], Any],
    description: str,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> dict[int, Any]:
    """Run a task for every number; returns their results.

    Ray reserves this number of processors or, if set, of GPUs for each task. An error in a task or
    Ctrl-C ends the others; the death of a worker does not. `EXPECTED` errors are raised unchanged,
    others as Ray reports them. User warnings are repeated here, each once.
    """
    numbers = list(numbers)
    if not numbers:
        return {}
    ray = _cluster()
    strict = any(
        action == "error" and issubclass(InputWarning, category)
        for action, _, category, *_ in warnings.filters
    )
    reserved = {"num_gpus": num_gpus} if num_gpus else {"num_cpus": num_cpus}
    remote = ray.remote(_attempt).options(max_retries=RUNS - 1, **reserved)
    given = ray.put(task)
    running = {remote.remote(given, number, strict): number for number in numbers}
    results: dict[int, Any] = {}
    warned: set[str] = set()
    try:
        with progress(len(numbers), description, "tasks") as bar:
            while running:
                (done,), _ = ray.wait(list(running), num_returns=1)
                results[running[done]] = _result(ray, done, warned)
                del running[done]
                bar.update()
    except BaseException:
        _cancel(ray, list(running))
        raise
    return results


def _cancel(ray: Any, running: list[Any]) -> None:
    """Cancel tasks, except those that end within a second.

    Ray 2.60 aborts the process when a task is cancelled at the moment at which it ends.
    """
    if running:
        _, running = ray.wait(running, num_returns=len(running), timeout=GRACE_S)
    for task in running:
        ray.cancel(task, force=True)
    if running:
        ray.wait(running, num_returns=len(running), timeout=CANCEL_S)


def in_parts(
    work: Callable[[Part | None], T], out: Path | None, description: str, tasks: RayTasks
) -> T:
    """Compute every part of a file's results, then join them by ``work(None)``.

    `out` is the output on a file system that all machines share. Its chunks are kept for the next
    call, except after an error of an input.
    """
    reserved = {"num_cpus": tasks.num_cpus, "num_gpus": tasks.num_gpus}

    def compute(number: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joining reads the whole input, and warns again
            work((number + 1, tasks.parts))

    chunks = None if out is None else out.with_name(f"{out.name}.parts")
    try:
        each(range(tasks.parts), compute, description, **reserved)
        joined: T = each([0], lambda _: work(None), "joining parts", **reserved)[0]
    except BaseException as error:
        if chunks is not None and isinstance(error, Dnabert2Error):
            shutil.rmtree(chunks, ignore_errors=True)
        elif chunks is not None and isinstance(error, KeyboardInterrupt) and chunks.exists():
            error.add_note(f"finished chunks are kept in {chunks}")
        raise
    return joined


def on_workers(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a file that all machines see; raise for a pipe or a URI.

    Raises
    ------
    DataError
        When it is a pipe or a URI.
    """
    require_file(path, "every task of Ray opens it")
    return Path(path).absolute()


def model_on_workers(name: str | os.PathLike[str]) -> str:
    """Return the absolute path of a folder that all machines see, or another name as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else os.fspath(name)


def _attempt(
    task: Callable[[int], Any], number: int, strict: bool
) -> tuple[Any, Exception | None, list[Warning]]:
    """Run a task on a worker; returns its result or expected error, and its warnings."""
    os.environ["DNABERT2_FAST_PROGRESS"] = "0"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("error" if strict else "always", InputWarning)
        try:
            result, met = task(number), None
        except EXPECTED as error:
            result, met = None, error
    return result, met, [one.message for one in seen if isinstance(one.message, UserWarning)]


def _result(ray: Any, done: Any, warned: set[str]) -> Any:
    try:
        result, error, seen = ray.get(done)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as lost:  # of the cluster, not of the task
        reason = str(lost).strip().partition("\n")[0]
        raise OSError(
            f"Ray: a task could not be completed ({reason}). If its worker died {RUNS} times, give "
            "the workers more memory, or run fewer at a time."
        ) from None
    if error is not None:
        raise error
    for warning in seen:
        if str(warning) not in warned:
            warned.add(str(warning))
            warnings.warn(warning, stacklevel=4)
    return result
