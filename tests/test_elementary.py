"""Exponential and its kin: errors in ulp over the whole range, special values, and SIMD code."""

import math
import os
import subprocess
import sys

import mpmath
import numba
import numpy as np
import pytest

from fastbp.kernels import _jit, elementary, vectors

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
BOUNDS = {"exp": 2, "expm1": 4, "log": 4, "log1p": 4, "sigmoid": 4, "tanh": 4}

mpmath.mp.prec = 150


def loop_over(name):
    """``function`` over an array, called from fast-math code as kernels call it."""
    function = getattr(elementary, name)

    @numba.njit(fastmath=set(_jit.FASTMATH), error_model="numpy")
    def loop(x, out, n):
        for k in range(n):
            out[k] = function(x[k])

    def apply(x):
        out = np.empty_like(x)
        loop(x, out, len(x))
        return out

    apply.compiled = loop
    return apply


FUNCTIONS = {name: loop_over(name) for name in BOUNDS}
IN_DOUBLE = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sigmoid": lambda x: np.where(x > 0, 1, np.exp(-abs(x))) / (1 + np.exp(-abs(x))),
    "tanh": np.tanh,
}
IN_MULTIPRECISION = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
}


def every_so_many(stride):
    bits = np.arange(0, 2**32, stride, dtype=np.uint64)
    return bits.astype(np.uint32).view(np.float32)


def single_error(actual, exact):
    """Greatest error in ulp of float32, against float64; what is not finite must agree."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(actual[~finite], rounded[~finite])
    exact = exact[finite]
    ulp = np.ldexp(1.0, np.maximum(np.frexp(exact)[1], -125) - 24)
    return (abs(actual[finite] - exact) / ulp).max()


def double_error(x, actual, function):
    """Greatest error in ulp of float64, against 150 bits; overflow must agree."""
    worst = 0
    for argument, value in zip(x.tolist(), actual.tolist(), strict=True):
        exact = function(mpmath.mpf(argument))
        if abs(exact) >= mpmath.mpf(2) ** 1024 * (1 - mpmath.mpf(2) ** -54):
            assert value == math.copysign(math.inf, exact)
            continue
        assert math.isfinite(value), argument
        if exact == 0:
            assert value == 0
            continue
        exponent = max(mpmath.frexp(exact)[1], -1021)
        worst = max(worst, abs(value - exact) * mpmath.mpf(2) ** (53 - exponent))
    return float(worst)


@pytest.mark.parametrize("name", BOUNDS)
def test_single_precision_over_the_whole_range(name):
    """Every so many of the 2³² floats: infinities, NaN and subnormal numbers among them."""
    x = every_so_many(2_000_003 if DISABLED else 5003)
    with np.errstate(all="ignore"):
        exact = IN_DOUBLE[name](x.astype(np.float64))
    worst = single_error(FUNCTIONS[name](x), exact)
    assert 0.4 < worst <= BOUNDS[name]


def hard_arguments(name, generator):
    """Where results are close to 0, subnormal, close to overflow, or lose digits; and all over."""
    n = 10 if DISABLED else 700
    uniform = generator.uniform

    def magnitudes(low, high):
        return 2.0 ** uniform(low, high, n)

    parts = [magnitudes(-1074, 1024), magnitudes(-60, 10), magnitudes(-4, 5), uniform(0, 1.2, n)]
    parts += [-part for part in parts]
    if name in ("exp", "expm1", "sigmoid", "tanh"):
        parts += [uniform(709, 710, n), uniform(-746, -708, n), uniform(-40, 40, n)]
    if name == "log":
        near_one = uniform(-1, 1, n) * magnitudes(-53, -1)
        parts += [1 + near_one, magnitudes(-1074, -1020), uniform(0.7, 1.42, n)]
    if name == "log1p":
        parts += [magnitudes(-53, -1) - 1, magnitudes(40, 70), uniform(-0.5, 0.5, n)]
    x = np.concatenate(parts)
    return x[x > {"log": 0, "log1p": -1}.get(name, -np.inf)]


@pytest.mark.parametrize("name", BOUNDS)
def test_double_precision_in_the_hard_regions(name, generator):
    x = hard_arguments(name, generator)
    assert len(x) > (50 if DISABLED else 4000)
    worst = double_error(x, FUNCTIONS[name](x), IN_MULTIPRECISION[name])
    assert 0.4 < worst <= BOUNDS[name]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BOUNDS)
def test_special_values(name, dtype):
    info = np.finfo(dtype)
    top, tiny = info.max, info.smallest_subnormal
    largest_log = np.dtype(dtype).type(math.log(top))
    cases = {
        "exp": [(0, 1), (-0.0, 1), (math.inf, math.inf), (-math.inf, 0), (top, math.inf), (-top, 0),
                (tiny, 1), (-tiny, 1)],
        "expm1": [(0, 0), (-0.0, -0.0), (math.inf, math.inf), (-math.inf, -1), (top, math.inf),
                  (-top, -1), (tiny, tiny), (-tiny, -tiny)],
        "log": [(1, 0), (0, -math.inf), (-0.0, -math.inf), (math.inf, math.inf),
                (-math.inf, math.nan), (-tiny, math.nan), (-1, math.nan), (top, largest_log)],
        "log1p": [(0, 0), (-0.0, -0.0), (-1, -math.inf), (math.inf, math.inf), (-top, math.nan),
                  (-math.inf, math.nan), (top, largest_log), (tiny, tiny), (-tiny, -tiny)],
        "sigmoid": [(0, 0.5), (-0.0, 0.5), (math.inf, 1), (-math.inf, 0), (top, 1), (-top, 0),
                    (tiny, 0.5)],
        "tanh": [(0, 0), (-0.0, -0.0), (math.inf, 1), (-math.inf, -1), (top, 1), (-top, -1),
                 (tiny, tiny), (-tiny, -tiny)],
    }[name] + [(math.nan, math.nan)]  # fmt: skip
    x, expected = np.array(cases, dtype).T.copy()
    # More of the same, so that the SIMD code meets them too.
    for repeats in (1, 64):
        actual = FUNCTIONS[name](np.tile(x, repeats))
        np.testing.assert_array_equal(actual, np.tile(expected, repeats))
        signs = np.signbit(actual) | np.isnan(actual)
        np.testing.assert_array_equal(signs, np.tile(np.signbit(expected) | np.isnan(expected),
                                                     repeats))  # fmt: skip


@pytest.mark.parametrize(("dtype", "lowest"), [("float32", -103), ("float64", -744)])
def test_underflow_is_gradual_and_the_processor_is_left_alone(dtype, lowest):
    info = np.finfo(dtype)
    x = np.full(64, lowest, dtype)
    assert ((FUNCTIONS["exp"](x) > 0) & (FUNCTIONS["exp"](x) < info.smallest_normal)).all()
    assert (FUNCTIONS["sigmoid"](x) == FUNCTIONS["exp"](x)).all()
    smallest = np.full(4, info.smallest_subnormal, dtype)
    assert (smallest > 0).all()
    assert (smallest * 2 / 2 == smallest).all()


@numba.njit
def softmax(z, a, n):
    elementary.softmax(z, a, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 10, 31, 1000])
@pytest.mark.parametrize("spread", [1e-3, 1, 30, 100, "mixed"])
def test_softmax(dtype, n, spread, generator):
    """Differences of far-apart logits are rounded; the result must not show it."""
    for _ in range(1 if DISABLED else 10):
        if spread == "mixed":
            z = generator.choice([-1, 1], n) * 2.0 ** generator.uniform(-20, 6.5, n)
        else:
            z = spread * generator.normal(size=n) + 3
        z = z.astype(dtype)
        padded = np.full(-(-n // 16) * 16, np.nan, dtype)  # what lies there must not matter
        padded[:n] = z
        a = np.empty_like(padded)
        softmax(padded, a, n)
        whole = -(-n // (64 // z.itemsize)) * (64 // z.itemsize)
        assert not a[n:whole].any()
        powers = [mpmath.exp(mpmath.mpf(v)) for v in z.tolist()]
        exact = np.array([p / mpmath.fsum(powers) for p in powers])
        bits = {"float32": (24, -125), "float64": (53, -1021)}[dtype]
        for value, reference in zip(a[:n].tolist(), exact, strict=True):
            ulp = mpmath.mpf(2) ** (max(mpmath.frexp(reference)[1], bits[1]) - bits[0])
            assert abs(value - reference) <= 4 * ulp


@numba.njit
def softmax_rows(z, a, n, stride, rows):
    elementary.softmax_rows(z, a, n, stride, rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 16])
def test_padding_of_a_softmax_is_zero_whatever_the_logits(dtype, rows):
    for n, stride in ((3, 64 // np.dtype(dtype).itemsize), (3, 32)):
        z = np.zeros((rows, stride), dtype)
        z[:, 0] = np.nan
        a = np.empty_like(z)
        with np.errstate(all="ignore"):
            softmax_rows(z.reshape(-1), a.reshape(-1), n, stride, rows)
        whole = 64 // np.dtype(dtype).itemsize
        assert not a[:, n:whole].any()


# Logits whose sum of powers has its last bit from the order in which it is added up.
IN_BALANCE = [
    [
        -7.985213756561279,
        9.057098388671875,
        3.8366379737854004,
        9.764984130859375,
        0.2656271457672119,
        2.880436420440674,
        1.2134507894515991,
        5.44441032409668,
        -3.5370895862579346,
        1.049682378768921,
        -7.84824275970459,
        4.617166996002197,
        -4.245745658874512,
        -5.1446332931518555,
        3.0909647941589355,
        -6.211627006530762,
    ],
    [
        0.889613926410675,
        9.63548755645752,
        7.156157493591309,
        5.107639789581299,
        2.4166646003723145,
        8.932985305786133,
        -5.89113712310791,
        -4.749375820159912,
        -1.3102651834487915,
        1.8303543329238892,
        2.7699878215789795,
        -2.7146713733673096,
        3.1035895347595215,
        5.035177707672119,
        2.596022844314575,
        -3.340630531311035,
    ],
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 4, 10, 16])
def test_how_many_rows_there_are_changes_no_bit_of_a_softmax(dtype, n, generator):
    """Threads cut a batch into groups of rows."""
    lanes = 64 // np.dtype(dtype).itemsize
    stride = -(-n // lanes) * lanes
    z = (5 * generator.normal(size=(64, stride))).astype(dtype)
    z[: len(IN_BALANCE)] = np.array(IN_BALANCE)[:, :stride]
    together, alone = np.empty_like(z), np.empty_like(z)
    softmax_rows(z.ravel(), together.reshape(-1), n, stride, len(z))
    for row, a in zip(z, alone, strict=True):
        softmax_rows(row, a, n, stride, 1)
    np.testing.assert_array_equal(alone[:, :n], together[:, :n])
    assert not alone[:, n:].any()


WITHOUT_FMA = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
import test_elementary as t
for name, bound in t.BOUNDS.items():
    x = t.every_so_many(50021)
    with np.errstate(all="ignore"):
        exact = t.IN_DOUBLE[name](x.astype(float))
    assert t.single_error(t.FUNCTIONS[name](x), exact) <= bound, name
    x = t.hard_arguments(name, np.random.default_rng(0))[::10]
    assert t.double_error(x, t.FUNCTIONS[name](x), t.IN_MULTIPRECISION[name]) <= bound, name
    loop = t.FUNCTIONS[name].compiled
    assert "vfmadd" not in loop.inspect_asm(loop.signatures[0])
"""

VECTORISED = """
import re, sys
sys.path.insert(0, {tests!r})
import numpy as np
import test_elementary as t
for dtype, packed in (("float32", "ps"), ("float64", "pd")):
    loops = [(name, t.FUNCTIONS[name].compiled) for name in t.BOUNDS]
    for name, loop in [*loops, ("softmax", t.softmax)]:
        loop(np.ones(16, dtype), np.ones(16, dtype), 16)
        assembly = loop.inspect_asm(loop.signatures[-1])
        assert re.search(rf"vfn?m(add|sub)\\w+{{packed}}\\s.*{width}", assembly), (name, dtype)
        assert not re.search(r"call.*\\b(expf?|logf?|tanhf?|expm1f?|log1pf?)\\b", assembly), name
"""


def run_for(processor, features, code):
    """Run code in a process that compiles for an x86 processor, if this machine can run that."""
    from llvmlite import binding

    try:
        available = binding.get_host_cpu_features()
    except RuntimeError:
        pytest.skip("LLVM cannot tell this processor's features")
    if "sse2" not in available:
        pytest.skip("not an x86 processor")
    if not all(available.get(feature) for feature in features):
        pytest.skip(f"this processor cannot run code for {processor}")
    variables = os.environ | {"FASTBP_NO_CACHE": "1", "NUMBA_CPU_NAME": processor}
    variables["NUMBA_CPU_FEATURES"] = ",".join(f"+{feature}" for feature in features)
    variables.pop("NUMBA_DISABLE_JIT", None)
    variables.pop("NUMBA_BOUNDSCHECK", None)  # a check in a loop keeps it from being vectorised
    subprocess.run([sys.executable, "-c", code], check=True, env=variables)


def test_without_fused_multiply_add():
    tests = os.path.dirname(__file__)
    run_for("x86-64", ("sse2",), WITHOUT_FMA.format(tests=tests))


@pytest.mark.parametrize(
    ("processor", "features", "width"),
    [("haswell", ("avx2", "fma"), "ymm"), ("skylake-avx512", ("avx512f", "avx512dq", "avx512vl",
                                                              "avx2", "fma"), "[yz]mm")],
    ids=["haswell", "skylake-avx512"],
)  # fmt: skip
def test_loops_are_vectorised(processor, features, width):
    code = VECTORISED.format(tests=os.path.dirname(__file__), width=width)
    run_for(processor, features, code)


@numba.njit(fastmath=set(_jit.FASTMATH), error_model="numpy")
def divide(n, x, out):
    like = vectors.zeros(x, 1)
    for k in range(0, len(x), vectors.lanes(x)):
        given = vectors.load(like, n, k), vectors.load(like, x, k)
        vectors.store(out, k, elementary.quotient(given[0], given[1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quotients(dtype, generator):
    """All over the range of normal numbers, and where a square has overflowed."""
    kind, limits = np.dtype(dtype), np.finfo(dtype)
    count = 64 if DISABLED else 64_000
    low, high = np.log2(float(limits.tiny)) + 2, np.log2(float(limits.max)) - 3
    x = (2.0 ** generator.uniform(low, high, count)).astype(kind)
    n = generator.normal(size=count).astype(kind)
    x[:3], out = (limits.tiny * 4, np.inf, limits.max), np.empty(count, kind)
    divide(n, x, out)
    exact = n.astype(np.longdouble) / x
    usual = abs(exact) > 4 * limits.tiny
    assert usual.sum() > count / 2
    np.testing.assert_allclose(out[usual], exact[usual], rtol=2 * limits.eps)
    assert np.all(abs(out[~usual]) <= 8 * limits.tiny)
    divide(np.zeros_like(n), x, out)
    assert not out.any()
