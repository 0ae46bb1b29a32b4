"""The layers of the encoder on packed rows.

A BERT with ALiBi instead of positions, a gated feed-forward part and post-norm (MosaicBERT, Portes
et al. 2023; DNABERT-2, Zhou et al. 2024). Every tensor is (total_tokens, ...), so only real tokens
are computed. Modules have the names of the published checkpoint, so that its keys load without a
map.
"""

from __future__ import annotations

import torch
from torch import nn

from dnabert2_fast.attention import attention, attention_weights
from dnabert2_fast.kernels import add_norm, geglu
from dnabert2_fast.model.batch import PackedBatch
from dnabert2_fast.model.config import Dnabert2Config

__all__ = ["Embeddings", "Encoder", "Layer"]

# Rows per pass of the feed-forward part without gradients. It is eight times as wide as the states,
# so it would need most of the memory of a long sequence. On a CPU fewer rows fit the cache, and the
# system provides new pages for every tensor above 32 MB (docs/log.md).
MLP_ROWS = 8192
MLP_ROWS_CPU = 1024


class Embeddings(nn.Module):
    """Token and type embeddings, normalised."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """Return (total_tokens, hidden_size)."""
        given = batch.input_ids
        words: torch.Tensor = given if given.is_floating_point() else self.word_embeddings(given)
        if batch.token_type_ids is None:
            # Through the module, so that hooks which move weights (accelerate) run.
            types = self.token_type_embeddings(batch.cu_seqlens.new_zeros(1))
        else:
            types = self.token_type_embeddings(batch.token_type_ids)
        normed: torch.Tensor = self.dropout(self.LayerNorm(words + types))
        return normed


class SelfAttention(nn.Module):
    """Queries, keys and values from one matrix, then ALiBi attention."""

    def __init__(self, config: Dnabert2Config, backend: str) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.dropout_p = config.attention_probs_dropout_prob
        self.backend = backend
        self.Wqkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(
        self,
        x: torch.Tensor,
        batch: PackedBatch,
        slopes: torch.Tensor,
        attentions: list[tuple[torch.Tensor, ...]] | None = None,
    ) -> torch.Tensor:
        """Return (total_tokens, hidden_size); append the attention weights to `attentions`."""
        q, k, v = self.Wqkv(x).view(len(x), 3, self.heads, self.head_size).unbind(1)
        if attentions is not None:
            attentions.append(
                attention_weights(q, k, cu_seqlens=batch.cu_seqlens, alibi_slopes=slopes)
            )
        mixed = attention(
            q,
            k,
            v,
            cu_seqlens=batch.cu_seqlens,
            max_seqlen=batch.max_seqlen,
            alibi_slopes=slopes,
            dropout_p=self.dropout_p if self.training else 0.0,
            backend=self.backend,
        )
        return mixed.flatten(1)


class AttentionOutput(nn.Module):
    """Projection, dropout, residual, norm."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout_p = config.hidden_dropout_prob
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return the normalised sum, with the shape of its inputs."""
        dropout_p = self.dropout_p if self.training else 0.0
        return add_norm(self.dense(x), residual, self.LayerNorm, dropout_p)


class Attention(nn.Module):
    """Self-attention with its output part; named ``self`` and ``output`` in the checkpoint."""

    def __init__(self, config: Dnabert2Config, backend: str) -> None:
        super().__init__()
        self.self = SelfAttention(config, backend)
        self.output = AttentionOutput(config)


class GatedMLP(nn.Module):
    """GEGLU (Shazeer 2020): the first half of one matrix, through GELU, times the second."""

    def __init__(self, config: Dnabert2Config) -> None:
        super().__init__()
        width = config.intermediate_size
        self.gated_layers = nn.Linear(config.hidden_size, 2 * width, bias=False)
        self.dropout_p = config.hidden_dropout_prob
        self.wo = nn.Linear(width, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised sum, with the shape of its input."""
        rows = MLP_ROWS_CPU if x.device.type == "cpu" else MLP_ROWS
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or len(x) <= rows:
            return self._rows(x)
        return torch.cat([self._rows(some) for some in torch.split(x, rows)])

    def _rows(self, x: torch.Tensor) -> torch.Tensor:
        gated = geglu(self.gated_layers(x), self.dropout_p if self.training else 0.0)
        return add_norm(self.wo(gated), x, self.layernorm)


class Layer(nn.Module):
    """One encoder layer."""

    def __init__(self, config: Dnabert2Config, backend: str) -> None:
        super().__init__()
        self.attention = Attention(config, backend)
        self.mlp = GatedMLP(config)

    def forward(
        self,
        x: torch.Tensor,
        batch: PackedBatch,
        slopes: torch.Tensor,
        rows: torch.Tensor | None = None,
        attentions: list[tuple[torch.Tensor, ...]] | None = None,
    ) -> torch.Tensor:
        """Return the layer's output, of the given rows only if `rows` is given."""
        mixed = self.attention.self(x, batch, slopes, attentions)
        if rows is not None:
            mixed, x = mixed[rows], x[rows]
        y: torch.Tensor = self.mlp(self.attention.output(mixed, x))
        return y


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: Dnabert2Config, backend: str) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config, backend) for _ in range(config.num_hidden_layers))
