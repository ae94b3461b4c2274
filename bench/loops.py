"""The inner loops of kernels/linear.py beside the limits of one core, measured in the same run.

    python bench/loops.py [--write]

What is measured, and what a share of the limit is, stands in docs/loops.md. The functions exist
in compiled code only: each is called many times from a compiled loop.
"""

import argparse
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from report import write_block

from fastbp.bench.machine import bandwidth, describe, peak_gflops, shortest_seconds
from fastbp.bench.report import conditions_of, figure
from fastbp.kernels import aligned_zeros
from fastbp.kernels._jit import jit
from fastbp.kernels.layout import padded
from fastbp.kernels.linear import Entries, Term, add_dots, add_rows, fill, multiply_add, rank_one
from fastbp.kernels.products import n_tiles, tile_columns
from fastbp.kernels.views import Matrix, shifted

SIZES = ((16, 8), (64, 32), (256, 128), (784, 128), (785, 129), (512, 512), (784, 512),
         (2048, 2048))  # fmt: skip
DTYPES = ("float32", "float64")
BLOCK = 32  # samples of a block product
LISTED = 0.5  # of the rows, where they are a list


class Arrays(NamedTuple):
    """Arguments of the drivers."""

    W: Matrix
    entries: Entries
    X: Matrix
    term: Term
    below: np.ndarray
    above: Matrix


@jit(entry=True)
def add_rows_times(n, arrays):
    W, out = arrays.W, arrays.above.data
    for _ in range(n):
        fill(out, out.dtype.type(0), 0, W.across)
        add_rows(W, arrays.entries, out, 0, W.across)


@jit(entry=True)
def rank_one_times(n, arrays):
    for _ in range(n):
        rank_one(arrays.W, arrays.entries, arrays.term)


@jit(entry=True)
def dots_and_rank_one_times(n, arrays):
    W, entries, term, out = arrays.W, arrays.entries, arrays.term, arrays.below
    for _ in range(n):
        fill(out, out.dtype.type(0), 0, len(out))
        add_dots(W, entries.places, 0, entries.n, term.delta, out)
        rank_one(W, entries, term)


@jit(entry=True)
def multiply_add_times(n, arrays):
    W, X, Z, count = arrays.W, arrays.X, arrays.above, arrays.entries.n
    zero, one = Z.data.dtype.type(0), Z.data.dtype.type(1)
    tiles = n_tiles(W.across, Z.data)
    for _ in range(n):
        for tile in range(tiles):
            start, stop = tile_columns(W.across, Z.data, tile, tiles)
            for r in range(BLOCK):
                fill(Z.data, zero, r * Z.across + start, r * Z.across + stop)
            out = shifted(Z, start)
            multiply_add(shifted(W, start), X, out, out, BLOCK, count, stop - start, one)


class Kernel(NamedTuple):
    """What one call of a driver's loop does to the matrix."""

    times: Callable[[int, Arrays], None]
    products: int
    """Multiply-adds for each element."""
    reads: int = 0
    """Passes that read every element."""
    updates: int = 0
    """Passes that read and write every element."""
    listed: bool = False


SINGLE = {
    "add_rows": Kernel(add_rows_times, 1, reads=1),
    "add_dots, rank_one": Kernel(dots_and_rank_one_times, 2, reads=1, updates=1),
    "rank_one": Kernel(rank_one_times, 1, updates=1),
}
KERNELS = (
    SINGLE
    | {f"{name}, list": kernel._replace(listed=True) for name, kernel in SINGLE.items()}
    | {"multiply_add": Kernel(multiply_add_times, BLOCK, reads=1)}
)


class Figures(NamedTuple):
    """Rates, and the share of what the machine was measured to reach."""

    gflops: float
    gigabytes: float
    """Per second: the rows' bytes with their padding, once for each pass that reads or writes."""
    share: float


@functools.lru_cache(maxsize=1)
def make_arrays(size, dtype, listed):
    """Random numbers, small enough that no number of calls overflows."""
    n_in, n_out = size
    dtype = np.dtype(dtype)
    stride = padded(n_out, dtype)
    generator = np.random.default_rng(0)
    places = np.empty(0, np.int32)
    if listed:
        places = np.sort(generator.choice(n_in, round(n_in * LISTED), replace=False))
    count = len(places) or n_in

    def rows(n, length, width):
        """Matrix of n rows, of which whatever pads them is zero."""
        array = aligned_zeros(n * width, dtype)
        array.reshape(n, width)[:, :length] = generator.standard_normal((n, length))
        return Matrix(array, 0, width, 1)

    return Arrays(
        W=rows(n_in, n_out, stride),
        entries=Entries(places.astype(np.int32), rows(1, count, count).data, count),
        X=rows(BLOCK, count, count),
        term=Term(rows(1, n_out, stride).data, dtype.type(1e-6), dtype.type(1)),
        below=aligned_zeros(padded(count, dtype), dtype),  # `fill` writes whole vectors
        above=rows(BLOCK, 0, stride),
    )


def figures(kernel, size, dtype, seconds):
    """`Figures` of a call that took so many seconds."""
    arrays = make_arrays(size, dtype, kernel.listed)
    count = arrays.entries.n
    n_bytes = count * arrays.W.across * arrays.W.data.itemsize
    flops = 2 * kernel.products * count * size[1]
    if kernel.times is multiply_add_times:
        limit = flops / peak_gflops(dtype) / 1e9
    else:
        reached = bandwidth(n_bytes, dtype)
        limit = n_bytes * (kernel.reads / reached.read + 2 * kernel.updates / reached.update) / 1e9
    passes = kernel.reads + 2 * kernel.updates
    return Figures(flops / seconds / 1e9, passes * n_bytes / seconds / 1e9, limit / seconds)


def rows_of_table():
    """Cells of the table, a row at a time."""
    for size in SIZES:
        for dtype in DTYPES:
            for name, kernel in KERNELS.items():
                arrays = make_arrays(size, dtype, kernel.listed)
                seconds = shortest_seconds(lambda n, k=kernel, a=arrays: k.times(n, a))
                found = figures(kernel, size, dtype, seconds)
                yield [name, "×".join(map(str, size)), dtype, figure(found.gflops),
                       figure(found.gigabytes), f"{found.share:.0%}"]  # fmt: skip


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Measure the inner loops.")
    parser.add_argument("--write", action="store_true", help="write the table to docs/loops.md")
    options = parser.parse_args()
    lines = ["| kernel | n_in × n_out | dtype | GFLOP/s | GB/s | of the limit |",
             "|---|---|---|---:|---:|---:|"]  # fmt: skip
    print(*lines, sep="\n")
    for cells in rows_of_table():
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    peaks = ", ".join(f"{peak_gflops(dtype):.0f} GFLOP/s {dtype}" for dtype in DTYPES)
    lines += ["", f"{conditions_of(describe())} Peak of one core: {peaks}."]
    print(*lines[-2:], sep="\n")
    if options.write:
        write_block("docs/loops.md", "bench/loops.py", "\n".join(lines))


if __name__ == "__main__":
    main()
