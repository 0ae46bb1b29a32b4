"""ALiBi attention on packed sequences as Triton kernels, forward and backward.

Queries, keys and values are read in place, also in a packed projection. Tiles of long sequences,
and heads with small slopes, start first. With ALiBi most tiles of long sequences cannot change the
result; they are left out by the bound of `skipping`, computed per block from norms in one pass over
queries, keys and values. The device code is in `triton_ranges` and `triton_kernels`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from dnabert2_fast.attention import triton_kernels as kernels
from dnabert2_fast.attention import triton_ranges as sharing
from dnabert2_fast.attention.skipping import SLACK, counting, record

__all__ = ["Tiles", "attention_triton", "tiles_for"]

# Below this number of tokens the pass over the norms costs more than it saves.
SKIP_FROM = 1024


class Tiles(NamedTuple):
    """Tile sizes of a kernel: rows of a program, columns of a step, warps, stages."""

    rows: int
    block: int
    warps: int
    stages: int


def tiles_for(head_dim: int, dtype: torch.dtype, *, backward: bool = False) -> Tiles:
    """Return the tiles for a head size, the largest for the registers of capability 9.0."""
    wide = head_dim > 64
    if dtype == torch.float32:
        return Tiles(32 if wide else 64, 32, 8, 2)
    if backward:
        return Tiles(128, 32 if wide else 64, 8, 2)
    return Tiles(128, 64, 8, 2) if wide else Tiles(128, 64, 4, 3)


def attention_triton(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    alibi_slopes: torch.Tensor,
    dropout_p: float,
) -> torch.Tensor:
    """Return the attention of every sequence; arguments as in `dnabert2_fast.attention`."""
    seed = torch.randint(2**31, (1,), device=q.device) if dropout_p > 0 else cu_seqlens
    out: torch.Tensor
    out, _ = varlen_attention(q, k, v, cu_seqlens, alibi_slopes, seed, max_seqlen, dropout_p)
    return out


class _Launch:
    """The plan of tiles and the key ranges (if they save time), shared by all kernels of a call."""

    def __init__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cu_seqlens: torch.Tensor,
        slopes: torch.Tensor,
        max_seqlen: int,
        *,
        backward: bool,
    ) -> None:
        self.qkv = [x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)]
        self.cu_seqlens, self.slopes = cu_seqlens, slopes
        self.tokens, self.heads, self.size = q.shape
        self.shape = tiles_for(self.size, q.dtype, backward=backward)
        sequences = len(cu_seqlens) - 1
        # The maximum for any lengths, so that the host does not wait for the lengths.
        self.tiles = self.tokens // self.shape.rows + sequences
        self.plan = cu_seqlens.new_full((self.tiles, 2), -1)
        sharing.plan_tiles[(sequences,)](
            cu_seqlens, self.plan, sequences, ROWS=self.shape.rows, CHUNK=256
        )
        self.skip = max_seqlen >= SKIP_FROM
        self.norms = self._norms() if self.skip else slopes
        # Heads with the smallest slopes have more tiles to read.
        self.order = (
            slopes.argsort().int()
            if self.skip
            else torch.arange(self.heads, dtype=torch.int32, device=q.device)
        )

    @property
    def scale(self) -> float:
        """Scale of scores, in units of log2."""
        return math.log2(math.e) / math.sqrt(self.size)

    def strides(self, *tensors: torch.Tensor) -> list[int]:
        """Return row and head strides."""
        return [stride for x in tensors for stride in x.stride()[:2]]

    def options(self, dropout_p: float) -> dict[str, Any]:
        """Return the compile-time arguments."""
        dtype = self.qkv[0].dtype
        return {
            "SIZE": self.size,
            "WIDTH": max(16, 1 << (self.size - 1).bit_length()),
            "ROWS": self.shape.rows,
            "BLOCK": self.shape.block,
            "SKIP": self.skip,
            "DROPOUT": dropout_p > 0,
            "PRECISION": "tf32x3" if dtype == torch.float32 else "tf32",  # x3: of float32
            "num_warps": self.shape.warps,
            "num_stages": self.shape.stages,
        }

    def _norms(self) -> torch.Tensor:
        blocks = self.tokens // self.shape.block + len(self.cu_seqlens) - 1
        norms = torch.empty(5, self.heads, blocks, device=self.slopes.device)
        sharing.block_norms[(self.tiles, self.heads)](
            *self.qkv, norms, self.cu_seqlens, self.plan, *self.strides(*self.qkv), blocks,
            self.size**-0.5, SIZE=self.size, WIDTH=max(16, 1 << (self.size - 1).bit_length()),
            ROWS=self.shape.rows, BLOCK=self.shape.block,
        )  # fmt: skip
        return norms

    def ranges(self, *, of_keys: bool) -> torch.Tensor:
        """Return the blocks that every tile must read, int32 of shape (heads, tiles, 2)."""
        if not self.skip:
            return self.plan
        ranges = self.plan.new_zeros(self.heads, self.tiles, 2)
        sharing.tile_ranges[(self.tiles, self.heads)](
            self.norms, ranges, self.cu_seqlens, self.plan, self.slopes, self.norms.shape[2],
            self.tiles, math.log(torch.finfo(self.qkv[0].dtype).eps / 4),
            ROWS=self.shape.rows, BLOCK=self.shape.block, SLACK=SLACK, CHUNK=128, OF_KEYS=of_keys,
        )  # fmt: skip
        return ranges

    def count(self, ranges: torch.Tensor) -> None:
        """Add the scores computed here to the open counts."""
        if not counting():
            return
        lengths = self.cu_seqlens.diff().long()
        total = self.heads * lengths.square().sum()
        if not self.skip:
            record(total, total)
            return
        sequence, first = self.plan.long().T
        ends = torch.where(sequence >= 0, lengths[sequence.clamp(min=0)], 0)
        rows = (ends - first).clamp(0, self.shape.rows)
        columns = torch.minimum(ranges.long() * self.shape.block, ends[:, None]).diff()[..., 0]
        record((columns * rows).sum(), total)


@torch.library.custom_op("dnabert2_fast::varlen_attention", mutates_args=())
def varlen_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens: torch.Tensor,
    slopes: torch.Tensor,
    seed: torch.Tensor,
    max_seqlen: int,
    dropout_p: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the attention and the base-2 logarithm of every row's sum, (heads, total_tokens)."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[1], q.shape[0], dtype=torch.float32, device=q.device)
    if not q.shape[0]:
        return out, lse
    with torch.cuda.device_of(q):
        launch = _Launch(q, k, v, cu_seqlens, slopes, max_seqlen, backward=False)
        ranges = launch.ranges(of_keys=False)
        launch.count(ranges)
        kernels.forward[(launch.tiles, launch.heads)](
            *launch.qkv, out, lse, cu_seqlens, launch.plan, slopes, launch.order,
            ranges, seed, *launch.strides(*launch.qkv), launch.tokens, launch.scale, dropout_p,
            **launch.options(dropout_p),
        )  # fmt: skip
    return out, lse


@torch.library.custom_op("dnabert2_fast::varlen_attention_backward", mutates_args=())
def varlen_attention_backward(
    grad_out: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    cu_seqlens: torch.Tensor,
    slopes: torch.Tensor,
    seed: torch.Tensor,
    max_seqlen: int,
    dropout_p: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of queries, keys and values."""
    grads = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
    if not q.shape[0]:
        return grads[0], grads[1], grads[2]
    grad_out = grad_out if grad_out.stride(-1) == 1 else grad_out.contiguous()
    delta = (out.float() * grad_out.float()).sum(-1).T.contiguous()
    with torch.cuda.device_of(q):
        launch = _Launch(q, k, v, cu_seqlens, slopes, max_seqlen, backward=True)
        for kernel, into, of_keys in (
            (kernels.backward_keys, grads[1:], True),
            (kernels.backward_queries, grads[:1], False),
        ):
            kernel[(launch.tiles, launch.heads)](
                *launch.qkv, grad_out, lse, delta, *into, cu_seqlens, launch.plan, slopes,
                launch.order, launch.ranges(of_keys=of_keys), seed,
                *launch.strides(*launch.qkv, grad_out), launch.tokens, launch.scale, dropout_p,
                **launch.options(dropout_p),
            )  # fmt: skip
    return grads[0], grads[1], grads[2]


@varlen_attention.register_fake
def _(q, k, v, cu_seqlens, slopes, seed, max_seqlen, dropout_p):  # type: ignore[no-untyped-def]
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), torch.empty(
        q.shape[1], q.shape[0], dtype=torch.float32, device=q.device
    )


@varlen_attention_backward.register_fake
def _(grad_out, q, k, v, *others):  # type: ignore[no-untyped-def]  # noqa: ANN002
    return tuple(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    *tensors, ctx.max_seqlen, ctx.dropout_p = inputs
    ctx.save_for_backward(*tensors[:3], *output, *tensors[3:])


def _gradients(ctx: Any, grad_out: torch.Tensor, grad_lse: None) -> tuple[torch.Tensor | None, ...]:
    grads = varlen_attention_backward(grad_out, *ctx.saved_tensors, ctx.max_seqlen, ctx.dropout_p)
    return *grads, None, None, None, None, None


varlen_attention.register_autograd(_gradients, setup_context=_save)
