"""Device code that divides packed attention into tiles, and finds the blocks that each must read.

A tile is a span of rows of one sequence. With ALiBi most blocks of keys are too far from a tile to
matter, by the bound of `skipping`, which is computed here from norms of blocks.
"""

import triton
import triton.language as tl

__all__ = ["block_norms", "plan_tiles", "tile_ranges"]


@triton.jit
def plan_tiles(cu_seqlens, plan, n, ROWS: tl.constexpr, CHUNK: tl.constexpr):
    """Write the position of every tile into `plan`: tiles of longer sequences first.

    Program s writes (s, first row) for each tile of sequence s. They follow those of all longer
    sequences, and of sequences with the same length before s.
    """
    s = tl.program_id(0)
    length = tl.load(cu_seqlens + s + 1) - tl.load(cu_seqlens + s)
    tiles_before = tl.zeros([CHUNK], tl.int32)
    for at in range(0, n, CHUNK):
        other = at + tl.arange(0, CHUNK)
        real = other < n
        stop = tl.load(cu_seqlens + other + 1, mask=real, other=0)
        theirs = stop - tl.load(cu_seqlens + other, mask=real, other=0)
        earlier = real & ((theirs > length) | ((theirs == length) & (other < s)))
        tiles_before += tl.where(earlier, (theirs + ROWS - 1) // ROWS, 0)
    pointer = plan + 2 * tl.sum(tiles_before)
    for tile in range(0, (length + ROWS - 1) // ROWS):
        tl.store(pointer + 2 * tile, s)
        tl.store(pointer + 2 * tile + 1, tile * ROWS)


@triton.jit
def _norm(x):
    """Return norms of rows in float32; NaN counts as infinite."""
    norm = tl.sqrt(tl.sum(x * x, 1))
    return tl.where(norm == norm, norm, float("inf"))


@triton.jit
def block_norms(
    q, k, v, norms, cu_seqlens, plan,
    q_row, q_head, k_row, k_head, v_row, v_head, blocks, scale,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Store the statistics of each block of BLOCK rows that the bound of `skipping` needs.

    norms, shape (5, heads, blocks): maximum query (scaled), minimum own score, maximum key, maximum
    value, mean value. Block b of sequence s is at ``cu_seqlens[s] // BLOCK + s + b``.
    """
    s = tl.load(plan + 2 * tl.program_id(0))
    if s < 0:
        return
    row = tl.load(plan + 2 * tl.program_id(0) + 1)
    head = tl.program_id(1)
    start = tl.load(cu_seqlens + s)
    length = tl.load(cu_seqlens + s + 1) - start
    rows = row + tl.arange(0, ROWS)
    at = (start + rows).to(tl.int64)[:, None]
    d = tl.arange(0, WIDTH)[None, :]
    real = (rows < length)[:, None] & (d < SIZE)
    query = tl.load(q + at * q_row + head * q_head + d, mask=real, other=0.0).to(tl.float32)
    key = tl.load(k + at * k_row + head * k_head + d, mask=real, other=0.0).to(tl.float32)
    value = tl.load(v + at * v_row + head * v_head + d, mask=real, other=0.0).to(tl.float32)
    own = tl.sum(query * key, 1) * scale
    own = tl.where(own == own, own, -float("inf"))
    own = tl.where(rows < length, own, float("inf"))
    SHAPE: tl.constexpr = (ROWS // BLOCK, BLOCK)
    value_norm = _norm(value)
    block = row // BLOCK + tl.arange(0, ROWS // BLOCK)
    count = tl.minimum(tl.maximum(length - block * BLOCK, 1), BLOCK)
    pointer = norms + head * blocks + start // BLOCK + s + block
    step = tl.num_programs(1) * blocks
    there = block * BLOCK < length
    tl.store(pointer, tl.max(tl.reshape(_norm(query) * scale, SHAPE), 1), mask=there)
    tl.store(pointer + step, tl.min(tl.reshape(own, SHAPE), 1), mask=there)
    tl.store(pointer + 2 * step, tl.max(tl.reshape(_norm(key), SHAPE), 1), mask=there)
    tl.store(pointer + 3 * step, tl.max(tl.reshape(value_norm, SHAPE), 1), mask=there)
    tl.store(pointer + 4 * step, tl.sum(tl.reshape(value_norm, SHAPE), 1) / count, mask=there)


@triton.jit
def tile_ranges(
    norms, ranges, cu_seqlens, plan, slopes, blocks, tiles, log_precision,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, SLACK: tl.constexpr, CHUNK: tl.constexpr,
    OF_KEYS: tl.constexpr,
):  # fmt: skip
    """Store the first and one past the last block that each tile of ROWS rows must read.

    The rows are queries and the blocks keys, or with OF_KEYS the reverse. The bound is that of
    `skipping`: maximum possible score, minus the minimum own score, minus the slope's penalty.
    """
    tile = tl.program_id(0)
    s = tl.load(plan + 2 * tile)
    if s < 0:
        return
    row = tl.load(plan + 2 * tile + 1)
    head = tl.program_id(1)
    start = tl.load(cu_seqlens + s)
    length = tl.load(cu_seqlens + s + 1) - start
    slope = tl.load(slopes + head)
    step = tl.num_programs(1) * blocks
    first = norms + head * blocks + start // BLOCK + s
    count = (length + BLOCK - 1) // BLOCK
    mine = row // BLOCK + tl.arange(0, ROWS // BLOCK)
    there = mine < count
    if OF_KEYS:
        my_key = tl.max(tl.load(first + 2 * step + mine, mask=there, other=0.0))
        my_value = tl.max(tl.load(first + 3 * step + mine, mask=there, other=0.0))
    else:
        my_query = tl.max(tl.load(first + mine, mask=there, other=0.0))
        my_own = tl.min(tl.load(first + step + mine, mask=there, other=float("inf")))
        my_mean = tl.min(tl.load(first + 4 * step + mine, mask=there, other=float("inf")))
    margin = tl.log(length.to(tl.float32)) - log_precision
    low = count
    high = count * 0
    for at in range(0, count, CHUNK):
        block = at + tl.arange(0, CHUNK)
        real = block < count
        if OF_KEYS:
            query = tl.load(first + block, mask=real, other=0.0)
            own = tl.load(first + step + block, mask=real, other=0.0)
            mean = tl.load(first + 4 * step + block, mask=real, other=1.0)
            highest = query * my_key
            value = my_value
        else:
            highest = my_query * tl.load(first + 2 * step + block, mask=real, other=0.0)
            own = my_own
            value = tl.load(first + 3 * step + block, mask=real, other=0.0)
            mean = my_mean
        before = row - (block * BLOCK + BLOCK - 1)
        after = block * BLOCK - (row + ROWS - 1)
        distance = tl.maximum(tl.maximum(before, after), 0).to(tl.float32)
        excess = tl.log(tl.maximum(value / tl.maximum(mean, 1e-30), 1.0))
        bound = highest * (1 + SLACK) + SLACK - own - slope * distance + excess
        # NaN is not below the margin either.
        needed = real & ((bound < -margin) == 0)
        low = tl.minimum(low, tl.min(tl.where(needed, block, count)))
        high = tl.maximum(high, tl.max(tl.where(needed, block + 1, 0)))
    pointer = ranges + 2 * (head * tiles + tile)
    tl.store(pointer, tl.minimum(low, row // BLOCK))
    tl.store(pointer + 1, tl.maximum(high, tl.minimum((row + ROWS) // BLOCK, count)))
