"""One sample at a time: forward, every delta, then the step. The reference among the kernels.

    forward    z_l = W_l a_{l-1} + b_l          a_l = f_l(z_l)
    backward   δ_L = ∂loss/∂z_L                 δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l)
    gradient   ∂loss/∂W_l = δ_l a_{l-1}ᵀ        ∂loss/∂b_l = δ_l
    SGD        W_l ← W_l − η (∂loss/∂W_l + λ W_l)      b_l ← b_l − η ∂loss/∂b_l

All δ of a sample are computed from the weights as they were before its step. The entry points
work on rows [start, stop) and carry their sums from call to call, one sample after the other, so
that cutting the work into chunks changes no bit of a result.
"""

from ._jit import jit
from .activations import activate, times_derivative
from .linear import add_dots, add_rows, add_scaled, copy, fill, rank_one, rank_one_add_rows
from .losses import loss_value, output_delta
from .memory import matrix_rows, window
from .samples import csr_row, expect, load_target, row_at, sample_weight


@jit(inline="early")
def first_sums(params, layout, work, inputs, row):
    """z_1 = W_1 x + b_1 for a row of the inputs."""
    n_in, stride = layout.sizes[0], layout.strides[0]
    W = window(params, 0, layout.blocks[1])
    z = window(work.z, layout.units[1], stride)
    copy(window(W, n_in * stride, stride), z, stride)
    if len(inputs.indptr) > 0:
        rows, x, count = csr_row(inputs, row)
        add_rows(W, rows, x, count, z, 0, stride, stride)
    else:
        add_rows(W, None, matrix_rows(inputs.X, row, 1), n_in, z, 0, stride, stride)


@jit(inline="early")
def forward_from_first_sums(params, layout, work):
    """a_1 = f_1(z_1), then z_l = W_l a_{l-1} + b_l and a_l = f_l(z_l) for l = 2..L."""
    sizes, strides, blocks, units, activations, _ = layout
    for l in range(len(strides)):
        n_in, n_out, stride = sizes[l], sizes[l + 1], strides[l]
        W = window(params, blocks[l], blocks[l + 1] - blocks[l])
        z = window(work.z, units[l + 1], stride)
        a = window(work.a, units[l + 1], stride)
        if l > 0:
            copy(window(W, n_in * stride, stride), z, stride)
            add_rows(W, None, window(work.a, units[l], n_in), n_in, z, 0, stride, stride)
        activate(activations[l], z, a, n_out)


@jit(entry=True, inline="early")
def forward(params, layout, work, inputs, row):
    """z_l = W_l a_{l-1} + b_l and a_l = f_l(z_l) for l = 1..L, a_0 being a row of the inputs."""
    first_sums(params, layout, work, inputs, row)
    forward_from_first_sums(params, layout, work)


@jit(inline="early")
def output_layer_delta(layout, work, label):
    """δ_L = ∂loss/∂z_L of the sample that has just gone forward."""
    L = len(layout.strides)
    n, stride = layout.sizes[L], layout.strides[L - 1]
    z = window(work.z, layout.units[L], stride)
    a = window(work.a, layout.units[L], stride)
    δ = window(work.delta, layout.units[L], stride)
    output_delta(layout.loss, layout.activations[L - 1], z, a, work.y, label, δ, n)


@jit(entry=True, inline="early")
def backward(params, layout, work, label):
    """δ_L from the loss, then δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l) down to l = 1."""
    sizes, strides, blocks, units, activations, _ = layout
    output_layer_delta(layout, work, label)
    for l in range(len(strides) - 1, 0, -1):
        n, stride = sizes[l], strides[l]
        W = window(params, blocks[l], blocks[l + 1] - blocks[l])
        δ_above = window(work.delta, units[l + 1], stride)
        room = units[l + 1] - units[l]
        δ = window(work.delta, units[l], room)
        fill(δ, δ.dtype.type(0), 0, room)
        add_dots(W, None, 0, n, δ_above, δ, stride)
        z = window(work.z, units[l], room)
        a = window(work.a, units[l], room)
        times_derivative(activations[l - 1], z, a, δ, n)


@jit(inline="early")
def accumulate_first(target, layout, work, inputs, row, scale, decay):
    """`accumulate` of the first layer."""
    n_in, stride = layout.sizes[0], layout.strides[0]
    W = window(target, 0, layout.blocks[1])
    δ = window(work.delta, layout.units[1], stride)
    if len(inputs.indptr) > 0:
        rows, x, count = csr_row(inputs, row)
        rank_one(W, rows, x, count, δ, stride, scale, decay)
    else:
        rank_one(W, None, matrix_rows(inputs.X, row, 1), n_in, δ, stride, scale, decay)
    add_scaled(scale, δ, window(W, n_in * stride, stride), stride)


@jit(inline="early")
def accumulate_above_first(target, layout, work, scale, decay):
    """`accumulate` of the layers above the first."""
    sizes, strides, blocks, units, _, _ = layout
    for l in range(1, len(strides)):
        n_in, stride = sizes[l], strides[l]
        W = window(target, blocks[l], blocks[l + 1] - blocks[l])
        δ = window(work.delta, units[l + 1], stride)
        rank_one(W, None, window(work.a, units[l], n_in), n_in, δ, stride, scale, decay)
        add_scaled(scale, δ, window(W, n_in * stride, stride), stride)


@jit(entry=True, inline="early")
def accumulate(target, layout, work, inputs, row, scale, decay):
    """W_l ← decay·W_l + scale·δ_l a_{l-1}ᵀ and b_l ← b_l + scale·δ_l, over a flat buffer.

    The SGD step when ``target`` is the parameters, the gradient's sum when it is a gradient; of
    CSR rows only that, with ``decay`` 1.
    """
    accumulate_first(target, layout, work, inputs, row, scale, decay)
    accumulate_above_first(target, layout, work, scale, decay)


@jit(inline="early")
def step_and_first_sums(params, layout, work, inputs, row, next_row, scale, decay):
    """`accumulate_first`, then `first_sums` of the next sample, while each row is at hand."""
    n_in, stride = layout.sizes[0], layout.strides[0]
    W = window(params, 0, layout.blocks[1])
    b = window(W, n_in * stride, stride)
    δ = window(work.delta, layout.units[1], stride)
    z = window(work.z, layout.units[1], stride)
    add_scaled(scale, δ, b, stride)
    copy(b, z, stride)
    x, next_x = matrix_rows(inputs.X, row, 1), matrix_rows(inputs.X, next_row, 1)
    rank_one_add_rows(W, x, next_x, n_in, δ, z, stride, scale, decay)


@jit(inline="early")
def sample_loss(layout, work, samples, label):
    """Loss of the sample that has just gone forward."""
    L = len(layout.strides)
    n = layout.sizes[L]
    z = window(work.z, layout.units[L], n)
    a = window(work.a, layout.units[L], n)
    return loss_value(layout.loss, z, a, work.y, label, n, samples.clip)


@jit(inline="early")
def differentiate(params, layout, work, samples, row):
    """Every a and δ of a sample from its z_1, all in ``work``; its loss."""
    label = load_target(samples, row, work.y)
    forward_from_first_sums(params, layout, work)
    loss = sample_loss(layout, work, samples, label)
    backward(params, layout, work, label)
    return loss


@jit(entry=True)
def train_sequential(
    params, layout, work, samples, order, start, stop, learning_rate, weight_decay, loss_sum
):
    """Per-sample SGD over samples start to stop of a pass.

    Parameters
    ----------
    params : (layout.blocks[-1],) floating
        Modified in place.
    layout : Layout
    work : Work
        Modified in place.
    samples : Samples
        A sample's weight multiplies its gradient and its loss.
    order : (n,) int64
        Row numbers of the pass's samples; empty for all rows as they come.
    start, stop : int
        Samples of the pass to train on.
    learning_rate, weight_decay : scalar of params' dtype
        η and λ.
    loss_sum : float
        Sum so far.

    Returns
    -------
    float
        ``loss_sum`` plus each sample's loss, taken before its own step.
    """
    T = params.dtype.type
    decay = T(1) - learning_rate * weight_decay
    is_sparse = len(samples.inputs.indptr) > 0
    for t in range(start, stop):
        row = row_at(order, t)
        weight = sample_weight(samples, row)
        if t == start or is_sparse:
            first_sums(params, layout, work, samples.inputs, row)
        loss_sum += weight * differentiate(params, layout, work, samples, row)
        scale = -learning_rate * T(weight)
        accumulate_above_first(params, layout, work, scale, decay)
        if t + 1 == stop or is_sparse:
            accumulate_first(params, layout, work, samples.inputs, row, scale, decay)
        else:
            expect(samples.inputs, order, t + work.ahead, 0, layout.sizes[0])
            step_and_first_sums(
                params, layout, work, samples.inputs, row, row_at(order, t + 1), scale, decay
            )
    return loss_sum
