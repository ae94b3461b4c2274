"""The bits of floats: exponents, significands, and which lanes of a vector are zero.

With ``NUMBA_DISABLE_JIT=1`` the same names are plain NumPy.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np import arrayobj

from .vectors import float_of, lane_numbers, spread


@intrinsic
def pack_nonzeros(
    typing_context: Any, a: Any, first: Any, places: Any, values: Any, count: Any
) -> Any:
    """Append places and values of the lanes of ``a`` that are not zero; the new count.

    The lanes are numbered from ``first``. A whole vector is written to ``places`` and ``values``
    from ``count`` on: what lies there is lost. NaN is not zero.
    """
    if places.dtype != types.int32 or values.dtype != a.dtype:
        raise TypingError(f"places must be int32 and values {a.dtype}, got {places}, {values}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, start, _, _, n = args
        flags = builder.fcmp_unordered("!=", vector, ir.Constant(vector.type, None))
        first_number = spread(builder, builder.trunc(start, ir.IntType(32)), a.lanes)
        numbers = builder.add(lane_numbers(a.lanes), first_number)
        for position, content, short in (
            (2, numbers, f"v{a.lanes}i32"),
            (3, vector, f"v{a.lanes}f{a.dtype.bitwidth}"),
        ):
            name = f"llvm.experimental.vector.compress.{short}"
            kind = content.type
            function = ir.FunctionType(kind, [kind, flags.type, kind])
            packed = builder.call(
                cgutils.get_or_insert_function(builder.module, function, name),
                [content, flags, ir.Constant(kind, ir.Undefined)],
            )
            array = arrayobj.make_array(signature.args[position])(context, builder, args[position])
            if context.enable_boundscheck:
                (length,) = cgutils.unpack_tuple(builder, array.shape, count=1)
                last = builder.add(n, n.type(a.lanes - 1))
                cgutils.do_boundscheck(context, builder, last, length)
            pointer = builder.bitcast(builder.gep(array.data, [n]), kind.as_pointer())
            builder.store(packed, pointer, align=4)
        bits = builder.bitcast(flags, ir.IntType(a.lanes))
        return builder.add(n, builder.zext(builder.ctpop(bits), ir.IntType(64)))

    return types.int64(a, types.int64, places, values, types.int64), codegen


@intrinsic
def nonzero_lanes(typing_context: Any, a: Any) -> Any:
    """Integer whose bit k says that lane k is not zero (NaN is not); at most 64 lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        flags = builder.fcmp_unordered("!=", args[0], zero)
        bits = builder.bitcast(flags, ir.IntType(a.lanes))
        return bits if a.lanes == 64 else builder.zext(bits, ir.IntType(64))

    return types.int64(a), codegen


@intrinsic
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set, of an int64 that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


class _Format(NamedTuple):
    """How IEEE 754 lays out a number."""

    real: Any
    integer: Any
    fraction: int  # bits
    bias: int

    @property
    def whole(self) -> float:
        """From this number up to twice as much, floats are the integers, in their last bits."""
        return 2.0**self.fraction

    def encode(self, value: float) -> int:
        return int(self.real(value).view(self.integer))


_FORMATS = {
    "float32": _Format(np.float32, np.int32, 23, 127),
    "float64": _Format(np.float64, np.int64, 52, 1023),
}


def _format_of(x: Any) -> _Format:
    return _FORMATS[float_of(x).name]


def _integer(builder: Any, x: Any, form: _Format) -> tuple[Any, Any]:
    """Bits of ``x``, and the integer type that holds them."""
    kind: Any = ir.IntType(form.integer(0).itemsize * 8)
    if isinstance(x.type, ir.VectorType):
        kind = ir.VectorType(kind, x.type.count)
    return builder.bitcast(x, kind), kind


@intrinsic
def nearest(typing_context: Any, x: Any) -> Any:
    """``x`` rounded to an integer, for an |x| of fewer bits than a fraction has."""
    form = _format_of(x)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        middle = args[0].type(1.5 * form.whole)
        return builder.fsub(builder.fadd(args[0], middle), middle)

    return x(x), codegen


@intrinsic
def power_of_two(typing_context: Any, n: Any) -> Any:
    """2ⁿ for an integral ``n`` in the range of normal exponents; anything, if it is not."""
    form = _format_of(n)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # The sum has n + bias in its last bits: shifted, they are the exponent of the result.
        biased = builder.fadd(args[0], args[0].type(1.5 * form.whole + form.bias))
        bits, kind = _integer(builder, biased, form)
        return builder.bitcast(builder.shl(bits, kind(form.fraction)), args[0].type)

    return n(n), codegen


@intrinsic
def exponent(typing_context: Any, x: Any) -> Any:
    """Integral k of x = 2ᵏ m with √½ ≤ m < √2, for a positive normal ``x``."""
    form = _format_of(x)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, kind = _integer(builder, args[0], form)
        bits = builder.add(bits, kind(form.encode(1.0) - form.encode(0.5**0.5)))
        bits = builder.lshr(bits, kind(form.fraction))
        # Converted to a float by its bits, as AVX2 cannot convert 64-bit integers.
        biased = builder.bitcast(builder.or_(bits, kind(form.encode(form.whole))), args[0].type)
        return builder.fsub(biased, args[0].type(form.whole + form.bias))

    return x(x), codegen


@intrinsic
def significand(typing_context: Any, x: Any) -> Any:
    """The m of x = 2ᵏ m with √½ ≤ m < √2, for a positive normal ``x``."""
    form = _format_of(x)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, kind = _integer(builder, args[0], form)
        bits = builder.add(bits, kind(form.encode(1.0) - form.encode(0.5**0.5)))
        bits = builder.and_(bits, kind(2**form.fraction - 1))
        return builder.bitcast(builder.add(bits, kind(form.encode(0.5**0.5))), args[0].type)

    return x(x), codegen


if config.DISABLE_JIT:
    # Intrinsics exist in compiled code only: NumPy's functions stand in for them.

    def pack_nonzeros(a: Any, first: int, places: Any, values: Any, count: int) -> int:
        (found,) = np.nonzero(a)
        places[count : count + len(found)] = first + found
        values[count : count + len(found)] = a[found]
        return count + len(found)

    def nonzero_lanes(a: Any) -> int:
        return sum(1 << k for k in range(len(a)) if a[k] != 0)

    def lowest_bit(bits: int) -> int:
        return (bits & -bits).bit_length() - 1

    def nearest(x: Any) -> Any:
        return np.rint(x)

    def power_of_two(n: Any) -> Any:
        form = _FORMATS[np.asarray(n).dtype.name]
        biased = n + form.real(1.5 * form.whole + form.bias)
        return (biased.view(form.integer) << form.fraction).view(form.real)

    def _shifted_bits(x: Any) -> tuple[Any, _Format]:
        form = _FORMATS[np.asarray(x).dtype.name]
        shift = form.encode(1.0) - form.encode(0.5**0.5)
        return form.real(x).view(form.integer) + form.integer(shift), form

    def exponent(x: Any) -> Any:
        bits, form = _shifted_bits(x)
        return form.real(bits >> form.fraction) - form.real(form.bias)

    def significand(x: Any) -> Any:
        bits, form = _shifted_bits(x)
        bits = bits & form.integer(2**form.fraction - 1)
        return (bits + form.integer(form.encode(0.5**0.5))).view(form.real)
