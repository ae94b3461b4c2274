"""Work that can be shared among threads: tasks of independent parts, and the one parallel loop.

Each part of a task computes its own elements, in one order, so the number of threads changes no
bit of a result; and threads take the same parts each time, so that a tile of weights stays in the
cache of one core.
"""

from numba import prange

from ._jit import jit
from .blocks import backward_tile, close_tile, forward_tile, open_tile, read_inputs
from .simd import window

READ, OPEN, CLOSE, FORWARD, BACKWARD, NOTHING = range(6)


@jit(inline=False)
def run_part(
    task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts, part
):  # fmt: skip
    """One part of a task of layer l: a sample to READ, or a tile of the layer's columns."""
    n_in, stride = layout.sizes[l], layout.strides[l]
    W = window(params, layout.blocks[l], layout.blocks[l + 1] - layout.blocks[l])
    if task == READ:
        read_inputs(layout, plan, block, inputs, order[first + part], part)
    elif task == OPEN:
        open_tile(W, layout, plan, block, n, part, parts)
    elif task == CLOSE:
        close_tile(W, layout, plan, block, l, n, c, part)
    elif task == FORWARD:
        rows = window(work.rows, layout.units[l], n_in)
        values = window(work.x, layout.units[l], n_in)
        x = window(work.a, layout.units[l], n_in)
        z = window(work.z, layout.units[l + 1], stride)
        forward_tile(W, rows, values, x, work.counts[l], plan.sparse[l], z, stride, part)
    elif task == BACKWARD:
        rows = window(work.rows, layout.units[l], n_in)
        room = layout.units[l + 1] - layout.units[l]
        out = window(work.partial, part * room, room)
        δ = window(work.delta, layout.units[l + 1], stride)
        backward_tile(W, rows, work.counts[l], plan.sparse[l], δ, out, stride, part)


@jit(inline=False, parallel=True)
def _run_on_threads(
    task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts
):  # fmt: skip
    for part in prange(parts):
        run_part(
            task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts, part
        )


@jit(inline=False)
def run(
    task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts, threads
):  # fmt: skip
    """All parts of a task."""
    if threads > 1 and parts > 1:
        _run_on_threads(
            task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts
        )
    else:
        for part in range(parts):
            run_part(
                task, params, layout, plan, work, block, inputs, order, first, n, c, l, parts, part
            )


@jit(entry=True)
def launch(params, layout, plan, work, block, inputs, order, parts, repeats):
    """Enter and leave the parallel loop with nothing to do, so that its cost can be measured."""
    c = params.dtype.type(1)
    for _ in range(repeats):
        run(NOTHING, params, layout, plan, work, block, inputs, order, 0, 0, c, 0, parts, parts)
