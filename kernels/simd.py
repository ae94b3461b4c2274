"""Windows into flat arrays, vectors of 64 bytes that stay in registers, and the bits of floats.

A vector holds 16 float32 or 8 float64: one AVX-512 register, two of AVX2, four of NEON; LLVM
splits it for the machine at hand. With ``NUMBA_DISABLE_JIT=1`` the same names are plain NumPy.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, models, register_model
from numba.np import arrayobj

VECTOR_BYTES = 64


class Vector(types.Type):
    """Numba type of a SIMD vector."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"Vector({dtype}x{self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def _require_flat(array: Any) -> None:
    """Refuse, when a caller is compiled, what would be read wrongly when it runs."""
    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C":
        raise TypingError(f"fastbp kernels take flat C-contiguous arrays here, got {array}.")


def _vector_of(array: Any) -> Vector:
    _require_flat(array)
    if array.dtype not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {array}.")
    return Vector(array.dtype)


def _require_same(*vectors: Any) -> None:
    if len(set(vectors)) > 1:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {vectors}.")


def _address(context: Any, builder: Any, signature: Any, args: Any, vector: Vector) -> Any:
    """Pointer to ``array[index]`` as a vector; bounds are checked under NUMBA_BOUNDSCHECK."""
    array = arrayobj.make_array(signature.args[0])(context, builder, args[0])
    if context.enable_boundscheck:
        (length,) = cgutils.unpack_tuple(builder, array.shape, count=1)
        last = builder.add(args[1], args[1].type(vector.lanes - 1))
        cgutils.do_boundscheck(context, builder, args[1], length)
        cgutils.do_boundscheck(context, builder, last, length)
    pointer = builder.gep(array.data, [args[1]])
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer())


def _item_bytes(vector: Vector) -> int:
    # Element alignment is all that is asked, so that any buffer of the caller's is safe; on
    # aligned data the unaligned instructions are as fast.
    return int(vector.dtype.bitwidth // 8)


@intrinsic
def window(typing_context: Any, array: Any, start: Any, length: Any) -> Any:
    """``array[start:start + length]`` without reference counting or wrap-around.

    A slice in an inner loop costs two atomic operations and several selects: half the time of
    a small network. The window does not keep the array alive: the caller does.
    """
    _require_flat(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        if context.enable_boundscheck:
            (total,) = cgutils.unpack_tuple(builder, source.shape, count=1)
            # One past the end is a legal start of an empty window.
            end = builder.add(args[1], args[2])
            cgutils.do_boundscheck(context, builder, args[1], builder.add(total, total.type(1)))
            cgutils.do_boundscheck(context, builder, end, builder.add(total, total.type(1)))
        item = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        itemsize = context.get_constant(types.intp, item)
        result = arrayobj.make_array(signature.return_type)(context, builder)
        arrayobj.populate_array(
            result,
            data=builder.gep(source.data, [args[1]]),
            shape=[args[2]],
            strides=[itemsize],
            itemsize=itemsize,
            meminfo=None,
            parent=None,
        )
        return result._getvalue()

    return array(array, types.int64, types.int64), codegen


def _call(builder: Any, name: str, *operands: Any) -> Any:
    """Call of an LLVM intrinsic whose operands and result have one type, vector or scalar."""
    kind = operands[0].type
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{kind.element.intrinsic_name}"
    else:
        suffix = kind.intrinsic_name
    signature = ir.FunctionType(kind, [kind] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, operands)


@intrinsic
def lanes(typing_context: Any, array: Any) -> Any:
    """Elements of ``array``'s dtype in one vector, as a compile-time constant."""
    count = _vector_of(array).lanes

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.int64, count)

    return types.int64(array), codegen


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Vector ``array[index : index + lanes]``."""
    vector = _vector_of(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature, args, vector)
        return builder.load(pointer, align=_item_bytes(vector))

    return vector(array, types.int64), codegen


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to ``array[index : index + lanes]``."""
    _require_same(_vector_of(array), value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature, args, signature.args[2])
        builder.store(args[2], pointer, align=_item_bytes(signature.args[2]))
        return context.get_dummy_value()

    return types.none(array, types.int64, value), codegen


@intrinsic
def broadcast(typing_context: Any, scalar: Any) -> Any:
    """Vector with ``scalar`` in every lane."""
    if scalar not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {scalar}.")
    vector = Vector(scalar)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(context.get_value_type(vector), ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(first, undefined, zeros)

    return vector(scalar), codegen


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of vectors or of scalars, fused where the machine can."""
    _require_same(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fmuladd", *args)

    return a(a, b, c), codegen


@intrinsic
def add(typing_context: Any, a: Any, b: Any) -> Any:
    """``a + b``."""
    _require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, b), codegen


@intrinsic
def multiply(typing_context: Any, a: Any, b: Any) -> Any:
    """``a * b``."""
    _require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, b), codegen


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """Sum over the lanes, halves folded together."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, count = args[0], a.lanes
        while count > 1:
            count //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            kind = ir.VectorType(ir.IntType(32), count)
            low = ir.Constant(kind, list(range(count)))
            high = ir.Constant(kind, list(range(count, 2 * count)))
            value = builder.fadd(
                builder.shuffle_vector(value, undefined, low),
                builder.shuffle_vector(value, undefined, high),
            )
        return builder.extract_element(value, ir.IntType(32)(0))

    return a.dtype(a), codegen


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


def _format_of(scalar: Any) -> _Format:
    if scalar not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {scalar}.")
    return _FORMATS[scalar.name]


def _integer(builder: Any, x: Any, form: _Format) -> tuple[Any, Any]:
    """Bits of ``x``, and the integer type that holds them."""
    kind = ir.IntType(form.integer(0).itemsize * 8)
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


@intrinsic
def clamp(typing_context: Any, x: Any, low: Any, high: Any) -> Any:
    """``x`` limited to [low, high]; NaN stays NaN."""
    _format_of(x)
    _require_same(x, low, high)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, low, high = args
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)

    return x(x, low, high), codegen


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """The greater scalar, or NaN if either is, in the form that LLVM can vectorise."""
    _require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "maximum", *args)

    return a(a, b), codegen


def _estrin(coefficients: Sequence[Any], x: Any, multiply: Callable, fma: Callable) -> Any:
    """c₀ + c₁x + c₂x² + …, by pairs: half as many steps wait for each other at each level."""
    level = list(coefficients)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [fma(x, high, low) for low, high in zip(level[::2], level[1::2], strict=False)]
        level += odd
        if len(level) > 1:
            x = multiply(x, x)
    return level[0]


def polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Polynomial to be called in kernels, with coefficients for each dtype from the constant up.

    Both dtypes then share one body of code around it.
    """

    @intrinsic
    def evaluate(typing_context: Any, x: Any) -> Any:
        _format_of(x)
        coefficients = single if x == types.float32 else double

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            constants = [args[0].type(c) for c in coefficients]

            fused = functools.partial(_call, builder, "fmuladd")
            return _estrin(constants, args[0], builder.fmul, fused)

        return x(x), codegen

    def interpreted(x: Any) -> Any:
        real = np.asarray(x).dtype.type
        constants = [real(c) for c in (single if real is np.float32 else double)]
        return _estrin(constants, x, multiply, fma)

    return interpreted if config.DISABLE_JIT else evaluate


def constant(single: float, double: float) -> Any:
    """Constant to be called in kernels with a number of the dtype that is wanted."""
    return polynomial((single,), (double,))


if config.DISABLE_JIT:
    # Intrinsics exist in compiled code only: slices and ufuncs stand in for them.

    def window(array: Any, start: int, length: int) -> Any:
        return array[start : start + length]

    def lanes(array: Any) -> int:
        return int(VECTOR_BYTES // array.itemsize)

    def load(array: Any, index: int) -> Any:
        return array[index : index + lanes(array)].copy()

    def store(array: Any, index: int, value: Any) -> None:
        array[index : index + lanes(array)] = value

    def broadcast(scalar: Any) -> Any:
        return scalar

    def fma(a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def add(a: Any, b: Any) -> Any:
        return a + b

    def multiply(a: Any, b: Any) -> Any:
        return a * b

    def total(a: Any) -> Any:
        return a.sum()

    def clamp(x: Any, low: Any, high: Any) -> Any:
        return np.clip(x, low, high)

    def maximum(a: Any, b: Any) -> Any:
        return np.maximum(a, b)

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
