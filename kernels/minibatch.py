"""Training by mini-batches: one step for the mean gradient of a batch of samples.

Once the samples have been through the layers and back (`rows`), with A_l and Δ_l a row per sample:

    gradient   G_l = A_{l−1}ᵀ Δ_l            ∂loss/∂b_l = Σ_t δ_{l,t}

All products are of small matrices, and `multiply_add` takes them. A row of Δ_L is multiplied by
its sample's share of the mean, so G is the gradient of the batch's mean loss. Plain SGD needs no
G: its step is a factor of the sample's share too, and the product is added to W itself. Other
rules get G in panels of a few rows, which are still in the nearest cache when the step is taken,
and so is what is transposed for the next batch's way back.

Samples are what threads share on the way through the layers, or the inputs of a layer that just
fits a core's cache; and panels in the step. Every element is computed by one thread, in one order.

A batch longer than the scratch is worked off in stretches: their gradients are summed up, and the
step comes with the last. The gradient alone, with no step at all, is that sum.
"""

import numpy as np
from numba import prange

from ._jit import jit
from .blocks import add_marked
from .layout import LONGEST_BLOCK, PARTS, Samples
from .linear import add_row_sum, fill, multiply_add, rank_one, scaled_sum
from .memory import window
from .norms import clip_by_steps, clip_factor
from .rows import (
    clear_marks,
    forward_rows,
    input_rows,
    layer_deltas,
    layer_rows,
    layer_sums,
    output_rows,
    part_of,
    part_start,
    workers_of,
)
from .samples import batch_weight, csr_row, n_samples, row_at
from .updates import (
    NO_STEP,
    adjust,
    adjusts,
    begin_step,
    clipped_norm,
    limit_norms,
    penalty,
    shared_penalties,
    take_step,
)
from .vectors import constant, lanes, transpose

# What is done with a stretch's gradient: W takes plain SGD's step, the batch's sum grows, or it is
# complete and the rule takes its step.
PLAIN_STEP, SUM_UP, STEP = range(3)
# Smaller factors have lost digits, or are 0.
_LEAST_FACTOR = constant(1e-30, 1e-290)


@jit
def through_layers(
    params, layout, batch, regularization, samples, order, first, m, number, share, summed, end,
    floor, part, parts,
):  # fmt: skip
    """Forward, and from the last layer back: a thread's samples, in groups worked on at once.

    Layers from ``summed`` to ``end``, as `forward_rows` has them, and back to ``floor``.
    """
    group = (m + 8 * parts - 1) // (8 * parts) * 8
    lo = part * group
    n = min(group, m - lo)
    if n > 0:
        forward_rows(
            params, layout, batch, samples.inputs, order, first, lo, n, regularization,
            number + lo, summed, end, workers_of(parts),
        )  # fmt: skip
        if end == len(layout.strides):
            output_rows(layout, batch, samples, order, first, lo, n, share)
            for l in range(len(layout.strides) - 1, floor, -1):
                layer_deltas(layout, batch, l, lo, n, 0, layout.units[l + 1] - layout.units[l])


@jit
def transpose_rows(W, stride, out, room, top, rows):
    """Out[k·room + i] = W[i·stride + k] for rows ``top``, at a whole vector, to ``top + rows``."""
    v = lanes(W)
    i = top
    while i + v <= top + rows:
        for k in range(0, stride, v):
            transpose(W, i * stride + k, stride, out, k * room + i, room)
        i += v
    while i < top + rows:
        for k in range(stride):
            out[k * room + i] = W[i * stride + k]
        i += 1


@jit(inline="early")
def add_products(
    target, layout, batch, inputs, order, first, m, l, top, rows, c
):  # fmt: skip
    """Target ← c (target + A_{l−1}ᵀ Δ_l), rows ``top`` to ``top + rows`` of layer l's weights."""
    stride, room = layout.strides[l], layout.units[l + 1] - layout.units[l]
    D = layer_rows(batch.delta, layout, batch, l + 1, 0, m)
    one = target.dtype.type(1)
    if l == 0 and len(inputs.indptr) > 0:  # of all rows, then
        for t in range(m):
            numbers, values, count = csr_row(inputs, row_at(order, first + t))
            δ = window(D, t * stride, stride)
            rank_one(target, numbers, values, count, δ, stride, one, one)
        if c != 1:
            scaled_sum(c, target, None, target, rows * stride)
    elif l == 0 and batch.is_listed:
        for s in range(0, m, LONGEST_BLOCK):
            n = min(LONGEST_BLOCK, m - s)
            place = top * batch.width + s
            marked = window(batch.marked, place, len(batch.marked) - place)
            factor = c if s + n == m else one
            d = window(D, s * stride, n * stride)
            add_marked(target, marked, d, rows, n, factor, 0, stride, stride, batch.width)
    else:
        if l == 0:
            A, across = input_rows(batch, inputs, order, first, 0, m, room)
        else:
            A, across = layer_rows(batch.fed, layout, batch, l, 0, m), room
        A = window(A, top, len(A) - top)
        multiply_add(D, stride, A, m, 1, across, rows, target, stride, target, stride, 0, stride, c)


@jit
def take_tile(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, l, tile,
    slot,
):  # fmt: skip
    """What is to be done with the gradient of the samples at hand, for one panel of layer l."""
    n_in, stride, block = layout.sizes[l], layout.strides[l], layout.blocks[l]
    top = (tile - batch.tiles[l]) * batch.heights[l]
    rows = min(batch.heights[l], n_in - top)
    T = params.dtype.type
    # The panel of weights, and with a layer's first its biases.
    for is_weight in (True, False):
        if not is_weight and top > 0:
            break
        place, n = block + top * stride, rows * stride
        if not is_weight:
            place, n = block + n_in * stride, stride
        if action == PLAIN_STEP:
            g = window(params, place, n)
        elif batch.is_whole:  # what earlier stretches of the batch have summed up
            g = window(batch.gradient, place, n)
        else:  # a panel that only this thread has
            g = window(batch.gradient, slot * batch.panel, n)
            fill(g, T(0), 0, n)
        factor = T(1) if action == STEP else c
        if m > 0 and is_weight:
            add_products(g, layout, batch, inputs, order, first, m, l, top, rows, factor)
        elif m > 0:
            D = layer_rows(batch.delta, layout, batch, l + 1, 0, m)
            add_row_sum(D, stride, m, factor, g)
        if action == STEP:
            w = window(params, place, n)
            if adjusts(regularization, c):
                adjust(regularization, c, w, g, n, is_weight)
            take_step(rule, step, w, g, place, n, is_weight)
        elif action == SUM_UP and regularization.clip_norm < np.inf:
            part = tile if is_weight else batch.tiles[len(layout.strides)] + l
            batch.norms[part] = clipped_norm(regularization, g, n)
    if l > 0 and action != SUM_UP:
        transpose_tile(params, layout, batch, l, top, rows)


@jit(inline="early")
def transpose_tile(params, layout, batch, l, top, rows):
    """Layer l's part of ``transposed``, in columns ``top`` to ``top + rows``."""
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    start = batch.places[l]
    out = window(batch.transposed, start, batch.places[l + 1] - start)
    room = layout.units[l + 1] - layout.units[l]
    transpose_rows(W, layout.strides[l], out, room, top, rows)


@jit(inline=False, parallel=True)
def _through_layers_on_threads(
    params, layout, batch, regularization, inputs, labels, targets, weights, kept, shared, clip,
    order, first, m, number, share, summed, end, floor, threads,
):  # fmt: skip
    for part in prange(threads):
        # A loop takes no tuples of tuples.
        samples = Samples(inputs, labels, targets, weights, kept, shared, clip)
        through_layers(
            params, layout, batch, regularization, samples, order, first, m, number, share, summed,
            end, floor, part, threads,
        )  # fmt: skip


@jit(inline=False, parallel=True)
def _layer_sums_on_threads(params, layout, batch, inputs, order, first, m, l, threads):
    each = PARTS // workers_of(threads)
    for slot in prange(workers_of(threads)):
        start, stop = slot * each, (slot + 1) * each
        layer_sums(params, layout, batch, inputs, order, first, l, 0, m, start, stop)


@jit(inline=False, parallel=True)
def _layer_deltas_on_threads(layout, batch, m, l, threads):
    each = PARTS // workers_of(threads)
    for slot in prange(workers_of(threads)):
        n_in, like = layout.sizes[l], batch.delta
        start = part_start(n_in, slot * each, like)
        stop = part_start(n_in, (slot + 1) * each, like)
        if start < stop == n_in:  # with what pads it
            stop = layout.units[l + 1] - layout.units[l]
        if stop > start:
            layer_deltas(layout, batch, l, 0, m, start, stop)


@jit(inline=False, parallel=True)
def _take_tiles_on_threads(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, threads
):  # fmt: skip
    for slot in prange(threads):
        for l in range(len(layout.strides)):
            for tile in range(batch.tiles[l], batch.tiles[l + 1]):
                middle = (batch.loads[tile] + batch.loads[tile + 1]) // 2
                owner = middle * threads // batch.loads[len(batch.loads) - 1]
                if batch.in_parts[l]:  # as they were dealt out for the sums
                    top = (tile - batch.tiles[l]) * batch.heights[l]
                    owner = part_of(layout.sizes[l], top, params) * workers_of(threads) // PARTS
                if owner == slot:
                    take_tile(
                        params, layout, batch, rule, step, regularization, inputs, order, first, m,
                        action, c, l, tile, slot,
                    )  # fmt: skip


@jit
def _take_tiles_alone(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c
):  # fmt: skip
    for l in range(len(layout.strides)):
        for tile in range(batch.tiles[l], batch.tiles[l + 1]):
            take_tile(
                params, layout, batch, rule, step, regularization, inputs, order, first, m, action,
                c, l, tile, 0,
            )  # fmt: skip


# Where ``threads`` is None, the parallel loops are not even compiled.


@jit(inline="early")
def differentiate_rows(
    params, layout, batch, regularization, samples, order, first, m, number, share, threads
):  # fmt: skip
    """Forward and back, of m samples: by samples, but by parts in layers that have them."""
    L = len(layout.strides)
    if threads is not None and threads > 1:
        inputs, labels, targets, weights, kept, shared, clip = samples
        floor = L - 1
        while floor > 0 and not batch.in_parts[floor]:
            floor -= 1
        summed = -1
        for l in range(L + 1):
            if l == L or batch.in_parts[l]:
                if l > 0:
                    _through_layers_on_threads(
                        params, layout, batch, regularization, inputs, labels, targets, weights,
                        kept, shared, clip, order, first, m, number, share, summed, l, floor,
                        threads,
                    )  # fmt: skip
                if l < L:
                    _layer_sums_on_threads(
                        params, layout, batch, inputs, order, first, m, l, threads
                    )
                summed = l
        for l in range(floor, 0, -1):
            _layer_deltas_on_threads(layout, batch, m, l, threads)
    else:
        through_layers(
            params, layout, batch, regularization, samples, order, first, m, number, share, -1, L,
            0, 0, 1,
        )  # fmt: skip


@jit(inline="early")
def take_tiles(
    params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c, threads
):  # fmt: skip
    """`take_tile` of every panel."""
    if threads is not None and threads > 1:
        _take_tiles_on_threads(
            params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c,
            threads,
        )  # fmt: skip
    else:
        _take_tiles_alone(
            params, layout, batch, rule, step, regularization, inputs, order, first, m, action, c
        )


@jit
def clip(regularization, batch):
    """Factor that limits the norm of the batch's gradient; 1 where it has been applied already."""
    T = batch.gradient.dtype.type
    most = float(regularization.clip_norm)
    factor = clip_factor(batch.norms, most)
    if factor < _LEAST_FACTOR(T(1)):
        clip_by_steps(batch.gradient, float(regularization.clip_value), batch.norms, most)
        factor = 1.0
    return T(factor)


@jit(entry=True)
def train_minibatch(
    params, layout, batch, rule, regularization, samples, order, start, stop, batch_size,
    learning_rate, loss_sum, threads,
):  # fmt: skip
    """A step for each batch of ``batch_size`` samples, or their gradient.

    Parameters and result are those of `train_sequential`, and:

    batch : Batch
        Modified in place, made by `make_batch` for this ``batch_size`` and kind of samples.
    rule : Rule
        Its moments and counts are modified in place. Of `NO_STEP`, the mean gradient of a batch is
        added to batch.gradient instead.
    regularization : Regularization
        With the weight decay.
    order : (n,) int64
        Row numbers of the pass's samples; empty for all rows as they come.
    start, stop : int
        Batches are counted from the start of the pass, and the last may be smaller. Where a pass is
        cut into several calls, each but the last ends with a batch, or at a multiple of
        batch.length where that is less than ``batch_size``.
    threads : int or None
        They change no bit. None compiles no parallel loops.
    """
    T = params.dtype.type
    inputs = samples.inputs
    total = n_samples(order, inputs)
    penalties, by_batch = regularization, regularization.by_batch
    for l in range(1, len(layout.strides)):
        transpose_tile(params, layout, batch, l, 0, layout.sizes[l])
    first = start
    while first < stop:
        begin = first // batch_size * batch_size
        end = min(begin + batch_size, total)
        m = min(batch.length - first % batch.length, end - first)
        steps = rule.code != NO_STEP and first + m == end
        clips = steps and regularization.clip_norm < np.inf
        share = 1.0 / (end - begin)
        loss_scale = 1.0
        if by_batch:
            weight = batch_weight(samples, order, begin, end)
            share = 1.0 / weight if weight > 0 else 0.0
            loss_scale = share * (end - begin)
            regularization = shared_penalties(penalties, share, T)
            if steps and (regularization.weight_decay > 0 or regularization.l1 > 0):
                batch.penalty[0] += (end - begin) * penalty(regularization, params, layout)
        weight_decay = regularization.weight_decay
        γ = T(1) - learning_rate * weight_decay
        step = begin_step(rule, learning_rate, weight_decay, T, steps)
        # Plain SGD: W ← γ (W − (η/γ) G) and b ← b − γ (η/γ) Σ_t δ_t.
        action, c = SUM_UP, T(1)
        if batch.is_plain:
            share *= -float(learning_rate) / float(γ)
            action, c = PLAIN_STEP, γ
        elif steps and not clips:
            action = STEP
        if batch.is_listed:  # what a longer stretch has left behind
            clear_marks(layout, batch, m)
        differentiate_rows(
            params, layout, batch, regularization, samples, order, first, m,
            int(rule.counts[2]), share, threads,
        )  # fmt: skip
        for turn in range(2 if clips else 1):
            if turn == 1:  # all of the gradient is there, and its norm known
                action, c = STEP, clip(regularization, batch)
            take_tiles(
                params, layout, batch, rule, step, regularization, inputs, order, first,
                m if turn == 0 else 0, action, c, threads,
            )  # fmt: skip
        if steps and regularization.max_norm < np.inf:
            for l in range(len(layout.strides)):
                W = window(params, layout.blocks[l], layout.sizes[l] * layout.strides[l])
                if limit_norms(W, layout.strides[l], regularization.max_norm) and l > 0:
                    transpose_tile(params, layout, batch, l, 0, layout.sizes[l])
        for t in range(m):
            loss_sum += loss_scale * batch.losses[t]
        if steps and batch.is_whole:
            fill(batch.gradient, T(0), 0, len(batch.gradient))
        rule.counts[2] += m
        first += m
    return loss_sum
