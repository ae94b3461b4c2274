"""What a process pays before and around training: import, compilation, the answer to Ctrl-C.

python bench/startup.py            prints the table
python bench/startup.py --write    writes it into README.md too
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from report import write_block

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
PARALLEL = (
    WARMUP
    + """
import numpy as np
X = np.random.default_rng(0).random((256, 784), dtype=np.float32)
began = time.perf_counter()
for batch_size in (1, 256):
    network = fastbp.Network((784, 512, 512, 10), seed=0)
    fastbp.Trainer(network, batch_size=batch_size, n_threads=2).partial_fit(X, np.arange(256) % 10)
print(time.perf_counter() - began)
"""
)
INTERRUPTED = """
import sys, time
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


def seconds(code, **environment):
    """What a fresh process prints last."""
    variables = os.environ | environment
    run = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    return float(run.stdout.split()[-1])


def interrupt_latency(delay):
    """Seconds from SIGINT to the KeyboardInterrupt outside of fit."""
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(delay)
    sent = time.time()
    child.send_signal(signal.SIGINT)
    return float(child.stdout.readline()) - sent


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure import, first fit and Ctrl-C.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    rounds = range(options.rounds)
    seconds(FIT)  # fills the cache
    over_numba = [
        seconds(IMPORT.format("fastbp")) - seconds(IMPORT.format("numba")) for _ in rounds
    ]
    warm = [seconds(FIT) for _ in rounds]
    cold = {}
    for code in (FIT, WARMUP, PARALLEL):
        cold[code] = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                cold[code].append(seconds(code, NUMBA_CACHE_DIR=folder))
    latency = [interrupt_latency(1 + 0.037 * i) for i in rounds]
    rows = [
        ("`import fastbp`, over `import numba`", statistics.median(over_numba)),
        ("import and first fit, code cached", statistics.median(warm)),
        ("import and first fit, empty cache", statistics.median(cold[FIT])),
        ("`warmup` of float32, empty cache: all kernels", statistics.median(cold[WARMUP])),
        (
            "parallel loops after that, where a net first uses them",
            statistics.median(cold[PARALLEL]),
        ),
        ("Ctrl-C to KeyboardInterrupt, 784-512-512-10, median", statistics.median(latency)),
        ("the same, longest", max(latency)),
    ]
    lines = ["| | seconds |", "|---|---:|", *(f"| {name} | {value:.2f} |" for name, value in rows)]
    table = "\n".join(lines)
    print(table)
    if options.write:
        write_block("README.md", "bench/startup.py", table)


if __name__ == "__main__":
    main()
