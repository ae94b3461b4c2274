"""The products with a layer's weights, each for a tile of its columns.

Over a block of samples they are matrix products: what is known before its first sample
(`open_tile`: Wᵀx and x_s · x_t of the first layer) and what is left to do after its last
(`close_tile`: the deferred terms of W). `forward_tile` and `backward_tile` are those of one
sample. Tiles do not depend on each other.
"""

from ._jit import jit
from .linear import add_dots, add_rows, copy, fill, multiply_add, nonzeros
from .simd import (
    broadcast,
    fma,
    lanes,
    load,
    lowest_bit,
    matrix_row,
    multiply,
    nonzero_lanes,
    store,
    window,
    zeros,
)

ALL = -1  # instead of a tile's number: every column


@jit
def tile_width(stride, like):
    """Columns of a tile: as many as stay in registers, or all of a narrow layer."""
    v = lanes(like)
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
    n = 0
    k = 0
    while k < stride:
        k += width
        n += 1
    return n


@jit(inline=False)
def read_inputs(layout, plan, block, inputs, row, t):
    """Inputs of the block's sample t: a row of ``block.a``, or a list of what is not zero."""
    n_0 = layout.sizes[0]
    x = matrix_row(inputs.X, row)
    if plan.sparse[0]:
        room = layout.units[1] + lanes(block.x)
        rows = window(block.rows, t * room, room)
        values = window(block.x, t * room, room)
        block.counts[t] = nonzeros(x, n_0, rows, values)
    else:
        copy(x, window(block.a, t * layout.units[1], n_0), n_0)


@jit
def scatter_inputs(layout, block, n):
    """Rows of ``block.a``, one per input, from the lists of the block's samples."""
    width = block.width
    A = window(block.a, 0, layout.units[1] * width)
    fill(A, A.dtype.type(0), 0, len(A))
    room = layout.units[1] + lanes(block.x)
    for t in range(n):
        rows = window(block.rows, t * room, room)
        values = window(block.x, t * room, room)
        for j in range(block.counts[t]):
            A[rows[j] * width + t] = values[j]


@jit(inline=False)
def open_tile(W, layout, plan, block, n, tile, tiles):
    """A tile of Z = X W, and a share of X Xᵀ below the diagonal; of the first layer."""
    n_0, stride, width, room = layout.sizes[0], layout.strides[0], block.width, layout.units[1]
    A = window(block.a, 0, room * width)
    T = W.dtype.type
    start, stop = tile_columns(stride, W, tile)
    for t in range(n):
        fill(window(block.z, t * stride, stride), T(0), start, stop)
    if not plan.sparse[0]:
        multiply_add(W, stride, A, n_0, room, 1, n, block.z, stride, start, stop, T(1))
        for t in range(tile, n, tiles):
            g = window(block.gram, t * width, width)
            fill(g, T(0), 0, width)
            add_dots(A, None, 0, t, window(A, t * room, room), g, 0, room, room)
        return
    list_room = room + lanes(W)
    for t in range(n):
        z = window(block.z, t * stride, stride)
        rows = window(block.rows, t * list_room, list_room)
        x = window(block.x, t * list_room, list_room)
        add_rows(W, rows, x, 0, block.counts[t], z, start, stop, stride)
    columns = 0  # whole vectors of the row that hold what lies below the diagonal
    for t in range(tile, n, tiles):
        while columns < t:
            columns += lanes(W)
        g = window(block.gram, t * width, width)
        fill(g, T(0), 0, columns)
        rows = window(block.rows, t * list_room, list_room)
        x = window(block.x, t * list_room, list_room)
        add_rows(A, rows, x, 0, block.counts[t], g, 0, columns, width)


@jit(inline=False)
def close_tile(W, layout, plan, block, l, n, c, tile):
    """W ← c (W + Σ_s a_s d_sᵀ), a tile of its columns."""
    n_in, stride, width = layout.sizes[l], layout.strides[l], block.width
    room = layout.units[l + 1] - layout.units[l]
    A = window(block.a, layout.units[l] * width, room * width)
    D = window(block.d, layout.units[l + 1] * width, stride * width)
    v = lanes(W)
    start, stop = tile_columns(stride, W, tile)
    if not plan.sparse[l]:
        multiply_add(D, stride, A, n, 1, room, n_in, W, stride, start, stop, c)
        return
    k = start
    while k + 4 * v <= stop:
        _add_marked(zeros(W, 4), W, A, D, n_in, n, c, k, stride, width)
        k += 4 * v
    while k < stop:
        _add_marked(zeros(W, 1), W, A, D, n_in, n, c, k, stride, width)
        k += v


@jit
def _add_marked(like, W, A, D, n_in, n, c, k, stride, width):
    """`close_tile` of a few vectors, where row i of A has input i of each sample."""
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
            w = fma(broadcast(like, A[a + s]), load(like, D, s * stride + k), w)
            samples &= samples - 1
        store(W, i * stride + k, multiply(scale, w))


@jit(inline=False)
def forward_tile(W, rows, values, x, count, sparse, z, stride, tile):
    """Z = Wᵀa, a tile of its columns; the inputs are a list, or all of ``x``."""
    start, stop = tile_columns(stride, W, tile)
    fill(z, z.dtype.type(0), start, stop)
    if sparse:
        add_rows(W, rows, values, 0, count, z, start, stop, stride)
    else:
        add_rows(W, None, x, 0, count, z, start, stop, stride)


@jit(inline=False)
def backward_tile(W, rows, count, sparse, δ, out, stride, tile):
    """Out = W δ, the share of a tile of columns; of the rows listed, or of all."""
    start, stop = tile_columns(stride, W, tile)
    fill(out, out.dtype.type(0), 0, len(out))
    if sparse:
        add_dots(W, rows, 0, count, δ, out, start, stop, stride)
    else:
        add_dots(W, None, 0, count, δ, out, start, stop, stride)
