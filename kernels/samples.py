"""The data of a pass, and how a kernel reads one of its samples: row, inputs, target, weight."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import jit
from .linear import Entries
from .memory import (
    matrix_rows,
    no_indices,
    no_order,
    no_rows,
    no_starts,
    no_values,
    no_weights,
    prefetch,
    window,
)
from .vectors import lanes


class Inputs(NamedTuple):
    """Rows of inputs, never modified: a dense matrix, or CSR rows as scipy.sparse has them."""

    X: NDArray[np.floating]  # (n, n_0), or (0, n_0) when the rows are sparse
    data: NDArray[np.floating]  # (nnz,) or (0,)
    indices: NDArray[np.int32]  # (nnz,) or (0,)
    indptr: NDArray[np.int64]  # (n + 1,) or (0,)

    @property
    def is_sparse(self) -> bool:
        """Whether the rows are CSR."""
        return len(self.indptr) > 0

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.X) or max(0, len(self.indptr) - 1)


# An order that stands for all rows as they come.
IN_ORDER = np.empty(0, np.int64)


class Samples(NamedTuple):
    """Data to train on or to evaluate, and their order in a pass; never modified."""

    inputs: Inputs
    labels: NDArray[np.int64]  # (n,) class numbers, or (0,) when there are target rows
    targets: NDArray[np.floating]  # (n, n_L) target rows, or (0, n_L) when there are labels
    weights: NDArray[np.float64]  # (n,) sample weights, or (0,) when all weigh 1
    order: NDArray[np.int64] = IN_ORDER  # row numbers of the pass's samples; (0,): as they come
    kept: float = 1.0  # targets are smoothed to kept·y + shared
    shared: float = 0.0
    clip: float = 0.0  # probabilities in logarithms of losses are held in [clip, 1 − clip]

    @property
    def are_plain(self) -> bool:
        """Whether rows, labels and targets are all that there is to them."""
        return len(self.weights) == len(self.order) == 0 and self.kept == 1 and self.clip == 0


def read_only(array: NDArray) -> NDArray:
    """Read-only view: of one type for the kernels, whatever the owner's flags."""
    view = array.view()
    view.flags.writeable = False
    return view


# Empty CSR arrays for dense rows, of the types of real ones, so that a kernel is compiled once.
_NO_DATA = {np.dtype(name): read_only(np.empty(0, name)) for name in ("float32", "float64")}
_NO_INDICES = read_only(np.empty(0, np.int32))
_NO_INDPTR = read_only(np.empty(0, np.int64))


def dense_inputs(X: NDArray[np.floating], dtype: np.dtype | None = None) -> Inputs:
    """``X``, C-contiguous (n, n_0), as kernels take it; or any X that is yet to be converted."""
    return Inputs(X, _NO_DATA[dtype or X.dtype], _NO_INDICES, _NO_INDPTR)


@jit
def plain_samples(X, labels, targets):
    """`Samples` of dense rows as they come, of the type that those made in Python have."""
    inputs = Inputs(X, no_values(X), no_indices(), no_starts())
    return Samples(inputs, labels, targets, no_weights(), no_order(), 1.0, 0.0, 0.0)


@jit
def rows_alone(X):
    """`plain_samples` without labels and targets."""
    return plain_samples(X, no_starts(), no_rows(X))


# Bytes of rows to prefetch into a core's second-level cache, which leaves room for everything else.
# With several threads some rows arrive at the wrong core, but still closer than memory.
_AHEAD_BYTES = 128 * 1024


@jit
def rows_ahead(most, width, like):
    """How many samples ahead to prefetch: ``most``, or as many rows as `_AHEAD_BYTES` holds."""
    return min(most, max(1, _AHEAD_BYTES // (width * like.itemsize)))


@jit
def row_at(samples, t):
    """Row of the pass's sample t."""
    return samples.order[t] if len(samples.order) > 0 else t


@jit
def n_samples(samples):
    """Samples of the pass."""
    inputs, order = samples.inputs, samples.order
    return len(order) if len(order) > 0 else max(len(inputs.X), len(inputs.indptr) - 1)


@jit
def require_samples(samples, layout, stop):
    """Refuse rows of another network, whose places may be past its weights, and too few of them."""
    if samples.inputs.X.shape[1] != layout.sizes[0]:
        raise ValueError("rows must have as many inputs as the network that they are given to.")
    if stop > n_samples(samples):
        raise ValueError("stop must be at most the number of samples.")


@jit
def expect(samples, t, start, stop):
    """Prefetch inputs ``start`` to ``stop`` of the pass's sample t, if X is dense.

    In a shuffled order, which hardware cannot predict, a small network is done with a row before
    the next one arrives. It waits even if rows are in order, because the hardware prefetcher starts
    anew at every batch and at every page of memory.
    """
    if len(samples.inputs.X) > 0 and t < n_samples(samples):
        x = matrix_rows(samples.inputs.X, row_at(samples, t), 1)
        for i in range(start, stop, lanes(x)):
            prefetch(x, i)


@jit(inline="early")
def csr_row(inputs, row):
    """Inputs of a CSR row."""
    start = inputs.indptr[row]
    count = inputs.indptr[row + 1] - start
    return Entries(window(inputs.indices, start, count), window(inputs.data, start, count), count)


@jit
def label_at(samples, row, n):
    """Class number of a sample, or −1 if it is not from 0 to n − 1.

    Labels have been checked, but the caller may have changed them since. They are used as indices,
    so they are checked here again.
    """
    label = samples.labels[row]
    return label if 0 <= label < n else -1


@jit(inline="early")
def load_target(samples, row, y):
    """Class number of a sample; or −1, with its target row (NaN for an invalid label) in ``y``."""
    if len(samples.labels) > 0 and samples.kept == 1:
        label = label_at(samples, row, len(y))
        if label >= 0:
            return label
    put_target(samples, row, y, len(y), 0, 1)
    return -1


@jit
def put_target(samples, row, y, n, at, step):
    """Write a sample's n targets to every ``step``-th place of y from ``at`` on."""
    T = y.dtype.type
    kept, shared = T(samples.kept), T(samples.shared)
    if len(samples.labels) > 0:
        label = label_at(samples, row, n)
        for k in range(n):
            y[at + k * step] = kept * T(k == label) + shared if label >= 0 else T(np.nan)
    else:
        for k in range(n):
            y[at + k * step] = kept * samples.targets[row, k] + shared


@jit
def put_targets(samples, rows, Y, n, m, width):
    """`put_target` of m rows of targets, to rows of ``width`` of Y, one for each of n outputs."""
    T = Y.dtype.type
    kept, shared = T(samples.kept), T(samples.shared)
    targets = matrix_rows(samples.targets, 0, len(samples.targets))
    for k in range(n):
        y = window(Y, k * width, m)
        for t in range(m):
            y[t] = kept * targets[rows[t] * n + k] + shared


@jit
def sample_weight(samples, row):
    return samples.weights[row] if len(samples.weights) > 0 else 1.0


@jit(strict=True)
def batch_weight(samples, begin, end):
    """Sum of the weights of the pass's samples begin to end."""
    if len(samples.weights) == 0:
        return float(end - begin)
    weight = 0.0
    for t in range(begin, end):
        weight += samples.weights[row_at(samples, t)]
    return weight
