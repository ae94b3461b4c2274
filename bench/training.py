"""Per-sample SGD beside other ways to run it: verify, then alternate, then quote medians of ratios.

python bench/training.py            prints the table
python bench/training.py --write    writes it into README.md too
"""

import argparse
import statistics
import time

import numpy as np
from peers import SYSTEMS
from report import write_block

from fastbp import Network

LEARNING_RATE = 0.01
NETS = {
    (8, 16, 4): 2000,
    (64, 32, 10): 1000,
    (784, 128, 10): 300,
    (784, 512, 512, 10): 60,
}


def make_problem(sizes, n, dtype="float32"):
    """Network and random dense rows, the same at every call."""
    generator = np.random.default_rng(0)
    X = generator.random((n, sizes[0])).astype(dtype)
    return Network(sizes, dtype=dtype, seed=0), X, generator.integers(0, sizes[-1], n)


def verified(sizes, n):
    """Every system that can run the problem, after one pass each that reached the same loss."""
    network, X, y = make_problem(sizes, n)
    systems = {}
    for name, system in SYSTEMS.items():
        try:
            systems[name] = system(network, X, y, LEARNING_RATE)
        except (NotImplementedError, ImportError) as reason:
            print(f"{name} left out: {reason}")
    start = network.loss(X, y)
    losses = {}
    for name, system in systems.items():
        system.run()
        check = network.copy()
        pairs = zip((*check.weights, *check.biases), system.parameters(), strict=True)
        for mine, theirs in pairs:
            mine[...] = theirs
        losses[name] = check.loss(X, y)
    reference = losses["fastbp"]
    for name, loss in losses.items():
        np.testing.assert_allclose(loss, reference, rtol=1e-3, err_msg=name)
        assert abs(loss - start) > 1e-6, f"{name} did not train"
    return systems


def measure(systems, n, rounds):
    """Seconds per sample of each system and round; the systems alternate."""
    times = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            repeats = 1 if name in ("NumPy", "scikit-learn") else 5
            began = time.perf_counter()
            for _ in range(repeats):
                system.run()
            times[name].append((time.perf_counter() - began) / repeats / n)
    return times


def table(rounds):
    """Markdown: µs per sample of each system, and how many times fastbp's time it takes."""
    lines = [
        "| net | " + " | ".join(SYSTEMS) + " |",
        "|---|" + "---:|" * len(SYSTEMS),
    ]
    for sizes, n in NETS.items():
        times = measure(verified(sizes, n), n, rounds)
        cells = []
        for name in SYSTEMS:
            if name not in times:
                cells.append("–")
                continue
            median = statistics.median(times[name]) * 1e6
            pairs = zip(times[name], times["fastbp"], strict=True)
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            cells.append(f"{median:.3g}" + ("" if name == "fastbp" else f" ({ratio:.3g}×)"))
        lines.append(f"| {'-'.join(map(str, sizes))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    """Measure, print, and perhaps write the README's table."""
    parser = argparse.ArgumentParser(description="Compare per-sample SGD with other systems.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    result = table(options.rounds)
    print(result)
    if options.write:
        write_block("README.md", "bench/training.py", result)


if __name__ == "__main__":
    main()
