"""Where things lie in flat buffers: a layer's parameters, its units, its rows of a batch."""

from typing import NamedTuple

from ._jit import jit
from .memory import window
from .packing import Reals


class Matrix(NamedTuple):
    """A matrix in a flat array: element (r, k) is at ``place + r·across + k·along``."""

    data: Reals
    place: int
    across: int
    along: int


@jit(inline="early")
def matrix(data, stride):
    """Matrix of rows of ``stride`` elements."""
    return Matrix(data, 0, stride, 1)


@jit(inline="early")
def transposed(M):
    return Matrix(M.data, M.place, M.along, M.across)


@jit(inline="early")
def shifted(M, by):
    """Matrix that begins so many elements later."""
    return Matrix(M.data, M.place + by, M.across, M.along)


class Layer(NamedTuple):
    """Parameters of a layer; layers count from 0 here, so l = 1..L in the formulas is l − 1."""

    W: Matrix  # (n_in, stride), row i the fan-out of input i
    b: Reals  # (stride,)
    n_in: int
    n_out: int
    stride: int


@jit(inline="early")
def layer_at(params, layout, l):
    """Parameters of layer l, or what is laid out as they are, such as a gradient."""
    n_in, stride, block = layout.sizes[l], layout.strides[l], layout.blocks[l]
    W = matrix(window(params, block, n_in * stride), stride)
    b = window(params, block + n_in * stride, stride)
    return Layer(W, b, n_in, layout.sizes[l + 1], stride)


@jit(inline="early")
def width_at(layout, l):
    """Units of layer l with what pads them, layer 0 being the input."""
    return layout.units[l + 1] - layout.units[l]


@jit(inline="early")
def units_at(buffer, layout, l):
    """Layer l's units of one sample."""
    return window(buffer, layout.units[l], width_at(layout, l))


@jit(inline="early")
def rows_at(buffer, layout, length, l, first, n):
    """Layer l's units of samples ``first`` to first + n of a batch's buffer, l ≥ 1.

    The buffer has ``length`` rows for each layer.
    """
    width = width_at(layout, l)
    place = (layout.units[l] - layout.units[1]) * length + first * width
    return window(buffer, place, n * width)
