"""Many samples on their way through the layers, forward and back, a row each.

A_l, Z_l and Δ_l have a row per sample: the outputs of layer l, its sums before the activation f_l,
and ∂loss/∂Z_l; A_0 is X. Weights are input-major: row i of W_l is the fan-out of input i.

    forward    Z_l = A_{l−1} W_l + b_l       A_l = f_l(Z_l)
    backward   Δ_{l−1} = (Δ_l W_lᵀ) ⊙ f'(Z_{l−1})

Samples are independent of each other here, so each thread takes a group of them. A layer's sums can
also be split by inputs: each thread takes quarters of them, which are always added in one order.
"""

from typing import NamedTuple

import numpy as np

from ._jit import jit
from .activations import SOFTMAX, activate, times_derivative
from .dropout import draw_mask
from .elementary import softmax_rows
from .linear import Entries, add_rows, add_scaled, copy, multiply_add, nonzeros, scale_row, times
from .losses import Outputs, label_delta, label_losses, target_rows
from .memory import matrix_rows, window
from .packing import Reals
from .samples import csr_row, expect, label_at, load_target, row_at, rows_ahead, sample_weight
from .scratch import CACHED_BYTES, QUARTERS
from .vectors import lanes
from .views import layer_at, matrix, rows_at, shifted, transposed, width_at

# Outputs and δ of so many samples stay in the first-level cache.
_GROUP = 32


class Stretch(NamedTuple):
    """A run of samples of a batch, whose outputs and δ are kept at the same time."""

    first: int  # number of the first in the pass
    m: int  # how many they are
    number: int  # of the first, counted since the optimizer's state began
    share: float  # by which a sample's gradient is multiplied


class Span(NamedTuple):
    """Layers, counted from 0, on the way forward and back."""

    summed: int  # the layer whose quarters ``workers`` threads have already summed; −1 for none
    workers: int
    end: int  # forward up to here
    floor: int  # and back to here


class Part(NamedTuple):
    """Inputs ``top`` to ``end`` of a layer, and their sums."""

    top: int
    end: int
    base: Reals  # (stride,) what is added to each row
    Z: Reals  # a row per sample


@jit
def list_inputs(lists, x, t, lo, width, part):
    """List the non-zero inputs of a part in row x of X; mark them as sample t's if marks are kept.

    Samples from ``lo`` on, which one thread takes, share a place, where each writes its list anew.
    """
    place, room = lo * width + part.top, width - part.top
    places, values = window(lists.places, place, room), window(lists.x, place, room)
    n = nonzeros(x, part.top, part.end, places, values)
    for j in range(n if len(lists.marked) > 0 else 0):
        lists.marked[places[j] * lists.width + t] = values[j]
    return Entries(places, values, n)


@jit
def quarter_length(n_in, like):
    """Inputs of a quarter, in whole vectors; the last has what is left."""
    v = lanes(like)
    return (n_in + QUARTERS * v - 1) // (QUARTERS * v) * v


@jit
def quarter_start(n_in, quarter, like):
    """First input of a quarter; that of quarter `QUARTERS` is the end."""
    return min(n_in, quarter * quarter_length(n_in, like))


@jit
def quarter_workers(threads):
    """Number of threads that can share the quarters equally."""
    return QUARTERS if threads >= QUARTERS else min(threads, QUARTERS // 2)


@jit(inline="early")
def quarter_sums(layout, batch, l, lo, n, quarter):
    """Where a quarter's sums of samples lo to lo + n are kept; for quarter 0 it is Z itself."""
    stride = layout.strides[l]
    if quarter == 0:
        return rows_at(batch.z, layout, batch.length, l + 1, lo, n)
    place = ((quarter - 1) * batch.length + lo) * stride
    return window(batch.quarters.sums, place, n * stride)


@jit
def add_second(layout, batch, l, lo, n, quarter):
    """Add the sums of an odd quarter to those of the quarter before it."""
    second = quarter_sums(layout, batch, l, lo, n, quarter)
    first = quarter_sums(layout, batch, l, lo, n, quarter - 1)
    add_scaled(second.dtype.type(1), second, first, len(first))


@jit
def gather_sums(layout, batch, l, lo, n, workers):
    """Add up Z_{l+1} from its quarters, of which ``workers`` threads had equal shares."""
    if batch.quarters.is_cut[l] != 0:
        if workers == QUARTERS:
            add_second(layout, batch, l, lo, n, 1)
            add_second(layout, batch, l, lo, n, 3)
        Z = quarter_sums(layout, batch, l, lo, n, 0)
        third = quarter_sums(layout, batch, l, lo, n, 2)
        add_scaled(Z.dtype.type(1), third, Z, len(Z))


@jit(inline="early")
def input_matrix(layout, batch, samples, stretch, l, lo, n):
    """A_l of samples lo to lo + n. For l = 0 it is X itself, or copied rows if X has an order."""
    width = width_at(layout, l)
    if l > 0:
        outputs = batch.a if len(batch.mask) == 0 else batch.masked
        A = rows_at(outputs, layout, batch.length, l, lo, n)
    elif len(samples.order) == 0:
        A, width = matrix_rows(samples.inputs.X, stretch.first + lo, n), samples.inputs.X.shape[1]
    else:
        A = window(batch.inputs, lo * width, n * width)
    return matrix(A, width)


@jit
def copy_inputs(layout, batch, samples, t, stretch, top, end):
    """Copy inputs ``top`` to ``end`` of sample t of dense X, unless rows come in X's order."""
    if len(samples.order) > 0:
        x = matrix_rows(samples.inputs.X, samples.order[stretch.first + t], 1)
        copied = window(batch.inputs, t * layout.units[1] + top, end - top)
        copy(window(x, top, end - top), copied, end - top)


@jit(inline="early")
def first_rows(state, batch, samples, stretch, lo, n, part):
    """Sum a part's non-zero inputs in the first layer, listing them first if X is dense."""
    layout, inputs = state.layout, samples.inputs
    layer, width = layer_at(state.params, layout, 0), layout.units[1]
    ahead = rows_ahead(batch.length, width, batch.a)
    for t in range(lo, lo + n):
        row = row_at(samples, stretch.first + t)
        if len(inputs.indptr) > 0:
            entries = csr_row(inputs, row)
        else:
            x = matrix_rows(inputs.X, row, 1)
            entries = list_inputs(batch.lists, x, t, lo, width, part)
            expect(samples, stretch.first + t + ahead, part.top, part.end)
        z = window(part.Z, (t - lo) * layer.stride, layer.stride)
        copy(part.base, z, layer.stride)
        add_rows(layer.W, entries, z, 0, layer.stride)


@jit(inline="early")
def layer_sums(state, batch, samples, stretch, l, lo, n, quarters):
    """Z_{l+1} = A_l W_{l+1} + b_{l+1}, of samples lo to lo + n.

    If the layer is cut into quarters, only quarters[0] to quarters[1] − 1. They are added in pairs:
    here if both of a pair are among these, otherwise in `gather_sums`.
    """
    layout = state.layout
    layer, is_cut = layer_at(state.params, layout, l), batch.quarters.is_cut[l] != 0
    start, stop = quarters
    for quarter in range(start, stop if is_cut else start + 1):
        top, end, base = 0, layer.n_in, layer.b
        if is_cut:
            top = quarter_start(layer.n_in, quarter, layer.b)
            end = quarter_start(layer.n_in, quarter + 1, layer.b)
            base = layer.b if quarter == 0 else batch.zeros
        Z = quarter_sums(layout, batch, l, lo, n, quarter)
        if l == 0 and (len(samples.inputs.indptr) > 0 or batch.is_listed != 0):
            part = Part(top, end, base, Z)
            first_rows(state, batch, samples, stretch, lo, n, part)
        else:
            if l == 0:
                ahead = rows_ahead(batch.length, layout.units[1], batch.a)
                for t in range(lo, lo + n):
                    copy_inputs(layout, batch, samples, t, stretch, top, end)
                    expect(samples, stretch.first + t + ahead, top, end)
            A = shifted(input_matrix(layout, batch, samples, stretch, l, lo, n), top)
            W, b = shifted(layer.W, top * layer.stride), matrix(base, 0)
            one = layer.b.dtype.type(1)
            multiply_add(W, A, b, matrix(Z, layer.stride), n, end - top, layer.stride, one)
        if quarter % 2 == 1 and quarter > start:
            add_second(layout, batch, l, lo, n, quarter)


@jit(inline="early")
def layer_outputs(state, batch, stretch, l, lo, n):
    """A_{l+1} = f(Z_{l+1}) of samples lo to lo + n; with dropout, also the masked outputs."""
    layout = state.layout
    Z = rows_at(batch.z, layout, batch.length, l + 1, lo, n)
    A = rows_at(batch.a, layout, batch.length, l + 1, lo, n)
    if layout.activations[l] == SOFTMAX:
        softmax_rows(Z, A, layout.sizes[l + 1], layout.strides[l], n)
    else:
        activate(layout.activations[l], Z, A, len(A))
    if len(batch.mask) > 0 and l + 1 < len(layout.strides):
        drop_units(layout, batch, l + 1, lo, n, stretch.number + lo)


@jit(inline=False)
def drop_units(layout, batch, l, lo, n, number):
    """Draw and apply layer l's masks of samples lo to lo + n; ``number`` is that of the first."""
    rate, key = batch.regularization.dropout[l - 1], batch.regularization.key
    for t in range(n):
        mask = rows_at(batch.mask, layout, batch.length, l, lo + t, 1)
        draw_mask(rate, key, number + t, l, mask)
    A = rows_at(batch.a, layout, batch.length, l, lo, n)
    M = rows_at(batch.mask, layout, batch.length, l, lo, n)
    times(A, M, rows_at(batch.masked, layout, batch.length, l, lo, n), len(A))


@jit
def group_length(state, share):
    """How many samples of a ``share`` go through all layers before the next ones do."""
    is_small = len(state.params) * state.params.itemsize <= CACHED_BYTES
    return min(_GROUP, share) if is_small else share


@jit
def forward_rows(state, batch, samples, stretch, lo, n, span):
    """Z_l = A_{l−1} W_l + b_l and A_l = f_l(Z_l) of samples lo to lo + n, up to the span's end.

    Where there is dropout, what goes up from a hidden layer is A_l ⊙ M_l.
    """
    for l in range(max(span.summed, 0), span.end):
        if l != span.summed:
            layer_sums(state, batch, samples, stretch, l, lo, n, (0, QUARTERS))
        workers = span.workers if l == span.summed else 1
        gather_sums(state.layout, batch, l, lo, n, workers)
        layer_outputs(state, batch, stretch, l, lo, n)


@jit
def output_rows(state, batch, samples, stretch, lo, n):
    """Write rows of Δ_L, times the sample's weight and ``stretch.share``, and weighted losses."""
    layout, losses = state.layout, window(batch.losses, lo, n)
    L = len(layout.strides)
    stride = layout.strides[L - 1]
    Z = rows_at(batch.z, layout, batch.length, L, lo, n)
    A = rows_at(batch.a, layout, batch.length, L, lo, n)
    D = rows_at(batch.delta, layout, batch.length, L, lo, n)
    Y = window(batch.y, lo * stride, n * stride)
    outputs = Outputs(Z, A, Y, D, layout.sizes[L], stride)
    if len(samples.labels) > 0 and samples.kept == 1:
        labels = window(batch.labels, lo, n)
        rows_by_labels(outputs, labels, losses, samples, stretch, lo)
    else:
        rows_by_targets(layout, outputs, losses, samples, stretch, lo)
    if len(samples.weights) > 0:
        for t in range(n):
            losses[t] *= sample_weight(samples, row_at(samples, stretch.first + lo + t))


@jit
def rows_by_labels(outputs, labels, losses, samples, stretch, lo):
    """`output_rows` of class numbers; losses are not weighted yet."""
    _, A, _, D, n_out, stride = outputs
    n, is_known = len(losses), True
    for t in range(n):
        row = row_at(samples, stretch.first + lo + t)
        label = label_at(samples, row, n_out)
        labels[t] = max(label, 0)
        scale = D.dtype.type(stretch.share * sample_weight(samples, row))
        label_delta(A, labels[t], scale, D, t * stride, stride)
        losses[t] = A[t * stride + labels[t]]
        is_known = is_known and label >= 0
    label_losses(outputs, stride, 1, labels, losses, samples.clip)
    if not is_known:
        losses[0] = np.nan


@jit
def rows_by_targets(layout, outputs, losses, samples, stretch, lo):
    """`output_rows` of target rows; losses are not weighted yet."""
    _, _, Y, D, n_out, stride = outputs
    n, output = len(losses), layout.activations[len(layout.activations) - 1]
    for t in range(n):
        row = row_at(samples, stretch.first + lo + t)
        load_target(samples, row, window(Y, t * stride, n_out))
    target_rows(layout.loss, output, outputs, losses, n, samples.clip)
    for t in range(n):
        weight = sample_weight(samples, row_at(samples, stretch.first + lo + t))
        δ = window(D, t * stride, stride)
        scale_row(D.dtype.type(stretch.share * weight), δ, n_out)


@jit(inline="early")
def layer_deltas(state, batch, l, lo, n, start, stop):
    """Columns start to stop of Δ_l = (Δ_{l+1} W_{l+1}ᵀ) ⊙ f'(Z_l), of samples lo to lo + n."""
    layout = state.layout
    n_out, stride, width = layout.sizes[l + 1], layout.strides[l], width_at(layout, l)
    D = matrix(rows_at(batch.delta, layout, batch.length, l + 1, lo, n), stride)
    below = rows_at(batch.delta, layout, batch.length, l, lo, n)
    if len(batch.transposed) > 0:
        W_T = matrix(window(batch.transposed, batch.places[l], stride * width), width)
    else:
        W_T = transposed(layer_at(state.params, layout, l).W)
    out, one = shifted(matrix(below, width), start), below.dtype.type(1)
    W_T, zero = shifted(W_T, start * W_T.along), matrix(batch.zeros, 0)
    multiply_add(W_T, D, zero, out, n, n_out, stop - start, one)
    # If all columns are taken, rows are contiguous and can be treated as a single one.
    rows, columns = (1, n * width) if stop - start == width else (n, stop - start)
    for t in range(rows):
        place = t * width + start
        δ = window(below, place, columns)
        if len(batch.mask) > 0:
            M = rows_at(batch.mask, layout, batch.length, l, lo, n)
            times(window(M, place, columns), δ, δ, columns)
        z = window(rows_at(batch.z, layout, batch.length, l, lo, n), place, columns)
        a = window(rows_at(batch.a, layout, batch.length, l, lo, n), place, columns)
        times_derivative(layout.activations[l - 1], z, a, δ, columns)
