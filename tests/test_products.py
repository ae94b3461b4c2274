"""Matrix products have the same bits however the result is cut into pieces."""

import numpy as np
import pytest

from fastbp import kernels
from fastbp.kernels import linear, tiles
from fastbp.kernels._jit import jit
from fastbp.kernels.layout import padded
from fastbp.kernels.views import Matrix


@jit(entry=True)
def product(W, X, base, out, m, n, width, scale):
    """`multiply_add`, from Python."""
    linear.multiply_add(W, X, base, out, m, n, width, scale)


def filled(n, dtype, generator):
    array = kernels.aligned_zeros(n, dtype)
    array[:] = generator.standard_normal(n)
    return array


def shapes(dtype):
    """(m, n, columns): a result of several blocks; as many rows as are turned, or a few more."""
    most = tiles.TURNED_BYTES // (tiles.STRIP_ROWS * dtype.itemsize)
    wide = linear._BLOCK_BYTES // (160 * dtype.itemsize) + 40
    return [
        (160, 3, wide),
        (most, 130, 200),
        (most + 1, 128, 200),
        (most - 3, 257, 193),
        (7, 40, 400),
    ]


@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_of_a_product_are_those_of_the_whole(dtype, case, turned, generator):
    dtype = np.dtype(dtype)
    m, n, columns = shapes(dtype)[case]
    stride, across = padded(columns, dtype), padded(m if turned else n, dtype)
    W, scale = filled(n * stride, dtype, generator), dtype.type(0.5)
    X = filled((n if turned else m) * across, dtype, generator)
    base = filled(m * stride, dtype, generator)
    whole, pieces = base.copy(), base.copy()
    rows = Matrix(X, 0, 1, across) if turned else Matrix(X, 0, across, 1)

    product(Matrix(W, 0, stride, 1), rows, *[Matrix(whole, 0, stride, 1)] * 2, m, n, stride, scale)
    for r in range(0, m, 5):
        part, some = Matrix(pieces, r * stride, stride, 1), min(5, m - r)
        some_rows = rows._replace(place=r * rows.across)
        for k in range(0, stride, 64):
            at, wide = part._replace(place=r * stride + k), min(64, stride - k)
            product(Matrix(W, k, stride, 1), some_rows, at, at, some, n, wide, scale)

    np.testing.assert_array_equal(whole, pieces)
    x = X.reshape(-1, across)[:, : m if turned else n].astype(np.float64)
    expected = 0.5 * (base.reshape(m, stride) + (x.T if turned else x) @ W.reshape(n, stride))
    np.testing.assert_allclose(whole.reshape(m, stride), expected, rtol=0, atol=n * 1e-5)
