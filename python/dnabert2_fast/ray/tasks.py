"""Numbers to tasks of Ray Data: each on its own, run again where its worker died."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dnabert2_fast.extras import needs

__all__ = ["each"]


def each(
    numbers: Iterable[int],
    task: Callable[[int], Any],
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> dict[int, Any]:
    """Run a task for every number; returns what they returned.

    A task has so many processors or, where there are any, so many GPUs for itself. What a task
    raises ends the others; a worker that dies does not.
    """
    with needs("dnabert2_fast.ray"):
        import ray.data

    rows = [{"number": number} for number in numbers]
    if not rows:
        return {}
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = data.map(
        lambda row: {"number": row["number"], "result": task(row["number"])},
        # Of both at once Ray Data warns.
        num_cpus=None if num_gpus else num_cpus,
        num_gpus=num_gpus or None,
    )
    return {row["number"]: row["result"] for row in done.take_all()}
