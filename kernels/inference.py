"""Forward only, over many rows: outputs, losses and correct predictions."""

from ._jit import jit
from .bits import flush_subnormals, restore_subnormals
from .finite import first_nonfinite
from .layers import Span, Stretch, forward_rows, group_length
from .linear import copy_rows
from .losses import is_correct, loss_value
from .memory import matrix_rows, window
from .packing import view
from .samples import load_target, row_at, rows_alone, sample_weight
from .scratch import Batch, require_batch
from .state import State
from .views import rows_at


@jit
def judged(layout, batch, samples, first, t):
    """Weighted loss of sample ``first + t``, row t of the batch; 1 if its prediction is correct."""
    L = len(layout.strides)
    n, stride = layout.sizes[L], layout.strides[L - 1]
    row, y = row_at(samples, first + t), window(batch.y, t * stride, n)
    label = load_target(samples, row, y)
    z = rows_at(batch.z, layout, batch.length, L, t, 1)
    a = rows_at(batch.a, layout, batch.length, L, t, 1)
    loss = loss_value(layout.loss, z, a, y, label, n, samples.clip)
    correct = 1 if is_correct(layout.loss, a, y, label, n) else 0
    return sample_weight(samples, row) * loss, correct


@jit(entry=True)
def infer(packed, packed_batch, samples, start, stop, out, checks):
    """Outputs of samples start to stop, their losses, and how many are predicted correctly.

    Parameters
    ----------
    packed : (n,) floating
        A `State`.
    packed_batch : (n,) floating
        A `Batch` of any length, made for this layout and this kind of samples; modified in place.
    samples : Samples
        In the order of their rows. With neither labels nor target rows, the sums are 0.
    start, stop : int
    out : (n, n_L) floating, or (0, n_L)
        Row t takes a_L of sample t, if there are any.
    checks : bool
        Whether to stop at what is not finite in dense inputs or in ``out``: rows are looked at
        while they are at hand, and a call of its own would have threads wait for each other.

    Returns
    -------
    loss_sum : float
        Sum of the samples' weighted losses, one after the other.
    n_correct : int
        Number of those predicted correctly.
    is_finite : bool
        False if it has stopped.

    Raises
    ------
    ValueError
        If the batch is for another network or other samples, or if samples or ``out`` are too few.
    """
    return _inferred(packed, packed_batch, samples, start, stop, out, checks)


@jit(entry=True)
def infer_rows(packed, packed_batch, X, out, checks):
    """`infer` of a few dense rows, without the 2 µs in which a call takes `Samples` apart.

    Parameters
    ----------
    packed, packed_batch, checks
        As `infer`.
    X : (n, n_0) floating
        Read-only and C-contiguous.
    out : (n, n_L) floating

    Returns
    -------
    bool
        Whether all was finite.
    """
    return _inferred(packed, packed_batch, rows_alone(X), 0, len(X), out, checks)[2]


@jit(inline=False)
def _inferred(packed, packed_batch, samples, start, stop, out, checks):
    state, batch = view(packed, State), view(packed_batch, Batch)
    n = state.layout.sizes[len(state.layout.strides)]
    require_batch(batch, state.layout, samples, stop)
    if len(out) > 0 and (len(out) < stop or out.shape[1] != n):
        raise ValueError("out must have a row for every sample and a column for every output.")
    mode = flush_subnormals()
    result = _sums(state, batch, samples, start, stop, out, checks)
    restore_subnormals(mode)
    return result


@jit
def _sums(state, batch, samples, start, stop, out, checks):
    """`infer`, once everything is known to fit."""
    layout, loss_sum, n_correct = state.layout, 0.0, 0
    L = len(layout.strides)
    n = layout.sizes[L]
    has_targets = len(samples.labels) > 0 or len(samples.targets) > 0
    group = group_length(state, batch.length)
    for first in range(start, stop, group):
        m = min(group, stop - first)
        if checks and len(samples.inputs.X) > 0:
            x = matrix_rows(samples.inputs.X, first, m)
            if first_nonfinite(x, 0, m * layout.sizes[0]) >= 0:
                return loss_sum, n_correct, False
        forward_rows(state, batch, samples, Stretch(first, m, 0, 1.0), 0, m, Span(-1, 1, L, 0))
        if len(out) > 0:
            rows, A = matrix_rows(out, first, m), rows_at(batch.a, layout, batch.length, L, 0, m)
            copy_rows(A, layout.strides[L - 1], rows, n, m)
            if checks and first_nonfinite(rows, 0, m * n) >= 0:
                return loss_sum, n_correct, False
        for t in range(m if has_targets else 0):
            loss, correct = judged(layout, batch, samples, first, t)
            loss_sum += loss
            n_correct += correct
    return loss_sum, n_correct, True
