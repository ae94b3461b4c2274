"""The products of deferred updates, in parts that do not depend on each other, on all threads.

For a whole block they are matrix products: those that can be computed before its first sample
(`open_tile`: Wᵀx and x_s · x_t of the first layer) and those that are left after its last
(`close_tile`: the deferred terms of W). `forward_tile` and `backward_rows` are the products of one
sample. Each element is computed in one part, in one order, so the number of threads changes no
bit of a result; and threads take the same tiles each time, so that a tile of weights stays in the
cache of one core.
"""

from typing import NamedTuple

from ._jit import jit
from .bits import lowest_bit, nonzero_lanes
from .linear import WIDE, Entries, add_dots, add_rows, copy, fill, multiply_add, nonzeros
from .memory import matrix_rows, no_places, no_starts, window
from .packing import Int64s
from .parallel import in_parts
from .samples import row_at
from .tiles import room_of
from .vectors import broadcast, broadcast_item, fma, lanes, length, load, store, zeros
from .views import Matrix, layer_at, matrix, shifted, transposed, width_at


@jit
def tile_width(stride, like):
    """Columns of a tile: as many as fit in registers; more in a wide layer, all in a narrow one."""
    v = lanes(like)
    if stride >= WIDE * v:
        return 16 * v
    return 4 * v if stride >= 8 * v else stride


@jit
def n_tiles(stride, like):
    """Number of tiles of a layer."""
    width = tile_width(stride, like)
    return (stride + width - 1) // width


@jit
def tile_columns(stride, like, tile, tiles):
    """First column of a tile, and the one after its last; a single tile has all columns."""
    if tiles == 1:
        return 0, stride
    start = tile * tile_width(stride, like)
    return start, min(start + tile_width(stride, like), stride)


@jit
def pending_inputs(layout, block, l):
    """Inputs of a deferred layer: a row for each sample, or for each input if it is sparse."""
    width = width_at(layout, l)
    A = window(block.a, layout.units[l] * block.width, width * block.width)
    return matrix(A, block.width if block.plan.sparse[l] != 0 else width)


@jit
def pending_factors(layout, block, l):
    """Factors d_s of a deferred layer, a row per sample."""
    stride = layout.strides[l]
    return matrix(window(block.d, layout.units[l + 1] * block.width, stride * block.width), stride)


@jit
def first_entries(layout, block, t):
    """Non-zero inputs of the block's sample t."""
    width = layout.units[1]
    places = window(block.first_places, t * width, width)
    return Entries(places, window(block.first_x, t * width, width), block.first_counts[t])


@jit
def read_inputs(task, t, n):
    """Inputs of the block's sample t: row t of A, or a list of what is not zero."""
    state, block, samples, first = task
    layout = state.layout
    n_in, x = layout.sizes[0], matrix_rows(samples.inputs.X, row_at(samples, first + t), 1)
    if block.plan.sparse[0] != 0:
        entries = first_entries(layout, block, t)
        block.first_counts[t] = nonzeros(x, 0, n_in, entries.places, entries.x)
    else:
        copy(x, window(block.a, t * layout.units[1], n_in), n_in)


@jit
def scatter_inputs(layout, block, n):
    """Rows of A, one per input, from the lists of the block's n samples."""
    A = pending_inputs(layout, block, 0).data
    fill(A, A.dtype.type(0), 0, len(A))
    for t in range(n):
        entries = first_entries(layout, block, t)
        for j in range(entries.n):
            A[entries.places[j] * block.width + t] = entries.x[j]


@jit(inline=False)
def open_tile(task, tile, tiles):
    """A tile of Z = X W, and a share of G = X Xᵀ below the diagonal, for n samples."""
    state, block, n = task
    layout = state.layout
    layer, A = layer_at(state.params, layout, 0), pending_inputs(layout, block, 0)
    zero, one = A.data.dtype.type(0), A.data.dtype.type(1)
    Z = matrix(block.z, layer.stride)
    start, stop = tile_columns(layer.stride, A.data, tile, tiles)
    for t in range(n):
        fill(window(Z.data, t * layer.stride, layer.stride), zero, start, stop)
    if block.plan.sparse[0] == 0:
        of_tile = shifted(Z, start)
        W, columns = shifted(layer.W, start), stop - start
        multiply_add(W, A, of_tile, of_tile, n, layer.n_in, columns, one)
        for t in range(tile, n, tiles):
            g = window(block.gram, t * block.width, block.width)
            fill(g, zero, 0, block.width)
            x = window(A.data, t * A.across, A.across)
            add_dots(A, no_places(), 0, t, x, g)
        return
    for t in range(n):
        z = window(Z.data, t * layer.stride, layer.stride)
        add_rows(layer.W, first_entries(layout, block, t), z, start, stop)
    columns = 0  # how many hold what is below the diagonal, rounded up to whole vectors
    for t in range(tile, n, tiles):
        while columns < t:
            columns += lanes(A.data)
        g = window(block.gram, t * block.width, block.width)
        fill(g, zero, 0, columns)
        add_rows(A, first_entries(layout, block, t), g, 0, columns)


@jit(inline=False)
def close_tile(task, tile, tiles):
    """W ← c (W + Σ_s a_s d_sᵀ), a tile of its columns, for n samples."""
    state, block, n, c, l = task
    layer, A = layer_at(state.params, state.layout, l), pending_inputs(state.layout, block, l)
    D = pending_factors(state.layout, block, l)
    start, stop = tile_columns(layer.stride, D.data, tile, tiles)
    W, D = shifted(layer.W, start), shifted(D, start)
    if block.plan.sparse[l] != 0:
        add_marked(W, A, D, layer.n_in, n, stop - start, c)
    else:
        multiply_add(D, transposed(A), W, W, layer.n_in, n, stop - start, c)


class Marked(NamedTuple):
    """Rows of factors, of which zeros are skipped."""

    A: Matrix
    masks: Int64s  # a bit for each element of a row that is not zero
    n: int  # rows


# Rows whose marks are found at a time, before the tiles that all need them.
_MARKED_ROWS = 512
_masks_room = room_of(_MARKED_ROWS * 8)


@jit
def add_marked(W, A, D, n_in, n, width, c):
    """``width`` columns of W ← c (W + Aᵀ D) for n ≤ 64 samples, without the zeros of A.

    Row i of A has input i of each sample, and row s of D the factors of sample s.
    """
    masks = _masks_room(no_starts())
    for top in range(0, n_in, _MARKED_ROWS):
        of_W, of_A = shifted(W, top * W.across), shifted(A, top * A.across)
        rows = min(_MARKED_ROWS, n_in - top)
        for i in range(rows):
            masks[i] = _marked(of_A.data, of_A.place + i * of_A.across, n)
        _add_tiles(of_W, Marked(of_A, masks, rows), D, width, c)


@jit
def _marked(A, a, n):
    """A bit for each of n elements of A from a on that is not zero."""
    zero, marked = zeros(A, 1), 0
    for s in range(0, n, lanes(A)):
        marked |= nonzero_lanes(load(zero, A, a + s)) << s
    return marked


@jit
def _add_tiles(W, marked, D, width, c):
    """`add_marked` in tiles of up to six vectors, and of the one or two left beside them."""
    v = lanes(W.data)
    few, k = zeros(W.data, 4), 0
    while k < width:
        of_W, of_D, left = shifted(W, k), shifted(D, k), (width - k) // v
        if left == 6 or left == 7:
            _add_marked_beside(few, zeros(W.data, 2), of_W, marked, of_D, c)
            k += 6 * v
        elif left == 5:
            _add_marked_beside(few, zeros(W.data, 1), of_W, marked, of_D, c)
            k += 5 * v
        elif left >= 4:
            _add_marked(few, of_W, marked, of_D, c)
            k += 4 * v
        else:
            _add_marked(zeros(W.data, 1), of_W, marked, of_D, c)
            k += v


@jit
def _add_marked(like, W, rows, D, c):
    """`add_marked` of a few vectors."""
    scale, A = broadcast(like, c), rows.A
    for i in range(rows.n):
        marked = rows.masks[i]
        if marked == 0 and c == 1:
            continue
        a, row = A.place + i * A.across, W.place + i * W.across
        w = load(like, W.data, row)
        while marked != 0:
            s = lowest_bit(marked)
            d = load(like, D.data, D.place + s * D.across)
            w = fma(broadcast_item(like, A.data, a + s), d, w)
            marked &= marked - 1
        store(W.data, row, scale * w)


@jit
def _add_marked_beside(like, rest, W, rows, D, c):
    """`add_marked` of some vectors and those beside them, so that marks are gone through once."""
    scale, scale_rest, beside = broadcast(like, c), broadcast(rest, c), length(like)
    A = rows.A
    for i in range(rows.n):
        marked = rows.masks[i]
        if marked == 0 and c == 1:
            continue
        a, row = A.place + i * A.across, W.place + i * W.across
        w, u = load(like, W.data, row), load(rest, W.data, row + beside)
        while marked != 0:
            s = lowest_bit(marked)
            of_D, x = D.place + s * D.across, a + s
            w = fma(broadcast_item(like, A.data, x), load(like, D.data, of_D), w)
            u = fma(broadcast_item(rest, A.data, x), load(rest, D.data, of_D + beside), u)
            marked &= marked - 1
        store(W.data, row, scale * w)
        store(W.data, row + beside, scale_rest * u)


@jit
def forward_tile(task, tile, tiles):
    """z = Wᵀx, a tile of its columns."""
    W, entries, z = task
    start, stop = tile_columns(W.across, z, tile, tiles)
    fill(z, z.dtype.type(0), start, stop)
    add_rows(W, entries, z, start, stop)


@jit
def backward_rows(task, part, parts):
    """out += W δ, for a part of the listed rows or, if none are listed, of rows 0 to ``count``."""
    W, places, count, δ, out = task
    # Cut at whole vectors of ``out``, because `add_dots` rounds single elements differently.
    v = lanes(out)
    share = (count + parts * v - 1) // (parts * v) * v
    first, last = part * share, min((part + 1) * share, count)
    add_dots(W, places, first, last, δ, out)


read_block = in_parts(read_inputs)
open_products = in_parts(open_tile)
close_products = in_parts(close_tile)
forward_products = in_parts(forward_tile)
backward_products = in_parts(backward_rows)
