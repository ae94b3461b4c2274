"""Where everything lies: the flat parameter buffer, the work buffers and the samples.

All of it is plain NumPy arrays in named tuples, so that one compiled function serves every
architecture. A network's parameters are one flat buffer of one block per layer; block l is
input-major, (n_in + 1) rows of ``stride`` elements with the bias as the last row, where
``stride`` is n_out rounded up to whole SIMD vectors. The padding is zero and stays zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .activations import ACTIVATIONS
from .losses import LOSSES
from .simd import VECTOR_BYTES


class Layout(NamedTuple):
    """Architecture of a network as the kernels see it; all int64."""

    sizes: NDArray[np.int64]  # (L + 1,) units of each layer, the input first
    strides: NDArray[np.int64]  # (L,) padded fan-out: row length of each block
    blocks: NDArray[np.int64]  # (L + 1,) start of each layer's block in params; the last: length
    units: NDArray[np.int64]  # (L + 2,) start of each layer's units in a work buffer; ditto
    activations: NDArray[np.int64]  # (L,) code of each layer's f, the output's last
    loss: int


class Work(NamedTuple):
    """Scratch of one sample; every buffer is modified in place and its padding stays zero."""

    a: NDArray[np.floating]  # (units[-1],) outputs of each layer; a_0 is the input
    z: NDArray[np.floating]  # (units[-1],) sums before the activation
    delta: NDArray[np.floating]  # (units[-1],) ∂loss/∂z
    y: NDArray[np.floating]  # (n_L,) target of the sample


class Samples(NamedTuple):
    """Data to train on or to evaluate, never modified."""

    X: NDArray[np.floating]  # (n, n_0)
    labels: NDArray[np.int64]  # (n,) class numbers, or (0,) when there are target rows
    targets: NDArray[np.floating]  # (n, n_L) target rows, or (0, n_L) when there are labels
    weights: NDArray[np.float64]  # (n,) sample weights, or (0,) when all weigh 1


def _padded(n: int, dtype: np.dtype) -> int:
    lanes = VECTOR_BYTES // dtype.itemsize
    return -(-n // lanes) * lanes


def _constant(values: Sequence[int]) -> NDArray[np.int64]:
    """Read-only array: a changed entry would send kernels out of bounds."""
    array = np.array(values, np.int64)
    array.flags.writeable = False
    return array


def make_layout(
    sizes: Sequence[int], activations: Sequence[str], loss: str, dtype: np.dtype
) -> Layout:
    """Layout of a network with the given layer sizes, one activation per layer and a loss.

    Raises
    ------
    ValueError
        If the parameters would need more bytes than an int64 can count.
    """
    strides = [_padded(n, dtype) for n in sizes[1:]]
    blocks, units = [0], [0]
    for n_in, stride in zip(sizes[:-1], strides, strict=True):
        blocks.append(blocks[-1] + (n_in + 1) * stride)
    for n in sizes:
        units.append(units[-1] + _padded(n, dtype))
    # Python integers do not overflow; the int64 arrays below would.
    if blocks[-1] * dtype.itemsize > np.iinfo(np.int64).max:
        raise ValueError(
            f"sizes must describe at most 2**63 - 1 bytes of parameters, "
            f"got {tuple(sizes)}, which need {blocks[-1] * dtype.itemsize}."
        )
    return Layout(
        sizes=_constant(sizes),
        strides=_constant(strides),
        blocks=_constant(blocks),
        units=_constant(units),
        activations=_constant([ACTIVATIONS[name] for name in activations]),
        loss=LOSSES[loss],
    )


def aligned_zeros(n: int, dtype: np.dtype) -> NDArray[np.floating]:
    """``np.zeros(n, dtype)`` that starts on a 64-byte boundary."""
    raw = np.zeros(n * dtype.itemsize + VECTOR_BYTES, np.uint8)
    start = -raw.ctypes.data % VECTOR_BYTES
    return raw[start : start + n * dtype.itemsize].view(dtype)


def make_work(layout: Layout, dtype: np.dtype) -> Work:
    """Scratch for one sample."""
    n = int(layout.units[-1])
    a, z, delta = (aligned_zeros(n, dtype) for _ in range(3))
    return Work(a, z, delta, aligned_zeros(int(layout.sizes[-1]), dtype))


def layer_views(
    params: NDArray[np.floating], layout: Layout
) -> tuple[tuple[NDArray[np.floating], ...], tuple[NDArray[np.floating], ...]]:
    """Weights (n_out, n_in) and biases (n_out,) of each layer, as views of a flat buffer."""
    weights, biases = [], []
    for layer, stride in enumerate(layout.strides):
        n_in, n_out = layout.sizes[layer], layout.sizes[layer + 1]
        start, stop = layout.blocks[layer], layout.blocks[layer + 1]
        block = params[start:stop].reshape(n_in + 1, stride)
        weights.append(block[:n_in, :n_out].T)
        biases.append(block[n_in, :n_out])
    return tuple(weights), tuple(biases)
