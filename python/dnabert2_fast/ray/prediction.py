"""Predict for a file over Ray, one task per part; the output equals that of `predict_file`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dnabert2_fast._internal.extras import needs
from dnabert2_fast.io.tracks import is_segments, is_track
from dnabert2_fast.ray.tasks import Part, RayTasks, in_parts, model_on_workers, on_workers

if TYPE_CHECKING:
    from dnabert2_fast.finetuning.config import PredictConfig

__all__ = ["predict_file"]


def predict_file(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    config: PredictConfig | None = None,
    *,
    tasks: RayTasks | None = None,
) -> int:
    """Write the predictions for a file with the tasks of a Ray cluster.

    Call ``ray.init`` first to choose the cluster. All machines must see model, input and output.
    The output equals that of `dnabert2_fast.predict_file`. A repeated call resumes a stopped one.

    Parameters
    ----------
    file, out, config
        As in `dnabert2_fast.predict_file`; `out` is a table. The tasks choose the device.
    model : path
        A folder that `finetune` wrote, or a hub id.
    tasks : RayTasks, optional
        As in `embed_file`.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    CheckpointError, DataError, FastaError, ValueError
        As `dnabert2_fast.predict_file`; other errors of tasks as Ray reports them.
    """
    with needs("dnabert2_fast.ray.predict_file"):
        from dnabert2_fast.finetuning.config import PredictConfig
    if is_track(Path(out)) or is_segments(Path(out)):
        raise ValueError(
            f"out: must be a table with Ray (got {out}). Write a track in one process."
        )
    tasks, config = tasks or RayTasks.of_cluster(), config or PredictConfig()
    name = model_on_workers(model)
    file, out = on_workers(file), on_workers(out)
    if config.regions is not None:
        config = replace(config, regions=on_workers(config.regions))
    config = replace(config, device=tasks.device)

    def work(part: Part | None) -> int:
        from dnabert2_fast.finetuning.file import predict_file as predict_here

        return predict_here(file, out, name, config, part=part)

    return in_parts(work, out, "predicting", tasks)
