"""Windows into flat arrays, vectors that stay in registers, and the bits of floats.

The unit is a vector of 64 bytes, 16 float32 or 8 float64: one AVX-512 register, two of AVX2, four
of NEON; LLVM splits it for the machine at hand. A wide vector is several units side by side, so
that one body serves for tiles of any width: ``zeros(array, 4)`` fixes the width, and what is
loaded or broadcast ``like`` it has the same. With ``NUMBA_DISABLE_JIT=1`` the same names are plain
NumPy.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing import signature as typing_signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np import arrayobj

VECTOR_BYTES = 64


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


def _item_address(context: Any, builder: Any, kind: Any, value: Any, index: Any, n: int) -> Any:
    """Pointer to ``array[index]``, of n elements; bounds are checked under NUMBA_BOUNDSCHECK."""
    array = arrayobj.make_array(kind)(context, builder, value)
    if context.enable_boundscheck:
        (length,) = cgutils.unpack_tuple(builder, array.shape, count=1)
        last = builder.add(index, index.type(n - 1))
        cgutils.do_boundscheck(context, builder, index, length)
        cgutils.do_boundscheck(context, builder, last, length)
    return builder.gep(array.data, [index])


def _address(context: Any, builder: Any, kind: Any, value: Any, index: Any, vector: Vector) -> Any:
    """Pointer to ``array[index]`` as a vector."""
    pointer = _item_address(context, builder, kind, value, index, vector.lanes)
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

    # Of one type whether or not the source is read-only, so that a variable can hold either.
    return types.Array(array.dtype, 1, "C")(array, types.int64, types.int64), codegen


@intrinsic
def matrix_rows(typing_context: Any, matrix: Any, row: Any, count: Any) -> Any:
    """``matrix[row : row + count]`` of a C-contiguous matrix, flat, as `window` gives it."""
    if not isinstance(matrix, types.Array) or matrix.ndim != 2 or matrix.layout != "C":
        raise TypingError(f"fastbp kernels take C-contiguous matrices here, got {matrix}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        n_rows, n_columns = cgutils.unpack_tuple(builder, source.shape, count=2)
        if context.enable_boundscheck:
            past = builder.add(n_rows, n_rows.type(1))
            cgutils.do_boundscheck(context, builder, args[1], past)
            cgutils.do_boundscheck(context, builder, builder.add(args[1], args[2]), past)
        item = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        itemsize = context.get_constant(types.intp, item)
        result = arrayobj.make_array(signature.return_type)(context, builder)
        arrayobj.populate_array(
            result,
            data=builder.gep(source.data, [builder.mul(args[1], n_columns)]),
            shape=[builder.mul(args[2], n_columns)],
            strides=[itemsize],
            itemsize=itemsize,
            meminfo=None,
            parent=None,
        )
        return result._getvalue()

    return types.Array(matrix.dtype, 1, "C")(matrix, types.int64, types.int64), codegen


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]``, which will be read; it need not exist."""
    _require_flat(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(source.data, [args[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        # To read; to be used soon, but not at once: the second level; data.
        builder.call(function, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), codegen


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


def _lane_numbers(n: int, bits: int = 32) -> Any:
    """0, 1, 2, … as a constant vector."""
    return ir.Constant(ir.VectorType(ir.IntType(bits), n), list(range(n)))


def _spread(builder: Any, scalar: Any, n: int) -> Any:
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
    count = _vector_of(array).lanes

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.int64, count)

    return types.int64(array), codegen


@intrinsic
def zeros(typing_context: Any, array: Any, count: Any) -> Any:
    """``count`` vectors side by side, of ``array``'s dtype; ``count`` is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        raise TypingError("the number of vectors must be known when a kernel is compiled.")
    vector = Vector(_vector_of(array).dtype, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, count), codegen


@intrinsic
def load(typing_context: Any, like: Any, array: Any, index: Any) -> Any:
    """Vector ``array[index : index + lanes]``, as wide as ``like``."""
    if _vector_of(array).dtype != like.dtype:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {array} and {like}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _address(context, builder, signature.args[1], args[1], args[2], like)
        return builder.load(pointer, align=_item_bytes(like))

    return like(like, array, types.int64), codegen


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to ``array[index : index + lanes]``."""
    if _vector_of(array).dtype != value.dtype:
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
        return _spread(builder, args[1], like.lanes)

    return like(like, scalar), codegen


@intrinsic
def broadcast_item(typing_context: Any, like: Any, array: Any, index: Any) -> Any:
    """`broadcast` of ``array[index]``, without the wrap-around of a negative index.

    An index that is not plainly a loop's counter costs four instructions more otherwise.
    """
    if _vector_of(array).dtype != like.dtype:
        raise TypingError(f"fastbp kernels take arrays of one dtype, got {array} and {like}.")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _item_address(context, builder, signature.args[1], args[1], args[2], 1)
        return _spread(builder, builder.load(pointer), like.lanes)

    return like(like, array, types.int64), codegen


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of vectors or of scalars, fused where the machine can."""
    _require_same(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "fmuladd", *args)

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
        return _call(builder, "sqrt", *args)

    return a(a), codegen


@intrinsic
def where_below(typing_context: Any, count: Any, a: Any, b: Any) -> Any:
    """``a`` in the first ``count`` lanes, ``b`` in the others."""
    _require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = _lane_numbers(a.lanes, 64)
        flags = builder.icmp_signed("<", numbers, _spread(builder, args[0], a.lanes))
        return builder.select(flags, args[1], args[2])

    return a(types.int64, a, b), codegen


@intrinsic
def unit(typing_context: Any, like: Any, lane: Any) -> Any:
    """1 in one lane, which may be outside of the vector, and 0 in the others."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = _lane_numbers(like.lanes, 64)
        flags = builder.icmp_signed("==", numbers, _spread(builder, args[1], like.lanes))
        return builder.select(flags, args[0].type(1.0), args[0].type(0.0))

    return like(like, types.int64), codegen


@intrinsic
def where_positive(typing_context: Any, test: Any, value: Any) -> Any:
    """``value`` where ``test`` is above zero or NaN, and 0 elsewhere."""
    _require_same(test, value)

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
    _require_same(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, _sum_and_error(builder, *args))

    return types.UniTuple(a, 2)(a, b), codegen


@intrinsic
def total_twice(typing_context: Any, a: Any, lost: Any) -> Any:
    """Sum over the lanes of both, as if in twice the precision; for strict arithmetic."""
    _require_same(a, lost)

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
    _require_same(_vector_of(W), d)

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
            sums.append(_call(builder, "fmuladd", high, rows[1], builder.fmul(low, rows[0])))
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
    vector = _vector_of(W)
    _require_same(vector, _vector_of(out))

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
    _require_same(a, b, c, d)

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
        first_number = _spread(builder, builder.trunc(start, ir.IntType(32)), a.lanes)
        numbers = builder.add(_lane_numbers(a.lanes), first_number)
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
    scalar = x.dtype if isinstance(x, Vector) else x
    if scalar not in (types.float32, types.float64):
        raise TypingError(f"fastbp kernels take float32 or float64 here, got {x}.")
    return _FORMATS[scalar.name]


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
    """The greater of each lane; ``b`` if one is NaN."""
    _require_same(a, b)

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
        coefficients = single if _format_of(x).real is np.float32 else double

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            constants = [args[0].type(c) for c in coefficients]

            fused = functools.partial(_call, builder, "fmuladd")
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
    # Intrinsics exist in compiled code only: slices and ufuncs stand in for them.

    def window(array: Any, start: int, length: int) -> Any:
        return array[start : start + length]

    def matrix_rows(matrix: Any, row: int, count: int) -> Any:
        return matrix[row : row + count].reshape(-1)

    def prefetch(array: Any, index: int) -> None:
        pass

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

    def pack_nonzeros(a: Any, first: int, places: Any, values: Any, count: int) -> int:
        (found,) = np.nonzero(a)
        places[count : count + len(found)] = first + found
        values[count : count + len(found)] = a[found]
        return count + len(found)

    def nonzero_lanes(a: Any) -> int:
        return sum(1 << k for k in range(len(a)) if a[k] != 0)

    def lowest_bit(bits: int) -> int:
        return (bits & -bits).bit_length() - 1

    def clamp(x: Any, low: Any, high: Any) -> Any:
        return np.clip(x, low, high)

    def maximum(a: Any, b: Any) -> Any:
        return np.where(a > b, a, b)

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
