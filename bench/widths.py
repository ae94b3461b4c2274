"""Mini-batches of nets n-n-n-10 of growing width, beside torch: dense random rows, plain SGD.

    python bench/widths.py [--write]

What is compared stands in docs/kernels.md. Both must reach the same loss before they are timed.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import numpy as np
from report import ROOT, write_block

from fastbp import Network
from fastbp.bench.chart import curves
from fastbp.bench.machine import PAUSE, cores, describe, peak_gflops
from fastbp.bench.peers import Fastbp, FastbpOneThread, Task, Torch
from fastbp.bench.report import conditions_of, figure

WIDTHS = (32, 48, 64, 100, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
BATCHES = (256, 32)
ROUND_SECONDS = 0.1
MOST_BATCHES = 64
LEARNING_RATE = 1e-3
HEADING = "Share of one core's peak against the width n of a net n-n-n-10"


class TwoThreads(Fastbp):
    """fastbp on the threads that it is given."""

    options = {"n_threads": 2}  # noqa: RUF012  # never changed


SYSTEMS = {1: FastbpOneThread, 2: TwoThreads}
TORCH = {1: "1", 2: "all"}


class Case(NamedTuple):
    """A row of the table."""

    width: int
    batch: int
    threads: int


def flops(width):
    """Of a step for one sample: 2 a multiply-add, the first layer without a way back."""
    return 2 * (2 * width * width + 3 * width * width + 3 * width * 10)


def seconds_of(system):
    began = time.perf_counter()
    system.run()
    return time.perf_counter() - began


def awake(system):
    """Seconds of a pass after another one: cores and threads are slow for a ms after a pause."""
    system.run()
    return seconds_of(system)


def verify(network, ours, theirs, X, y):
    """That both have the same loss after the same steps."""
    losses = []
    for system in (ours, theirs):
        trained, values = network.copy(), system.parameters()
        for mine, value in zip([*trained.weights, *trained.biases], values, strict=True):
            mine[...] = value
        losses.append(trained.loss(X, y))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def measure(case, rounds):
    """Microseconds a sample of fastbp and of torch, a pair each round."""
    width, batch, threads = case
    generator = np.random.default_rng(0)
    budget = ROUND_SECONDS * threads * 1e11 / flops(width)  # samples of a round
    n = batch * int(np.clip(budget // batch, 1, MOST_BATCHES))
    X = generator.standard_normal((n, width), dtype=np.float32)
    y = generator.integers(0, 10, n)
    network = Network((width, width, width, 10), dtype="float32", seed=0)
    task = Task(network, X, y, LEARNING_RATE, batch, "sgd")
    ours = SYSTEMS[threads](task)
    theirs = Torch(task, update="in place", threads=TORCH[threads])
    for system in (ours, theirs):
        system.run()  # compiles
    verify(network, ours, theirs, X, y)
    pairs = []
    for _ in range(rounds):
        time.sleep(PAUSE * (threads > 1))  # torch's threads look for more work meanwhile
        pairs.append(tuple(awake(system) for system in (ours, theirs)))
    return [tuple(1e6 * seconds / n for seconds in pair) for pair in pairs]


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Compare mini-batches with torch, by width.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--write", action="store_true",
                        help="write docs/kernels.md and docs/widths.svg")  # fmt: skip
    options = parser.parse_args()
    if cores() < max(options.threads):
        parser.error(f"{max(options.threads)} threads need as many cores")
    lines = ["| n | batch | threads | fastbp, µs | torch, µs | torch / fastbp | GFLOP/s "
             "| of the peak |",
             "|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    print(*lines, sep="\n")
    series = {}
    for batch in options.batches:
        for threads in options.threads:
            for width in options.widths:
                pairs = measure(Case(width, batch, threads), options.rounds)
                ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
                gain = statistics.median(b / a for a, b in pairs)
                rate = flops(width) / ours / 1e3
                if threads == 1:
                    for name, microseconds in (("fastbp", ours), ("torch", theirs)):
                        curve = series.setdefault(f"{name}, batch {batch}", [])
                        curve.append((width, flops(width) / microseconds / 1e3 / peak_gflops()))
                share = rate / peak_gflops() / threads
                cells = [width, batch, threads, figure(ours), figure(theirs), f"{gain:.2f}×",
                         figure(rate), f"{share:.0%}"]  # fmt: skip
                lines.append("| " + " | ".join(map(str, cells)) + " |")
                print(lines[-1], flush=True)
    note = f"float32, medians of {options.rounds} rounds. {conditions_of(describe())}"
    lines += ["", f"{note} Peak of one core: {peak_gflops():.0f} GFLOP/s."]
    print(*lines[-2:], sep="\n")
    if options.write:
        if 1 not in options.threads:
            parser.error("the chart is of one thread")
        (ROOT / "docs/widths.svg").write_text(curves(HEADING, series), encoding="utf-8")
        picture = f"![{HEADING}](widths.svg)"
        write_block("docs/kernels.md", "bench/widths.py", "\n".join([picture, "", *lines]))


if __name__ == "__main__":
    main()
