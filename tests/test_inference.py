"""Outputs, losses and gradients over many rows: blocks, threads, zeros, scratch."""

import gc
import itertools
import os
import platform
import re
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
import scipy.sparse
from naive import Naive, one_hot
from numba import config
from test_jit import DISABLED
from test_minibatch import TIGHT, problem

from fastbp import Network, Trainer, kernels, optimizers, threads

SIZES = (300, 70, 33, 5)


def make(dtype="float64", **options):
    return Network(SIZES, activation=("relu", "sigmoid"), dtype=dtype, seed=1, **options)


@pytest.mark.parametrize("n", [1, 2, 31, 255, 256, 257, 700])
@pytest.mark.parametrize("density", [0.1, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_every_way_equals_the_oracle(n, density, sparse):
    X, y = problem(SIZES, n, density=density)
    network = make()
    oracle = Naive.of(network)
    given = scipy.sparse.csr_array(X) if sparse else X
    weights = np.linspace(0.5, 2, n)
    loss, gradients = network.value_and_grad(given, y, sample_weight=weights)
    relative = weights / weights.mean()
    few = slice(0, None, max(1, n // 20))
    outputs = np.array([oracle.forward(x)[1][-1] for x in X[few]])
    np.testing.assert_allclose(network.predict_proba(given)[few], outputs, **TIGHT)
    evaluation = network.evaluate(given, y, sample_weight=weights)
    assert evaluation.loss == pytest.approx(loss, rel=1e-12)
    assert evaluation.accuracy == (network.predict(given) == y).mean()
    losses = [oracle.loss(X[i : i + 1], one_hot(y[i : i + 1], 5)) for i in range(n)]
    assert loss == pytest.approx((relative * losses).mean(), rel=1e-9)
    dW, db = oracle.batch_gradient(X, one_hot(y, 5), relative)
    for mine, theirs in zip((*gradients.weights, *gradients.biases), dW + db, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 rows, and threads for any work."""
    for name in ("_WORTH_SPREADING", "_LARGEST"):
        monkeypatch.setattr(threads, name, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype, small_blocks):
    X, y = problem(SIZES, 3000, density=0.3)
    network = make(dtype)
    samples = network.samples(X, y)
    results = []
    for n_threads in (1, 2, 4):
        outputs = np.zeros((3000, 5), dtype)
        results.append((*network.parameters.infer(samples, outputs, n_threads), outputs.tobytes()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, np.float32])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_short_calls_give_the_bits_of_long_ones(form, loss, monkeypatch):
    X, y = problem((6, 5, 3), 300)
    network = Network((6, 5, 3), loss=loss, dtype="float64", seed=0)
    X, y = form(X), one_hot(y, 3)

    def results():
        evaluated = network.evaluate(X, y)
        loss, gradients = network.value_and_grad(X, y)
        return network.predict(X).tobytes(), evaluated, loss, gradients.weights[0].tobytes()

    short = results()
    monkeypatch.setattr("fastbp.parameters._SHORT", 0)
    assert results() == short


def test_small_gradients_are_taken_alone(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 2)
    real, seen = kernels.train_minibatch, []

    def spy(*arguments):
        seen.append(len(arguments[-1]))
        return real(*arguments)

    monkeypatch.setattr(kernels, "train_minibatch", spy)
    X, y = problem((8, 16, 4), 256)
    network = Network((8, 16, 4), seed=0)
    ones = np.ones(256)  # with weights, for a shorter way is not by batches
    network.value_and_grad(X, y, sample_weight=ones)
    network.objective(X, y, sample_weight=ones)(network.params)
    Network((8, 16, 4), seed=0).check_gradients(*problem((8, 16, 4), 8))
    assert len(seen) >= 3
    assert set(seen) == {len(kernels.ALONE)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_outputs", [1, 2, 7, 8, 9, 16, 17, 40])
def test_few_rows_have_the_bits_of_many_and_nothing_else_is_written(n_outputs, dtype):
    X, _ = problem((6, 5, n_outputs), 100)
    X = kernels.read_only(X.astype(dtype))
    network = Network((6, 5, n_outputs), loss="squared_error", dtype=dtype, seed=0)
    own, samples = network.parameters, network.samples(X, np.zeros((100, n_outputs)))
    whole = np.empty((100, n_outputs), dtype)
    own.infer(samples, whole)
    for length in (1, 31, 32):
        batch = kernels.make_batch(own.layout, length, own.dtype, purpose="inference")
        for n in (0, 1, 31, 32, 33, 65):
            out = np.full((102, n_outputs), 7, dtype)
            assert kernels.infer_rows(own.state, batch, X[:n], out[1 : 1 + n], True)
            np.testing.assert_array_equal(out[1 : 1 + n], whole[:n])
            assert (out[[0, *range(1 + n, 102)]] == 7).all()


def test_few_rows_that_are_not_finite_are_found():
    network = Network((6, 5, 3), seed=0)
    own, X = network.parameters, np.zeros((40, 6), np.float32)
    batch = kernels.make_batch(own.layout, 32, own.dtype, purpose="inference")
    out = np.empty((40, 3), np.float32)
    X[39, 5] = np.nan
    assert not kernels.infer_rows(own.state, batch, kernels.read_only(X), out, True)
    assert kernels.infer_rows(own.state, batch, kernels.read_only(X), out, False)
    with pytest.raises(ValueError, match="out must have a row for every sample"):
        kernels.infer_rows(own.state, batch, kernels.read_only(X), out[:39], True)
    with pytest.raises(ValueError, match="rows must have as many inputs"):
        kernels.infer_rows(own.state, batch, kernels.read_only(X[:, :5].copy()), out, True)


@pytest.mark.parametrize("share", [0.0, 0.9], ids=["dense", "mostly zero"])
@pytest.mark.parametrize("n", [31, 32])
def test_a_group_of_a_larger_network_has_the_bits_of_many_rows(n, share, generator):
    network = Network((200, 64, 5), seed=0)
    X = generator.normal(size=(96, 200)).astype(np.float32)
    X[generator.random(X.shape) < share] = 0
    few, many = network.predict_proba(X[:n]), network.predict_proba(X)
    if n == 32 or share == 0:  # zeros of fewer rows are not looked for
        np.testing.assert_array_equal(few, many[:n])
    np.testing.assert_allclose(few, many[:n], rtol=1e-5)
    X[n - 1, 3] = np.inf
    with pytest.raises(ValueError, match="X must be finite"):
        network.predict_proba(X[:n])


FEW = (8, 16, 4)
OUT = np.empty_like(Network(FEW, seed=0).params)
PLAIN = Trainer(Network(FEW, seed=0))
ADAM = Trainer(Network(FEW, seed=0), "adam", batch_size=32)


@pytest.mark.skipif(DISABLED, reason="each line of a kernel is a call then")
@pytest.mark.parametrize(
    ("use", "most"),
    [
        (lambda network, X, y: network.predict(X[:1]), 28),
        (lambda network, X, y: network.training_samples(X, y), 41),
        (lambda network, X, y: network.evaluate(X, y), 54),
        (lambda network, X, y: network.value_and_grad(X, y, OUT), 65),
        (lambda network, X, y: PLAIN.partial_fit(X[:1], y[:1]), 100),
        (lambda network, X, y: ADAM.partial_fit(X, y), 117),
    ],
)
def test_small_calls_do_little_beside_the_kernel(use, most):
    """What they cost is the calls of functions on the way: some 0.1 µs each."""
    network = Network(FEW, seed=0)
    X, y = problem(FEW, 32)
    X = X.astype(np.float32)
    use(network, X, y)
    calls = []

    def note(frame, event, function):
        if event in ("call", "c_call"):
            calls.append(function or frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        use(network, X, y)
    finally:
        sys.setprofile(before)
    assert len(calls) <= most, calls


def test_callers_on_many_threads(small_blocks):
    """Each call has scratch of its own."""
    X, y = problem(SIZES, 1000)
    network = make("float32")
    expected, (loss, gradient) = network.predict_proba(X), network.value_and_grad(X, y)
    wrong = []

    def use():
        for _ in range(20):
            if not np.array_equal(network.predict_proba(X), expected):
                wrong.append("predict")
            again, other = network.value_and_grad(X, y)
            if again != loss or not np.array_equal(other.weights[0], gradient.weights[0]):
                wrong.append("gradient")

    callers = [threading.Thread(target=use) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_ctrl_c_is_heard_between_blocks(small_blocks, monkeypatch):
    X, _ = problem(SIZES, 3000)
    network = make()
    calls = []

    def infer(*arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(kernels, "infer", infer)
    with pytest.raises(KeyboardInterrupt):
        network.predict(X)
    assert len(calls) < 12


def test_helpers_take_part(small_blocks):
    barrier = threading.Barrier(2, timeout=30)
    seen = set()

    def work(start, stop):
        if start < 32:
            barrier.wait()  # passes if two threads are at it at once
        seen.add(threading.get_ident())
        return start

    assert threads.spread(work, 800, 1, 2) == list(range(0, 800, 16))
    assert len(seen) == 2
    assert threading.get_ident() in seen
    # Helpers are kept, but nothing of what they were given.
    pool = next(iter(threads._helpers.values()))
    helpers = set(pool._threads)
    alive = weakref.ref(work)
    del work
    gc.collect()
    assert alive() is None
    threads.spread(lambda *_: time.sleep(0.01), 64, 1, 2)
    assert list(threads._helpers.values()) == [pool]
    assert pool._threads == helpers


def test_of_several_errors_the_first_blocks_is_raised(small_blocks):
    barrier = threading.Barrier(2, timeout=30)

    def work(start, stop):
        barrier.wait()
        raise ValueError(f"block {start}")

    with pytest.raises(ValueError, match="block 0"):
        threads.spread(work, 80, 1, 2)
    network = make()
    X = np.zeros((3000, 300))
    X[2500, 7], X[600, 3] = np.nan, np.inf
    with pytest.raises(ValueError, match="X must be finite, got inf in row 600, column 3"):
        network.predict(X)


def test_a_helper_that_comes_late_touches_nothing():
    turns = threads._Spread(lambda *_: pytest.fail("it was settled"), [(0, 16), (16, 32)])
    turns.settle()
    turns.help()
    turns.settle()
    assert turns.results == turns.errors == {}


# In a process of its own, whose main thread Ctrl-C can interrupt.
EVERY_LINE = """
import sys, threading, time
from fastbp import threads

threads._WORTH_SPREADING = 100
threads._LARGEST = 16 * 100
busy = []

def work(start, stop):
    busy.append(start)
    time.sleep(1e-4)
    busy.remove(start)
    return start

def interrupted_at(k):
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename != threads.__file__:
            return None
        if event == "line":
            count += 1
            if count == k:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        threads.spread(work, 64, 100, 3)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert count < k, "Ctrl-C is lost"
    return False

k = 1
while interrupted_at(k):
    assert busy == [], k  # no helper works on with the caller's data
    assert threads.spread(work, 64, 100, 3) == [0, 16, 32, 48], k
    k += 1
assert k > 30
"""


def test_ctrl_c_at_any_line_leaves_no_helper_at_work():
    subprocess.run([sys.executable, "-c", EVERY_LINE], check=True, timeout=120)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 1000, 100_003])
@pytest.mark.parametrize("operations", [1, 500, 1_000_000, 100_000_000])
def test_blocks_cover_all_rows_and_are_neither_small_nor_large(n, operations):
    blocks = threads._blocks(n, operations)
    assert blocks[0][0] == 0
    assert blocks[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
    for start, stop in blocks[:-1]:
        assert (stop - start) % 16 == 0
        assert (stop - start) * operations >= threads._WORTH_SPREADING / 32
        assert (stop - start - 16) * operations <= 1.5 * threads._LARGEST
    if n * operations >= threads._WORTH_SPREADING and n > 16:
        assert len(blocks) >= 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12: of a fork with threads
def test_a_forked_child_has_helpers_of_its_own(small_blocks):
    def run():
        barrier = threading.Barrier(2, timeout=10)
        return threads.spread(lambda start, stop: barrier.wait() >= 0, 32, 1, 2)

    assert run() == [True, True]
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if run() == [True, True] else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_long_gradients_are_cut_at_whole_parts():
    """However long: the sums go on from call to call."""
    X, y = problem(SIZES, 1000)
    network = make()
    loss, gradients = network.value_and_grad(X, y)
    halves = [network.value_and_grad(X[i : i + 500], y[i : i + 500]) for i in (0, 500)]
    assert loss == pytest.approx((halves[0][0] + halves[1][0]) / 2, rel=1e-12)
    mean = (halves[0][1].weights[0] + halves[1][1].weights[0]) / 2
    np.testing.assert_allclose(gradients.weights[0], mean, **TIGHT)


def test_a_gradient_into_out_allocates_nothing_to_speak_of():
    X, y = problem(SIZES, 600)
    network = make()
    out = np.full_like(network.params, 9.0)
    network.value_and_grad(X, y, out)
    tracemalloc.start()
    for _ in range(3):
        network.value_and_grad(X, y, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Labels are copied, 8 bytes a row, and checks look at the rows once; no matrix is.
    assert peak < 40_000 < min(X.nbytes, out.nbytes)


def test_flat_vectors_and_layers_are_views_of_each_other():
    network = make()
    flat = np.zeros_like(network.params)
    weights, biases = network.views(flat)
    for own, other in zip(network.weights + network.biases, weights + biases, strict=True):
        other[...] = own
    np.testing.assert_array_equal(flat, network.params)
    with pytest.raises(ValueError, match="flat must be an array of params' shape"):
        network.views(flat[1:])
    with pytest.raises(ValueError, match="flat must be an array of params' shape"):
        network.views([1.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scipy_minimizes_the_objective(dtype):
    from scipy.optimize import check_grad, minimize

    X, y = problem((6, 5, 3), 50)
    network = Network((6, 5, 3), activation="tanh", dtype=dtype, seed=0)
    weights = np.linspace(0.5, 2, 50)
    f = network.objective(X, y, sample_weight=weights, weight_decay=0.1)
    start = network.params.astype(np.float64)
    loss, gradient = f(start)
    assert gradient.dtype == np.float64
    penalty = 0.05 * sum((W.astype(float) ** 2).sum() for W in network.weights)
    assert loss == pytest.approx(network.loss(X, y, weights) + penalty, rel=1e-6)
    if dtype == "float64":
        assert check_grad(lambda p: f(p)[0], lambda p: f(p)[1], start) < 1e-6
    network.params[:] = minimize(f, start, jac=True, method="L-BFGS-B").x
    assert f(network.params)[0] < 0.9 * loss
    assert np.abs(f(network.params)[1]).max() < 1e-2


def test_the_objective_gives_a_vector_of_its_own_each_time():
    """Optimizers keep the last gradient while they ask for the next."""
    X, y = problem((6, 5, 3), 50)
    f = Network((6, 5, 3), dtype="float64", seed=0).objective(X, y)
    start = f.network.params.copy()
    one = f(start)[1]
    kept = one.copy()
    f(start + 0.1 * (start != 0))
    np.testing.assert_array_equal(one, kept)


WHOLE = {
    "uint8": lambda X: (X * 40 + 100).astype(np.uint8),
    "float64": lambda X: X,
    "float16": lambda X: X.astype(np.float16),
    "Fortran": lambda X: np.asfortranarray(X.astype(np.float32)),
    "strided": lambda X: np.repeat(X.astype(np.float32), 2, axis=1)[:, ::2],
    "big-endian": lambda X: X.astype(">f4"),
    "read-only": lambda X: kernels.read_only(X),
    "mostly tiny": lambda X: np.where(X > 1, X, 1e-300),  # which float32 has as zeros
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("n", [1, 31, 700, 5000])
def test_rows_converted_block_by_block_give_the_bits_of_a_whole_copy(kind, n):
    X, y = problem(SIZES, n)
    given = WHOLE[kind](X)
    network = make("float32")
    weights = np.linspace(0.5, 2, n)
    with np.errstate(under="ignore"):
        whole = given.astype(np.float32, order="C")
    np.testing.assert_array_equal(network.predict_proba(given), network.predict_proba(whole))
    assert network.evaluate(given, y, weights) == network.evaluate(whole, y, weights)
    for dtype in ("float32", "float64", "uint8", ">f4"):
        targets = one_hot(y, 5).astype(dtype)
        expected = network.evaluate(whole, targets.astype(np.float32), weights)
        for rows in (given, whole, scipy.sparse.csr_array(whole)):
            result = network.evaluate(rows, targets, weights)
            assert result.accuracy == expected.accuracy
            assert result.loss == pytest.approx(expected.loss, rel=1e-6)
            assert rows is not whole or result == expected


@pytest.mark.parametrize("kind", ["uint8", "float64", "Fortran"])
def test_rows_of_another_kind_are_never_converted_whole(kind, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 2)  # each has a block at a time
    network = Network((784, 16, 10), seed=0)
    X = WHOLE[kind](np.random.default_rng(0).random((20_000, 784)))
    y = np.arange(20_000) % 10
    for call in (lambda: network.predict(X), lambda: network.evaluate(X, y)):
        network.predict(X[:100])
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12e6 < 4 * X.size / 5


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_targets_of_another_kind_are_never_converted_whole(dtype, form, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 2)
    monkeypatch.setattr("fastbp.samples._SCAN", 1 << 18)
    network = Network((10, 16, 784), loss="binary_cross_entropy", seed=0)
    X = form(np.random.default_rng(0).random((20_000, 10)).astype(np.float32))
    y = np.random.default_rng(0).integers(0, 2, (20_000, 784)).astype(dtype)
    network.evaluate(X[:100], y[:100])
    tracemalloc.start()
    result = network.evaluate(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6 < 4 * y.size / 3
    assert result == network.evaluate(X, y.astype(np.float32))
    y[15_000, 3] = 2
    with pytest.raises(ValueError, match=r"y must be between 0 and 1 .* in row 15000\."):
        network.evaluate(X, y)


def test_a_bad_row_of_another_kind_is_named_by_its_own_number():
    network = make("float32")
    X = np.zeros((3000, 300))
    for value, problem_ in ((np.nan, "be finite"), (1e300, "be finite in float32")):
        X[2500, 7] = value
        for call in (network.predict, lambda X: network.loss(X, np.zeros(3000, int))):
            message = f"X must {problem_}, got {value} in row 2500, column 7"
            with pytest.raises(ValueError, match=re.escape(message)):
                call(X)


# Outputs that are not finite -------------------------------------------------------------------


def overflowing(loss):
    """A network and rows, of which the one numbered 1234 overflows it."""
    n_outputs = 1 if loss == "binary_cross_entropy" else 3
    network = Network((4, 8, n_outputs), activation="identity", loss=loss, seed=0)
    network.weights[0][...] = 10
    network.weights[1][...] = np.array([[10, -10] * 4, [-10, 10] * 4, [10] * 8])[:n_outputs]
    X = np.zeros((2000, 4), np.float32)
    X[1234] = 3e38
    y = np.zeros((2000, n_outputs))
    if loss == "cross_entropy":
        y[:, 0] = 1
    return network, X, y


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, np.float64])
@pytest.mark.parametrize("loss", sorted(kernels.LOSSES))
def test_outputs_that_are_not_finite_are_refused_by_row(loss, form):
    network, X, y = overflowing(loss)
    X = form(X)
    calls = [network.predict, lambda X: network.loss(X, y), lambda X: network.evaluate(X, y)]
    if network.is_classifier:
        calls += [network.predict_proba, lambda X: network.evaluate(X, y[:, 0] * 0)]
        calls = calls[: None if loss == "cross_entropy" else 4]
    message = r"outputs must be finite, got -?(nan|inf) for row 1234 of X, whose numbers are too"
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(X)
    result = network.parameters.evaluate(network.samples(X, y))  # as a trainer asks, at each epoch
    assert np.isnan(result.loss)
    assert result.accuracy is None or np.isnan(result.accuracy)
    loss_value, gradients = network.value_and_grad(X, y)  # whose callers may step back
    assert not np.isfinite(loss_value)
    assert not all(np.isfinite(g).all() for g in gradients.weights)
    keep = np.arange(2000) != 1234
    assert np.isfinite(network.loss(X[keep], y[keep]))


def test_a_fit_records_nan_where_the_evaluation_overflows():
    network, X, y = overflowing("cross_entropy")
    labels = y.argmax(axis=1)
    trainer = Trainer(network, learning_rate=1e-6)
    trainer.fit(X[:100], labels[:100], eval_set=(X, labels), epochs=1, progress=False)
    assert np.isnan(trainer.history.eval_loss[0])
    assert np.isnan(trainer.history.accuracy[0])


# Objectives ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p * np.nan, "params must be finite, got nan in row 0."),
        (lambda p: np.where(p > 0.5, np.inf, p), "params must be finite, got inf in row"),
        (lambda p: p.astype(float) + 1e300, "params must be finite in float32, got 1e+300 in row"),
        (lambda p: p + 0j, "params must hold real numbers, got dtype complex64."),
        (lambda p: p.astype(object), "params must hold real numbers, got dtype object"),
        (lambda p: p.astype(str), "params must hold real numbers, got dtype"),
        (lambda p: p[:-1], "params must have the shape of network.params, "),
        (lambda p: p[None], "params must have the shape of network.params, "),
        (lambda p: None, "params must hold real numbers, got dtype object."),
        (lambda p: 0.5, "params must have the shape of network.params, "),
        (lambda p: np.ma.masked_greater(p, 0.5), "params must have no masked entries"),
    ],
)
def test_the_objective_refuses_parameters_before_the_network_takes_them_on(spoil, message):
    network = Network((6, 5, 3), seed=0)
    f = network.objective(*problem((6, 5, 3), 9))
    before = network.params.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        f(spoil(network.params))
    np.testing.assert_array_equal(network.params, before)
    assert np.isfinite(f(before.tolist())[0])


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or bool(config.DISABLE_JIT),
    reason="only processors that are slow with subnormal numbers are told to leave them out",
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_numbers_count_as_zero_in_kernels_alone(dtype):
    tiny = np.finfo(dtype).tiny
    network = Network((1, 3), dtype=dtype, seed=0)
    network.weights[0][:, 0] = 0, np.log(tiny) - 2, np.log(tiny) + 2
    X, y = np.ones((40, 1), dtype), np.zeros(40, int)
    expected = np.array([1, 0, np.exp(np.log(tiny) + 2)])
    for rows in (X, X[:1]):
        p = network.predict_proba(rows)
        np.testing.assert_allclose(p, np.tile(expected, (len(rows), 1)), rtol=1e-4)
    np.testing.assert_array_equal(network.predict_one(X[0]), p[0])
    _, gradients = network.value_and_grad(X, y)
    assert gradients.biases[0][1] == 0
    trained_by = [{"batch_size": 8}, {"optimizer": "adam"}, {"method": "deferred"}, {}]
    for options in [*trained_by, {"optimizer": optimizers.SGD(momentum=0.5)}]:
        trainer = Trainer(network.copy(), learning_rate=0.1, **options)
        trainer.partial_fit(X, y)
        trainer.learn_one(X[0], 0)
        assert trainer.network.biases[0][1] == 0
    # This thread's own arithmetic still has them.
    assert np.multiply(tiny, 0.5, dtype=dtype) > 0
