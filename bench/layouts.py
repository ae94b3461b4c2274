"""Study behind the data layout: both candidates on the four reference networks, per-sample SGD.

    python bench/layouts.py [--images FOLDER_OF_MNIST] [--write]

Input-major stores the fan-out of one input contiguously, output-major the fan-in of one output.
Both get padded rows, the bias inside the block, and the same explicit vectors: what is the forward
product of one is the backward product of the other. The third column skips the rows of inputs
that are exactly zero, which only input-major storage makes possible: each is a row of its own.
Random zeros are the hard case, for the processor cannot foresee them; those of images it can.

Every variant is verified to reach the same loss before it is timed; the variants alternate, and
medians are printed.
"""

import argparse
import itertools
import math
import statistics
import time
from typing import NamedTuple

import numpy as np
from report import write_block

from fastbp import load_dataset
from fastbp.kernels import aligned_zeros
from fastbp.kernels._jit import jit
from fastbp.kernels.layout import padded
from fastbp.kernels.linear import add_dots, add_rows, fill, rank_one
from fastbp.kernels.memory import window
from fastbp.kernels.vectors import broadcast, fma, lanes, load, store, zeros

INPUT_MAJOR, OUTPUT_MAJOR, SKIPPING = range(3)
VARIANTS = {
    "input-major": INPUT_MAJOR,
    "output-major": OUTPUT_MAJOR,
    "input-major, skipping": SKIPPING,
}
NETS = {
    (8, 16, 4): (20_000, (1.0,)),
    (64, 32, 10): (20_000, (1.0,)),
    (784, 128, 10): (2_000, (1.0, 0.19)),
    (784, 512, 512, 10): (300, (1.0, 0.19)),
}


@jit
def add_rows_skipping(W, a, z, n_rows, stride):
    """`add_rows` over the non-zero inputs only, a row at a time."""
    v = lanes(W)
    zero = zeros(W, 1)
    for i in range(n_rows):
        if a[i] != 0:
            x = broadcast(zero, a[i])
            r = i * stride
            k = 0
            while k < stride:
                store(z, k, fma(x, load(zero, W, r + k), load(zero, z, k)))
                k += v


@jit
def rank_one_skipping(W, a, delta, n_rows, stride, scale):
    """`rank_one` without decay over the non-zero inputs only."""
    v = lanes(W)
    zero = zeros(W, 1)
    for i in range(n_rows):
        if a[i] != 0:
            x = broadcast(zero, scale * a[i])
            r = i * stride
            k = 0
            while k < stride:
                store(W, r + k, fma(x, load(zero, delta, k), load(zero, W, r + k)))
                k += v


@jit(entry=True)
def train(variant, params, sizes, strides, blocks, units, X, y, order, eta, a, z, d):
    """One pass of SGD on a ReLU network with softmax and cross-entropy; returns the loss's sum."""
    T = params.dtype.type
    L = len(strides)
    loss = 0.0
    for t in range(len(order)):
        row = order[t]
        for i in range(sizes[0]):
            a[i] = X[row, i]
        for l in range(L):
            n_in, n_out, stride = sizes[l], sizes[l + 1], strides[l]
            W = window(params, blocks[l], blocks[l + 1] - blocks[l])
            below = window(a, units[l], units[l + 1] - units[l])
            s = window(z, units[l + 1], units[l + 2] - units[l + 1])
            above = window(a, units[l + 1], units[l + 2] - units[l + 1])
            fill(s, T(0), 0, len(s))
            if variant == INPUT_MAJOR:
                add_rows(W, None, below, n_in + 1, s, 0, stride, stride)
            elif variant == OUTPUT_MAJOR:
                add_dots(W, None, 0, n_out, below, s, stride)
            else:
                add_rows_skipping(W, below, s, n_in + 1, stride)
            for k in range(n_out):
                above[k] = max(s[k], T(0))
        s = window(z, units[L], sizes[L])
        delta = window(d, units[L], sizes[L])
        m = s[0]
        for k in range(len(s)):
            m = max(m, s[k])
        total = T(0)
        for k in range(len(s)):
            delta[k] = T(math.exp(s[k] - m))
            total += delta[k]
        for k in range(len(s)):
            delta[k] /= total
        loss -= math.log(float(delta[y[row]]))
        delta[y[row]] -= T(1)
        for l in range(L - 1, 0, -1):
            n_in, n_out, stride = sizes[l], sizes[l + 1], strides[l]
            W = window(params, blocks[l], blocks[l + 1] - blocks[l])
            above = window(d, units[l + 1], units[l + 2] - units[l + 1])
            delta = window(d, units[l], units[l + 1] - units[l])
            fill(delta, T(0), 0, len(delta))
            if variant == OUTPUT_MAJOR:
                add_rows(W, None, above, n_out, delta, 0, stride, stride)
            else:
                add_dots(W, None, 0, n_in, above, delta, stride)
            s = window(z, units[l], units[l + 1] - units[l])
            for i in range(n_in):
                delta[i] = delta[i] if s[i] > T(0) else T(0)
        for l in range(L):
            n_in, n_out, stride = sizes[l], sizes[l + 1], strides[l]
            W = window(params, blocks[l], blocks[l + 1] - blocks[l])
            below = window(a, units[l], units[l + 1] - units[l])
            above = window(d, units[l + 1], units[l + 2] - units[l + 1])
            if variant == INPUT_MAJOR:
                rank_one(W, None, below, n_in + 1, above, stride, -eta, T(1))
            elif variant == OUTPUT_MAJOR:
                rank_one(W, None, above, n_out, below, stride, -eta, T(1))
            else:
                rank_one_skipping(W, below, above, n_in + 1, stride, -eta)
    return loss


class Case(NamedTuple):
    """Arguments of `train`."""

    variant: int
    params: np.ndarray
    sizes: np.ndarray
    strides: np.ndarray
    blocks: np.ndarray
    units: np.ndarray
    X: np.ndarray
    y: np.ndarray
    order: np.ndarray
    eta: np.floating
    a: np.ndarray
    z: np.ndarray
    d: np.ndarray


def make_case(variant, sizes, dtype, n, density, images=None):
    """Same weights and data for every variant; ``images`` replaces the random inputs."""
    dtype = np.dtype(dtype)

    def pad(k):
        return padded(k, dtype)

    generator = np.random.default_rng(0)
    pairs = list(itertools.pairwise(sizes))
    if variant == OUTPUT_MAJOR:  # fan-in and bias in a row
        shapes = [(n_out, pad(n_in + 1)) for n_in, n_out in pairs]
    else:
        shapes = [(n_in + 1, pad(n_out)) for n_in, n_out in pairs]
    blocks = np.cumsum([0, *(rows * stride for rows, stride in shapes)])
    params = aligned_zeros(int(blocks[-1]), dtype)
    for (n_in, n_out), (rows, stride), start in zip(pairs, shapes, blocks[:-1], strict=True):
        W = generator.standard_normal((n_out, n_in)) * math.sqrt(2 / n_in)
        block = params[start : start + rows * stride].reshape(rows, stride)
        if variant == OUTPUT_MAJOR:
            block[:n_out, :n_in] = W
        else:
            block[:n_in, :n_out] = W.T
    units = np.cumsum([0, *(pad(size + 1) for size in sizes)])
    X = generator.random((n, sizes[0])) * (generator.random((n, sizes[0])) < density)
    X = X if images is None else images[:n]
    a, z, d = (aligned_zeros(int(units[-1]), dtype) for _ in range(3))
    a[units[:-1] + sizes] = 1  # the bias's input
    return Case(
        variant,
        params,
        np.array(sizes),
        np.array([stride for _, stride in shapes]),
        blocks,
        units,
        X.astype(dtype),
        generator.integers(0, sizes[-1], n),
        generator.permutation(n),
        dtype.type(0.01),
        a,
        z,
        d,
    )


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Compare the candidate layouts.")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--images", metavar="FOLDER", help="IDX files for one more row per net")
    parser.add_argument("--write", action="store_true", help="write the table to docs/layout.md")
    options = parser.parse_args()
    images = load_dataset(options.images).X if options.images else None
    lines = [
        "| net | dtype | non-zero inputs | " + " | ".join(VARIANTS) + " |",
        "|---|---|---|" + "---:|" * len(VARIANTS),
    ]
    for sizes, (n, densities) in NETS.items():
        for dtype in ("float32", "float64"):
            inputs = [(f"{density:.0%}", density, None) for density in densities]
            if images is not None and sizes[0] == images.shape[1]:
                inputs.append((f"{np.mean(images[:n] != 0):.0%}, images", 1.0, images))
            for label, density, pixels in inputs:
                cases = [make_case(v, sizes, dtype, n, density, pixels) for v in VARIANTS.values()]
                losses = [train(*case) / n for case in cases]
                np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
                times = [[] for _ in cases]
                for _ in range(options.rounds):
                    for case, record in zip(cases, times, strict=True):
                        began = time.perf_counter()
                        train(*case)
                        record.append((time.perf_counter() - began) / n * 1e6)
                cells = " | ".join(f"{statistics.median(record):.3g}" for record in times)
                name = "-".join(map(str, sizes))
                lines.append(f"| {name} | {dtype} | {label} | {cells} |")
                print(lines[-1], flush=True)
    lines += ["", "µs per sample, one core, batch size 1, ReLU, cross-entropy."]
    if options.write:
        write_block("docs/layout.md", "bench/layouts.py", "\n".join(lines))


if __name__ == "__main__":
    main()
