"""Tiles of a matrix product, whose sums stay in registers, and room for what they all read.

A tile is a few rows by a few vectors. How many depends on the registers of the processor that code
is compiled for. Each element is one sum in the order of the rows of W, so no shape changes a bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from .instructions import INT64, VECTOR_BYTES, giving, instruction, keep_rolled
from .vectors import call_llvm, spread

# Most rows of W, and most vectors of each, that tiles read one after the other: 24 KiB, which stay
# in the nearest cache while all rows of X are multiplied by them.
STRIP_ROWS, STRIP_VECTORS = 128, 3
# Bytes of a transposed X that are turned at a time, for strips of so many rows.
TURNED_BYTES = 64 * 1024


class Rows(NamedTuple):
    """What a tile computes: ``out = scale (base + X W)`` for some rows."""

    n: int  # rows of W, at least 1
    left: int  # rows of X that are not done yet; those past the last one are the last one again
    scale: float


def _by_registers(many: int, few: int) -> Any:
    """A constant: ``many`` where a vector is one register, as with AVX-512, which has 32."""

    @instruction(giving(types.int64), lambda array: few)
    def constant(builder, array):
        return INT64(many if array.fits_register else few)

    return constant


# On AVX2 sums are in twelve of sixteen registers, each half a vector.
tile_rows = _by_registers(8, 6)
tile_vectors = _by_registers(STRIP_VECTORS, 1)


def _type_of_tile(like, W, X, base, out, ahead, rows):
    return types.none(like, W, X, base, out, ahead, rows)


def _interpreted(most: int) -> Callable[..., None]:
    def tile(like: Any, W: Any, X: Any, base: Any, out: Any, ahead: Any, rows: Rows) -> None:
        def place(M: Any, r: int) -> slice:
            return slice(M.place + r * M.across, M.place + r * M.across + len(like))

        for r in range(min(rows.left, most)):
            s = base.data[place(base, r)].copy()
            for k in range(rows.n):
                s = X.data[X.place + r * X.across + k * X.along] * W.data[place(W, k)] + s
            out.data[place(out, r)] = rows.scale * s

    return tile


def _row_places(builder: Any, M: Any, n: int, left: Any) -> list[Any]:
    """Where n rows of a matrix begin, of which ``left`` are there."""
    rows = (builder.select(builder.icmp_signed("<", INT64(r), left), INT64(r),
                           builder.sub(left, INT64(1))) for r in range(1, n))  # fmt: skip
    return [M.place, *(builder.add(M.place, builder.mul(r, M.across)) for r in rows)]


def _tile(many: int, few: int) -> Any:
    """Operation that computes a tile of so many rows, as `tile_rows` has them, as wide as ``like``.

    Rows of ``ahead`` are fetched into the second-level cache meanwhile, a line of each.
    """

    @instruction(_type_of_tile, _interpreted(few))
    def tile(builder, like, W, X, base, out, ahead, rows):
        unit = W.data.vector
        steps = [INT64(step) for step in range(0, like.type.count, unit.count)]
        n = many if W.data.fits_register else few
        x_places, base_places, out_places = (
            _row_places(builder, M, n, rows.left) for M in (X, base, out)
        )
        sums = [base.data.load(builder.add(b, c), unit) for b in base_places for c in steps]
        places = [INT64(0), W.place, INT64(0), ahead.place]
        before, loop = builder.block, builder.append_basic_block("tile")
        builder.branch(loop)
        builder.position_at_end(loop)
        phis = [builder.phi(value.type) for value in places + sums]
        k, w, x, p = phis[: len(places)]
        row = [W.data.load(builder.add(w, c), unit) for c in steps]
        ahead.data.prefetch(p)
        new_sums = []
        for r, place in enumerate(x_places):
            x_r = spread(builder, builder.load(X.data.at(builder.add(place, x))), unit.count)
            for c, w_c in enumerate(row):
                s = phis[len(places) + r * len(steps) + c]
                new_sums.append(call_llvm(builder, "fmuladd", x_r, w_c, s))
        by = (INT64(1), W.across, X.along, ahead.across)
        new_places = [builder.add(place, b) for place, b in zip((k, w, x, p), by, strict=True)]
        for phi, first, new in zip(phis, places + sums, new_places + new_sums, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(new, builder.block)
        end = builder.append_basic_block("tile.end")
        goes_on = builder.icmp_signed("<", new_places[0], rows.n)
        # LLVM would take two rows of W at a time for some processors, such as Zen 4, and keep what
        # has no register on the stack.
        keep_rolled(builder, builder.cbranch(goes_on, loop, end))
        builder.position_at_end(end)
        scale, values = spread(builder, rows.scale, unit.count), iter(new_sums)
        for place in out_places:
            for c in steps:
                out.data.store(builder.add(place, c), builder.fmul(scale, next(values)))

    return tile


many_rows, few_rows = _tile(8, 6), _tile(4, 4)


def room_of(n_bytes: int) -> Any:
    """Operation that gives so many bytes, in the stack of the function that is called."""

    @instruction(
        lambda array: types.Array(array.dtype, 1, "C")(array),
        lambda array: np.empty(n_bytes // array.itemsize, array.dtype),
    )
    def room(builder, array):
        n = INT64(n_bytes // array.itemsize)
        with builder.goto_entry_block():
            place = builder.alloca(array.data.type.pointee, n)
        place.align = VECTOR_BYTES
        return place, n

    return room


strip_room = room_of(STRIP_ROWS * STRIP_VECTORS * VECTOR_BYTES)
# The last rows are written as whole vectors, and rows of a tile that are not there have room too.
turned_room = room_of(TURNED_BYTES + STRIP_ROWS * VECTOR_BYTES)
