"""Work over the machines of a Ray cluster, by tasks of Ray Data: corpora, and vectors of files.

Paths may be local, then on a file system that all machines share, or URIs that pyarrow knows
(``s3://``, ``gs://``, ``hdfs://``, ``file://``), which are copied to the workers' disks and back. A
task whose worker died is run again by Ray. Needs the extra ``ray``; `embed_file` also ``model``.
"""

from dnabert2_fast.ray.corpus import build_corpus
from dnabert2_fast.ray.embedding import embed_file

__all__ = ["build_corpus", "embed_file"]
