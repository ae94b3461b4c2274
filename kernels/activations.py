"""Activations: value f(z) and derivative f'(z) side by side, and one table of integer codes.

A derivative takes z, a = f(z) or both, whichever is cheapest: for softplus it is the sigmoid of z,
and for exp it is a. Formulas, parameters (slope 0.01, ELU α 1, exact GELU) and the derivative at a
kink are the same as in ``torch.nn``.
"""

import math

from ._jit import jit
from .elementary import exp, expm1, log1p, sigmoid, softmax, tanh
from .vectors import lanes, load, store, where_below, where_positive, zeros

IDENTITY, RELU, LEAKY_RELU, ELU, TANH, SIGMOID, SOFTPLUS, GELU, GELU_TANH, SILU = range(10)
EXP, SOFTMAX = 10, 11

# Any layer can use these. The other two, exp and softmax, are for output layers only.
HIDDEN = {
    "identity": IDENTITY,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "softplus": SOFTPLUS,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "silu": SILU,
}
ACTIVATIONS = {**HIDDEN, "exp": EXP, "softmax": SOFTMAX}


@jit
def relu(z, a, n):
    """a_k = max(z_k, 0), NaN for NaN; by whole vectors, because most layers use ReLU."""
    v = lanes(z)
    k = 0
    while k < n:
        x = load(zeros(z, 1), z, k)
        store(a, k, where_positive(x, x))
        k += v


@jit
def times_relu_derivative(z, delta, n):
    """Set δ_k to 0 where z_k ≤ 0; by whole vectors."""
    v = lanes(z)
    k = 0
    while k < n:
        zero = zeros(z, 1)
        store(delta, k, where_positive(load(zero, z, k), load(zero, delta, k)))
        k += v


@jit
def leaky_relu(z):
    T = type(z)
    return z if z > T(0) else T(0.01) * z


@jit
def leaky_relu_derivative(z):
    T = type(z)
    return T(1) if z > T(0) else T(0.01)


@jit
def elu(z):
    T = type(z)
    return z if z > T(0) else expm1(z)


@jit
def elu_derivative(z, a):
    T = type(z)
    return T(1) if z > T(0) else a + T(1)


@jit
def tanh_derivative(a):
    T = type(a)
    return T(1) - a * a


@jit
def sigmoid_derivative(a):
    T = type(a)
    return a * (T(1) - a)


@jit
def softplus(z):
    """log(1 + eᶻ) = max(z, 0) + log(1 + e^−|z|)."""
    T = type(z)
    return max(z, T(0)) + log1p(exp(-abs(z)))


@jit
def gelu(z):
    """z Φ(z), Φ the standard normal distribution function (Hendrycks & Gimpel 2016)."""
    T = type(z)
    return T(0.5) * z * (T(1) + T(math.erf(z * T(math.sqrt(0.5)))))


@jit
def gelu_derivative(z):
    """Φ(z) + z φ(z)."""
    T = type(z)
    Phi = T(0.5) * (T(1) + T(math.erf(z * T(math.sqrt(0.5)))))
    phi = T(1 / math.sqrt(2 * math.pi)) * exp(T(-0.5) * z * z)
    return Phi + z * phi


@jit
def gelu_tanh(z):
    """½ z (1 + tanh(√(2/π) (z + 0.044715 z³)))."""
    T = type(z)
    u = T(math.sqrt(2 / math.pi)) * (z + T(0.044715) * z * z * z)
    return T(0.5) * z * (T(1) + tanh(u))


@jit
def gelu_tanh_derivative(z):
    T = type(z)
    c = T(math.sqrt(2 / math.pi))
    t = tanh(c * (z + T(0.044715) * z * z * z))
    du = c * (T(1) + T(3 * 0.044715) * z * z)
    return T(0.5) * (T(1) + t) + T(0.5) * z * (T(1) - t * t) * du


@jit
def silu(z):
    return z * sigmoid(z)


@jit
def silu_derivative(z):
    T = type(z)
    s = sigmoid(z)
    return s * (T(1) + z * (T(1) - s))


@jit
def activate(code, z, a, n):
    """a = f(z) over the first n units, in place; both are padded to whole vectors."""
    if code == RELU:
        relu(z, a, len(z))
    elif code == SOFTMAX:
        softmax(z, a, n)
    else:
        _activate(code, z, a, n)


# The loops for all activations are a lot of code: they are not inlined, so that each entry point
# has only one copy of it.
@jit(inline=False)
def _activate(code, z, a, n):
    # One loop per activation: the branch is taken once per layer, and LLVM can vectorise each loop.
    zero, v = zeros(z, 1), lanes(z)
    if code == IDENTITY:
        for k in range(n):
            a[k] = z[k]
    elif code == LEAKY_RELU:
        for k in range(n):
            a[k] = leaky_relu(z[k])
    elif code == ELU:
        for k in range(n):
            a[k] = elu(z[k])
    elif code == TANH:
        for k in range(0, n, v):
            store(a, k, tanh(load(zero, z, k)))
    elif code == SIGMOID:
        for k in range(0, n, v):
            # Padding stays 0; tanh(0) is 0 of itself.
            store(a, k, where_below(n - k, sigmoid(load(zero, z, k)), zero))
    elif code == SOFTPLUS:
        for k in range(n):
            a[k] = softplus(z[k])
    elif code == GELU:
        for k in range(n):
            a[k] = gelu(z[k])
    elif code == GELU_TANH:
        for k in range(n):
            a[k] = gelu_tanh(z[k])
    elif code == SILU:
        for k in range(n):
            a[k] = silu(z[k])
    elif code == EXP:
        for k in range(n):
            a[k] = exp(z[k])


@jit
def times_derivative(code, z, a, delta, n):
    """δ ← δ ⊙ f'(z) over the first n units, in place; padded to whole vectors.

    Softmax has no elementwise derivative; it occurs only with cross_entropy, whose δ is known
    in closed form (``losses.output_delta``).
    """
    if code == RELU:
        times_relu_derivative(z, delta, len(z))
    else:
        _times_derivative(code, z, a, delta, n)


@jit(inline=False)
def _times_derivative(code, z, a, delta, n):
    if code == LEAKY_RELU:
        for k in range(n):
            delta[k] *= leaky_relu_derivative(z[k])
    elif code == ELU:
        for k in range(n):
            delta[k] *= elu_derivative(z[k], a[k])
    elif code == TANH:
        for k in range(n):
            delta[k] *= tanh_derivative(a[k])
    elif code == SIGMOID:
        for k in range(n):
            delta[k] *= sigmoid_derivative(a[k])
    elif code == SOFTPLUS:
        for k in range(n):
            delta[k] *= sigmoid(z[k])
    elif code == GELU:
        for k in range(n):
            delta[k] *= gelu_derivative(z[k])
    elif code == GELU_TANH:
        for k in range(n):
            delta[k] *= gelu_tanh_derivative(z[k])
    elif code == SILU:
        for k in range(n):
            delta[k] *= silu_derivative(z[k])
    elif code == EXP:
        for k in range(n):
            delta[k] *= a[k]
