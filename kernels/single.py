"""One sample in a call: outputs, a step by any optimizer, and derivatives of outputs.

These functions work on a packed `State` and raise nothing: each returns a status. Kernels for whole
passes call the step, and `table` makes C functions of the others, for compiled code of the user's.
"""

import math
from typing import NamedTuple

import numpy as np

from ._jit import jit
from .activations import SOFTMAX, times_derivative
from .bits import flush_subnormals, restore_subnormals
from .lagging import (
    Lag,
    close_lag,
    keep_delta,
    lagging_inputs,
    lagging_sums,
    require_lag,
    set_steps,
)
from .layout import Layout
from .linear import Term, add_dots, add_scaled, all_entries, copy, fill, rank_one, scaled
from .losses import BINARY_CROSS_ENTROPY, CROSS_ENTROPY, POISSON
from .memory import matrix_rows, no_places, window
from .norms import EPS, SHRINK, factor_for
from .packing import Reals, is_packed, view, view_unchecked
from .parallel import in_parts, team_size
from .samples import expect, require_samples, row_at, rows_ahead, sample_weight
from .sequential import (
    STEPS_AHEAD,
    LossSum,
    add_loss,
    complete_sum,
    differentiate,
    first_sums_of,
    forward_from_first_sums,
    layer_deltas,
    loss_and_delta,
    step_above_first,
    step_first_of,
    step_scale,
)
from .state import State
from .statuses import (
    DONE,
    NOT_FINITE,
    WRONG_NUMBER,
    WRONG_OUT,
    WRONG_STATE,
    WRONG_X,
    WRONG_Y,
)
from .updates import SGD, Rows, begin_step, clipped_norm, stored, take_step
from .vectors import fma, lanes, load, total, zeros
from .views import layer_at, units_at


@jit(strict=True)
def are_finite(values):
    """Whether values, padded to whole vectors, are finite: their products with 0 sum to 0."""
    zero = zeros(values, 1)
    s = zero
    for k in range(0, len(values), lanes(values)):
        s = fma(zero, load(zero, values, k), s)
    return math.isfinite(total(s))


@jit(strict=True)
def is_finite(value):
    return math.isfinite(value)


class Forward(NamedTuple):
    """What a prediction needs of a state, with scratch that training does not use."""

    layout: Layout
    params: Reals
    a: Reals
    z: Reals


@jit(inline="early")
def forward_one(state, x):
    """Every z and a of a sample; some z is not finite if x or the parameters are not."""
    first_sums_of(state, all_entries(x, state.layout.sizes[0]))
    forward_from_first_sums(state)


@jit
def predict_one(packed, x, out):
    """Write the outputs for x to ``out``, which is left as it was if they are not finite."""
    if not is_packed(packed, State):
        return WRONG_STATE
    whole = view_unchecked(packed, State)
    state = Forward(whole.layout, whole.params, whole.predicted_a, whole.predicted_z)
    layout = state.layout
    L = len(layout.strides)
    if len(x) != layout.sizes[0]:
        return WRONG_X
    if len(out) != layout.sizes[L]:
        return WRONG_OUT
    a = units_at(state.a, layout, L)
    forward_one(state, x)
    if not (are_finite(state.z) and are_finite(a)):
        return NOT_FINITE
    copy(a, out, len(out))
    return DONE


@jit(strict=True)
def can_step(state, weight):
    """Whether all z are finite, and no part of the step overflows, nor a square in a moment.

    The squared norm of the gradient is at most w² Σ δ² (1 + Σ a²) over all layers, w the weight.
    """
    T, zero, v = state.params.dtype.type, zeros(state.a, 1), lanes(state.a)
    a2, δ2, nothing = zero, zero, zero
    for k in range(0, len(state.a), v):
        a2 = fma(load(zero, state.a, k), load(zero, state.a, k), a2)
        δ2 = fma(load(zero, state.delta, k), load(zero, state.delta, k), δ2)
        nothing = fma(zero, load(zero, state.z, k), nothing)
    η, w = state.rates[0], weight
    bound = (1 + float(total(a2))) * float(total(δ2 + nothing)) * w * w
    return math.isfinite(T(bound * (1 + η * η)))


@jit(inline="early")
def step_by_rule(state, weight, top):
    """The optimizer's step with the gradient of a sample that has been forward and back.

    The first ``top`` rows of the first layer have theirs later, by the `Step` that is given back.
    """
    T, layout = state.params.dtype.type, state.layout
    step = begin_step(state, T(state.rates[1]), True)
    for l in range(len(layout.strides)):
        a, δ = units_at(state.a, layout, l), units_at(state.delta, layout, l + 1)
        if weight != 1:
            scaled(T(weight), δ, δ, len(δ))
        done = top if l == 0 else 0
        n = layout.sizes[l] - done
        rows = Rows(window(a, done, n), δ, n + 1, n)  # the biases are the last
        take_step(state, step, rows, layout.blocks[l] + done * layout.strides[l])
    state.counts[2] += 1
    return step


# Parts of the first layer's step for each thread: whoever is done takes what others have not begun.
_PARTS = 4


@jit
def _step_inputs(task, part, parts):
    """The step of a part of the first layer's rows."""
    state, step = task
    layout = state.layout
    n = layout.sizes[0]
    first, last = n * part // parts, n * (part + 1) // parts
    x, δ = units_at(state.a, layout, 0), units_at(state.delta, layout, 1)
    rows = Rows(window(x, first, last - first), δ, last - first, last - first)
    take_step(state, step, rows, first * layout.strides[0])


step_inputs = in_parts(_step_inputs)


@jit
def clipped_weight(state, weight):
    """The weight, or one nearer to 0, with which the gradient's norm is at most rates[2].

    That of a layer's weights is ‖δ‖ ‖a‖.
    """
    layout, squares = state.layout, 0.0
    for l in range(len(layout.strides)):
        a, δ = units_at(state.a, layout, l), units_at(state.delta, layout, l + 1)
        a_norm = clipped_norm(np.inf, a, len(a)) / SHRINK
        norm = clipped_norm(np.inf, δ, len(δ)) * np.sqrt(1 + a_norm * a_norm)
        squares += norm * norm
    return weight * factor_for(abs(weight) * np.sqrt(squares) + EPS, state.rates[2])


@jit(inline="early")
def step_one(state, weight):
    """Plain SGD's step, or another optimizer's."""
    T = state.params.dtype.type
    if state.rule[0] == SGD and state.rule[2] == 0:
        η = T(state.rates[0])
        scale, decay = step_scale(η, weight), T(1) - η * T(state.rates[1])
        x = units_at(state.a, state.layout, 0)
        step_above_first(state, scale, decay)
        step_first_of(state, all_entries(x, state.layout.sizes[0]), scale, decay)
    else:
        step_by_rule(state, weight, 0)


@jit(strict=True)
def are_targets(loss, y):
    """Whether a loss can take these targets, as `fastbp.samples` has it; NaN and infinity are none.

    Probabilities may have been stored in half precision.
    """
    total, least, most = 0.0, math.inf, -math.inf
    for k in range(len(y)):
        value = float(y[k])
        if not math.isfinite(value):
            return False
        total, least, most = total + value, min(least, value), max(most, value)
    if loss == CROSS_ENTROPY:
        return least >= 0 and abs(total - 1) < 1e-3
    if loss == BINARY_CROSS_ENTROPY:
        return least >= 0 and most <= 1
    return loss != POISSON or least >= 0


@jit
def learn_one(packed, x, label, y, weight, loss):
    """Take a step for a sample, unless its loss is not finite; the loss before it goes to loss[0].

    ``label`` is a class number if ``y`` is empty, and otherwise not used.
    """
    if not is_packed(packed, State):
        return WRONG_STATE
    state = view_unchecked(packed, State)
    layout = state.layout
    n_out = layout.sizes[len(layout.strides)]
    if len(x) != layout.sizes[0]:
        return WRONG_X
    if len(y) == 0:
        if layout.loss != CROSS_ENTROPY or not 0 <= label < n_out:
            return WRONG_Y
    elif len(y) != n_out or not are_targets(layout.loss, y):
        return WRONG_Y
    if not is_finite(weight):
        return WRONG_NUMBER
    copy(y, state.y, len(y))
    copy(x, units_at(state.a, layout, 0), len(x))
    forward_one(state, x)
    value = loss_and_delta(state, label if len(y) == 0 else -1, 0.0)
    layer_deltas(state)
    if state.rates[2] > 0:
        weight = clipped_weight(state, weight)
    if not (is_finite(value) and can_step(state, weight)):
        return NOT_FINITE
    step_one(state, weight)
    loss[0] = value
    return DONE


@jit(inline="early")
def output_delta_of(state, cotangent):
    """δ_L = (∂a_L/∂z_L)ᵀ c for a cotangent c of the outputs."""
    layout = state.layout
    L = len(layout.strides)
    z, a, δ = (
        units_at(state.z, layout, L),
        units_at(state.a, layout, L),
        units_at(state.delta, layout, L),
    )
    n = len(cotangent)
    fill(δ, δ.dtype.type(0), 0, len(δ))
    copy(cotangent, δ, n)
    if layout.activations[L - 1] == SOFTMAX:
        mean = δ.dtype.type(0)
        for k in range(n):
            mean += a[k] * δ[k]
        for k in range(n):
            δ[k] = a[k] * (δ[k] - mean)
    else:
        times_derivative(layout.activations[L - 1], z, a, δ, n)


@jit
def vjp(packed, x, cotangent, gradient, gradient_x):
    """Derivatives of c · a_L(x), c the cotangent, with respect to the parameters and to x.

    The first are added to ``gradient`` and the second written to ``gradient_x``, unless empty.
    """
    if not is_packed(packed, State):
        return WRONG_STATE
    state = view_unchecked(packed, State)
    layout = state.layout
    if len(x) != layout.sizes[0]:
        return WRONG_X
    if len(cotangent) != layout.sizes[len(layout.strides)]:
        return WRONG_Y
    if len(gradient) > 0 and len(gradient) != len(state.params):
        return WRONG_OUT
    if len(gradient_x) > 0 and len(gradient_x) != len(x):
        return WRONG_OUT
    copy(x, units_at(state.a, layout, 0), len(x))
    forward_one(state, x)
    output_delta_of(state, cotangent)
    layer_deltas(state)
    if not (are_finite(state.z) and are_finite(state.delta)):
        return NOT_FINITE
    if len(gradient) > 0:
        add_gradient(state, gradient)
    if len(gradient_x) > 0:
        layer, sums = layer_at(state.params, layout, 0), units_at(state.a, layout, 0)
        fill(sums, sums.dtype.type(0), 0, len(sums))
        add_dots(layer.W, no_places(), 0, layer.n_in, units_at(state.delta, layout, 1), sums)
        copy(sums, gradient_x, layer.n_in)
    return DONE


@jit(inline="early")
def add_gradient(state, gradient):
    """∂/∂W_l += δ_l a_{l−1}ᵀ and ∂/∂b_l += δ_l."""
    layout, one = state.layout, gradient.dtype.type(1)
    for l in range(len(layout.strides)):
        g, δ = layer_at(gradient, layout, l), units_at(state.delta, layout, l + 1)
        a = units_at(state.a, layout, l)
        rank_one(g.W, all_entries(a, g.n_in), Term(δ, one, one))
        add_scaled(one, δ, g.b, g.stride)


@jit
def apply(packed, gradient):
    """Take the optimizer's step with a gradient laid out as the parameters."""
    if not is_packed(packed, State):
        return WRONG_STATE
    state = view_unchecked(packed, State)
    T, layout = gradient.dtype.type, state.layout
    if len(gradient) != len(state.params):
        return WRONG_OUT
    if not are_finite(gradient):
        return NOT_FINITE
    step = begin_step(state, T(state.rates[1]), True)
    for l in range(len(layout.strides)):
        n, place = layout.sizes[l] * layout.strides[l], layout.blocks[l]
        take_step(state, step, stored(window(gradient, place, n), True), place)
        n, place = layout.strides[l], place + n
        take_step(state, step, stored(window(gradient, place, n), False), place)
    return DONE


@jit
def set_learning_rate(packed, η):
    """Set the η of the steps to come."""
    if not is_packed(packed, State):
        return WRONG_STATE
    if not (η >= 0 and is_finite(packed.dtype.type(η))):  # in the dtype of the steps
        return WRONG_NUMBER
    view_unchecked(packed, State).rates[0] = η
    return DONE


@jit(entry=True)
def train_single(packed, packed_lag, samples, start, stop, loss_sum, team):
    """A step of the state's optimizer after each sample.

    Parameters and result are those of `train_sequential`, and:

    packed_lag : (n,) floating
        A `Lag`, modified in place. If its length is not 0, the optimizer must be SGD with momentum
        and without dampening, and blocks are counted from ``start``: where a pass is cut into
        several calls, all but the last are of whole blocks. Only then X may be sparse.
    team : (n,) int64
        Threads that share the first layer's step, unless weights lag; see `parallel`.

    Raises
    ------
    ValueError
        If the lag is for another network.
    """
    state, lag, inputs = view(packed, State), view(packed_lag, Lag), samples.inputs
    require_samples(samples, state.layout, stop)
    require_lag(lag, state, samples, stop - start)
    lags = lag.length > 0
    if lags:
        set_steps(state, lag)
    ahead, n_in = rows_ahead(STEPS_AHEAD, state.layout.units[1], packed), state.layout.sizes[0]
    mode, place, total = flush_subnormals(), 0, LossSum(loss_sum, 0)
    for t in range(start, stop):
        row = row_at(samples, t)
        weight = sample_weight(samples, row)
        expect(samples, t + ahead, 0, n_in)
        parts = _PARTS * team_size(team, 1) if len(team) > 0 else 1
        if lags:
            lagging_sums(state, lag, inputs, row, place)
        else:
            first_sums_of(state, lagging_inputs(state, lag, inputs, row))
            copy(matrix_rows(inputs.X, row, 1), units_at(state.a, state.layout, 0), n_in)
        label = differentiate(state, samples, row)
        total = add_loss(state, samples, t, label, total)
        step = step_by_rule(state, weight, n_in)
        if not lags:
            step_inputs((state, step), parts, team, 1)
        else:
            keep_delta(state, lag, place)
            place += 1
            if place == lag.length or t + 1 == stop:
                close_lag(state, lag, place)
                place = 0
    loss_sum = complete_sum(state, samples, stop, total).value
    restore_subnormals(mode)
    return loss_sum
