"""Training by mini-batches: one step for the mean gradient of a batch of samples.

In the notation of DESIGN, with the batch's samples as rows of A_l, Z_l and Δ_l and weights
input-major, row i being the fan-out of input i:

    forward    Z_l = A_{l−1} W_l + b_l       A_l = f_l(Z_l)
    backward   Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1})
    gradient   G_l = A_{l−1}ᵀ Δ_l            ∂loss/∂b_l = Σ_t δ_{l,t}

Each is a product of small matrices, and `multiply_add` takes all three. A row of Δ_L is multiplied
by its sample's share of the mean, so G is the gradient of the batch's mean loss. Plain SGD needs
no G: its step is a factor of the sample's share too, and the product is added to W itself. Other
rules get G in panels of a few rows, which are still in the nearest cache when the step is taken.

A batch longer than the scratch is worked off in parts: their gradients are summed up, and the step
comes with the last.
"""

from ._jit import jit
from .activations import activate, times_derivative
from .blocks import add_marked, read_inputs, scatter_inputs
from .layout import LONGEST_BLOCK
from .linear import add_rows, add_scaled, copy, fill, multiply_add, rank_one, scaled_sum
from .losses import loss_value, output_delta
from .sequential import load_target, sample_weight
from .simd import lanes, transpose, window
from .updates import SGD, begin_step, take_step


@jit(inline="early")
def forward_part(params, layout, batch, inputs, order, first, m):
    """Z_l = A_{l−1} W_l + b_l and A_l = f_l(Z_l), of samples order[first : first + m]."""
    T = params.dtype.type
    for l in range(len(layout.strides)):
        n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
        room = layout.units[l + 1] - layout.units[l]
        W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
        A = window(batch.a, layout.units[l] * batch.length, room * batch.length)
        Z = window(batch.z, layout.units[l + 1] * batch.length, stride * batch.length)
        out = window(batch.a, layout.units[l + 1] * batch.length, stride * batch.length)
        for t in range(m):
            copy(window(W, n_in * stride, stride), window(Z, t * stride, stride), stride)
        if l == 0:
            first_products(W, stride, batch, inputs, order, first, m, A, n_in, room, Z)
        else:
            multiply_add(W, stride, A, n_in, room, 1, m, Z, stride, 0, stride, T(1))
        for t in range(m):
            z = window(Z, t * stride, stride)
            activate(layout.activations[l], z, window(out, t * stride, stride), n_out)


@jit(inline="early")
def first_products(W, stride, batch, inputs, order, first, m, A, n_in, room, Z):
    """Z += X W of the first layer."""
    if len(inputs.indptr) > 0:
        for t in range(m):
            start = inputs.indptr[order[first + t]]
            count = inputs.indptr[order[first + t] + 1] - start
            numbers, values = (
                window(inputs.indices, start, count), window(inputs.data, start, count)
            )  # fmt: skip
            add_rows(W, numbers, values, count, window(Z, t * stride, stride), 0, stride, stride)
        return
    rows, x, counts = batch.rows, batch.x, batch.counts
    for t in range(m):
        read_inputs(inputs.X, order[first + t], t, batch.is_listed, A, rows, x, counts, n_in, room)
    if batch.is_listed:
        for t in range(m):
            numbers, values = window(rows, t * room, room), window(x, t * room, room)
            z = window(Z, t * stride, stride)
            add_rows(W, numbers, values, counts[t], z, 0, stride, stride)
        scatter_inputs(batch.marked, rows, x, counts, m, room, batch.width)
    else:
        multiply_add(W, stride, A, n_in, room, 1, m, Z, stride, 0, stride, W.dtype.type(1))


@jit(inline="early")
def output_part(layout, work, batch, samples, order, first, m, share, loss_sum):
    """Δ_L, each row times its sample's weight and ``share``; and ``loss_sum`` with their losses."""
    L = len(layout.strides)
    n, stride = layout.sizes[L], layout.strides[L - 1]
    for t in range(m):
        row = order[first + t]
        weight = sample_weight(samples, row)
        label = load_target(samples, row, work.y)
        place = layout.units[L] * batch.length + t * stride
        z, a = window(batch.z, place, stride), window(batch.a, place, stride)
        δ = window(batch.delta, place, stride)
        loss_sum += weight * loss_value(layout.loss, z, a, work.y, label, n)
        output_delta(layout.loss, layout.activations[L - 1], z, a, work.y, label, δ, n)
        scaled_sum(δ.dtype.type(share * weight), δ, None, δ, stride)
    return loss_sum


@jit(inline=False)
def transpose_weights(W, n_in, n_out, stride, out, room):
    """Out[k·room + i] = W[i·stride + k]; columns from n_in to ``room`` are zero."""
    v = lanes(W)
    whole = n_in // v * v
    for i in range(0, whole, v):
        for k in range(0, stride, v):
            transpose(W, i * stride + k, stride, out, k * room + i, room)
    for k in range(n_out):
        for i in range(whole, n_in):
            out[k * room + i] = W[i * stride + k]
        for i in range(n_in, room):
            out[k * room + i] = W.dtype.type(0)


@jit(inline="early")
def backward_part(params, layout, batch, m):
    """Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1}) down to l = 2."""
    T = params.dtype.type
    for l in range(len(layout.strides) - 1, 0, -1):
        n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
        room = layout.units[l + 1] - layout.units[l]
        W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
        D = window(batch.delta, layout.units[l + 1] * batch.length, stride * batch.length)
        below = window(batch.delta, layout.units[l] * batch.length, room * batch.length)
        transposed = window(batch.transposed, 0, stride * room)
        transpose_weights(W, n_in, n_out, stride, transposed, room)
        fill(below, T(0), 0, m * room)
        multiply_add(transposed, room, D, n_out, stride, 1, m, below, room, 0, room, T(1))
        for t in range(m):
            place = layout.units[l] * batch.length + t * room
            z, a = window(batch.z, place, room), window(batch.a, place, room)
            times_derivative(layout.activations[l - 1], z, a, window(below, t * room, room), n_in)


@jit(inline="early")
def add_products(target, layout, batch, inputs, order, first, m, l, top, rows, c):
    """Target ← c (target + A_{l−1}ᵀ Δ_l), rows ``top`` to ``top + rows`` of layer l's weights."""
    stride, room = layout.strides[l], layout.units[l + 1] - layout.units[l]
    D = window(batch.delta, layout.units[l + 1] * batch.length, stride * batch.length)
    one = target.dtype.type(1)
    if l == 0 and len(inputs.indptr) > 0:  # all rows, then
        for t in range(m):
            start = inputs.indptr[order[first + t]]
            count = inputs.indptr[order[first + t] + 1] - start
            numbers, values = (
                window(inputs.indices, start, count), window(inputs.data, start, count)
            )  # fmt: skip
            rank_one(
                target, numbers, values, count, window(D, t * stride, stride), stride, one, one
            )
        if c != 1:
            scaled_sum(c, target, None, target, rows * stride)
    elif l == 0 and batch.is_listed:
        for s in range(0, m, LONGEST_BLOCK):
            n = min(LONGEST_BLOCK, m - s)
            marks = top * batch.width + s
            marked = window(batch.marked, marks, len(batch.marked) - marks)
            d = window(D, s * stride, n * stride)
            factor = c if s + n == m else one
            add_marked(target, marked, d, rows, n, factor, 0, stride, stride, batch.width)
    else:
        A = window(batch.a, layout.units[l] * batch.length + top, room * batch.length - top)
        multiply_add(D, stride, A, m, 1, room, rows, target, stride, 0, stride, c)


@jit(inline="early")
def add_biases(target, layout, batch, m, l, c):
    """Target += c Σ_t δ_{l,t}, for layer l's biases."""
    stride = layout.strides[l]
    for t in range(m):
        place = layout.units[l + 1] * batch.length + t * stride
        add_scaled(c, window(batch.delta, place, stride), target, stride)


@jit(inline="early")
def step_by_panels(params, layout, batch, rule, step, inputs, order, first, m, is_whole):
    """The rule's step, for the samples in the scratch and for what was summed up before."""
    T = params.dtype.type
    for l in range(len(layout.strides)):
        n_in, stride, start = layout.sizes[l], layout.strides[l], layout.blocks[l]
        height = n_in if is_whole else max(4, len(batch.gradient) // stride // 4 * 4)
        for top in range(0, n_in, height):
            rows = min(height, n_in - top)
            place, n = start + top * stride, rows * stride
            g = window(batch.gradient, place if is_whole else 0, n)
            if not is_whole:
                fill(g, T(0), 0, n)
            add_products(g, layout, batch, inputs, order, first, m, l, top, rows, T(1))
            take_step(rule, step, window(params, place, n), g, place, n, True)
        place = start + n_in * stride
        g = window(batch.gradient, place if is_whole else 0, stride)
        if not is_whole:
            fill(g, T(0), 0, stride)
        add_biases(g, layout, batch, m, l, T(1))
        take_step(rule, step, window(params, place, stride), g, place, stride, False)


@jit(inline="early")
def add_gradient_part(gradient, layout, batch, inputs, order, first, m, c):
    """Add c times the gradient of the samples in the scratch; weights are multiplied by c too."""
    for l in range(len(layout.strides)):
        n_in, stride, start = layout.sizes[l], layout.strides[l], layout.blocks[l]
        W = window(gradient, start, n_in * stride)
        add_products(W, layout, batch, inputs, order, first, m, l, 0, n_in, c)
        add_biases(window(gradient, start + n_in * stride, stride), layout, batch, m, l, c)


@jit(entry=True)
def train_minibatch(
    params, layout, work, batch, rule, samples, order, start, stop, batch_size, learning_rate,
    weight_decay, loss_sum,
):  # fmt: skip
    """A step for each batch of ``batch_size`` samples order[start:stop], the last may be smaller.

    Parameters and result are those of `train_sequential`, and:

    batch : Batch
        Modified in place. Its gradient is whole if ``batch_size`` is more than its length, or if
        the rows are CSR and the rule is not plain SGD.
    rule : Rule
        Its moments and counts are modified in place.
    batch_size : int
        Batches are counted from ``start``: where a pass is cut into several calls, all but the
        last are of whole batches.
    """
    T = params.dtype.type
    inputs = samples.inputs
    is_whole = len(batch.gradient) == len(params)
    is_plain = rule.code == SGD and rule.settings[0] == 0 and batch_size <= batch.length
    γ = T(1) - learning_rate * weight_decay
    for begin in range(start, stop, batch_size):
        n = min(batch_size, stop - begin)
        step = begin_step(rule, learning_rate, weight_decay, T)
        # Plain SGD: W ← γ (W − (η/γ) G) and b ← b − γ (η/γ) Σ_t δ_t.
        share = -float(learning_rate) / (float(γ) * n) if is_plain else 1.0 / n
        for first in range(begin, begin + n, batch.length):
            m = min(batch.length, begin + n - first)
            forward_part(params, layout, batch, inputs, order, first, m)
            loss_sum = output_part(layout, work, batch, samples, order, first, m, share, loss_sum)
            backward_part(params, layout, batch, m)
            if is_plain:
                add_gradient_part(params, layout, batch, inputs, order, first, m, γ)
            elif first + m < begin + n:
                add_gradient_part(batch.gradient, layout, batch, inputs, order, first, m, T(1))
            else:
                step_by_panels(params, layout, batch, rule, step, inputs, order, first, m, is_whole)
        if is_whole and not is_plain:
            fill(batch.gradient, T(0), 0, len(batch.gradient))
    return loss_sum
