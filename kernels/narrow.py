"""Mini-batches of narrow networks: samples side by side, each in a lane of every vector.

In `layers` a row is a sample, and few outputs cost as much as a whole vector of them. Here a row is
a unit: A_l, Z_l and Δ_l have a vector of samples after the other, n_l rows of them, and all sums
are over rows. Only gradients are sums over lanes, one for each weight and batch.

    forward    Z_l[k] = b_l[k] + Σ_i W_l[i, k] A_{l−1}[i]       A_l = f_l(Z_l)
    backward   Δ_{l−1}[i] = (Σ_k W_l[i, k] Δ_l[k]) ⊙ f'(Z_{l−1}[i])
    gradient   G_l[i, k] = Σ_t A_{l−1}[i, t] Δ_l[k, t]

Samples come in groups of a few vectors, which threads share. A group's rows lie together, those of
one buffer one after the other, the inputs first. What is left of the last vector repeats the last
sample, with a δ of 0, so that it is finite if the samples are.
"""

from typing import NamedTuple

import numpy as np

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .bits import flush_subnormals, restore_subnormals
from .elementary import softmax_lanes
from .finite import first_nonfinite
from .layers import Stretch
from .linear import copy_whole, fill, multiply_add
from .losses import (
    CROSS_ENTROPY,
    Outputs,
    add_losses,
    cross_entropy_lanes,
    label_losses,
    lane_losses,
    output_delta,
)
from .memory import matrix_rows, overlap, window
from .packing import recall, reference, view
from .samples import (
    expect,
    label_at,
    n_samples,
    plain_samples,
    put_target,
    put_targets,
    rows_ahead,
    sample_weight,
)
from .scratch import Batch, is_for
from .state import State
from .vectors import (
    add_block_totals,
    add_totals,
    broadcast,
    broadcast_item,
    fma,
    lanes,
    load,
    store,
    transpose,
    transpose_listed,
    zeros,
)
from .views import Matrix, layer_at, matrix, transposed, width_at


class Group(NamedTuple):
    """Samples of a stretch that are side by side in all buffers."""

    number: int
    first: int  # number of the first in the stretch
    n: int  # how many they are
    stop: int  # the same in whole vectors


@jit(inline="early")
def group_at(batch, m, number, like):
    """A group of a stretch of m samples."""
    first, v = number * batch.group, lanes(like)
    n = min(batch.group, m - first)
    return Group(number, first, n, (n + v - 1) // v * v)


@jit(inline="early")
def units_of(buffer, layout, batch, number, l):
    """Layer l's rows of a group, the inputs being layer 0."""
    place = number * layout.units[len(layout.units) - 1] + layout.units[l]
    return window(buffer, place * batch.group, width_at(layout, l) * batch.group)


@jit(inline="early")
def rows_of(batch, group):
    """Rows of X of a group's samples; of what is left of the last vector, that of the last one."""
    return window(batch.rows, group.number * batch.group, batch.group)


@jit
def number_rows(rows, samples, first, group):
    """Write the rows of X of the pass's samples from ``first`` on; the last of these rows."""
    n, order = group.n, samples.order
    for t in range(group.stop):
        rows[t] = first + min(t, n - 1)
    if len(order) == 0:
        return first + n - 1
    last = 0
    for t in range(group.stop):
        rows[t] = order[rows[t]]
        last = max(last, rows[t])
    return last


@jit
def load_group(layout, batch, samples, stretch, group):
    """A_0: rows of X, turned into rows of inputs a vector of samples at a time."""
    A, n_in = units_of(batch.a, layout, batch, group.number, 0), layout.sizes[0]
    rows, width = rows_of(batch, group), layout.units[1]
    X, v = matrix_rows(samples.inputs.X, 0, len(samples.inputs.X)), lanes(A)
    last, first = number_rows(rows, samples, stretch.first + group.first, group), stretch.first
    ahead = first + group.first + rows_ahead(batch.length, width, A)
    for t in range(ahead, min(ahead + group.n, n_samples(samples))):
        expect(samples, t, 0, n_in)
    # Of the last rows, whole vectors would be read from behind the end of X.
    if last * n_in + width > len(X):
        copied = units_of(batch.z, layout, batch, group.number, 0)  # there is no Z_0
        for t in range(group.stop):
            copy_whole(X, rows[t] * n_in, copied, t * width, n_in)
            if t % v == v - 1:
                for i in range(0, n_in, v):
                    place = (t + 1 - v) * width + i
                    transpose(copied, place, width, A, i * batch.group + t + 1 - v, batch.group)
        return
    for t in range(0, group.stop, v):
        for i in range(0, n_in, v):
            transpose_listed(X, rows, t, n_in, i, A, i * batch.group + t, batch.group)


@jit(inline=False)
def unit_sums(W, base, A, out, n, rows, stop, width):
    """out[k] = base[k] + Σ_i W[k, i] A[i]: columns 0 to ``stop`` of rows of ``width``.

    W may be transposed; n is the number of rows of A.
    """
    v = lanes(A)
    four, two, one = zeros(A, 4), zeros(A, 2), zeros(A, 1)
    t = 0
    while t + 4 * v <= stop:
        for k in range(0, rows, 4):
            _four_units(four, W, base, A, out, n, (k, rows, t, width))
        t += 4 * v
    if t + 2 * v <= stop:
        for k in range(0, rows, 4):
            _four_units(two, W, base, A, out, n, (k, rows, t, width))
        t += 2 * v
    if t < stop:
        for k in range(0, rows, 4):
            _four_units(one, W, base, A, out, n, (k, rows, t, width))


@jit
def _four_units(like, W, base, A, out, n, where):
    """A few vectors of the next four units of `unit_sums`."""
    k, rows, t, width = where
    # With fewer units left, the last of them is computed again.
    k1, k2, k3 = min(k + 1, rows - 1), min(k + 2, rows - 1), min(k + 3, rows - 1)
    s0 = broadcast_item(like, base, k)
    s1 = broadcast_item(like, base, k1)
    s2 = broadcast_item(like, base, k2)
    s3 = broadcast_item(like, base, k3)
    w0, w1 = W.place + k * W.across, W.place + k1 * W.across
    w2, w3 = W.place + k2 * W.across, W.place + k3 * W.across
    i, stop, a = 0, n * W.along, t
    while i < stop:
        x = load(like, A, a)
        s0 = fma(broadcast_item(like, W.data, w0 + i), x, s0)
        s1 = fma(broadcast_item(like, W.data, w1 + i), x, s1)
        s2 = fma(broadcast_item(like, W.data, w2 + i), x, s2)
        s3 = fma(broadcast_item(like, W.data, w3 + i), x, s3)
        i += W.along
        a += width
    store(out, k * width + t, s0)
    store(out, k1 * width + t, s1)
    store(out, k2 * width + t, s2)
    store(out, k3 * width + t, s3)


@jit
def shape_of(group, width, n):
    """Rows and columns of a loop over n units of a group: a single row if the group is whole."""
    return (1, n * width) if group.stop == width else (n, group.stop)


@jit
def forward_group(state, batch, group):
    """Z_l and A_l of a group, from its inputs up."""
    layout, width, g = state.layout, batch.group, group.number
    for l in range(len(layout.strides)):
        layer = layer_at(state.params, layout, l)
        below, A = (
            units_of(batch.a, layout, batch, g, l),
            units_of(batch.a, layout, batch, g, l + 1),
        )
        Z, n = units_of(batch.z, layout, batch, g, l + 1), layer.n_out
        unit_sums(transposed(layer.W), layer.b, below, Z, layer.n_in, n, group.stop, width)
        if layout.activations[l] == SOFTMAX:
            for t in range(0, group.stop, lanes(Z)):
                softmax_lanes(Z, A, n, t, width)
        else:
            rows, columns = shape_of(group, width, n)
            for k in range(rows):
                z, a = window(Z, k * width, columns), window(A, k * width, columns)
                activate(layout.activations[l], z, a, columns)


@jit
def load_targets(layout, batch, samples, stretch, group):
    """Targets of a group, 1 and zeros for a class, and the factor of each sample's δ.

    False if a class number is none.
    """
    L, width, T = len(layout.strides), batch.group, batch.y.dtype.type
    n_out, first = layout.sizes[L], group.number * width
    Y = window(batch.y, first * layout.strides[L - 1], width * layout.strides[L - 1])
    rows, scales, is_known = rows_of(batch, group), window(batch.scales, first, width), True
    fill(scales, T(stretch.share), 0, group.stop)
    for t in range(group.n if len(samples.weights) > 0 else 0):
        scales[t] = T(stretch.share * sample_weight(samples, rows[t]))
    for t in range(group.n, group.stop):
        scales[t] = T(0)
    if len(samples.labels) == 0:
        put_targets(samples, rows, Y, n_out, group.stop, width)
        return True
    fill(Y, T(0), 0, n_out * width)
    for t in range(group.stop):
        if samples.kept == 1:
            label = label_at(samples, rows[t], n_out)
            Y[max(label, 0) * width + t] = T(1)
            is_known = is_known and label >= 0
            batch.labels[first + t] = max(label, 0)
        else:
            put_target(samples, rows[t], Y, n_out, t, width)
    return is_known


@jit
def judge_group(state, batch, samples, stretch, group):
    """Weighted losses of a group, and Δ_L times each sample's weight and ``stretch.share``."""
    layout, width = state.layout, batch.group
    L, first = len(layout.strides), group.number * width
    is_known = load_targets(layout, batch, samples, stretch, group)
    Z, A = (
        units_of(batch.z, layout, batch, group.number, L),
        units_of(batch.a, layout, batch, group.number, L),
    )
    D, stride = units_of(batch.delta, layout, batch, group.number, L), layout.strides[L - 1]
    Y = window(batch.y, first * stride, width * stride)
    outputs = Outputs(Z, A, Y, D, layout.sizes[L], width)
    losses = window(batch.losses, first, group.n)
    if len(samples.labels) > 0 and samples.kept == 1:
        labels = window(batch.labels, first, group.n)
        for t in range(group.n):
            losses[t] = A[labels[t] * width + t]
        label_losses(outputs, 1, width, labels, losses, samples.clip)
    else:
        lane_losses(layout.loss, outputs, losses, samples.clip)
    if not is_known:
        losses[0] = np.nan
    if len(samples.weights) > 0:
        for t in range(group.n):
            losses[t] *= sample_weight(samples, batch.rows[first + t])
    output_deltas(layout, batch, outputs, group)


@jit
def output_deltas(layout, batch, outputs, group):
    """Δ_L of a group, times the factors of its samples."""
    Z, A, Y, D, n, width = outputs
    scales = window(batch.scales, group.number * width, width)
    output = layout.activations[len(layout.activations) - 1]
    if layout.loss == CROSS_ENTROPY:
        cross_entropy_lanes(A, Y, D, n, width, group.stop)
    else:
        output_delta(layout.loss, output, Z, A, Y, -1, D, n * width)
    zero = zeros(D, 1)
    for k in range(0, n * width, width):
        for t in range(0, group.stop, lanes(D)):
            store(D, k + t, load(zero, scales, t) * load(zero, D, k + t))


@jit
def backward_group(state, batch, group):
    """Δ_l of a group for l = L − 1 down to 1."""
    layout, width, g = state.layout, batch.group, group.number
    for l in range(len(layout.strides) - 1, 0, -1):
        layer = layer_at(state.params, layout, l)
        above, D = (
            units_of(batch.delta, layout, batch, g, l + 1),
            units_of(batch.delta, layout, batch, g, l),
        )
        n = layer.n_in
        unit_sums(layer.W, batch.zeros, above, D, layer.n_out, n, group.stop, width)
        rows, columns = shape_of(group, width, n)
        Z, A = units_of(batch.z, layout, batch, g, l), units_of(batch.a, layout, batch, g, l)
        for k in range(rows):
            z, a = window(Z, k * width, columns), window(A, k * width, columns)
            δ = window(D, k * width, columns)
            times_derivative(layout.activations[l - 1], z, a, δ, columns)


@jit(inline=False)
def turn_deltas(layout, batch, group):
    """Rows of samples of each Δ_l that `add_unit_products` takes by samples, in place of Z_l."""
    v, width = lanes(batch.delta), batch.group
    for l in range(len(layout.strides)):
        if batch.turned[l] != 0:
            D = units_of(batch.delta, layout, batch, group.number, l + 1)
            rows, stride = units_of(batch.z, layout, batch, group.number, l + 1), layout.strides[l]
            for t in range(0, group.stop, v):
                for k in range(0, stride, v):
                    transpose(D, k * width + t, width, rows, t * stride + k, stride)


@jit(inline=False)
def through_group(task, number, groups):
    """Take a group of samples forward and back."""
    state, batch, samples_at, stretch = task
    samples = recall(samples_at)
    group = group_at(batch, stretch.m, number, state.params)
    load_group(state.layout, batch, samples, stretch, group)
    forward_group(state, batch, group)
    judge_group(state, batch, samples, stretch, group)
    backward_group(state, batch, group)
    turn_deltas(state.layout, batch, group)


@jit(inline="early")
def from_layer(buffer, layout, batch, l):
    """What begins with layer l's rows of the first group; ``step_of`` elements later, the next."""
    start = layout.units[l] * batch.group
    return window(buffer, start, len(buffer) - start)


@jit(inline="early")
def step_of(layout, batch):
    """Elements of all rows of a group."""
    return layout.units[len(layout.units) - 1] * batch.group


@jit
def add_unit_products(layout, batch, m, l, target, top, c):
    """target ← c (target + A_lᵀ Δ_{l+1}), for rows of W_{l+1} from ``top`` on; l counts from 0."""
    A, stride, width = from_layer(batch.a, layout, batch, l), layout.strides[l], batch.group
    W, rows, step = matrix(target, stride), len(target) // stride, step_of(layout, batch)
    A = window(A, top * width, len(A) - top * width)
    if batch.turned[l] != 0:
        D = from_layer(batch.z, layout, batch, l + 1)
        _add_by_samples(A, D, W, rows, m, (width, step), c)
    else:
        D = from_layer(batch.delta, layout, batch, l + 1)
        _add_by_lanes(A, D, W, rows, layout.sizes[l + 1], (m, width, step), c)


@jit(inline=False)
def _add_by_samples(A, D, W, rows, m, shape, c):
    """The same from Δ that `turn_deltas` has turned: no sums over lanes, but padded outputs."""
    width, step = shape
    for first in range(0, m, width):
        place, factor = first // width * step, c if first + width >= m else A.dtype.type(1)
        X, Δ = Matrix(A, place, width, 1), Matrix(D, place, W.across, 1)
        multiply_add(Δ, X, W, W, rows, min(width, m - first), W.across, factor)


@jit(inline=False)
def _add_by_lanes(A, D, W, rows, n_out, shape, c):
    """The same by four times four sums over lanes at a time."""
    m, width, step = shape
    v = lanes(A)
    stop = (m + v - 1) // v * v
    for i in range(0, rows, 4):
        # With fewer rows left, the last of them is computed again.
        i1, i2, i3 = min(i + 1, rows - 1), min(i + 2, rows - 1), min(i + 3, rows - 1)
        of_A = i * width, i1 * width, i2 * width, i3 * width
        for k in range(0, n_out, 4):
            of_W = i * W.across + k, i1 * W.across + k, i2 * W.across + k, i3 * W.across + k
            _add_block(A, of_A, D, k * width, W.data, of_W, (stop, width, step), c)


@jit
def _add_block(A, of_A, D, d, W, of_W, shape, c):
    stop, width, step = shape
    zero, v = zeros(A, 1), lanes(A)
    a0, a1, a2, a3 = of_A
    s00, s01, s02, s03 = zero, zero, zero, zero
    s10, s11, s12, s13 = zero, zero, zero, zero
    s20, s21, s22, s23 = zero, zero, zero, zero
    s30, s31, s32, s33 = zero, zero, zero, zero
    begin, left = 0, stop
    while left > 0:
        for t in range(begin, begin + min(left, width), v):
            d0, d1 = load(zero, D, d + t), load(zero, D, d + width + t)
            d2, d3 = load(zero, D, d + 2 * width + t), load(zero, D, d + 3 * width + t)
            a = load(zero, A, a0 + t)
            s00 = fma(a, d0, s00)
            s01 = fma(a, d1, s01)
            s02 = fma(a, d2, s02)
            s03 = fma(a, d3, s03)
            a = load(zero, A, a1 + t)
            s10 = fma(a, d0, s10)
            s11 = fma(a, d1, s11)
            s12 = fma(a, d2, s12)
            s13 = fma(a, d3, s13)
            a = load(zero, A, a2 + t)
            s20 = fma(a, d0, s20)
            s21 = fma(a, d1, s21)
            s22 = fma(a, d2, s22)
            s23 = fma(a, d3, s23)
            a = load(zero, A, a3 + t)
            s30 = fma(a, d0, s30)
            s31 = fma(a, d1, s31)
            s32 = fma(a, d2, s32)
            s33 = fma(a, d3, s33)
        begin += step
        left -= width
    sums = s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33
    add_block_totals(sums, c, W, of_W)


@jit(inline=False)
def add_unit_totals(layout, batch, m, l, c, out):
    """out += c Σ_t of Δ_{l+1}; l counts from 0."""
    D, width, step = (
        from_layer(batch.delta, layout, batch, l + 1),
        batch.group,
        step_of(layout, batch),
    )
    zero, v = zeros(out, 1), lanes(out)
    factor, stop = broadcast(zero, c), (m + v - 1) // v * v
    for k in range(0, layout.sizes[l + 1], 4):
        s0, s1, s2, s3 = zero, zero, zero, zero
        begin, left = k * width, stop
        while left > 0:
            for t in range(begin, begin + min(left, width), v):
                s0 = s0 + load(zero, D, t)
                s1 = s1 + load(zero, D, t + width)
                s2 = s2 + load(zero, D, t + 2 * width)
                s3 = s3 + load(zero, D, t + 3 * width)
            begin += step
            left -= width
        add_totals(factor * s0, factor * s1, factor * s2, factor * s3, out, k)


@jit(entry=True)
def differentiate_few(packed, packed_batch, X, labels, targets, gradient):
    """Mean loss of a few dense rows, and its gradient, by a call that costs little.

    It is that of `minibatch.train_minibatch`, to the last bit.

    Parameters
    ----------
    packed : (n,) floating
        A `State`.
    packed_batch : (n,) floating
        A `Batch` made for gradients, of groups of samples; modified in place.
    X : (n, n_0) floating
    labels : (n,) int64, or (0,)
    targets : (n, n_L) floating, or (0, n_L)
        All three are read-only and C-contiguous.
    gradient : (layout.blocks[-1],) floating
        It is overwritten.

    Returns
    -------
    float
        NaN, and perhaps nothing is done, if an array does not fit or is not finite, or if
        ``gradient`` shares memory with another one. What is wrong is for the caller to find out.
    """
    state, batch = view(packed, State), view(packed_batch, Batch)
    layout, n, T = state.layout, len(X), gradient.dtype.type
    samples = plain_samples(X, labels, targets)
    if not (_fits(state, batch, samples, gradient) and _are_usable(state, samples, gradient)):
        return np.nan
    mode = flush_subnormals()
    fill(gradient, T(0), 0, len(gradient))
    task = state, batch, reference(samples), Stretch(0, n, 0, 1.0 / n)
    for number in range((n + batch.group - 1) // batch.group):
        through_group(task, number, 0)
    for l in range(len(layout.strides)):
        layer = layer_at(gradient, layout, l)
        add_unit_products(layout, batch, n, l, layer.W.data, 0, T(1))
        add_unit_totals(layout, batch, n, l, T(1), layer.b)
    loss_sum = add_losses(0.0, 1.0, batch.losses, n)
    restore_subnormals(mode)
    return loss_sum / n


@jit(inline=False)
def _fits(state, batch, samples, gradient):
    """Whether the lengths of the arrays are those that `differentiate_few` takes."""
    layout, n = state.layout, len(samples.inputs.X)
    n_in, n_out = layout.sizes[0], layout.sizes[len(layout.strides)]
    given = max(len(samples.labels), len(samples.targets))
    return (
        is_for(layout, batch.sizes)
        and 0 < n <= batch.length
        and given == n
        and (len(samples.labels) == 0 or layout.loss == CROSS_ENTROPY)
        and batch.group > 0
        and len(batch.delta) > 0
        and samples.inputs.X.shape[1] == n_in
        and samples.targets.shape[1] == n_out
        and len(gradient) == len(state.params)
    )


@jit(inline=False)
def _are_usable(state, samples, gradient):
    """Whether inputs and targets are finite, and the gradient is an array of its own."""
    X, labels, targets = samples.inputs.X, samples.labels, samples.targets
    x, y = matrix_rows(X, 0, len(X)), matrix_rows(targets, 0, len(targets))
    if overlap(gradient, labels) or overlap(gradient, targets):
        return False
    if overlap(gradient, X) or overlap(gradient, state.params):
        return False
    return first_nonfinite(x, 0, len(x)) < 0 and first_nonfinite(y, 0, len(y)) < 0
