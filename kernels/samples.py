"""Reading one sample of those to train on: its row, its inputs, its target and its weight."""

from ._jit import jit
from .simd import lanes, matrix_rows, prefetch, window


@jit
def row_at(order, t):
    """Row of the pass's sample t; all rows are in their own order where none is given."""
    return order[t] if len(order) > 0 else t


@jit
def n_samples(order, inputs):
    """Samples of the pass."""
    return len(order) if len(order) > 0 else max(len(inputs.X), len(inputs.indptr) - 1)


@jit
def expect(inputs, order, t, start, stop):
    """Have inputs ``start`` to ``stop`` of the pass's sample t on their way, where X is dense.

    A small network has learned from a row sooner than the next arrives in an order that no hardware
    can guess. It waits for rows in their own order too: what guesses them begins anew at every
    batch, and at every page of memory.
    """
    if len(inputs.X) > 0 and t < n_samples(order, inputs):
        x = matrix_rows(inputs.X, row_at(order, t), 1)
        for i in range(start, stop, lanes(x)):
            prefetch(x, i)


@jit(inline="early")
def csr_row(inputs, row):
    """Numbers and values of a CSR row's inputs, and how many they are."""
    start = inputs.indptr[row]
    count = inputs.indptr[row + 1] - start
    return window(inputs.indices, start, count), window(inputs.data, start, count), count


@jit(inline="early")
def load_target(samples, row, y):
    """Class number of a sample, or −1 and its target row in ``y``."""
    label = samples.labels[row] if len(samples.labels) > 0 else -1
    if samples.kept == 1 and label >= 0:
        return label
    T = y.dtype.type
    kept, shared = T(samples.kept), T(samples.shared)
    for k in range(len(y)):
        target = T(k == label) if label >= 0 else samples.targets[row, k]
        y[k] = kept * target + shared
    return -1


@jit
def sample_weight(samples, row):
    return samples.weights[row] if len(samples.weights) > 0 else 1.0


@jit
def batch_weight(samples, order, begin, end):
    """Sum of the weights of the pass's samples begin to end."""
    if len(samples.weights) == 0:
        return float(end - begin)
    weight = 0.0
    for t in range(begin, end):
        weight += samples.weights[row_at(order, t)]
    return weight
