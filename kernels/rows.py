"""Rows of samples on their way through the layers, forward and back.

A_l, Z_l and Δ_l have a row per sample: the outputs of layer l, its sums before the activation f_l,
and ∂loss/∂Z_l; A_0 is X. Weights are input-major: row i of W_l is the fan-out of input i.

    forward    Z_l = A_{l−1} W_l + b_l       A_l = f_l(Z_l)
    backward   Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1})

Samples do not depend on each other here. A layer's sums can also be shared by its inputs, whose
parts are always added up in one order (`layout.PARTS`).
"""

import numpy as np

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .elementary import softmax_rows
from .layout import PARTS
from .linear import add_rows, add_scaled, copy, multiply_add, nonzeros, scale_row, times
from .losses import label_delta, label_losses, target_rows
from .memory import matrix_rows, window
from .random import draw_mask
from .samples import csr_row, expect, label_at, load_target, row_at, sample_weight
from .vectors import lanes


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
def first_part(W, stride, layout, batch, inputs, order, first, lo, n, part, top, end, base, Z):
    """`sum_part` of the first layer, whose inputs are read along the way."""
    room = layout.units[1]
    if len(inputs.indptr) > 0 or batch.is_listed:
        for t in range(lo, lo + n):
            row = row_at(order, first + t)
            if len(inputs.indptr) > 0:
                numbers, x, count = csr_row(inputs, row)
            else:
                list_inputs(batch, inputs, row, t, part, top, end, room)
                expect(inputs, order, first + t + batch.ahead, top, end)
                count = batch.counts[t * PARTS + part]
                numbers = window(batch.rows, t * room + top, count)
                x = window(batch.x, t * room + top, count)
            z = window(Z, (t - lo) * stride, stride)
            copy(base, z, stride)
            add_rows(W, numbers, x, count, z, 0, stride, stride)
    else:
        for t in range(lo, lo + n):
            if len(order) > 0:
                x = window(matrix_rows(inputs.X, order[first + t], 1), top, end - top)
                copy(x, window(batch.inputs, t * room + top, end - top), end - top)
            expect(inputs, order, first + t + batch.ahead, top, end)
        A, across = input_rows(batch, inputs, order, first, lo, n, room)
        matrix_part(W, stride, A, across, n, top, end, base, Z)


@jit(inline="early")
def matrix_part(W, stride, A, across, n, top, end, base, Z):
    """Z = base + A W of inputs ``top`` to ``end``, for n rows of A at that distance."""
    part = window(W, top * stride, (end - top) * stride)
    A = window(A, top, len(A) - top)
    one = W.dtype.type(1)
    multiply_add(part, stride, A, end - top, across, 1, n, base, 0, Z, stride, 0, stride, one)


@jit(inline="early")
def sum_part(W, stride, layout, batch, inputs, order, first, l, lo, n, part, base, Z):
    """Z = base + A_l W of a part of the inputs, or of all if there are no parts.

    Of samples lo to lo + n, ``base`` being one row for all.
    """
    n_in = layout.sizes[l]
    top, end = 0, n_in
    if batch.in_parts[l]:
        top, end = part_start(n_in, part, W), part_start(n_in, part + 1, W)
    if l == 0:
        first_part(W, stride, layout, batch, inputs, order, first, lo, n, part, top, end, base, Z)
    else:
        A = layer_rows(batch.fed, layout, batch, l, lo, n)
        room = layout.units[l + 1] - layout.units[l]
        matrix_part(W, stride, A, room, n, top, end, base, Z)


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
        base = window(W, n_in * stride, stride)
        if part > 0:
            Z = part_sums(layout, batch, l, lo, n, part)
            base = batch.zeros
        sum_part(W, stride, layout, batch, inputs, order, first, l, lo, n, part, base, Z)
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
        labels, is_known = window(batch.labels, lo, n), True
        for t in range(n):
            row = row_at(order, first + lo + t)
            label = label_at(samples, row, n_out)
            labels[t] = max(label, 0)
            scale = D.dtype.type(share * sample_weight(samples, row))
            label_delta(A, labels[t], scale, D, t * stride, stride)
            losses[t] = A[t * stride + labels[t]]
            is_known = is_known and label >= 0
        label_losses(Z, A, labels, losses, n_out, stride, n, samples.clip)
        if not is_known:
            losses[0] = np.nan
    else:
        for t in range(n):
            row = row_at(order, first + lo + t)
            load_target(samples, row, window(Y, t * stride, n_out))
        target_rows(
            layout.loss, layout.activations[L - 1], Z, A, Y, D, losses, n_out, stride, n,
            samples.clip,
        )  # fmt: skip
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
    one = below.dtype.type(1)
    multiply_add(W_T, room, D, n_out, stride, 1, n, batch.zeros, 0, below, room, start, stop, one)
    # Of all columns, rows follow each other without a gap: as good as one.
    rows, columns = (1, n * room) if stop - start == room else (n, stop - start)
    for t in range(rows):
        place = t * room + start
        δ = window(below, place, columns)
        if len(batch.mask) > 0:
            M = layer_rows(batch.mask, layout, batch, l, lo, n)
            times(window(M, place, columns), δ, δ, columns)
        z = window(layer_rows(batch.z, layout, batch, l, lo, n), place, columns)
        a = window(layer_rows(batch.a, layout, batch, l, lo, n), place, columns)
        times_derivative(layout.activations[l - 1], z, a, δ, columns)
