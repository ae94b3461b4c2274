"""What threads gain on nets n-n-10 of growing width: dense random rows, batch 1.

    python bench/threads.py [--write]

What is compared stands in docs/loops.md. Every setting must train to the same bits.
"""

import argparse
import re
import statistics
import time

import numpy as np
from report import ROOT, write_block

from fastbp import Network, Trainer
from fastbp.bench.chart import curves
from fastbp.bench.machine import cores, describe
from fastbp.bench.report import conditions_of, figure

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
SETTINGS = {"1 thread": 1, "2 threads": 2, "automatic": None}
ALONE = "1 thread"
PASS_SECONDS = 0.05
FEWEST_ROWS = 64
MOST_NUMBERS = 1 << 23  # of X
HEADING = "Speed-up over one thread against the width n of a net n-n-10"


def trainers_of(width):
    """A trainer of equal networks for each setting."""
    network = Network((width, width, 10), dtype="float32", seed=0)
    return {
        name: Trainer(network.copy(), learning_rate=1e-4, n_threads=n_threads)
        for name, n_threads in SETTINGS.items()
    }


def data(width):
    generator = np.random.default_rng(0)
    X = generator.standard_normal((MOST_NUMBERS // max(width, 32), width), dtype=np.float32)
    return X, generator.integers(0, 10, len(X))


def seconds_of_pass(trainer, X, y):
    began = time.perf_counter()
    trainer.partial_fit(X, y)
    return time.perf_counter() - began


def affordable_rows(trainer, X, y):
    """Rows of a pass of about PASS_SECONDS."""
    rows = FEWEST_ROWS
    seconds_of_pass(trainer, X[:rows], y[:rows])  # compiles
    while rows < len(X) and seconds_of_pass(trainer, X[:rows], y[:rows]) < PASS_SECONDS / 2:
        rows *= 2
    return min(rows, len(X))


def measure(width, rounds):
    """Microseconds per sample of every round, and the threads that may be used, by setting."""
    X, y = data(width)
    trainers = trainers_of(width)
    rows = affordable_rows(trainers_of(width)[ALONE], X, y)
    X, y = X[:rows], y[:rows]
    times = {name: [] for name in trainers}
    for number in range(rounds + 1):
        for name, trainer in trainers.items():
            seconds = seconds_of_pass(trainer, X, y)
            if number > 0:  # the first pass compiles
                times[name].append(seconds / rows * 1e6)
    for trainer in trainers.values():
        np.testing.assert_array_equal(trainer.network.params, trainers[ALONE].network.params)
    return times, {name: threads_of(trainer) for name, trainer in trainers.items()}


def threads_of(trainer):
    """Most threads that a layer may use."""
    return max([1, *map(int, re.findall(r"; (\d+) threads", trainer.summary()))])


def speed_up(times, name):
    """Over one thread: the median over the rounds."""
    pairs = zip(times[ALONE], times[name], strict=True)
    return statistics.median(alone / together for alone, together in pairs)


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="Measure what threads gain, by width.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true",
                        help="write docs/loops.md and docs/threads.svg")  # fmt: skip
    options = parser.parse_args()
    if cores() < 2:
        parser.error("two cores are needed to compare one thread with two")
    lines = ["| net | 1 thread, µs | 2 threads, µs | speed-up | automatic, µs | speed-up "
             "| threads considered |", "|---|" + "---:|" * 6]  # fmt: skip
    print(*lines, sep="\n")
    speed_ups = {name: [] for name in SETTINGS if name != ALONE}
    for width in WIDTHS:
        times, most = measure(width, options.rounds)
        cells = [f"{width}-{width}-10", figure(statistics.median(times[ALONE]))]
        for name, curve in speed_ups.items():
            gain = speed_up(times, name)
            curve.append((width, gain))
            note = " (1 thread)" if name != "automatic" and most[name] == 1 else ""
            cells += [figure(statistics.median(times[name])), f"{gain:.2f}×{note}"]
        lines.append("| " + " | ".join([*cells, str(most["automatic"])]) + " |")
        print(lines[-1], flush=True)
    lines += ["", f"float32, medians of {options.rounds} rounds. {conditions_of(describe())}"]
    print(*lines[-2:], sep="\n")
    if options.write:
        (ROOT / "docs/threads.svg").write_text(curves(HEADING, speed_ups), encoding="utf-8")
        picture = f"![{HEADING}](threads.svg)"
        write_block("docs/loops.md", "bench/threads.py", "\n".join([picture, "", *lines]))


if __name__ == "__main__":
    main()
