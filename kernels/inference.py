"""Forward only, over many rows: outputs, losses and correct predictions."""

from ._jit import jit
from .checks import first_nonfinite
from .losses import is_correct, loss_value
from .memory import matrix_rows, window
from .rows import forward_rows, layer_rows
from .samples import load_target, row_at, sample_weight


@jit(entry=True)
def infer(params, layout, batch, samples, order, start, stop, out, checks, loss_sum, n_correct):
    """Outputs of samples start to stop, their losses, and how many are predicted correctly.

    Parameters
    ----------
    params : (layout.blocks[-1],) floating
    layout : Layout
    batch : Batch
        Modified in place; of any length.
    samples : Samples
        With neither labels nor target rows, the sums stay as they are.
    order : (n,) int64
        Row numbers of the samples; empty for all rows as they come.
    start, stop : int
    out : (n, n_L) floating, or (0, n_L)
        Row t takes a_L of sample t, if there are any.
    checks : bool
        Whether to stop at a dense input that is not finite: rows are looked at just before they
        are used, and a call of its own for that would have threads wait for each other.
    loss_sum : float
    n_correct : int
        Sums so far.

    Returns
    -------
    loss_sum : float
        With the samples' weighted losses, one after the other.
    n_correct : int
        With the number of those predicted correctly.
    is_finite : bool
        False if it has stopped.
    """
    L = len(layout.strides)
    n, stride = layout.sizes[L], layout.strides[L - 1]
    has_targets = len(samples.labels) > 0 or len(samples.targets) > 0
    for first in range(start, stop, batch.length):
        m = min(batch.length, stop - first)
        if checks:
            x = matrix_rows(samples.inputs.X, first, m)
            if first_nonfinite(x, 0, m * layout.sizes[0]) >= 0:
                return loss_sum, n_correct, False
        forward_rows(params, layout, batch, samples.inputs, order, first, 0, m, None, 0, -1, L, 1)
        for t in range(m):
            a = layer_rows(batch.a, layout, batch, L, t, 1)
            if len(out) > 0:
                for k in range(n):
                    out[first + t, k] = a[k]
            if has_targets:
                row = row_at(order, first + t)
                y = window(batch.y, t * stride, n)
                label = load_target(samples, row, y)
                z = layer_rows(batch.z, layout, batch, L, t, 1)
                loss = loss_value(layout.loss, z, a, y, label, n, samples.clip)
                loss_sum += sample_weight(samples, row) * loss
                if is_correct(layout.loss, a, y, label, n):
                    n_correct += 1
    return loss_sum, n_correct, True
