"""Training by mini-batches: one step for the mean gradient of a batch of samples.

In the notation of DESIGN, with the batch's samples as rows of A_l, Z_l and Δ_l and weights
input-major, row i being the fan-out of input i:

    forward    Z_l = A_{l−1} W_l + b_l       A_l = f_l(Z_l)
    backward   Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1})
    gradient   G_l = A_{l−1}ᵀ Δ_l            ∂loss/∂b_l = Σ_t δ_{l,t}

Each is a product of small matrices, and `multiply_add` takes all three. A row of Δ_L is multiplied
by its sample's share of the mean, so G is the gradient of the batch's mean loss. Plain SGD needs
no G: its step is a factor of the sample's share too, and the product is added to W itself. Other
rules get G in panels of a few rows, which are still in the nearest cache when the step is taken,
and so is what is transposed for the next batch's way back.

Samples do not depend on each other on their way through the layers, nor do panels in the step:
these two are what threads share, or the inputs of a large layer. Every element is computed in one
part, in one order.

A batch longer than the scratch is worked off in parts: their gradients are summed up, and the step
comes with the last. The gradient alone, with no step at all, is that sum.
"""

import numpy as np
from numba import prange

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .blocks import add_marked
from .elementary import softmax_rows
from .layout import LONGEST_BLOCK, PARTS, Samples
from .linear import (
    add_row_sum,
    add_rows,
    add_scaled,
    copy,
    fill,
    multiply_add,
    nonzeros,
    rank_one,
    scale_row,
    scaled_sum,
    times,
)
from .losses import label_delta, label_losses, target_rows
from .random import draw_mask
from .sequential import csr_row, load_target, sample_weight
from .simd import lanes, matrix_rows, transpose, window
from .updates import (
    NO_STEP,
    SGD,
    adjust,
    adjusts,
    begin_step,
    clip_factor,
    clipped_squares,
    limit_norms,
    take_step,
)

# What is done with a part's gradient: W takes plain SGD's step, the sum for the batch grows, or it
# is complete and the rule takes its step.
PLAIN_STEP, SUM_UP, STEP = range(3)


@jit
def row_at(order, t):
    """Row of the pass's sample t; all rows are in their own order where none is given."""
    return order[t] if len(order) > 0 else t


@jit(inline="early")
def layer_rows(buffer, layout, batch, l, first, n):
    """Rows ``first`` to ``first + n`` of layer l's part of a, z or delta, l ≥ 1."""
    room = layout.units[l + 1] - layout.units[l]
    place = (layout.units[l] - layout.units[1]) * batch.length + first * room
    return window(buffer, place, n * room)


@jit
def mark(batch, t, place, count, is_there):
    """Column t of ``marked``: the inputs of a list of sample t's, or zeros in their places."""
    zero = batch.x.dtype.type(0)
    for j in range(place, place + count):
        batch.marked[batch.rows[j] * batch.width + t] = batch.x[j] if is_there else zero


@jit
def list_inputs(batch, inputs, row, t, part, top, end, room):
    """List what is not zero in inputs ``top`` to ``end`` of a row of X: sample t's, of a part."""
    place, which = t * room + top, t * PARTS + part
    marks = len(batch.marked) > 0
    if marks:
        mark(batch, t, place, batch.counts[which], False)
    numbers, x = window(batch.rows, place, room - top), window(batch.x, place, room - top)
    inputs_row = matrix_rows(inputs.X, row, 1)
    batch.counts[which] = nonzeros(inputs_row, top, end, numbers, x)
    if marks:
        mark(batch, t, place, batch.counts[which], True)


@jit(inline=False)
def clear_marks(layout, batch, first):
    """Forget the samples from ``first`` on that a longer stretch of a batch has left behind."""
    n_in, room = layout.sizes[0], layout.units[1]
    for t in range(first, batch.length):
        for part in range(PARTS):
            place = t * room + part_start(n_in, part, batch.x)
            mark(batch, t, place, batch.counts[t * PARTS + part], False)
            batch.counts[t * PARTS + part] = 0


@jit(inline="early")
def input_rows(batch, inputs, order, first, lo, n, room):
    """Rows of dense X for samples lo to lo + n: where they are, or copied; and their distance."""
    if len(order) == 0:
        return matrix_rows(inputs.X, first + lo, n), inputs.X.shape[1]
    return window(batch.inputs, lo * room, n * room), room


@jit
def part_start(n_in, part, like):
    """First input of a part; that of part `PARTS` is the end."""
    v = lanes(like)
    return min(n_in, part * ((n_in + PARTS * v - 1) // (PARTS * v)) * v)


@jit
def part_of(n_in, i, like):
    """Part that an input belongs to."""
    part = PARTS - 1
    while i < part_start(n_in, part, like):
        part -= 1
    return part


@jit(inline="early")
def add_first_part(W, stride, layout, batch, inputs, order, first, lo, n, part, top, end, Z):
    """`add_part` of the first layer, whose inputs are read along the way."""
    room = layout.units[1]
    if len(inputs.indptr) > 0:
        for t in range(n):
            numbers, x, count = csr_row(inputs, row_at(order, first + lo + t))
            add_rows(W, numbers, x, count, window(Z, t * stride, stride), 0, stride, stride)
    elif batch.is_listed:
        for t in range(lo, lo + n):
            list_inputs(batch, inputs, row_at(order, first + t), t, part, top, end, room)
            count = batch.counts[t * PARTS + part]
            numbers = window(batch.rows, t * room + top, count)
            x = window(batch.x, t * room + top, count)
            add_rows(W, numbers, x, count, window(Z, (t - lo) * stride, stride), 0, stride, stride)
    else:
        if len(order) > 0:
            for t in range(lo, lo + n):
                x = window(matrix_rows(inputs.X, order[first + t], 1), top, end - top)
                copy(x, window(batch.inputs, t * room + top, end - top), end - top)
        A, across = input_rows(batch, inputs, order, first, lo, n, room)
        add_matrix_part(W, stride, A, across, n, top, end, Z)


@jit(inline="early")
def add_matrix_part(W, stride, A, across, n, top, end, Z):
    """Z += A W of inputs ``top`` to ``end``, for n rows of A at that distance."""
    if end > top:
        part = window(W, top * stride, (end - top) * stride)
        A = window(A, top, len(A) - top)
        one = W.dtype.type(1)
        multiply_add(part, stride, A, end - top, across, 1, n, Z, stride, 0, stride, one)


@jit(inline="early")
def add_part(W, stride, layout, batch, inputs, order, first, l, lo, n, part, Z):
    """Z += A_l W of a part of the inputs, or of all if there are no parts; samples lo to lo + n."""
    n_in = layout.sizes[l]
    top, end = 0, n_in
    if batch.in_parts[l]:
        top, end = part_start(n_in, part, W), part_start(n_in, part + 1, W)
    if l == 0:
        add_first_part(W, stride, layout, batch, inputs, order, first, lo, n, part, top, end, Z)
    else:
        A = layer_rows(batch.fed, layout, batch, l, lo, n)
        room = layout.units[l + 1] - layout.units[l]
        add_matrix_part(W, stride, A, room, n, top, end, Z)


@jit(inline="early")
def part_sums(layout, batch, l, lo, n, part):
    """Rows of a part's own sums, for samples lo to lo + n; those of part 0 are Z itself."""
    stride = layout.strides[l]
    return window(batch.sums, ((part - 1) * batch.length + lo) * stride, n * stride)


@jit(inline="early")
def layer_sums(params, layout, batch, inputs, order, first, l, lo, n, start, stop):
    """Z_{l+1} = A_l W_{l+1} + b_{l+1}, of samples lo to lo + n.

    Of a layer that has parts, parts start to stop. They are added up by pairs, here if both are at
    hand, in `gather_sums` if not.
    """
    n_in, stride = layout.sizes[l], layout.strides[l]
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    for part in range(start, stop if batch.in_parts[l] else start + 1):
        Z = layer_rows(batch.z, layout, batch, l + 1, lo, n)
        if part == 0:
            for t in range(n):
                copy(window(W, n_in * stride, stride), window(Z, t * stride, stride), stride)
        else:
            Z = part_sums(layout, batch, l, lo, n, part)
            fill(Z, Z.dtype.type(0), 0, n * stride)
        add_part(W, stride, layout, batch, inputs, order, first, l, lo, n, part, Z)
        if part % 2 == 1 and part > start:
            add_second(layout, batch, l, lo, n, part)


@jit(inline="early")
def add_second(layout, batch, l, lo, n, part):
    """Add the sums of an odd part to those of the part before it."""
    stride = layout.strides[l]
    second = part_sums(layout, batch, l, lo, n, part)
    one = second.dtype.type(1)
    if part == 1:
        add_scaled(one, second, layer_rows(batch.z, layout, batch, l + 1, lo, n), n * stride)
    else:
        add_scaled(one, second, part_sums(layout, batch, l, lo, n, part - 1), n * stride)


@jit(inline="early")
def gather_sums(layout, batch, l, lo, n, workers):
    """Z_{l+1} from its parts, which so many threads had equal shares of; samples lo to lo + n."""
    if batch.in_parts[l]:
        if workers == PARTS:
            add_second(layout, batch, l, lo, n, 1)
            add_second(layout, batch, l, lo, n, 3)
        Z = layer_rows(batch.z, layout, batch, l + 1, lo, n)
        add_scaled(Z.dtype.type(1), part_sums(layout, batch, l, lo, n, 2), Z, len(Z))


@jit
def workers_of(threads):
    """Threads that take parts, as many each."""
    return PARTS if threads >= PARTS else min(threads, PARTS // 2)


@jit(inline="early")
def layer_outputs(layout, batch, l, lo, n, regularization, number):
    """A_{l+1} = f(Z_{l+1}), of samples lo to lo + n, and what the layer above gets of it."""
    stride = layout.strides[l]
    Z = layer_rows(batch.z, layout, batch, l + 1, lo, n)
    A = layer_rows(batch.a, layout, batch, l + 1, lo, n)
    if layout.activations[l] == SOFTMAX:
        softmax_rows(Z, A, layout.sizes[l + 1], stride, n)
    else:
        activate(layout.activations[l], Z, A, n * stride)
    if regularization is not None and len(batch.mask) > 0 and l + 1 < len(layout.strides):
        drop_units(layout, batch, regularization, l + 1, lo, n, number)


@jit(inline="early")
def forward_rows(
    params, layout, batch, inputs, order, first, lo, n, regularization, number, summed, end,
    workers,
):  # fmt: skip
    """Z_l = A_{l−1} W_l + b_l and A_l = f_l(Z_l) for l = 1..end, of samples lo to lo + n.

    Parameters
    ----------
    regularization : Regularization or None
        If given, what goes up from a hidden layer is A_l ⊙ M_l, M_l being the dropout masks of
        samples ``number`` to number + n.
    summed : int
        Layer from 0 whose sums are there already, from so many ``workers``; −1 if none are.
    """
    for l in range(max(summed, 0), end):
        if l != summed:
            layer_sums(params, layout, batch, inputs, order, first, l, lo, n, 0, PARTS)
        gather_sums(layout, batch, l, lo, n, workers if l == summed else 1)
        layer_outputs(layout, batch, l, lo, n, regularization, number)


@jit(inline=False)
def drop_units(layout, batch, regularization, l, lo, n, number):
    """Draw layer l's masks of samples lo to lo + n, the first with that number, and apply them."""
    for t in range(n):
        mask = layer_rows(batch.mask, layout, batch, l, lo + t, 1)
        draw_mask(regularization.dropout[l - 1], regularization.key, number + t, l, mask)
    A, M = (
        layer_rows(batch.a, layout, batch, l, lo, n),
        layer_rows(batch.mask, layout, batch, l, lo, n),
    )
    times(A, M, layer_rows(batch.fed, layout, batch, l, lo, n), len(A))


@jit(inline="early")
def output_rows(layout, batch, samples, order, first, lo, n, share):
    """Rows of Δ_L, times the sample's weight and ``share``; and each sample's weighted loss."""
    L = len(layout.strides)
    n_out, stride = layout.sizes[L], layout.strides[L - 1]
    Z = layer_rows(batch.z, layout, batch, L, lo, n)
    A = layer_rows(batch.a, layout, batch, L, lo, n)
    D = layer_rows(batch.delta, layout, batch, L, lo, n)
    Y = window(batch.y, lo * stride, n * stride)
    losses = window(batch.losses, lo, n)
    if len(samples.labels) > 0 and samples.kept == 1:
        labels = window(batch.labels, lo, n)
        for t in range(n):
            row = row_at(order, first + lo + t)
            labels[t] = samples.labels[row]
            scale = D.dtype.type(share * sample_weight(samples, row))
            label_delta(A, labels[t], scale, D, t * stride, stride)
            losses[t] = A[t * stride + labels[t]]
        label_losses(Z, A, labels, losses, n_out, stride, n)
    else:
        for t in range(n):
            row = row_at(order, first + lo + t)
            load_target(samples, row, window(Y, t * stride, n_out))
        target_rows(layout.loss, layout.activations[L - 1], Z, A, Y, D, losses, n_out, stride, n)
        for t in range(n):
            weight = sample_weight(samples, row_at(order, first + lo + t))
            scale_row(D.dtype.type(share * weight), D, t * stride, n_out, stride)
    if len(samples.weights) > 0:
        for t in range(n):
            losses[t] *= sample_weight(samples, row_at(order, first + lo + t))


@jit(inline="early")
def layer_deltas(layout, batch, l, lo, n, start, stop):
    """Columns start to stop of Δ_l = (Δ_{l+1} W_{l+1}ᵀ) ⊙ f'(Z_l), of samples lo to lo + n."""
    n_out, stride = layout.sizes[l + 1], layout.strides[l]
    room = layout.units[l + 1] - layout.units[l]
    D = layer_rows(batch.delta, layout, batch, l + 1, lo, n)
    below = layer_rows(batch.delta, layout, batch, l, lo, n)
    W_T = window(batch.transposed, batch.places[l], batch.places[l + 1] - batch.places[l])
    T = below.dtype.type
    # Of all columns, rows follow each other without a gap: as good as one.
    rows, columns = (1, n * room) if stop - start == room else (n, stop - start)
    for t in range(rows):
        fill(below, T(0), t * room + start, t * room + start + columns)
    multiply_add(W_T, room, D, n_out, stride, 1, n, below, room, start, stop, T(1))
    for t in range(rows):
        place = t * room + start
        δ = window(below, place, columns)
        if len(batch.mask) > 0:
            M = layer_rows(batch.mask, layout, batch, l, lo, n)
            times(window(M, place, columns), δ, δ, columns)
        z = window(layer_rows(batch.z, layout, batch, l, lo, n), place, columns)
        a = window(layer_rows(batch.a, layout, batch, l, lo, n), place, columns)
        times_derivative(layout.activations[l - 1], z, a, δ, columns)


@jit
def through_layers(
    params, layout, batch, regularization, samples, order, first, m, number, share, summed, end,
    floor, part, parts,
):  # fmt: skip
    """Forward, and from the last layer back: a thread's samples, in groups worked on at once.

    Layers from ``summed`` to ``end``, as `forward_rows` has them, and back to ``floor``.
    """
    v = lanes(params)
    group = (m + v * parts - 1) // (v * parts) * v
    lo = part * group
    n = min(group, m - lo)
    if n > 0:
        forward_rows(
            params, layout, batch, samples.inputs, order, first, lo, n, regularization,
            number + lo, summed, end, workers_of(parts),
        )  # fmt: skip
        if end == len(layout.strides):
            output_rows(layout, batch, samples, order, first, lo, n, share)
            for l in range(len(layout.strides) - 1, floor, -1):
                layer_deltas(layout, batch, l, lo, n, 0, layout.units[l + 1] - layout.units[l])


@jit
def transpose_rows(W, n_in, stride, out, room, top, rows):
    """Out[k·room + i] = W[i·stride + k] for rows ``top``, at a whole vector, to ``top + rows``."""
    v = lanes(W)
    i = top
    while i + v <= min(top + rows, n_in):
        for k in range(0, stride, v):
            transpose(W, i * stride + k, stride, out, k * room + i, room)
        i += v
    while i < top + rows:
        for k in range(stride):
            out[k * room + i] = W[i * stride + k]
        i += 1


@jit(inline="early")
def add_products(
    target, layout, batch, inputs, order, first, m, l, top, rows, c
):  # fmt: skip
    """Target ← c (target + A_{l−1}ᵀ Δ_l), rows ``top`` to ``top + rows`` of layer l's weights."""
    stride, room = layout.strides[l], layout.units[l + 1] - layout.units[l]
    D = layer_rows(batch.delta, layout, batch, l + 1, 0, m)
    one = target.dtype.type(1)
    if l == 0 and len(inputs.indptr) > 0:  # of all rows, then
        for t in range(m):
            numbers, values, count = csr_row(inputs, row_at(order, first + t))
            δ = window(D, t * stride, stride)
            rank_one(target, numbers, values, count, δ, stride, one, one)
        if c != 1:
            scaled_sum(c, target, None, target, rows * stride)
    elif l == 0 and batch.is_listed:
        for s in range(0, m, LONGEST_BLOCK):
            n = min(LONGEST_BLOCK, m - s)
            place = top * batch.width + s
            marked = window(batch.marked, place, len(batch.marked) - place)
            factor = c if s + n == m else one
            d = window(D, s * stride, n * stride)
            add_marked(target, marked, d, rows, n, factor, 0, stride, stride, batch.width)
    else:
        if l == 0:
            A, across = input_rows(batch, inputs, order, first, 0, m, room)
        else:
            A, across = layer_rows(batch.fed, layout, batch, l, 0, m), room
        A = window(A, top, len(A) - top)
        multiply_add(D, stride, A, m, 1, across, rows, target, stride, 0, stride, c)


@jit
def take_tile(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, l, tile,
    slot,
):  # fmt: skip
    """What is to be done with the gradient of the samples at hand, for one panel of layer l."""
    n_in, stride, block = layout.sizes[l], layout.strides[l], layout.blocks[l]
    top = (tile - batch.tiles[l]) * batch.heights[l]
    rows = min(batch.heights[l], n_in - top)
    T = params.dtype.type
    # The panel of weights, and with a layer's first its biases.
    for is_weight in (True, False):
        if not is_weight and top > 0:
            break
        place, n = block + top * stride, rows * stride
        if not is_weight:
            place, n = block + n_in * stride, stride
        if action == PLAIN_STEP:
            g = window(params, place, n)
        elif batch.is_whole:  # what earlier parts of the batch have summed up
            g = window(batch.gradient, place, n)
        else:  # a panel that only this thread has
            g = window(batch.gradient, slot * batch.panel, n)
            fill(g, T(0), 0, n)
        factor = T(1) if action == STEP else c
        if m > 0 and is_weight:
            add_products(g, layout, batch, inputs, order, first, m, l, top, rows, factor)
        elif m > 0:
            D = layer_rows(batch.delta, layout, batch, l + 1, 0, m)
            add_row_sum(D, stride, m, factor, g)
        if action == STEP:
            w = window(params, place, n)
            if adjusts(regularization, c):
                adjust(regularization, c, w, g, n, is_weight)
            take_step(rule, step, w, g, place, n, is_weight)
        elif action == SUM_UP and regularization.clip_norm < np.inf:
            squares = clipped_squares(regularization, g, n)
            batch.squares[tile] = squares if is_weight else squares + batch.squares[tile]
    if l > 0 and action != SUM_UP:
        transpose_tile(params, layout, batch, l, top, rows)


@jit(inline="early")
def transpose_tile(params, layout, batch, l, top, rows):
    """Layer l's part of ``transposed``, in columns ``top`` to ``top + rows``."""
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    start = batch.places[l]
    out = window(batch.transposed, start, batch.places[l + 1] - start)
    room = layout.units[l + 1] - layout.units[l]
    n_in, stride = layout.sizes[l], layout.strides[l]
    transpose_rows(W, n_in, stride, out, room, top, rows)


@jit(inline=False, parallel=True)
def _through_layers_on_threads(
    params, layout, batch, regularization, inputs, labels, targets, weights, kept, shared, order,
    first, m, number, share, summed, end, floor, threads,
):  # fmt: skip
    for part in prange(threads):
        # A loop takes no tuples of tuples.
        samples = Samples(inputs, labels, targets, weights, kept, shared)
        through_layers(
            params, layout, batch, regularization, samples, order, first, m, number, share, summed,
            end, floor, part, threads,
        )  # fmt: skip


@jit(inline=False, parallel=True)
def _layer_sums_on_threads(params, layout, batch, inputs, order, first, m, l, threads):
    each = PARTS // workers_of(threads)
    for slot in prange(workers_of(threads)):
        start, stop = slot * each, (slot + 1) * each
        layer_sums(params, layout, batch, inputs, order, first, l, 0, m, start, stop)


@jit(inline=False, parallel=True)
def _layer_deltas_on_threads(layout, batch, m, l, threads):
    each = PARTS // workers_of(threads)
    for slot in prange(workers_of(threads)):
        n_in, like = layout.sizes[l], batch.delta
        start = part_start(n_in, slot * each, like)
        stop = part_start(n_in, (slot + 1) * each, like)
        if stop == n_in:  # with what pads it
            stop = layout.units[l + 1] - layout.units[l]
        if stop > start:
            layer_deltas(layout, batch, l, 0, m, start, stop)


@jit(inline=False, parallel=True)
def _take_tiles_on_threads(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, threads
):  # fmt: skip
    for slot in prange(threads):
        for l in range(len(layout.strides)):
            for tile in range(batch.tiles[l], batch.tiles[l + 1]):
                owner = tile % threads
                if batch.in_parts[l]:  # as they were dealt out for the sums
                    top = (tile - batch.tiles[l]) * batch.heights[l]
                    owner = part_of(layout.sizes[l], top, params) * workers_of(threads) // PARTS
                if owner == slot:
                    take_tile(
                        params, layout, batch, rule, step, regularization, inputs, order, first, m,
                        action, c, l, tile, slot,
                    )  # fmt: skip


@jit
def _take_tiles_alone(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c
):  # fmt: skip
    for l in range(len(layout.strides)):
        for tile in range(batch.tiles[l], batch.tiles[l + 1]):
            take_tile(
                params, layout, batch, rule, step, regularization, inputs, order, first, m, action,
                c, l, tile, 0,
            )  # fmt: skip


# Where ``threads`` is None, the parallel loops are not even compiled.


@jit(inline="early")
def differentiate_rows(
    params, layout, batch, regularization, samples, order, first, m, number, share, threads
):  # fmt: skip
    """Forward and back, of m samples: by samples, but by parts in layers that have them."""
    L = len(layout.strides)
    if threads is not None and threads > 1:
        inputs, labels, targets, weights, kept, shared = samples
        floor = L - 1
        while floor > 0 and not batch.in_parts[floor]:
            floor -= 1
        summed = -1
        for l in range(L + 1):
            if l == L or batch.in_parts[l]:
                if l > 0:
                    _through_layers_on_threads(
                        params, layout, batch, regularization, inputs, labels, targets, weights,
                        kept, shared, order, first, m, number, share, summed, l, floor, threads,
                    )  # fmt: skip
                if l < L:
                    _layer_sums_on_threads(
                        params, layout, batch, inputs, order, first, m, l, threads
                    )
                summed = l
        for l in range(floor, 0, -1):
            _layer_deltas_on_threads(layout, batch, m, l, threads)
    else:
        through_layers(
            params, layout, batch, regularization, samples, order, first, m, number, share, -1, L,
            0, 0, 1,
        )  # fmt: skip


@jit(inline="early")
def take_tiles(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, threads
):  # fmt: skip
    """`take_tile` of every panel."""
    if threads is not None and threads > 1:
        _take_tiles_on_threads(
            params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c,
            threads,
        )  # fmt: skip
    else:
        _take_tiles_alone(
            params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c
        )


@jit(entry=True)
def train_minibatch(
    params, layout, batch, rule, regularization, samples, order, start, stop, batch_size,
    learning_rate, loss_sum, threads,
):  # fmt: skip
    """A step for each batch of ``batch_size`` samples, or their gradient.

    Parameters and result are those of `train_sequential`, and:

    batch : Batch
        Modified in place, made by `make_batch` for this ``batch_size`` and kind of samples.
    rule : Rule
        Its moments and counts are modified in place. Of `NO_STEP`, the mean gradient of a batch is
        added to batch.gradient instead.
    regularization : Regularization
        With the weight decay.
    order : (n,) int64
        Row numbers of the pass's samples; empty for all rows as they come.
    start, stop : int
        Batches are counted from the start of the pass, and the last may be smaller. Where a pass is
        cut into several calls, each but the last ends with a batch, or at a multiple of
        batch.length where that is less than ``batch_size``.
    threads : int or None
        They change no bit. None compiles no parallel loops.
    """
    T = params.dtype.type
    inputs = samples.inputs
    total = len(order)
    if total == 0:
        total = max(len(inputs.X), len(inputs.indptr) - 1)
    weight_decay = regularization.weight_decay
    is_plain = (
        rule.code == SGD and len(rule.moments) == 0 and batch_size <= batch.length
        and not adjusts(regularization, T(1)) and regularization.clip_norm == np.inf
    )  # fmt: skip
    γ = T(1) - learning_rate * weight_decay
    for l in range(1, len(layout.strides)):
        transpose_tile(params, layout, batch, l, 0, layout.sizes[l])
    first = start
    while first < stop:
        begin = first // batch_size * batch_size
        end = min(begin + batch_size, total)
        m = min(batch.length - first % batch.length, end - first)
        steps = rule.code != NO_STEP and first + m == end
        clips = steps and regularization.clip_norm < np.inf
        step = begin_step(rule, learning_rate, weight_decay, T, steps)
        # Plain SGD: W ← γ (W − (η/γ) G) and b ← b − γ (η/γ) Σ_t δ_t.
        share = 1.0 / (end - begin)
        action, c = SUM_UP, T(1)
        if is_plain:
            share *= -float(learning_rate) / float(γ)
            action, c = PLAIN_STEP, γ
        elif steps and not clips:
            action = STEP
        if batch.is_listed:  # what a longer part has left behind
            clear_marks(layout, batch, m)
        differentiate_rows(
            params, layout, batch, regularization, samples, order, first, m,
            int(rule.counts[2]), share, threads,
        )  # fmt: skip
        for turn in range(2 if clips else 1):
            if turn == 1:  # all of the gradient is there, and its norm known
                action, c = STEP, T(clip_factor(regularization, batch.squares))
            take_tiles(
                params, layout, batch, rule, step, regularization, inputs, order, first,
                m if turn == 0 else 0, action, c, threads,
            )  # fmt: skip
        if steps and regularization.max_norm < np.inf:
            for l in range(len(layout.strides)):
                W = window(params, layout.blocks[l], layout.sizes[l] * layout.strides[l])
                if limit_norms(W, layout.strides[l], regularization.max_norm) and l > 0:
                    transpose_tile(params, layout, batch, l, 0, layout.sizes[l])
        for t in range(m):
            loss_sum += batch.losses[t]
        if steps and batch.is_whole and not is_plain:
            fill(batch.gradient, T(0), 0, len(batch.gradient))
        rule.counts[2] += m
        first += m
    return loss_sum
