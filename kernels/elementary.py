"""Exponential, logarithm and their kin, without branches or calls: loops over them are vectorised.

Each takes a float32 or a float64 and gives a number of the same dtype; sigmoid and tanh also take
vectors, which are faster than LLVM's loops. Both dtypes share one body, of selects, fused
multiply-adds and arithmetic on the bits of floats; only constants and the degrees of polynomials
differ. Arithmetic is strict, because fast-math would merge the parts that an argument is split
into; the fast-math flags of callers do not apply here.

An argument is reduced by n·log 2 with the constant in two parts, of which the first times n is
exact with and without a fused multiply-add (Cody & Waite, *Software Manual for the Elementary
Functions*, 1980). The logarithm is that of a number in [√½, √2), by way of
2 artanh(f / (2 + f)) = log(1 + f) (Tang, *ACM Trans. Math. Softw.* 16, 1990). Both are described,
with the error analysis, in Muller et al., *Handbook of Floating-Point Arithmetic*, 2nd ed., 2018.

The coefficients are minimax fits by Remez' exchange algorithm in 400-bit arithmetic, rounded to
the dtype: of (eʳ − 1 − r) / r² for |r| ≤ ½ log 2 (error 2⁻²⁹ and 2⁻⁵⁹), and of
(2 artanh(s)/s − 2) / s² as a polynomial in s² ≤ (3 − 2√2)² (error 2⁻²² and 2⁻⁵¹, which enters
the logarithm multiplied by s²/2 < 0.015).

An ulp is the distance of the floats around the exact result, between subnormal numbers too.
"""

import math

import numpy as np
from numba import config

from ._jit import jit
from .bits import (
    exponent,
    nearest,
    power_of_two,
    rough_inverse,
    significand,
)
from .memory import window
from .vectors import (
    broadcast,
    clamp,
    constant,
    fma,
    is_float32,
    lanes,
    largest,
    load,
    magnitude,
    maximum,
    minimum,
    polynomial,
    store,
    sum_and_error,
    total_twice,
    transpose,
    where,
    where_below,
    where_below_zero,
    where_positive,
    with_sign,
    zeros,
)

_LOG2_E = constant(1 / math.log(2), 1 / math.log(2))
# The first part ends in as many zero bits as the largest |n| has bits.
_LOG_2_HIGH = constant(float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.62e42fefa38p-1"))
_LOG_2_LOW = constant(1.4286068e-06, 5.497923018708371e-14)

_HALF, _ZERO, _ONE = constant(0.5, 0.5), constant(0.0, 0.0), constant(1.0, 1.0)
_TWO, _MINUS_TWO = constant(2.0, 2.0), constant(-2.0, -2.0)
# Beyond these, eˣ is 0 or infinite, and eˣ − 1 is −1.
_EXP_LOWEST = constant(-104.5, -746.0)
_EXP_HIGHEST = constant(89.0, 710.0)
_EXPM1_LOWEST = constant(-18.0, -38.0)
# Up to this |x|, x itself is eˣ − 1 and log(1 + x) to within half an ulp, and −0 stays −0.
_LINEAR = constant(2.0**-25, 2.0**-54)
_SMALLEST_NORMAL = constant(2.0**-126, 2.0**-1022)

_EXP_TAIL = polynomial(
    (0.5, 0.16666667, 0.041666463, 0.008333286, 0.0013933654, 0.00019907585),
    (
        0.5,
        0.1666666666666667,
        0.041666666666666685,
        0.008333333333326134,
        0.0013888888888874398,
        0.0001984126987482399,
        2.480158734733946e-05,
        2.7557255396471e-06,
        2.7557252912472866e-07,
        2.510521838664829e-08,
        2.0921589370829142e-09,
    ),
)
_ARTANH_TAIL = polynomial(
    (0.66666687, 0.39988717, 0.29582152),
    (
        0.666666666666667,
        0.39999999999898445,
        0.28571428626398654,
        0.22222211072894535,
        0.18182893216800716,
        0.1533159698024087,
        0.14617872803129472,
    ),
)


@jit(strict=True)
def _exp_less(x, low):
    """e^(x − low), for a ``low`` of at most an ulp of x, which is in the range of finite powers."""
    n = nearest(x * _LOG2_E(x))
    r = fma(n, -_LOG_2_HIGH(x), x) + fma(n, -_LOG_2_LOW(x), -low)
    # In two steps, each by a normal power: the first is exact, so that a subnormal result is
    # rounded once.
    half = nearest(_HALF(n) * n)
    s = power_of_two(half)
    return fma(s, fma(r * r, _EXP_TAIL(r), r), s) * power_of_two(n - half)


@jit(strict=True)
def exp(x):
    """Exponential, with an error of at most 2 ulp; gradually 0 below the smallest normal number."""
    T = type(x)
    return _exp_less(clamp(x, _EXP_LOWEST(x), _EXP_HIGHEST(x)), T(0))


@jit(strict=True)
def exp_difference(x, m):
    """e^(x − m) of vectors, to 2 ulp of that of the exact difference; no overflow for x ≤ m."""
    d, error = sum_and_error(x, -m)
    # Where the difference overflows to −∞, the error is NaN.
    error = where_positive(d - _EXP_LOWEST(d), error)
    return _exp_less(maximum(_EXP_LOWEST(d), d), -error)  # NaN where d is


@jit(strict=True)
def expm1(x):
    """eˣ − 1, with an error of at most 4 ulp."""
    T = type(x)
    y = clamp(x, _EXPM1_LOWEST(x), _EXP_HIGHEST(x))
    n = nearest(y * _LOG2_E(x))
    r = fma(n, -_LOG_2_LOW(x), fma(n, -_LOG_2_HIGH(x), y))
    tail = fma(r * r, _EXP_TAIL(r), r)
    # Half of the result, as 2ⁿ itself may overflow.
    s = power_of_two(n - T(1))
    result = T(2) * fma(s, tail, s - T(0.5))
    return where(abs(x) > _LINEAR(x), result, x)


@jit(strict=True)
def _log_sum(k, f):
    """k·log 2 + log(1 + f) for √½ − 1 ≤ f < √2 − 1."""
    T = type(f)
    s = f / (T(2) + f)
    z = s * s
    h = T(0.5) * f * f
    # log(1 + f) = 2s + s·R = f − (h − s·(h + R)), whose first term is exact.
    R = z * _ARTANH_TAIL(z)
    return fma(k, _LOG_2_HIGH(f), f - (h - fma(s, h + R, k * _LOG_2_LOW(f))))


@jit(strict=True)
def log(x):
    """Logarithm, with an error of at most 4 ulp; −∞ at 0, NaN below."""
    T = type(x)
    is_small = x < _SMALLEST_NORMAL(x)
    y = where(is_small, x * T(2.0**54), x)
    k = exponent(y) - where(is_small, T(54), T(0))
    result = _log_sum(k, significand(y) - T(1))
    result = where(x < T(math.inf), result, x)
    return where(x > T(0), result, where(x == T(0), T(-math.inf), T(math.nan)))


@jit(strict=True)
def log1p(x):
    """log(1 + x), with an error of at most 4 ulp; −∞ at −1, NaN below."""
    T = type(x)
    u = T(1) + x
    lost = x - (u - T(1))
    lost = where(x < T(1), lost, T(1) - (u - x))
    k = exponent(u)
    # With k = 0 this f is exactly x. A large k is limited for the power to be a normal number;
    # nothing that matters is lost to 1 + x there.
    f = (significand(u) - T(1)) + lost * power_of_two(where(k < T(100), -k, T(-100)))
    result = _log_sum(k, f)
    result = where(x < T(math.inf), result, x)
    result = where(abs(x) > _LINEAR(x), result, x)
    return where(x > T(-1), result, where(x == T(-1), T(-math.inf), T(math.nan)))


# Beyond, 1/x is below the normal numbers.
_LARGEST = constant(1e38, 4e307)


@jit(strict=True)
def quotient(n, x):
    """n / x of vectors, for x > 0, with an error of at most 2 ulp, without a division.

    The unit that divides also takes roots, and in an optimizer's step has no time for both: it
    takes the root. Of an x so large that 1/x is below the normal numbers, digits are lost.
    """
    x = minimum(_LARGEST(x), x)
    y = rough_inverse(x)
    e = fma(-x, y, _ONE(x))
    q = n * y
    if is_float32(x):
        return fma(q, e, q)
    return fma(q, fma(fma(e, e, e), e, e), q)  # 1 + e + e² + e³, for 1 / (1 − e)


@jit(strict=True)
def softmax(z, a, n):
    """a_k = e^(z_k − m) / Σ_j e^(z_j − m), with an error of at most 4 ulp.

    m = max z, so nothing overflows. The sum is taken as if in twice the precision (Ogita, Rump &
    Oishi 2005, Sum2).

    Parameters
    ----------
    z : (n,) floating, padded to whole vectors
    a : the same
        Modified in place; the padding of the last vector becomes zero.
    """
    v = lanes(z)
    zero = zeros(z, 1)
    m = broadcast(zero, z[0])
    for k in range(0, n, v):
        m = maximum(m, where_below(n - k, load(zero, z, k), m))
    m = broadcast(zero, largest(m))
    s = zero
    lost = zero
    for k in range(0, n, v):
        e = where_below(n - k, exp_difference(load(zero, z, k), m), zero)
        s, error = sum_and_error(s, e)
        lost = lost + error
        store(a, k, e)
    s = broadcast(zero, total_twice(s, lost))
    for k in range(0, n, v):
        # Fast-math would multiply by a rounded 1 / s.
        store(a, k, where_below(n - k, load(zero, a, k) / s, zero))


@jit(strict=True)
def softmax_rows(z, a, n, stride, rows):
    """`softmax` of each of ``rows`` rows, ``stride`` apart, as exact as that.

    If rows are one vector long, as many as a vector has lanes are transposed at a time: then maxima
    and sums need no reductions over lanes, and padding needs no exponentials.
    """
    v = lanes(z)
    r = 0
    if stride == v:
        while r + v <= rows:
            _softmax_turned(z, a, n, r * v)
            r += v
        while r < rows:
            _softmax_in_order(z, a, n, r * v)
            r += 1
    while r < rows:
        softmax(window(z, r * stride, stride), window(a, r * stride, stride), n)
        r += 1


@jit(strict=True)
def _softmax_in_order(z, a, n, start):
    """One row of one vector, with the bits that `_softmax_turned` gives it.

    How many rows there are depends on the number of threads, which changes no bit.
    """
    zero = zeros(z, 1)
    x = load(zero, z, start)
    m = broadcast(zero, largest(where_below(n, x, broadcast(zero, z[start]))))
    store(a, start, where_below(n, exp_difference(x, m), zero))
    s, lost = zero, zero
    for k in range(n):
        s, error = sum_and_error(s, broadcast(zero, a[start + k]))
        lost = lost + error
    store(a, start, where_below(n, load(zero, a, start) / (s + lost), zero))


@jit(strict=True)
def _softmax_turned(z, a, n, start):
    """``lanes`` rows of one vector from ``start``."""
    v = lanes(z)
    zero = zeros(z, 1)
    transpose(z, start, v, a, start, v)
    softmax_lanes(a, a, n, start, v)
    for k in range(n, v):
        store(a, start + k * v, zero)
    transpose(a, start, v, a, start, v)


@jit(strict=True)
def softmax_lanes(z, a, n, start, step):
    """`softmax` in each lane of n vectors, ``step`` apart from ``start`` on; z and a may be one."""
    zero = zeros(z, 1)
    m = load(zero, z, start)
    for k in range(1, n):
        m = maximum(m, load(zero, z, start + k * step))
    s = zero
    lost = zero
    for k in range(n):
        e = exp_difference(load(zero, z, start + k * step), m)
        s, error = sum_and_error(s, e)
        lost = lost + error
        store(a, start + k * step, e)
    s = s + lost
    for k in range(n):
        store(a, start + k * step, load(zero, a, start + k * step) / s)


@jit(strict=True)
def sigmoid(x):
    """1 / (1 + e⁻ˣ), from the exponential that cannot overflow; at most 4 ulp off."""
    e = _exp_less(maximum(_EXP_LOWEST(x), -magnitude(x)), _ZERO(x))
    return where_below_zero(x, e, _ONE(x)) / (_ONE(x) + e)


@jit(strict=True)
def tanh(x):
    """Hyperbolic tangent, −t / (t + 2) with t = e^(−2|x|) − 1; at most 4 ulp off."""
    y = maximum(_EXPM1_LOWEST(x), _MINUS_TWO(x) * magnitude(x))
    n = nearest(y * _LOG2_E(x))
    r = fma(n, -_LOG_2_LOW(x), fma(n, -_LOG_2_HIGH(x), y))
    s = power_of_two(n)
    t = fma(s, fma(r * r, _EXP_TAIL(r), r), s - _ONE(x))
    return with_sign(t / (t + _TWO(x)), x)


if config.DISABLE_JIT:
    # Overflow to infinity and the like are meant; interpreted by NumPy they warn.
    _quiet = np.errstate(all="ignore")
    exp, expm1, log, log1p, sigmoid, softmax, softmax_lanes, softmax_rows, tanh = map(
        _quiet, (exp, expm1, log, log1p, sigmoid, softmax, softmax_lanes, softmax_rows, tanh)
    )
