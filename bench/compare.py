"""Two versions of fastbp beside each other, whose processes take turns.

python bench/compare.py OLD_PYTHON [NEW_PYTHON]

Each interpreter has one of the versions installed; the new one is by default the one that runs
this. A process takes every case once, the shortest of a few repetitions counts, and the ratio is
the median over the rounds. Cases use what both versions have: `Trainer.partial_fit` and the
estimators of `fastbp.sklearn`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import scipy.sparse
from sklearn.datasets import load_digits

REPEATS = 5
NETS = {(8, 16, 4): 8000, (64, 32, 10): 4000, (784, 128, 10): 1500, (784, 512, 512, 10): 512}
BATCH_SIZES = 1, 32, 256
DENSE, ZEROS, CSR = "dense", "81 % zeros", "CSR"
# Kind of rows, dtype, optimizer, threads; wide nets take the plain ones and what differs for them.
PLAIN = [(DENSE, "float32", name, 1) for name in ("sgd", "adam", "rmsprop")]
WIDE = [
    (DENSE, "float32", "sgd", 2),
    (DENSE, "float64", "sgd", 1),
    (ZEROS, "float32", "sgd", 1),
    (CSR, "float32", "sgd", 1),
]
ESTIMATORS = {
    "digits, scikit-learn's defaults": {"max_iter": 30},
    "digits, SGD, batch 1": {"solver": "sgd", "batch_size": 1, "max_iter": 4},
    "digits, L-BFGS": {"solver": "lbfgs", "max_iter": 30},
}


def shortest(function):
    """Seconds."""
    function()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def rows(sizes, n, kind, dtype):
    """Inputs of a kind, and class numbers."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((n, sizes[0])).astype(dtype)
    if kind != DENSE:
        X *= generator.random(X.shape) < 0.19
    return scipy.sparse.csr_matrix(X) if kind == CSR else X, generator.integers(0, sizes[-1], n)


def measured():
    """Microseconds of a sample, or milliseconds of an estimator's fit, by case."""
    from fastbp import Network, Trainer
    from fastbp.sklearn import MLPClassifier

    found = {}
    for sizes, n in NETS.items():
        cases = (PLAIN if sizes[0] < 784 or len(sizes) == 3 else []) + WIDE * (sizes[0] == 784)
        for kind, dtype, optimizer, threads in cases:
            X, y = rows(sizes, n, kind, dtype)
            for batch_size in BATCH_SIZES:
                trainer = Trainer(
                    Network(sizes, dtype=dtype, seed=0), optimizer, batch_size=batch_size,
                    learning_rate=1e-4, n_threads=threads,
                )  # fmt: skip
                words = "-".join(map(str, sizes)), kind, dtype, optimizer, f"n_threads={threads}"
                seconds = shortest(lambda t=trainer, X=X, y=y: t.partial_fit(X, y))
                found[", ".join([*words, f"batch {batch_size}"])] = 1e6 * seconds / n
    X, y = load_digits(return_X_y=True)
    warnings.simplefilter("ignore")  # that a fit has not converged
    for name, options in ESTIMATORS.items():
        estimator = MLPClassifier(random_state=0, n_iter_no_change=100, **options)
        found[name] = 1e3 * shortest(lambda e=estimator: e.fit(X, y))
    return found


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Compare the speed of two versions of fastbp.")
    parser.add_argument("old", nargs="?", help="interpreter that has the old version")
    parser.add_argument("new", nargs="?", default=sys.executable, help="the new one's")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    if options.old is None:
        print(json.dumps(measured()))
        return
    found = {options.old: [], options.new: []}
    for _ in range(options.rounds):
        for python, runs in found.items():
            run = subprocess.run([python, __file__], stdout=subprocess.PIPE, check=True)
            runs.append(json.loads(run.stdout))
    old, new = found[options.old], found[options.new]
    lines = [["", "old", "new", "new/old"]]
    for case in old[0]:
        ratio = statistics.median(b[case] / a[case] for a, b in zip(old, new, strict=True))
        best = (min(run[case] for run in runs) for runs in (old, new))
        lines.append([case, *(f"{value:.3g}" for value in best), f"{ratio:.2f}"])
    from fastbp.bench.report import table  # which an old version need not have

    print(table(lines))


if __name__ == "__main__":
    main()
