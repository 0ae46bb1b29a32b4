"""Corpora: genomes as memory-mapped token shards, with the origin of every window.

A corpus is a folder: ``shard-NNNNN.safetensors`` (ids and offsets), ``shard-NNNNN.parquet``
(origins of its windows), ``tokenizer.json``, and ``corpus.json``, which is written last and names
every other file with its checksum. `docs/formats.md` describes it for readers without this package.

`plan` divides the input into independent units; `build` builds and joins them; `read` opens a
corpus; `sample` draws batches from it; `exchange` converts tokens to other formats and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dnabert2_fast.corpus.build import build_corpus
    from dnabert2_fast.corpus.dataset import CorpusDataset
    from dnabert2_fast.corpus.exchange import as_dataset, as_table, export_parquet, import_parquet
    from dnabert2_fast.corpus.plan import CorpusConfig, CorpusPlan
    from dnabert2_fast.corpus.read import Corpus, Window
    from dnabert2_fast.corpus.sample import Batch, Mixture, TokenBatches

__all__ = [
    "Batch",
    "Corpus",
    "CorpusConfig",
    "CorpusDataset",
    "CorpusPlan",
    "Mixture",
    "TokenBatches",
    "Window",
    "as_dataset",
    "as_table",
    "build_corpus",
    "export_parquet",
    "import_parquet",
]

_HOME = {
    "Batch": "sample",
    "Corpus": "read",
    "CorpusDataset": "dataset",
    "CorpusPlan": "plan",
    "CorpusConfig": "plan",
    "Mixture": "sample",
    "TokenBatches": "sample",
    "Window": "read",
    "as_dataset": "exchange",
    "as_table": "exchange",
    "build_corpus": "build",
    "export_parquet": "exchange",
    "import_parquet": "exchange",
}

if not TYPE_CHECKING:  # or a misspelt name would be of type Any
    from dnabert2_fast._internal.lazy import attach

    __getattr__, __dir__ = attach(__name__, _HOME)
