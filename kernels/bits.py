"""The bits of floats: exponents, significands, and which lanes of a vector are zero."""

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError

from .instructions import INT32, INT64, alike, instruction
from .vectors import call_llvm, is_single, lane_numbers, spread


def _packed(a, first, places, values, count):
    if places.dtype != types.int32 or values.dtype != a.dtype:
        raise TypingError(f"places must be int32 and values {a.dtype}, got {places}, {values}.")
    return types.int64(a, types.int64, places, values, types.int64)


def _pack(a: Any, first: int, places: Any, values: Any, count: int) -> int:
    (found,) = np.nonzero(a)
    places[count : count + len(found)] = first + found
    values[count : count + len(found)] = a[found]
    return count + len(found)


def _not_zero(builder, a):
    return builder.fcmp_unordered("!=", a, ir.Constant(a.type, None))


@instruction(_packed, _pack)
def pack_nonzeros(builder, a, first, places, values, count):
    """Append places and values of the lanes of ``a`` that are not zero; the new count.

    The lanes are numbered from ``first``. A whole vector is written to ``places`` and ``values``
    from ``count`` on: what lies there is lost. NaN is not zero.
    """
    n, flags = a.type.count, _not_zero(builder, a)
    numbers = spread(builder, builder.trunc(first, INT32), n)
    numbers = builder.add(lane_numbers(n), numbers)
    for content, array, item in (
        (numbers, places, "i32"),
        (a, values, "f32" if is_single(a) else "f64"),
    ):
        kind, name = content.type, f"llvm.experimental.vector.compress.v{n}{item}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind, flags.type, kind]), name
        )
        packed = builder.call(function, [content, flags, ir.Constant(kind, ir.Undefined)])
        array.store(count, packed)
    bits = builder.bitcast(flags, ir.IntType(n))
    return builder.add(count, builder.zext(builder.ctpop(bits), INT64))


@instruction(lambda a: types.int64(a), lambda a: sum(1 << k for k in range(len(a)) if a[k] != 0))
def nonzero_lanes(builder, a):
    """Integer whose bit k says that lane k is not zero (NaN is not); at most 64 lanes."""
    n = a.type.count
    bits = builder.bitcast(_not_zero(builder, a), ir.IntType(n))
    return bits if n == 64 else builder.zext(bits, INT64)


@instruction(
    lambda bits: types.int64(types.int64), lambda bits: (int(bits) & -int(bits)).bit_length() - 1
)
def lowest_bit(builder, bits):
    """Number of the lowest bit that is set, of an int64 that is not 0."""
    return builder.cttz(bits, ir.IntType(1)(1))


# Flush-to-zero and denormals-are-zero, in the control register of SSE and AVX.
_FLUSH = 0x8040


def _has_control(builder):
    return builder.module.triple.startswith("x86_64")


def _control(builder, name, place):
    """Read the control register into ``place``, or write it from there."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, pointer)])


@instruction(lambda: types.int64(), lambda: 0)
def flush_subnormals(builder):
    """From here on take subnormal numbers for 0; gives what `restore_subnormals` needs.

    Kernels do so: once a network is sure of its classes, probabilities of the others are subnormal,
    and so are moments that decay. x86 takes a hundred cycles more for each of them. Other
    processors go on as they are. It comes after all checks of arguments, for an error in between
    would leave the mode as it is: only bounds checks raise one there.
    """
    if not _has_control(builder):
        return INT64(0)
    place = cgutils.alloca_once(builder, INT32)
    _control(builder, "stmxcsr", place)
    before = builder.load(place)
    builder.store(builder.or_(before, INT32(_FLUSH)), place)
    _control(builder, "ldmxcsr", place)
    return builder.zext(before, INT64)


@instruction(lambda mode: types.none(types.int64), lambda mode: None)
def restore_subnormals(builder, mode):
    """Take numbers as they were taken before `flush_subnormals`, which has given ``mode``."""
    if _has_control(builder):
        place = cgutils.alloca_once(builder, INT32)
        builder.store(builder.trunc(mode, INT32), place)
        _control(builder, "ldmxcsr", place)


class _Format(NamedTuple):
    """How IEEE 754 lays out a number."""

    real: Any
    integer: Any
    fraction: int  # bits
    bias: int
    reciprocal: int  # of which bits of x are taken off for those of 1 / x

    @property
    def whole(self) -> float:
        """From this number to its double, floats are the integers, written in their last bits."""
        return 2.0**self.fraction

    @property
    def lift(self) -> int:
        """Bits of 1 minus bits of √½: added to bits, it gives all of [√½, √2) the same exponent."""
        return self.encode(1.0) - self.encode(0.5**0.5)

    def encode(self, value: float) -> int:
        """Bits of a number."""
        return int(self.real(value).view(self.integer))


_SINGLE = _Format(np.float32, np.int32, 23, 127, 0x7EF311C3)
_DOUBLE = _Format(np.float64, np.int64, 52, 1023, 0x7FDE623822FC16E6)


def _bits(builder, x):
    """Bits of ``x`` in emitted code, the integer type that holds them, and the format."""
    kind, form = (INT32, _SINGLE) if is_single(x) else (INT64, _DOUBLE)
    if isinstance(x.type, ir.VectorType):
        kind = ir.VectorType(kind, x.type.count)
    return builder.bitcast(x, kind), kind, form


def _rough(x: Any) -> Any:
    form = _SINGLE if x.dtype == np.float32 else _DOUBLE
    y = (form.integer(form.reciprocal) - x.view(form.integer)).view(x.dtype)
    e = 1 - x * y
    y = y + y * e
    return y + y * (e * e)


@instruction(alike, _rough)
def rough_inverse(builder, x):
    """1 / x of a vector to 1 in 100,000, for an x > 0 of which that is a normal number.

    Bits are a logarithm, linear between powers of two, which gives it to 5.1 %; e = 1 − x·y of that
    y makes it y / (1 − e), and (1 + e)(1 + e²) is 1 / (1 − e) up to e⁴.
    """
    bits, kind, form = _bits(builder, x)
    y = builder.bitcast(builder.sub(kind(form.reciprocal), bits), x.type)
    fused = functools.partial(call_llvm, builder, "fmuladd")
    e = fused(builder.fneg(x), y, x.type(1))
    y = fused(y, e, y)
    return fused(y, builder.fmul(e, e), y)


@instruction(alike, np.rint)
def nearest(builder, x):
    """``x`` rounded to an integer, for an |x| of fewer bits than a fraction has."""
    middle = x.type(1.5 * (_SINGLE if is_single(x) else _DOUBLE).whole)
    return builder.fsub(builder.fadd(x, middle), middle)


@instruction(alike, lambda n: np.ldexp(n.dtype.type(1), n.astype(int)))
def power_of_two(builder, n):
    """2ⁿ for an integral ``n`` in the range of normal exponents; arbitrary for any other n."""
    form = _SINGLE if is_single(n) else _DOUBLE
    # The sum has n + bias in its last bits: shifted, they are the exponent of the result.
    biased = builder.fadd(n, n.type(1.5 * form.whole + form.bias))
    bits, kind, _ = _bits(builder, biased)
    return builder.bitcast(builder.shl(bits, kind(form.fraction)), n.type)


def _exponent(x: Any) -> Any:
    m, k = np.frexp(x)
    return (k - (m < m.dtype.type(0.5**0.5))).astype(x.dtype)


@instruction(alike, _exponent)
def exponent(builder, x):
    """Integral k of x = 2ᵏ m with √½ ≤ m < √2, for a positive normal ``x``."""
    bits, kind, form = _bits(builder, x)
    bits = builder.lshr(builder.add(bits, kind(form.lift)), kind(form.fraction))
    # Converted to a float by its bits, as AVX2 cannot convert 64-bit integers.
    biased = builder.bitcast(builder.or_(bits, kind(form.encode(form.whole))), x.type)
    return builder.fsub(biased, x.type(form.whole + form.bias))


@instruction(alike, lambda x: np.ldexp(x, -_exponent(x).astype(int)))
def significand(builder, x):
    """The m of x = 2ᵏ m with √½ ≤ m < √2, for a positive normal ``x``."""
    bits, kind, form = _bits(builder, x)
    bits = builder.and_(builder.add(bits, kind(form.lift)), kind(2**form.fraction - 1))
    return builder.bitcast(builder.add(bits, kind(form.encode(0.5**0.5))), x.type)
