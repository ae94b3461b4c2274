"""Windows into flat arrays: no slices, no reference counts, bounds checked only on demand."""

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core.errors import TypingError
from numpy.typing import NDArray

from .instructions import INT32, INT64, VECTOR_BYTES, giving, instruction, require_flat


def aligned_zeros(n: int, dtype: np.dtype) -> NDArray[Any]:
    """``np.zeros(n, dtype)`` that starts on a 64-byte boundary."""
    raw = np.zeros(n * dtype.itemsize + VECTOR_BYTES, np.uint8)
    start = -raw.ctypes.data % VECTOR_BYTES
    return raw[start : start + n * dtype.itemsize].view(dtype)


def _part(array, *places):
    # Of one type whether or not the source is read-only, so that a variable can hold either.
    return types.Array(array.dtype, 1, "C")(array, *(types.int64 for _ in places))


def _flat_part(array, *places):
    require_flat(array)
    return _part(array, *places)


def _rows(matrix, *places):
    if not isinstance(matrix, types.Array) or matrix.ndim != 2 or matrix.layout != "C":
        raise TypingError(f"fastbp kernels take C-contiguous matrices here, got {matrix}.")
    return _part(matrix, *places)


@instruction(_flat_part, lambda array, start, length: array[start : start + length])
def window(builder, array, start, length):
    """``array[start:start + length]`` without reference counting or wrap-around.

    A slice in an inner loop costs two atomic operations and several selects: half the time of
    a small network. The window does not keep the array alive: the caller does.
    """
    array.check_span(start, length, array.shape[0])
    return builder.gep(array.data, [start]), length


@instruction(_rows, lambda matrix, row, count: matrix[row : row + count].reshape(-1))
def matrix_rows(builder, matrix, row, count):
    """``matrix[row : row + count]`` of a C-contiguous matrix, flat, as `window` gives it."""
    n_rows, n_columns = matrix.shape
    matrix.check_span(row, count, n_rows)
    start = builder.gep(matrix.data, [builder.mul(row, n_columns)])
    return start, builder.mul(count, n_columns)


def _overlap(a: Any, b: Any) -> bool:
    return np.may_share_memory(a, b)


@instruction(lambda a, b: types.boolean(a, b), _overlap)
def overlap(builder, a, b):
    """Whether C-contiguous arrays share memory."""
    (a_start, a_stop), (b_start, b_stop) = (_span(builder, array) for array in (a, b))
    left, right = (
        builder.icmp_unsigned("<", *pair) for pair in ((a_start, b_stop), (b_start, a_stop))
    )
    return builder.and_(left, right)


def _span(builder, array):
    """Addresses of the first element and of the one behind the last."""
    n = functools.reduce(builder.mul, array.shape)
    pointers = array.data, builder.gep(array.data, [n])
    return [builder.ptrtoint(pointer, INT64) for pointer in pointers]


def _at(pointer, length):
    return types.Array(pointer.dtype, 1, "C")(pointer, types.int64)


@instruction(_at, carray)
def array_at(builder, pointer, length):
    """The array of so many elements at a pointer, which the caller keeps alive."""
    return pointer, length


@instruction(lambda: types.Array(types.int32, 1, "C")(), lambda: np.empty(0, np.int32))
def no_places(builder):
    """Empty array of places, int32."""
    return ir.Constant(INT32.as_pointer(), None), INT64(0)


def _empty(dtype: Any, element: Any, readonly: bool = True) -> Any:
    """Operation that gives an empty flat array, of the type of one from Python."""
    kind = types.Array(dtype, 1, "C", readonly=readonly)

    @instruction(lambda: kind(), lambda: np.empty(0, str(dtype)))
    def empty(builder):
        return ir.Constant(element.as_pointer(), None), INT64(0)

    return empty


no_indices, no_starts = _empty(types.int32, INT32), _empty(types.int64, INT64)
no_weights, no_order = _empty(types.float64, ir.DoubleType()), _empty(types.int64, INT64, False)


def _read_only(array: Any, ndim: int) -> Any:
    return types.Array(array.dtype, ndim, "C", readonly=True)(array)


@instruction(lambda array: _read_only(array, 1), lambda array: np.empty(0, array.dtype))
def no_values(builder, array):
    """Empty flat array of ``array``'s dtype, read-only."""
    return ir.Constant(array.data.type, None), INT64(0)


@instruction(lambda array: _read_only(array, 2), lambda array: np.empty((0, 0), array.dtype))
def no_rows(builder, array):
    """Empty matrix of ``array``'s dtype, read-only."""
    return ir.Constant(array.data.type, None), INT64(0)


@instruction(giving(types.none), lambda array, index: None)
def prefetch(builder, array, index):
    """Prefetch the cache line of ``array[index]``; the index may be out of bounds."""
    array.prefetch(index)
