"""Sparse matrices: whatever is used as an index is copied first, and then the copy is checked.

SciPy checks little when it converts one format to another, and nothing that was changed after a
matrix was made: a wrong column number reads and writes out of bounds, in its code and in kernels.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# What objects raise when their parts are not what they should be.
_DAMAGED = (
    AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError
)  # fmt: skip
Shape = tuple[int, int]


class CSR(NamedTuple):
    """Rows of real numbers; the index arrays are copies, and stay within bounds."""

    data: NDArray[Any]
    """(nnz,) values, of any real dtype; the caller's own array where that is CSR already."""
    indices: NDArray[np.signedinteger[Any]]
    """(nnz,) column numbers."""
    indptr: NDArray[np.int64]
    """(n_rows + 1,) where each row's entries begin."""
    shape: Shape


def is_sparse(X: Any) -> bool:
    """Whether X counts as a sparse matrix: it can be turned into CSR."""
    return hasattr(X, "tocsr")


def csr(name: str, X: Any) -> CSR:
    """Rows of any sparse matrix or array of SciPy's, or of whatever has a ``tocsr``.

    Raises
    ------
    ValueError
        If it is not two-dimensional, does not hold real numbers, or has an index out of bounds.
    """
    try:
        return _csr(X)
    except _DAMAGED as error:
        raise ValueError(f"{name} must be a valid sparse matrix: {error}.") from None


def check_sparse(X: Any, name: str = "X") -> Any:
    """Turn any sparse matrix into a CSR matrix that SciPy can safely work with.

    Parameters
    ----------
    X : scipy.sparse matrix or array, or an object with a ``tocsr``
        It may be damaged: whatever is used as an index is copied and checked first.
    name : str, default "X"
        For messages.

    Returns
    -------
    scipy.sparse.csr_matrix or csr_array
        With index arrays of its own; an array unless X is a matrix. Its values are those of X, not
        copied where X is CSR.

    Raises
    ------
    ValueError
        As `csr`.
    """
    import scipy.sparse

    data, indices, indptr, shape = csr(name, X)
    make = scipy.sparse.csr_matrix if scipy.sparse.isspmatrix(X) else scipy.sparse.csr_array
    return make((data, indices, indptr), shape=shape)


def _csr(X: Any) -> CSR:
    import scipy.sparse

    shape = _shape(X)
    if not scipy.sparse.issparse(X):
        return _of_csr(X.tocsr(), shape)
    parts: Callable[[Any, Shape], Any] = _FORMATS[X.format]
    return _of_csr(parts(X, shape), shape)


def _shape(X: Any) -> Shape:
    shape = tuple(operator.index(n) for n in X.shape)
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"it must be two-dimensional, got shape {shape}")
    return shape


def _of_csr(X: Any, shape: Shape) -> CSR:
    """Rows of a matrix that claims to be CSR."""
    if _shape(X) != shape:
        raise ValueError(f"tocsr made shape {tuple(X.shape)} of shape {shape}")
    data = _values(X.data, 1)
    indices, indptr = _compressed(data, X.indices, X.indptr, shape, "column")
    return CSR(data[: len(indices)], indices, indptr, shape)


def _of_csc(X: Any, shape: Shape) -> Any:
    from scipy.sparse import csc_array

    data = _values(X.data, 1)
    indices, indptr = _compressed(data, X.indices, X.indptr, shape[::-1], "row")
    return csc_array((data[: len(indices)], indices, indptr), shape=shape).tocsr()


def _of_bsr(X: Any, shape: Shape) -> Any:
    from scipy.sparse import bsr_array

    data = _values(X.data, 3)
    height, width = data.shape[1:]
    if min(height, width) < 1 or shape[0] % height or shape[1] % width:
        raise ValueError(f"blocks of shape {(height, width)} must divide shape {shape}")
    blocks = shape[0] // height, shape[1] // width
    indices, indptr = _compressed(data, X.indices, X.indptr, blocks, "column of blocks")
    return bsr_array((data[: len(indices)], indices, indptr), shape=shape).tocsr()


def _of_coo(X: Any, shape: Shape) -> Any:
    return _of_entries(X.data, X.row, X.col, shape)


def _of_dok(X: Any, shape: Shape) -> Any:
    entries = list(X.items())
    rows, columns = [row for (row, _), _ in entries], [column for (_, column), _ in entries]
    return _of_entries(np.array([value for _, value in entries], X.dtype), rows, columns, shape)


def _of_lil(X: Any, shape: Shape) -> Any:
    columns, values = ([list(row) for row in rows] for rows in (X.rows, X.data))
    lengths = [len(row) for row in columns]
    if len(lengths) != shape[0] or lengths != [len(row) for row in values]:
        raise ValueError("rows and data must be lists of equal lengths, one pair per row")
    flat = itertools.chain.from_iterable
    return _of_entries(
        np.array(list(flat(values)), X.dtype),
        np.repeat(np.arange(shape[0]), lengths),
        list(flat(columns)),
        shape,
    )


def _of_dia(X: Any, shape: Shape) -> Any:
    from scipy.sparse import dia_array

    data, offsets = _values(X.data, 2), _numbers("offsets", X.offsets)
    if len(offsets) != len(data):
        raise ValueError(f"{len(data)} diagonals must have as many offsets, got {len(offsets)}")
    inside = (offsets > -shape[0]) & (offsets < shape[1])
    return dia_array((data[inside], offsets[inside].astype(np.int64)), shape=shape).tocsr()


_FORMATS = {
    "csr": lambda X, shape: X,
    "csc": _of_csc,
    "bsr": _of_bsr,
    "coo": _of_coo,
    "dok": _of_dok,
    "lil": _of_lil,
    "dia": _of_dia,
}


def _of_entries(values: Any, rows: Any, columns: Any, shape: Shape) -> Any:
    """Rows of entries in any order; entries at the same place are added up."""
    from scipy.sparse import coo_array

    data = _values(values, 1)
    rows, columns = _numbers("row numbers", rows), _numbers("column numbers", columns)
    if not len(data) == len(rows) == len(columns):
        raise ValueError(
            f"{len(data)} values must have as many row and column numbers, got {len(rows)} and "
            f"{len(columns)}"
        )
    _refuse_outside(rows, shape[0], "row")
    _refuse_outside(columns, shape[1], "column")
    return coo_array((data, (_signed(rows), _signed(columns))), shape=shape).tocsr()


def _values(values: Any, ndim: int) -> NDArray[Any]:
    data = np.asarray(values)
    if data.dtype.kind not in "biuf":
        raise ValueError(f"it must hold real numbers, got dtype {data.dtype}")
    if data.ndim != ndim:
        raise ValueError(f"data must have {ndim} dimensions, got shape {data.shape}")
    return data


def _numbers(what: str, given: ArrayLike) -> NDArray[Any]:
    """A copy of an array of integers, of its own dtype."""
    own = np.array(given)
    if own.ndim != 1 or (own.dtype.kind not in "iu" and own.size > 0):
        raise ValueError(
            f"{what} must be a one-dimensional integer array, got {own.dtype} of shape {own.shape}"
        )
    return own


def _signed(numbers: NDArray[Any]) -> NDArray[Any]:
    """Checked numbers in the dtype that SciPy would choose for them."""
    small = numbers.size == 0 or numbers.max() <= np.iinfo(np.int32).max
    return numbers.astype(np.int32 if small else np.int64, copy=False)


def _refuse_outside(numbers: NDArray[Any], bound: int, what: str) -> None:
    """Refuse numbers that are not from 0 to below a bound."""
    if numbers.size > 0 and (numbers.min() < 0 or numbers.max() >= bound):
        entry = int(np.argmax((numbers < 0) | (numbers >= bound)))
        raise ValueError(
            f"a {what} must be from 0 to {bound - 1}, got {numbers[entry]} in entry {entry}"
        )


def _compressed(
    data: NDArray[Any], indices: Any, indptr: Any, shape: Shape, what: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Copies of the index arrays of rows (or columns) of entries that belong to ``data``."""
    own = _numbers("indptr", indptr).astype(np.int64)
    if len(own) != shape[0] + 1 or own[0] != 0 or (own[1:] < own[:-1]).any():
        raise ValueError(f"indptr must be {shape[0] + 1} numbers that begin with 0 and never fall")
    numbers = _numbers("indices", indices)
    if own[-1] > min(len(data), len(numbers)):
        raise ValueError(
            f"indptr must end with the number of entries, got {own[-1]} for {len(numbers)} indices "
            f"and {len(data)} values"
        )
    numbers = numbers[: own[-1]]
    _refuse_outside(numbers, shape[1], what)
    return _signed(numbers), own
