"""Packed batches of a corpus for torch's data loaders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from dnabert2_fast.corpus.read import Corpus
from dnabert2_fast.corpus.sample import Batch, Mixture, TokenBatches

__all__ = ["CorpusDataset"]


class CorpusDataset(IterableDataset[Batch]):
    r"""Packed batches of a corpus for torch's ``DataLoader(dataset, batch_size=None)``.

    The workers divide a rank's batches, and the loader reads from them in turn. Batches and order
    are those of `TokenBatches`, for any number of workers. A loader with a batch size raises an
    error: the dataset yields whole batches.

    Parameters
    ----------
    source : Corpus or Mixture
    batch_tokens : int
    **options
        Those of `TokenBatches`.

    Examples
    --------
    >>> import tempfile
    >>> from torch.utils.data import DataLoader
    >>> from dnabert2_fast import Tokenizer, build_corpus
    >>> from dnabert2_fast.corpus import CorpusConfig
    >>> folder = tempfile.mkdtemp()
    >>> _ = open(f"{folder}/x.fa", "w").write(">a\n" + "ACGTTGCA" * 50 + "\n")
    >>> tok = Tokenizer.from_pretrained("dnabert2")
    >>> corpus = build_corpus([f"{folder}/x.fa"], f"{folder}/c", tok, CorpusConfig(window_bp=40))
    >>> loader = DataLoader(CorpusDataset(corpus, 60, epochs=1), batch_size=None, num_workers=0)
    >>> sum(len(batch.windows) for batch in loader)
    10
    """

    def __init__(self, source: Corpus | Mixture, batch_tokens: int, **options: Any) -> None:
        self._batches = TokenBatches(source, batch_tokens, **options)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return iter(self._batches)
        return self._batches.of_worker(worker.id, worker.num_workers)


def _refuse_to_collate(*_: Any, **__: Any) -> None:
    raise ValueError("batch_size: must be None for a CorpusDataset, which yields whole batches.")


default_collate_fn_map[Batch] = _refuse_to_collate
