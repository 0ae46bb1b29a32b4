"""Tasks of Ray Data by number; a task runs again when its worker died."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dnabert2_fast import errors
from dnabert2_fast._internal.checks import check_at_least
from dnabert2_fast._internal.extras import needs

__all__ = ["RayTasks", "each"]


@dataclass(frozen=True)
class RayTasks:
    """The number of tasks, and the resources that Ray reserves for each.

    Parameters
    ----------
    parts : int
        Number of tasks. A task computes every `parts`-th chunk of 4,096 sequences; with more tasks
        than workers, less is lost when a worker dies.
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


def each(
    numbers: Iterable[int],
    task: Callable[[int], Any],
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> dict[int, Any]:
    """Run a task for every number; returns their results.

    Ray reserves this number of processors or, if set, of GPUs for each task. An error in
    a task ends the others; the death of a worker does not. Errors of this package are raised
    unchanged, others as Ray reports them.
    """
    with needs("dnabert2_fast.ray"):
        import ray.data

    rows = [{"number": number} for number in numbers]
    if not rows:
        return {}

    def attempt(row: dict[str, Any]) -> dict[str, Any]:
        result, error, message = None, "", ""
        try:
            result = task(row["number"])
        except errors.Dnabert2Error as met:
            error, message = type(met).__name__, str(met)
        return {"number": row["number"], "result": result, "error": error, "message": message}

    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    # Ray Data warns if both are set.
    needed = {"num_gpus": num_gpus} if num_gpus else {"num_cpus": num_cpus}
    results = {}
    for row in data.map(attempt, **needed).iter_rows():
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        results[row["number"]] = row["result"]
    return results
