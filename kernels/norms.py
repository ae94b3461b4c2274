"""Norms whose squares may overflow or underflow, in strict arithmetic.

Kernels sum squares in vectors of the data's dtype. That is fast, and right unless the sum is not
finite or is very small. Only in these cases do they call the functions here.
"""

import math

import numpy as np

from ._jit import jit

# Norms of panels are kept multiplied by this, so that no norm of finite numbers overflows.
SHRINK = 2.0**-64
# What torch's ``clip_grad_norm_`` adds to the norm.
EPS = 1e-6 * SHRINK


@jit(inline=False, strict=True)
def norm_parts(x, start, stop, step, limit):
    """Two numbers whose product is the norm of x[start:stop:step], clipped to ±limit.

    They are the largest |x| and the norm of x divided by it.
    """
    peak = 0.0
    for i in range(start, stop, step):
        peak = max(peak, abs(float(x[i])))
    peak = min(peak, limit)
    if peak == 0:
        return 0.0, 1.0
    squares = 0.0
    for i in range(start, stop, step):
        ratio = min(abs(float(x[i])), limit) / peak
        squares += ratio * ratio
    return peak, math.sqrt(squares)


@jit(strict=True)
def shrunk_norm(x, n, limit):
    """`SHRINK` times the norm of n numbers, clipped to ±limit."""
    peak, ratio = norm_parts(x, 0, n, 1, limit)
    return peak * SHRINK * ratio


@jit(strict=True)
def norm_of_norms(norms):
    """The norm of the whole from the norms of its parts, plus torch's eps; all times `SHRINK`."""
    peak, ratio = norm_parts(norms, 0, len(norms), 1, np.inf)
    return peak * ratio + EPS


@jit(strict=True)
def clip_factor(norms, most):
    """Factor of a gradient whose norm must not exceed ``most``.

    Pascanu, Mikolov & Bengio, ICML 2013.
    """
    return factor_for(norm_of_norms(norms), most)


@jit(strict=True)
def factor_for(norm, most):
    """`clip_factor` for a norm that has been multiplied by `SHRINK`, with `EPS` added."""
    return min(1.0, most / norm * SHRINK)


@jit(inline=False, strict=True)
def clip_by_steps(g, limit, norms, most):
    """g ← g, clipped to ±limit, times `clip_factor`, where that is too small for the dtype."""
    T = g.dtype.type
    norm = norm_of_norms(norms)
    for i in range(len(g)):
        x = max(-limit, min(limit, float(g[i])))
        g[i] = T(x * SHRINK / norm * most)


@jit(inline=False, strict=True)
def limit_norm(W, start, stride, most):
    """Scale the column W[start::stride] back to the norm ``most``; whether it was greater."""
    T = W.dtype.type
    peak, ratio = norm_parts(W, start, len(W), stride, np.inf)
    if not peak > most / ratio:
        return False
    for i in range(start, len(W), stride):
        W[i] = T(float(W[i]) / peak / ratio * most)
    return True


@jit(inline=False, strict=True)
def scaled_penalty(W, start, stop, weight_decay, l1):
    """½ λ ‖w‖² + λ₁ Σ|w| of W[start:stop]."""
    peak, ratio = norm_parts(W, start, stop, 1, np.inf)
    root = math.sqrt(0.5 * weight_decay) * peak * ratio
    sizes = 0.0
    for i in range(start, stop):
        sizes += l1 * abs(float(W[i]))
    return root * root + sizes
