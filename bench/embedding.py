"""One sample at a time, and many networks: in compiled code, in C, from Python, beside others.

python bench/embedding.py            prints the tables
python bench/embedding.py --write    writes them into docs/embedding.md too
python bench/embedding.py --quick --only streams river      tries some of it, with rough figures

Networks are 8-16-4 and 64-32-10, ReLU, cross-entropy; everything is float32 unless it says so.

In compiled code and in C, passes over the same rows take turns, many short ones each. The time of a
prediction depends on where the state lies in a page of memory, by up to a half: a figure is the
mean over several places of the median of each.

From Python, the systems of `singles.py` and `many.py` start from the same weights, take the same
rows in the same order and must reach the same losses; then the fastest settings of each alternate,
with pauses in which their threads fall asleep, and ratios are medians over the rounds. Where a
system cannot train the same network, its line says so.
"""

import argparse
import ctypes
import functools
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from calls import alternating
from many import MANY
from report import ROOT, write_block
from singles import STREAMS, deep_river_classifier, vw_features
from startup import seconds as seconds_printed

import fastbp
from fastbp import jit, kernels, optimizers
from fastbp.bench.comparison import (
    LEARNING_RATE,
    RTOL,
    make_problem,
    measure,
    seconds_of,
    with_parameters,
)
from fastbp.bench.machine import PAUSE, describe
from fastbp.bench.peers import PlainNumba, Task
from fastbp.bench.report import cell, conditions_of, figure, table

SIZES = (8, 16, 4), (64, 32, 10)
ROWS = 1000  # of a pass in compiled code
PAGE_BYTES, PLACES = 4096, range(0, 4096, 832)
STREAM_ROWS = 50_000
NETWORKS, ROWS_OF_EACH = 64, 4000
TRIALS = 3  # of a system's settings
RIVER_HIDDEN, RIVER_RATE = 20, 0.05
PEERS = "vowpalwabbit", "river", "deep-river"
PAGE = ROOT / "docs" / "embedding.md"
MARK = "bench/embedding.py"


class Protocol(NamedTuple):
    """How long to measure."""

    rounds: int = 9
    seconds: float = 0.15
    """Of each system in a round, about."""
    # The same for compiled code.
    short_rounds: int = 41
    short_seconds: float = 0.001
    processes: int = 5


QUICK = Protocol(3, 0.01, 5, 0.001, 1)


def name_of(sizes):
    return "-".join(map(str, sizes))


# In compiled code ---------------------------------------------------------------------------------


@numba.njit
def predict_rows(s, X, out):
    for t in range(len(X)):
        jit.predict_one(s, X[t], out)


@numba.njit
def learn_rows(start, s, X, y):
    s[:] = start  # so that all passes do the same
    loss = 0.0
    for t in range(len(X)):
        loss += jit.learn_one(s, X[t], y[t])
    return loss


@numba.njit
def differentiate_rows(s, X, cotangent, gradient, gradient_x):
    for t in range(len(X)):
        jit.vjp(s, X[t], cotangent, gradient, gradient_x)


OPTIMIZERS = {
    "learn, SGD": optimizers.SGD(),
    "momentum": optimizers.SGD(momentum=0.9),
    "Adam": optimizers.Adam(),
}
COLUMNS = ("predict", *OPTIMIZERS, "vjp, parameters and x", "vjp, x")


def placed(state):
    """Copies of a state, each at another place of a page, as jit.state's are by chance."""
    for place in PLACES:
        flat = kernels.aligned_zeros(state.size + PAGE_BYTES // state.itemsize, state.dtype)
        start = (place - flat.ctypes.data) % PAGE_BYTES // state.itemsize
        copy = flat[start : start + state.size]
        copy[:] = state
        yield copy


def compiled_functions(network, X, y):
    """Calls of `fastbp.jit` by column, one for each place, which make a pass over the rows."""
    partial = functools.partial
    out = np.empty(network.sizes[-1], network.dtype)
    cotangent = np.linspace(-1, 1, network.sizes[-1]).astype(network.dtype)
    gradient, gradient_x = np.zeros_like(network.params), np.zeros_like(X[0])
    states = [*placed(jit.state(network))]
    functions = {"predict": [partial(predict_rows, s, X, out) for s in states]}
    for column, optimizer in OPTIMIZERS.items():
        start = jit.state(network, optimizer, learning_rate=LEARNING_RATE)
        functions[column] = [partial(learn_rows, start, s, X, y) for s in placed(start)]
    functions["vjp, parameters and x"] = [
        partial(differentiate_rows, s, X, cotangent, gradient, gradient_x) for s in states
    ]
    functions["vjp, x"] = [
        partial(differentiate_rows, s, X, cotangent, None, gradient_x) for s in states
    ]
    functions["predict"][-1]()
    np.testing.assert_allclose(out, network.predict_proba(X)[-1], rtol=RTOL, atol=1e-6)
    return functions


C_PROGRAM = """
#include <string.h>
#include "fastbp.h"
#include "net.h"

void library_predict(real *s, int64_t n, const real *X, int64_t rows, real *out)
{
    for (int64_t t = 0; t < rows; t++)
        fastbp_predict_one_SUFFIX(s, n, X + t * net_inputs, net_inputs,
                                  out + t * net_outputs, net_outputs);
}

double library_learn(const real *start, real *s, int64_t n, const real *X, const int64_t *y,
                     int64_t rows)
{
    double loss, sum = 0.0;
    memcpy(s, start, n * sizeof *s);
    for (int64_t t = 0; t < rows; t++) {
        if (fastbp_learn_one_SUFFIX(s, n, X + t * net_inputs, net_inputs, y[t], NULL, 0, 1.0,
                                    &loss) != FASTBP_DONE)
            return -1.0;
        sum += loss;
    }
    return sum;
}

void header_predict(const real *X, int64_t rows, real *out)
{
    for (int64_t t = 0; t < rows; t++)
        net_predict(&net_exported, X + t * net_inputs, out + t * net_outputs);
}

double header_learn(const real *X, const int64_t *y, int64_t rows, double rate)
{
    net_parameters mine = net_exported;
    double sum = 0.0;
    for (int64_t t = 0; t < rows; t++)
        sum += net_learn_class(&mine, X + t * net_inputs, (int)y[t], (real)rate, 0, 1);
    return sum;
}
"""


def c_code(network, folder):
    """The program above as a library for the network's dtype and `fastbp.to_c` of the network."""
    library = fastbp.c_library()
    fastbp.to_c(network, folder / "net.h", training=True, name="net")
    real, suffix = {"float32": ("float", "f32"), "float64": ("double", "f64")}[network.dtype.name]
    text = C_PROGRAM.replace("SUFFIX", suffix)
    (folder / "rows.c").write_text(text)
    subprocess.run(
        ["cc", "-std=c99", "-O3", "-march=native", "-shared", "-fPIC", f"-Dreal={real}",
         f"-I{library.parent}", "rows.c", "-o", "rows.so", library, f"-Wl,-rpath,{library.parent}",
         "-lm"],
        cwd=folder, check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(folder / "rows.so"))


def c_functions(network, X, y, compiled):
    """Calls of the library's functions and of the header's by column, verified."""
    with tempfile.TemporaryDirectory() as folder:
        code = c_code(network, Path(folder))
    out = np.empty((len(X), network.sizes[-1]), network.dtype)

    def call(name, *given):
        function = getattr(code, name)
        function.restype = ctypes.c_double if name.endswith("learn") else None
        passed = [
            ctypes.c_void_p(each.ctypes.data) if isinstance(each, np.ndarray) else each
            for each in given
        ]
        # Arrays, which must live as long as their addresses are used.
        return functools.partial(lambda arrays, *p: function(*p), given, *passed)

    n_rows, rate = ctypes.c_int64(len(X)), ctypes.c_double(LEARNING_RATE)
    library = {
        "predict": [
            call("library_predict", s, ctypes.c_int64(s.size), X, n_rows, out)
            for s in placed(jit.state(network))
        ]
    }
    for column, optimizer in OPTIMIZERS.items():
        start = jit.state(network, optimizer, learning_rate=LEARNING_RATE)
        n = ctypes.c_int64(start.size)
        library[column] = [call("library_learn", start, s, n, X, y, n_rows) for s in placed(start)]
        assert library[column][0]() == compiled[column][0]()  # the same bits
    header = {
        "predict": [call("header_predict", X, n_rows, out)],
        "learn, SGD": [call("header_learn", X, y, n_rows, rate)],
    }
    losses = [its["learn, SGD"][0]() for its in (header, compiled)]
    np.testing.assert_allclose(*losses, rtol=RTOL)
    for functions in (library, header):
        out[:] = 0
        functions["predict"][0]()
        np.testing.assert_allclose(out, network.predict_proba(X), rtol=RTOL, atol=1e-6)
    return {"C, `fastbp.c_library`": library, "C, `fastbp.to_c`": header}


def in_compiled_code(protocol):
    """Table of nanoseconds."""
    functions, left_out = {}, []
    for sizes in SIZES:
        for dtype in ("float32", "float64"):
            problem = make_problem(sizes, "random", ROWS)
            network, X, y = problem.network.copy(dtype=dtype), problem.X.astype(dtype), problem.y
            compiled = compiled_functions(network, X, y)
            found = {"`fastbp.jit`": compiled}
            if shutil.which("cc"):
                found |= c_functions(network, X, y, compiled)
            else:
                left_out = ["C, for there is no compiler `cc`"]
            plain = PlainNumba(Task(network, X, y, LEARNING_RATE, 1, "sgd"), skips_inactive=False)
            found["plain Numba loops"] = {"learn, SGD": [plain.run]}
            for system, its in found.items():
                key = f"{name_of(sizes)}, {dtype}, {system}"
                functions |= {(key, column): calls for column, calls in its.items()}
    each = {(*key, i): call for key, calls in functions.items() for i, call in enumerate(calls)}
    times = alternating(each, protocol.short_rounds, protocol.short_seconds, pause=0)
    medians = {key: statistics.median(values) / ROWS for key, values in times.items()}
    rows = [["ns of a sample", *COLUMNS]]
    for key in dict.fromkeys(key for key, _ in functions):
        cells = ["–"] * len(COLUMNS)
        for i, column in enumerate(COLUMNS):
            if places := [value for place, value in medians.items() if place[:2] == (key, column)]:
                cells[i] = figure(statistics.fmean(places) * 1e9)
        rows.append([key, *cells])
    return with_left_out(table(rows), left_out)


def with_left_out(text, left_out):
    return f"{text}\n\nLeft out: {'; '.join(left_out)}." if left_out else text


# From Python --------------------------------------------------------------------------------------


def in_microseconds(times, n=1):
    """Rounds in the form that tables take."""
    return {"microseconds": [value / n * 1e6 for value in times]}


def compared(name, columns, ours):
    """Cells of a system, with the ratio to ours where that was measured."""
    return [cell(column.get(name), column.get(ours, column.get(name))) for column in columns]


def streams(protocol):
    """Table of steps and predictions, a sample in a call."""
    columns, left_out = {}, {}
    for sizes in SIZES:
        problem = make_problem(sizes, "random", STREAM_ROWS)
        budget = protocol.seconds * protocol.rounds
        report = measure(problem, [(1, "sgd")], protocol.rounds, budget, STREAMS)
        left_out |= {gone["system"]: gone["reason"] for gone in report["left_out"]}
        learning = {entry["system"]: entry for entry in report["entries"]}
        columns[f"{name_of(sizes)}, learn"] = learning
        columns[f"{name_of(sizes)}, predict"] = predictions(problem, learning, protocol)
    rows = [["µs of a sample", *columns]]
    for name in STREAMS:
        if name not in left_out:
            rows.append([name, *compared(name, columns.values(), next(iter(STREAMS)))])
    reasons = [f"{name}: {reason}" for name, reason in left_out.items()]
    return with_left_out(table(rows), reasons)


def predictions(problem, learning, protocol):
    """Times of a prediction by system, verified where networks are the same."""
    n_rows = 256
    X, y = problem.X[:n_rows], problem.y[:n_rows]
    expected = problem.network.predict_proba(X[-1:])[0]
    functions = {}
    for name in learning:
        settings = learning[name]["settings"]
        settings = {key: settings[key] for key in STREAMS[name].tried[0]}
        task = Task(problem.network, X, y, LEARNING_RATE, 1, "sgd")
        system = STREAMS[name](task, **settings)
        if hasattr(system, "predict"):
            found = np.ravel(system.predict())
            if system.parameters():
                np.testing.assert_allclose(found, expected, rtol=RTOL, atol=1e-6, err_msg=name)
            functions[name] = system.predict
    times = alternating(functions, protocol.rounds, protocol.seconds)
    return {name: in_microseconds(values, n_rows) for name, values in times.items()}


class OnRiver(NamedTuple):
    """A model of River's kind."""

    learn: object
    predict: object
    """Gives the probability of True."""
    rows: list


def fastbp_river(rows):
    from fastbp.river import MLPClassifier

    model = MLPClassifier((RIVER_HIDDEN,), learning_rate=RIVER_RATE, seed=0)
    return OnRiver(model.learn_one, model.predict_proba_one, rows)


def deep_river(rows):
    sizes = len(rows[0][0]), RIVER_HIDDEN, 2
    model = deep_river_classifier(sizes, RIVER_RATE)
    return OnRiver(model.learn_one, model.predict_proba_one, rows)


def river_linear(rows):
    from river.linear_model import LogisticRegression

    model = LogisticRegression()
    return OnRiver(model.learn_one, model.predict_proba_one, rows)


def vowpal_wabbit(rows):
    import vowpalwabbit

    model = vowpalwabbit.Workspace(
        f"--nn {RIVER_HIDDEN} --loss_function logistic --link logistic -l {RIVER_RATE} --quiet"
    )
    examples = [(model.example(f"{1 if y else -1} | {vw_features(x.items())}"), y) for x, y in rows]
    return OnRiver(
        lambda example, _: model.learn(example), lambda e: {True: model.predict(e)}, examples
    )


RIVER = {
    "`fastbp.river.MLPClassifier`": fastbp_river,
    "deep-river's `Classifier`": deep_river,
    "VowpalWabbit, `--nn`, parsed examples": vowpal_wabbit,
    "River's `LogisticRegression`, a linear model": river_linear,
}


def accuracy(model):
    """Share of rows whose class is predicted before they are learned."""
    right = 0
    for x, y in model.rows:
        right += (model.predict(x).get(True, 0.0) > 0.5) == y
        model.learn(x, y)
    return right / len(model.rows)


def river(protocol):
    """Table of models on River's contract, learning from River's own data."""
    try:
        from river.datasets import Phishing
    except ImportError as reason:
        return f"River left out: {reason}."
    rows = [(x, bool(y)) for x, y in Phishing()]
    models, left_out = {}, []
    for name, build in RIVER.items():
        try:
            models[name] = build(rows)
        except ImportError as reason:
            left_out.append(f"{name}: {reason}")
    right = {name: accuracy(model) for name, model in models.items()}

    def learning(model):
        for x, y in model.rows:
            model.learn(x, y)

    def predicting(model):
        for x, _ in model.rows:
            model.predict(x)

    lines = [["µs of a sample", "learn", "predict", "right, first pass"]]
    columns = []
    for work in (learning, predicting):
        functions = {name: functools.partial(work, model) for name, model in models.items()}
        times = alternating(functions, protocol.rounds, protocol.seconds)
        columns.append({name: in_microseconds(t, len(rows)) for name, t in times.items()})
    for name in models:
        lines.append([name, *compared(name, columns, next(iter(RIVER))), f"{right[name]:.0%}"])
    return with_left_out(table(lines), left_out)


# Many networks ------------------------------------------------------------------------------------


def many(protocol):
    """Table of ensembles."""
    columns, left_out = {}, {}
    for sizes in SIZES:
        problem = make_problem(sizes, "random", ROWS_OF_EACH)
        systems, reasons = verified_many(problem)
        left_out |= reasons
        functions = {name: system.run for name, system in systems.items()}
        times = alternating(functions, protocol.rounds, protocol.seconds)
        n = NETWORKS * ROWS_OF_EACH
        columns[name_of(sizes)] = {
            name: {"microseconds": [value / n * 1e9 for value in values]}
            for name, values in times.items()
        }
    rows = [["ns of a sample and network", *columns]]
    for name in MANY:
        if name not in left_out:
            rows.append([name, *compared(name, columns.values(), next(iter(MANY)))])
    return with_left_out(table(rows), [f"{n}: {reason}" for n, reason in left_out.items()])


def verified_many(problem):
    """Systems with their fastest settings, and why others are left out."""
    networks = [fastbp.Network(problem.sizes, seed=k) for k in range(NETWORKS)]
    generator = np.random.default_rng(0)
    orders = np.array([generator.permutation(len(problem.X)) for _ in networks])
    best, left_out, expected = {}, {}, None
    for name, system in MANY.items():
        for settings in system.tried:
            try:
                built = system(networks, problem.X, problem.y, orders, LEARNING_RATE, **settings)
            except ImportError as reason:
                left_out[name] = str(reason)
                break
            built.run()
            trained = map(with_parameters, networks, built.parameters())
            losses = [network.loss(problem.X, problem.y) for network in trained]
            expected = losses if expected is None else expected
            np.testing.assert_allclose(losses, expected, rtol=RTOL, err_msg=f"{name}: {settings}")
            time.sleep(PAUSE)
            taken = min(seconds_of(built.run) for _ in range(TRIALS))
            print(f"{problem}: {name} {settings}, {taken:.3g} s", flush=True)
            if name not in best or taken < best[name][0]:
                best[name] = taken, built
    return {name: built for name, (_, built) in best.items()}, left_out


# Compilation --------------------------------------------------------------------------------------

COMPILE = """
import time
import numba
import numpy as np
import fastbp
from fastbp import jit

@numba.njit
def learn(s, X, y):
    loss = 0.0
    for t in range(len(X)):
        loss += jit.learn_one(s, X[t], y[t])
    return loss

s = jit.state(fastbp.Network((8, 16, 4), seed=0))
X, y = np.zeros((10, 8), np.float32), np.zeros(10, np.int64)
began = time.process_time()
learn(s, X, y)
print(time.process_time() - began)
"""


def compilation(protocol):
    """Table of the CPU seconds that a function of the user's takes, fastbp's code being ready."""
    seconds_printed("-c", COMPILE)  # so that it is
    taken = [seconds_printed("-c", COMPILE) for _ in range(protocol.processes)]
    row = ["a function that calls `jit.learn_one`", f"{statistics.median(taken):.2f}"]
    return table([["compilation", "CPU seconds"], row])


PARTS = {
    "compiled": in_compiled_code,
    "streams": streams,
    "river": river,
    "many": many,
    "compilation": compilation,
}
CAPTIONS = {
    "compiled": "One sample in compiled code of the user's, one thread:",
    "streams": "One sample in a call from Python, plain SGD:",
    "river": f"River's Phishing data, 9 features in dicts, {RIVER_HIDDEN} hidden units. Models "
    "begin with weights of their own; the last column is their accuracy before learning a sample:",
    "many": f"{NETWORKS} networks, each with its own order of {ROWS_OF_EACH} rows, plain SGD:",
    "compilation": "A function of the user's, the machine code of fastbp being there:",
}


def write(text):
    """Into the page, which gets a place for it if it has none."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# One sample at a time\n"
    if f"<!-- {MARK} -->" not in page:
        PAGE.write_text(f"{page}\n## Measured\n\n<!-- {MARK} -->\n<!-- end -->\n", encoding="utf-8")
    write_block(PAGE.relative_to(ROOT), MARK, text)


def main():
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description="Time single samples and many networks.")
    parser.add_argument("--quick", action="store_true", help="rough figures, to try it")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the tables")
    parser.add_argument("--write", action="store_true", help="write docs/embedding.md too")
    options = parser.parse_args()
    if options.write and (options.quick or options.only):
        parser.error("--write needs the whole of it, without --quick and --only")
    protocol = QUICK if options.quick else Protocol()
    tables = []
    for name in options.only or PARTS:
        began = time.perf_counter()
        tables.append(f"{CAPTIONS[name]}\n\n{PARTS[name](protocol)}")
        print(f"{name}: {time.perf_counter() - began:.0f} s\n\n{tables[-1]}\n", flush=True)
    conditions = conditions_of(describe(*PEERS))
    rounds = f"Medians of {protocol.rounds} rounds, in compiled code of {protocol.short_rounds}"
    agree = f"losses of systems with the same network agree to {RTOL:g} of their value"
    text = "\n\n".join([*tables, f"{rounds}; {agree}. {conditions}"])
    print(conditions)
    if options.write:
        write(text)


if __name__ == "__main__":
    main()
