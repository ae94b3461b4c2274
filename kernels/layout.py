"""Architecture of a network, and where its parameters lie in one flat buffer.

One compiled function serves every architecture. Parameters are one flat buffer of one block per
layer; block l is input-major, (n_in + 1) rows of ``stride`` elements with the bias as the last row,
where ``stride`` is n_out `padded` to whole SIMD vectors. The padding is zero and stays zero.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .activations import ACTIVATIONS
from .instructions import VECTOR_BYTES
from .losses import LOSSES
from .packing import Int64s


class Layout(NamedTuple):
    """Architecture of a network as the kernels see it."""

    sizes: Int64s  # (L + 1,) units of each layer, the input first
    strides: Int64s  # (L,) `padded` fan-out: row length of each block
    blocks: Int64s  # (L + 1,) start of each layer's block in params, and their total length
    units: Int64s  # (L + 2,) the same for each layer's units in a buffer of one sample
    activations: Int64s  # (L,) code of each layer's f, the output's last
    loss: int


# Methods of a layer: three ways to take the same steps; see `deferred`.
SEQUENTIAL, SKIPPING, DEFERRED = range(3)
METHODS = {"sequential": SEQUENTIAL, "zero-skipping": SKIPPING, "deferred": DEFERRED}

# Rows at multiples of this distance, in bytes, compete for the same few places of a cache.
_CROWDED = 4096


def padded(n: int, dtype: np.dtype) -> int:
    """Length of a row of n elements: whole vectors, and one more where rows would be crowded."""
    lanes = VECTOR_BYTES // dtype.itemsize
    length = -(-n // lanes) * lanes
    return length if length * dtype.itemsize % _CROWDED else length + lanes


def frozen(values: ArrayLike, dtype: DTypeLike) -> NDArray:
    """Array that nobody can write to, not even through its base: its memory is a bytes object.

    A changed entry of a layout would send kernels out of bounds.
    """
    array = np.array(values, dtype)
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def make_layout(
    sizes: Sequence[int], activations: Sequence[str], loss: str, dtype: np.dtype
) -> Layout:
    """Layout of a network with the given layer sizes, one activation per layer and a loss.

    Raises
    ------
    ValueError
        If the parameters would need more bytes than an int64 can count.
    """
    strides = [padded(n, dtype) for n in sizes[1:]]
    blocks, units = [0], [0]
    for n_in, stride in zip(sizes[:-1], strides, strict=True):
        blocks.append(blocks[-1] + (n_in + 1) * stride)
    for n in sizes:
        units.append(units[-1] + padded(n, dtype))
    # Python integers do not overflow; the int64 arrays below would.
    if blocks[-1] * dtype.itemsize > np.iinfo(np.int64).max:
        raise ValueError(
            f"sizes must describe at most 2**63 - 1 bytes of parameters, "
            f"got {tuple(sizes)}, which need {blocks[-1] * dtype.itemsize}."
        )
    return Layout(
        sizes=frozen(sizes, np.int64),
        strides=frozen(strides, np.int64),
        blocks=frozen(blocks, np.int64),
        units=frozen(units, np.int64),
        activations=frozen([ACTIVATIONS[name] for name in activations], np.int64),
        loss=LOSSES[loss],
    )
