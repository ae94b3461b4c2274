"""Mini-batches and optimizers: against the oracle, against torch, and against themselves."""

import itertools
import platform

import numpy as np
import pytest
from conftest import assert_padding_is_zero, assert_same_on_threads, targets_for
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, Steps, one_hot
from numba import config, njit

from fastbp import Network, Trainer, kernels, optimizers
from fastbp.kernels import linear, views

TIGHT = {"rtol": 1e-9, "atol": 1e-12}
# As torch has them, and what it does not have.
OPTIMIZERS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "dampening": 0.3}),
    ("sgd", {"momentum": 0.8, "nesterov": True}),
    ("rmsprop", {}),
    ("rmsprop", {"momentum": 0.5}),
    ("rmsprop", {"centered": True, "alpha": 0.9}),
    ("rmsprop", {"centered": True, "momentum": 0.5}),
    ("adagrad", {}),
    ("adagrad", {"lr_decay": 0.1}),
    ("adadelta", {}),
    ("adam", {}),
    ("adam", {"beta1": 0.5, "beta2": 0.9, "eps": 1e-4}),
    ("adam", {"amsgrad": True, "beta2": 0.5}),
    ("adam", {"beta1": 0.0, "beta2": 0.0, "eps": 1e-3}),
    ("nadam", {}),
    ("nadam", {"momentum_decay": 0.1}),
]
OTHERS = [
    ("sgd", {"momentum": 0.9, "velocity": True}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "velocity": True}),
    ("adam", {"uncorrected_eps": True, "eps": 1e-4}),
]
# With Adam's own eps, a gradient that is all rounding would be divided by next to nothing.
SETTINGS = {"sgd": {}, "adam": {"eps": 1e-3}}
IDS, OTHER_IDS = (
    ["-".join([name, *map(str, options)]) for name, options in pairs]
    for pairs in (OPTIMIZERS, OTHERS)
)


def test_every_optimizer_is_compared_with_the_oracle():
    """AdamW is Adam with its weight decay apart, and compared where that is."""
    compared = {name for name, _ in OPTIMIZERS + OTHERS}
    assert compared == set(optimizers.OPTIMIZERS) - {"adamw"}


@njit(error_model="numpy")
def call_multiply_add(W, stride, X, n, across, along, m, base, base_stride, out, scale):
    matrix = views.Matrix
    linear.multiply_add(
        matrix(W, 0, stride, 1), matrix(X, 0, across, along), matrix(base, 0, base_stride, 1),
        matrix(out, 0, stride, 1), m, n, stride, scale,
    )  # fmt: skip


@njit(error_model="numpy")
def call_product(W, stride, X, n, across, along, m, base, base_stride, out, width):
    matrix, half = views.Matrix, W.dtype.type(0.5)
    linear.multiply_add(
        matrix(W, 0, stride, 1), matrix(X, 0, across, along), matrix(base, 0, base_stride, 1),
        matrix(out, 0, stride, 1), m, n, width, half,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", range(1, 10))
def test_products_of_any_number_of_rows(dtype, m, generator):
    """And a row's sums do not depend on the rows beside it."""
    kind = np.dtype(dtype)

    def array(n):
        values = kernels.aligned_zeros(n, kind)
        values[:] = generator.normal(size=n)
        return values

    scale = kind.type(0.7)
    for n, vectors in ((1, 1), (5, 2), (130, 3), (7, 5)):
        stride = vectors * 64 // kind.itemsize
        W, X, base = array(n * stride), array(m * n), array(m * stride)
        out = array((m + 2) * stride)
        before = out.copy()
        call_multiply_add(W, stride, X, n, n, 1, m, base, 0, out, scale)
        sums = X.reshape(m, n).astype(float) @ W.reshape(n, stride)
        expected = 0.7 * (base[:stride] + sums)
        got = out[: m * stride].reshape(m, stride)
        tight = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else TIGHT
        np.testing.assert_allclose(got, expected, **tight)
        np.testing.assert_array_equal(out[m * stride :], before[m * stride :])
        # X by columns, and added to what is there.
        columns = np.ascontiguousarray(X.reshape(m, n).T).reshape(-1)
        added = base.copy()
        call_multiply_add(W, stride, columns, n, 1, m, m, added, stride, added, scale)
        np.testing.assert_allclose(
            added.reshape(m, stride), 0.7 * (base.reshape(m, stride) + sums), **tight
        )
        alone = array(stride)
        for t in range(m):
            row = X[t * n : (t + 1) * n].copy()
            call_multiply_add(W, stride, row, n, n, 1, 1, base, 0, alone, scale)
            np.testing.assert_array_equal(alone, got[t])


@njit(error_model="numpy")
def call_turned_product(W, length, X, m, n, base, out, width):
    matrix, half = views.Matrix, W.dtype.type(0.5)
    linear.multiply_add(
        matrix(W, 0, 1, length), matrix(X, 0, n, 1), matrix(base, 0, 0, 1),
        matrix(out, 0, width, 1), m, n, width, half,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_transposed_matrix_multiplies_as_its_copy_does(dtype, generator):
    """Columns that only fill a vector are 0, whatever stands behind the matrix."""
    kind = np.dtype(dtype)
    v = 64 // kind.itemsize
    for columns, n, m in itertools.product((1, 16, 37, 100), (1, 17, 130, 300), (1, 9, 70)):
        length, width = -(-n // v) * v, -(-columns // v) * v
        memory = kernels.aligned_zeros((columns + 1) * length, kind)
        memory[:] = np.inf
        W = memory[: columns * length]
        W.reshape(columns, length)[:, :n] = generator.normal(size=(columns, n))
        copied = kernels.aligned_zeros(n * width, kind)
        copied.reshape(n, width)[:, :columns] = W.reshape(columns, length)[:, :n].T
        X, base = generator.normal(size=m * n).astype(kind), np.zeros(width, kind)
        out, expected = np.empty(m * width, kind), np.empty(m * width, kind)
        call_turned_product(W, length, X, m, n, base, out, width)
        call_product(copied, width, X, n, n, 1, m, base, 0, expected, width)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_every_shape(dtype, generator):
    """All rests of rows, columns and sums; strips that are copied; X by columns; a base for all."""
    kind = np.dtype(dtype)
    v = 64 // kind.itemsize

    def array(n):
        values = kernels.aligned_zeros(n, kind)
        values[:] = generator.integers(-8, 9, size=n)  # sums are exact in any order
        return values

    shapes = [
        (m, vectors, 1 + (7 * m + vectors) % 20) for m in range(1, 21) for vectors in range(1, 8)
    ]
    shapes += [(m, 4, n) for m in (3, 64, 71) for n in (1, 127, 128, 129, 256, 300)]
    for m, vectors, n in shapes:
        width, across = vectors * v, (vectors + 1) * v
        W, X, base = array(n * across), array(m * n), array(m * across)
        whole = W.reshape(n, across)[:, :width]
        for columns in (False, True):
            for base_across in (0, across):
                rows = X.reshape(n, m).T if columns else X.reshape(m, n)
                out = array(m * across)
                expected = out.reshape(m, across).copy()
                start = base.reshape(m, across)[:, :width] if base_across else base[:width]
                expected[:, :width] = kind.type(0.5) * (start + rows @ whole)
                x_steps = (1, m) if columns else (n, 1)
                call_product(W, across, X, n, *x_steps, m, base, base_across, out, width)
                np.testing.assert_array_equal(out.reshape(m, across), expected)


def problem(sizes, n, seed=0, density=1.0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, sizes[0])) * (generator.random((n, sizes[0])) < density)
    return X, generator.integers(0, sizes[-1], n)


def assert_same(network, oracle):
    for mine, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)
    for mine, theirs in zip(network.biases, oracle.biases, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS + OTHERS, ids=IDS + OTHER_IDS)
def test_every_optimizer_equals_the_oracle(name, options, batch_size):
    X, y = problem((6, 5, 3), 40)
    network = Network((6, 5, 3), activation="tanh", dtype="float64", seed=1)
    oracle = Naive.of(network)
    steps = Steps(name, 0.02, **options)
    trainer = Trainer(
        network, optimizers.OPTIMIZERS[name](**options), learning_rate=0.02, batch_size=batch_size,
        weight_decay=0.1,
    )  # fmt: skip
    for learning_rate in (0.02, 0.05):  # the state carries on
        trainer.learning_rate = steps.learning_rate = learning_rate
        trainer.partial_fit(X, y)
        oracle.train_batches(X, one_hot(y, 3), np.arange(40), batch_size, steps, 0.1)
    assert_same(network, oracle)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize("weighted", [False, True])
def test_penalties_and_weights_of_a_batch_alone(batch_size, weighted):
    """reduction="batch": (Σ wᵢ lossᵢ + ½ λ ‖W‖² + λ₁ Σ|w|) / Σ wᵢ; of one sample, the mean."""
    X, y = problem((6, 5, 3), 40)
    network = Network((6, 5, 3), activation="tanh", dtype="float64", seed=1)
    oracle, steps = Naive.of(network), Steps("sgd", 0.05)
    weights = np.linspace(0.5, 2, 40) if weighted else np.ones(40)
    Trainer(
        network, learning_rate=0.05, batch_size=batch_size, reduction="batch", weight_decay=0.3,
        l1=0.1,
    ).partial_fit(X, y, sample_weight=weights)  # fmt: skip
    weights /= weights.mean()
    for start in range(0, 40, batch_size):
        rows = np.arange(40)[start : start + batch_size]
        total = 1.0 if batch_size == 1 else weights[rows].sum()
        share = weights * len(rows) / total
        oracle.train_batches(
            X, one_hot(y, 3), rows, batch_size, steps, 0.3 / total, share, l1=0.1 / total
        )
    assert_same(network, oracle)


def test_a_light_batch_may_have_more_decay_than_weights():
    """1 − ηλ/Σw is 0 in the first batch: nothing may be divided by it."""
    X, y = problem((6, 5, 3), 4)
    network = Network((6, 5, 3), activation="tanh", dtype="float64", seed=1)
    oracle, steps = Naive.of(network), Steps("sgd", 0.5)
    weights = np.array([0.25, 0.25, 1.75, 1.75])
    Trainer(
        network, learning_rate=0.5, batch_size=2, reduction="batch", weight_decay=1.0
    ).partial_fit(X, y, sample_weight=weights)
    for rows in ([0, 1], [2, 3]):
        total = weights[rows].sum()
        oracle.train_batches(X, one_hot(y, 3), rows, 2, steps, 1 / total, weights * 2 / total)
    assert_same(network, oracle)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_orders_of_a_function(batch_size):
    """It is asked in each epoch; rows may come more than once."""
    X, y = problem((6, 5, 3), 40)
    network = Network((6, 5, 3), activation="tanh", dtype="float64", seed=1)
    oracle, steps = Naive.of(network), Steps("sgd", 0.05)
    orders = [np.random.default_rng(epoch).integers(0, 40, 40) for epoch in range(3)]
    asked = iter(orders)
    trainer = Trainer(
        network, learning_rate=0.05, batch_size=batch_size, shuffle=lambda n: next(asked)
    )
    trainer.fit(X, y, epochs=3, progress=False)
    for rows in orders:
        oracle.train_batches(X, one_hot(y, 3), rows, batch_size, steps)
    assert_same(network, oracle)
    for wrong in (np.arange(39), np.arange(1, 41), np.arange(40.0), "rows"):
        trainer.shuffle = lambda n, wrong=wrong: wrong
        with pytest.raises(ValueError, match=r"shuffle\(40\) must"):
            trainer.fit(X, y, progress=False)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.sampled_from(
        [(1, 2), (3, 5, 2), (17, 33, 9), (40, 16, 16, 4), (9, 70, 3), (130, 8, 2), (2, 257, 2)]
    ),
    n=st.integers(1, 70),
    batch_size=st.sampled_from([1, 2, 31, 33, 64, 1000]),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    activation=st.sampled_from(["relu", "gelu", "sigmoid"]),
    optimizer=st.sampled_from(["sgd", "adam"]),
    sparse=st.booleans(),
    weighted=st.booleans(),
    decay=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 100),
)
def test_batches_equal_the_oracle(
    sizes, n, batch_size, density, activation, optimizer, sparse, weighted, decay, seed
):
    from scipy.sparse import csr_array

    X, y = problem(sizes, n, seed, density)
    weights = np.random.default_rng(seed).uniform(0.5, 2, n) if weighted else None
    network = Network(sizes, activation=activation, dtype="float64", seed=seed)
    oracle = Naive.of(network)
    chosen = optimizers.OPTIMIZERS[optimizer](**SETTINGS[optimizer])
    trainer = Trainer(
        network, chosen, learning_rate=0.05, batch_size=batch_size, weight_decay=decay,
        shuffle=False,
    )  # fmt: skip
    given_X = csr_array(X) if sparse else X
    trainer.fit(given_X, y, epochs=1, sample_weight=weights, progress=False)
    mean_one = None if weights is None else weights / weights.mean()
    steps = Steps(optimizer, 0.05, **SETTINGS[optimizer])
    size = min(batch_size, n)
    oracle.train_batches(X, one_hot(y, sizes[-1]), np.arange(n), size, steps, decay, mean_one)
    assert_same(network, oracle)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("vectors", range(1, 10))
def test_sparse_batches_of_any_number_of_vectors_equal_the_oracle(vectors, dtype):
    n_units = vectors * 64 // np.dtype(dtype).itemsize - 3
    sizes = 150, n_units, 2
    X, y = problem(sizes, 70, density=0.1)
    network = Network(sizes, activation="tanh", dtype=dtype, seed=0)
    oracle = Naive.of(network)
    trainer = Trainer(network, "sgd", learning_rate=0.05, batch_size=35, shuffle=False, seed=0)
    trainer.partial_fit(X.astype(dtype), y)
    assert "of X is zero, skipped" in trainer.summary()
    steps = Steps("sgd", 0.05, **SETTINGS["sgd"])
    oracle.train_batches(X.astype(dtype), one_hot(y, 2), np.arange(70), 35, steps, 0.0, None)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for ours, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("loss", [loss for loss in kernels.LOSSES if loss != "cross_entropy"])
@pytest.mark.parametrize("sizes", [(1, 1), (5, 1), (17, 9, 1)])
@pytest.mark.parametrize("batch_size", [2, 33])
def test_batches_of_one_output_equal_the_oracle(batch_size, sizes, loss, generator):
    """The losses that are of one output as they are of several."""
    X, _ = problem(sizes, 70)
    y = targets_for(loss, generator, 70, 1)
    network = Network(sizes, activation="tanh", loss=loss, dtype="float64", seed=0)
    oracle = Naive.of(network)
    adam = optimizers.Adam(**SETTINGS["adam"])
    Trainer(network, adam, learning_rate=0.05, batch_size=batch_size).partial_fit(X, y)
    steps = Steps("adam", 0.05, **SETTINGS["adam"])
    oracle.train_batches(X, y, np.arange(70), batch_size, steps)
    assert_same(network, oracle)


@pytest.mark.parametrize("density", [0.1, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [250, 256, 300, 700])
def test_batches_longer_than_the_scratch(optimizer, density, batch_size):
    """Full-batch gradient descent among them; wide enough to list zeros and cut panels."""
    sizes = (300, 70, 3)
    X, y = problem(sizes, 700, density=density)
    network = Network(sizes, activation="tanh", dtype="float64", seed=1)
    oracle = Naive.of(network)
    chosen = optimizers.OPTIMIZERS[optimizer](**SETTINGS[optimizer])
    trainer = Trainer(network, chosen, learning_rate=0.05, batch_size=batch_size)
    trainer.partial_fit(X, y)
    steps = Steps(optimizer, 0.05, **SETTINGS[optimizer])
    oracle.train_batches(X, one_hot(y, 3), np.arange(700), batch_size, steps)
    assert_same(network, oracle)


def test_padding_stays_zero():
    X, y = problem((6, 5, 3), 40)
    network = Network((6, 5, 3), seed=1)
    for name in optimizers.OPTIMIZERS:
        Trainer(network, name, batch_size=8, weight_decay=0.1).partial_fit(X, y)
    assert_padding_is_zero(network)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or bool(config.DISABLE_JIT),
    reason="only processors that are slow with subnormal numbers are told to leave them out",
)
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize(
    "optimizer", [optimizers.SGD(momentum=0.7), optimizers.Adam(beta1=0.7, beta2=0.7)], ids=repr
)
def test_moments_of_inputs_that_became_zero_end_at_zero(optimizer, batch_size):
    X, y = problem((3, 5, 3), 900)
    X[10:, 1] = 0
    network = Network((3, 5, 3), activation="tanh", dtype="float32", seed=0)
    trainer = Trainer(network, optimizer, batch_size=batch_size, shuffle=False)
    trainer.partial_fit(X[:10], y[:10])
    rows = trainer.optimizer_state.moments.reshape(optimizer.n_moments, -1, 16)
    assert np.all(np.any(rows[:, 1] != 0, axis=-1))
    trainer.partial_fit(X[10:], y[10:])
    assert not np.any(rows[:, 1])
    assert np.all(np.any(rows[:, 2] != 0, axis=-1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_chunks_of_whole_batches_change_no_bit(optimizer, monkeypatch):
    X, y = problem((20, 30, 3), 500)
    results = []
    for cuts in ([500], [32, 192, 500]):
        network = Network((20, 30, 3), seed=0)

        def paced(n, operations, block=1, pieces=1, cuts=cuts):
            start = 0
            for stop in cuts:
                yield start, stop
                start = stop

        monkeypatch.setattr("fastbp.runs.paced", paced)
        Trainer(network, optimizer, batch_size=32).partial_fit(X, y)
        results.append(network.params.copy())
    np.testing.assert_array_equal(*results)


def test_a_pass_over_one_sample_batches_is_per_sample_sgd():
    """Two engines, one algorithm: momentum 0 by batches of 1 against the sequential kernel."""
    X, y = problem((20, 30, 3), 60)
    one, other = (Network((20, 30, 3), dtype="float64", seed=0) for _ in range(2))
    Trainer(one, method="sequential").partial_fit(X, y)
    Trainer(other, optimizers.SGD(momentum=1e-300), batch_size=1).partial_fit(X, y)
    np.testing.assert_allclose(one.params, other.params, **TIGHT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.SGD(momentum=1.1), "momentum must be a number from 0 to 1"),
        (lambda: optimizers.SGD(nesterov=True), "nesterov needs a momentum above 0"),
        (lambda: optimizers.Adam(beta2=-0.1), "beta2 must be a number from 0 to below 1"),
        (lambda: optimizers.Adagrad(lr_decay=-1), "lr_decay must be a finite float64"),
        (lambda: Trainer(Network((2, 2)), "adm"), "optimizer must be one of sgd, rmsprop,"),
        (lambda: optimizers.SGD(momentum=0.9, nesterov="yes"), "nesterov must be True or False"),
        (
            lambda: Trainer(Network((2, 2)), method="deferred", batch_size=2),
            "method and block_size",
        ),
        (
            lambda: Trainer(Network((2, 2)), optimizers.Adam(eps=1e-60)),
            "eps must be a finite float32",
        ),
        (lambda: Trainer(Network((2, 2)), batch_size=0), "batch_size must be an integer of at"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_callback_that_sets_another_network_leaves_this_fit_alone():
    """Its optimizer's state would be of another size."""
    X, y = problem((6, 5, 3), 40)
    networks = [Network((6, 5, 3), dtype="float64", seed=0) for _ in range(2)]
    for network, callbacks in zip(
        networks, ((), (lambda t: setattr(t, "network", Network((2, 2))),)), strict=True
    ):
        trainer = Trainer(network, "adam", batch_size=8, seed=0)
        trainer.fit(X, y, epochs=3, callbacks=callbacks, progress=False)
    np.testing.assert_array_equal(networks[0].params, networks[1].params)


def test_the_summary_says_how_batches_are_made():
    X, y = problem((300, 70, 3), 50, density=0.1)
    trainer = Trainer(Network((300, 70, 3), seed=0), "adam", batch_size=8, n_threads=1)
    trainer.fit(X, y, epochs=1, progress=False)
    assert "mini-batches of 8, Adam(" in trainer.summary()
    assert "of X is zero, skipped" in trainer.summary()
    assert trainer.history.method == ["mini-batches"]


@pytest.mark.parametrize(("density", "said"), [(0.1, "skipped"), (0.5, "not skipped")])
def test_batches_skip_zeros_only_if_most_of_X_is_zero(density, said):
    X, y = problem((300, 70, 3), 200, density=density)
    trainer = Trainer(Network((300, 70, 3), seed=0), "adam", batch_size=8, n_threads=1)
    trainer.fit(X, y, epochs=1, progress=False)
    assert f"of X is zero, {said}" in trainer.summary()


def test_scratch_of_sparse_rows_is_no_matrix():
    layout = Network((100_000, 4, 2), seed=0).layout
    batch = kernels.make_batch(layout, 256, np.dtype("f4"), inputs="sparse", is_plain=True)
    assert batch.nbytes < 1_000_000


THREADS = """
import sys
import numpy as np, scipy.sparse
from fastbp import Network, Trainer, kernels, optimizers

generator = np.random.default_rng(0)
X = generator.normal(size=(500, 300)) * (generator.random((500, 300)) < 0.3)
y = generator.integers(0, 5, 500)
for dtype in ("float32", "float64"):
    for data in (X, X + 0.1, scipy.sparse.csr_array(X)):
        for optimizer in ("sgd", "adam", optimizers.SGD(momentum=0.9)):
            for batch_size in (33, 250, 500):
                hidden = ["relu", "tanh"]
                network = Network((300, 70, 33, 5), activation=hidden, dtype=dtype, seed=0)
                trainer = Trainer(
                    network, optimizer, batch_size=batch_size, n_threads=int(sys.argv[1]), seed=0
                )
                trainer.fit(data, y, epochs=1, progress=False)
                sys.stdout.buffer.write(network.params.tobytes())
                sys.stdout.buffer.write(np.array(trainer.history.train_loss).tobytes())
# Layers in parts above layers without, some narrower than a part; and losses of many outputs.
for dtype in ("float32", "float64"):
    for sizes in (
        (50, 20, 300, 300, 5), (20, 33, 300, 300, 5), (300, 160, 30, 300, 300), (270, 1100, 260, 5)
    ):  # fmt: skip
        for loss in ("binary_cross_entropy", "squared_error"):
            data, y = generator.normal(size=(70, sizes[0])), generator.random((70, sizes[-1]))
            network = Network(sizes, activation="tanh", loss=loss, dtype=dtype, seed=0)
            trainer = Trainer(network, batch_size=32, n_threads=int(sys.argv[1]), seed=0)
            trainer.fit(data, y, epochs=1, progress=False)
            sys.stdout.buffer.write(network.params.tobytes())
            sys.stdout.buffer.write(np.array(trainer.history.train_loss).tobytes())
# Every optimizer, with penalties and decay; every activation.
data, y = generator.normal(size=(90, 20)), generator.integers(0, 5, 90)
for dtype in ("float32", "float64"):
    for k, name in enumerate(kernels.HIDDEN):
        optimizer = tuple(optimizers.OPTIMIZERS)[k % len(optimizers.OPTIMIZERS)]
        network = Network((20, 33, 18, 5), activation=name, dtype=dtype, seed=0)
        trainer = Trainer(
            network, optimizer, batch_size=32, learning_rate=1e-3, weight_decay=0.1, l1=0.01,
            n_threads=int(sys.argv[1]), seed=0,
        )
        trainer.fit(data, y, epochs=2, progress=False)
        sys.stdout.buffer.write(network.params.tobytes())
# A class of probability 0 among others.
data, y = generator.normal(size=(64, 20)), np.zeros(64, int)
data[3] *= 1e4
for dtype in ("float32", "float64"):
    network = Network((20, 5), dtype=dtype, seed=0)
    y[3] = network.predict_proba(data)[3].argmin()
    trainer = Trainer(
        network, batch_size=64, learning_rate=1e-9, n_threads=int(sys.argv[1]), seed=0
    )
    trainer.fit(data, y, epochs=1, progress=False)
    sys.stdout.buffer.write(np.array(trainer.history.train_loss).tobytes())
"""


def test_threads_change_no_bit():
    assert_same_on_threads(THREADS)
