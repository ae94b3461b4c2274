"""Where the time of a step goes, phase by phase.

    python bench/phases.py [--write]

What the columns are stands in docs/loops.md.
"""

import argparse

import numpy as np
from report import write_block

from fastbp import Network, kernels
from fastbp.bench.limits import flops, limit, rates
from fastbp.bench.machine import describe, seconds
from fastbp.bench.phases import batches_until, steps_until, through_groups
from fastbp.bench.report import conditions_of, figure
from fastbp.kernels import Batch, State, layers, sequential
from fastbp.kernels._jit import jit
from fastbp.kernels.layers import Span, Stretch
from fastbp.kernels.packing import view

NETS = ((8, 16, 4), (64, 32, 10))
ROWS = 20_000
PASSES = 40
BLOCK = 16
RATE = 0.001
BATCH_NETS = (*NETS, (784, 128, 10), (784, 512, 512, 10))
BATCH_SIZES = (32, 256)
BATCH_ROWS, BATCH_SECONDS = 8192, 0.5


@jit(entry=True)
def update(n, packed, samples):
    state, T = view(packed, State), packed.dtype.type
    for row in range(n):
        sequential.step_above_first(state, T(0), T(1))
        sequential.step_first(state, samples.inputs, row, T(0), T(1))


@jit
def forward_batch(state, batch, samples, stretch, judges):
    """Forward, as rows of samples or as groups of them; with ``judges``, losses and δ as well."""
    if batch.group > 0:
        through_groups(state, batch, samples, stretch, int(judges))
        return
    span = Span(-1, 1, len(state.layout.strides), 0)
    layers.forward_rows(state, batch, samples, stretch, 0, stretch.m, span)
    if judges:
        layers.output_rows(state, batch, samples, stretch, 0, stretch.m)


@jit(entry=True)
def batch_forward(n, packed, packed_batch, samples):
    state, batch = view(packed, State), view(packed_batch, Batch)
    for first in range(0, n, batch.size):
        stretch = Stretch(first, batch.size, 0, 1 / batch.size)
        forward_batch(state, batch, samples, stretch, False)


@jit(entry=True)
def batch_forward_and_loss(n, packed, packed_batch, samples):
    state, batch = view(packed, State), view(packed_batch, Batch)
    for first in range(0, n, batch.size):
        stretch = Stretch(first, batch.size, 0, 1 / batch.size)
        forward_batch(state, batch, samples, stretch, True)


def problem(sizes, n):
    """A network, and rows of which something can be learned."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n, sizes[0]), dtype=np.float32) * np.float32(0.3)
    y = (X @ generator.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)).argmax(axis=1)
    network = Network(sizes, seed=0)
    network.parameters.fields.rates[:2] = RATE, 0
    return network, network.samples(X, y)


def batch_nanoseconds(sizes, batch_size):
    """Of a sample in a mini-batch, for each column."""
    network, samples = problem(sizes, BATCH_ROWS)
    batch = kernels.make_batch(network.parameters.layout, batch_size, network.dtype, is_plain=True)
    arguments = network.parameters.state, batch, samples

    def train(n, state, batch, samples):
        kernels.train_minibatch(state, batch, state[:0], samples, 0, n, 0.0, kernels.ALONE)

    train(BATCH_ROWS, *arguments)  # which transposes the weights, too
    is_narrow = kernels.fields(batch, kernels.Batch).group > 0
    back = 2 if is_narrow else 2 * (len(sizes) - 2)  # the stage that ends the way back

    def all_but_step(n, state, batch, samples):
        batches_until(state, batch, samples, n, back)

    for phase in (batch_forward, batch_forward_and_loss, all_but_step, train):

        def run(n, phase=phase):
            phase(n, *arguments)

        run(BATCH_ROWS)
        passes = max(3, min(PASSES, int(BATCH_SECONDS / seconds(run, BATCH_ROWS))))
        yield 1e9 * min(seconds(run, BATCH_ROWS) for _ in range(passes)) / BATCH_ROWS


def nanoseconds(sizes):
    """Of a sample, for each column."""
    network, samples = problem(sizes, ROWS)
    arguments = network.parameters.state, samples
    plan = kernels.Plan([kernels.DEFERRED, kernels.SEQUENTIAL], [0, 0], [0, 0], [0, 0])
    block = kernels.make_block(network.parameters.layout, plan, BLOCK, network.dtype)

    def train(n, state, samples):
        kernels.train_sequential(state, samples, 0, n, 0.0)

    def train_deferred(n, state, samples):
        kernels.train_deferred(state, block, samples, 0, n, 0.0, kernels.ALONE)

    def until(stage):
        return lambda n, state, samples: steps_until(state, samples, n, stage)

    for phase in (until(1), until(2), until(3), update, train, train_deferred):

        def run(n, phase=phase):
            phase(n, *arguments)

        run(ROWS)
        yield 1e9 * min(seconds(run, ROWS) for _ in range(PASSES)) / ROWS


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Measure the phases of a step.")
    parser.add_argument("--write", action="store_true", help="write the table to docs/loops.md")
    options = parser.parse_args()
    lines = ["| net | forward | and loss | and backward | update alone | whole step | first layer "
             "deferred |", "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for sizes in NETS:
        cells = ["-".join(map(str, sizes)), *(figure(value) for value in nanoseconds(sizes))]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| net | batch | forward | and loss | and backward | whole step | GFLOP/s "
              "| limit by FMAs | by bytes | share |",
              "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    measured = rates()
    for sizes in BATCH_NETS:
        for batch_size in BATCH_SIZES:
            values = list(batch_nanoseconds(sizes, batch_size))
            values.append(flops(sizes) / values[-1])
            least = limit(measured, sizes, batch_size)
            limits = (
                figure(1000 * least.by_fmas),
                f"{figure(1000 * least.by_bytes)} ({least.level})",
            )
            share = 1000 * least.microseconds / values[-2]
            cells = ["-".join(map(str, sizes)), str(batch_size), *map(figure, values), *limits,
                     f"{share:.0%}"]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    conditions = conditions_of(describe())
    lines += ["", f"ns per sample, float32, dense random rows, one core. {conditions}"]
    print(*lines, sep="\n")
    if options.write:
        write_block("docs/loops.md", "bench/phases.py", "\n".join(lines))


if __name__ == "__main__":
    main()
