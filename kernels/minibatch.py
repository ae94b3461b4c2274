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
these two are what threads share. Every element is computed in one part, in one order.

A batch longer than the scratch is worked off in parts: their gradients are summed up, and the step
comes with the last.
"""

from numba import prange

from ._jit import jit
from .activations import RELU, activate, times_derivative
from .blocks import add_marked, read_inputs
from .layout import LONGEST_BLOCK, Samples
from .linear import add_rows, add_scaled, copy, fill, multiply_add, rank_one, scaled_sum
from .losses import loss_value, output_delta
from .sequential import csr_row, load_target, sample_weight
from .simd import lanes, transpose, window
from .updates import SGD, begin_step, take_step

# What is done with a part's gradient: W takes plain SGD's step, the sum for the batch grows, or it
# is complete and the rule takes its step.
PLAIN_STEP, SUM_UP, STEP = range(3)


@jit(inline="early")
def layer_rows(buffer, layout, batch, l, first, n):
    """Rows ``first`` to ``first + n`` of layer l's part of a, z or delta, l ≥ 1."""
    room = layout.units[l + 1] - layout.units[l]
    place = (layout.units[l] - layout.units[1]) * batch.length + first * room
    return window(buffer, place, n * room)


@jit
def mark(batch, room, t, is_there):
    """Column t of ``marked``: the inputs in sample t's list, or zeros in their places."""
    zero = batch.x.dtype.type(0)
    for j in range(t * room, t * room + batch.counts[t]):
        batch.marked[batch.rows[j] * batch.width + t] = batch.x[j] if is_there else zero


@jit(inline="early")
def first_products(W, stride, batch, inputs, order, first, lo, n, n_in, room, Z):
    """Z += X W of the first layer, for samples lo to lo + n."""
    if len(inputs.indptr) > 0:
        for t in range(n):
            numbers, values, count = csr_row(inputs, order[first + lo + t])
            add_rows(W, numbers, values, count, window(Z, t * stride, stride), 0, stride, stride)
        return
    rows, x, counts = batch.rows, batch.x, batch.counts
    for t in range(lo, lo + n):
        if batch.is_listed:
            mark(batch, room, t, False)
        row = order[first + t]
        read_inputs(inputs.X, row, t, batch.is_listed, batch.inputs, rows, x, counts, n_in, room)
        if batch.is_listed:
            mark(batch, room, t, True)
    if not batch.is_listed:
        A = window(batch.inputs, lo * room, n * room)
        multiply_add(W, stride, A, n_in, room, 1, n, Z, stride, 0, stride, W.dtype.type(1))
        return
    for t in range(n):
        numbers = window(rows, (lo + t) * room, room)
        values = window(x, (lo + t) * room, room)
        add_rows(
            W, numbers, values, counts[lo + t], window(Z, t * stride, stride), 0, stride, stride
        )


@jit(inline="early")
def forward_rows(params, layout, batch, inputs, order, first, lo, n):
    """Z_l = A_{l−1} W_l + b_l and A_l = f_l(Z_l) for l = 1..L, of samples lo to lo + n."""
    for l in range(len(layout.strides)):
        n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
        room = layout.units[l + 1] - layout.units[l]
        W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
        Z = layer_rows(batch.z, layout, batch, l + 1, lo, n)
        out = layer_rows(batch.a, layout, batch, l + 1, lo, n)
        for t in range(n):
            copy(window(W, n_in * stride, stride), window(Z, t * stride, stride), stride)
        if l == 0:
            first_products(W, stride, batch, inputs, order, first, lo, n, n_in, room, Z)
        else:
            A = layer_rows(batch.a, layout, batch, l, lo, n)
            multiply_add(W, stride, A, n_in, room, 1, n, Z, stride, 0, stride, W.dtype.type(1))
        if layout.activations[l] == RELU:
            activate(RELU, Z, out, n * stride)
            continue
        for t in range(n):
            z = window(Z, t * stride, stride)
            activate(layout.activations[l], z, window(out, t * stride, stride), n_out)


@jit(inline="early")
def output_rows(layout, batch, samples, order, first, lo, n, share):
    """Rows of Δ_L, times the sample's weight and ``share``; and each sample's weighted loss."""
    L = len(layout.strides)
    n_out, stride = layout.sizes[L], layout.strides[L - 1]
    for t in range(lo, lo + n):
        row = order[first + t]
        weight = sample_weight(samples, row)
        y = window(batch.y, t * stride, n_out)
        label = load_target(samples, row, y)
        z = layer_rows(batch.z, layout, batch, L, t, 1)
        a = layer_rows(batch.a, layout, batch, L, t, 1)
        δ = layer_rows(batch.delta, layout, batch, L, t, 1)
        batch.losses[t] = weight * loss_value(layout.loss, z, a, y, label, n_out)
        output_delta(layout.loss, layout.activations[L - 1], z, a, y, label, δ, n_out)
        scaled_sum(δ.dtype.type(share * weight), δ, None, δ, stride)


@jit(inline="early")
def backward_rows(layout, batch, lo, n):
    """Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1}) down to l = 2, of samples lo to lo + n."""
    for l in range(len(layout.strides) - 1, 0, -1):
        n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
        room = layout.units[l + 1] - layout.units[l]
        D = layer_rows(batch.delta, layout, batch, l + 1, lo, n)
        below = layer_rows(batch.delta, layout, batch, l, lo, n)
        start = batch.places[l]
        W_T = window(batch.transposed, start, batch.places[l + 1] - start)
        T = below.dtype.type
        fill(below, T(0), 0, n * room)
        multiply_add(W_T, room, D, n_out, stride, 1, n, below, room, 0, room, T(1))
        Z = layer_rows(batch.z, layout, batch, l, lo, n)
        A = layer_rows(batch.a, layout, batch, l, lo, n)
        if layout.activations[l - 1] == RELU:
            times_derivative(RELU, Z, A, below, n * room)
            continue
        for t in range(n):
            z, a = window(Z, t * room, room), window(A, t * room, room)
            δ = window(below, t * room, room)
            times_derivative(layout.activations[l - 1], z, a, δ, n_in)


@jit(inline=False)
def through_layers(params, layout, batch, samples, order, first, m, share, part, parts):
    """Forward and back: the share of samples of a thread, in whole groups of four."""
    group = (m + 4 * parts - 1) // (4 * parts) * 4
    lo = part * group
    n = min(group, m - lo)
    if n > 0:
        forward_rows(params, layout, batch, samples.inputs, order, first, lo, n)
        output_rows(layout, batch, samples, order, first, lo, n, share)
        backward_rows(layout, batch, lo, n)


@jit
def transpose_rows(W, n_in, n_out, stride, out, room, top, rows):
    """Out[k·room + i] = W[i·stride + k] for rows ``top``, at a whole vector, to ``top + rows``."""
    v = lanes(W)
    i = top
    while i + v <= min(top + rows, n_in):
        for k in range(0, stride, v):
            transpose(W, i * stride + k, stride, out, k * room + i, room)
        i += v
    while i < top + rows:
        for k in range(n_out):
            out[k * room + i] = W[i * stride + k]
        i += 1


@jit(inline="early")
def add_products(target, layout, batch, inputs, order, first, m, l, top, rows, c):
    """Target ← c (target + A_{l−1}ᵀ Δ_l), rows ``top`` to ``top + rows`` of layer l's weights."""
    stride, room = layout.strides[l], layout.units[l + 1] - layout.units[l]
    D = layer_rows(batch.delta, layout, batch, l + 1, 0, m)
    one = target.dtype.type(1)
    if l == 0 and len(inputs.indptr) > 0:  # of all rows, then
        for t in range(m):
            numbers, values, count = csr_row(inputs, order[first + t])
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
        A = batch.inputs
        if l > 0:
            A = layer_rows(batch.a, layout, batch, l, 0, batch.length)
        A = window(A, top, len(A) - top)
        multiply_add(D, stride, A, m, 1, room, rows, target, stride, 0, stride, c)


@jit(inline=False)
def take_tile(
    params, layout, batch, rule, step, inputs, order, first, m, action, c, tile, slot
):  # fmt: skip
    """What is to be done with the gradient of the samples at hand, for one panel of one layer."""
    l = 0
    while tile >= batch.tiles[l + 1]:
        l += 1
    n_in, stride, start = layout.sizes[l], layout.strides[l], layout.blocks[l]
    top = (tile - batch.tiles[l]) * batch.heights[l]
    rows = min(batch.heights[l], n_in - top)
    weights, bias = start + top * stride, start + n_in * stride
    T = params.dtype.type
    if action == STEP:
        # What earlier parts of the batch have summed up, or a panel that only this thread has.
        g = window(batch.gradient, weights if batch.is_whole else slot * batch.panel, rows * stride)
        if not batch.is_whole:
            fill(g, T(0), 0, rows * stride)
        add_products(g, layout, batch, inputs, order, first, m, l, top, rows, T(1))
        w = window(params, weights, rows * stride)
        take_step(rule, step, w, g, weights, rows * stride, True)
        if top == 0:
            g = window(batch.gradient, bias if batch.is_whole else slot * batch.panel, stride)
            if not batch.is_whole:
                fill(g, T(0), 0, stride)
            add_biases(g, layout, batch, m, l, T(1))
            take_step(rule, step, window(params, bias, stride), g, bias, stride, False)
    else:
        target = params if action == PLAIN_STEP else batch.gradient
        w = window(target, weights, rows * stride)
        add_products(w, layout, batch, inputs, order, first, m, l, top, rows, c)
        if top == 0:
            add_biases(window(target, bias, stride), layout, batch, m, l, c)
    if l > 0 and action != SUM_UP:
        transpose_tile(params, layout, batch, l, top, rows)


@jit(inline="early")
def add_biases(target, layout, batch, m, l, c):
    """Target += c Σ_t δ_{l,t}, for layer l's biases."""
    for t in range(m):
        add_scaled(c, layer_rows(batch.delta, layout, batch, l + 1, t, 1), target, len(target))


@jit(inline="early")
def transpose_tile(params, layout, batch, l, top, rows):
    """Layer l's part of ``transposed``, in columns ``top`` to ``top + rows``."""
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    start = batch.places[l]
    out = window(batch.transposed, start, batch.places[l + 1] - start)
    room = layout.units[l + 1] - layout.units[l]
    n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
    transpose_rows(W, n_in, n_out, stride, out, room, top, rows)


@jit(inline=False, parallel=True)
def _through_layers_on_threads(
    params, layout, batch, inputs, labels, targets, weights, order, first, m, share, threads
):  # fmt: skip
    for part in prange(threads):
        samples = Samples(inputs, labels, targets, weights)  # a loop takes no tuples of tuples
        through_layers(params, layout, batch, samples, order, first, m, share, part, threads)


@jit(inline=False, parallel=True)
def _take_tiles_on_threads(
    params, layout, batch, rule, step, inputs, order, first, m, action, c, threads
):  # fmt: skip
    share = (batch.tiles[-1] + threads - 1) // threads
    for slot in prange(threads):
        for tile in range(slot * share, min((slot + 1) * share, batch.tiles[-1])):
            take_tile(
                params, layout, batch, rule, step, inputs, order, first, m, action, c, tile, slot
            )


@jit(inline=False)
def _alone(params, layout, batch, rule, step, samples, order, first, m, share, action, c):
    through_layers(params, layout, batch, samples, order, first, m, share, 0, 1)
    for tile in range(batch.tiles[-1]):
        take_tile(
            params, layout, batch, rule, step, samples.inputs, order, first, m, action, c, tile, 0
        )


@jit(entry=True)
def train_minibatch(
    params, layout, batch, rule, samples, order, start, stop, batch_size, learning_rate,
    weight_decay, loss_sum, threads,
):  # fmt: skip
    """A step for each batch of ``batch_size`` samples order[start:stop], the last may be smaller.

    Parameters and result are those of `train_sequential`, and:

    batch : Batch
        Modified in place, made by `make_batch` for this ``batch_size`` and kind of samples.
    rule : Rule
        Its moments and counts are modified in place.
    batch_size : int
        Batches are counted from ``start``: where a pass is cut into several calls, all but the
        last are of whole batches.
    threads : int or None
        They change no bit. None compiles no parallel loops.
    """
    T = params.dtype.type
    inputs = samples.inputs
    is_plain = rule.code == SGD and rule.settings[0] == 0 and batch_size <= batch.length
    γ = T(1) - learning_rate * weight_decay
    for l in range(1, len(layout.strides)):
        transpose_tile(params, layout, batch, l, 0, layout.sizes[l])
    for begin in range(start, stop, batch_size):
        n = min(batch_size, stop - begin)
        step = begin_step(rule, learning_rate, weight_decay, T)
        # Plain SGD: W ← γ (W − (η/γ) G) and b ← b − γ (η/γ) Σ_t δ_t.
        share = -float(learning_rate) / (float(γ) * n) if is_plain else 1.0 / n
        for first in range(begin, begin + n, batch.length):
            m = min(batch.length, begin + n - first)
            if batch.is_listed:  # what a longer part has left behind
                for t in range(m, batch.length):
                    mark(batch, layout.units[1], t, False)
                    batch.counts[t] = 0
            action, c = STEP, T(1)
            if is_plain:
                action, c = PLAIN_STEP, γ
            elif first + m < begin + n:
                action = SUM_UP
            if threads is None:  # then the parallel loops are not even compiled
                _alone(
                    params, layout, batch, rule, step, samples, order, first, m, share, action, c
                )
            elif threads > 1:
                _, labels, targets, weights = samples
                _through_layers_on_threads(
                    params, layout, batch, inputs, labels, targets, weights, order, first, m,
                    share, threads,
                )  # fmt: skip
                _take_tiles_on_threads(
                    params, layout, batch, rule, step, inputs, order, first, m, action, c, threads
                )
            else:
                _alone(
                    params, layout, batch, rule, step, samples, order, first, m, share, action, c
                )
            for t in range(m):
                loss_sum += batch.losses[t]
        if batch.is_whole and not is_plain:
            fill(batch.gradient, T(0), 0, len(batch.gradient))
    return loss_sum
