"""Where the time of a small network's step goes, phase by phase.

    python bench/phases.py [--write]

What the columns are stands in docs/kernels.md.
"""

import argparse

import numpy as np
from machine import describe, seconds
from report import conditions_of, figure, write_block

from fastbp import Network, kernels, methods
from fastbp.kernels import sequential
from fastbp.kernels._jit import jit

NETS = ((8, 16, 4), (64, 32, 10))
ROWS = 20_000
PASSES = 40


@jit(entry=True)
def forward(n, params, layout, work, samples):
    for row in range(n):
        sequential.forward(params, layout, work, samples.inputs, row)


@jit(entry=True)
def forward_and_loss(n, params, layout, work, samples):
    loss_sum = 0.0
    for row in range(n):
        label = sequential.load_target(samples, row, work.y)
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


def nanoseconds(sizes):
    """Of a sample, for each column."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((ROWS, sizes[0]), dtype=np.float32) * np.float32(0.3)
    y = (X @ generator.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)).argmax(axis=1)
    network = Network(sizes, seed=0)
    samples = network._samples(X, y)
    work = kernels.make_work(network.layout, network.dtype)
    order = np.arange(ROWS)
    rates = np.float32(0.001), np.float32(0)

    def train(n):
        arguments = (samples, order, 0, n, *rates, 0.0)
        kernels.train_sequential(network.params, network.layout, work, *arguments)

    choice = methods.choose(
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
    lines += ["", f"ns per sample, float32, one core. {conditions_of(describe())}"]
    print(*lines, sep="\n")
    if options.write:
        write_block("docs/kernels.md", "bench/phases.py", "\n".join(lines))


if __name__ == "__main__":
    main()
