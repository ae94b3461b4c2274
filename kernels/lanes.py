"""Many small networks of one layout, each in a lane of every vector: per-sample SGD side by side.

A pack is as many networks as a vector has lanes. Number p of network q's parameters is lane q of
vector p, so that one instruction computes the same thing for all of them, each on a sample of its
own: steps are those of `sequential`, to rounding. Arithmetic never goes from lane to lane.

Networks with fewer samples than others of their pack are idle at its end: their δ and their inputs
are then zero, their decay is 1, and no bit of their parameters changes.
"""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .elementary import log, softmax_lanes
from .instructions import VECTOR_BYTES
from .layout import Layout, frozen
from .losses import CROSS_ENTROPY, EXACT_FROM, loss_value, output_delta
from .memory import matrix_rows, prefetch, window
from .packing import Doubles, Int64s, Reals, pack, view
from .samples import load_target, require_samples
from .vectors import fma, lanes, load, store, where_positive, zeros


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
    probabilities: Reals  # (v,) of the samples' classes
    row: Reals  # (3·n_L,) one network's sums, outputs and targets
    a: Reals  # (units[-1]·v,) outputs of each layer, the inputs first
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
    return pack(
        Lanes(
            compact, v, v, v, v, v, v, v, v, v, v, v, 3 * n_out,
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
    """Which lanes have a sample t, and what follows; the next t at which that changes."""
    T = pack.params.dtype.type
    change = _NEVER
    for q in range(lanes(pack.params)):
        is_active = t < pack.counts[q]
        if is_active:
            change = min(change, pack.counts[q])
        pack.active[q] = T(1) if is_active else T(0)
        pack.keep[q] = pack.decays[q] if is_active else T(1)
        pack.scale[q] = -pack.rates[q] if is_active else T(0)
    return change


@jit
def load_samples(pack, samples, t, steps):
    """Inputs, targets and weight of each lane's sample t; those of idle lanes stay as they are."""
    v, T = lanes(pack.params), pack.params.dtype.type
    n_in, n_out = pack.layout.sizes[0], len(pack.y) // v
    is_weighted = len(samples.weights) > 0
    y = window(pack.row, 2 * n_out, n_out)
    for q in range(v):
        if t >= pack.counts[q]:
            continue
        row = samples.order[q * steps + t]
        x = matrix_rows(samples.inputs.X, row, 1)
        for i in range(n_in):
            pack.a[i * v + q] = x[i]
        before = pack.labels[q]
        label = load_target(samples, row, y)
        pack.labels[q] = label
        if label >= 0:
            if before >= 0:
                pack.y[before * v + q] = T(0)
            pack.y[label * v + q] = T(1)
        else:
            for k in range(n_out):
                pack.y[k * v + q] = y[k]
        if is_weighted:
            pack.weights[q] = samples.weights[row] * pack.factors[q]
            pack.scale[q] = -pack.rates[q] * T(pack.weights[q])
        if t + 1 < pack.counts[q]:
            following = matrix_rows(samples.inputs.X, samples.order[q * steps + t + 1], 1)
            for i in range(0, n_in, v):
                prefetch(following, i)


@jit
def lane_sums(W, x, z, n_in, n_out):
    """z = W x + b in each lane."""
    v = lanes(W)
    zero = zeros(W, 1)
    k = 0
    while k + 4 <= n_out:
        b = (n_in * n_out + k) * v
        s0 = load(zero, W, b)
        s1 = load(zero, W, b + v)
        s2 = load(zero, W, b + 2 * v)
        s3 = load(zero, W, b + 3 * v)
        w = k * v
        for i in range(n_in):
            x_i = load(zero, x, i * v)
            s0 = fma(x_i, load(zero, W, w), s0)
            s1 = fma(x_i, load(zero, W, w + v), s1)
            s2 = fma(x_i, load(zero, W, w + 2 * v), s2)
            s3 = fma(x_i, load(zero, W, w + 3 * v), s3)
            w += n_out * v
        store(z, k * v, s0)
        store(z, (k + 1) * v, s1)
        store(z, (k + 2) * v, s2)
        store(z, (k + 3) * v, s3)
        k += 4
    while k < n_out:
        s0 = load(zero, W, (n_in * n_out + k) * v)
        for i in range(n_in):
            s0 = fma(load(zero, x, i * v), load(zero, W, (i * n_out + k) * v), s0)
        store(z, k * v, s0)
        k += 1


@jit
def forward_lanes(pack):
    """z_l = W_l a_{l-1} + b_l and a_l = f_l(z_l) for l = 1..L, in each lane."""
    layout = pack.layout
    for l in range(len(layout.strides)):
        n_in, n_out = layout.sizes[l], layout.sizes[l + 1]
        z, a = of_layer(pack.z, layout.units, l + 1), of_layer(pack.a, layout.units, l + 1)
        W, below = of_layer(pack.params, layout.blocks, l), of_layer(pack.a, layout.units, l)
        lane_sums(W, below, z, n_in, n_out)
        if layout.activations[l] == SOFTMAX:
            softmax_lanes(z, a, n_out, 0)
        else:
            activate(layout.activations[l], z, a, n_out * lanes(z))


@jit
def output_deltas(pack):
    """δ_L = ∂loss/∂z_L in each lane: `output_delta`, where a sum goes over a lane's outputs."""
    layout = pack.layout
    L, v = len(layout.strides), lanes(pack.params)
    n, zero = layout.sizes[L], zeros(pack.params, 1)
    z, a = of_layer(pack.z, layout.units, L), of_layer(pack.a, layout.units, L)
    δ = of_layer(pack.delta, layout.units, L)
    if layout.loss != CROSS_ENTROPY:
        output_delta(layout.loss, layout.activations[L - 1], z, a, pack.y, -1, δ, n * v)
        return
    s = zero
    for k in range(n):
        s = s + load(zero, pack.y, k * v)
    for k in range(n):
        store(δ, k * v, load(zero, a, k * v) * s - load(zero, pack.y, k * v))


@jit
def add_losses(pack, t, clip):
    """Add each sample's weighted loss to its lane's sum, in float64."""
    layout = pack.layout
    L, v = len(layout.strides), lanes(pack.params)
    n = layout.sizes[L]
    z, a = of_layer(pack.z, layout.units, L), of_layer(pack.a, layout.units, L)
    is_exact = clip == 0
    p = pack.probabilities
    for q in range(v):
        label = pack.labels[q]
        p[q] = a[label * v + q] if label >= 0 else p.dtype.type(0)
        is_exact &= p[q] > EXACT_FROM
    if is_exact:
        for q in range(v):
            p[q] = log(p[q])  # for many numbers, our vectorised log is the fastest
        for q in range(v):
            pack.losses[q] -= pack.weights[q] * p[q] if t < pack.counts[q] else 0.0
        return
    row_z, row_a = window(pack.row, 0, n), window(pack.row, n, n)
    row_y = window(pack.row, 2 * n, n)
    for q in range(v):
        if t < pack.counts[q]:
            for k in range(n):
                row_z[k] = z[k * v + q]
                row_a[k] = a[k * v + q]
                row_y[k] = pack.y[k * v + q]
            loss = loss_value(layout.loss, row_z, row_a, row_y, pack.labels[q], n, clip)
            pack.losses[q] += pack.weights[q] * loss


@jit
def clear_idle(active, buffer):
    """Set to 0 what idle lanes have in a buffer, even NaN."""
    zero = zeros(active, 1)
    test = load(zero, active, 0)
    for k in range(0, len(buffer), lanes(active)):
        store(buffer, k, where_positive(test, load(zero, buffer, k)))


@jit
def back_and_step(pack, l, decays):
    """δ_l without f_l'(z_l), unless l is 0, and the step of the weights above, in each lane."""
    layout, v = pack.layout, lanes(pack.params)
    n_in, n_out = layout.sizes[l], layout.sizes[l + 1]
    W, x = of_layer(pack.params, layout.blocks, l), of_layer(pack.a, layout.units, l)
    δ, δ_below = of_layer(pack.delta, layout.units, l + 1), of_layer(pack.delta, layout.units, l)
    zero = zeros(W, 1)
    scale, keep = load(zero, pack.scale, 0), load(zero, pack.keep, 0)
    w = 0
    for i in range(n_in):
        c = scale * load(zero, x, i * v)
        s0 = zero
        s1 = zero
        k = 0
        while k + 2 <= n_out:
            d0, d1 = load(zero, δ, k * v), load(zero, δ, (k + 1) * v)
            w0, w1 = load(zero, W, w), load(zero, W, w + v)
            s0 = fma(d0, w0, s0)
            s1 = fma(d1, w1, s1)
            if decays:
                w0 = keep * w0
                w1 = keep * w1
            store(W, w, fma(c, d0, w0))
            store(W, w + v, fma(c, d1, w1))
            w += 2 * v
            k += 2
        if k < n_out:
            d0, w0 = load(zero, δ, k * v), load(zero, W, w)
            s0 = fma(d0, w0, s0)
            if decays:
                w0 = keep * w0
            store(W, w, fma(c, d0, w0))
            w += v
        if l > 0:
            store(δ_below, i * v, s0 + s1)
    for k in range(n_out):
        store(W, w, fma(scale, load(zero, δ, k * v), load(zero, W, w)))
        w += v


@jit
def step_lanes(pack, decays, has_idle):
    """From δ_L, every δ_l = (W_{l+1}ᵀ δ_{l+1}) ⊙ f_l'(z_l) and the step, in each lane.

    A layer's weights change when the δ below them has been taken from them.
    """
    layout = pack.layout
    L = len(layout.strides)
    if has_idle:
        clear_idle(pack.active, pack.a)
        clear_idle(pack.active, of_layer(pack.delta, layout.units, L))
    for l in range(L - 1, -1, -1):
        back_and_step(pack, l, decays)
        if l > 0:
            z, a = of_layer(pack.z, layout.units, l), of_layer(pack.a, layout.units, l)
            δ = of_layer(pack.delta, layout.units, l)
            times_derivative(layout.activations[l - 1], z, a, δ, len(δ))
            if has_idle:
                clear_idle(pack.active, δ)


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
    has_idle = False
    for t in range(start, stop):
        if t >= change:
            change = set_active(pack, t)
            has_idle = False
            for q in range(v):
                has_idle |= t >= pack.counts[q]
        load_samples(pack, samples, t, steps)
        forward_lanes(pack)
        add_losses(pack, t, samples.clip)
        output_deltas(pack)
        step_lanes(pack, decays, has_idle)
