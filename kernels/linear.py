"""The inner loops: products with rows of an input-major matrix, and their update.

A matrix W has rows of whole SIMD vectors: row i is the fan-out of input i. Rows are padded with
zeros, and so are the vectors that meet them, so there are no remainder loops and the forward
product needs no horizontal sums. Where there are columns ``start`` to ``stop``, they are whole
vectors.

What multiplies the rows are `Entries`: all entries of a vector, or a list of those that are not
zero. Leaving out a zero changes no sum.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .bits import pack_nonzeros
from .memory import no_places, window
from .packing import Reals
from .tiles import (
    STRIP_ROWS,
    STRIP_VECTORS,
    TURNED_BYTES,
    Rows,
    few_rows,
    many_rows,
    strip_room,
    tile_rows,
    tile_vectors,
    turned_room,
)
from .vectors import (
    add_totals,
    broadcast,
    broadcast_item,
    dots,
    fma,
    lanes,
    length,
    load,
    store,
    total,
    transpose,
    where_below,
    zeros,
)
from .views import Matrix, matrix, shifted, transposed


class Entries(NamedTuple):
    """Entries of a vector."""

    places: NDArray[np.int32]  # where they stand; empty for the first n in order
    x: Reals
    n: int  # how many they are


@jit(inline="early")
def all_entries(x, n):
    """The first n entries of x, zeros included."""
    return Entries(no_places(), x, n)


@jit
def place_of(entries, j):
    """Where entry j stands."""
    return entries.places[j] if len(entries.places) > 0 else j


@jit
def add_rows(W, entries, out, start, stop):
    """out[start:stop] += Σ_j x[j] W[places[j], start:stop], in place."""
    # Rows of one vector take less time than passing the arguments of a call.
    if W.across == lanes(W.data):
        _add_rows_narrow(zeros(W.data, 1), W, entries, out, 0)
    else:
        _add_rows(W, entries, out, start, stop)


# Rows of at least this many vectors are read along their length, four rows at a time: reading them
# by tiles of columns would jump by distances that no hardware prefetcher follows.
WIDE = 64


@jit(inline=False)
def _add_rows(W, entries, out, start, stop):
    v = lanes(W.data)
    if W.across >= WIDE * v:
        _add_rows_along(W, entries, out, start, stop)
        return
    k = start
    while k + 4 * v <= stop:
        _add_rows_wide(zeros(W.data, 4), W, entries, out, k)
        k += 4 * v
    if k + 2 * v <= stop:
        _add_rows_narrow(zeros(W.data, 2), W, entries, out, k)
        k += 2 * v
    if k < stop:
        _add_rows_narrow(zeros(W.data, 1), W, entries, out, k)


@jit
def _add_rows_along(W, entries, out, start, stop):
    x, count, v = entries.x, entries.n, lanes(W.data)
    zero, nothing = zeros(W.data, 1), W.data.dtype.type(0)
    j = 0
    while j < count:
        # In place of rows past the last one, the last row is added with a factor of 0.
        j1, j2, j3 = min(j + 1, count - 1), min(j + 2, count - 1), min(j + 3, count - 1)
        x0 = broadcast(zero, x[j])
        x1 = broadcast(zero, x[j1] if j + 1 < count else nothing)
        x2 = broadcast(zero, x[j2] if j + 2 < count else nothing)
        x3 = broadcast(zero, x[j3] if j + 3 < count else nothing)
        r0, r1 = place_of(entries, j) * W.across, place_of(entries, j1) * W.across
        r2, r3 = place_of(entries, j2) * W.across, place_of(entries, j3) * W.across
        k = start
        while k < stop:
            s0 = fma(x0, load(zero, W.data, r0 + k), load(zero, out, k))
            s1 = x1 * load(zero, W.data, r1 + k)
            s0 = fma(x2, load(zero, W.data, r2 + k), s0)
            s1 = fma(x3, load(zero, W.data, r3 + k), s1)
            store(out, k, s0 + s1)
            k += v
        j += 4


@jit
def _times_row(like, W, entries, j, k, s):
    """s plus a few vectors, from column k on, of entry j times its row."""
    row = load(like, W.data, place_of(entries, j) * W.across + k)
    return fma(broadcast_item(like, entries.x, j), row, s)


@jit
def _add_rows_wide(like, W, entries, out, k):
    s0 = load(like, out, k)
    s1 = like
    j = 0
    while j + 2 <= entries.n:
        s0 = _times_row(like, W, entries, j, k, s0)
        s1 = _times_row(like, W, entries, j + 1, k, s1)
        j += 2
    if j < entries.n:
        s0 = _times_row(like, W, entries, j, k, s0)
    store(out, k, s0 + s1)


@jit
def _add_rows_narrow(like, W, entries, out, k):
    # A single sum would wait for the previous addition at every row; four sums take turns.
    s0 = like
    s1 = like
    s2 = like
    s3 = like
    j = 0
    while j + 4 <= entries.n:
        s0 = _times_row(like, W, entries, j, k, s0)
        s1 = _times_row(like, W, entries, j + 1, k, s1)
        s2 = _times_row(like, W, entries, j + 2, k, s2)
        s3 = _times_row(like, W, entries, j + 3, k, s3)
        j += 4
    while j < entries.n:
        s0 = _times_row(like, W, entries, j, k, s0)
        j += 1
    store(out, k, load(like, out, k) + ((s0 + s1) + (s2 + s3)))


# `multiply_add` copies strips of W to be contiguous for at least this many rows of X: where rows of
# W are powers of two apart, few of them fit the nearest cache at a time.
_COPIED_ROWS = 64
# Bytes of the result that are computed at a time: each panel of W reads and writes them again, so
# they stay in the second-level cache.
_BLOCK_BYTES = 640 * 1024
# A transposed X is turned, a panel at a time, for results of at least so many vectors: tiles meet
# their rows of X on lines, and pages, of their own.
_TURNED_VECTORS = 12


@jit(inline=False)
def multiply_add(W, X, base, out, m, n, width, scale):
    """out = scale (base + X W): m rows of ``width`` columns, n being the rows of W, at least 1.

    W and X may be transposed, and W then ends with its last column; otherwise rows are whole
    vectors. ``base`` must be ``out`` itself or not overlap it; if its rows are 0 apart it is one
    row for all, such as a bias. A strip of W, a few vectors of its rows, stays in the nearest cache
    while all rows of X pass.
    """
    strip, block = STRIP_VECTORS * lanes(W.data), width
    if n > STRIP_ROWS:
        block = max(1, _BLOCK_BYTES // (m * strip * W.data.itemsize)) * strip
    for k in range(0, width, block):
        w, b, o = shifted(W, k * W.along), shifted(base, k), shifted(out, k)
        _multiply_block(w, X, b, o, m, n, min(block, width - k), scale)


@jit
def _multiply_block(W, X, base, out, m, n, width, scale):
    """`multiply_add` of so few columns that the result stays in the second-level cache."""
    v, one = lanes(W.data), zeros(W.data, 1)
    room, turned = strip_room(W.data), turned_room(W.data)
    panels = (n + STRIP_ROWS - 1) // STRIP_ROWS
    # In whole vectors, which is what a transposed W is read by.
    panel = ((n + panels - 1) // panels + v - 1) // v * v
    for j in range(0, n, panel):
        count = min(panel, n - j)
        c = scale if j + count == n else W.data.dtype.type(1)
        w, x, k = shifted(W, j * W.across), shifted(X, j * X.along), 0
        if m == 1 and W.along == 1:
            # A sum waits for its previous addition at every row of W: four are taken in turns.
            while k + 4 * v <= width:
                like = zeros(W.data, 4)
                _one_row(like, shifted(w, k), x, shifted(base, k), shifted(out, k), count, c)
                k += 4 * v
            while k < width:
                _one_row(one, shifted(w, k), x, shifted(base, k), shifted(out, k), count, c)
                k += v
        step = tile_rows(W.data) * X.across
        is_few = m * count * W.data.itemsize <= TURNED_BYTES
        if X.along != 1 and width >= _TURNED_VECTORS * v and is_few:
            x, step = _turned_rows(x, m, count, turned), tile_rows(W.data) * count
        while k < width:
            left = (width - k) // v
            w_k = shifted(w, k * W.along)
            strip = Strip(w_k, x, step, shifted(base, k), shifted(out, k), room)
            if tile_vectors(W.data) == 3 and (left == 3 or left > 4):
                k += _multiply_strip(zeros(W.data, 3), strip, m, count, c)
            elif tile_vectors(W.data) == 3 and left > 1:
                k += _multiply_strip(zeros(W.data, 2), strip, m, count, c)
            else:
                k += _multiply_strip(one, strip, m, count, c)
        base = out  # the next panel adds to the sums so far


@jit
def _turned_rows(X, m, count, out):
    """Copy m rows of a transposed X so that what a tile reads is contiguous."""
    height, place = tile_rows(out), 0
    for r in range(0, m, height):
        for k in range(count):
            copy_whole(X.data, X.place + r + k * X.along, out, place, min(height, m - r))
            place += height
    return Matrix(out, 0, 1, height)


class Strip(NamedTuple):
    """A few columns of `multiply_add`."""

    W: Matrix
    X: Matrix
    step: int  # from a tile's rows of X to the next tile's
    base: Matrix
    out: Matrix
    room: Reals  # for a copy of W


@jit
def _multiply_strip(like, strip, m, count, scale):
    """`multiply_add` of as many columns as ``like`` has, for ``count`` rows of W; how many."""
    W, X, step, base, out, room = strip
    v, height, width = lanes(W.data), tile_rows(W.data), length(like)
    following, along = shifted(W, width * W.along), width  # the next strip, whose rows are so long
    if W.along != 1:
        following, along = transposed(following), count
        _turn_columns(W, count, width, room)
        W = matrix(room, width)
    elif m >= _COPIED_ROWS:
        _copy_rows(like, W, count, room)
        W = matrix(room, width)
    r = k = top = 0
    while r < m:
        # A tile asks for lines, one for each row of W: of the next strip first, then of its sums.
        ahead = shifted(following, k)
        if k + v < along:
            k += v
        elif top + count <= m:
            following, along, k = shifted(out, top * out.across + width), width, 0
            top += count
        b, o = _row(base, r), _row(out, r)
        if m - r > 4:
            many_rows(like, W, X, b, o, ahead, Rows(count, m - r, scale))
            r += height
        else:
            few_rows(like, W, X, b, o, ahead, Rows(count, m - r, scale))
            r += 4
        X = shifted(X, step)
    return width


@jit
def _copy_rows(like, W, count, out):
    """Copy as many columns of W as ``like`` has to a contiguous ``out``."""
    zero, w, o = zeros(out, 1), W.place, 0
    for _ in range(count):
        for k in range(0, length(like), lanes(out)):
            store(out, o + k, load(zero, W.data, w + k))
        w += W.across
        o += length(like)


@jit(inline=False)
def _turn_columns(W, count, width, out):
    """`_copy_rows` of a transposed W, whose columns are rows in memory; those it lacks are 0."""
    v = lanes(out)
    left = (len(W.data) - W.place + W.along - 1) // W.along
    for first in range(0, width, v):
        w = W.place + first * W.along
        if first + v <= left:
            for k in range(0, count, v):
                transpose(W.data, w + k, W.along, out, k * width + first, width)
        else:
            for k in range(count):
                for i in range(first, first + v):
                    x = W.data[W.place + i * W.along + k] if i < left else out.dtype.type(0)
                    out[k * width + i] = x


@jit(inline="early")
def _row(M, r):
    return shifted(M, r * M.across)


@jit
def _one_row(like, W, X, base, out, count, scale):
    s = load(like, base.data, base.place)
    w, x = W.place, X.place
    for _ in range(count):
        s = fma(broadcast_item(like, X.data, x), load(like, W.data, w), s)
        x += X.along
        w += W.across
    store(out.data, out.place, broadcast(like, scale) * s)


@jit
def add_dots(W, places, first, last, delta, out):
    """out[j] += W[places[j]] · delta for first ≤ j < last, in place; no places means W[j].

    If rows are one vector long and not listed, a vector of ``out`` is computed at a time, and the
    rest row by row, which rounds differently: threads must share the rows by whole vectors.
    """
    v = lanes(W.data)
    if W.across == v:
        if len(places) == 0:
            d = load(zeros(W.data, 1), delta, 0)
            while first + v <= last:
                store(out, first, load(d, out, first) + dots(W.data, first * v, d))
                first += v
        _add_dots(W, places, first, last, delta, out)
    else:
        _add_dots_called(W, places, first, last, delta, out)


@jit(inline=False)
def _add_dots_called(W, places, first, last, delta, out):
    _add_dots(W, places, first, last, delta, out)


@jit
def _add_dots(W, places, first, last, delta, out):
    v, data = lanes(W.data), W.data
    zero = zeros(data, 1)
    rows = Entries(places, out, last)
    j = first
    while j + 4 <= last:
        r0, r1 = place_of(rows, j) * W.across, place_of(rows, j + 1) * W.across
        r2, r3 = place_of(rows, j + 2) * W.across, place_of(rows, j + 3) * W.across
        s0 = zero
        s1 = zero
        s2 = zero
        s3 = zero
        k = 0
        while k < W.across:
            d = load(zero, delta, k)
            s0 = fma(d, load(zero, data, r0 + k), s0)
            s1 = fma(d, load(zero, data, r1 + k), s1)
            s2 = fma(d, load(zero, data, r2 + k), s2)
            s3 = fma(d, load(zero, data, r3 + k), s3)
            k += v
        add_totals(s0, s1, s2, s3, out, j)
        j += 4
    while j < last:
        r0 = place_of(rows, j) * W.across
        s0 = zero
        k = 0
        while k < W.across:
            s0 = fma(load(zero, delta, k), load(zero, data, r0 + k), s0)
            k += v
        out[j] += total(s0)
        j += 1


class Term(NamedTuple):
    """A sample's update of weights: W ← decay·W + scale·x δᵀ."""

    delta: Reals
    scale: float
    decay: float


@jit
def rank_one(W, entries, term):
    """W[places[j]] ← decay·W[places[j]] + scale·x[j] δ, in place."""
    if W.across == lanes(W.data):
        _rank_one_tile(zeros(W.data, 1), W, entries, term, 0)
    else:
        _rank_one(W, entries, term)


@jit(inline=False)
def _rank_one(W, entries, term):
    v = lanes(W.data)
    if W.across >= WIDE // 2 * v:  # rows are written as well as read: switch at half the width
        for j in range(entries.n):
            _rank_one_row(W, place_of(entries, j) * W.across, entries.x[j], term)
        return
    k = 0
    while k + 4 * v <= W.across:
        _rank_one_tile(zeros(W.data, 4), W, entries, term, k)
        k += 4 * v
    if k + 2 * v <= W.across:
        _rank_one_tile(zeros(W.data, 2), W, entries, term, k)
        k += 2 * v
    if k < W.across:
        _rank_one_tile(zeros(W.data, 1), W, entries, term, k)


@jit
def _rank_one_row(W, r, x, term):
    zero = zeros(W.data, 1)
    s, keep, step = broadcast(zero, x), broadcast(zero, term.decay), broadcast(zero, term.scale)
    for k in range(0, W.across, lanes(W.data)):
        d = step * load(zero, term.delta, k)
        store(W.data, r + k, fma(s, d, keep * load(zero, W.data, r + k)))


@jit
def _rank_one_tile(like, W, entries, term, k):
    d = broadcast(like, term.scale) * load(like, term.delta, k)
    if term.decay == 1:
        for j in range(entries.n):
            r = place_of(entries, j) * W.across + k
            store(W.data, r, fma(broadcast_item(like, entries.x, j), d, load(like, W.data, r)))
    else:
        keep = broadcast(like, term.decay)
        for j in range(entries.n):
            r = place_of(entries, j) * W.across + k
            kept = keep * load(like, W.data, r)
            store(W.data, r, fma(broadcast_item(like, entries.x, j), d, kept))


@jit
def rank_one_add_rows(W, x, next_x, n, term, out):
    """`rank_one`, then `add_rows` with ``next_x``, for all n rows.

    Rows of fewer than four vectors are updated and read in one pass, with the sums of `add_rows`.
    """
    v = lanes(W.data)
    if W.across == v:
        _update_and_add(zeros(W.data, 1), W, x, next_x, n, term, out, 0)
    elif W.across < 4 * v:
        _rank_one_add_rows(W, x, next_x, n, term, out)
    else:
        rank_one(W, all_entries(x, n), term)
        add_rows(W, all_entries(next_x, n), out, 0, W.across)


@jit(inline=False)
def _rank_one_add_rows(W, x, next_x, n, term, out):
    v = lanes(W.data)
    _update_and_add(zeros(W.data, 2), W, x, next_x, n, term, out, 0)
    if W.across > 2 * v:
        _update_and_add(zeros(W.data, 1), W, x, next_x, n, term, out, 2 * v)


@jit
def _update_and_add(like, W, x, next_x, n, term, out, k):
    d = broadcast(like, term.scale) * load(like, term.delta, k)
    keep = broadcast(like, term.decay)
    data, stride = W.data, W.across
    s0 = like
    s1 = like
    s2 = like
    s3 = like
    j = 0
    r = k
    while j + 4 <= n:
        w = fma(broadcast_item(like, x, j), d, keep * load(like, data, r))
        store(data, r, w)
        s0 = fma(broadcast_item(like, next_x, j), w, s0)
        w = fma(broadcast_item(like, x, j + 1), d, keep * load(like, data, r + stride))
        store(data, r + stride, w)
        s1 = fma(broadcast_item(like, next_x, j + 1), w, s1)
        w = fma(broadcast_item(like, x, j + 2), d, keep * load(like, data, r + 2 * stride))
        store(data, r + 2 * stride, w)
        s2 = fma(broadcast_item(like, next_x, j + 2), w, s2)
        w = fma(broadcast_item(like, x, j + 3), d, keep * load(like, data, r + 3 * stride))
        store(data, r + 3 * stride, w)
        s3 = fma(broadcast_item(like, next_x, j + 3), w, s3)
        r += 4 * stride
        j += 4
    while j < n:
        w = fma(broadcast_item(like, x, j), d, keep * load(like, data, r))
        store(data, r, w)
        s0 = fma(broadcast_item(like, next_x, j), w, s0)
        r += stride
        j += 1
    store(out, k, load(like, out, k) + ((s0 + s1) + (s2 + s3)))


@jit
def add_scaled(scale, x, out, n):
    """out[:n] += scale·x[:n], in place."""
    scaled_sum(scale, x, out, out, n)


@jit
def scaled_sum(scale, x, y, out, n):
    """out[:n] = scale·x[:n] + y[:n], in place."""
    zero = zeros(out, 1)
    s = broadcast(zero, scale)
    for k in range(0, n, lanes(out)):
        store(out, k, fma(s, load(zero, x, k), load(zero, y, k)))


@jit
def scaled(scale, x, out, n):
    """out[:n] = scale·x[:n], in place."""
    zero = zeros(out, 1)
    s = broadcast(zero, scale)
    for k in range(0, n, lanes(out)):
        store(out, k, s * load(zero, x, k))


@jit
def scale_row(scale, d, n):
    """Scale a row of n elements, in place; what pads it becomes zero."""
    zero = zeros(d, 1)
    c = broadcast(zero, scale)
    for k in range(0, len(d), lanes(d)):
        store(d, k, where_below(n - k, c * load(zero, d, k), zero))


@jit
def add_row_sum(D, m, c, out):
    """out += c Σ_{t<m} of D's rows, in place."""
    stride, zero = D.across, zeros(out, 1)
    for k in range(0, stride, lanes(out)):
        s0, s1 = zero, zero
        t = k
        while t + stride < m * stride:
            s0 = s0 + load(zero, D.data, t)
            s1 = s1 + load(zero, D.data, t + stride)
            t += 2 * stride
        if t < m * stride:
            s0 = s0 + load(zero, D.data, t)
        store(out, k, fma(broadcast(zero, c), s0 + s1, load(zero, out, k)))


@jit
def times(x, y, out, n):
    """out[:n] = x[:n] ⊙ y[:n], in place."""
    zero = zeros(out, 1)
    for k in range(0, n, lanes(out)):
        store(out, k, load(zero, x, k) * load(zero, y, k))


@jit
def fill(out, value, start, stop):
    """out[start:stop] = value, in place."""
    x = broadcast(zeros(out, 1), value)
    for k in range(start, stop, lanes(out)):
        store(out, k, x)


@jit
def nonzeros(a, start, stop, places, x):
    """Write places and values of the non-zeros in a[start:stop] to ``places`` and x; count them."""
    v = lanes(a)
    zero = zeros(a, 1)
    count = 0
    k = start
    while k + v <= stop:
        count = pack_nonzeros(load(zero, a, k), k, places, x, count)
        k += v
    while k < stop:
        if a[k] != 0:
            places[count] = k
            x[count] = a[k]
            count += 1
        k += 1
    return count


@jit
def copy_whole(x, start, out, place, n):
    """Copy n elements of x, and perhaps some of those behind them, up to a whole vector."""
    v, zero = lanes(out), zeros(out, 1)
    k = 0
    while k < n and start + k + v <= len(x):
        store(out, place + k, load(zero, x, start + k))
        k += v
    while k < n:
        out[place + k] = x[start + k]
        k += 1


@jit
def copy(x, out, n):
    """out[:n] = x[:n], in place."""
    v = lanes(out)
    zero = zeros(out, 1)
    k = 0
    while k + v <= n:
        store(out, k, load(zero, x, k))
        k += v
    while k < n:
        out[k] = x[k]
        k += 1


@jit
def copy_rows(A, stride, out, n, m):
    """The first n elements of each of m rows of A, ``stride`` apart, to ``out``, without gaps."""
    v, zero = lanes(out), zeros(out, 1)
    for t in range(m):
        for k in range(0, n, v):
            if t * n + k + v <= m * n:  # what is beyond the row's end, the next row overwrites
                store(out, t * n + k, load(zero, A, t * stride + k))
            else:
                copy(window(A, t * stride + k, n - k), window(out, t * n + k, n - k), min(v, n - k))
