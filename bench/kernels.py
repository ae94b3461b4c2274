"""The inner loops of kernels/linear.py beside the limits of one core, measured in the same run.

    python bench/kernels.py [--write]

What is measured, and what a share of the limit is, stands in docs/kernels.md. The functions exist
in compiled code only: each is called many times from a compiled loop.
"""

import argparse
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from machine import bandwidth, describe, peak_gflops, shortest_seconds
from report import conditions_of, figure, write_block

from fastbp.kernels import aligned_zeros
from fastbp.kernels._jit import jit
from fastbp.kernels.blocks import n_tiles, tile_columns
from fastbp.kernels.layout import padded
from fastbp.kernels.linear import add_dots, add_rows, fill, multiply_add, rank_one

SIZES = ((16, 8), (64, 32), (256, 128), (784, 128), (785, 129), (512, 512), (784, 512),
         (2048, 2048))  # fmt: skip
DTYPES = ("float32", "float64")
BLOCK = 32  # samples of a block product
LISTED = 0.5  # of the rows, where they are a list


class Arrays(NamedTuple):
    """Arguments of the drivers, the matrix with ``stride`` elements a row."""

    W: np.ndarray
    rows: np.ndarray | None
    x: np.ndarray
    X: np.ndarray
    delta: np.ndarray
    below: np.ndarray
    above: np.ndarray
    stride: int
    scale: np.floating
    one: np.floating


@jit(entry=True)
def add_rows_times(n, arrays):
    W, rows, x, _, _, _, out, stride, _, _ = arrays
    for _ in range(n):
        fill(out, out.dtype.type(0), 0, stride)
        add_rows(W, rows, x, len(x), out, 0, stride, stride)


@jit(entry=True)
def rank_one_times(n, arrays):
    W, rows, x, _, delta, _, _, stride, scale, one = arrays
    for _ in range(n):
        rank_one(W, rows, x, len(x), delta, stride, scale, one)


@jit(entry=True)
def dots_and_rank_one_times(n, arrays):
    W, rows, x, _, delta, out, _, stride, scale, one = arrays
    for _ in range(n):
        fill(out, out.dtype.type(0), 0, len(out))
        add_dots(W, rows, 0, len(x), delta, out, stride)
        rank_one(W, rows, x, len(x), delta, stride, scale, one)


@jit(entry=True)
def multiply_add_times(n, arrays):
    W, _, x, X, _, _, out, stride, _, one = arrays
    m = len(X) // len(x)
    for _ in range(n):
        for tile in range(n_tiles(stride, W)):
            start, stop = tile_columns(stride, W, tile)
            for r in range(m):
                fill(out, out.dtype.type(0), r * stride + start, r * stride + stop)
            multiply_add(
                W, stride, X, len(x), len(x), 1, m, out, stride, out, stride, start, stop, one
            )


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
    rows = None
    if listed:
        count = round(n_in * LISTED)
        rows = np.sort(generator.choice(n_in, count, replace=False)).astype(np.int32)
    count = n_in if rows is None else len(rows)

    def random(*shape):
        array = aligned_zeros(int(np.prod(shape)), dtype)
        array.reshape(shape)[..., :n_out] = generator.standard_normal((*shape[:-1], n_out))
        return array

    def flat(n):
        array = aligned_zeros(n, dtype)
        array[:] = generator.standard_normal(n)
        return array

    return Arrays(
        W=random(n_in, stride),
        rows=rows,
        x=flat(count),
        X=flat(BLOCK * count),
        delta=random(stride),
        below=aligned_zeros(padded(count, dtype), dtype),  # `fill` writes whole vectors
        above=aligned_zeros(BLOCK * stride, dtype),
        stride=stride,
        scale=dtype.type(1e-6),
        one=dtype.type(1),
    )


def figures(kernel, size, dtype, seconds):
    """`Figures` of a call that took so many seconds."""
    arrays = make_arrays(size, dtype, kernel.listed)
    n_bytes = len(arrays.x) * arrays.stride * arrays.W.itemsize
    flops = 2 * kernel.products * len(arrays.x) * size[1]
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
    parser.add_argument("--write", action="store_true", help="write the table to docs/kernels.md")
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
        write_block("docs/kernels.md", "bench/kernels.py", "\n".join(lines))


if __name__ == "__main__":
    main()
