"""Training beside other libraries, on more networks and for longer than `fastbp bench`.

    python bench/training.py [--images FOLDER_OF_MNIST] [--json FILE]
    python bench/report.py FILE [--write]

What is measured, and how, stands in fastbp/bench/comparison.py: SGD with batches of 1, 32 and 256,
and Adam. Two of the data sets are MNIST's images, as they are and with 0.001 added to every pixel,
so that there are no zeros to skip.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from fastbp import load_dataset
from fastbp.bench.comparison import RTOL, make_problem, measure
from fastbp.bench.limits import rates
from fastbp.bench.machine import describe

RESULTS = Path(__file__).parent / "results" / "training.json"
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


def restart(n_cores):
    """Start again on so many cores, compiling anew: libraries look at both when imported."""
    if "FASTBP_BENCH" in os.environ:
        return
    os.environ["FASTBP_BENCH"] = os.environ["FASTBP_NO_CACHE"] = "1"
    if n_cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cores])
    os.execv(sys.executable, [sys.executable, *sys.argv])


def say(text):
    print(text, flush=True)


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
        budget = options.rounds, options.seconds
        report["problems"].append(measure(problem, kinds, *budget, say=say))
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report) + "\n", encoding="utf-8")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
