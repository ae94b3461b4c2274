"""Momentum, one sample at a time, with weights of zero inputs that lag behind.

Where the gradient of a row of W is g, a step of SGD with the momentum's moment b is linear:

    (w, b) ← M (w, b) + c g         M a matrix of 2×2, c of two numbers, the same for all weights

An input that is zero has g = 0: its row moves, but is not needed until the input is not zero. Then
the k steps that it has missed are taken at once, together with the last of its gradients, which is
x δ of a sample before:

    (w, b) ← M^k (w, b) + M^(k−1) c x δ

So a sample reads and writes the rows of its own inputs once each. After a block of samples all rows
catch up.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .layout import Layout
from .linear import Entries, all_entries, copy, nonzeros, place_of
from .memory import matrix_rows, window
from .packing import Int32s, Int64s, Reals, pack
from .samples import csr_row
from .scratch import is_for
from .updates import SGD, begin_step, moment
from .vectors import broadcast_item, fma, lanes, load, store, zeros
from .views import layer_at, units_at

# The most samples after which all rows of the first layer catch up.
LAGGING_BLOCK = 64
# Numbers that describe some steps: M^k by rows, and M^(k−1) c.
_NUMBERS = 6


class Lag(NamedTuple):
    """How far each row of the first layer lags behind, and what it lacks."""

    sizes: Int64s  # (L + 1,) those of the layout that it is made for
    length: int  # samples of a block; 0 if no row lags
    is_listed: int  # whether zeros of dense X are left out
    steps: Reals  # (6·(length + 1),) of 0, 1, 2 and so on steps
    deltas: Reals  # (length·strides[0],) δ_1 of the block's samples
    last: Int64s  # (n_0,) the sample whose gradient a row lacks, with all that came later
    x: Reals  # (units[1],) the row's input in that sample
    nothing: Reals  # (units[1],) zeros
    places: Int32s  # (units[1],) of the sample at hand: where its inputs are not zero
    values: Reals  # (units[1],) those inputs


def make_lag(
    layout: Layout, dtype: np.dtype, length: int = 0, is_listed: bool = False
) -> NDArray[np.floating]:
    """Scratch of rows that lag for at most ``length`` samples; with 0 none does.

    ``is_listed`` says whether zeros of dense X are left out, with 0 only on the way forward.
    """
    some, width = int(length > 0), int(layout.units[1])
    lag = Lag(
        sizes=layout.sizes,
        length=length,
        is_listed=is_listed,
        steps=some * _NUMBERS * (length + 1),
        deltas=length * int(layout.strides[0]),
        last=some * int(layout.sizes[0]),
        x=some * width,
        nothing=some * width,
        places=is_listed * width,
        values=is_listed * width,
    )
    return pack(lag, dtype)


@jit
def require_lag(lag, state, samples, n):
    """Refuse a lag that is not for this network, or for steps with n of these samples."""
    if not is_for(state.layout, lag.sizes):
        raise ValueError("a Lag must be made for the layout of the network that uses it.")
    is_momentum = state.rule[0] == SGD and state.rule[2] == 1 and state.settings[1] == 0
    if lag.length > 0 and n > 0 and not is_momentum:
        raise ValueError("a Lag that is not empty is for SGD with momentum and without dampening.")
    if lag.length == 0 and len(samples.inputs.indptr) > 0:
        raise ValueError("a Lag for CSR rows must not be empty.")


@jit(inline=False, strict=True)
def set_steps(state, lag):
    """Describe 0 to ``lag.length`` steps with the rates that hold now."""
    T, p, out = state.params.dtype.type, state.settings, lag.steps
    step = begin_step(state, T(state.rates[1]), False)
    η, μ, inner, keep = float(step.scale), float(T(p[0])), float(step.inner_scale), float(step.keep)
    of_b, of_g = (μ * μ, 1 + μ) if p[2] != 0 else (μ, 1.0)
    λ = inner * float(step.decay)
    # (w, b) ← M (w, b) + c g
    ww, wb, bw, bb = keep - η * of_g * λ, -η * of_b, λ, μ
    w, b = -η * of_g * inner, inner
    a00, a01, a10, a11, c0, c1 = 1.0, 0.0, 0.0, 1.0, 0.0, 0.0
    for k in range(lag.length + 1):
        out[6 * k], out[6 * k + 1], out[6 * k + 2] = T(a00), T(a01), T(a10)
        out[6 * k + 3], out[6 * k + 4], out[6 * k + 5] = T(a11), T(c0), T(c1)
        c0, c1 = a00 * w + a01 * b, a10 * w + a11 * b
        a00, a01, a10, a11 = (
            ww * a00 + wb * a10,
            ww * a01 + wb * a11,
            bw * a00 + bb * a10,
            bw * a01 + bb * a11,
        )


@jit
def lagging_inputs(state, lag, inputs, row):
    """Inputs of a row of X: those that are not zero, where zeros are left out."""
    n = state.layout.sizes[0]
    if len(inputs.indptr) > 0:
        return csr_row(inputs, row)
    x = matrix_rows(inputs.X, row, 1)
    if lag.is_listed != 0:
        return Entries(lag.places, lag.values, nonzeros(x, 0, n, lag.places, lag.values))
    return all_entries(x, n)


@jit(inline=False)
def catch_up(state, lag, entries, t, out):
    """Bring the rows of these inputs to the block's sample t, and add their products to ``out``.

    From then on they lack the gradient of that sample.
    """
    layer = layer_at(state.params, state.layout, 0)
    W, stride, zero = layer.W.data, layer.stride, zeros(out, 1)
    B = moment(state, 0, state.layout.blocks[0], len(W))
    zero_x = lag.x.dtype.type(0)
    for j in range(entries.n):
        i = place_of(entries, j)
        s, r = _NUMBERS * (t - lag.last[i]), i * stride
        x, d = broadcast_item(zero, lag.x, i), lag.last[i] * stride
        ww, wb = broadcast_item(zero, lag.steps, s), broadcast_item(zero, lag.steps, s + 1)
        bw, bb = broadcast_item(zero, lag.steps, s + 2), broadcast_item(zero, lag.steps, s + 3)
        wδ, bδ = (
            x * broadcast_item(zero, lag.steps, s + 4),
            x * broadcast_item(zero, lag.steps, s + 5),
        )
        x = broadcast_item(zero, entries.x, j)
        for k in range(0, stride, lanes(W)):
            w, b, δ = load(zero, W, r + k), load(zero, B, r + k), load(zero, lag.deltas, d + k)
            store(B, r + k, fma(bw, w, fma(bb, b, bδ * δ)))
            w = fma(ww, w, fma(wb, b, wδ * δ))
            store(W, r + k, w)
            store(out, k, fma(x, w, load(zero, out, k)))
        # In a row of CSR an input may stand twice.
        lag.x[i] = entries.x[j] + (lag.x[i] if lag.last[i] == t else zero_x)
        lag.last[i] = t


@jit
def lagging_sums(state, lag, inputs, row, t):
    """z_1 of a row of X, which is the block's sample t, with the weights that it needs."""
    layer, z = layer_at(state.params, state.layout, 0), units_at(state.z, state.layout, 1)
    copy(layer.b, z, layer.stride)
    catch_up(state, lag, lagging_inputs(state, lag, inputs, row), t, z)


@jit
def keep_delta(state, lag, t):
    """Keep δ_1 of the block's sample t for the rows that lack it."""
    δ = units_at(state.delta, state.layout, 1)
    copy(δ, window(lag.deltas, t * len(δ), len(δ)), len(δ))


@jit
def close_lag(state, lag, n):
    """Bring all rows to the end of a block of n samples."""
    z = units_at(state.z, state.layout, 1)
    catch_up(state, lag, all_entries(lag.nothing, state.layout.sizes[0]), n, z)
    for i in range(len(lag.last)):
        lag.last[i] = 0
