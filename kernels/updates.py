"""Optimizers: one update rule each, and their integer codes.

Formulas, defaults and names are those of ``torch.optim``; ``fastbp.optimizers`` cites the papers.
A rule updates rows of whole vectors: parameters w, and up to three moments of the same length. The
gradient is an outer product whose elements are computed as they are met: that of one sample is
never stored, and that of a batch has a single row. Values shared by all parameters of a step are
computed once per step, in float64.
Padding is zero in all of these arrays, and stays zero because eps is above 0.

Arithmetic is strict, and fused multiply-adds are written out. Under fast-math LLVM would choose
anew in each copy of a function which of two products to fuse into their sum, and kernels for one
sample and for batches would differ in their last bits.
"""

import math
from typing import NamedTuple

import numpy as np

from ._jit import jit
from .elementary import quotient
from .memory import window
from .norms import SHRINK, limit_norm, scaled_penalty, shrunk_norm
from .packing import Reals, view
from .state import State
from .vectors import (
    broadcast,
    clamp,
    constant,
    fma,
    lanes,
    largest,
    load,
    maximum,
    square_root,
    store,
    total,
    where_positive,
    zeros,
)

SGD, RMSPROP, ADAGRAD, ADADELTA, ADAM, NADAM = range(6)

# Sums of squares below the first have lost digits to underflow, and so have those that are compared
# with norms below the second: `norms` computes these with scaling.
_LEAST_SQUARES, _LEAST_NORM = constant(1e-25, 1e-280), constant(1e-15, 1e-140)
# Weights whose squares are added in their own dtype: of a million, a float32 sum has lost digits.
_SUMMED = 4096


# An eps below the normal numbers would be 0, and so would the denominators of padding.
_LEAST_EPS = constant(2.0**-124, 2.0**-1020)


class Penalties(NamedTuple):
    """Factors of the penalties of a batch; numbers of the parameters' dtype."""

    weight_decay: float  # λ
    l1: float  # λ₁


class Step(NamedTuple):
    """Values shared by all parameters in one step, in their dtype."""

    scale: float  # of the first moment, or of the gradient
    inner_scale: float  # of the gradient before it enters SGD's moment
    gradient_scale: float  # of the gradient in NAdam
    root_scale: float  # of √v, where v is corrected for its start at zero
    decay: float  # λ of λ w, which is added to a weight's gradient; 0 if decoupled
    keep: float  # factor of weights: 1 − η·λ if weight decay is decoupled, else 1
    is_first: bool


@jit(strict=True)
def begin_step(state, weight_decay, counts_it):
    """Compute the next `Step`, and count it if ``counts_it``."""
    p, counts, code = state.settings, state.counts, state.rule[0]
    T = state.params.dtype.type
    η, λ = float(T(state.rates[0])), float(weight_decay)
    t = counts[0] + 1.0
    scale, inner_scale, gradient_scale, root = η, 1.0, 0.0, 1.0
    if code == SGD and p[3] != 0:
        scale, inner_scale = 1.0, η
    elif code == ADAGRAD:
        scale = η / (1 + (t - 1) * p[0])
    elif code == ADAM:
        scale = η / (1 - p[0] ** t)
        root = 1 / np.sqrt(1 - p[1] ** t)
        if p[4] != 0:
            scale, root = scale / root, 1.0
    elif code == NADAM:
        μ = p[0] * (1 - 0.5 * 0.96 ** (t * p[3]))
        next_μ = p[0] * (1 - 0.5 * 0.96 ** ((t + 1) * p[3]))
        product = μ * (counts[1] if t > 1 else 1.0)
        if counts_it:
            counts[1] = product
        gradient_scale = η * (1 - μ) / (1 - product)
        scale = η * next_μ / (1 - product * next_μ)
        root = 1 / np.sqrt(1 - p[1] ** t)
    if counts_it:
        counts[0] = t
    decay, keep = (0.0, 1 - η * λ) if state.rule[1] != 0 else (λ, 1.0)
    return Step(
        T(scale), T(inner_scale), T(gradient_scale), T(root), T(decay), T(keep), t == 1
    )  # fmt: skip


@jit
def adjusts(penalties, clip_value, c):
    """Whether `adjust` would change anything."""
    return penalties.l1 > 0 or clip_value < np.inf or c != 1


@jit(inline=False, strict=True)
def adjust(penalties, clip_value, c, w, g, n, is_weight):
    """g ← c clip(g) + λ₁ sign(w), n elements; biases have no penalty."""
    like = zeros(w, 1)
    factor, limit = broadcast(like, c), broadcast(like, w.dtype.type(clip_value))
    λ1 = broadcast(like, penalties.l1 if is_weight else w.dtype.type(0))
    for k in range(0, n, lanes(w)):
        x = load(like, w, k)
        sign = where_positive(x, λ1) - where_positive(like - x, λ1)
        store(g, k, fma(factor, clamp(load(like, g, k), like - limit, limit), sign))


@jit(strict=True)
def penalty_between(params, start, stop, λ, λ1):
    """½ λ ‖w‖² + λ₁ Σ|w| of params[start:stop], whole vectors."""
    like = zeros(params, 1)
    s, a = like, like
    for k in range(start, stop, lanes(params)):
        x = load(like, params, k)
        s = s + x * x
        a = a + maximum(x, like - x)
    squares, sizes = total(s), total(a)
    if squares > _LEAST_SQUARES(squares) and math.isfinite(squares) and math.isfinite(sizes):
        return 0.5 * λ * float(squares) + λ1 * float(sizes)
    return scaled_penalty(params, start, stop, λ, λ1)


@jit(strict=True)
def penalty(penalties, params, layout):
    """½ λ ‖W‖² + λ₁ Σ|w| of all weights."""
    λ, λ1 = float(penalties.weight_decay), float(penalties.l1)
    value = 0.0
    for l in range(len(layout.strides) if λ > 0 or λ1 > 0 else 0):
        start = layout.blocks[l]
        stop = start + layout.sizes[l] * layout.strides[l]
        for first in range(start, stop, _SUMMED):
            value += penalty_between(params, first, min(first + _SUMMED, stop), λ, λ1)
    return value


@jit(entry=True)
def penalty_of(packed, weight_decay, l1):
    """`penalty` of the parameters of a packed `State`."""
    state = view(packed, State)
    return penalty(Penalties(weight_decay, l1), state.params, state.layout)


@jit
def clipped_norm(clip_value, g, n):
    """`SHRINK` times the norm of clip(g), n elements; 0 where all squares underflow."""
    like = zeros(g, 1)
    limit = broadcast(like, g.dtype.type(clip_value))
    s = like
    for k in range(0, n, lanes(g)):
        x = clamp(load(like, g, k), like - limit, limit)
        s = s + x * x
    squares = float(total(s))
    if math.isfinite(squares):
        return SHRINK * np.sqrt(squares)
    return shrunk_norm(g, n, float(g.dtype.type(clip_value)))


@jit(inline=False)
def limit_norms(W, stride, most):
    """Scale columns of W, each a unit's weights, down to the norm ``most``; whether any was above.

    Srebro, Rennie & Jaakkola, NIPS 2004; with dropout: Srivastava et al., JMLR 2014.
    """
    like = zeros(W, 1)
    limit = broadcast(like, most)
    is_small = most < _LEAST_NORM(most)
    limited = False
    for k in range(0, stride, lanes(W)):
        s = like
        for i in range(k, len(W), stride):
            s = s + load(like, W, i) * load(like, W, i)
        norm = square_root(s)
        if is_small or not math.isfinite(largest(norm)):
            for j in range(k, k + lanes(W)):
                limited = limit_norm(W, j, stride, float(most)) or limited
        elif largest(norm) > most:
            limited = True
            factor = limit / maximum(norm, limit)
            for i in range(k, len(W), stride):
                store(W, i, factor * load(like, W, i))
    return limited


@jit(inline="early")
def moment(state, i, place, n):
    """n elements of moment i from ``place`` on; none if the optimizer has no such moment."""
    start, exists = i * len(state.params), i < state.rule[2]
    return window(state.moments, start + place if exists else 0, n if exists else 0)


class Rows(NamedTuple):
    """Rows of parameters, one after the other, and their gradient: x[i] δ of row i.

    Past the end of x it is δ itself, such as that of the biases, or a gradient that is stored.
    """

    x: Reals
    δ: Reals
    n: int
    weights: int  # how many of them are weights; the others are biases, which do not decay


@jit(inline="early")
def stored(g, is_weight):
    """A stored gradient as a single row."""
    return Rows(window(g, 0, 0), g, 1, int(is_weight))


@jit
def factors(like, step, rows, i):
    """Factor of δ in row i's gradient, λ, and the factor of the parameters themselves."""
    T, is_weight = rows.δ.dtype.type, i < rows.weights
    return (
        broadcast(like, rows.x[i] if i < len(rows.x) else T(1)),
        broadcast(like, step.decay if is_weight else T(0)),
        broadcast(like, step.keep if is_weight else T(1)),
    )


@jit
def eps(like, given):
    """The ε of an optimizer in every lane."""
    return broadcast(like, max(given, _LEAST_EPS(given)))


@jit(inline=False)
def take_step(state, step, rows, place):
    """Update the parameters from ``place`` on by their gradient."""
    code, p, n = state.rule[0], state.settings, rows.n * len(rows.δ)
    w = window(state.params, place, n)
    moments = moment(state, 0, place, n), moment(state, 1, place, n), moment(state, 2, place, n)
    if code == SGD:
        sgd(p, step, w, rows, moments)
    elif code == RMSPROP:
        rmsprop(p, step, w, rows, moments)
    elif code == ADAGRAD:
        adagrad(p, step, w, rows, moments)
    elif code == ADADELTA:
        adadelta(p, step, w, rows, moments)
    else:
        adam(p, step, w, rows, moments)


@jit(strict=True)
def sgd(p, step, w, rows, moments):
    """With b ← μ b + (1 − τ) g, at first g: w ← w − η b, or w − η (g + μ b) with Nesterov.

    With `fastbp.optimizers.SGD.velocity`, η g replaces g, and 1 replaces η.
    """
    T, like, δ = w.dtype.type, zeros(w, 1), rows.δ
    η, μ = broadcast(like, step.scale), broadcast(like, T(p[0]))
    # At first all b are zero.
    τ = broadcast(like, T(1 if step.is_first else 1 - p[1]))
    inner = broadcast(like, step.inner_scale)
    b, is_nesterov = moments[0], p[2] != 0
    for i in range(rows.n):
        x, λ, keep = factors(like, step, rows, i)
        j = i * len(δ)
        for k in range(0, len(δ), lanes(w)):
            d = inner * fma(λ, load(like, w, j + k), x * load(like, δ, k))
            if len(b) > 0:
                first = fma(μ, load(like, b, j + k), τ * d)
                store(b, j + k, first)
                d = fma(μ, first, d) if is_nesterov else first
            store(w, j + k, fma(-η, d, keep * load(like, w, j + k)))


@jit(strict=True)
def rmsprop(p, step, w, rows, moments):
    """With v ← α v + (1 − α) g²: w ← w − η g / (√v + ε).

    If centred, √(v − m²) replaces √v, where m is the running mean of g; with momentum,
    b ← μ b + g / (√v + ε) and w ← w − η b.
    """
    T, like, δ = w.dtype.type, zeros(w, 1), rows.δ
    η, ε = broadcast(like, step.scale), eps(like, T(p[1]))
    α, β = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    μ = broadcast(like, T(p[2]))
    v, b, m = moments
    is_centered, has_momentum = p[3] != 0, p[2] != 0
    for i in range(rows.n):
        x, λ, keep = factors(like, step, rows, i)
        j = i * len(δ)
        for k in range(0, len(δ), lanes(w)):
            d = fma(λ, load(like, w, j + k), x * load(like, δ, k))
            second = fma(α, load(like, v, j + k), β * d * d)
            store(v, j + k, second)
            if is_centered:
                first = fma(α, load(like, m, j + k), β * d)
                store(m, j + k, first)
                second = maximum(like, fma(-first, first, second))  # rounding may make it negative
            d = quotient(d, square_root(second) + ε)
            if has_momentum:
                d = fma(μ, load(like, b, j + k), d)
                store(b, j + k, d)
            store(w, j + k, fma(-η, d, keep * load(like, w, j + k)))


@jit(strict=True)
def adagrad(p, step, w, rows, moments):
    """With v ← v + g²: w ← w − η g / (√v + ε)."""
    T, like, δ = w.dtype.type, zeros(w, 1), rows.δ
    η, ε = broadcast(like, step.scale), eps(like, T(p[1]))
    v = moments[0]
    for i in range(rows.n):
        x, λ, keep = factors(like, step, rows, i)
        j = i * len(δ)
        for k in range(0, len(δ), lanes(w)):
            d = fma(λ, load(like, w, j + k), x * load(like, δ, k))
            second = fma(d, d, load(like, v, j + k))
            store(v, j + k, second)
            d = quotient(d, square_root(second) + ε)
            store(w, j + k, fma(-η, d, keep * load(like, w, j + k)))


@jit(strict=True)
def adadelta(p, step, w, rows, moments):
    """With v ← ρ v + (1 − ρ) g² and d = g √(u + ε) / √(v + ε): w ← w − η d.

    Then u ← ρ u + (1 − ρ) d².
    """
    T, like, δ = w.dtype.type, zeros(w, 1), rows.δ
    η, ε = broadcast(like, step.scale), eps(like, T(p[1]))
    ρ, rest = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    v, u, _ = moments
    for i in range(rows.n):
        x, λ, keep = factors(like, step, rows, i)
        j = i * len(δ)
        for k in range(0, len(δ), lanes(w)):
            d = fma(λ, load(like, w, j + k), x * load(like, δ, k))
            second = fma(ρ, load(like, v, j + k), rest * d * d)
            store(v, j + k, second)
            d = quotient(d * square_root(load(like, u, j + k) + ε), square_root(second + ε))
            store(u, j + k, fma(ρ, load(like, u, j + k), rest * d * d))
            store(w, j + k, fma(-η, d, keep * load(like, w, j + k)))


@jit(strict=True)
def adam(p, step, w, rows, moments):
    """With m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g²: w ← w − η m̂ / (√v̂ + ε).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ); with ``uncorrected_eps``, ε / √(1 − β₂ᵗ) replaces
    ε. AMSGrad uses the largest v so far. NAdam looks ahead: a sum of m and g, with the factors of
    `Step`, replaces η m̂.
    """
    T, like, δ = w.dtype.type, zeros(w, 1), rows.δ
    η, now = broadcast(like, step.scale), broadcast(like, step.gradient_scale)
    scale, ε = broadcast(like, step.root_scale), eps(like, T(p[2]))
    β1, rest1 = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    β2, rest2 = broadcast(like, T(p[1])), broadcast(like, T(1 - p[1]))
    m, v, most = moments
    # A step from m towards d is shorter to compute, and as exact unless it is long. Not so v, which
    # stays infinite where d² has overflowed, so that the moments are what is reported.
    is_usual = p[0] >= 0.5 and step.gradient_scale == 0
    for i in range(rows.n):
        x, λ, keep = factors(like, step, rows, i)
        j = i * len(δ)
        for k in range(0, len(δ), lanes(w)):
            d = fma(λ, load(like, w, j + k), x * load(like, δ, k))
            first = load(like, m, j + k)
            second = fma(β2, load(like, v, j + k), rest2 * d * d)
            if is_usual:
                first = fma(rest1, d - first, first)
                d = η * first
            else:
                first = fma(β1, first, rest1 * d)
                d = fma(η, first, now * d)
            store(m, j + k, first)
            store(v, j + k, second)
            if len(most) > 0:
                second = maximum(load(like, most, j + k), second)
                store(most, j + k, second)
            d = quotient(d, fma(scale, square_root(second), ε))
            store(w, j + k, fma(keep, load(like, w, j + k), -d))
