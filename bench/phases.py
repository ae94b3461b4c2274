"""Where the time of a step goes, phase by phase.

    python bench/phases.py [--write]

What the columns are stands in docs/kernels.md.
"""

import argparse
import itertools

import numpy as np
from machine import describe, seconds
from report import conditions_of, figure, write_block

from fastbp import Network, kernels, plan
from fastbp.kernels import rows, sequential
from fastbp.kernels._jit import jit
from fastbp.kernels.minibatch import through_layers
from fastbp.kernels.samples import load_target

NETS = ((8, 16, 4), (64, 32, 10))
ROWS = 20_000
PASSES = 40
BATCH_NETS = (*NETS, (784, 128, 10), (784, 512, 512, 10))
BATCH_SIZES = (32, 256)
BATCH_ROWS, BATCH_SECONDS = 8192, 0.5


@jit(entry=True)
def forward(n, params, layout, work, samples):
    for row in range(n):
        sequential.forward(params, layout, work, samples.inputs, row)


@jit(entry=True)
def forward_and_loss(n, params, layout, work, samples):
    loss_sum = 0.0
    for row in range(n):
        label = load_target(samples, row, work.y)
        sequential.forward(params, layout, work, samples.inputs, row)
        loss_sum += sequential.sample_loss(layout, work, label)
    return loss_sum


@jit(entry=True)
def all_but_update(n, params, layout, work, samples):
    loss_sum = 0.0
    for row in range(n):
        sequential.first_sums(params, layout, work, samples.inputs, row)
        loss_sum += sequential.differentiate(params, layout, work, samples, row)
    return loss_sum


@jit(entry=True)
def update(n, params, layout, work, samples):
    T = params.dtype.type
    for row in range(n):
        sequential.accumulate(params, layout, work, samples.inputs, row, T(0), T(1))


@jit(entry=True)
def batch_forward(n, batch_size, params, layout, batch, samples, order):
    L = len(layout.strides)
    for first in range(0, n, batch_size):
        rows.forward_rows(
            params, layout, batch, samples.inputs, order, first, 0, batch_size, None, 0, -1, L, 1
        )


@jit(entry=True)
def batch_forward_and_loss(n, batch_size, params, layout, batch, samples, order):
    L = len(layout.strides)
    share = 1 / batch_size
    for first in range(0, n, batch_size):
        rows.forward_rows(
            params, layout, batch, samples.inputs, order, first, 0, batch_size, None, 0, -1, L, 1
        )
        rows.output_rows(layout, batch, samples, order, first, 0, batch_size, share)


@jit(entry=True)
def batch_all_but_step(n, batch_size, params, layout, batch, samples, order, regularization):
    L = len(layout.strides)
    share = 1 / batch_size
    for first in range(0, n, batch_size):
        through_layers(
            params, layout, batch, regularization, samples, order, first, batch_size, 0, share, -1,
            L, 0, 0, 1,
        )  # fmt: skip


def problem(sizes, n):
    """A network, and rows of which something can be learned."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n, sizes[0]), dtype=np.float32) * np.float32(0.3)
    y = (X @ generator.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)).argmax(axis=1)
    network = Network(sizes, seed=0)
    return network, network.samples(X, y)


def batch_nanoseconds(sizes, batch_size):
    """Of a sample in a mini-batch, for each column."""
    network, samples = problem(sizes, BATCH_ROWS)
    layout, dtype = network.layout, network.dtype
    batch = kernels.make_batch(layout, batch_size, dtype)
    rule = kernels.make_rule(kernels.SGD, (0.0, 0.0), False, 0, 0, dtype)
    regularization = kernels.make_regularization(len(sizes) - 2, dtype)
    arguments = batch_size, network.params, layout, batch, samples, kernels.IN_ORDER

    def train(n):
        kernels.train_minibatch(
            network.params, layout, batch, rule, regularization, samples, arguments[-1], 0, n,
            batch_size, dtype.type(0.001), 0.0, None,
        )  # fmt: skip

    train(BATCH_ROWS)  # which transposes the weights, too
    for run in (
        lambda n: batch_forward(n, *arguments),
        lambda n: batch_forward_and_loss(n, *arguments),
        lambda n: batch_all_but_step(n, *arguments, regularization),
        train,
    ):
        run(BATCH_ROWS)
        passes = max(3, min(PASSES, int(BATCH_SECONDS / seconds(run, BATCH_ROWS))))
        yield 1e9 * min(seconds(run, BATCH_ROWS) for _ in range(passes)) / BATCH_ROWS


def nanoseconds(sizes):
    """Of a sample, for each column."""
    network, samples = problem(sizes, ROWS)
    work = kernels.make_work(network.layout, network.dtype)
    order = kernels.IN_ORDER
    rates = np.float32(0.001), np.float32(0)

    def train(n):
        arguments = (samples, order, 0, n, *rates, 0.0)
        kernels.train_sequential(network.params, network.layout, work, *arguments)

    choice = plan.choose(
        network.layout, network.dtype, samples.inputs, ("deferred", "sequential"), 16, 1.0, 1
    )
    block = kernels.make_block(network.layout, choice.plan, 16, network.dtype)

    def train_deferred(n):
        arguments = (work, block, samples, order, 0, n, *rates, 0.0)
        kernels.train_deferred(network.params, network.layout, choice.plan, *arguments)

    def phase(kernel):
        return lambda n: kernel(n, network.params, network.layout, work, samples)

    phases = map(phase, (forward, forward_and_loss, all_but_update, update))
    for run in (*phases, train, train_deferred):
        run(ROWS)
        yield 1e9 * min(seconds(run, ROWS) for _ in range(PASSES)) / ROWS


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Measure the phases of a step.")
    parser.add_argument("--write", action="store_true", help="write the table to docs/kernels.md")
    options = parser.parse_args()
    lines = ["| net | forward | and loss | and backward | update alone | whole step | first layer "
             "deferred |", "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for sizes in NETS:
        cells = ["-".join(map(str, sizes)), *(figure(value) for value in nanoseconds(sizes))]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| net | batch | forward | and loss | and backward | whole step | GFLOP/s |",
              "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for sizes in BATCH_NETS:
        products = [n_in * n_out for n_in, n_out in itertools.pairwise(sizes)]
        for batch_size in BATCH_SIZES:
            values = list(batch_nanoseconds(sizes, batch_size))
            values.append((6 * sum(products) - 2 * products[0]) / values[-1])
            cells = ["-".join(map(str, sizes)), str(batch_size), *map(figure, values)]
            lines.append("| " + " | ".join(cells) + " |")
    conditions = conditions_of(describe())
    lines += ["", f"ns per sample, float32, dense random rows, one core. {conditions}"]
    print(*lines, sep="\n")
    if options.write:
        write_block("docs/kernels.md", "bench/phases.py", "\n".join(lines))


if __name__ == "__main__":
    main()
