"""One sample at a time: forward, every delta, then the step. The reference among the kernels.

    forward    z_l = W_l a_{l-1} + b_l          a_l = f_l(z_l)
    backward   δ_L = ∂loss/∂z_L                 δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l)
    gradient   ∂loss/∂W_l = δ_l a_{l-1}ᵀ        ∂loss/∂b_l = δ_l
    SGD        W_l ← W_l − η (∂loss/∂W_l + λ W_l)      b_l ← b_l − η ∂loss/∂b_l

All δ of a sample are computed from the weights as they were before its step. The entry points
work on rows [start, stop) and carry their sums from call to call, one sample after the other, so
that cutting the work into chunks changes no bit of a result.
"""

from typing import NamedTuple

from ._jit import jit
from .activations import activate, times_derivative
from .bits import flush_subnormals, restore_subnormals
from .linear import (
    Term,
    add_dots,
    add_rows,
    add_scaled,
    all_entries,
    copy,
    fill,
    rank_one,
    rank_one_add_rows,
)
from .losses import EXACT_FROM, clipped, loss_value, output_delta, take_logarithms
from .memory import matrix_rows, no_places
from .packing import view
from .samples import (
    csr_row,
    expect,
    load_target,
    require_samples,
    row_at,
    rows_ahead,
    sample_weight,
)
from .state import State
from .views import layer_at, units_at


@jit(inline="early")
def first_sums_of(state, entries):
    """z_1 = W_1 x + b_1 for the entries of x."""
    layer, z = layer_at(state.params, state.layout, 0), units_at(state.z, state.layout, 1)
    copy(layer.b, z, layer.stride)
    add_rows(layer.W, entries, z, 0, layer.stride)


@jit(inline="early")
def first_sums(state, inputs, row):
    """`first_sums_of` a row of the inputs."""
    if len(inputs.indptr) > 0:
        first_sums_of(state, csr_row(inputs, row))
    else:
        first_sums_of(state, all_entries(matrix_rows(inputs.X, row, 1), state.layout.sizes[0]))


@jit(inline="early")
def forward_from_first_sums(state):
    """a_1 = f_1(z_1), then z_l = W_l a_{l-1} + b_l and a_l = f_l(z_l) for l = 2..L."""
    layout = state.layout
    for l in range(len(layout.strides)):
        layer = layer_at(state.params, layout, l)
        z, a = units_at(state.z, layout, l + 1), units_at(state.a, layout, l + 1)
        if l > 0:
            below = units_at(state.a, layout, l)
            copy(layer.b, z, layer.stride)
            add_rows(layer.W, all_entries(below, layer.n_in), z, 0, layer.stride)
        activate(layout.activations[l], z, a, layer.n_out)


@jit(entry=True)
def forward(packed, inputs, row):
    """z_l = W_l a_{l-1} + b_l and a_l = f_l(z_l) for l = 1..L, a_0 being a row of the inputs."""
    state, mode = view(packed, State), flush_subnormals()
    first_sums(state, inputs, row)
    forward_from_first_sums(state)
    restore_subnormals(mode)


@jit(inline="early")
def loss_of(state, label, clip):
    """Loss of the sample that has just gone forward."""
    L = len(state.layout.strides)
    z, a = units_at(state.z, state.layout, L), units_at(state.a, state.layout, L)
    return loss_value(state.layout.loss, z, a, state.y, label, state.layout.sizes[L], clip)


@jit(inline="early")
def last_delta(state, label):
    """δ_L = ∂loss/∂z_L of the sample that has just gone forward."""
    layout = state.layout
    L = len(layout.strides)
    z, a = units_at(state.z, layout, L), units_at(state.a, layout, L)
    δ, n = units_at(state.delta, layout, L), layout.sizes[L]
    output_delta(layout.loss, layout.activations[L - 1], z, a, state.y, label, δ, n)


@jit(inline="early")
def loss_and_delta(state, label, clip):
    """Loss of the sample that has just gone forward, and its δ_L."""
    loss = loss_of(state, label, clip)
    last_delta(state, label)
    return loss


class LossSum(NamedTuple):
    """Weighted losses of the samples of a pass so far, summed up one after the other."""

    value: float
    waiting: int  # the last samples, whose losses are not in it yet: see `State.waiting`


@jit(strict=True)
def complete_sum(state, samples, stop, loss_sum):
    """The sum with the losses that have been waiting, up to the pass's sample ``stop``.

    Strict, for otherwise losses would be added up in another order than one after the other.
    """
    n, value = loss_sum.waiting, loss_sum.value
    take_logarithms(state.waiting, n)
    for t in range(n):
        weight = sample_weight(samples, row_at(samples, stop - n + t))
        value += weight * state.waiting[t]
    return LossSum(value, 0)


@jit(inline="early")
def add_loss(state, samples, t, label, loss_sum):
    """The sum with the loss of the pass's sample t, which has just gone forward."""
    L = len(state.layout.strides)
    p = state.a.dtype.type(0)
    if label >= 0:
        p = clipped(units_at(state.a, state.layout, L)[label], samples.clip)
    if p > EXACT_FROM:
        state.waiting[loss_sum.waiting] = p
        loss_sum = LossSum(loss_sum.value, loss_sum.waiting + 1)
        if loss_sum.waiting == len(state.waiting):
            loss_sum = complete_sum(state, samples, t + 1, loss_sum)
    else:
        before = complete_sum(state, samples, t, loss_sum)
        weight = sample_weight(samples, row_at(samples, t))
        loss_sum = LossSum(before.value + weight * loss_of(state, label, samples.clip), 0)
    return loss_sum


@jit(inline="early")
def layer_deltas(state):
    """From δ_L, δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l) down to l = 1."""
    layout = state.layout
    for l in range(len(layout.strides) - 1, 0, -1):
        layer = layer_at(state.params, layout, l)
        δ_above, δ = units_at(state.delta, layout, l + 1), units_at(state.delta, layout, l)
        fill(δ, δ.dtype.type(0), 0, len(δ))
        add_dots(layer.W, no_places(), 0, layer.n_in, δ_above, δ)
        z, a = units_at(state.z, layout, l), units_at(state.a, layout, l)
        times_derivative(layout.activations[l - 1], z, a, δ, layer.n_in)


@jit(entry=True)
def backward(packed, label):
    """Every δ of the sample that has gone forward, of a class number, or −1 and the target in y."""
    state, mode = view(packed, State), flush_subnormals()
    loss_and_delta(state, label, 0.0)
    layer_deltas(state)
    restore_subnormals(mode)


@jit(inline="early")
def step_first_of(state, entries, scale, decay):
    """W_1 ← decay·W_1 + scale·δ_1 xᵀ and b_1 ← b_1 + scale·δ_1, for the entries of x.

    If only some inputs are listed, ``decay`` must be 1.
    """
    layer, δ = layer_at(state.params, state.layout, 0), units_at(state.delta, state.layout, 1)
    rank_one(layer.W, entries, Term(δ, scale, decay))
    add_scaled(scale, δ, layer.b, layer.stride)


@jit(inline="early")
def step_first(state, inputs, row, scale, decay):
    """`step_first_of` a row of the inputs."""
    if len(inputs.indptr) > 0:
        step_first_of(state, csr_row(inputs, row), scale, decay)
    else:
        entries = all_entries(matrix_rows(inputs.X, row, 1), state.layout.sizes[0])
        step_first_of(state, entries, scale, decay)


@jit(inline="early")
def step_above_first(state, scale, decay):
    """W_l ← decay·W_l + scale·δ_l a_{l-1}ᵀ and b_l ← b_l + scale·δ_l for l = 2..L."""
    layout = state.layout
    for l in range(1, len(layout.strides)):
        layer = layer_at(state.params, layout, l)
        a, δ = units_at(state.a, layout, l), units_at(state.delta, layout, l + 1)
        rank_one(layer.W, all_entries(a, layer.n_in), Term(δ, scale, decay))
        add_scaled(scale, δ, layer.b, layer.stride)


@jit(inline="early")
def step_first_and_next_sums(state, inputs, row, next_row, scale, decay):
    """`step_first`, then `first_sums` of the next sample, while each row of W is at hand."""
    layer = layer_at(state.params, state.layout, 0)
    δ, z = units_at(state.delta, state.layout, 1), units_at(state.z, state.layout, 1)
    add_scaled(scale, δ, layer.b, layer.stride)
    copy(layer.b, z, layer.stride)
    x, next_x = matrix_rows(inputs.X, row, 1), matrix_rows(inputs.X, next_row, 1)
    rank_one_add_rows(layer.W, x, next_x, layer.n_in, Term(δ, scale, decay), z)


@jit(inline="early")
def differentiate(state, samples, row):
    """Every a and δ of a sample from its z_1, all in the state; its class number, or −1."""
    label = load_target(samples, row, state.y)
    forward_from_first_sums(state)
    last_delta(state, label)
    layer_deltas(state)
    return label


@jit(strict=True)
def step_scale(η, weight):
    """−η·weight, the factor of a sample's gradient.

    Strict, for otherwise some kernels might multiply the weight by x first, which rounds otherwise.
    """
    return -η * type(η)(weight)


# Eight steps of one sample take longer than a row takes to arrive from memory.
STEPS_AHEAD = 8


@jit(entry=True)
def train_sequential(packed, samples, start, stop, loss_sum):
    """Per-sample SGD over samples start to stop of a pass.

    Parameters
    ----------
    packed : (n,) floating
        A `State`, modified in place.
    samples : Samples
        A sample's weight multiplies its gradient and its loss.
    start, stop : int
        Samples of the pass to train on.
    loss_sum : float
        Sum so far.

    Returns
    -------
    float
        ``loss_sum`` plus each sample's loss, taken before its own step.

    Raises
    ------
    ValueError
        If the samples are for another network, or too few.
    """
    state, inputs = view(packed, State), samples.inputs
    require_samples(samples, state.layout, stop)
    T = packed.dtype.type
    η = T(state.rates[0])
    decay = T(1) - η * T(state.rates[1])
    is_sparse = len(inputs.indptr) > 0
    ahead = rows_ahead(STEPS_AHEAD, state.layout.units[1], packed)
    mode, total = flush_subnormals(), LossSum(loss_sum, 0)
    for t in range(start, stop):
        row = row_at(samples, t)
        weight = sample_weight(samples, row)
        if t == start or is_sparse:
            first_sums(state, inputs, row)
        label = differentiate(state, samples, row)
        total = add_loss(state, samples, t, label, total)
        scale = step_scale(η, weight)
        step_above_first(state, scale, decay)
        if t + 1 == stop or is_sparse:
            step_first(state, inputs, row, scale, decay)
        else:
            expect(samples, t + ahead, 0, state.layout.sizes[0])
            next_row = row_at(samples, t + 1)
            step_first_and_next_sums(state, inputs, row, next_row, scale, decay)
    loss_sum = complete_sum(state, samples, stop, total).value
    restore_subnormals(mode)
    return loss_sum
