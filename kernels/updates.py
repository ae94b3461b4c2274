"""Optimizers: what a step does with a gradient, one rule each, and the table of their codes.

Formulas, defaults and names are those of ``torch.optim``; ``fastbp.optimizers`` cites the papers.
A rule works on a stretch of whole vectors: parameters w, their gradient g, and up to three moments
of the same length. What is the same for all parameters of a step is worked out once, in float64.
The padding of all of them is zero, and stays zero as long as eps is not.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .simd import broadcast, lanes, load, maximum, square_root, store, window, zeros

SGD, RMSPROP, ADAGRAD, ADADELTA, ADAM, NADAM = range(6)


class Rule(NamedTuple):
    """An optimizer as the kernels see it."""

    code: int
    settings: NDArray[np.float64]  # (4,) in the order of its fields in `fastbp.optimizers`
    shrinks: bool  # whether weight decay is decoupled: w ← (1 − η·λ) w, and no part of g
    moments: NDArray[np.floating]  # one after the other, each laid out as the parameters
    n_params: int
    counts: NDArray[np.float64]  # (2,) steps so far, NAdam's product of μ; modified in place


class Step(NamedTuple):
    """What is the same for all parameters in one step; numbers of their dtype."""

    scale: float  # of the first moment, or of the gradient
    gradient_scale: float  # of the gradient in NAdam
    root: float  # of √v, where v is corrected for its start at zero
    decay: float  # λ, added to g as λ w, of weights
    keep: float  # 1 − η·λ, by which weights are multiplied
    is_first: bool


@jit
def begin_step(rule, learning_rate, weight_decay, T):
    """Count a step and work out its `Step`."""
    p, counts = rule.settings, rule.counts
    η, λ = float(learning_rate), float(weight_decay)
    counts[0] += 1.0
    t = counts[0]
    scale, gradient_scale, root = η, 0.0, 1.0
    if rule.code == ADAGRAD:
        scale = η / (1 + (t - 1) * p[0])
    elif rule.code == ADAM:
        scale = η / (1 - p[0] ** t)
        root = 1 / np.sqrt(1 - p[1] ** t)
    elif rule.code == NADAM:
        μ = p[0] * (1 - 0.5 * 0.96 ** (t * p[3]))
        next_μ = p[0] * (1 - 0.5 * 0.96 ** ((t + 1) * p[3]))
        product = μ * (counts[1] if t > 1 else 1.0)
        counts[1] = product
        gradient_scale = η * (1 - μ) / (1 - product)
        scale = η * next_μ / (1 - product * next_μ)
        root = 1 / np.sqrt(1 - p[1] ** t)
    decay, keep = (0.0, 1 - η * λ) if rule.shrinks else (λ, 1.0)
    return Step(T(scale), T(gradient_scale), T(root), T(decay), T(keep), t == 1)


@jit(inline="early")
def moment(rule, i, place, n):
    """Stretch of a moment; empty where the rule has no such moment."""
    start = i * rule.n_params
    exists = start < len(rule.moments)
    return window(rule.moments, start + place if exists else 0, n if exists else 0)


@jit(inline=False)
def take_step(rule, step, w, g, place, n, is_weight):
    """One step of w with its gradient g: n elements, from ``place`` of the parameters.

    Biases, which are not weights, do not decay.
    """
    T = w.dtype.type
    like = zeros(w, 1)
    λ = broadcast(like, step.decay if is_weight else T(0))
    keep = broadcast(like, step.keep if is_weight else T(1))
    if rule.code == SGD:
        sgd(rule, step, w, g, place, n, λ, keep)
    elif rule.code == RMSPROP:
        rmsprop(rule, step, w, g, place, n, λ, keep)
    elif rule.code == ADAGRAD:
        adagrad(rule, step, w, g, place, n, λ, keep)
    elif rule.code == ADADELTA:
        adadelta(rule, step, w, g, place, n, λ, keep)
    else:
        adam(rule, step, w, g, place, n, λ, keep)


@jit
def sgd(rule, step, w, g, place, n, λ, keep):
    """With b ← μ b + (1 − τ) g, at first g: w ← w − η b, or w − η (g + μ b) with Nesterov."""
    p, T, like = rule.settings, w.dtype.type, zeros(w, 1)
    η, μ, τ = broadcast(like, step.scale), broadcast(like, T(p[0])), broadcast(like, T(1 - p[1]))
    b = moment(rule, 0, place, n)
    for k in range(0, n, lanes(w)):
        x = keep * load(like, w, k)
        d = load(like, g, k) + λ * load(like, w, k)
        if len(b) > 0:
            first = d if step.is_first else μ * load(like, b, k) + τ * d
            store(b, k, first)
            d = d + μ * first if p[2] != 0 else first
        store(w, k, x - η * d)


@jit
def rmsprop(rule, step, w, g, place, n, λ, keep):
    """With v ← α v + (1 − α) g²: w ← w − η g / (√v + ε).

    Centred, √(v − m²) with m the same mean of g takes the place of √v; with momentum,
    b ← μ b + g / (√v + ε) and w ← w − η b.
    """
    p, T, like = rule.settings, w.dtype.type, zeros(w, 1)
    η, ε = broadcast(like, step.scale), broadcast(like, T(p[1]))
    α, β = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    μ = broadcast(like, T(p[2]))
    v, b, m = moment(rule, 0, place, n), moment(rule, 1, place, n), moment(rule, 2, place, n)
    for k in range(0, n, lanes(w)):
        d = load(like, g, k) + λ * load(like, w, k)
        second = α * load(like, v, k) + β * d * d
        store(v, k, second)
        if p[3] != 0:
            first = α * load(like, m, k) + β * d
            store(m, k, first)
            second = second - first * first
        d = d / (square_root(second) + ε)
        if p[2] != 0:
            d = μ * load(like, b, k) + d
            store(b, k, d)
        store(w, k, keep * load(like, w, k) - η * d)


@jit
def adagrad(rule, step, w, g, place, n, λ, keep):
    """With v ← v + g²: w ← w − η g / (√v + ε)."""
    p, T, like = rule.settings, w.dtype.type, zeros(w, 1)
    η, ε = broadcast(like, step.scale), broadcast(like, T(p[1]))
    v = moment(rule, 0, place, n)
    for k in range(0, n, lanes(w)):
        d = load(like, g, k) + λ * load(like, w, k)
        second = load(like, v, k) + d * d
        store(v, k, second)
        store(w, k, keep * load(like, w, k) - η * d / (square_root(second) + ε))


@jit
def adadelta(rule, step, w, g, place, n, λ, keep):
    """With v ← ρ v + (1 − ρ) g² and d = g √(u + ε) / √(v + ε): w ← w − η d.

    Then u ← ρ u + (1 − ρ) d².
    """
    p, T, like = rule.settings, w.dtype.type, zeros(w, 1)
    η, ε = broadcast(like, step.scale), broadcast(like, T(p[1]))
    ρ, rest = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    v, u = moment(rule, 0, place, n), moment(rule, 1, place, n)
    for k in range(0, n, lanes(w)):
        d = load(like, g, k) + λ * load(like, w, k)
        second = ρ * load(like, v, k) + rest * d * d
        store(v, k, second)
        d = d * square_root(load(like, u, k) + ε) / square_root(second + ε)
        store(u, k, ρ * load(like, u, k) + rest * d * d)
        store(w, k, keep * load(like, w, k) - η * d)


@jit
def adam(rule, step, w, g, place, n, λ, keep):
    """With m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g²: w ← w − η m̂ / (√v̂ + ε).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). AMSGrad takes the largest v so far. NAdam looks
    ahead: in place of η m̂ stands a sum of m and g, whose weights are the step's.
    """
    p, T, like = rule.settings, w.dtype.type, zeros(w, 1)
    η, now = broadcast(like, step.scale), broadcast(like, step.gradient_scale)
    root, ε = broadcast(like, step.root), broadcast(like, T(p[2]))
    β1, rest1 = broadcast(like, T(p[0])), broadcast(like, T(1 - p[0]))
    β2, rest2 = broadcast(like, T(p[1])), broadcast(like, T(1 - p[1]))
    m, v, most = moment(rule, 0, place, n), moment(rule, 1, place, n), moment(rule, 2, place, n)
    for k in range(0, n, lanes(w)):
        d = load(like, g, k) + λ * load(like, w, k)
        first = β1 * load(like, m, k) + rest1 * d
        second = β2 * load(like, v, k) + rest2 * d * d
        store(m, k, first)
        store(v, k, second)
        if len(most) > 0:
            second = maximum(load(like, most, k), second)
            store(most, k, second)
        d = (η * first + now * d) / (root * square_root(second) + ε)
        store(w, k, keep * load(like, w, k) - d)
