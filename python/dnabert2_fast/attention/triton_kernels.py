"""Device code of packed ALiBi attention: the programs that `triton_varlen` launches.

A program processes one tile of rows of one head of one sequence and walks over tiles of the other
side. On either side of the diagonal the sign of ``i - j`` is fixed, so the bias is one number per
row plus one number per column, both counted from the tile's edge. The row's number shifts the
running maximum once, before the walk; the column's is added to the scores. So no distance is
computed per score, and only tiles on the diagonal take an absolute value. All arguments of `exp2`,
and ``lse``, are in units of log2.

The forward pass and its two gradients follow FlashAttention-2 (Dao 2023): running maximum and sum,
probabilities recomputed from ``lse`` in the backward pass, one program per tile and no atomics. So
results do not depend on the order in which tiles run.
"""

import triton
import triton.language as tl

from dnabert2_fast.kernels.triton_random import kept

__all__ = ["backward_keys", "backward_queries", "forward"]


@triton.jit
def _kept(seed, head, rows, columns, dropout_p):
    """Which weights stay: the same in every pass."""
    zero = rows[:, None] * 0 + columns[None, :] * 0
    return kept(seed, zero + rows[:, None], zero + columns[None, :], zero + head, dropout_p)


@triton.jit
def _share(
    cu_seqlens, slopes, ranges, s, tile, head, BLOCK: tl.constexpr, SKIP: tl.constexpr
):  # fmt: skip
    """Return a program's sequence (first token, length), its slope, and the blocks it processes."""
    start = tl.load(cu_seqlens + s)
    length = tl.load(cu_seqlens + s + 1) - start
    count = (length + BLOCK - 1) // BLOCK
    low = count * 0
    high = count
    if SKIP:
        pointer = ranges + 2 * (head * tl.num_programs(0) + tile)
        low = tl.load(pointer)
        high = tl.load(pointer + 1)
    return start, length, tl.load(slopes + head) * 1.4426950408889634, count, low, high


@triton.jit
def _lean(row, rows, slope, SIDE: tl.constexpr):
    """Return the tile's edge on a side, and the part of the bias between it and each row."""
    edge = row
    if SIDE == 1:
        edge = row + rows.shape[0]
    return edge, SIDE * slope * (edge - rows).to(tl.float32)


@triton.jit
def _walk(
    acc, total, highest, query, k, v, k_row, v_row, at, step, count, length, row, rows,
    slope, scale, seed, head, start, dropout_p,
    SIDE: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attend to `count` tiles of keys from column `at`; SIDE: -1 before, 1 after, 0 diagonal."""
    d = tl.arange(0, WIDTH)
    inside = tl.arange(0, BLOCK)
    edge, lean = _lean(row, rows, slope, SIDE)
    before = highest
    highest += lean
    moved = highest
    for i in range(0, count):
        first = at + i * step
        columns = first + inside
        if MASKED:
            real = (columns < length)[None, :] & (d < SIZE)[:, None]
            real_t = (columns < length)[:, None] & (d < SIZE)[None, :]
        else:
            real = (d < SIZE)[:, None]
            real_t = (d < SIZE)[None, :]
        keys = k + first.to(tl.int64) * k_row + inside[None, :] * k_row + d[:, None]
        key = tl.load(keys, mask=real, other=0.0)
        score = tl.dot(query, key, input_precision=PRECISION) * scale
        if SIDE == 0:
            score -= slope * tl.abs(rows[:, None] - columns[None, :]).to(tl.float32)
        else:
            score -= SIDE * slope * (columns - edge).to(tl.float32)[None, :]
        if MASKED:
            score = tl.where((columns < length)[None, :], score, -float("inf"))
        new = tl.maximum(highest, tl.max(score, 1))
        weight = tl.exp2(score - new[:, None])
        shrink = tl.exp2(highest - new)
        total = total * shrink + tl.sum(weight, 1)
        acc = acc * shrink[:, None]
        if DROPOUT:
            kept = _kept(seed, head, start + rows, columns, dropout_p)
            weight = tl.where(kept, weight / (1 - dropout_p), 0.0)
        values = v + first.to(tl.int64) * v_row + inside[:, None] * v_row + d[None, :]
        value = tl.load(values, mask=real_t, other=0.0)
        acc = tl.dot(weight.to(value.dtype), value, acc, input_precision=PRECISION)
        highest = new
    # An unchanged maximum is returned as it is, without the rounding of two additions.
    return acc, total, tl.where(highest == moved, before, highest - lean)


@triton.jit
def forward(
    q, k, v, out, lse, cu_seqlens, plan, slopes, order, ranges, seed,
    q_row, q_head, k_row, k_head, v_row, v_head, rows_total, scale, dropout_p,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    SKIP: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute one tile of queries: `out` (rows_total, heads, SIZE), `lse` (heads, rows_total).

    The diagonal comes first, then tiles outwards, so that the running maximum is good early.
    """
    tile = tl.program_id(0)
    s = tl.load(plan + 2 * tile)
    if s < 0:
        return
    row = tl.load(plan + 2 * tile + 1)
    head = tl.load(order + tl.program_id(1))
    start, length, slope, count, low, high = _share(
        cu_seqlens, slopes, ranges, s, tile, head, BLOCK, SKIP
    )
    random = tl.load(seed) if DROPOUT else 0
    rows = row + tl.arange(0, ROWS)
    d = tl.arange(0, WIDTH)
    real = (rows < length)[:, None] & (d < SIZE)[None, :]
    first = start.to(tl.int64)
    at = q + (first + row) * q_row + head * q_head
    inside = tl.arange(0, ROWS)[:, None]
    query = tl.load(at + inside * q_row + d[None, :], mask=real, other=0.0)
    k += first * k_row + head * k_head
    v += first * v_row + head * v_head
    acc = tl.zeros([ROWS, WIDTH], tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    highest = tl.full([ROWS], -float("inf"), tl.float32)
    left = row // BLOCK
    right = tl.minimum((row + ROWS) // BLOCK, count)
    acc, total, highest = _walk(
        acc, total, highest, query, k, v, k_row, v_row, row, BLOCK, right - left, length,
        row, rows, slope, scale, random, head, start, dropout_p,
        0, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    acc, total, highest = _walk(
        acc, total, highest, query, k, v, k_row, v_row, row - BLOCK, -BLOCK, left - low, length,
        row, rows, slope, scale, random, head, start, dropout_p,
        -1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    # Only the last tile of a sequence can contain columns beyond its end.
    whole = tl.maximum(tl.minimum(high, length // BLOCK), right)
    acc, total, highest = _walk(
        acc, total, highest, query, k, v, k_row, v_row, right * BLOCK, BLOCK, whole - right,
        length, row, rows, slope, scale, random, head, start, dropout_p,
        1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    acc, total, highest = _walk(
        acc, total, highest, query, k, v, k_row, v_row, whole * BLOCK, BLOCK, high - whole,
        length, row, rows, slope, scale, random, head, start, dropout_p,
        1, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    heads = tl.num_programs(1)
    into = out + ((first + row) * heads + head) * SIZE + inside * heads * SIZE + d[None, :]
    tl.store(into, (acc / total[:, None]).to(out.dtype.element_ty), mask=real)
    into = lse + head.to(tl.int64) * rows_total + start + rows
    tl.store(into, highest + tl.log2(total), mask=rows < length)


@triton.jit
def _probability(score, slope, rows, columns, row_part, column_part, SIDE: tl.constexpr):
    """Return exp2 of scores, rows of queries or of keys; the bias is split as in `_walk`."""
    if SIDE == 0:
        score -= slope * tl.abs(rows[:, None] - columns[None, :]).to(tl.float32)
    return tl.exp2(score + row_part[:, None] + column_part[None, :])


@triton.jit
def _walk_queries(
    acc, query, grad, k, v, k_row, v_row, at, count, length, lse, delta, row, rows,
    slope, scale, seed, head, start, dropout_p,
    SIDE: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the gradient of queries from `count` tiles of keys from column `at`."""
    d = tl.arange(0, WIDTH)
    inside = tl.arange(0, BLOCK)
    edge, lean = _lean(row, rows, slope, SIDE)
    for i in range(0, count):
        first = at + i * BLOCK
        columns = first + inside
        real = (d < SIZE)[:, None]
        if MASKED:
            real = real & (columns < length)[None, :]
        keys = k + first.to(tl.int64) * k_row + inside[None, :] * k_row + d[:, None]
        key = tl.load(keys, mask=real, other=0.0)
        values = v + first.to(tl.int64) * v_row + inside[None, :] * v_row + d[:, None]
        value = tl.load(values, mask=real, other=0.0)
        score = tl.dot(query, key, input_precision=PRECISION) * scale
        column_part = -SIDE * slope * (columns - edge).to(tl.float32)
        if MASKED:
            column_part = tl.where(columns < length, column_part, -float("inf"))
        weight = _probability(score, slope, rows, columns, -lean - lse, column_part, SIDE)
        grad_weight = tl.dot(grad, value, input_precision=PRECISION)
        if DROPOUT:
            kept = _kept(seed, head, start + rows, columns, dropout_p)
            grad_weight = tl.where(kept, grad_weight / (1 - dropout_p), 0.0)
        grad_score = weight * (grad_weight - delta[:, None])
        acc = tl.dot(grad_score.to(key.dtype), tl.trans(key), acc, input_precision=PRECISION)
    return acc


@triton.jit
def backward_queries(
    q, k, v, grad_out, lse, delta, grad_q, cu_seqlens, plan, slopes, order, ranges, seed,
    q_row, q_head, k_row, k_head, v_row, v_head, g_row, g_head, rows_total, scale, dropout_p,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    SKIP: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of one tile of queries; `grad_q` is (rows_total, heads, SIZE)."""
    tile = tl.program_id(0)
    s = tl.load(plan + 2 * tile)
    if s < 0:
        return
    row = tl.load(plan + 2 * tile + 1)
    head = tl.load(order + tl.program_id(1))
    start, length, slope, count, low, high = _share(
        cu_seqlens, slopes, ranges, s, tile, head, BLOCK, SKIP
    )
    random = tl.load(seed) if DROPOUT else 0
    rows = row + tl.arange(0, ROWS)
    inside = tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, WIDTH)
    real = (rows < length)[:, None] & (d < SIZE)[None, :]
    first = start.to(tl.int64)
    at = q + (first + row) * q_row + head * q_head
    query = tl.load(at + inside * q_row + d[None, :], mask=real, other=0.0)
    at = grad_out + (first + row) * g_row + head * g_head
    grad = tl.load(at + inside * g_row + d[None, :], mask=real, other=0.0)
    at_row = head.to(tl.int64) * rows_total + start + rows
    my_lse = tl.load(lse + at_row, mask=rows < length, other=float("inf"))
    my_delta = tl.load(delta + at_row, mask=rows < length, other=0.0)
    k += first * k_row + head * k_head
    v += first * v_row + head * v_head
    acc = tl.zeros([ROWS, WIDTH], tl.float32)
    left = row // BLOCK
    right = tl.minimum((row + ROWS) // BLOCK, count)
    whole = tl.maximum(tl.minimum(high, length // BLOCK), right)
    acc = _walk_queries(
        acc, query, grad, k, v, k_row, v_row, low * BLOCK, left - low, length, my_lse, my_delta,
        row, rows, slope, scale, random, head, start, dropout_p,
        -1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    acc = _walk_queries(
        acc, query, grad, k, v, k_row, v_row, row, right - left, length, my_lse, my_delta,
        row, rows, slope, scale, random, head, start, dropout_p,
        0, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    acc = _walk_queries(
        acc, query, grad, k, v, k_row, v_row, right * BLOCK, whole - right, length, my_lse,
        my_delta, row, rows, slope, scale, random, head, start, dropout_p,
        1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    acc = _walk_queries(
        acc, query, grad, k, v, k_row, v_row, whole * BLOCK, high - whole, length, my_lse,
        my_delta, row, rows, slope, scale, random, head, start, dropout_p,
        1, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    heads = tl.num_programs(1)
    into = grad_q + ((first + row) * heads + head) * SIZE + inside * heads * SIZE + d[None, :]
    # The scale includes a factor of log2(e), which the derivative of exp2 cancels.
    acc = acc * (scale * 0.6931471805599453)
    tl.store(into, acc.to(grad_q.dtype.element_ty), mask=real)


@triton.jit
def _walk_keys(
    grad_key, grad_value, key, value, q, grad_out, lse, delta, q_row, g_row, at, count, length,
    row, rows, slope, scale, seed, head, start, dropout_p,
    SIDE: tl.constexpr, MASKED: tl.constexpr, DROPOUT: tl.constexpr,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the gradients of keys and values from `count` tiles of queries from column `at`.

    Scores are transposed here: a row is a key, a column is a query.
    """
    d = tl.arange(0, WIDTH)
    inside = tl.arange(0, BLOCK)
    edge, lean = _lean(row, rows, slope, SIDE)
    for i in range(0, count):
        first = at + i * BLOCK
        columns = first + inside
        real = (d < SIZE)[None, :]
        if MASKED:
            real = real & (columns < length)[:, None]
            my_lse = tl.load(lse + columns, mask=columns < length, other=float("inf"))
            my_delta = tl.load(delta + columns, mask=columns < length, other=0.0)
        else:
            my_lse = tl.load(lse + columns)
            my_delta = tl.load(delta + columns)
        queries = q + first.to(tl.int64) * q_row + inside[:, None] * q_row + d[None, :]
        query = tl.load(queries, mask=real, other=0.0)
        grads = grad_out + first.to(tl.int64) * g_row + inside[:, None] * g_row + d[None, :]
        grad = tl.load(grads, mask=real, other=0.0)
        score = tl.dot(key, tl.trans(query), input_precision=PRECISION) * scale
        column_part = -SIDE * slope * (columns - edge).to(tl.float32) - my_lse
        weight = _probability(score, slope, rows, columns, -lean, column_part, SIDE)
        grad_weight = tl.dot(value, tl.trans(grad), input_precision=PRECISION)
        dropped = weight
        if DROPOUT:
            kept = tl.trans(_kept(seed, head, start + columns, rows, dropout_p))
            dropped = tl.where(kept, weight / (1 - dropout_p), 0.0)
            grad_weight = tl.where(kept, grad_weight / (1 - dropout_p), 0.0)
        grad_value = tl.dot(dropped.to(grad.dtype), grad, grad_value, input_precision=PRECISION)
        grad_score = (weight * (grad_weight - my_delta[None, :])).to(query.dtype)
        grad_key = tl.dot(grad_score, query, grad_key, input_precision=PRECISION)
    return grad_key, grad_value


@triton.jit
def backward_keys(
    q, k, v, grad_out, lse, delta, grad_k, grad_v, cu_seqlens, plan, slopes, order, ranges, seed,
    q_row, q_head, k_row, k_head, v_row, v_head, g_row, g_head, rows_total, scale, dropout_p,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    SKIP: tl.constexpr, DROPOUT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of one tile of keys and values, both (rows_total, heads, SIZE)."""
    tile = tl.program_id(0)
    s = tl.load(plan + 2 * tile)
    if s < 0:
        return
    row = tl.load(plan + 2 * tile + 1)
    head = tl.load(order + tl.program_id(1))
    start, length, slope, count, low, high = _share(
        cu_seqlens, slopes, ranges, s, tile, head, BLOCK, SKIP
    )
    random = tl.load(seed) if DROPOUT else 0
    rows = row + tl.arange(0, ROWS)
    inside = tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, WIDTH)
    real = (rows < length)[:, None] & (d < SIZE)[None, :]
    first = start.to(tl.int64)
    at = k + (first + row) * k_row + head * k_head
    key = tl.load(at + inside * k_row + d[None, :], mask=real, other=0.0)
    at = v + (first + row) * v_row + head * v_head
    value = tl.load(at + inside * v_row + d[None, :], mask=real, other=0.0)
    q += first * q_row + head * q_head
    grad_out += first * g_row + head * g_head
    lse += head.to(tl.int64) * rows_total + start
    delta += head.to(tl.int64) * rows_total + start
    grad_key = tl.zeros([ROWS, WIDTH], tl.float32)
    grad_value = tl.zeros([ROWS, WIDTH], tl.float32)
    left = row // BLOCK
    right = tl.minimum((row + ROWS) // BLOCK, count)
    whole = tl.maximum(tl.minimum(high, length // BLOCK), right)
    grad_key, grad_value = _walk_keys(
        grad_key, grad_value, key, value, q, grad_out, lse, delta, q_row, g_row, low * BLOCK,
        left - low, length, row, rows, slope, scale, random, head, start, dropout_p,
        -1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    grad_key, grad_value = _walk_keys(
        grad_key, grad_value, key, value, q, grad_out, lse, delta, q_row, g_row, row,
        right - left, length, row, rows, slope, scale, random, head, start, dropout_p,
        0, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    grad_key, grad_value = _walk_keys(
        grad_key, grad_value, key, value, q, grad_out, lse, delta, q_row, g_row, right * BLOCK,
        whole - right, length, row, rows, slope, scale, random, head, start, dropout_p,
        1, False, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    grad_key, grad_value = _walk_keys(
        grad_key, grad_value, key, value, q, grad_out, lse, delta, q_row, g_row, whole * BLOCK,
        high - whole, length, row, rows, slope, scale, random, head, start, dropout_p,
        1, True, DROPOUT, SIZE, WIDTH, BLOCK, PRECISION,
    )  # fmt: skip
    heads = tl.num_programs(1)
    at = ((first + row) * heads + head) * SIZE + inside * heads * SIZE + d[None, :]
    grad_key = grad_key * (scale * 0.6931471805599453)
    tl.store(grad_k + at, grad_key.to(grad_k.dtype.element_ty), mask=real)
    tl.store(grad_v + at, grad_value.to(grad_v.dtype.element_ty), mask=real)
