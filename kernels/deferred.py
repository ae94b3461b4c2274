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

from typing import NamedTuple

from ._jit import jit
from .activations import activate, times_derivative
from .bits import flush_subnormals, restore_subnormals
from .layout import DEFERRED, SEQUENTIAL
from .linear import (
    Entries,
    Term,
    add_dots,
    add_rows,
    add_scaled,
    all_entries,
    copy,
    fill,
    nonzeros,
    rank_one,
    scaled,
    scaled_sum,
)
from .memory import matrix_rows, no_places, window
from .packing import view
from .parallel import team_size
from .products import (
    backward_products,
    close_products,
    forward_products,
    n_tiles,
    open_products,
    pending_factors,
    pending_inputs,
    read_block,
    scatter_inputs,
)
from .samples import csr_row, expect, load_target, row_at, rows_ahead, sample_weight
from .scratch import Block, require_block
from .sequential import LossSum, add_loss, complete_sum, last_delta
from .state import State
from .views import layer_at, units_at


class Position(NamedTuple):
    """The sample of a block that is at hand, and its factors."""

    row: int  # of the sample, in X
    t: int  # its number in the block
    c: float  # γ^t
    next_c: float  # γ^(t+1)
    step: float  # −η times the sample's weight


@jit
def list_inputs(state, block, inputs, row, l):
    """List the non-zero inputs of layer l, if it skips zeros; CSR rows are lists already."""
    if block.plan.sparse[l] != 0 and not (l == 0 and len(inputs.indptr) > 0):
        x = matrix_rows(inputs.X, row, 1) if l == 0 else units_at(state.a, state.layout, l)
        places, values = units_at(block.places, state.layout, l), units_at(block.x, state.layout, l)
        block.counts[l] = nonzeros(x, 0, state.layout.sizes[l], places, values)


@jit
def layer_inputs(state, block, inputs, row, l):
    """Inputs of layer l for the sample at hand, in the form that `list_inputs` has prepared."""
    layout = state.layout
    if l == 0 and len(inputs.indptr) > 0:
        return csr_row(inputs, row)
    if block.plan.sparse[l] != 0:
        places, values = units_at(block.places, layout, l), units_at(block.x, layout, l)
        return Entries(places, values, block.counts[l])
    x = matrix_rows(inputs.X, row, 1) if l == 0 else units_at(state.a, layout, l)
    return all_entries(x, layout.sizes[l])


@jit
def factor(block, at, l):
    """c of a layer: γ^t, or 1 if it is sequential, where γ is applied at every step."""
    return at.c if block.plan.methods[l] != SEQUENTIAL else type(at.c)(1)


@jit(inline="early")
def forward_layer(state, block, inputs, at, l, team):
    """z = c (Wᵀa + Σ_s d_s (a_s · a)) + b and f(z) of layer l, for the block's sample."""
    layout, width = state.layout, block.width
    layer, z = layer_at(state.params, layout, l), units_at(state.z, layout, l + 1)
    deferred = block.plan.methods[l] == DEFERRED
    sums, g = z, window(block.dots, 0, width)
    if deferred and l == 0:
        sums = window(block.z, at.t * layer.stride, layer.stride)
        g = window(block.gram, at.t * width, width)
    else:
        list_inputs(state, block, inputs, at.row, l)
        entries = layer_inputs(state, block, inputs, at.row, l)
        shares = block.plan.shares_sample[l]
        tiles = n_tiles(layer.stride, z) if team_size(team, shares) > 1 else 1
        forward_products((layer.W, entries, z), tiles, team, shares)
        if deferred:
            keep_inputs(layout, block, entries, at.t, l, g)
    if deferred:
        D = pending_factors(layout, block, l)
        add_rows(D, all_entries(g, at.t), sums, 0, layer.stride)
    scaled_sum(factor(block, at, l), sums, layer.b, z, layer.stride)
    activate(layout.activations[l], z, units_at(state.a, layout, l + 1), layer.n_out)


@jit
def keep_inputs(layout, block, entries, t, l, g):
    """Write dot products of deferred inputs with earlier ones to g, then keep them as a_t."""
    A = pending_inputs(layout, block, l)
    fill(g, g.dtype.type(0), 0, block.width)
    if block.plan.sparse[l] != 0:
        add_rows(A, entries, g, 0, block.width)
        for j in range(entries.n):
            A.data[entries.places[j] * block.width + t] = entries.x[j]
    else:
        add_dots(A, no_places(), 0, t, entries.x, g)
        copy(entries.x, window(A.data, t * A.across, A.across), A.across)


@jit(inline="early")
def backward_layer(state, block, inputs, at, l, team):
    """δ_{l−1} = c (W δ + Σ_s a_s (d_s · δ)) ⊙ f'(z_{l−1}), from δ of layer l, not the first."""
    layout, sparse = state.layout, block.plan.sparse[l] != 0
    layer = layer_at(state.params, layout, l)
    δ, below = units_at(state.delta, layout, l + 1), units_at(state.delta, layout, l)
    entries = layer_inputs(state, block, inputs, at.row, l)
    T = δ.dtype.type
    sums = window(block.sums, 0, len(below))
    fill(sums, T(0), 0, len(below))
    shares, task = block.plan.shares_sample[l], (layer.W, entries.places, entries.n, δ, sums)
    backward_products(task, team_size(team, shares), team, shares)
    if block.plan.methods[l] == DEFERRED and at.t > 0:
        A, D = pending_inputs(layout, block, l), pending_factors(layout, block, l)
        h = window(block.dots, block.width, block.width)
        fill(h, T(0), 0, block.width)
        add_dots(D, no_places(), 0, at.t, δ, h)
        if sparse:
            add_dots(A, entries.places, 0, entries.n, h, sums)
        else:
            add_rows(A, all_entries(h, at.t), sums, 0, A.across)
    c = factor(block, at, l)
    if sparse:
        # An inactive ReLU unit has no δ, and f' of the others is 1.
        fill(below, T(0), 0, len(below))
        for j in range(entries.n):
            below[entries.places[j]] = c * sums[j]
    else:
        scaled(c, sums, below, len(below))
        z, a = units_at(state.z, layout, l), units_at(state.a, layout, l)
        times_derivative(layout.activations[l - 1], z, a, below, layer.n_in)


@jit(inline="early")
def update_layer(state, block, inputs, at, decay, l):
    """Add the sample's term to W, or leave it for the end of the block; and b ← b − η δ."""
    layout = state.layout
    layer, δ = layer_at(state.params, layout, l), units_at(state.delta, layout, l + 1)
    if block.plan.methods[l] == DEFERRED:
        D = pending_factors(layout, block, l)
        d = window(D.data, at.t * layer.stride, layer.stride)
        scaled(at.step / at.next_c, δ, d, layer.stride)
    else:
        scale, keep = at.step, decay
        if block.plan.methods[l] != SEQUENTIAL:
            scale, keep = at.step / at.next_c, δ.dtype.type(1)
        entries = layer_inputs(state, block, inputs, at.row, l)
        rank_one(layer.W, entries, Term(δ, scale, keep))
    add_scaled(at.step, δ, layer.b, layer.stride)


@jit(inline="early")
def open_block(state, block, samples, first, n, team):
    """Prepare for the pass's samples first to first + n."""
    layout = state.layout
    for l in range(1, len(layout.strides)):
        if block.plan.methods[l] == DEFERRED and block.plan.sparse[l] != 0:
            A = pending_inputs(layout, block, l).data
            fill(A, A.dtype.type(0), 0, len(A))
    if block.plan.methods[0] == DEFERRED:
        shares = block.plan.shares_block[0]
        read_block((state, block, samples, first), n, team, shares)
        if block.plan.sparse[0] != 0:
            scatter_inputs(layout, block, n)
        open_products((state, block, n), n_tiles(layout.strides[0], block.z), team, shares)


@jit(inline="early")
def close_block(state, block, n, c, team):
    """Bring W up to date with n samples: the deferred terms, and the factor c."""
    for l in range(len(state.layout.strides)):
        layer = layer_at(state.params, state.layout, l)
        if block.plan.methods[l] == DEFERRED:
            tiles = n_tiles(layer.stride, layer.b)
            close_products((state, block, n, c, l), tiles, team, block.plan.shares_block[l])
        elif block.plan.methods[l] != SEQUENTIAL and c != 1:
            W = layer.W.data
            scaled(c, W, W, len(W))


@jit(entry=True)
def train_deferred(packed, packed_block, samples, start, stop, loss_sum, team):
    """`train_sequential` with each layer by the method that the block gives.

    Parameters and result are those of `train_sequential`, and:

    packed_block : (n,) floating
        A `Block`, modified in place. Blocks are counted from ``start``: where a pass is cut into
        several calls, all but the last are of whole blocks.
    team : (k,) int64
        `parallel.ALONE`, or a team, whose size changes no bit.

    Raises
    ------
    ValueError
        If the block is for another network or other samples.
    """
    state, block, inputs = view(packed, State), view(packed_block, Block), samples.inputs
    require_block(block, state.layout, samples, stop)
    T = packed.dtype.type
    η = T(state.rates[0])
    γ = T(1) - η * T(state.rates[1])
    L = len(state.layout.strides)
    ahead = rows_ahead(block.length, state.layout.units[1], packed)
    mode, total = flush_subnormals(), LossSum(loss_sum, 0)
    for first in range(start, stop, block.length):
        n = min(block.length, stop - first)
        open_block(state, block, samples, first, n, team)
        c = T(1)
        for t in range(n):
            row = row_at(samples, first + t)
            expect(samples, first + t + ahead, 0, state.layout.sizes[0])
            weight = sample_weight(samples, row)
            at = Position(row, t, c, c * γ, -η * T(weight))
            label = load_target(samples, row, state.y)
            for l in range(L):
                forward_layer(state, block, inputs, at, l, team)
            last_delta(state, label)
            total = add_loss(state, samples, first + t, label, total)
            for l in range(L - 1, -1, -1):
                if l > 0:
                    backward_layer(state, block, inputs, at, l, team)
                update_layer(state, block, inputs, at, γ, l)
            c = at.next_c
        close_block(state, block, n, c, team)
    loss_sum = complete_sum(state, samples, stop, total).value
    restore_subnormals(mode)
    return loss_sum
