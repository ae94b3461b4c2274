"""Reading one sample of those to train on: its row, its inputs, its target and its weight."""

import numpy as np

from ._jit import jit
from .memory import matrix_rows, prefetch, window
from .vectors import lanes


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


@jit
def label_at(samples, row, n):
    """Class number of a sample, or −1 if there is no such class of n.

    Labels have been checked, but the caller may have changed them since. They are used as indices,
    so they are checked here again.
    """
    label = samples.labels[row]
    return label if 0 <= label < n else -1


@jit(inline="early")
def load_target(samples, row, y):
    """Class number of a sample, or −1 and its target row in ``y``: NaN if the label is no class."""
    T = y.dtype.type
    kept, shared = T(samples.kept), T(samples.shared)
    if len(samples.labels) > 0:
        label = label_at(samples, row, len(y))
        if samples.kept == 1 and label >= 0:
            return label
        for k in range(len(y)):
            y[k] = kept * T(k == label) + shared if label >= 0 else T(np.nan)
    else:
        for k in range(len(y)):
            y[k] = kept * samples.targets[row, k] + shared
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
