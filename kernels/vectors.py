"""Vectors that stay in registers, and their arithmetic.

The unit is a vector of 64 bytes, 16 float32 or 8 float64: one AVX-512 register, two of AVX2, four
of NEON; LLVM splits it for the machine at hand. A wide vector is several units side by side, so
that one body serves for tiles of any width: ``zeros(array, 4)`` fixes the width, and what is
loaded or broadcast ``like`` it has the same. With ``NUMBA_DISABLE_JIT=1`` the same names are plain
NumPy.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing import signature as typing_signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np import arrayobj

from .memory import VECTOR_BYTES, item_address, require_flat


class Vector(types.Type):
    """Numba type of a SIMD vector."""

    def __init__(self, dtype: Any, count: int = 1) -> None:
        self.dtype = dtype
        self.lanes = count * VECTOR_BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"Vector({dtype}x{self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def vector_of(array: Any) -> Vector:
    require_flat(array)
    if array.dtype not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {array}.")
    return Vector(array.dtype)


def float_of(x: Any) -> Any:
    """The type of a number, or of a vector's lanes."""
    scalar = x.dtype if isinstance(x, Vector) else x
    if scalar not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {x}.")
    return scalar


def require_same(*vectors: Any) -> None:
    if len(set(vectors)) > 1:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {vectors}.")


def _address(context: Any, builder: Any, kind: Any, value: Any, index: Any, vector: Vector) -> Any:
    """Pointer to ``array[index]`` as a vector."""
    pointer = item_address(context, builder, kind, value, index, vector.lanes)
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer())


def _item_bytes(vector: Vector) -> int:
    # Element alignment is all that is asked, so that any buffer of the caller's is safe; on
    # aligned data the unaligned instructions are as fast.
    return int(vector.dtype.bitwidth // 8)


def call_llvm(builder: Any, name: str, *operands: Any) -> Any:
    """Call of an LLVM intrinsic whose operands and result have one type, vector or scalar."""
    kind = operands[0].type
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{kind.element.intrinsic_name}"
    else:
        suffix = kind.intrinsic_name
    signature = ir.FunctionType(kind, [kind] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, operands)


def lane_numbers(n: int, bits: int = 32) -> Any:
    """0, 1, 2, … as a constant vector."""
    return ir.Constant(ir.VectorType(ir.IntType(bits), n), list(range(n)))


def spread(builder: Any, scalar: Any, n: int) -> Any:
    """Vector with ``scalar`` in all of its n lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, n), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.VectorType(ir.IntType(32), n)(0))


def _halves(builder: Any, vector: Any) -> tuple[Any, Any]:
    """The lower and the upper lanes of a vector, in vectors of half its width."""
    n = vector.type.count // 2
    undefined = ir.Constant(vector.type, ir.Undefined)
    places = ir.VectorType(ir.IntType(32), n)
    return (
        builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(n)))),
        builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(n, 2 * n)))),
    )


@intrinsic
def lanes(typing_context: Any, array: Any) -> Any:
    """Elements of ``array``'s dtype in one vector, as a compile-time constant."""
    count = vector_of(array).lanes

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.int64, count)

    return types.int64(array), codegen


@intrinsic
def zeros(typing_context: Any, array: Any, count: Any) -> Any:
    """``count`` vectors side by side, of ``array``'s dtype; ``count`` is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        raise TypingError("the number of vectors must be known when a kernel is compiled.")
    vector = Vector(vector_of(array).dtype, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, count), codegen


@intrinsic
def load(typing_context: Any, like: Any, array: Any, index: Any) -> Any:
    """Vector ``array[index : index + lanes]``, as wide as ``like``."""
    if vector_of(array).dtype != like.dtype:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {array} and {like}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[1], args[1], args[2], like)
        return builder.load(pointer, align=_item_bytes(like))

    return like(like, array, types.int64), codegen


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to ``array[index : index + lanes]``."""
    if vector_of(array).dtype != value.dtype:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {array} and {value}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[0], args[0], args[1], value)
        builder.store(args[2], pointer, align=_item_bytes(value))
        return context.get_dummy_value()

    return types.none(array, types.int64, value), codegen


@intrinsic
def broadcast(typing_context: Any, like: Any, scalar: Any) -> Any:
    """Vector with ``scalar`` in every lane, as wide as ``like``."""
    if scalar != like.dtype:
        raise TypingError(f"fastbp kernels take numbers of one dtype, got {scalar} and {like}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return spread(builder, args[1], like.lanes)

    return like(like, scalar), codegen


@intrinsic
def broadcast_item(typing_context: Any, like: Any, array: Any, index: Any) -> Any:
    """`broadcast` of ``array[index]``, without the wrap-around of a negative index.

    An index that is not plainly a loop's counter costs four instructions more otherwise.
    """
    if vector_of(array).dtype != like.dtype:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {array} and {like}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = item_address(context, builder, signature.args[1], args[1], args[2], 1)
        return spread(builder, builder.load(pointer), like.lanes)

    return like(like, array, types.int64), codegen


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of vectors or of scalars, fused where the machine can."""
    require_same(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call_llvm(builder, "fmuladd", *args)

    return a(a, b, c), codegen


class _VectorArithmetic(AbstractTemplate):
    """Operators take vectors of one type."""

    def generic(self, operands: Any, named: Any) -> Any:
        first = operands[0]
        if isinstance(first, Vector) and all(other == first for other in operands):
            return typing_signature(first, *operands)
        return None


def _add_operator(operation: Callable, instruction: str, operands: int) -> None:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    infer_global(operation)(_VectorArithmetic)
    lower_builtin(operation, *(Vector,) * operands)(codegen)


_add_operator(operator.add, "fadd", 2)
_add_operator(operator.sub, "fsub", 2)
_add_operator(operator.mul, "fmul", 2)
_add_operator(operator.truediv, "fdiv", 2)
_add_operator(operator.neg, "fneg", 1)


@intrinsic
def square_root(typing_context: Any, a: Any) -> Any:
    """Square root of every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call_llvm(builder, "sqrt", *args)

    return a(a), codegen


@intrinsic
def where_below(typing_context: Any, count: Any, a: Any, b: Any) -> Any:
    """``a`` in the first ``count`` lanes, ``b`` in the others."""
    require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = lane_numbers(a.lanes, 64)
        flags = builder.icmp_signed("<", numbers, spread(builder, args[0], a.lanes))
        return builder.select(flags, args[1], args[2])

    return a(types.int64, a, b), codegen


@intrinsic
def unit(typing_context: Any, like: Any, lane: Any) -> Any:
    """1 in one lane, which may be outside of the vector, and 0 in the others."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = lane_numbers(like.lanes, 64)
        flags = builder.icmp_signed("==", numbers, spread(builder, args[1], like.lanes))
        return builder.select(flags, args[0].type(1.0), args[0].type(0.0))

    return like(like, types.int64), codegen


@intrinsic
def where_positive(typing_context: Any, test: Any, value: Any) -> Any:
    """``value`` where ``test`` is above zero or NaN, and 0 elsewhere."""
    require_same(test, value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[1])

    return test(test, value), codegen


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """Sum over the lanes, halves folded together."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        while value.type.count > 1:
            value = builder.fadd(*_halves(builder, value))
        return builder.extract_element(value, ir.IntType(32)(0))

    return a.dtype(a), codegen


@intrinsic
def largest(typing_context: Any, a: Any) -> Any:
    """The greatest lane; if one is NaN, any of them."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        while value.type.count > 1:
            low, high = _halves(builder, value)
            value = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return a.dtype(a), codegen


def _sum_and_error(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded sum and what was lost by rounding, exactly (Knuth's TwoSum)."""
    u = builder.fadd(a, b)
    v = builder.fsub(u, a)
    return u, builder.fadd(builder.fsub(a, builder.fsub(u, v)), builder.fsub(b, v))


@intrinsic
def sum_and_error(typing_context: Any, a: Any, b: Any) -> Any:
    """The rounded sum and what was lost by rounding; for strict arithmetic."""
    require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, _sum_and_error(builder, *args))

    return types.UniTuple(a, 2)(a, b), codegen


@intrinsic
def total_twice(typing_context: Any, a: Any, lost: Any) -> Any:
    """Sum over the lanes of both, as if in twice the precision; for strict arithmetic."""
    require_same(a, lost)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, rest = args
        while value.type.count > 1:
            value, error = _sum_and_error(builder, *_halves(builder, value))
            rest = builder.fadd(builder.fadd(*_halves(builder, rest)), error)
        return builder.extract_element(builder.fadd(value, rest), ir.IntType(32)(0))

    return a.dtype(a, lost), codegen


def _fold(builder: Any, vector: Any, other: Any, chunk: int) -> Any:
    """Chunks 0, 2, … of both vectors' lanes, one after the other, plus chunks 1, 3, …."""
    n = vector.type.count

    def every_second(odd: int) -> Any:
        places = [i for i in range(2 * n) if i // chunk % 2 == odd]
        return builder.shuffle_vector(
            vector, other, ir.Constant(ir.VectorType(ir.IntType(32), n), places)
        )

    return builder.fadd(every_second(0), every_second(1))


@intrinsic
def dots(typing_context: Any, W: Any, start: Any, d: Any) -> Any:
    """Vector of W[start + k·lanes : start + (k + 1)·lanes] · d, for as many k as it has lanes."""
    require_same(vector_of(W), d)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n = d.lanes
        # By halves of rows: the first of the sums over lanes is then no matter of shuffles.
        half = ir.VectorType(context.get_value_type(d).element, n // 2)
        low, high = _halves(builder, args[2])
        sums = []
        for k in range(n):
            place = builder.add(args[1], args[1].type(k * n))
            whole = _address(context, builder, signature.args[0], args[0], place, d)
            pointer = builder.bitcast(whole, half.as_pointer())
            rows = [
                builder.load(builder.gep(pointer, [ir.IntType(64)(i)]), align=_item_bytes(d))
                for i in range(2)
            ]
            sums.append(call_llvm(builder, "fmuladd", high, rows[1], builder.fmul(low, rows[0])))
        chunk = n // 2
        while chunk > 1:
            chunk //= 2
            sums = [_fold(builder, a, b, chunk) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        places = ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(n)))
        return builder.shuffle_vector(*sums, places)

    return d(W, types.int64, d), codegen


@intrinsic
def transpose(
    typing_context: Any, W: Any, w: Any, stride: Any, out: Any, o: Any, out_stride: Any
) -> Any:
    """Out[o + k·out_stride + i] = W[w + i·stride + k] for as many i and k as a vector has lanes.

    Out may be W itself, at the same place.
    """
    vector = vector_of(W)
    require_same(vector, vector_of(out))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        n = vector.lanes
        source, place, stride, target, other, target_stride = args

        def pointer(i: int, kind: Any, array: Any, start: Any, step: Any) -> Any:
            index = builder.add(start, builder.mul(step, step.type(i)))
            return _address(context, builder, kind, array, index, vector)

        rows = [
            builder.load(
                pointer(i, signature.args[0], source, place, stride), align=_item_bytes(vector)
            )
            for i in range(n)
        ]
        # Butterflies: pairs of rows at a distance swap the halves of their groups of lanes.
        distance = 1
        while distance < n:
            for i in range(n):
                if i & distance:
                    continue
                low, high = rows[i], rows[i + distance]
                for row, first in ((i, 0), (i + distance, distance)):
                    places = [
                        (k - k % (2 * distance) + first + k % distance) + (n if k & distance else 0)
                        for k in range(n)
                    ]
                    kind = ir.VectorType(ir.IntType(32), n)
                    rows[row] = builder.shuffle_vector(low, high, ir.Constant(kind, places))
            distance *= 2
        for k, row in enumerate(rows):
            builder.store(
                row,
                pointer(k, signature.args[3], target, other, target_stride),
                align=_item_bytes(vector),
            )
        return context.get_dummy_value()

    return types.none(W, types.int64, types.int64, out, types.int64, types.int64), codegen


@intrinsic
def add_totals(typing_context: Any, a: Any, b: Any, c: Any, d: Any, out: Any, index: Any) -> Any:
    """Out[index : index + 4] += sums over the lanes of ``a``, ``b``, ``c`` and ``d``."""
    require_same(a, b, c, d)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fold = functools.partial(_fold, builder)
        # Each fold adds halves of two vectors' sums; three are shared where one by one took more.
        n = a.lanes
        value = fold(fold(args[0], args[1], n // 2), fold(args[2], args[3], n // 2), n // 4)
        chunk = n // 4
        while chunk > 1:
            chunk //= 2
            value = fold(value, ir.Constant(value.type, ir.Undefined), chunk)
        first = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0, 1, 2, 3])
        value = builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), first)
        array = arrayobj.make_array(signature.args[4])(context, builder, args[4])
        if context.enable_boundscheck:
            (length,) = cgutils.unpack_tuple(builder, array.shape, count=1)
            cgutils.do_boundscheck(context, builder, builder.add(args[5], args[5].type(3)), length)
        pointer = builder.bitcast(builder.gep(array.data, [args[5]]), value.type.as_pointer())
        align = _item_bytes(a)
        total_so_far = builder.load(pointer, align=align)
        builder.store(builder.fadd(total_so_far, value), pointer, align=align)
        return context.get_dummy_value()

    return types.none(a, b, c, d, out, types.int64), codegen


@intrinsic
def clamp(typing_context: Any, x: Any, low: Any, high: Any) -> Any:
    """``x`` limited to [low, high]; NaN stays NaN."""
    float_of(x)
    require_same(x, low, high)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, low, high = args
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)

    return x(x, low, high), codegen


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """The greater of each lane; ``b`` if one is NaN."""
    require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), codegen


def _estrin(coefficients: Sequence[Any], x: Any, square: Callable, fma: Callable) -> Any:
    """c₀ + c₁x + c₂x² + …, by pairs: half as many steps wait for each other at each level."""
    level = list(coefficients)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [fma(x, high, low) for low, high in zip(level[::2], level[1::2], strict=False)]
        level += odd
        if len(level) > 1:
            x = square(x)
    return level[0]


def polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Polynomial to be called in kernels, with coefficients for each dtype from the constant up.

    Both dtypes then share one body of code around it.
    """

    @intrinsic
    def evaluate(typing_context: Any, x: Any) -> Any:
        coefficients = single if float_of(x) == types.float32 else double

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            constants = [args[0].type(c) for c in coefficients]

            fused = functools.partial(call_llvm, builder, "fmuladd")
            return _estrin(constants, args[0], lambda v: builder.fmul(v, v), fused)

        return x(x), codegen

    def interpreted(x: Any) -> Any:
        real = np.asarray(x).dtype.type
        constants = [real(c) for c in (single if real is np.float32 else double)]
        return _estrin(constants, x, np.square, fma)

    return interpreted if config.DISABLE_JIT else evaluate


def constant(single: float, double: float) -> Any:
    """Constant to be called in kernels with a number of the dtype that is wanted."""
    return polynomial((single,), (double,))


if config.DISABLE_JIT:
    # Intrinsics exist in compiled code only: NumPy's functions stand in for them.

    def lanes(array: Any) -> int:
        return int(VECTOR_BYTES // array.itemsize)

    def zeros(array: Any, count: int) -> Any:
        return np.zeros(count * lanes(array), array.dtype)

    def load(like: Any, array: Any, index: int) -> Any:
        return array[index : index + len(like)].copy()

    def store(array: Any, index: int, value: Any) -> None:
        array[index : index + len(value)] = value

    def broadcast(like: Any, scalar: Any) -> Any:
        return np.full_like(like, scalar)

    def broadcast_item(like: Any, array: Any, index: int) -> Any:
        return np.full_like(like, array[index])

    def fma(a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def square_root(a: Any) -> Any:
        return np.sqrt(a)

    def where_below(count: int, a: Any, b: Any) -> Any:
        return np.where(np.arange(len(a)) < count, a, b)

    def unit(like: Any, lane: int) -> Any:
        return (np.arange(len(like)) == lane).astype(like.dtype)

    def largest(a: Any) -> Any:
        return a.max()

    def sum_and_error(a: Any, b: Any) -> Any:
        u = a + b
        v = u - a
        return u, (a - (u - v)) + (b - v)

    def total_twice(a: Any, lost: Any) -> Any:
        exact = float(np.sum(a, dtype=np.longdouble) + np.sum(lost, dtype=np.longdouble))
        return a.dtype.type(exact)

    def where_positive(test: Any, value: Any) -> Any:
        return np.where(test <= 0, np.zeros_like(value), value)

    def total(a: Any) -> Any:
        return a.sum()

    def dots(W: Any, start: int, d: Any) -> Any:
        return W[start : start + len(d) ** 2].reshape(len(d), len(d)) @ d

    def transpose(W: Any, w: int, stride: int, out: Any, o: int, out_stride: int) -> None:
        n = lanes(W)
        tile = np.array([W[w + i * stride : w + i * stride + n] for i in range(n)])
        for k in range(n):  # after all of it has been read, for it may be turned in place
            out[o + k * out_stride : o + k * out_stride + n] = tile[:, k]

    def add_totals(a: Any, b: Any, c: Any, d: Any, out: Any, index: int) -> None:
        out[index : index + 4] += [v.sum() for v in (a, b, c, d)]

    def clamp(x: Any, low: Any, high: Any) -> Any:
        return np.clip(x, low, high)

    def maximum(a: Any, b: Any) -> Any:
        return np.where(a > b, a, b)
