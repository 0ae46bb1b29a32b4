"""Corpora and vectors of files, computed by tasks of Ray on a cluster.

Paths may be local, then on a file system that all machines share, or URIs that pyarrow supports
(``s3://``, ``gs://``, ``hdfs://``, ``file://``), which are copied to the workers' disks and back.
Ray runs a task again when its worker died. Needs the extra ``ray``; `embed_file` also ``model``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.ray.corpus import build_corpus
    from dnabert2_fast.ray.embedding import embed_file
    from dnabert2_fast.ray.tasks import RayTasks

__all__ = [
    "RayTasks",
    "build_corpus",
    "embed_file",
]

_HOME = {
    "RayTasks": "tasks",
    "build_corpus": "corpus",
    "embed_file": "embedding",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
