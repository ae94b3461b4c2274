"""Losses: value and derivative side by side, one table of codes, and which outputs go with which.

Values are float64 whatever the network's dtype, so that sums over many samples keep their digits.
Arithmetic is strict: fast-math could order the sum over outputs differently in different kernels.
Every loss sums over a sample's outputs.
"""

import math
from typing import NamedTuple

import numpy as np

from ._jit import jit
from .activations import HIDDEN, softplus, times_derivative
from .elementary import log
from .memory import window
from .packing import Reals
from .vectors import broadcast, lanes, length, load, store, total, unit, zeros

SQUARED_ERROR, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, HUBER, ABSOLUTE_ERROR, POISSON = range(6)

LOSSES = {
    "squared_error": SQUARED_ERROR,
    "cross_entropy": CROSS_ENTROPY,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "huber": HUBER,
    "absolute_error": ABSOLUTE_ERROR,
    "poisson": POISSON,
}
CLASSIFICATION = ("cross_entropy", "binary_cross_entropy")

# Output activations that a loss may be paired with; the first is the default. Losses that
# are functions of a − y take any elementwise output. The others are implemented only in their
# numerically stable form, from the logits, and so only with the activation for which δ = a − y.
_ELEMENTWISE = (*HIDDEN, "exp")
LEGAL_OUTPUTS = {
    "squared_error": _ELEMENTWISE,
    "cross_entropy": ("softmax",),
    "binary_cross_entropy": ("sigmoid",),
    "huber": _ELEMENTWISE,
    "absolute_error": _ELEMENTWISE,
    "poisson": ("exp",),
}

# Larger losses are reported as this number, so that even the largest finite logits have a finite
# loss, and so does the sum over any number of such samples.
_LARGEST = 1e280
# Below this, probabilities of the softmax in float32 have lost digits.
EXACT_FROM = 1e-30


@jit
def squared_error(e):
    """½ (a − y)², given e = a − y, which is its derivative."""
    return 0.5 * np.float64(e) * np.float64(e)


@jit
def huber(e):
    """½ e² up to |e| = 1, |e| − ½ beyond (Huber 1964)."""
    d = abs(np.float64(e))
    return 0.5 * d * d if d <= 1.0 else d - 0.5


@jit
def huber_derivative(e):
    T = type(e)
    return max(T(-1), min(T(1), e))


@jit
def absolute_error(e):
    return abs(np.float64(e))


@jit
def absolute_error_derivative(e):
    """sign(e), with 0 at 0."""
    T = type(e)
    return T(1) if e > T(0) else (T(-1) if e < T(0) else T(0))


# Logarithms of probabilities are taken from the logits, which is exact. With a ``clip`` above 0
# they are those of the probabilities in the network's dtype, held in [clip, 1 − clip], as in
# scikit-learn. Derivatives do not depend on ``clip``.


@jit(strict=True)
def clipped(p, clip):
    """``p`` held in [clip, 1 − clip]; with a clip of 0 it is ``p`` itself, and NaN stays NaN."""
    T = type(p)
    low, high = T(clip), T(1.0 - clip)
    return low if p < low else (high if p > high else p)


# The n numbers of a sample are one after the other, or every ``step``-th from ``at`` on.


@jit(strict=True)
def greatest(z, a, n, at, step):
    """Return m = max z, and −log max a, which is log Σ_j e^(z_j − m) if a is the softmax of z."""
    m, p = z[at], a[at]
    for k in range(at, at + n * step, step):
        m = max(m, z[k])
        p = max(p, a[k])
    # For a single number latency counts, and the C library's log is the fastest.
    return np.float64(m), -math.log(np.float64(p))


@jit(strict=True)
def cross_entropy(z, a, y, n, clip, at=0, step=1):
    """−Σ_k y_k log p_k = Σ_k y_k (m − z_k + log s), m = max z and s = Σ_j e^(z_j − m)."""
    value = 0.0
    if clip > 0:
        for k in range(at, at + n * step, step):
            value -= np.float64(y[k]) * math.log(np.float64(clipped(a[k], clip)))
        return value
    m, log_s = greatest(z, a, n, at, step)
    for k in range(at, at + n * step, step):
        # The limit also keeps a zero target times an infinite distance from being NaN.
        value += np.float64(y[k]) * min(m - np.float64(z[k]) + log_s, _LARGEST)
    return value


@jit(strict=True)
def label_cross_entropy(z, a, label, n, clip, at=0, step=1):
    """−log p of one class: `cross_entropy` with a 1 there and zeros elsewhere."""
    probability = clipped(a[at + label * step], clip)
    if probability > EXACT_FROM:
        return -log(np.float64(probability))  # the same bits as `take_logarithms` has
    # p is too small to be exact: from the logits, as above
    m, log_s = greatest(z, a, n, at, step)
    return min(m - np.float64(z[at + label * step]) + log_s, _LARGEST)


@jit(inline=False)
def take_logarithms(p, n):
    """p[:n] = −log p[:n], in place."""
    for t in range(n):
        p[t] = -log(p[t])  # for many numbers, our vectorised log is the fastest


@jit(strict=True)
def binary_cross_entropy(z, y):
    """softplus(z) − y z, which is −y log σ(z) − (1 − y) log(1 − σ(z))."""
    return softplus(np.float64(z)) - np.float64(y) * np.float64(z)


@jit(strict=True)
def clipped_binary_cross_entropy(a, y, clip):
    T = type(a)
    p = clipped(a, clip)
    is_not = np.float64(T(1) - y) * math.log(np.float64(T(1) - p))
    return -(np.float64(y) * math.log(np.float64(p)) + is_not)


@jit(strict=True)
def poisson(a, z, y):
    """e^z − y z: the negative log-likelihood less log y!, which is constant."""
    return np.float64(a) - np.float64(y) * np.float64(z)


@jit(strict=True)
def loss_value(loss, z, a, y, label, n, clip):
    """Loss of one sample, from its n logits ``z``, outputs ``a``, and class or targets ``y``."""
    if label >= 0:
        return label_cross_entropy(z, a, label, n, clip)
    if loss == CROSS_ENTROPY:
        return cross_entropy(z, a, y, n, clip)
    value = 0.0
    if loss == BINARY_CROSS_ENTROPY and clip > 0:
        for k in range(n):
            value += clipped_binary_cross_entropy(a[k], y[k], clip)
    elif loss == BINARY_CROSS_ENTROPY:
        for k in range(n):
            value += binary_cross_entropy(z[k], y[k])
    elif loss == POISSON:
        for k in range(n):
            value += poisson(a[k], z[k], y[k])
    elif loss == SQUARED_ERROR:
        for k in range(n):
            value += squared_error(a[k] - y[k])
    elif loss == HUBER:
        for k in range(n):
            value += huber(a[k] - y[k])
    else:
        for k in range(n):
            value += absolute_error(a[k] - y[k])
    return limited(loss, value, clip)


@jit(strict=True)
def limited(loss, value, clip):
    """Sum over a sample's outputs, finite even for the largest finite logits."""
    return min(value, _LARGEST) if loss == BINARY_CROSS_ENTROPY and clip == 0 else value


@jit(inline=False, strict=True)
def lane_losses(loss, outputs, losses, clip):
    """`loss_value` of samples side by side, by their targets; ``losses`` has one for each."""
    Z, A, Y, _, n, width = outputs
    m = len(losses)
    if loss == CROSS_ENTROPY:
        for t in range(m):
            losses[t] = cross_entropy(Z, A, Y, n, clip, t, width)
        return
    for t in range(m):
        losses[t] = 0.0
    for k in range(0, n * width, width):
        z, a, y = window(Z, k, m), window(A, k, m), window(Y, k, m)
        if loss == BINARY_CROSS_ENTROPY and clip > 0:
            for t in range(m):
                losses[t] += clipped_binary_cross_entropy(a[t], y[t], clip)
        elif loss == BINARY_CROSS_ENTROPY:
            for t in range(m):
                losses[t] += binary_cross_entropy(z[t], y[t])
        elif loss == POISSON:
            for t in range(m):
                losses[t] += poisson(a[t], z[t], y[t])
        elif loss == SQUARED_ERROR:
            for t in range(m):
                losses[t] += squared_error(a[t] - y[t])
        elif loss == HUBER:
            for t in range(m):
                losses[t] += huber(a[t] - y[t])
        else:
            for t in range(m):
                losses[t] += absolute_error(a[t] - y[t])
    for t in range(m):
        losses[t] = limited(loss, losses[t], clip)


@jit(strict=True)
def output_delta(loss, output, z, a, y, label, delta, n):
    """δ_L = ∂loss/∂z_L; ``delta`` is modified in place. It and ``a`` are padded to whole vectors.

    δ = a − y holds for exactly these pairs: cross_entropy with softmax, binary_cross_entropy with
    sigmoid, poisson with exp, squared_error with identity. For cross_entropy it is a Σy − y,
    where Σy is 1 up to the rounding of the target's probabilities. Losses of e = a − y use the
    chain rule: ∂loss/∂a ⊙ f_L'(z_L).
    """
    T = y.dtype.type
    if label >= 0:
        label_delta(a, label, T(1), delta, 0, n)
        return
    if loss == CROSS_ENTROPY:
        s = T(0)
        for k in range(n):
            s += y[k]
        for k in range(n):
            delta[k] = a[k] * s - y[k]
        return
    for k in range(n):
        delta[k] = a[k] - y[k]
    if loss == BINARY_CROSS_ENTROPY or loss == POISSON:
        return
    if loss == HUBER:
        for k in range(n):
            delta[k] = huber_derivative(delta[k])
    elif loss == ABSOLUTE_ERROR:
        for k in range(n):
            delta[k] = absolute_error_derivative(delta[k])
    times_derivative(output, z, a, delta, n)


@jit(strict=True)
def cross_entropy_lanes(A, Y, D, n, width, stop):
    """δ_L = a Σy − y of samples side by side, in columns 0 to ``stop`` of rows of ``width``."""
    zero = zeros(A, 1)
    for t in range(0, stop, lanes(A)):
        s = zero
        for k in range(t, n * width, width):
            s = s + load(zero, Y, k)
        for k in range(t, n * width, width):
            store(D, k, load(zero, A, k) * s - load(zero, Y, k))


@jit
def label_delta(A, label, scale, D, start, stride):
    """Write ``scale`` times the δ_L of a class to the row of D that begins at ``start``."""
    zero = zeros(A, 1)
    c = broadcast(zero, scale)
    # Whole vectors alone: a vector that is read soon after one lane of it was written has to wait.
    for k in range(0, stride, lanes(A)):
        store(D, start + k, c * (load(zero, A, start + k) - unit(zero, label - k)))


@jit(inline=False)
def label_losses(outputs, across, along, labels, losses, clip):
    """Turn samples' probabilities of their classes, in ``losses``, into `label_cross_entropy`.

    Output k of sample t is at t·across + k·along.
    """
    Z, A, _, _, n, _ = outputs
    m, inexact = len(losses), 0
    for t in range(m):
        probability = clipped(losses[t], clip)
        inexact += probability <= EXACT_FROM
        losses[t] = -log(probability)  # for many numbers, our vectorised log is the fastest
    for t in range(m if inexact > 0 else 0):
        if A[t * across + labels[t] * along] <= EXACT_FROM:
            losses[t] = label_cross_entropy(Z, A, labels[t], n, clip, t * across, along)


@jit(strict=True)
def add_losses(loss_sum, scale, losses, m):
    """The sum with m losses more, in a fixed order: lanes are added up side by side.

    A single sum would wait for each addition before the next one.
    """
    like = zeros(losses, 2)
    s, t = like, 0
    while t + length(like) <= m:
        s = s + load(like, losses, t)
        t += length(like)
    rest = total(s)
    for k in range(t, m):
        rest += losses[k]
    return loss_sum + scale * rest


class Outputs(NamedTuple):
    """Arrays of the output layer: a row of ``stride`` elements per sample, or one per output."""

    Z: Reals
    A: Reals
    Y: Reals
    D: Reals
    n: int  # outputs
    stride: int


@jit(inline=False)
def target_rows(loss, output, outputs, losses, m, clip):
    """Losses and δ_L of m samples by their targets.

    The caller must clear the padding of D's rows.
    """
    Z, A, Y, D, n, stride = outputs
    if loss != CROSS_ENTROPY:
        output_delta(loss, output, Z, A, Y, -1, D, m * stride)
    for t in range(m):
        z, a = window(Z, t * stride, stride), window(A, t * stride, stride)
        y, δ = window(Y, t * stride, stride), window(D, t * stride, stride)
        if loss == CROSS_ENTROPY:
            output_delta(loss, output, z, a, y, -1, δ, n)
        losses[t] = loss_value(loss, z, a, y, -1, n, clip)


@jit
def is_correct(loss, a, y, label, n):
    """Whether the predicted class, or every predicted label, is the target's.

    Of equal probabilities the first one counts; a label is predicted if its probability is above
    one half. ``Network.predict`` does the same.
    """
    if loss == CROSS_ENTROPY:
        guess = 0
        truth = 0
        for k in range(n):
            if a[k] > a[guess]:
                guess = k
            if y[k] > y[truth]:
                truth = k
        return guess == (truth if label < 0 else label)
    for k in range(n):
        if (a[k] > 0.5) != (y[k] > 0.5):
            return False
    return True
