"""The DNABERT-2 encoder on packed rows: embeddings, layers (`layers.py`) and pooler.

DNABERT-2: Zhou et al. 2024. Modules have the names of the published checkpoint, so that its keys
load without a map.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dnabert2_fast.attention import alibi_slopes
from dnabert2_fast.attention.weights import require_room
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.config import Dnabert2Config
from dnabert2_fast.model.layers import Embeddings, Encoder
from dnabert2_fast.model.segments import sum_rows

__all__ = ["Bert", "first_rows", "mean_rows"]


@lru_cache
def _slopes(heads: int, device: torch.device) -> torch.Tensor:
    # Neither parameter nor buffer, so that they stay float32 for every dtype of the model: half of
    # them are rounded in 16 bits. Made outside inference mode, because training may use them later.
    with torch.inference_mode(False):
        return alibi_slopes(heads).to(device)


def first_rows(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return the row of each sequence's first token, zero for a sequence without tokens.

    >>> first_rows(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 2, 2, 3, 3])).tolist()
    [[5.0], [0.0], [7.0], [0.0]]
    """
    if not len(rows):
        return rows.new_zeros(len(cu_seqlens) - 1, rows.shape[1])
    starts, empty = _starts(cu_seqlens, len(rows))
    return rows[starts].masked_fill(empty, 0)


def mean_rows(rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    """Return the mean of each sequence's rows, zero for a sequence without tokens.

    >>> mean_rows(torch.tensor([[5.0], [6.0], [7.0]]), torch.tensor([0, 2, 2, 3, 3])).tolist()
    [[5.5], [0.0], [7.0], [0.0]]
    """
    lengths = cu_seqlens.diff().long()
    # Summed in float32 at least: a bfloat16 has eight bits for a sum of hundreds.
    exact = torch.promote_types(rows.dtype, torch.float32)
    total = sum_rows(rows.to(exact), cu_seqlens)
    return (total / lengths.clamp(min=1)[:, None]).to(rows.dtype)


def _starts(cu_seqlens: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first row of each sequence (any for an empty one), and which are empty, (n, 1)."""
    empty = cu_seqlens[1:] == cu_seqlens[:-1]
    return cu_seqlens[:-1].long().clamp(max=tokens - 1), empty[:, None]


class Pooler(nn.Module):
    """tanh of a linear map of a sequence's first token, or of the mean of its tokens."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden_size)."""
        return torch.tanh(self.dense(rows))


class Bert(nn.Module):
    """Embeddings, layers and, optionally, the pooler."""

    def __init__(self, config: Dnabert2Config, backend: str, with_pooler: bool) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.pooling = config.classifier_pooling
        self.backend = backend
        self.checkpoints_activations = False
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, backend)
        self.pooler = Pooler(config) if with_pooler else None

    def pool(self, rows: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
        """Return the pooler's output for all tokens' rows, shape (n, hidden_size)."""
        assert self.pooler is not None, "this encoder was built without a pooler"
        summary = mean_rows if self.pooling == "mean" else first_rows
        pooled: torch.Tensor = self.pooler(summary(rows, cu_seqlens))
        return pooled

    def encode_pooled(self, batch: PackedBatch) -> torch.Tensor:
        """Return the pooler's output for a batch; the last layer computes only the rows needed."""
        if self.pooling == "mean" or not len(batch.input_ids):
            return self.pool(self.encode(batch), batch.cu_seqlens)
        assert self.pooler is not None, "this encoder was built without a pooler"
        starts, empty = _starts(batch.cu_seqlens, len(batch.input_ids))
        pooled: torch.Tensor = self.pooler(self.encode(batch, starts).masked_fill(empty, 0))
        return pooled

    def encode(
        self,
        batch: PackedBatch,
        rows: torch.Tensor | None = None,
        *,
        states: list[torch.Tensor] | None = None,
        attentions: list[tuple[torch.Tensor, ...]] | None = None,
    ) -> torch.Tensor:
        """Return the last layer's rows, all or the given ones.

        The state after the embeddings and after every layer is appended to `states`, and every
        layer's attention weights to `attentions`.
        """
        if attentions is not None:
            require_room(batch.cu_seqlens, self.heads * len(self.encoder.layer))
        x: torch.Tensor = self.embeddings(batch)
        slopes = _slopes(self.heads, x.device)
        last = len(self.encoder.layer) - 1
        for i, layer in enumerate(self.encoder.layer):
            if states is not None:
                states.append(x)
            given = (x, batch, slopes, rows if i == last else None, attentions)
            if self.checkpoints_activations and torch.is_grad_enabled():
                x = checkpoint(layer, *given, use_reentrant=False)
            else:
                x = layer(*given)
        if states is not None:
            states.append(x)
        return x
