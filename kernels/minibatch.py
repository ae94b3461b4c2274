"""Training by mini-batches: one step for the mean gradient of a batch of samples.

Once the samples have been through the layers and back (`rows`), with A_l and Δ_l a row per sample:

    gradient   G_l = A_{l−1}ᵀ Δ_l            ∂loss/∂b_l = Σ_t δ_{l,t}

All products are of small matrices and are computed by `multiply_add`. Each row of Δ_L is multiplied
by its sample's share of the mean, so G is the gradient of the batch's mean loss. Plain SGD needs no
separate G: the share also has the factor −η/γ, and the product is added to W directly. The other
rules compute G in panels of a few rows, which are still in the nearest cache when the step is taken
and when the new weights are transposed for the next batch's backward pass.

On the way through the layers threads share the samples or, in small batches, the inputs of a large
layer, so that each core reads only its own weights; in the step they share the panels. One thread
computes each element, in one order.

A batch longer than the scratch is processed in stretches: their gradients are added up, and the
step is taken with the last one. If only the gradient is wanted, it is that sum.
"""

from typing import NamedTuple

import numpy as np

from ._jit import jit
from .bits import flush_subnormals, restore_subnormals
from .layers import (
    Span,
    Stretch,
    forward_rows,
    group_length,
    input_matrix,
    layer_deltas,
    layer_sums,
    output_rows,
    quarter_length,
    quarter_start,
    quarter_workers,
)
from .linear import Term, add_row_sum, fill, multiply_add, rank_one, scaled
from .losses import add_losses
from .memory import window
from .narrow import add_unit_products, add_unit_totals, through_group
from .norms import clip_by_steps, clip_factor
from .packing import Reals, recall, reference, view
from .parallel import in_parts, team_size
from .products import add_marked
from .samples import batch_weight, csr_row, n_samples, row_at
from .scratch import LONGEST_BLOCK, QUARTERS, Batch, most_parts, require_batch, require_sums
from .state import State
from .updates import (
    Penalties,
    Step,
    adjust,
    adjusts,
    begin_step,
    clipped_norm,
    limit_norms,
    penalty,
    stored,
    take_step,
)
from .vectors import constant, lanes, transpose
from .views import layer_at, matrix, rows_at, shifted, transposed, width_at

# What to do with a stretch's gradient: add plain SGD's step to W; add it to the batch's sum; or,
# with the last stretch, take the optimizer's step.
PLAIN_STEP, SUM_UP, STEP = range(3)
# Rows of a group are a multiple of this, as products take them.
_ROWS = 8
# A clip factor below this has lost digits, or is 0, in the parameters' dtype.
_LEAST_FACTOR = constant(1e-30, 1e-290)


class Todo(NamedTuple):
    """What is done with a stretch's gradient, the same for all panels."""

    action: int  # PLAIN_STEP, SUM_UP or STEP
    c: float  # factor of the gradient; in a plain step, of W plus its term (this is γ)
    gradient: Reals  # where it is summed up: for all parameters, or in one panel per thread
    penalties: Penalties
    step: Step


@jit(inline=False)
def through_layers(task, part, parts):
    """Take a thread's samples forward through ``span`` and, from the output, back."""
    state, batch, samples_at, stretch, span = task
    samples = recall(samples_at)
    share = (stretch.m + _ROWS * parts - 1) // (_ROWS * parts) * _ROWS
    stop, group = min((part + 1) * share, stretch.m), group_length(state, share)
    for lo in range(part * share, stop, group):
        n = min(group, stop - lo)
        forward_rows(state, batch, samples, stretch, lo, n, span)
        if span.end == len(state.layout.strides):
            output_rows(state, batch, samples, stretch, lo, n)
            for l in range(span.end - 1, span.floor, -1):
                layer_deltas(state, batch, l, lo, n, 0, width_at(state.layout, l))


@jit(inline=False)
def share_sums(task, worker, workers):
    """Compute a worker's quarters of a layer's sums."""
    state, batch, samples_at, stretch, l = task
    samples = recall(samples_at)
    each = QUARTERS // workers
    quarters = worker * each, (worker + 1) * each
    layer_sums(state, batch, samples, stretch, l, 0, stretch.m, quarters)


@jit(inline=False)
def share_deltas(task, worker, workers):
    """Compute a worker's columns of Δ_l: the inputs of the quarters that it has summed."""
    state, batch, m, l = task
    each, n_in = QUARTERS // workers, state.layout.sizes[l]
    start = quarter_start(n_in, worker * each, batch.delta)
    stop = quarter_start(n_in, (worker + 1) * each, batch.delta)
    if start < stop == n_in:  # the last columns, and the padding
        stop = width_at(state.layout, l)
    if stop > start:
        layer_deltas(state, batch, l, 0, m, start, stop)


_through_layers = in_parts(through_layers)
_through_groups = in_parts(through_group)
_share_sums = in_parts(share_sums)
_share_deltas = in_parts(share_deltas)


@jit(inline="early")
def differentiate_rows(state, batch, samples_at, stretch, team):
    """Forward and back: threads share the samples, or the quarters of layers cut into quarters."""
    L = len(state.layout.strides)
    if batch.group > 0:
        groups = (stretch.m + batch.group - 1) // batch.group
        _through_groups((state, batch, samples_at, stretch), groups, team, 1)
        return
    summed, workers, floor, threads = -1, 1, 0, team_size(team, 1)
    if threads > 1:
        workers = quarter_workers(threads)
        for l in range(L):
            if batch.quarters.is_cut[l] != 0:
                if l > 0:
                    span = Span(summed, workers, l, 0)
                    _through_layers((state, batch, samples_at, stretch, span), threads, team, 1)
                _share_sums((state, batch, samples_at, stretch, l), workers, team, 1)
                summed = floor = l
    span = Span(summed, workers, L, floor)
    _through_layers((state, batch, samples_at, stretch, span), threads, team, 1)
    for l in range(floor, 0, -1):
        _share_deltas((state, batch, stretch.m, l), workers, team, 1)


@jit
def transpose_rows(state, batch, l, top, rows):
    """Copy rows ``top`` (at a whole vector) to ``top + rows`` of W to its transposed copy."""
    if len(batch.transposed) == 0:
        return
    layer, width = layer_at(state.params, state.layout, l), width_at(state.layout, l)
    W, stride = layer.W.data, layer.stride
    out = window(batch.transposed, batch.places[l], stride * width)
    v = lanes(W)
    i = top
    while i + v <= top + rows:
        for k in range(0, stride, v):
            transpose(W, i * stride + k, stride, out, k * width + i, width)
        i += v
    while i < top + rows:
        for k in range(stride):
            out[k * width + i] = W[i * stride + k]
        i += 1


@jit(inline="early")
def add_products(state, batch, samples, stretch, l, target, top, c):
    """target ← c (target + A_lᵀ Δ_{l+1}), for rows of W_{l+1} from ``top`` on; l counts from 0."""
    layout, m, inputs = state.layout, stretch.m, samples.inputs
    stride, one = layout.strides[l], target.dtype.type(1)
    if batch.group > 0:
        add_unit_products(layout, batch, m, l, target, top, c)
        return
    D = matrix(rows_at(batch.delta, layout, batch.length, l + 1, 0, m), stride)
    W, rows = matrix(target, stride), len(target) // stride
    if l == 0 and len(inputs.indptr) > 0:  # a layer of CSR rows is a single panel
        for t in range(m):
            entries = csr_row(inputs, row_at(samples, stretch.first + t))
            rank_one(W, entries, Term(window(D.data, t * stride, stride), one, one))
        if c != 1:
            scaled(c, target, target, len(target))
    elif l == 0 and batch.is_listed != 0:
        marked = shifted(matrix(batch.lists.marked, batch.lists.width), top * batch.lists.width)
        for s in range(0, m, LONGEST_BLOCK):
            n = min(LONGEST_BLOCK, m - s)
            factor = c if s + n == m else one
            add_marked(W, shifted(marked, s), shifted(D, s * stride), rows, n, stride, factor)
        # For the next batch, while the marks are near: sample by sample they are far apart.
        stop = marked.place + rows * marked.across
        fill(marked.data, marked.data.dtype.type(0), marked.place, stop)
    else:
        A = transposed(shifted(input_matrix(layout, batch, samples, stretch, l, 0, m), top))
        multiply_add(D, A, W, W, rows, m, stride, c)


@jit(inline="early")
def gradient_at(state, batch, todo, place, n, slot):
    """Where to add up the gradient of n parameters from ``place``; for a plain step, W itself."""
    if todo.action == PLAIN_STEP:
        return window(state.params, place, n)
    if batch.panels.is_whole != 0:  # what earlier stretches of the batch have summed up
        return window(todo.gradient, place, n)
    g = window(todo.gradient, slot * batch.panels.size, n)  # a panel that only this thread has
    fill(g, g.dtype.type(0), 0, n)
    return g


@jit
def finish(state, batch, todo, g, place, is_weight, part):
    """Take the step with the gradient g of a panel or of biases, or note its norm for clipping."""
    clip_value = batch.regularization.clip_value
    if todo.action == STEP:
        if adjusts(todo.penalties, clip_value, todo.c):
            w = window(state.params, place, len(g))
            adjust(todo.penalties, clip_value, todo.c, w, g, len(g), is_weight)
        take_step(state, todo.step, stored(g, is_weight), place)
    elif todo.action == SUM_UP and batch.regularization.clip_norm < np.inf:
        batch.panels.norms[part] = clipped_norm(clip_value, g, len(g))


@jit
def take_panel(task, l, panel, slot):
    """Add up the stretch's gradient for one panel of layer l, and do with it what ``todo`` says."""
    state, batch, samples_at, stretch, todo = task
    layout, panels, T = state.layout, batch.panels, state.params.dtype.type
    n_in, stride, block = layout.sizes[l], layout.strides[l], layout.blocks[l]
    top = (panel - panels.firsts[l]) * panels.heights[l]
    rows = min(panels.heights[l], n_in - top)
    factor = T(1) if todo.action == STEP else todo.c
    place = block + top * stride
    g = gradient_at(state, batch, todo, place, rows * stride, slot)
    if stretch.m > 0:
        add_products(state, batch, recall(samples_at), stretch, l, g, top, factor)
    finish(state, batch, todo, g, place, True, panel)
    if top == 0:  # the biases go with the layer's first panel
        place = block + n_in * stride
        g = gradient_at(state, batch, todo, place, stride, slot)
        if stretch.m > 0 and batch.group > 0:
            add_unit_totals(layout, batch, stretch.m, l, factor, g)
        elif stretch.m > 0:
            D = rows_at(batch.delta, layout, batch.length, l + 1, 0, stretch.m)
            add_row_sum(matrix(D, stride), stretch.m, factor, g)
        finish(state, batch, todo, g, place, False, panels.firsts[len(layout.strides)] + l)
    if l > 0 and todo.action != SUM_UP:
        transpose_rows(state, batch, l, top, rows)


@jit(inline=False)
def take_panels(task, slot, threads):
    """`take_panel` for each panel that belongs to this thread."""
    state, batch = task[0], task[1]
    layout, panels = state.layout, batch.panels
    for l in range(len(layout.strides)):
        for panel in range(panels.firsts[l], panels.firsts[l + 1]):
            middle = (panels.loads[panel] + panels.loads[panel + 1]) // 2
            owner = middle * threads // panels.loads[len(panels.loads) - 1]
            # The thread that has summed a quarter takes the panels of which it has half, too.
            if batch.quarters.is_cut[l] != 0 and threads > 1:
                half = (panel - panels.firsts[l]) * panels.heights[l] + panels.heights[l] // 2
                quarter = half // quarter_length(layout.sizes[l], state.params)
                quarter = min(quarter, QUARTERS - 1)
                owner = quarter * quarter_workers(threads) // QUARTERS
            if owner == slot:
                take_panel(task, l, panel, slot)


_take_panels = in_parts(take_panels)


@jit
def clip(batch, gradient):
    """Factor that limits the gradient's norm; if too small for the dtype, apply it and return 1."""
    T, regularization = gradient.dtype.type, batch.regularization
    most = float(T(regularization.clip_norm))
    factor = clip_factor(batch.panels.norms, most)
    if factor < _LEAST_FACTOR(T(1)):
        clip_value = float(T(regularization.clip_value))
        clip_by_steps(gradient, clip_value, batch.panels.norms, most)
        factor = 1.0
    return T(factor)


@jit
def limit_units(state, batch):
    """Scale the weights of every unit back to the largest norm that they may have."""
    most = state.params.dtype.type(batch.regularization.max_norm)
    for l in range(len(state.layout.strides)):
        layer = layer_at(state.params, state.layout, l)
        if limit_norms(layer.W.data, layer.stride, most) and l > 0:
            transpose_rows(state, batch, l, 0, layer.n_in)


@jit
def batch_shares(batch, samples, begin, end):
    """Factors of the gradients of a batch's samples, and of their losses in the sum of losses."""
    if batch.regularization.by_batch == 0:
        return 1.0 / (end - begin), 1.0
    weight = batch_weight(samples, begin, end)
    share = 1.0 / weight if weight > 0 else 0.0
    return share, share * (end - begin)


@jit
def batch_penalties(state, batch, share):
    """Factors λ and λ₁ of a batch's penalties, multiplied by ``share`` if ``by_batch`` is set."""
    T, regularization = state.params.dtype.type, batch.regularization
    λ, λ1 = T(regularization.weight_decay), T(regularization.l1)
    if regularization.by_batch != 0:
        λ, λ1 = T(float(λ) * share), T(float(λ1) * share)
    return Penalties(λ, λ1)


@jit(strict=True)
def add_penalty(batch, m, penalties, state):
    """Add m times the penalty of the weights to the sum over samples."""
    batch.penalty[0] += m * penalty(penalties, state.params, state.layout)


@jit
def close_batch(state, batch):
    """After a step: limit norms, and clear the gradient for the next batch."""
    if batch.regularization.max_norm < np.inf:
        limit_units(state, batch)
    if batch.panels.is_whole != 0:
        gradient = batch.panels.gradient
        fill(gradient, gradient.dtype.type(0), 0, len(gradient))


@jit(inline="early")
def learn(state, batch, samples_at, stretch, todo, team):
    """Take a stretch's samples forward and back, then do with the gradient what ``todo`` says."""
    differentiate_rows(state, batch, samples_at, stretch, team)
    clips = todo.action == STEP and batch.regularization.clip_norm < np.inf
    for turn in range(2 if clips else 1):
        now, rest = todo, stretch
        if clips and turn == 0:  # sum up the whole gradient first: clipping needs its norm
            now = Todo(SUM_UP, todo.c, todo.gradient, todo.penalties, todo.step)
        elif clips:
            c = clip(batch, todo.gradient)
            now = Todo(STEP, c, todo.gradient, todo.penalties, todo.step)
            # No samples: the gradient is complete.
            rest = Stretch(stretch.first, 0, stretch.number, stretch.share)
        parts = most_parts(batch, team_size(team, 1))
        _take_panels((state, batch, samples_at, rest, now), parts, team, 1)


@jit(entry=True)
def train_minibatch(packed, packed_batch, gradient, samples, start, stop, loss_sum, team):
    """A step for each batch of samples, or their gradient.

    Parameters and result are those of `train_sequential`, and:

    packed_batch : (n,) floating
        A `Batch`, modified in place, made for this layout and this kind of samples.
    gradient : (layout.blocks[-1],) floating, or (0,)
        If it is not empty, the mean gradient of the samples is added to it and no step is taken.
    start, stop : int
        Batches are counted from the start of the pass, and the last may be smaller. If a pass is
        cut into several calls, each call but the last must end at the end of a batch or, if batches
        are longer than ``length``, at a multiple of ``length``.
    team : (k,) int64
        `parallel.ALONE`, or a team, whose size changes no bit. At most as many threads take a step
        as the batch was made for.

    Raises
    ------
    ValueError
        If the batch is for another network or other samples, or has no room for the gradient.
    """
    state, batch = view(packed, State), view(packed_batch, Batch)
    T, layout = packed.dtype.type, state.layout
    require_batch(batch, layout, samples, stop)
    require_sums(batch, state, gradient)
    is_wanted = len(gradient) > 0
    mode, η = flush_subnormals(), T(state.rates[0])
    for l in range(1, len(layout.strides)):
        transpose_rows(state, batch, l, 0, layout.sizes[l])
    samples_at = reference(samples)  # some hundred words that parts of the work need not be given
    first = start
    while first < stop:
        begin = first // batch.size * batch.size
        end = min(begin + batch.size, n_samples(samples))
        # Stretches are cut where calls may be, counted from the start of the pass.
        m = min(batch.length - first % batch.length, end - first)
        steps = not is_wanted and first + m == end
        share, loss_scale = batch_shares(batch, samples, begin, end)
        penalties = batch_penalties(state, batch, share)
        if steps and batch.regularization.by_batch != 0:
            add_penalty(batch, end - begin, penalties, state)
        step = begin_step(state, penalties.weight_decay, steps)
        # Plain SGD: W ← γ (W − (η/γ) G) and b ← b − γ (η/γ) Σ_t δ_t.
        action, c = STEP if steps else SUM_UP, T(1)
        if batch.is_plain != 0 and not is_wanted:
            γ = T(1) - η * penalties.weight_decay
            share *= -float(η) / float(γ)
            action, c = PLAIN_STEP, γ
        stretch = Stretch(first, m, int(state.counts[2]), share)
        todo = Todo(action, c, gradient if is_wanted else batch.panels.gradient, penalties, step)
        learn(state, batch, samples_at, stretch, todo, team)
        if steps:
            close_batch(state, batch)
        loss_sum = add_losses(loss_sum, loss_scale, batch.losses, m)
        if not is_wanted:
            state.counts[2] += m
        first += m
    restore_subnormals(mode)
    return loss_sum
