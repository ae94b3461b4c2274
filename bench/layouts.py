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
from fastbp.kernels.linear import Term, add_dots, add_rows, all_entries, fill, rank_one
from fastbp.kernels.memory import no_places, window
from fastbp.kernels.vectors import broadcast, fma, lanes, load, store, zeros
from fastbp.kernels.views import matrix

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
def add_rows_skipping(W, a, z, n_rows):
    """`add_rows` over the non-zero inputs only, a row at a time."""
    zero = zeros(z, 1)
    for i in range(n_rows):
        if a[i] != 0:
            x = broadcast(zero, a[i])
            for k in range(0, W.across, lanes(z)):
                w = load(zero, W.data, i * W.across + k)
                store(z, k, fma(x, w, load(zero, z, k)))


@jit
def rank_one_skipping(W, a, delta, n_rows, scale):
    """`rank_one` without decay over the non-zero inputs only."""
    zero = zeros(delta, 1)
    for i in range(n_rows):
        if a[i] != 0:
            x = broadcast(zero, scale * a[i])
            for k in range(0, W.across, lanes(delta)):
                w = load(zero, W.data, i * W.across + k)
                store(W.data, i * W.across + k, fma(x, load(zero, delta, k), w))


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


@jit(inline="early")
def weights_at(case, l):
    """Weights and biases of layer l, the first being 0."""
    start = case.blocks[l]
    return matrix(window(case.params, start, case.blocks[l + 1] - start), case.strides[l])


@jit(inline="early")
def units_at(buffer, case, l):
    """Layer l's units, the input being layer 0."""
    return window(buffer, case.units[l], case.units[l + 1] - case.units[l])


@jit
def forward_layer(case, l):
    """Outputs of layer l + 1; of the last they are not used."""
    n_in, n_out, W = case.sizes[l], case.sizes[l + 1], weights_at(case, l)
    below, above = units_at(case.a, case, l), units_at(case.a, case, l + 1)
    z = units_at(case.z, case, l + 1)
    zero = z.dtype.type(0)
    fill(z, zero, 0, len(z))
    if case.variant == INPUT_MAJOR:
        add_rows(W, all_entries(below, n_in + 1), z, 0, W.across)
    elif case.variant == OUTPUT_MAJOR:
        add_dots(W, no_places(), 0, n_out, below, z)
    else:
        add_rows_skipping(W, below, z, n_in + 1)
    for k in range(n_out):
        above[k] = max(z[k], zero)


@jit
def output_delta(case, label):
    """δ of the last layer, and the loss."""
    L = len(case.strides)
    z, delta = units_at(case.z, case, L), units_at(case.d, case, L)
    T = z.dtype.type
    m, total = z[0], T(0)
    for k in range(case.sizes[L]):
        m = max(m, z[k])
    for k in range(case.sizes[L]):
        delta[k] = T(math.exp(z[k] - m))
        total += delta[k]
    for k in range(case.sizes[L]):
        delta[k] /= total
    loss = -math.log(float(delta[label]))
    delta[label] -= T(1)
    return loss


@jit
def backward_layer(case, l):
    """δ of layer l, from that of the layer above."""
    n_in, n_out, W = case.sizes[l], case.sizes[l + 1], weights_at(case, l)
    above, delta, z = (
        units_at(case.d, case, l + 1),
        units_at(case.d, case, l),
        units_at(case.z, case, l),
    )
    zero = z.dtype.type(0)
    fill(delta, zero, 0, len(delta))
    if case.variant == OUTPUT_MAJOR:
        add_rows(W, all_entries(above, n_out), delta, 0, W.across)
    else:
        add_dots(W, no_places(), 0, n_in, above, delta)
    for i in range(n_in):
        delta[i] = delta[i] if z[i] > zero else zero


@jit
def step_layer(case, l):
    """The step of layer l + 1."""
    n_in, n_out, W = case.sizes[l], case.sizes[l + 1], weights_at(case, l)
    below, above = units_at(case.a, case, l), units_at(case.d, case, l + 1)
    eta, one = case.eta, below.dtype.type(1)
    if case.variant == INPUT_MAJOR:
        rank_one(W, all_entries(below, n_in + 1), Term(above, -eta, one))
    elif case.variant == OUTPUT_MAJOR:
        rank_one(W, all_entries(above, n_out), Term(below, -eta, one))
    else:
        rank_one_skipping(W, below, above, n_in + 1, -eta)


@jit(entry=True)
def train(case):
    """One pass of SGD on a ReLU network with softmax and cross-entropy; returns the loss's sum."""
    L, loss = len(case.strides), 0.0
    for t in range(len(case.order)):
        row = case.order[t]
        for i in range(case.sizes[0]):
            case.a[i] = case.X[row, i]
        for l in range(L):
            forward_layer(case, l)
        loss += output_delta(case, case.y[row])
        for l in range(L - 1, 0, -1):
            backward_layer(case, l)
        for l in range(L):
            step_layer(case, l)
    return loss


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
                losses = [train(case) / n for case in cases]
                np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
                times = [[] for _ in cases]
                for _ in range(options.rounds):
                    for case, record in zip(cases, times, strict=True):
                        began = time.perf_counter()
                        train(case)
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
