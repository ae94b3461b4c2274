"""Training beside other libraries: verify, then alternate, and keep every round's time.

    python bench/training.py [--images FOLDER_OF_MNIST] [--json FILE]
    python bench/report.py FILE [--write]

All systems make the same steps, float32, ReLU, cross-entropy, of SGD with batches of 1, 32 and 256,
and of Adam. Each is built with all of the settings that `peers` lists for it, trained for one pass
from the same weights, and must reach the same loss; the fastest settings are kept. Then the systems
alternate for a number of rounds. Before a time is taken, the threads of what ran before get a pause
to fall asleep in, and a system whose passes are short wakes its core up by some that are not timed.
A system that is too slow for its share of time makes its passes over fewer rows,
of which it may find more in the caches. Two of the data sets are MNIST's images, as they are and
with 0.001 added to every pixel, so that there are no zeros to skip.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from limits import rates
from machine import PAUSE, describe
from peers import SYSTEMS

from fastbp import Network, load_dataset

RESULTS = Path(__file__).parent / "results" / "training.json"
# After the pause, a core and what it finds in memory are slow for some 10 ms: systems whose passes
# are shorter than this run without being timed for so many seconds first.
WAKING = 0.1
CHECKED_ROWS = 256
CHECKED_STEPS = 8
# Losses agree to this, and to a tenth of what was learned, which must be more than rounding errors.
RTOL, LEAST_LEARNED = 1e-3, 1e-5
# Small, for long steps magnify the rounding errors, in which the systems differ.
LEARNING_RATE = 0.001
# Sizes, data, and rows of the random data.
PROBLEMS = (
    ((8, 16, 4), "random", 200_000),
    ((64, 32, 10), "random", 100_000),
    ((33, 77, 5), "random", 100_000),
    ((784, 128, 10), "MNIST, dense", 60_000),
    ((784, 128, 10), "MNIST", None),
    ((784, 512, 512, 10), "MNIST, dense", 60_000),
    ((784, 512, 512, 10), "MNIST", None),
    ((784, 1024, 1024, 1024, 10), "random", 10_000),
    ((1000, 4096, 1000), "random", 10_000),
)
BATCH_SIZES = (1, 32, 256)
# Where Adam is measured too.
ADAM = ((784, 128, 10), ("MNIST", "MNIST, dense"), 32)


class Problem(NamedTuple):
    """One network and its data."""

    sizes: tuple[int, ...]
    data: str
    network: Network
    X: np.ndarray
    y: np.ndarray

    def __str__(self):
        return f"{'-'.join(map(str, self.sizes))}, {self.data}"


class Candidate(NamedTuple):
    """A system that passed the verification, with its fastest settings."""

    settings: dict
    seconds: float
    """Of a row, in the verification: an estimate."""
    compile_seconds: float
    """By which the first pass was longer than a later one."""


def make_problem(sizes, data, rows, images=None):
    """Network and data, the same at every call; random rows stand in for dense images."""
    if data.startswith("MNIST") and images is not None:
        X, y = images
        X = X + np.float32(0.001) if "dense" in data else X
    elif rows is None:
        raise FileNotFoundError("no folder of images, see --images")
    else:
        generator = np.random.default_rng(0)
        X = generator.standard_normal((rows, sizes[0]), dtype=np.float32)
        X *= np.float32(min(1.0, 10 / sizes[0] ** 0.5))  # rows as long as those of images
        # Something to be learned: under labels of chance the units die, and zeros are skipped.
        y = (X @ generator.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)).argmax(axis=1)
        data = "random"
    return Problem(sizes, data, Network(sizes, dtype="float32", seed=0), X, y)


def build(problem, batch_size, optimizer, system, settings, rows):
    """A system, about to train the problem's network on its first rows."""
    X, y = problem.X[:rows], problem.y[:rows]
    # A larger batch takes fewer steps, and bears longer ones.
    learning_rate = LEARNING_RATE * (batch_size**0.5 if optimizer == "sgd" else 1)
    return system(problem.network, X, y, learning_rate, batch_size, optimizer, **settings)


def verified(problem, batch_size=1, optimizer="sgd", systems=SYSTEMS):
    """Candidates by name, and why the other systems are left out."""
    rows = max(CHECKED_ROWS, CHECKED_STEPS * batch_size)
    candidates, left_out, losses = {}, {}, {}
    for name, system in systems.items():
        for settings in system.tried:
            try:
                built = build(problem, batch_size, optimizer, system, settings, rows)
            except ImportError as reason:
                left_out[name] = str(reason)
                break
            except NotImplementedError as reason:
                left_out[name] = str(reason)
                continue
            left_out.pop(name, None)
            first = seconds_of(built.run)
            if parameters := built.parameters():
                trained = with_parameters(problem.network, parameters)
                losses[name, *settings.values()] = trained.loss(problem.X[:rows], problem.y[:rows])
            time.sleep(PAUSE)
            again = seconds_of(built.run)
            best = candidates.get(name)
            if best is None or again < 2 * best.seconds * rows:
                again = min(again, seconds_of(built.run), seconds_of(built.run))
            if best is None or again < best.seconds * rows:
                # What an earlier setting had compiled may serve this one.
                compiling = max(first - again, best.compile_seconds if best else 0.0)
                candidates[name] = Candidate(settings, again / rows, compiling)
    if not candidates:
        return candidates, left_out
    start = problem.network.loss(problem.X[:rows], problem.y[:rows])
    common = statistics.median(losses.values())
    learned = abs(common - start) / start
    if learned < LEAST_LEARNED:
        raise AssertionError(f"{problem}: too little was learned to tell equal losses: {losses}")
    for who, loss in losses.items():
        rtol = min(RTOL, learned / 10)
        np.testing.assert_allclose(loss, common, rtol=rtol, err_msg=f"{problem}: {who}")
    return candidates, left_out


def with_parameters(network, parameters):
    """A copy of the network with weights and biases as systems give them."""
    copy = network.copy()
    for mine, theirs in zip((*copy.weights, *copy.biases), parameters, strict=True):
        mine[...] = theirs
    return copy


def affordable_rows(problem, batch_size, candidate, seconds):
    """Whole batches for one pass in so many seconds."""
    rows = min(len(problem.X), max(CHECKED_ROWS, batch_size, int(seconds / candidate.seconds)))
    return rows // batch_size * batch_size


def measure(problem, kinds, rounds, seconds, systems=SYSTEMS):
    """Entry of the problem in the report: all systems, sizes of batches and optimizers in turn."""
    entries, running, left_out = [], [], []
    for batch_size, optimizer in kinds:
        kind = {"batch_size": batch_size, "optimizer": optimizer}
        candidates, reasons = verified(problem, **kind, systems=systems)
        for name, reason in reasons.items():
            left_out.append({"system": name, **kind, "reason": reason})
            print(f"{problem}, {optimizer}, batch {batch_size}: {name} left out: {reason}")
        for name, candidate in candidates.items():
            rows = affordable_rows(problem, batch_size, candidate, seconds / rounds)
            system = build(problem, *kind.values(), systems[name], candidate.settings, rows)
            running.append((system, rows, seconds_of(system.run) < WAKING))
            entries.append(
                {
                    "system": name,
                    "is_library": system.is_library,
                    **kind,
                    "settings": candidate.settings | system.chosen(),
                    "compile_seconds": candidate.compile_seconds,
                    "rows": rows,
                    "microseconds": [],
                }
            )
    for _ in range(rounds):
        for (system, rows, is_short), entry in zip(running, entries, strict=True):
            time.sleep(PAUSE)
            began = time.perf_counter()
            while is_short and time.perf_counter() - began < WAKING:
                system.run()
            entry["microseconds"].append(seconds_of(system.run) / rows * 1e6)
    for (system, *_), entry in zip(running, entries, strict=True):
        if not all(np.isfinite(p).all() for p in system.parameters()):
            raise AssertionError(f"{problem}: {entry['system']} diverged.")
        print(
            f"{problem}, {entry['optimizer']}, batch {entry['batch_size']}: {entry['system']} "
            f"{statistics.median(entry['microseconds']):.3g} µs",
            flush=True,
        )
    return {
        "net": problem.sizes,
        "data": problem.data,
        "zeros": float(np.mean(problem.X == 0)),
        "entries": entries,
        "left_out": left_out,
    }


def seconds_of(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def restart(n_cores):
    """Start again on so many cores, compiling anew: libraries look at both when imported."""
    if "FASTBP_BENCH" in os.environ:
        return
    os.environ["FASTBP_BENCH"] = os.environ["FASTBP_NO_CACHE"] = "1"
    if n_cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
    os.execv(sys.executable, [sys.executable, *sys.argv])


def main():
    """Measure and write the JSON file."""
    parser = argparse.ArgumentParser(description="Compare training with other libraries.")
    parser.add_argument("--images", metavar="FOLDER", default=os.environ.get("FASTBP_MNIST"),
                        help="IDX files of MNIST; by default $FASTBP_MNIST")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", type=Path, default=RESULTS,
                        help="where to write the figures")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6.0,
                        help="of each system and problem, about")  # fmt: skip
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="cores to keep, for all systems")
    parser.add_argument("--nets", nargs="+", metavar="NET", help="such as 784-128-10")
    options = parser.parse_args()
    restart(options.threads)
    images = load_dataset(options.images)[:2] if options.images else None
    report = {
        "machine": describe() | rates(),
        "protocol": {"rounds": options.rounds, "seconds": options.seconds, "rtol": RTOL},
        "problems": [],
    }
    for sizes, data, rows in PROBLEMS:
        if options.nets and "-".join(map(str, sizes)) not in options.nets:
            continue
        try:
            problem = make_problem(sizes, data, rows, images)
        except FileNotFoundError as reason:
            print(f"{sizes}, {data} left out: {reason}")
            continue
        kinds = [(batch_size, "sgd") for batch_size in sorted(set(options.batch_sizes))]
        if sizes == ADAM[0] and data in ADAM[1]:
            kinds.append((ADAM[2], "adam"))
        report["problems"].append(measure(problem, kinds, options.rounds, options.seconds))
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report) + "\n", encoding="utf-8")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
