"""Every method takes the oracle's steps, in every mixture, and threads change no bit."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_on_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, one_hot
from test_parity import problems

from fastbp import Network, Trainer, kernels, pacing, plan, threads

METHODS = sorted(kernels.METHODS)


def close(network, oracle):
    pairs = zip((*network.weights, *network.biases), (*oracle.weights, *oracle.biases), strict=True)
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@settings(max_examples=150)
@given(
    problems(),
    st.data(),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    st.sampled_from([1, 2, 7, 32, 64]),
    st.sampled_from([0.0, 0.1, 5.0]),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_every_mixture_equals_the_oracle(
    problem, data, density, block, weight_decay, n_threads, sparse
):
    import scipy.sparse

    network, X, Y, generator = problem
    X = np.tile(X, (5, 1)) * (generator.random((5 * len(X), X.shape[1])) < density)
    Y = np.tile(Y, (5, 1))
    layers = len(network.sizes) - 1
    method = data.draw(st.lists(st.sampled_from(METHODS), min_size=layers, max_size=layers))
    oracle = Naive.of(network)
    trainer = Trainer(
        network, learning_rate=0.01, weight_decay=weight_decay, shuffle=False, method=method,
        block_size=block, n_threads=n_threads,
    )  # fmt: skip
    trainer.partial_fit(scipy.sparse.csr_array(X) if sparse else X, Y)
    oracle.train(X, Y, range(len(X)), 0.01, weight_decay)
    close(network, oracle)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize("block", [7, 64])
def test_layers_of_several_tiles_equal_the_oracle(method, activation, density, block, generator):
    """Rows that are read along, tiles of 4, 2 and 1 vectors, and 1 to 3 rows left of 4."""
    sizes = (70, 75, 530, 131, 3)
    network = Network(sizes, activation=activation, dtype="float64", seed=0)
    X = generator.normal(size=(50, 70)) * (generator.random((50, 70)) < density)
    y = generator.integers(0, 3, 50)
    oracle = Naive.of(network)
    trainer = Trainer(
        network, learning_rate=0.02, weight_decay=0.01, method=method, block_size=block,
        n_threads=2,
    )  # fmt: skip
    trainer.partial_fit(X, y)
    oracle.train(X, one_hot(y, 3), range(50), 0.02, 0.01)
    close(network, oracle)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_auto_follows_size_zeros_and_format(dtype, generator):
    import scipy.sparse

    X = generator.normal(size=(300, 200))
    y = generator.integers(0, 3, 300)
    some = X * (generator.random(X.shape) < 0.2)

    def chosen(X, sizes=(200, 128, 64, 3), activation="relu"):
        trainer = Trainer(Network(sizes, activation=activation, dtype=dtype, seed=0))
        trainer.partial_fit(X, y)
        return [
            (line.split()[2].rstrip(":"), "skipping" in line)
            for line in trainer.summary().splitlines()
            if line.startswith("layer ") and ":" in line
        ]

    assert chosen(X)[0] == ("deferred", False)
    assert chosen(some)[0] == ("deferred", True)
    assert chosen(scipy.sparse.csr_array(some))[0] == ("zero-skipping", True)
    assert chosen(X, activation="tanh")[1][1] is False
    assert chosen(X[:, :8], (8, 16, 4)) == [("sequential", False)] * 2


@pytest.mark.parametrize(
    ("sizes", "dtype", "chosen"),
    [
        # All blocks together leave room in a cache of 48 KiB.
        ((64, 128, 10), "float32", ["sequential", "sequential"]),
        ((64, 64, 10), "float64", ["sequential", "sequential"]),
        ((32, 64, 64, 10), "float32", ["sequential"] * 3),
        # They do not.
        ((100, 90, 8), "float32", ["deferred", "sequential"]),
        ((80, 64, 8), "float64", ["deferred", "sequential"]),
        ((64, 144, 10), "float32", ["deferred", "sequential"]),
        ((64, 100, 64), "float32", ["deferred", "zero-skipping"]),
        ((20, 200, 40), "float32", ["sequential", "zero-skipping"]),
        ((16, 64, 160, 10), "float32", ["sequential", "zero-skipping", "sequential"]),
        ((100, 60, 8), "float64", ["deferred", "sequential"]),
    ],
)
def test_methods_by_what_fits_the_cache(sizes, dtype, chosen, monkeypatch, generator):
    """The fastest of each, as `kernels.train_sequential` and `train_deferred` were measured."""
    monkeypatch.setattr(plan, "L1", 48 * 1024)
    network = Network(sizes, dtype=dtype, seed=0)
    samples = network.samples(generator.normal(size=(50, sizes[0])), np.zeros(50, np.int64))
    method = ["auto"] * len(chosen)
    choice = plan.choose(
        network.parameters.layout, network.dtype, samples.inputs, method, None, 1.0, 1
    )
    codes = [kernels.METHODS[name] for name in chosen]
    assert choice.plan.methods.tolist() == codes


def test_summary_and_history_say_what_was_chosen_and_why(generator):
    trainer = Trainer(Network((200, 128, 3), activation="tanh", seed=0))
    assert "deferred" not in trainer.summary()
    X = generator.normal(size=(20, 200))
    trainer.fit(X, generator.integers(0, 3, 20), epochs=2, progress=False)
    assert trainer.history.method == ["deferred, sequential"] * 2
    assert "layer 1  deferred: 100 KiB of weights exceed the first-level cache" in trainer.summary()


def test_strong_decay_shortens_the_block(generator):
    """γ^k is divided by, so it must not leave the range of float32."""
    network = Network((100, 128, 3), seed=0)
    oracle = Naive.of(network)
    X, y = generator.normal(size=(90, 100)), generator.integers(0, 3, 90)
    trainer = Trainer(network, learning_rate=0.09, weight_decay=10.0, block_size=64)
    trainer.partial_fit(X, y)
    block_size = int(re.search(r"blocks of (\d+) samples", trainer.summary())[1])
    assert 1 < block_size < 10
    oracle.train(X, one_hot(y, 3), range(90), 0.09, 10.0)
    for mine, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_decay_near_one_is_the_kernels_own(generator):
    """In float64 this product is above 1, in the network's float32 it is below."""
    network = Network((12, 3), seed=0)
    trainer = Trainer(network, learning_rate=0.8323251268590415, weight_decay=1.2014535783314817)
    trainer.partial_fit(generator.normal(size=(5, 12)), np.arange(5) % 3)


def size_of(team):
    """Number of its members, the caller included."""
    return int(team[0]) if len(team) else 1


def test_a_slower_team_is_tried_again():
    crew = pacing.Crew(2, fixed=False)
    seen = []
    for _ in range(200):
        covered, sizes = 0, set()
        for start, stop, size in crew.parts(0, 40, 16):
            assert start == covered < stop
            covered = stop
            crew.record(size, stop - start, size * (stop - start) * 1e-3)
            sizes.add(size)
        assert covered == 40
        seen.append(2 in sizes)
    assert 3 <= seen.count(True) < 20


def test_a_short_part_tells_nothing_against_a_long_one():
    """An epoch begins with a few samples, while the pool of threads wakes up."""
    crew = pacing.Crew(2, fixed=False)
    for size in (1, 2):
        crew.record(size, 1000, 0.02 / size)
    crew.record(2, 10, 0.0009)
    assert list(crew.parts(0, 50, 10))[-1][2] == 2


@pytest.mark.parametrize(
    ("chunks", "seconds", "least"),
    [((10, 10, 10, 100_000), 1e-6, 6), ((300,), 2e-5, 3)],  # a trial takes all of a short pass
    ids=["passes that begin with short chunks", "short passes"],
)
def test_a_slow_start_is_forgotten(chunks, seconds, least):
    """Chunks too short to tell must not use up the trials."""
    crew = pacing.Crew(2, fixed=False)
    taken = []
    for turn in range(7):
        for length in chunks:
            for start, stop, size in crew.parts(0, length, 10):
                wakes_up = turn == 0 or stop - start <= 10
                slowed = 9 if size == 2 and wakes_up else 1
                crew.record(size, stop - start, slowed * (stop - start) * seconds / size)
        taken.append(size)
    assert taken[1:].count(2) >= least


def test_the_time_that_a_team_takes_to_wake_up_is_not_counted():
    """A core that has slept is slow at first, and a team sleeps while one thread is preferred."""
    crew, last, taken = pacing.Crew(2, fixed=False), 1, []
    for chunk in range(30):
        for start, stop, size in crew.parts(0, 1000, 10):
            waking = 0.01 if size > last else 0
            slowed = 3 if chunk in (20, 21) and size == 2 else 1
            crew.record(size, stop - start, waking + slowed * (stop - start) * 1e-4 / size)
            last = size
        taken.append(size)
    assert taken == [2] * 21 + [1] + [2] * 8


def test_a_moment_of_another_program_does_not_decide_for_long():
    crew = pacing.Crew(2, fixed=False)
    taken = []
    for chunk in range(40):
        for start, stop, size in crew.parts(0, 1000, 10):
            slowed = 3 if chunk == 20 and size == 2 else 1
            crew.record(size, stop - start, slowed * (stop - start) * 1e-4 / size)
        taken.append(size)
    assert taken.count(1) == 0


def worked_off(crew, chunks, seconds_per_sample, length=1000):
    """Sizes of the teams that take so many chunks, one after the other."""
    sizes = []
    for _ in range(chunks):
        for start, stop, size in crew.parts(0, length, 10):
            crew.record(size, stop - start, (stop - start) * seconds_per_sample / size)
            sizes.append(size)
    return sizes


def test_both_are_timed_and_the_faster_one_goes_on():
    crew = pacing.Crew(2, fixed=False)
    assert crew.team == 1
    sizes = worked_off(crew, 3, 1e-4)
    assert sizes[:3] == [1, 2, 2]
    assert sizes[-1] == 2
    assert crew.team == 2


def test_threads_that_are_asked_for_are_not_compared():
    crew = pacing.Crew(2, fixed=True)
    assert set(worked_off(crew, 3, 1e-9)) == {2}
    assert crew.team == 2


def test_one_thread_needs_no_crew():
    calls = []
    pacing.Crew(1, False).share(lambda *part: calls.append(part), 3, 8)
    assert calls == [(3, 8, kernels.ALONE)]


def test_a_crew_works_off_all_in_order():
    calls = []
    crew = pacing.Crew(2, fixed=False)
    crew.share(lambda *part: calls.append(part), 5, 500, 10)
    assert calls[0][0] == 5
    assert calls[-1][1] == 500
    assert all(a[1] == b[0] for a, b in itertools.pairwise(calls))
    assert {size_of(team) for *_, team in calls} == {1, min(2, threads.available())}


def test_a_decay_that_rounds_to_one_is_refused():
    network = Network((4, 3), seed=0)
    with pytest.raises(ValueError, match="learning_rate \\* weight_decay must be below 1"):
        Trainer(network, learning_rate=0.5, weight_decay=1.99999999)


def test_chunks_of_whole_blocks_change_no_bit(generator, monkeypatch):
    X, y = generator.normal(size=(203, 90)), generator.integers(0, 3, 203)
    results = []
    for rows in (1, 50, 1000):

        def paced(n, operations, block, pieces, rows=rows):
            size = max(1, rows // block) * block
            for start in range(0, n, size):
                yield start, min(n, start + size)

        monkeypatch.setattr("fastbp.runs.paced", paced)
        network = Network((90, 128, 3), seed=0)
        Trainer(network, learning_rate=0.05, weight_decay=0.1).partial_fit(X, y)
        results.append(network.params.copy())
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


THREADS = """
import sys, numpy as np, scipy.sparse
from fastbp import Network, Trainer

generator = np.random.default_rng(0)
parts = []
for dtype in ("float32", "float64"):
    for density in (0.2, 1.0):
        for activation in ("relu", "tanh"):
            for method in ("deferred", "zero-skipping", "auto"):
                X = generator.normal(size=(150, 300)) * (generator.random((150, 300)) < density)
                y = generator.integers(0, 3, 150)
                network = Network((300, 530, 140, 3), activation=activation, dtype=dtype, seed=0)
                trainer = Trainer(
                    network, learning_rate=0.02, weight_decay=0.01, method=method, seed=1,
                    n_threads=int(sys.argv[1]),
                )
                trainer.fit(X, y, epochs=1, progress=False)
                used = f"; {sys.argv[1]} threads" in trainer.summary()
                assert used == (sys.argv[1] != "1"), trainer.summary()
                parts.append(network.params.tobytes())
network = Network((300, 500, 3), seed=0)
trainer = Trainer(network, "adam", batch_size=1, seed=1, n_threads=int(sys.argv[1]))
trainer.fit(X, y, epochs=1, progress=False)
assert (f"; {sys.argv[1]} threads" in trainer.summary()) == (sys.argv[1] != "1")
parts.append(network.params.tobytes())
sys.stdout.buffer.write(b"".join(parts))
"""


def test_threads_change_no_bit():
    assert_same_on_threads(THREADS)


def test_threads_change_no_bit_of_a_layer_that_trainers_would_not_share(generator):
    """Rows of one vector: their dot products are taken a vector at a time."""
    X, y = generator.normal(size=(40, 20)).astype(np.float32), generator.integers(0, 10, 40)
    results = []

    def train(team):
        network = Network((20, 301, 10), activation="tanh", seed=0)
        samples = network.samples(X, y)
        choice = plan.choose(
            network.layout, network.dtype, samples.inputs, ("deferred",) * 2, 8, 1.0, 1
        )
        shares = np.array([0, 1])
        shared = choice.plan._replace(shares_block=shares, shares_sample=shares)
        block = kernels.make_block(network.layout, shared, 8, network.dtype)
        network.parameters.fields.rates[0] = 0.1
        kernels.train_deferred(network.parameters.state, block, samples, 0, 40, 0.0, team)
        results.append(network.params.copy())

    for n_threads in (1, 2):
        threads.team(n_threads, train)
    np.testing.assert_array_equal(*results)


FORKED_ALONE = """
import multiprocessing, numpy as np
from fastbp import Network, Trainer

X = np.random.default_rng(0).normal(size=(64, 300))
y = np.arange(64) % 3

def run(n_threads):
    network = Network((300, 256, 3), seed=0)
    Trainer(network, seed=0, n_threads=n_threads).partial_fit(X, y)
    return network.params.tobytes()

if __name__ == "__main__":
    run(2)
    mine = run(1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(run, (2,)).get(60) == mine
    print("ok")
"""

FORKED = """
import multiprocessing, numpy as np
from fastbp import Network, Trainer

X = np.random.default_rng(0).normal(size=(64, 300))
y = np.arange(64) % 3

def run(_=None):
    network = Network((300, 256, 3), seed=0)
    trainer = Trainer(network, seed=0, n_threads=2)
    trainer.fit(X, y, epochs=1, progress=False)
    return network.params.tobytes()

if __name__ == "__main__":
    mine = run()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(run).get(60) == mine
    print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not there")
@pytest.mark.parametrize("code", [FORKED, FORKED_ALONE])
def test_a_forked_child_trains_on(code):
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300,
        env=os.environ | {"NUMBA_NUM_THREADS": "2"},
    )  # fmt: skip
    assert result.stdout == "ok\n", result.stderr


CONCURRENT = """
import threading, numpy as np
from fastbp import Network, Trainer

X = np.random.default_rng(0).normal(size=(200, 300))
y = np.arange(200) % 3
results = [None] * 4

def run(i):
    network = Network((300, 256, 3), seed=0)
    Trainer(network, seed=0, n_threads=2).fit(X, y, epochs=3, progress=False)
    results[i] = network.params.tobytes()

workers = [threading.Thread(target=run, args=(i,)) for i in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert len(set(results)) == 1
print("ok")
"""


def test_trainers_in_several_python_threads_do_not_clash():
    result = subprocess.run(
        [sys.executable, "-c", CONCURRENT], check=False, capture_output=True, text=True,
        timeout=300, env=os.environ | {"NUMBA_NUM_THREADS": "2"},
    )  # fmt: skip
    assert result.stdout == "ok\n", result.stderr


def test_the_callers_thread_mask_is_restored(generator):
    import numba

    before = numba.get_num_threads()
    assert threads.team(1, size_of) == 1
    numba.set_num_threads(1)
    try:
        X = generator.normal(size=(64, 300))
        Trainer(Network((300, 256, 3), seed=0), n_threads=2).partial_fit(X, np.arange(64) % 3)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("sparse", [False, True])
def test_x_is_not_copied(sparse):
    """Peak memory grows by little; sparse X is never made dense, but its indices are copied."""
    code = f"""
import numpy as np, scipy.sparse
from fastbp import Network, Trainer

def peak():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) * 1024

network = Network((2000, 64, 3), seed=0)
y = np.arange(20_000) % 3
if {sparse}:
    X = scipy.sparse.random_array((20_000, 2000), density=0.05, dtype=np.float32, format="csr",
                                  rng=np.random.default_rng(0))
    size = X.data.nbytes + X.indices.nbytes
else:
    X = np.ones((20_000, 2000), np.float32)
    size = X.nbytes
trainer = Trainer(network, learning_rate=1e-4, n_threads=1)
trainer.partial_fit(X[:64], y[:64])
before = peak()
trainer.fit(X, y, epochs=1, progress=False)
grown = peak() - before
assert grown < size * {0.6 if sparse else 0.25}, (grown, size)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_scipy_formats_and_dtypes_all_train(generator):
    import scipy.sparse

    X = generator.normal(size=(40, 30)) * (generator.random((40, 30)) < 0.3)
    y = generator.integers(0, 3, 40)
    results = []
    for X_given in (
        scipy.sparse.csr_array(X),
        scipy.sparse.csc_matrix(X),
        scipy.sparse.coo_array(X),
        scipy.sparse.csr_matrix(X.astype(np.float32)).astype(np.float64),
    ):
        network = Network((30, 20, 3), seed=0, dtype="float64")
        trainer = Trainer(network, seed=0)
        trainer.fit(X_given, y, epochs=2, eval_set=(X_given, y), progress=False)
        results.append(network.params.copy())
        assert network.predict(X_given).shape == (40,)
        loss, gradients = network.value_and_grad(X_given, y)
        dense_loss, dense = network.value_and_grad(X_given.toarray(), y)
        assert np.isclose(loss, dense_loss, rtol=1e-12)
        np.testing.assert_allclose(gradients.weights[0], dense.weights[0], atol=1e-12)
    for params in results[1:3]:
        np.testing.assert_allclose(params, results[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "fast"}, "method must be one of auto, sequential, zero-skipping, deferred"),
        ({"method": ["auto"]}, "method must be one name or 2 names, one per layer"),
        ({"block_size": 0}, "block_size must be an integer of at least 1, got 0"),
        ({"block_size": 65}, "block_size must be an integer from 1 to 64, got 65"),
        ({"n_threads": 0}, "n_threads must be an integer of at least 1, got 0"),
        ({"n_threads": 1.5}, "n_threads must be an integer of at least 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(Network((4, 3, 2)), **options)


def test_bad_sparse_input_is_refused():
    import scipy.sparse

    network = Network((4, 3, 2), seed=0)
    X = scipy.sparse.csr_array(np.eye(4))
    with pytest.raises(ValueError, match=r"X must have at least one row and 4 columns"):
        network.predict(scipy.sparse.csr_array(np.eye(3)))
    bad = X.copy()
    bad.data[2] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan in row 2, column 2"):
        network.predict(bad)
    bad = scipy.sparse.csc_array(X)
    bad.indices = np.full_like(bad.indices, 99)
    with pytest.raises(ValueError, match="X must be a valid sparse matrix"):
        network.predict(bad)
    bad = X.copy()
    bad.indices = bad.indices + 0.5
    with pytest.raises(ValueError, match="X must be a valid sparse matrix: indices"):
        network.predict(bad)
    bad = X.copy()
    bad.indices[0] = 7
    with pytest.raises(ValueError, match="X must be a valid sparse matrix"):
        network.predict(bad)
    with pytest.raises(ValueError, match="it must hold real numbers, got dtype complex128"):
        network.predict(X.astype(complex))


def test_sparse_input_is_left_as_it_is_and_read_once(generator):
    import scipy.sparse

    X = scipy.sparse.random_array((60, 30), density=0.2, format="csr", rng=generator)
    X.indices = X.indices.astype(np.int64)
    arrays = X.data, X.indices, X.indptr
    network = Network((30, 8, 3), seed=0)

    def spoil(trainer):
        X.indices[:] = 2**30

    Trainer(network).fit(X, np.arange(60) % 3, epochs=3, callbacks=spoil, progress=False)
    assert all(
        now is before for now, before in zip((X.data, X.indices, X.indptr), arrays, strict=True)
    )


def test_zero_share_looks_at_all_of_X():
    X = np.zeros((10_000, 3), np.float32)
    X[:5000] = 1
    share = plan.zero_share(kernels.dense_inputs(X))
    assert 0.45 < share < 0.55
