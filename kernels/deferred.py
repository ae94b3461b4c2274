"""Per-sample SGD in blocks of samples: the same steps, each layer by its own method.

Within a block, samples are counted t = 0, 1, …; γ = 1 − η·λ and c = γ^t. A layer's weights (here
input-major: row i is the fan-out of input i) are kept as

    W_t = c (W + Σ_{s<t} a_s d_sᵀ),    d_s = −η γ^−(s+1) δ_s,

which is W_{t+1} = γ W_t − η a_t δ_tᵀ unrolled. Methods differ in when a term joins W:

    sequential      at once, and so does γ: c = 1
    zero-skipping   at once, in the rows of inputs that are not zero alone; γ waits in c
    deferred        at the end of the block; until then every product carries the terms along:

        forward     z = c (Wᵀa + Σ_s d_s (a_s · a)) + b
        backward    W_t δ = c (W δ + Σ_s a_s (d_s · δ))

The first layer's inputs are known ahead: its Wᵀx and x_s · x are products over the whole block.
An input that is zero drops out of all of these, and an inactive ReLU unit has δ = 0, so both are
left out wherever a layer's inputs are sparse.
"""

from ._jit import jit
from .activations import activate, times_derivative
from .blocks import (
    backward_products,
    close_products,
    forward_products,
    open_products,
    read_block,
    scatter_inputs,
)
from .layout import DEFERRED, SEQUENTIAL
from .linear import add_dots, add_rows, add_scaled, copy, fill, nonzeros, rank_one, scaled_sum
from .memory import matrix_rows, window
from .samples import csr_row, expect, load_target, row_at, sample_weight
from .sequential import output_layer_delta, sample_loss


@jit(inline="early")
def forward_layer(params, layout, plan, work, block, inputs, row, t, c, l):
    """Z = c (Wᵀa + Σ_s d_s (a_s · a)) + b and f(z) of layer l, for the block's sample t."""
    n_in, n_out, stride = layout.sizes[l], layout.sizes[l + 1], layout.strides[l]
    room, width = layout.units[l + 1] - layout.units[l], block.width
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    z = window(work.z, layout.units[l + 1], stride)
    deferred, sparse = plan.methods[l] == DEFERRED, plan.sparse[l]
    sums = z
    g = window(work.dots, 0, width)
    if deferred and l == 0:
        sums = window(block.z, t * stride, stride)
        g = window(block.gram, t * width, width)
    else:
        rows = window(work.rows, layout.units[l], room)
        values = window(work.x, layout.units[l], room)
        x = window(work.a, layout.units[l], room)
        count = n_in
        if l == 0 and len(inputs.indptr) > 0:
            rows, values, count = csr_row(inputs, row)
        else:
            if l == 0:
                x = matrix_rows(inputs.X, row, 1)
            if sparse:
                count = nonzeros(x, 0, n_in, rows, values)
        work.counts[l] = count
        forward_products(W, rows, values, x, count, sparse, z, stride, plan.sample_threads, l)
        if deferred:
            A = window(block.a, layout.units[l] * width, room * width)
            fill(g, g.dtype.type(0), 0, width)
            if sparse:
                add_rows(A, rows, values, count, g, 0, width, width)
                for j in range(count):
                    A[rows[j] * width + t] = values[j]
            else:
                add_dots(A, None, 0, t, x, g, room)
                copy(x, window(A, t * room, room), room)
    if deferred:
        D = window(block.d, layout.units[l + 1] * width, stride * width)
        add_rows(D, None, g, t, sums, 0, stride, stride)
    scaled_sum(c, sums, window(W, n_in * stride, stride), z, stride)
    activate(layout.activations[l], z, window(work.a, layout.units[l + 1], stride), n_out)


@jit(inline="early")
def backward_layer(params, layout, plan, work, block, t, c, l):
    """δ_{l−1} = c (W δ + Σ_s a_s (d_s · δ)) ⊙ f'(z_{l−1}), from δ of layer l, not the first."""
    n_in, stride, width = layout.sizes[l], layout.strides[l], block.width
    room = layout.units[l + 1] - layout.units[l]
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    δ = window(work.delta, layout.units[l + 1], stride)
    below = window(work.delta, layout.units[l], room)
    rows = window(work.rows, layout.units[l], n_in)
    sparse, count = plan.sparse[l], work.counts[l]
    sums = window(work.sums, 0, room)
    fill(sums, sums.dtype.type(0), 0, room)
    backward_products(W, rows, count, sparse, δ, sums, stride, plan.sample_threads, l)
    if plan.methods[l] == DEFERRED and t > 0:
        A = window(block.a, layout.units[l] * width, room * width)
        D = window(block.d, layout.units[l + 1] * width, stride * width)
        h = window(work.dots, width, width)
        fill(h, h.dtype.type(0), 0, width)
        add_dots(D, None, 0, t, δ, h, stride)
        if sparse:
            add_dots(A, rows, 0, count, h, sums, width)
        else:
            add_rows(A, None, h, t, sums, 0, room, room)
    if sparse:
        # An inactive ReLU unit has no δ, and f' of the others is 1.
        fill(below, below.dtype.type(0), 0, room)
        for j in range(count):
            below[rows[j]] = c * sums[j]
    else:
        scaled_sum(c, sums, None, below, room)
        z = window(work.z, layout.units[l], room)
        a = window(work.a, layout.units[l], room)
        times_derivative(layout.activations[l - 1], z, a, below, n_in)


@jit(inline="early")
def update_layer(params, layout, plan, work, block, inputs, row, t, step, decay, next_c, l):
    """Add the sample's term to W, or leave it for the end of the block; and b ← b − η δ."""
    n_in, stride, width = layout.sizes[l], layout.strides[l], block.width
    room = layout.units[l + 1] - layout.units[l]
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    δ = window(work.delta, layout.units[l + 1], stride)
    one = W.dtype.type(1)
    if plan.methods[l] == DEFERRED:
        d = window(block.d, layout.units[l + 1] * width + t * stride, stride)
        scaled_sum(step / next_c, δ, None, d, stride)
    elif plan.sparse[l]:
        count = work.counts[l]
        rows = window(work.rows, layout.units[l], n_in)
        values = window(work.x, layout.units[l], n_in)
        if l == 0 and len(inputs.indptr) > 0:
            rows, values, count = csr_row(inputs, row)
        rank_one(W, rows, values, count, δ, stride, step / next_c, one)
    else:
        x = window(work.a, layout.units[l], room)
        if l == 0:
            x = matrix_rows(inputs.X, row, 1)
        rank_one(W, None, x, n_in, δ, stride, step, decay)
    add_scaled(step, δ, window(W, n_in * stride, stride), stride)


@jit(inline="early")
def open_block(params, layout, plan, block, inputs, order, first, n):
    """Prepare for the pass's samples first to first + n."""
    T = params.dtype.type
    width = block.width
    for l in range(1, len(layout.strides)):
        if plan.methods[l] == DEFERRED and plan.sparse[l]:
            fill(block.a, T(0), layout.units[l] * width, layout.units[l + 1] * width)
    if plan.methods[0] == DEFERRED:
        n_0, stride, room = layout.sizes[0], layout.strides[0], layout.units[1]
        sparse, threads = plan.sparse[0], plan.block_threads
        W = window(params, 0, layout.blocks[1])
        A = window(block.a, 0, room * width)
        rows, x, counts = block.rows, block.x, block.counts
        read_block(inputs.X, order, first, n, sparse, A, rows, x, counts, n_0, room, threads)
        if sparse:
            scatter_inputs(A, rows, x, counts, n, room, width)
        open_products(
            W, A, block.z, block.gram, rows, x, counts, sparse, n, n_0, stride, room, width,
            threads,
        )  # fmt: skip


@jit(inline="early")
def close_block(params, layout, plan, block, n, c):
    """Bring W up to date with n samples: the deferred terms, and the factor c."""
    width = block.width
    for l in range(len(layout.strides)):
        n_in, stride = layout.sizes[l], layout.strides[l]
        room = layout.units[l + 1] - layout.units[l]
        W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
        if plan.methods[l] == DEFERRED:
            A = window(block.a, layout.units[l] * width, room * width)
            D = window(block.d, layout.units[l + 1] * width, stride * width)
            close_products(
                W, A, D, plan.sparse[l], n, c, n_in, stride, room, width, plan.block_threads, l
            )
        elif plan.methods[l] != SEQUENTIAL and c != 1:
            scaled_sum(c, W, None, W, n_in * stride)


@jit(entry=True)
def train_deferred(
    params, layout, plan, work, block, samples, order, start, stop, learning_rate, weight_decay,
    loss_sum,
):  # fmt: skip
    """`train_sequential` with each layer by the method that ``plan`` gives.

    Parameters and result are its own, and:

    plan : Plan
        A layer whose method is zero-skipping is sparse, and one that is sequential is not. A
        first layer of CSR rows is zero-skipping.
    block : Block
        Modified in place. Blocks are counted from ``start``: where a pass is cut into several
        calls, all but the last are of whole blocks.
    """
    T = params.dtype.type
    γ = T(1) - learning_rate * weight_decay
    L = len(layout.strides)
    for first in range(start, stop, block.length):
        n = min(block.length, stop - first)
        open_block(params, layout, plan, block, samples.inputs, order, first, n)
        c = T(1)
        for t in range(n):
            row = row_at(order, first + t)
            expect(samples.inputs, order, first + t + block.ahead, 0, layout.sizes[0])
            weight = sample_weight(samples, row)
            step = -learning_rate * T(weight)
            next_c = c * γ
            label = load_target(samples, row, work.y)
            for l in range(L):
                c_l = c if plan.methods[l] != SEQUENTIAL else T(1)
                forward_layer(params, layout, plan, work, block, samples.inputs, row, t, c_l, l)
            loss_sum += weight * sample_loss(layout, work, samples, label)
            output_layer_delta(layout, work, label)
            for l in range(L - 1, -1, -1):
                if l > 0:
                    c_l = c if plan.methods[l] != SEQUENTIAL else T(1)
                    backward_layer(params, layout, plan, work, block, t, c_l, l)
                update_layer(
                    params, layout, plan, work, block, samples.inputs, row, t, step, γ, next_c, l
                )
            c = next_c
        close_block(params, layout, plan, block, n, c)
    return loss_sum
