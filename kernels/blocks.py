"""The products with a layer's weights, in parts that do not depend on each other, on all threads.

Over a block of samples they are matrix products: what is known before its first sample
(`open_tile`: Wᵀx and x_s · x_t of the first layer) and what is left to do after its last
(`close_tile`: the deferred terms of W). `forward_tile` and `backward_rows` are those of one
sample. Each element is computed in one part, in one order, so the number of threads changes no
bit of a result; and threads take the same tiles each time, so that a tile of weights stays in the
cache of one core.

They take arrays and numbers, not the named tuples: each array that reaches a parallel loop is paid
for at every launch, and in seconds of compilation.
"""

from numba import prange

from ._jit import jit
from .bits import lowest_bit, nonzero_lanes
from .linear import WIDE, add_dots, add_rows, copy, fill, multiply_add, nonzeros
from .memory import matrix_rows, window
from .samples import row_at
from .vectors import broadcast, broadcast_item, fma, lanes, load, store, zeros

ALL = -1  # instead of a tile's number: every column


@jit
def tile_width(stride, like):
    """Columns of a tile: as many as stay in registers, more of a wide layer, all of a narrow."""
    v = lanes(like)
    if stride >= WIDE * v:
        return 16 * v
    return 4 * v if stride >= 8 * v else stride


@jit
def tile_columns(stride, like, tile):
    """First column of a tile, and the one after its last."""
    if tile == ALL:
        return 0, stride
    start = tile * tile_width(stride, like)
    return start, min(start + tile_width(stride, like), stride)


@jit
def n_tiles(stride, like):
    """Number of tiles of a layer."""
    width = tile_width(stride, like)
    return (stride + width - 1) // width


@jit(inline=False)
def read_inputs(X, row, t, sparse, A, rows, x, counts, n_0, room):
    """Inputs of the block's sample t: row t of A, or a list of what is not zero."""
    if sparse:
        start = t * room
        counts[t] = nonzeros(
            matrix_rows(X, row, 1), 0, n_0, window(rows, start, room), window(x, start, room)
        )
    else:
        copy(matrix_rows(X, row, 1), window(A, t * room, n_0), n_0)


@jit
def scatter_inputs(A, rows, x, counts, n, room, width):
    """Rows of A, one per input, from the lists of the block's n samples."""
    fill(A, A.dtype.type(0), 0, room * width)
    for t in range(n):
        start = t * room
        for j in range(counts[t]):
            A[rows[start + j] * width + t] = x[start + j]


@jit(inline=False)
def open_tile(
    W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tile, tiles
):  # fmt: skip
    """A tile of Z = X W, and a share of G = X Xᵀ below the diagonal, for n samples."""
    T = W.dtype.type
    start, stop = tile_columns(stride, W, tile)
    for t in range(n):
        fill(window(Z, t * stride, stride), T(0), start, stop)
    if not sparse:
        multiply_add(W, stride, A, n_0, room, 1, n, Z, stride, Z, stride, start, stop, T(1))
        for t in range(tile, n, tiles):
            g = window(G, t * width, width)
            fill(g, T(0), 0, width)
            add_dots(A, None, 0, t, window(A, t * room, room), g, room)
        return
    for t in range(n):
        z = window(Z, t * stride, stride)
        numbers, values = window(rows, t * room, room), window(x, t * room, room)
        add_rows(W, numbers, values, counts[t], z, start, stop, stride)
    columns = 0  # whole vectors of the row that hold what lies below the diagonal
    for t in range(tile, n, tiles):
        while columns < t:
            columns += lanes(W)
        g = window(G, t * width, width)
        fill(g, T(0), 0, columns)
        numbers, values = window(rows, t * room, room), window(x, t * room, room)
        add_rows(A, numbers, values, counts[t], g, 0, columns, width)


@jit(inline=False)
def close_tile(W, A, D, sparse, n, c, n_in, stride, room, width, tile):
    """W ← c (W + Σ_s a_s d_sᵀ), a tile of its columns, for n samples."""
    start, stop = tile_columns(stride, W, tile)
    if not sparse:
        multiply_add(D, stride, A, n, 1, room, n_in, W, stride, W, stride, start, stop, c)
        return
    add_marked(W, A, D, n_in, n, c, start, stop, stride, width)


@jit
def add_marked(W, A, D, n_in, n, c, start, stop, stride, width):
    """Columns start to stop of W ← c (W + Σ_s a_s d_sᵀ) for n ≤ 64 samples, without their zeros."""
    v = lanes(W)
    k = start
    while k + 4 * v <= stop:
        _add_marked(zeros(W, 4), W, A, D, n_in, n, c, k, stride, width)
        k += 4 * v
    while k < stop:
        _add_marked(zeros(W, 1), W, A, D, n_in, n, c, k, stride, width)
        k += v


@jit
def _add_marked(like, W, A, D, n_in, n, c, k, stride, width):
    """`add_marked` of a few vectors; row i of A, ``width`` long, has input i of each sample."""
    v = lanes(W)
    zero = zeros(W, 1)
    scale = broadcast(like, c)
    for i in range(n_in):
        a = i * width
        samples = 0  # a bit for each whose input i is not zero
        s = 0
        while s < n:
            samples |= nonzero_lanes(load(zero, A, a + s)) << s
            s += v
        if samples == 0 and c == 1:
            continue
        w = load(like, W, i * stride + k)
        while samples != 0:
            s = lowest_bit(samples)
            w = fma(broadcast_item(like, A, a + s), load(like, D, s * stride + k), w)
            samples &= samples - 1
        store(W, i * stride + k, scale * w)


@jit(inline=False)
def forward_tile(W, rows, values, x, count, sparse, z, stride, tile):
    """Z = Wᵀa, a tile of its columns; the inputs are a list, or all of ``x``."""
    start, stop = tile_columns(stride, W, tile)
    fill(z, z.dtype.type(0), start, stop)
    if sparse:
        add_rows(W, rows, values, count, z, start, stop, stride)
    else:
        add_rows(W, None, x, count, z, start, stop, stride)


@jit(inline=False)
def backward_rows(W, rows, first, last, sparse, δ, out, stride):
    """Out += W δ, for rows first to last of those listed, or of all."""
    if sparse:
        add_dots(W, rows, first, last, δ, out, stride)
    else:
        add_dots(W, None, first, last, δ, out, stride)


@jit(inline=False, parallel=True)
def _read_on_threads(X, order, first, n, sparse, A, rows, x, counts, n_0, room):
    for t in prange(n):
        read_inputs(X, row_at(order, first + t), t, sparse, A, rows, x, counts, n_0, room)


@jit(inline=False, parallel=True)
def _open_on_threads(
    W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tiles
):  # fmt: skip
    for tile in prange(tiles):
        open_tile(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tile, tiles)


@jit(inline=False, parallel=True)
def _close_on_threads(W, A, D, sparse, n, c, n_in, stride, room, width, tiles):
    for tile in prange(tiles):
        close_tile(W, A, D, sparse, n, c, n_in, stride, room, width, tile)


@jit(inline=False, parallel=True)
def _forward_on_threads(W, rows, values, x, count, sparse, z, stride, tiles):
    for tile in prange(tiles):
        forward_tile(W, rows, values, x, count, sparse, z, stride, tile)


@jit(inline=False, parallel=True)
def _backward_on_threads(W, rows, count, sparse, δ, out, stride, threads):
    # Whole vectors of ``out``, for `add_dots` sums them apart from single elements.
    v = lanes(W)
    share = (count + threads * v - 1) // (threads * v) * v
    for part in prange(threads):
        first = part * share
        backward_rows(W, rows, first, min(first + share, count), sparse, δ, out, stride)


@jit
def _read_alone(X, order, first, n, sparse, A, rows, x, counts, n_0, room):
    for t in range(n):
        read_inputs(X, row_at(order, first + t), t, sparse, A, rows, x, counts, n_0, room)


@jit(inline=False)
def _open_alone(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tiles):
    for tile in range(tiles):
        open_tile(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tile, tiles)


@jit(inline=False)
def _close_alone(W, A, D, sparse, n, c, n_in, stride, room, width, tiles):
    for tile in range(tiles):
        close_tile(W, A, D, sparse, n, c, n_in, stride, room, width, tile)


# Where ``threads`` is None, the parallel loops are not even compiled: they take most of the time.


@jit
def read_block(X, order, first, n, sparse, A, rows, x, counts, n_0, room, threads):
    """`read_inputs` of the pass's samples first to first + n."""
    if threads is None:
        _read_alone(X, order, first, n, sparse, A, rows, x, counts, n_0, room)
    elif threads[0] > 1:
        _read_on_threads(X, order, first, n, sparse, A, rows, x, counts, n_0, room)
    else:
        _read_alone(X, order, first, n, sparse, A, rows, x, counts, n_0, room)


@jit
def open_products(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, threads):
    """`open_tile` of every tile."""
    tiles = n_tiles(stride, W)
    if threads is None:
        _open_alone(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tiles)
    elif threads[0] > 1:
        _open_on_threads(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tiles)
    else:
        _open_alone(W, A, Z, G, rows, x, counts, sparse, n, n_0, stride, room, width, tiles)


@jit
def close_products(W, A, D, sparse, n, c, n_in, stride, room, width, threads, l):
    """`close_tile` of every tile."""
    tiles = n_tiles(stride, W)
    if threads is None:
        _close_alone(W, A, D, sparse, n, c, n_in, stride, room, width, tiles)
    elif threads[l] > 1:
        _close_on_threads(W, A, D, sparse, n, c, n_in, stride, room, width, tiles)
    else:
        _close_alone(W, A, D, sparse, n, c, n_in, stride, room, width, tiles)


@jit
def forward_products(W, rows, values, x, count, sparse, z, stride, threads, l):
    """Z = Wᵀa."""
    if threads is None:
        forward_tile(W, rows, values, x, count, sparse, z, stride, ALL)
    elif threads[l] > 1:
        _forward_on_threads(W, rows, values, x, count, sparse, z, stride, n_tiles(stride, W))
    else:
        forward_tile(W, rows, values, x, count, sparse, z, stride, ALL)


@jit
def backward_products(W, rows, count, sparse, δ, out, stride, threads, l):
    """Out += W δ, of the rows listed, or of all."""
    if threads is None:
        backward_rows(W, rows, 0, count, sparse, δ, out, stride)
    elif threads[l] > 1:
        _backward_on_threads(W, rows, count, sparse, δ, out, stride, threads[l])
    else:
        backward_rows(W, rows, 0, count, sparse, δ, out, stride)


@jit(entry=True)
def launch(W, rows, values, repeats, parts):
    """Enter and leave a parallel loop with nothing to do, so that its cost can be measured."""
    for _ in range(repeats):
        _forward_on_threads(W, rows, values, values, 0, True, values, 0, parts)
