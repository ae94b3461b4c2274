"""Windows into flat arrays, and vectors of 64 bytes that stay in registers.

A vector holds 16 float32 or 8 float64: one AVX-512 register, two of AVX2, four of NEON; LLVM
splits it for the machine at hand. With ``NUMBA_DISABLE_JIT=1`` the same names are plain NumPy.
"""

from typing import Any

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
    """``a * b + c``, fused where the machine can."""
    _require_same(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(a)
        name = f"llvm.fmuladd.v{a.lanes}f{a.dtype.bitwidth}"
        function = ir.FunctionType(kind, [kind] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)

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
