"""The input of the encoder: all sequences of a batch one after the other, and their borders."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from dnabert2_fast.attention.lengths import on_host, remember
from dnabert2_fast.ragged import MAX_BATCH_TOKENS, Ragged, require_fits

__all__ = ["PackedBatch"]


@dataclass(frozen=True)
class PackedBatch:
    """Sequences without padding.

    Parameters
    ----------
    input_ids : Tensor of int64, shape (total_tokens,)
        Or vectors instead of word embeddings, float, (total_tokens, hidden_size).
    cu_seqlens : Tensor of int32, shape (n + 1,)
        Sequence ``i`` is ``input_ids[cu_seqlens[i]:cu_seqlens[i + 1]]``.
    max_seqlen : int
        Number of tokens of the longest sequence.
    token_type_ids : Tensor of int64, shape (total_tokens,), optional
        All 0 if omitted.

    Examples
    --------
    >>> from dnabert2_fast import Tokenizer
    >>> ids = Tokenizer.from_pretrained("mini").encode_batch(["ACGTTGCA", "ACG"])
    >>> batch = PackedBatch.from_ragged(ids)
    >>> len(batch), batch.input_ids.shape, batch.max_seqlen
    (2, torch.Size([7]), 4)
    """

    input_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    token_type_ids: torch.Tensor | None = None

    @classmethod
    def from_ragged(cls, ragged: Ragged) -> PackedBatch:
        """Return a batch of the tokenizer or a corpus as tensors.

        Parameters
        ----------
        ragged : Ragged
            One row of ids per sequence.

        Returns
        -------
        PackedBatch
            On the CPU.

        Examples
        --------
        >>> PackedBatch.from_ragged(Ragged.from_list([[1, 5, 2], [1, 2]])).cu_seqlens.tolist()
        [0, 3, 5]
        """
        return cls(*ragged.to_torch(), max_seqlen=int(ragged.lengths.max(initial=0)))

    @classmethod
    def from_padded(
        cls,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> PackedBatch:
        """Remove the padding of a rectangle.

        Parameters
        ----------
        input_ids, token_type_ids : Tensor of int64, shape (batch, length)
        attention_mask : Tensor, shape (batch, length)
            Nonzero at real tokens.

        Returns
        -------
        PackedBatch
            On the device of `input_ids`.

        Raises
        ------
        ValueError
            When shapes differ, or there are 2^31 real tokens or more.

        Warns
        -----
        UserWarning
            When the mask leaves out tokens between real ones.

        Examples
        --------
        >>> ids, mask = torch.tensor([[1, 5, 2], [1, 2, 3]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
        >>> PackedBatch.from_padded(ids, mask).input_ids.tolist()
        [1, 5, 2, 1, 2]
        """
        if attention_mask.ndim != 2:
            raise ValueError(
                f"attention_mask: must have the shape (batch, length) "
                f"(got {tuple(attention_mask.shape)})."
            )
        for name, given in (("attention_mask", attention_mask), ("token_type_ids", token_type_ids)):
            if given is not None and given.shape != input_ids.shape[:2]:
                raise ValueError(
                    f"{name}: must have the shape of input_ids, {tuple(input_ids.shape[:2])} "
                    f"(got {tuple(given.shape)})."
                )
        real = attention_mask.bool()
        if not torch.compiler.is_compiling():
            if real.numel() > MAX_BATCH_TOKENS:
                require_fits(int(real.sum()))
            spans = real[:, :1].sum(1) + (real[:, 1:] & ~real[:, :-1]).sum(1)
            if (spans > 1).any():
                warnings.warn(
                    "attention_mask: has gaps between real tokens. Tokens in a gap are removed, so "
                    "distances across it shrink. Use [MASK] there to keep the positions.",
                    stacklevel=2,
                )
        lengths = real.sum(1, dtype=torch.int32)
        cu_seqlens = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
        return cls(
            input_ids[real],
            cu_seqlens,
            int(lengths.max()) if len(lengths) else 0,
            None if token_type_ids is None else token_type_ids[real],
        )

    def __len__(self) -> int:
        return len(self.cu_seqlens) - 1

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the batch on a device; the same object if it is there already.

        Parameters
        ----------
        device : torch.device or str
            Such as ``"cpu"`` or ``"cuda:1"``.

        Returns
        -------
        PackedBatch
        """
        types = self.token_type_ids
        cu_seqlens = self.cu_seqlens.to(device, non_blocking=True)
        here = self.cu_seqlens.device.type == "cpu" and cu_seqlens.device.type != "cpu"
        if here and not torch.compiler.is_compiling():
            remember(cu_seqlens, self.cu_seqlens.numpy())
        return PackedBatch(
            self.input_ids.to(device, non_blocking=True),
            cu_seqlens,
            self.max_seqlen,
            None if types is None else types.to(device, non_blocking=True),
        )

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sequence, shape (n,)."""
        return np.diff(on_host(self.cu_seqlens))


def on_device(batch: PackedBatch, device: torch.device) -> PackedBatch:
    """Return a model's input on its device; raise TypeError, with the remedy, for other types."""
    if not isinstance(batch, PackedBatch):
        raise TypeError(
            f"batch: must be a PackedBatch (got {type(batch).__name__}). Call embed(sequences, "
            "model), or write PackedBatch.from_ragged(tokenizer.encode_batch(sequences))."
        )
    return batch.to(device)
