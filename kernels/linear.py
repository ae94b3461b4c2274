"""The inner loops: products with rows of an input-major matrix, and their update.

A matrix W is flat, rows of ``stride`` elements: row i is the fan-out of input i. Rows are padded
with zeros to whole SIMD vectors, and so are the vectors that meet them, so there are no remainder
loops and the forward product needs no horizontal sums.

Functions work on a selection of rows: ``rows`` is an array of row numbers, or None for all rows in
order. Leaving out the rows of inputs that are zero changes no sum. Where there are columns
``start`` to ``stop``, they are whole vectors.
"""

from ._jit import jit
from .bits import pack_nonzeros
from .vectors import (
    add_totals,
    broadcast,
    broadcast_item,
    dots,
    fma,
    lanes,
    load,
    store,
    total,
    where_below,
    zeros,
)


@jit
def row_number(rows, j):
    """Number of the selection's row j."""
    return j if rows is None else rows[j]


@jit
def add_rows(W, rows, x, count, out, start, stop, stride):
    """Out[start:stop] += Σ_{j<count} x[j] W[rows[j], start:stop], in place."""
    # Rows of one vector are over before a call's arguments are in place.
    if stride == lanes(W):
        _add_rows_narrow(zeros(W, 1), W, rows, x, count, out, 0, stride)
    else:
        _add_rows(W, rows, x, count, out, start, stop, stride)


# Rows of this many vectors are read along, four at a time: a tile of columns would touch each row
# at a distance that no prefetcher follows.
WIDE = 64


@jit(inline=False)
def _add_rows(W, rows, x, count, out, start, stop, stride):
    v = lanes(W)
    if stride >= WIDE * v:
        _add_rows_along(W, rows, x, count, out, start, stop, stride)
        return
    k = start
    while k + 4 * v <= stop:
        _add_rows_wide(zeros(W, 4), W, rows, x, count, out, k, stride)
        k += 4 * v
    if k + 2 * v <= stop:
        _add_rows_narrow(zeros(W, 2), W, rows, x, count, out, k, stride)
        k += 2 * v
    if k < stop:
        _add_rows_narrow(zeros(W, 1), W, rows, x, count, out, k, stride)


@jit
def _add_rows_along(W, rows, x, count, out, start, stop, stride):
    v = lanes(W)
    zero = zeros(W, 1)
    j = 0
    while j < count:
        # Past the last row, the row before it is added 0 times.
        j1, j2, j3 = min(j + 1, count - 1), min(j + 2, count - 1), min(j + 3, count - 1)
        nothing = W.dtype.type(0)
        x0 = broadcast(zero, x[j])
        x1 = broadcast(zero, x[j1] if j + 1 < count else nothing)
        x2 = broadcast(zero, x[j2] if j + 2 < count else nothing)
        x3 = broadcast(zero, x[j3] if j + 3 < count else nothing)
        r0, r1 = row_number(rows, j) * stride, row_number(rows, j1) * stride
        r2, r3 = row_number(rows, j2) * stride, row_number(rows, j3) * stride
        k = start
        while k < stop:
            s0 = fma(x0, load(zero, W, r0 + k), load(zero, out, k))
            s1 = x1 * load(zero, W, r1 + k)
            s0 = fma(x2, load(zero, W, r2 + k), s0)
            s1 = fma(x3, load(zero, W, r3 + k), s1)
            store(out, k, s0 + s1)
            k += v
        j += 4


@jit
def _add_rows_wide(like, W, rows, x, count, out, k, stride):
    s0 = load(like, out, k)
    s1 = like
    j = 0
    while j + 2 <= count:
        r0 = row_number(rows, j) * stride + k
        r1 = row_number(rows, j + 1) * stride + k
        s0 = fma(broadcast_item(like, x, j), load(like, W, r0), s0)
        s1 = fma(broadcast_item(like, x, j + 1), load(like, W, r1), s1)
        j += 2
    if j < count:
        s0 = fma(broadcast_item(like, x, j), load(like, W, row_number(rows, j) * stride + k), s0)
    store(out, k, s0 + s1)


@jit
def _add_rows_narrow(like, W, rows, x, count, out, k, stride):
    # One vector's sum would wait for itself at every row: four sums do not.
    s0 = like
    s1 = like
    s2 = like
    s3 = like
    j = 0
    while j + 4 <= count:
        r0 = row_number(rows, j) * stride + k
        r1 = row_number(rows, j + 1) * stride + k
        r2 = row_number(rows, j + 2) * stride + k
        r3 = row_number(rows, j + 3) * stride + k
        s0 = fma(broadcast_item(like, x, j), load(like, W, r0), s0)
        s1 = fma(broadcast_item(like, x, j + 1), load(like, W, r1), s1)
        s2 = fma(broadcast_item(like, x, j + 2), load(like, W, r2), s2)
        s3 = fma(broadcast_item(like, x, j + 3), load(like, W, r3), s3)
        j += 4
    while j < count:
        s0 = fma(broadcast_item(like, x, j), load(like, W, row_number(rows, j) * stride + k), s0)
        j += 1
    store(out, k, load(like, out, k) + ((s0 + s1) + (s2 + s3)))


# Rows of W that stay in the second-level cache, as wide as a tile, while all rows of X pass.
PANEL = 128


@jit(inline=False)
def multiply_add(
    W, stride, X, n, across, along, m, base, base_stride, out, out_stride, start, stop, scale
):  # fmt: skip
    """Out[r, start:stop] = scale (base[r, start:stop] + Σ_j X[r, j] W[j, start:stop]).

    For r < m and j < n, n at least 1; X[r, j] is at r·across + j·along, so X may be transposed.
    The base may be ``out`` itself, or share nothing with it: such as a bias, one row for all, with
    base_stride = 0. Each element of W that has been loaded serves four rows of ``out`` where there
    are as many.
    """
    v = lanes(W)
    four, two, one = zeros(W, 4), zeros(W, 2), zeros(W, 1)
    panels = (n + PANEL - 1) // PANEL
    panel = (n + panels - 1) // panels
    for j in range(0, n, panel):
        count = min(panel, n - j)
        c = scale if j + count == n else W.dtype.type(1)
        for r in range(0, m - 1, 4):
            x, b, o, k = r * across + j * along, r * base_stride, r * out_stride, start
            w, left = j * stride, m - r
            while k + 2 * v <= stop:
                _multiply_add_four(
                    two, W, w + k, stride, X, x, across, along, count, base, b + k, base_stride,
                    out, o + k, out_stride, left, c,
                )  # fmt: skip
                k += 2 * v
            if k < stop:
                _multiply_add_four(
                    one, W, w + k, stride, X, x, across, along, count, base, b + k, base_stride,
                    out, o + k, out_stride, left, c,
                )  # fmt: skip
        if m % 4 == 1:
            r, w, k = m - 1, j * stride, start
            x, b, o = r * across + j * along, r * base_stride, r * out_stride
            # A vector's sum waits for itself at every row of W, unless others are taken meanwhile.
            while k + 4 * v <= stop:
                _multiply_add_one(
                    four, W, w + k, stride, X, x, along, count, base, b + k, out, o + k, c
                )
                k += 4 * v
            while k < stop:
                _multiply_add_one(
                    one, W, w + k, stride, X, x, along, count, base, b + k, out, o + k, c
                )
                k += v
        base, base_stride = out, out_stride  # what the panels so far have summed up


@jit
def _multiply_add_four(
    like, W, w, stride, X, x0, across, along, count, base, b0, base_stride, out, o0, out_stride,
    left, scale,
):  # fmt: skip
    # With two or three rows left, the last of them is computed again.
    third, fourth = int(left > 2), int(left > 3)
    x1, b1, o1 = x0 + across, b0 + base_stride, o0 + out_stride
    x2, b2, o2 = x1 + third * across, b1 + third * base_stride, o1 + third * out_stride
    x3, b3, o3 = x2 + fourth * across, b2 + fourth * base_stride, o2 + fourth * out_stride
    s0 = load(like, base, b0)
    s1 = load(like, base, b1)
    s2 = load(like, base, b2)
    s3 = load(like, base, b3)
    for _ in range(count):
        row = load(like, W, w)
        s0 = fma(broadcast_item(like, X, x0), row, s0)
        s1 = fma(broadcast_item(like, X, x1), row, s1)
        s2 = fma(broadcast_item(like, X, x2), row, s2)
        s3 = fma(broadcast_item(like, X, x3), row, s3)
        x0 += along
        x1 += along
        x2 += along
        x3 += along
        w += stride
    c = broadcast(like, scale)
    store(out, o0, c * s0)
    store(out, o1, c * s1)
    store(out, o2, c * s2)
    store(out, o3, c * s3)


@jit
def _multiply_add_one(like, W, w, stride, X, x, along, count, base, b, out, o, scale):
    s = load(like, base, b)
    for _ in range(count):
        s = fma(broadcast_item(like, X, x), load(like, W, w), s)
        x += along
        w += stride
    store(out, o, broadcast(like, scale) * s)


@jit
def add_dots(W, rows, first, last, delta, out, stride):
    """Out[j] += W[rows[j]] · delta for first ≤ j < last, in place.

    Rows of one vector are taken a vector of ``out`` at a time where they are not listed, and one by
    one after that: cut the rows at whole vectors, and every sum is rounded alike.
    """
    v = lanes(W)
    if stride == v:
        if rows is None:
            d = load(zeros(W, 1), delta, 0)
            while first + v <= last:
                store(out, first, load(d, out, first) + dots(W, first * v, d))
                first += v
        _add_dots(W, rows, first, last, delta, out, stride)
    else:
        _add_dots_called(W, rows, first, last, delta, out, stride)


@jit(inline=False)
def _add_dots_called(W, rows, first, last, delta, out, stride):
    _add_dots(W, rows, first, last, delta, out, stride)


@jit
def _add_dots(W, rows, first, last, delta, out, stride):
    v = lanes(W)
    zero = zeros(W, 1)
    j = first
    while j + 4 <= last:
        r0 = row_number(rows, j) * stride
        r1 = row_number(rows, j + 1) * stride
        r2 = row_number(rows, j + 2) * stride
        r3 = row_number(rows, j + 3) * stride
        s0 = zero
        s1 = zero
        s2 = zero
        s3 = zero
        k = 0
        while k < stride:
            d = load(zero, delta, k)
            s0 = fma(d, load(zero, W, r0 + k), s0)
            s1 = fma(d, load(zero, W, r1 + k), s1)
            s2 = fma(d, load(zero, W, r2 + k), s2)
            s3 = fma(d, load(zero, W, r3 + k), s3)
            k += v
        add_totals(s0, s1, s2, s3, out, j)
        j += 4
    while j < last:
        r0 = row_number(rows, j) * stride
        s0 = zero
        k = 0
        while k < stride:
            s0 = fma(load(zero, delta, k), load(zero, W, r0 + k), s0)
            k += v
        out[j] += total(s0)
        j += 1


@jit
def rank_one(W, rows, x, count, delta, stride, scale, decay):
    """W[rows[j]] ← decay·W[rows[j]] + scale·x[j] delta, in place."""
    if stride == lanes(W):
        _rank_one_tile(zeros(W, 1), W, rows, x, count, delta, 0, stride, scale, decay)
    else:
        _rank_one(W, rows, x, count, delta, stride, scale, decay)


@jit(inline=False)
def _rank_one(W, rows, x, count, delta, stride, scale, decay):
    v = lanes(W)
    if stride >= WIDE // 2 * v:  # what is written, too, needs fewer rows at a time
        for j in range(count):
            _rank_one_row(W, row_number(rows, j) * stride, x[j], delta, stride, scale, decay)
        return
    k = 0
    while k + 4 * v <= stride:
        _rank_one_tile(zeros(W, 4), W, rows, x, count, delta, k, stride, scale, decay)
        k += 4 * v
    if k + 2 * v <= stride:
        _rank_one_tile(zeros(W, 2), W, rows, x, count, delta, k, stride, scale, decay)
        k += 2 * v
    if k < stride:
        _rank_one_tile(zeros(W, 1), W, rows, x, count, delta, k, stride, scale, decay)


@jit
def _rank_one_row(W, r, x, delta, stride, scale, decay):
    v = lanes(W)
    zero = zeros(W, 1)
    s, keep, step = broadcast(zero, x), broadcast(zero, decay), broadcast(zero, scale)
    for k in range(0, stride, v):
        d = step * load(zero, delta, k)
        store(W, r + k, fma(s, d, keep * load(zero, W, r + k)))


@jit
def _rank_one_tile(like, W, rows, x, count, delta, k, stride, scale, decay):
    d = broadcast(like, scale) * load(like, delta, k)
    if decay == 1:
        for j in range(count):
            r = row_number(rows, j) * stride + k
            store(W, r, fma(broadcast_item(like, x, j), d, load(like, W, r)))
    else:
        keep = broadcast(like, decay)
        for j in range(count):
            r = row_number(rows, j) * stride + k
            store(W, r, fma(broadcast_item(like, x, j), d, keep * load(like, W, r)))


@jit
def rank_one_add_rows(W, x, next_x, n, delta, out, stride, scale, decay):
    """`rank_one`, then `add_rows` with ``next_x``, for all n rows.

    Rows of fewer than four vectors are updated and read in one pass, with the sums of `add_rows`.
    """
    v = lanes(W)
    if stride == v:
        _update_and_add(zeros(W, 1), W, x, next_x, n, delta, out, 0, stride, scale, decay)
    elif stride < 4 * v:
        _rank_one_add_rows(W, x, next_x, n, delta, out, stride, scale, decay)
    else:
        rank_one(W, None, x, n, delta, stride, scale, decay)
        add_rows(W, None, next_x, n, out, 0, stride, stride)


@jit(inline=False)
def _rank_one_add_rows(W, x, next_x, n, delta, out, stride, scale, decay):
    v = lanes(W)
    _update_and_add(zeros(W, 2), W, x, next_x, n, delta, out, 0, stride, scale, decay)
    if stride > 2 * v:
        _update_and_add(zeros(W, 1), W, x, next_x, n, delta, out, 2 * v, stride, scale, decay)


@jit
def _update_and_add(like, W, x, next_x, n, delta, out, k, stride, scale, decay):
    d = broadcast(like, scale) * load(like, delta, k)
    keep = broadcast(like, decay)
    s0 = like
    s1 = like
    s2 = like
    s3 = like
    j = 0
    r = k
    while j + 4 <= n:
        w = fma(broadcast_item(like, x, j), d, keep * load(like, W, r))
        store(W, r, w)
        s0 = fma(broadcast_item(like, next_x, j), w, s0)
        w = fma(broadcast_item(like, x, j + 1), d, keep * load(like, W, r + stride))
        store(W, r + stride, w)
        s1 = fma(broadcast_item(like, next_x, j + 1), w, s1)
        w = fma(broadcast_item(like, x, j + 2), d, keep * load(like, W, r + 2 * stride))
        store(W, r + 2 * stride, w)
        s2 = fma(broadcast_item(like, next_x, j + 2), w, s2)
        w = fma(broadcast_item(like, x, j + 3), d, keep * load(like, W, r + 3 * stride))
        store(W, r + 3 * stride, w)
        s3 = fma(broadcast_item(like, next_x, j + 3), w, s3)
        r += 4 * stride
        j += 4
    while j < n:
        w = fma(broadcast_item(like, x, j), d, keep * load(like, W, r))
        store(W, r, w)
        s0 = fma(broadcast_item(like, next_x, j), w, s0)
        r += stride
        j += 1
    store(out, k, load(like, out, k) + ((s0 + s1) + (s2 + s3)))


@jit
def add_scaled(scale, x, out, n):
    """Out[:n] += scale·x[:n], in place."""
    scaled_sum(scale, x, out, out, n)


@jit
def scaled_sum(scale, x, y, out, n):
    """Out[:n] = scale·x[:n] + y[:n], in place; without ``y`` if that is None."""
    v = lanes(out)
    zero = zeros(out, 1)
    s = broadcast(zero, scale)
    k = 0
    while k < n:
        store(out, k, fma(s, load(zero, x, k), zero if y is None else load(zero, y, k)))
        k += v


@jit
def scale_row(scale, D, start, n, stride):
    """D's row of n elements from ``start`` times ``scale``, in place; its padding becomes zero."""
    v = lanes(D)
    zero = zeros(D, 1)
    c = broadcast(zero, scale)
    for k in range(0, stride, v):
        store(D, start + k, where_below(n - k, c * load(zero, D, start + k), zero))


@jit
def add_row_sum(D, stride, m, c, out):
    """Out += c Σ_{t<m} of D's rows, in place."""
    v = lanes(out)
    zero = zeros(out, 1)
    for k in range(0, stride, v):
        s0, s1 = zero, zero
        t = k
        while t + stride < m * stride:
            s0 = s0 + load(zero, D, t)
            s1 = s1 + load(zero, D, t + stride)
            t += 2 * stride
        if t < m * stride:
            s0 = s0 + load(zero, D, t)
        store(out, k, fma(broadcast(zero, c), s0 + s1, load(zero, out, k)))


@jit
def times(x, y, out, n):
    """Out[:n] = x[:n] ⊙ y[:n], in place."""
    v = lanes(out)
    zero = zeros(out, 1)
    for k in range(0, n, v):
        store(out, k, load(zero, x, k) * load(zero, y, k))


@jit
def fill(out, value, start, stop):
    """Out[start:stop] = value, in place."""
    v = lanes(out)
    x = broadcast(zeros(out, 1), value)
    k = start
    while k < stop:
        store(out, k, x)
        k += v


@jit
def nonzeros(a, start, stop, rows, x):
    """Places and values of what is not zero in a[start:stop], into ``rows`` and ``x``; how many."""
    v = lanes(a)
    zero = zeros(a, 1)
    count = 0
    k = start
    while k + v <= stop:
        count = pack_nonzeros(load(zero, a, k), k, rows, x, count)
        k += v
    while k < stop:
        if a[k] != 0:
            rows[count] = k
            x[count] = a[k]
            count += 1
        k += 1
    return count


@jit
def copy(x, out, n):
    """Out[:n] = x[:n], in place."""
    v = lanes(out)
    zero = zeros(out, 1)
    k = 0
    while k + v <= n:
        store(out, k, load(zero, x, k))
        k += v
    while k < n:
        out[k] = x[k]
        k += 1
