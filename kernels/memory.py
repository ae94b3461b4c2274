"""Windows into flat arrays: no slices, no reference counts, bounds checked on demand alone.

With ``NUMBA_DISABLE_JIT=1`` the same names are plain NumPy.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

VECTOR_BYTES = 64  # of a SIMD vector, at whose multiples arrays begin


def aligned_zeros(n: int, dtype: np.dtype) -> NDArray[Any]:
    """``np.zeros(n, dtype)`` that starts on a 64-byte boundary."""
    raw = np.zeros(n * dtype.itemsize + VECTOR_BYTES, np.uint8)
    start = -raw.ctypes.data % VECTOR_BYTES
    return raw[start : start + n * dtype.itemsize].view(dtype)


def require_flat(array: Any) -> None:
    """Refuse, when a caller is compiled, what would be read wrongly when it runs."""
    if not isinstance(array, types.Array) or array.ndim != 1 or array.layout != "C":
        raise TypingError(f"fastbp kernels take flat C-contiguous arrays here, got {array}.")


def item_address(context: Any, builder: Any, kind: Any, value: Any, index: Any, n: int) -> Any:
    """Pointer to ``array[index]``, of n elements; bounds are checked under NUMBA_BOUNDSCHECK."""
    array = arrayobj.make_array(kind)(context, builder, value)
    if context.enable_boundscheck:
        (length,) = cgutils.unpack_tuple(builder, array.shape, count=1)
        last = builder.add(index, index.type(n - 1))
        cgutils.do_boundscheck(context, builder, index, length)
        cgutils.do_boundscheck(context, builder, last, length)
    return builder.gep(array.data, [index])


@intrinsic
def window(typing_context: Any, array: Any, start: Any, length: Any) -> Any:
    """``array[start:start + length]`` without reference counting or wrap-around.

    A slice in an inner loop costs two atomic operations and several selects: half the time of
    a small network. The window does not keep the array alive: the caller does.
    """
    require_flat(array)

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
def no_places(typing_context: Any) -> Any:
    """Empty array of places, int32."""
    kind = types.Array(types.int32, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = arrayobj.make_array(kind)(context, builder)
        itemsize = context.get_constant(types.intp, 4)
        arrayobj.populate_array(
            result,
            data=ir.Constant(ir.IntType(32).as_pointer(), None),
            shape=[itemsize.type(0)],
            strides=[itemsize],
            itemsize=itemsize,
            meminfo=None,
            parent=None,
        )
        return result._getvalue()

    return kind(), codegen


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
    require_flat(array)

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


if config.DISABLE_JIT:
    # Intrinsics exist in compiled code only: slices stand in for them.

    def window(array: Any, start: int, length: int) -> Any:
        return array[start : start + length]

    def no_places() -> Any:
        return np.empty(0, np.int32)

    def matrix_rows(matrix: Any, row: int, count: int) -> Any:
        return matrix[row : row + count].reshape(-1)

    def prefetch(array: Any, index: int) -> None:
        pass
