"""Many small networks of one layout, each in a lane of every vector: per-sample SGD side by side.

A pack is as many networks as a vector has lanes. Number p of network q's parameters is lane q of
vector p, so that one instruction computes the same thing for all of them, each on a sample of its
own: steps are those of `sequential`, to rounding. Arithmetic never goes from lane to lane.

A layer's outputs are computed four at a time. Their weights lie together, input by input, and then
their biases, so that memory is read and written in one direction; so do those of the one to three
outputs that may be left.

Networks with fewer samples than others of their pack are idle at its end: their δ and the outputs
of their layers are then zero, their decay is 1, and no bit of their parameters changes.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .bits import flush_subnormals, restore_subnormals
from .elementary import log, softmax_lanes
from .instructions import VECTOR_BYTES
from .layout import Layout, frozen
from .linear import copy_whole
from .losses import CROSS_ENTROPY, EXACT_FROM, cross_entropy_lanes, loss_value, output_delta
from .memory import matrix_rows, prefetch, window
from .packing import Doubles, Int64s, Reals, pack, view
from .samples import load_target, require_samples
from .vectors import fma, lanes, load, store, transpose, where_positive, zeros


class Lanes(NamedTuple):
    """A pack of networks in training; `view` and `fields` give its parts by these names.

    Arrays of (v,) have an entry for each lane. Where nothing else is said, lane q of number p is at
    p·v + q.
    """

    layout: Layout  # of one network, nothing padded: strides and places count vectors
    rates: Reals  # (v,) η
    decays: Reals  # (v,) 1 − ηλ
    factors: Doubles  # (v,) by which weights of samples are multiplied
    counts: Int64s  # (v,) samples of the pass; idle afterwards
    losses: Doubles  # (v,) sums over the samples so far
    # Scratch of a step:
    active: Reals  # (v,) 1, or 0 for those that are idle
    scale: Reals  # (v,) −η times the sample's weight
    keep: Reals  # (v,) by which weights are multiplied
    labels: Int64s  # (v,) class numbers, or −1 and the target in y
    weights: Doubles  # (v,) of the samples
    loss: Reals  # (v,) of the samples
    row: Reals  # (3·n_L,) one network's sums, outputs and targets
    rows: Reals  # (v·width,) the samples' inputs, network after network, padded to whole vectors
    x: Reals  # (2·width·v,) the inputs of this step and of the next, by turns
    a: Reals  # (units[-1]·v,) outputs of each layer; a_0 is not used
    z: Reals  # ditto: sums before the activation
    delta: Reals  # ditto: ∂loss/∂z
    y: Reals  # (n_L·v,) targets; of a class, 1 for it and 0 for the others
    params: Reals  # (blocks[-1]·v,)


def make_lanes(layout: Layout, dtype: np.dtype) -> NDArray[np.floating]:
    """A pack whose parameters, rates and counts are all zero.

    Raises
    ------
    ValueError
        If it would need more bytes than an int64 can count.
    """
    v = VECTOR_BYTES // dtype.itemsize
    sizes = layout.sizes.tolist()
    blocks, units = [0], [0]
    for n_in, n_out in itertools.pairwise(sizes):
        blocks.append(blocks[-1] + (n_in + 1) * n_out)
    for n in sizes:
        units.append(units[-1] + n)
    compact = layout._replace(
        strides=frozen(sizes[1:], np.int64),
        blocks=frozen(blocks, np.int64),
        units=frozen(units, np.int64),
    )
    n_out, n_units, n_params = sizes[-1], units[-1] * v, blocks[-1] * v
    n_rows = -(-sizes[0] // v) * v * v
    return pack(
        Lanes(
            compact, v, v, v, v, v, v, v, v, v, v, v, 3 * n_out, n_rows, 2 * n_rows,
            n_units, n_units, n_units, n_out * v, n_params,
        ),
        dtype,
    )  # fmt: skip


@jit(inline="early")
def of_layer(buffer, places, l):
    """Layer l's vectors in a buffer of the pack, given where each layer's begin."""
    v = lanes(buffer)
    return window(buffer, places[l] * v, (places[l + 1] - places[l]) * v)


_NEVER = np.iinfo(np.int64).max


@jit
def set_active(pack, t):
    """Note which lanes have a sample t; the next t at which that changes, and if some are idle."""
    T = pack.params.dtype.type
    change, has_idle = _NEVER, False
    for q in range(lanes(pack.params)):
        is_active = t < pack.counts[q]
        if is_active:
            change = min(change, pack.counts[q])
        has_idle |= not is_active
        pack.active[q] = T(1) if is_active else T(0)
        pack.keep[q] = pack.decays[q] if is_active else T(1)
        pack.scale[q] = -pack.rates[q] if is_active else T(0)
    return change, has_idle


@jit
def weigh_steps(pack):
    """Multiply each lane's step by its sample's weight."""
    T = pack.params.dtype.type
    for q in range(lanes(pack.params)):
        pack.scale[q] = -pack.rates[q] * T(pack.weights[q]) * pack.active[q]


@jit(inline="early")
def inputs_at(pack, t):
    """Inputs of each lane's sample t, while it is this or the next one."""
    half = len(pack.x) // 2
    return window(pack.x, (t & 1) * half, half)


@jit
def load_samples(pack, samples, t, steps):
    """Inputs, target and weight of each lane's sample t; those of idle lanes stay as they are."""
    v = lanes(pack.params)
    n_in, width = pack.layout.sizes[0], len(pack.rows) // lanes(pack.params)
    X = matrix_rows(samples.inputs.X, 0, len(samples.inputs.X))
    for q in range(v):
        if t < pack.counts[q]:
            row = samples.order[q * steps + t]
            copy_whole(X, row * n_in, pack.rows, q * width, n_in)
            load_lane_target(pack, samples, row, q)
            if len(samples.weights) > 0:
                pack.weights[q] = samples.weights[row] * pack.factors[q]
            if t + 1 < pack.counts[q]:
                ahead = samples.order[q * steps + t + 1] * n_in
                for k in range(0, n_in, v):
                    prefetch(X, ahead + k)
    x = inputs_at(pack, t)
    for i in range(0, n_in, v):
        transpose(pack.rows, i, width, x, i * v, v)


@jit
def load_lane_target(pack, samples, row, q):
    """Target of a lane's sample: y has 1 for its class, and 0 for the others."""
    v, T = lanes(pack.params), pack.params.dtype.type
    n = len(pack.y) // v
    y, before = window(pack.row, 2 * n, n), pack.labels[q]
    label = load_target(samples, row, y)
    pack.labels[q] = label
    if label >= 0 and before >= 0:
        pack.y[before * v + q] = T(0)
        pack.y[label * v + q] = T(1)
    else:
        for k in range(n):
            pack.y[k * v + q] = T(k == label) if label >= 0 else y[k]


@jit
def lane_sums(W, x, z, n_in, n_out):
    """z = W x + b in each lane."""
    v = lanes(W)
    zero = zeros(W, 1)
    k, w = 0, 0
    while k + 4 <= n_out:
        b = w + 4 * n_in * v
        s0, s1 = load(zero, W, b), load(zero, W, b + v)
        s2, s3 = load(zero, W, b + 2 * v), load(zero, W, b + 3 * v)
        for i in range(n_in):
            x_i = load(zero, x, i * v)
            s0 = fma(x_i, load(zero, W, w), s0)
            s1 = fma(x_i, load(zero, W, w + v), s1)
            s2 = fma(x_i, load(zero, W, w + 2 * v), s2)
            s3 = fma(x_i, load(zero, W, w + 3 * v), s3)
            w += 4 * v
        store(z, k * v, s0)
        store(z, (k + 1) * v, s1)
        store(z, (k + 2) * v, s2)
        store(z, (k + 3) * v, s3)
        w += 4 * v
        k += 4
    step = (n_out - k) * v
    while k < n_out:
        s0 = load(zero, W, w + n_in * step)
        for i in range(n_in):
            s0 = fma(load(zero, x, i * v), load(zero, W, w + i * step), s0)
        store(z, k * v, s0)
        w += v
        k += 1


@jit
def first_lane_sums(pack, x):
    """z_1 = W_1 x + b_1 in each lane."""
    layout = pack.layout
    z, W = of_layer(pack.z, layout.units, 1), of_layer(pack.params, layout.blocks, 0)
    lane_sums(W, x, z, layout.sizes[0], layout.sizes[1])


@jit
def forward_lanes(pack):
    """From z_1, a_1 = f_1(z_1), then z_l and a_l for l = 2..L, in each lane."""
    layout = pack.layout
    for l in range(len(layout.strides)):
        n_in, n_out = layout.sizes[l], layout.sizes[l + 1]
        z, a = of_layer(pack.z, layout.units, l + 1), of_layer(pack.a, layout.units, l + 1)
        if l > 0:
            W, below = of_layer(pack.params, layout.blocks, l), of_layer(pack.a, layout.units, l)
            lane_sums(W, below, z, n_in, n_out)
        if layout.activations[l] == SOFTMAX:
            softmax_lanes(z, a, n_out, 0, lanes(z))
        else:
            activate(layout.activations[l], z, a, n_out * lanes(z))


@jit
def output_deltas(pack):
    """δ_L = ∂loss/∂z_L in each lane: `output_delta`, where a sum goes over a lane's outputs."""
    layout = pack.layout
    L, v = len(layout.strides), lanes(pack.params)
    n = layout.sizes[L]
    z, a = of_layer(pack.z, layout.units, L), of_layer(pack.a, layout.units, L)
    δ = of_layer(pack.delta, layout.units, L)
    if layout.loss != CROSS_ENTROPY:
        output_delta(layout.loss, layout.activations[L - 1], z, a, pack.y, -1, δ, n * v)
        return
    cross_entropy_lanes(a, pack.y, δ, n, v, v)


# The probability that the softmax gives a class is exact if the loss is below this.
_EXACT_UP_TO = -math.log(EXACT_FROM)


@jit
def add_losses(pack, t, by_label, has_idle, clip):
    """Add each sample's weighted loss to its lane's sum, in float64."""
    layout = pack.layout
    L, v = len(layout.strides), lanes(pack.params)
    n, zero = layout.sizes[L], zeros(pack.params, 1)
    z, a = of_layer(pack.z, layout.units, L), of_layer(pack.a, layout.units, L)
    loss = pack.loss
    most = loss.dtype.type(_EXACT_UP_TO)
    if by_label:
        p = zero
        for k in range(n):
            p = fma(load(zero, pack.y, k * v), load(zero, a, k * v), p)
        store(loss, 0, p)
        # Of a length that is not known when this is compiled, loops are vectorised.
        for q in range(len(loss)):
            loss[q] = -log(loss[q])
        if has_idle:
            clear_idle(pack.active, loss)
        n_exact = 0
        for q in range(len(loss)):
            n_exact += loss[q] < most  # which NaN is not, so that it hides no other lane
        if n_exact == len(loss):
            for q in range(len(loss)):
                pack.losses[q] += pack.weights[q] * loss[q]
            return
    row_z, row_a = window(pack.row, 0, n), window(pack.row, n, n)
    row_y = window(pack.row, 2 * n, n)
    for q in range(v):
        if by_label and loss[q] < most:  # whatever other lanes have
            pack.losses[q] += pack.weights[q] * loss[q]
        elif t < pack.counts[q]:
            for k in range(n):
                row_z[k] = z[k * v + q]
                row_a[k] = a[k * v + q]
                row_y[k] = pack.y[k * v + q]
            value = loss_value(layout.loss, row_z, row_a, row_y, pack.labels[q], n, clip)
            pack.losses[q] += pack.weights[q] * value


@jit
def clear_idle(active, buffer):
    """Set to 0 what idle lanes have in a buffer, even NaN."""
    zero = zeros(active, 1)
    test = load(zero, active, 0)
    for k in range(0, len(buffer), lanes(active)):
        store(buffer, k, where_positive(test, load(zero, buffer, k)))


@jit
def back_and_step(pack, l, decays):
    """δ_l without f_l'(z_l), l ≥ 1, and the step of the weights above, in each lane."""
    layout, v = pack.layout, lanes(pack.params)
    n_in, n_out = layout.sizes[l], layout.sizes[l + 1]
    W, x = of_layer(pack.params, layout.blocks, l), of_layer(pack.a, layout.units, l)
    δ, δ_below = of_layer(pack.delta, layout.units, l + 1), of_layer(pack.delta, layout.units, l)
    zero = zeros(W, 1)
    scale, keep = load(zero, pack.scale, 0), load(zero, pack.keep, 0)
    for i in range(n_in):
        store(δ_below, i * v, zero)
    k, w = 0, 0
    while k + 4 <= n_out:
        δ0, δ1 = load(zero, δ, k * v), load(zero, δ, (k + 1) * v)
        δ2, δ3 = load(zero, δ, (k + 2) * v), load(zero, δ, (k + 3) * v)
        d0, d1, d2, d3 = scale * δ0, scale * δ1, scale * δ2, scale * δ3
        for i in range(n_in):
            x_i = load(zero, x, i * v)
            w0, w1 = load(zero, W, w), load(zero, W, w + v)
            w2, w3 = load(zero, W, w + 2 * v), load(zero, W, w + 3 * v)
            s0 = fma(δ1, w1, fma(δ0, w0, load(zero, δ_below, i * v)))
            store(δ_below, i * v, fma(δ3, w3, δ2 * w2) + s0)
            if decays:
                w0 = keep * w0
                w1 = keep * w1
                w2 = keep * w2
                w3 = keep * w3
            store(W, w, fma(x_i, d0, w0))
            store(W, w + v, fma(x_i, d1, w1))
            store(W, w + 2 * v, fma(x_i, d2, w2))
            store(W, w + 3 * v, fma(x_i, d3, w3))
            w += 4 * v
        store(W, w, load(zero, W, w) + d0)
        store(W, w + v, load(zero, W, w + v) + d1)
        store(W, w + 2 * v, load(zero, W, w + 2 * v) + d2)
        store(W, w + 3 * v, load(zero, W, w + 3 * v) + d3)
        w += 4 * v
        k += 4
    step = (n_out - k) * v
    while k < n_out:
        δ0 = load(zero, δ, k * v)
        d0 = scale * δ0
        for i in range(n_in):
            w0 = load(zero, W, w + i * step)
            store(δ_below, i * v, fma(δ0, w0, load(zero, δ_below, i * v)))
            if decays:
                w0 = keep * w0
            store(W, w + i * step, fma(load(zero, x, i * v), d0, w0))
        store(W, w + n_in * step, load(zero, W, w + n_in * step) + d0)
        w += v
        k += 1


@jit
def step_lanes_above_first(pack, decays, has_idle):
    """From δ_L, every δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l) and the steps above it, in each lane.

    A layer's weights change when the δ below them has been taken from them.
    """
    layout = pack.layout
    L = len(layout.strides)
    if has_idle:
        clear_idle(pack.active, pack.a)
        clear_idle(pack.active, of_layer(pack.delta, layout.units, L))
    for l in range(L - 1, 0, -1):
        back_and_step(pack, l, decays)
        z, a = of_layer(pack.z, layout.units, l), of_layer(pack.a, layout.units, l)
        δ = of_layer(pack.delta, layout.units, l)
        times_derivative(layout.activations[l - 1], z, a, δ, len(δ))
        if has_idle:
            clear_idle(pack.active, δ)


@jit
def step_first_and_next_sums(pack, x, next_x, decays):
    """The step of the first layer, and z_1 of the next sample while each weight is at hand."""
    layout, v = pack.layout, lanes(pack.params)
    n_in, n_out = layout.sizes[0], layout.sizes[1]
    W, z = of_layer(pack.params, layout.blocks, 0), of_layer(pack.z, layout.units, 1)
    δ, zero = of_layer(pack.delta, layout.units, 1), zeros(pack.params, 1)
    scale, keep = load(zero, pack.scale, 0), load(zero, pack.keep, 0)
    k, w = 0, 0
    while k + 4 <= n_out:
        d0, d1 = scale * load(zero, δ, k * v), scale * load(zero, δ, (k + 1) * v)
        d2, d3 = scale * load(zero, δ, (k + 2) * v), scale * load(zero, δ, (k + 3) * v)
        b = w + 4 * n_in * v
        s0, s1 = load(zero, W, b) + d0, load(zero, W, b + v) + d1
        s2, s3 = load(zero, W, b + 2 * v) + d2, load(zero, W, b + 3 * v) + d3
        store(W, b, s0)
        store(W, b + v, s1)
        store(W, b + 2 * v, s2)
        store(W, b + 3 * v, s3)
        for i in range(n_in):
            x_i, next_i = load(zero, x, i * v), load(zero, next_x, i * v)
            w0, w1 = load(zero, W, w), load(zero, W, w + v)
            w2, w3 = load(zero, W, w + 2 * v), load(zero, W, w + 3 * v)
            if decays:
                w0 = keep * w0
                w1 = keep * w1
                w2 = keep * w2
                w3 = keep * w3
            w0 = fma(x_i, d0, w0)
            w1 = fma(x_i, d1, w1)
            w2 = fma(x_i, d2, w2)
            w3 = fma(x_i, d3, w3)
            store(W, w, w0)
            store(W, w + v, w1)
            store(W, w + 2 * v, w2)
            store(W, w + 3 * v, w3)
            s0 = fma(next_i, w0, s0)
            s1 = fma(next_i, w1, s1)
            s2 = fma(next_i, w2, s2)
            s3 = fma(next_i, w3, s3)
            w += 4 * v
        store(z, k * v, s0)
        store(z, (k + 1) * v, s1)
        store(z, (k + 2) * v, s2)
        store(z, (k + 3) * v, s3)
        w += 4 * v
        k += 4
    step = (n_out - k) * v
    while k < n_out:
        d0 = scale * load(zero, δ, k * v)
        s0 = load(zero, W, w + n_in * step) + d0
        store(W, w + n_in * step, s0)
        for i in range(n_in):
            w0 = load(zero, W, w + i * step)
            if decays:
                w0 = keep * w0
            w0 = fma(load(zero, x, i * v), d0, w0)
            store(W, w + i * step, w0)
            s0 = fma(load(zero, next_x, i * v), w0, s0)
        store(z, k * v, s0)
        w += v
        k += 1


@jit(entry=True)
def train_lanes(packed, samples, start, stop):
    """Per-sample SGD of a pack of networks, over samples start to stop of each one's pass.

    Parameters
    ----------
    packed : (n,) floating
        `Lanes`, modified in place; ``losses`` gains each sample's loss, taken before its own step.
    samples : Samples
        With dense inputs. ``order`` is (v · steps,): the rows of lane 0, as many as ``counts``
        says, then those of lane 1, which begin ``steps`` later, and so on.
    start, stop : int
        Samples of the passes to train on.

    Raises
    ------
    ValueError
        If the samples are for another network, or too few.
    """
    pack, v = view(packed, Lanes), lanes(packed)
    steps = len(samples.order) // v
    require_samples(samples, pack.layout, 0)
    decays, change = False, start
    for q in range(v):
        decays |= pack.counts[q] > 0 and pack.decays[q] != 1
        pack.weights[q] = 1.0
        if pack.counts[q] > steps:
            raise ValueError("order must have as many rows for each lane as it has samples.")
    mode, is_weighted, has_idle = flush_subnormals(), len(samples.weights) > 0, False
    by_label = len(samples.labels) > 0 and samples.kept == 1 and samples.clip == 0
    for t in range(start, stop):
        x, next_x = inputs_at(pack, t), inputs_at(pack, t + 1)
        if t == start:
            load_samples(pack, samples, t, steps)
            first_lane_sums(pack, x)
        if t >= change:
            change, has_idle = set_active(pack, t)
        if is_weighted:
            weigh_steps(pack)
        forward_lanes(pack)
        add_losses(pack, t, by_label, has_idle, samples.clip)
        output_deltas(pack)
        step_lanes_above_first(pack, decays, has_idle)
        if t + 1 < stop:
            load_samples(pack, samples, t + 1, steps)
        step_first_and_next_sums(pack, x, next_x, decays)
    restore_subnormals(mode)
