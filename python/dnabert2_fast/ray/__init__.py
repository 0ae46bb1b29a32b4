"""Corpora, vectors, predictions and variant scores, computed by tasks of Ray on a cluster.

Paths are on a file system that all machines share. `build_corpus` and `embed_file` also take URIs
that pyarrow supports (``s3://``, ``gs://``, ``hdfs://``, ``file://``): files are copied to the
workers' disks and back. Ray runs a task again when its worker died. Needs the extra ``ray``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.ray.corpus import build_corpus
    from dnabert2_fast.ray.embedding import embed_file
    from dnabert2_fast.ray.prediction import predict_file
    from dnabert2_fast.ray.tasks import RayTasks
    from dnabert2_fast.ray.variants import score_vcf

__all__ = [
    "RayTasks",
    "build_corpus",
    "embed_file",
    "predict_file",
    "score_vcf",
]

_HOME = {
    "RayTasks": "tasks",
    "build_corpus": "corpus",
    "embed_file": "embedding",
    "predict_file": "prediction",
    "score_vcf": "variants",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
