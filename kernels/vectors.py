"""Vectors that stay in registers, and their arithmetic.

The unit is a vector of 64 bytes, 16 float32 or 8 float64: one AVX-512 register, two of AVX2, four
of NEON; LLVM splits it for the machine at hand. A wide vector is several units side by side, so
that one body serves for tiles of any width: ``zeros(array, 4)`` fixes the width, and what is
loaded or broadcast ``like`` it has the same. Interpreted kernels have NumPy's arrays instead.
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

from .instructions import INT32, INT64, VECTOR_BYTES, alike, giving, instruction, require_one_dtype


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


class _VectorArithmetic(AbstractTemplate):
    """Operators take vectors of one type."""

    def generic(self, operands: Any, named: Any) -> Any:
        first = operands[0]
        if isinstance(first, Vector) and all(other == first for other in operands):
            return typing_signature(first, *operands)
        return None


def _add_operator(operation: Callable, name: str, operands: int) -> None:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, name)(*args)

    infer_global(operation)(_VectorArithmetic)
    lower_builtin(operation, *(Vector,) * operands)(codegen)


_add_operator(operator.add, "fadd", 2)
_add_operator(operator.sub, "fsub", 2)
_add_operator(operator.mul, "fmul", 2)
_add_operator(operator.truediv, "fdiv", 2)
_add_operator(operator.neg, "fneg", 1)


# Parts of emitted code.


def call_llvm(builder, name, *operands):
    """Call of an LLVM intrinsic whose operands and result have one type, vector or scalar."""
    kind = operands[0].type
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{kind.element.intrinsic_name}"
    else:
        suffix = kind.intrinsic_name
    signature = ir.FunctionType(kind, [kind] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, operands)


def lane_numbers(n, kind=INT32):
    """0, 1, 2, … as a constant vector."""
    return ir.Constant(ir.VectorType(kind, n), list(range(n)))


def spread(builder, scalar, n):
    """Vector with ``scalar`` in all of its n lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, n), ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT32(0))
    return builder.shuffle_vector(first, undefined, ir.VectorType(INT32, n)(0))


def _chosen(builder, a, b, places):
    """Vector of the lanes at these places, numbered through both vectors; b may be None."""
    b = ir.Constant(a.type, ir.Undefined) if b is None else b
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(places)), places))


def _halves(builder, vector):
    """The lower and the upper lanes of a vector, in vectors of half its width."""
    n = vector.type.count // 2
    low, high = list(range(n)), list(range(n, 2 * n))
    return _chosen(builder, vector, None, low), _chosen(builder, vector, None, high)


def _first_lane(builder, vector):
    return builder.extract_element(vector, INT32(0))


# Operations.


def _lane(*vectors):
    """A number, from vectors of one type."""
    return alike(*vectors).return_type.dtype(*vectors)


@instruction(giving(types.int64), lambda array: int(VECTOR_BYTES // array.itemsize))
def lanes(builder, array):
    """Elements of ``array``'s dtype in one vector, as a compile-time constant."""
    return INT64(array.vector.count)


@instruction(lambda like: types.int64(like), lambda like: len(like))
def length(builder, like):
    """Elements of a vector, as a compile-time constant."""
    return INT64(like.type.count)


@intrinsic  # not an `instruction`, whose operands are not known to be literals
def _zeros(typing_context, array, count):
    """``count`` vectors side by side, of ``array``'s dtype; ``count`` is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        raise TypingError("the number of vectors must be known when a kernel is compiled.")
    vector = Vector(require_one_dtype(array), count.literal_value)

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, count), codegen


def _interpreted_zeros(array: Any, count: int) -> Any:
    return np.zeros(count * lanes(array), array.dtype)


zeros = _interpreted_zeros if config.DISABLE_JIT else _zeros


@instruction(giving(0), lambda like, array, index: array[index : index + len(like)].copy())
def load(builder, like, array, index):
    """Vector ``array[index : index + lanes]``, as wide as ``like``."""
    return array.load(index, like.type)


@instruction(
    giving(types.none),
    lambda array, index, value: np.copyto(array[index : index + len(value)], value),
)
def store(builder, array, index, value):
    """Write a vector to ``array[index : index + lanes]``."""
    array.store(index, value)


@instruction(giving(0), np.full_like)
def broadcast(builder, like, scalar):
    """Vector with ``scalar`` in every lane, as wide as ``like``."""
    return spread(builder, scalar, like.type.count)


@instruction(giving(0), lambda like, array, index: np.full_like(like, array[index]))
def broadcast_item(builder, like, array, index):
    """`broadcast` of ``array[index]``, without the wrap-around of a negative index.

    An index that is not plainly a loop's counter costs four instructions more otherwise.
    """
    return spread(builder, builder.load(array.at(index)), like.type.count)


@instruction(alike, lambda a, b, c: a * b + c)
def fma(builder, a, b, c):
    """``a * b + c`` of vectors or of scalars, fused where the machine can."""
    return call_llvm(builder, "fmuladd", a, b, c)


@instruction(alike, np.sqrt)
def square_root(builder, a):
    """Square root of every lane."""
    return call_llvm(builder, "sqrt", a)


@instruction(alike, np.clip)
def clamp(builder, x, low, high):
    """``x`` limited to [low, high]; NaN stays NaN."""
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


@instruction(alike, lambda a, b: np.where(a > b, a, b))
def maximum(builder, a, b):
    """The greater of each lane; ``b`` if one is NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@instruction(alike, lambda a, b: np.where(a < b, a, b))
def minimum(builder, a, b):
    """The smaller of each lane; ``b`` if one is NaN."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@instruction(alike, lambda test, value: np.where(test <= 0, np.zeros_like(value), value))
def where_positive(builder, test, value):
    """``value`` where ``test`` is above zero or NaN, and 0 elsewhere."""
    zero = ir.Constant(test.type, None)
    return builder.select(builder.fcmp_ordered("<=", test, zero), zero, value)


@instruction(alike, lambda test, a, b: np.where(test < 0, a, b))
def where_below_zero(builder, test, a, b):
    """``a`` where ``test`` is below zero, ``b`` elsewhere."""
    return builder.select(builder.fcmp_ordered("<", test, ir.Constant(test.type, None)), a, b)


@instruction(alike, np.abs)
def magnitude(builder, x):
    """|x| of vectors or of scalars."""
    return call_llvm(builder, "fabs", x)


@instruction(alike, np.copysign)
def with_sign(builder, x, sign):
    """``x`` with the sign of ``sign``."""
    return call_llvm(builder, "copysign", x, sign)


@instruction(
    lambda test, a, b: alike(a, b).return_type(types.boolean, a, b),
    lambda test, a, b: a if test else b,
)
def where(builder, test, a, b):
    """``a if test else b``, where both are computed already: no branch, and less to compile."""
    return builder.select(test, a, b)


@instruction(giving(1), lambda count, a, b: np.where(np.arange(len(a)) < count, a, b))
def where_below(builder, count, a, b):
    """``a`` in the first ``count`` lanes, ``b`` in the others."""
    n = a.type.count
    is_below = builder.icmp_signed("<", lane_numbers(n, INT64), spread(builder, count, n))
    return builder.select(is_below, a, b)


@instruction(giving(0), lambda like, lane: (np.arange(len(like)) == lane).astype(like.dtype))
def unit(builder, like, lane):
    """1 in one lane, which may be outside of the vector, and 0 in the others."""
    n = like.type.count
    is_lane = builder.icmp_signed("==", lane_numbers(n, INT64), spread(builder, lane, n))
    return builder.select(is_lane, like.type(1.0), like.type(0.0))


@instruction(_lane, np.sum)
def total(builder, a):
    """Sum over the lanes, halves folded together."""
    while a.type.count > 1:
        a = builder.fadd(*_halves(builder, a))
    return _first_lane(builder, a)


@instruction(_lane, np.max)
def largest(builder, a):
    """The greatest lane; if one is NaN, any of them."""
    while a.type.count > 1:
        low, high = _halves(builder, a)
        a = builder.select(builder.fcmp_ordered(">", low, high), low, high)
    return _first_lane(builder, a)


def _sum_and_error(add, subtract, a, b):
    """Knuth's TwoSum."""
    u = add(a, b)
    v = subtract(u, a)
    return u, add(subtract(a, subtract(u, v)), subtract(b, v))


@instruction(
    lambda a, b: types.UniTuple(alike(a, b).return_type, 2)(a, b),
    lambda a, b: _sum_and_error(operator.add, operator.sub, a, b),
)
def sum_and_error(builder, a, b):
    """The rounded sum and what was lost by rounding, exactly; for strict arithmetic."""
    return _sum_and_error(builder.fadd, builder.fsub, a, b)


def _exact_total(a: Any, lost: Any) -> Any:
    exact = float(np.sum(a, dtype=np.longdouble) + np.sum(lost, dtype=np.longdouble))
    return a.dtype.type(exact)


@instruction(_lane, _exact_total)
def total_twice(builder, a, lost):
    """Sum over the lanes of both, as if in twice the precision; for strict arithmetic."""
    while a.type.count > 1:
        a, error = _sum_and_error(builder.fadd, builder.fsub, *_halves(builder, a))
        lost = builder.fadd(builder.fadd(*_halves(builder, lost)), error)
    return _first_lane(builder, builder.fadd(a, lost))


def _fold(builder, a, b, chunk):
    """Chunks 0, 2, … of both vectors' lanes, one after the other, plus chunks 1, 3, …."""
    places = range(2 * a.type.count)
    even, odd = ([i for i in places if i // chunk % 2 == bit] for bit in (0, 1))
    return builder.fadd(_chosen(builder, a, b, even), _chosen(builder, a, b, odd))


@instruction(
    giving(2), lambda W, start, d: W[start : start + len(d) ** 2].reshape(len(d), len(d)) @ d
)
def dots(builder, W, start, d):
    """Vector of W[start + k·lanes : start + (k + 1)·lanes] · d, for as many k as it has lanes."""
    n = d.type.count
    # By halves of rows: then the first step of the sum over lanes needs no shuffle.
    half = ir.VectorType(d.type.element, n // 2)
    low, high = _halves(builder, d)
    sums = []
    for k in range(n):
        row = builder.bitcast(W.at(builder.add(start, INT64(k * n)), d.type), half.as_pointer())
        first, second = (
            builder.load(builder.gep(row, [INT64(i)]), align=W.itemsize) for i in range(2)
        )
        sums.append(call_llvm(builder, "fmuladd", high, second, builder.fmul(low, first)))
    chunk = n // 2
    while chunk > 1:
        chunk //= 2
        sums = [_fold(builder, a, b, chunk) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    first, second = sums
    return _chosen(builder, first, second, list(range(n)))


def _transpose_rows(W: Any, w: int, stride: int, out: Any, o: int, out_stride: int) -> None:
    n = lanes(W)
    tile = np.array([W[w + i * stride : w + i * stride + n] for i in range(n)])
    for k in range(n):  # after all of it has been read, for it may be turned in place
        out[o + k * out_stride : o + k * out_stride + n] = tile[:, k]


@instruction(giving(types.none), _transpose_rows)
def transpose(builder, W, w, stride, out, o, out_stride):
    """Out[o + k·out_stride + i] = W[w + i·stride + k] for as many i and k as a vector has lanes.

    Out may be W itself, at the same place.
    """
    rows = [W.load(_step(builder, i, w, stride), W.vector) for i in range(W.vector.count)]
    for k, row in enumerate(_turned(builder, rows)):
        out.store(_step(builder, k, o, out_stride), row)


def _step(builder, i, start, step):
    return builder.add(start, builder.mul(step, INT64(i)))


def _turned(builder, rows):
    """Columns of the square whose rows are vectors, as many as they have lanes."""
    n = len(rows)
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
                rows[row] = _chosen(builder, low, high, places)
        distance *= 2
    return rows


def _transpose_listed(
    W: Any, numbers: Any, first: int, width: int, w: int, out: Any, o: int, out_stride: int
) -> None:
    n = lanes(W)
    tile = [W[number * width + w :][:n] for number in numbers[first : first + n]]
    for k, row in enumerate(np.transpose(tile)):
        out[o + k * out_stride : o + k * out_stride + n] = row


@instruction(
    lambda W, numbers, first, width, w, out, o, out_stride: types.none(
        W, numbers, types.int64, types.int64, types.int64, out, types.int64, types.int64
    ),
    _transpose_listed,
)
def transpose_listed(builder, W, numbers, first, width, w, out, o, out_stride):
    """`transpose` from column w of W's rows of ``width``, of which the int64 ``numbers`` tell."""
    rows = []
    for i in range(W.vector.count):
        number = builder.load(numbers.at(builder.add(first, INT64(i))))
        rows.append(W.load(builder.add(builder.mul(number, width), w), W.vector))
    for k, row in enumerate(_turned(builder, rows)):
        out.store(_step(builder, k, o, out_stride), row)


def _totals(builder, vectors):
    """Vector of the sums over the lanes of as many vectors as one has lanes, by butterflies."""
    n = vectors[0].type.count
    distance = n // 2
    while distance > 0:
        keep = [k + (n if k & distance else 0) for k in range(n)]
        swap = [(k ^ distance) + (n if k & distance else 0) for k in range(n)]
        vectors = [
            builder.fadd(_chosen(builder, a, b, keep), _chosen(builder, a, b, swap))
            for a, b in zip(vectors[:distance], vectors[distance:], strict=True)
        ]
        distance //= 2
    return vectors[0]


def _add_block(sums: Any, scale: Any, out: Any, places: Any) -> None:
    totals = np.array([a.sum() for a in sums], out.dtype).reshape(4, 4)
    rows = [scale * (out[p : p + 4] + added) for p, added in zip(places, totals, strict=True)]
    for place, row in zip(places, rows, strict=True):
        out[place : place + 4] = row


def _block(sums, scale, out, places):
    vector = sums[0]
    return types.none(types.UniTuple(vector, 16), scale, out, types.UniTuple(types.int64, 4))


@instruction(_block, _add_block)
def add_block_totals(builder, sums, scale, out, places):
    """Four rows of four: out[p : p + 4] = scale·(it + sums over the lanes of four vectors).

    Places may be the same, for which the sums must be the same too.
    """
    vectors = cgutils.unpack_tuple(builder, sums)
    n = vectors[0].type.count
    totals = [_totals(builder, vectors[i : i + n]) for i in range(0, 16, n)]
    factor, rows = spread(builder, scale, 4), []
    for r, place in enumerate(cgutils.unpack_tuple(builder, places)):
        whole, first = totals[4 * r // n], 4 * r % n
        added = _chosen(builder, whole, None, list(range(first, first + 4)))
        rows.append((place, builder.fmul(factor, builder.fadd(out.load(place, added.type), added))))
    for place, row in rows:
        out.store(place, row)


def _add_four(a: Any, b: Any, c: Any, d: Any, out: Any, index: int) -> None:
    out[index : index + 4] += [v.sum() for v in (a, b, c, d)]


@instruction(giving(types.none), _add_four)
def add_totals(builder, a, b, c, d, out, index):
    """Out[index : index + 4] += sums over the lanes of ``a``, ``b``, ``c`` and ``d``."""
    # A fold adds the halves of two vectors at once: three folds serve all four sums.
    fold = functools.partial(_fold, builder)
    chunk = a.type.count // 4
    value = fold(fold(a, b, 2 * chunk), fold(c, d, 2 * chunk), chunk)
    while chunk > 1:
        chunk //= 2
        value = fold(value, ir.Constant(value.type, ir.Undefined), chunk)
    value = _chosen(builder, value, None, [0, 1, 2, 3])
    out.store(index, builder.fadd(out.load(index, value.type), value))


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


def is_single(x: Any) -> bool:
    """Whether a number or a vector in emitted code is of float32."""
    return bool(getattr(x.type, "element", x.type) == ir.FloatType())


@instruction(lambda x: types.boolean(x), lambda x: x.dtype == np.float32)
def is_float32(builder, x):
    """Whether a number or a vector is of float32, as a compile-time constant."""
    return ir.IntType(1)(is_single(x))


def polynomial(single: Sequence[float], double: Sequence[float]) -> Any:
    """Polynomial to be called in kernels, with coefficients for each dtype from the constant up.

    Both dtypes then share one body of code around it.
    """

    def interpreted(x: Any) -> Any:
        real = np.asarray(x).dtype.type
        constants = [real(c) for c in (single if real is np.float32 else double)]
        return _estrin(constants, x, np.square, fma)

    @instruction(alike, interpreted)
    def evaluate(builder, x):
        constants = [x.type(c) for c in (single if is_single(x) else double)]
        fused = functools.partial(call_llvm, builder, "fmuladd")
        return _estrin(constants, x, lambda v: builder.fmul(v, v), fused)

    return evaluate


def constant(single: float, double: float) -> Any:
    """Constant to be called in kernels with a number of the dtype that is wanted."""
    return polynomial((single,), (double,))
