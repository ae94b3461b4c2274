"""scikit-learn's own MLPs beside fastbp.sklearn's: the same code, parameters, data and epochs.

    python bench/estimators.py --images FOLDER_OF_MNIST            prints the tables
    python bench/estimators.py --images FOLDER_OF_MNIST --write    writes them too

Models of one ``random_state`` are compared before anything is timed: after five epochs their
``coefs_`` must agree to rtol 1e-7 in float64, and ``loss_`` to 0.02 in float32. Then fits
alternate, with pauses in which threads fall asleep; scikit-learn's products have both cores as
well. Predictions follow others. With one sample a step, fits are of the first rows, for
scikit-learn takes minutes over all of them. A search is over 24 candidates, in two processes that
are there already, or on two threads; the first search of a program, which starts the processes, is
timed by itself.
"""

import argparse
import os
import statistics
import time
import warnings
from functools import partial
from typing import NamedTuple

import joblib
import numpy as np
import sklearn.neural_network as theirs
from report import write_block
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import fastbp.sklearn as ours
from fastbp import load_dataset
from fastbp.bench.machine import PAUSE, describe
from fastbp.bench.report import conditions_of, figure, table

SECONDS = 0.4
# Seconds of predictions before those that are timed, and about as many of these.
WARM = 0.02
PREDICTED_ROWS = (1, 10, 100, 1000, 10_000)
# Rows of one sample a step.
FEW = 2000
STEPS = {
    "Adam": {"solver": "adam"},
    "SGD, Nesterov 0.9": {"solver": "sgd"},
    "plain SGD": {"solver": "sgd", "momentum": 0},
}
DTYPES = ("float64", "float32")


class Problem(NamedTuple):
    """Data, and which of the two estimators learns them."""

    name: str
    kind: str
    X: np.ndarray
    y: np.ndarray


def problems(images):
    """Those that the comparison is made on."""
    X, y = load_digits(return_X_y=True)
    yield Problem("digits, 1,797×64", "MLPClassifier", X / 16, y)
    if images is None:
        print("MNIST left out: no folder of images, see --images")
    else:
        X, y = load_dataset(images)[:2]
        yield Problem(
            "MNIST, 10,000×784", "MLPClassifier", X[:10_000].astype("float64"), y[:10_000]
        )
    X, y = make_regression(20_000, 50, random_state=0)
    yield Problem("regression, 20,000×50", "MLPRegressor", X, y / 100)


def pair(kind, **parameters):
    """The two estimators: theirs, ours."""
    settings = {"random_state": 0, "tol": 0.0, "n_iter_no_change": np.inf} | parameters
    return getattr(theirs, kind)(**settings), getattr(ours, kind)(**settings)


def seconds_of(function, *arguments):
    time.sleep(PAUSE)
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def compared(kind, X, y, **parameters):
    """Refuse to time what does not learn the same."""
    models = [model.fit(X, y) for model in pair(kind, max_iter=5, **parameters)]
    if X.dtype == np.float32:  # in which rounding has grown large after so many steps
        np.testing.assert_allclose(models[1].loss_, models[0].loss_, rtol=0.02)
        return
    for reference, mine in zip(models[0].coefs_, models[1].coefs_, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-7, atol=1e-12)


def alternate(functions, arguments, rounds):
    """Median seconds of each function, and the median of the first's over the second's."""
    return medians([[seconds_of(f, *arguments) for f in functions] for _ in range(rounds)])


def medians(times):
    """Of each column of seconds, and of the ratios of the first to the second."""
    return [statistics.median(column) for column in zip(*times, strict=True)], statistics.median(
        first / second for first, second in times
    )


def fits(problem, dtype, rounds):
    """Rows of the table of fits."""
    for batch_size in ("auto", 1):
        for steps, parameters in STEPS.items():
            few = FEW if batch_size == 1 else len(problem.X)
            X, y = problem.X[:few].astype(dtype), problem.y[:few]
            y = y.astype(dtype) if problem.kind == "MLPRegressor" else y
            parameters = parameters | {"batch_size": batch_size}
            compared(problem.kind, X[:1000], y[:1000], **parameters)
            one = seconds_of(pair(problem.kind, max_iter=1, **parameters)[0].fit, X, y)
            epochs = max(2, round(SECONDS / one))
            models = pair(problem.kind, max_iter=epochs, **parameters)
            models[1].fit(X, y)
            times, ratio = alternate([model.fit for model in models], (X, y), rounds)
            each = [seconds / epochs / len(X) * 1e6 for seconds in times]
            row = [problem.name, dtype, str(batch_size), steps, *map(figure, each)]
            print(*row, figure(ratio), sep=" | ", flush=True)
            yield [*row, f"**{figure(ratio)}×**"]


def seconds_warm(call, X, often):
    """Seconds of a call among many: after a pause the first ones take several times as long."""
    time.sleep(PAUSE)
    began = start = time.perf_counter()
    while start - began < WARM:
        call(X)
        start = time.perf_counter()
    for _ in range(often):
        call(X)
    return (time.perf_counter() - start) / often


def predictions(problem, rounds):
    """Rows of the table of predictions."""
    models = [
        model.fit(problem.X[:2000], problem.y[:2000]) for model in pair(problem.kind, max_iter=2)
    ]
    name = "predict_proba" if problem.kind == "MLPClassifier" else "predict"
    for n in PREDICTED_ROWS:
        X = np.resize(problem.X, (n, problem.X.shape[1]))
        calls = [getattr(model, name) for model in models]
        np.testing.assert_allclose(calls[1](X), calls[0](X), rtol=1e-6, atol=1e-9)
        often = max(1, round(WARM / seconds_warm(calls[0], X, 1)))
        each = [[seconds_warm(call, X, often) for call in calls] for _ in range(rounds)]
        times, ratio = medians(each)
        row = [problem.name, name, f"{n:,}", *(figure(s * 1e6) for s in times)]
        print(*row, figure(ratio), sep=" | ", flush=True)
        yield [*row, f"**{figure(ratio)}×**"]


def search(model, backend="loky"):
    """Of 24 candidates, in two processes or, with the backend "threading", on two threads."""
    X, y = load_digits(return_X_y=True)
    grid = {
        "hidden_layer_sizes": [(50,), (100,)],
        "alpha": [1e-4, 1e-2, 1.0],
        "learning_rate_init": [1e-3, 1e-2],
        "activation": ["relu", "tanh"],
    }
    with joblib.parallel_config(backend=backend):
        return GridSearchCV(model, grid, n_jobs=2, cv=3).fit(X / 16, y)


def searches(rounds):
    """Rows of the table of searches."""
    models = pair("MLPClassifier", max_iter=30)
    calls = [partial(search, model) for model in models]
    first = [seconds_of(call) for call in calls]
    times, ratio = alternate(calls, (), rounds)
    yield [
        "digits, 3 folds, 30 epochs",
        *map(figure, times),
        f"**{figure(ratio)}×**",
    ]
    times, ratio = alternate([partial(search, model, "threading") for model in models], (), 2)
    yield ["on two threads", *map(figure, times), f"**{figure(ratio)}×**"]
    yield ["the first of a program", *map(figure, first), f"**{figure(first[0] / first[1])}×**"]


def main():
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description="Compare with scikit-learn's estimators.")
    parser.add_argument("--images", metavar="FOLDER", default=os.environ.get("FASTBP_MNIST"),
                        help="IDX files of MNIST; by default $FASTBP_MNIST")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write the documentation too")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    fitted = [["data", "dtype", "batch_size", "steps", "scikit-learn", "fastbp", "ratio"]]
    predicted = [["data", "call", "rows", "scikit-learn", "fastbp", "ratio"]]
    for problem in problems(options.images):
        for dtype in DTYPES:
            fitted += fits(problem, dtype, options.rounds)
        predicted += predictions(problem, options.rounds)
    searched = [["`GridSearchCV(n_jobs=2)`, seconds", "scikit-learn", "fastbp", "ratio"]]
    searched += searches(max(2, options.rounds // 2))
    conditions = (
        f"Medians of {options.rounds} rounds; one hidden layer of 100 units and everything else as "
        f"scikit-learn has it. {conditions_of(describe())}"
    )
    text = "\n\n".join(
        [
            f"Fits, µs a sample and epoch:\n\n{table(fitted)}",
            f"Predictions, µs a call:\n\n{table(predicted)}",
            f"Searches:\n\n{table(searched)}",
            conditions,
        ]
    )
    print(text)
    if options.write:
        write_block("docs/sklearn.md", "bench/estimators.py", text)


if __name__ == "__main__":
    main()
