"""What a process pays before and around training: import, compilation, the answer to Ctrl-C.

python bench/startup.py                   prints the tables
python bench/startup.py --write           writes them into docs/machine_code.md too
python bench/startup.py --profile CASE    says where the time of a compilation goes, and with
                                          --write in docs/loops.md too

Compilation is measured in CPU seconds as well, each in a process of its own with an empty cache;
the cases are those of `compiling.py`.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import compiling
from report import write_block

from fastbp import kernels
from fastbp.bench.machine import describe
from fastbp.bench.report import conditions_of, table

COLD = 3  # rounds with an empty cache
COMPILED = {
    "fit": "first fit of a small network, one sample a step",
    "gradient": "first `value_and_grad`",
    "prediction": "first `predict`",
    "all": "all kernels of one dtype",
}

IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
FIT = """
import time
began = time.perf_counter()
import numpy as np
import fastbp
network = fastbp.Network((64, 128, 10), seed=0)
X = np.random.default_rng(0).random((1000, 64), dtype=np.float32)
fastbp.Trainer(network, seed=0).fit(X, np.arange(1000) % 10, epochs=1, progress=False)
print(time.perf_counter() - began)
"""
WARMUP = """
import time
import fastbp
print(fastbp.warmup("float32"))
"""
LOADING = WARMUP.replace('"float32"', "")
INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
import numpy as np
import fastbp
fastbp.warmup(["float32"])
X = np.random.default_rng(0).random((20_000, 784), dtype=np.float32)
network = fastbp.Network((784, 512, 512, 10), seed=0)
print("ready", flush=True)
try:
    fastbp.Trainer(network, seed=0).fit(X, np.arange(20_000) % 10, epochs=10_000, progress=False)
except KeyboardInterrupt:
    print(time.time(), flush=True)
"""


def printed(*arguments, **environment):
    """What a fresh process of Python prints."""
    run = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout


def seconds(*arguments, **environment):
    """The number that it prints last."""
    return float(printed(*arguments, **environment).split()[-1])


def with_empty_cache(function, *arguments, without="shipped"):
    """Its result where no machine code is kept, and none is shipped unless ``without`` is empty."""
    with tempfile.TemporaryDirectory() as folder:
        return function(*arguments, NUMBA_CACHE_DIR=folder, FASTBP_WITHOUT=without)


def cold_seconds(*arguments, **options):
    """Median of the seconds that fresh processes print whose caches are empty."""
    return statistics.median(with_empty_cache(seconds, *arguments, **options) for _ in range(COLD))


def interrupt_latency(delay):
    """Seconds from SIGINT to the KeyboardInterrupt outside of fit."""
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(delay)
    sent = time.time()
    child.send_signal(signal.SIGINT)
    return float(child.stdout.readline()) - sent


def waiting(rounds):
    """Table of seconds on the clock."""
    seconds("-c", FIT)  # fills the cache
    over_numba = [
        seconds("-c", IMPORT.format("fastbp")) - seconds("-c", IMPORT.format("numba"))
        for _ in range(rounds)
    ]
    warm = [seconds("-c", FIT) for _ in range(rounds)]
    latency = [interrupt_latency(1 + 0.037 * i) for i in range(rounds)]
    rows = {
        "`import fastbp`, over `import numba`": statistics.median(over_numba),
        "import and first fit, code cached": statistics.median(warm),
        "import and first fit, empty cache": cold_seconds("-c", FIT),
        "`warmup` of float32, empty cache: all kernels": cold_seconds("-c", WARMUP),
        "Ctrl-C to KeyboardInterrupt, 784-512-512-10, median": statistics.median(latency),
        "the same, longest": max(latency),
    }
    if kernels.shipped_code():  # as python -m fastbp.shipping makes it
        rows |= {
            "import and first fit, empty cache, machine code shipped": cold_seconds(
                "-c", FIT, without=""
            ),
            "`warmup` of both dtypes, ditto": cold_seconds("-c", LOADING, without=""),
        }
    return table([["", "seconds"], *([name, f"{value:.2f}"] for name, value in rows.items())])


def compilation():
    """Table of CPU seconds."""
    rows = [["compilation, empty cache", "CPU seconds"]]
    for case, name in COMPILED.items():
        rows.append([name, f"{cold_seconds(compiling.__file__, case):.2f}"])
    return table(rows)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure import, compilation and Ctrl-C.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write them into the documents")
    parser.add_argument("--profile", nargs="?", const="fit", choices=compiling.CASES,
                        help="print where the time of a compilation goes")  # fmt: skip
    options = parser.parse_args()
    if options.profile:
        text = with_empty_cache(printed, compiling.__file__, options.profile, "--profile")
        text += f"\n{conditions_of(describe())}"
        print(text)
        if options.write:
            write_block("docs/loops.md", "bench/startup.py --profile", text)
        return
    text = "\n\n".join([waiting(options.rounds), compilation(), conditions_of(describe())])
    print(text)
    if options.write:
        write_block("docs/machine_code.md", "bench/startup.py", text)


if __name__ == "__main__":
    main()
