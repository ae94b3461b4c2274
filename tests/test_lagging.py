"""Momentum by single samples: rows of zero inputs catch up, and nothing shows of it."""

import numpy as np
import pytest
import scipy.sparse
from conftest import assert_padding_is_zero
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, Steps, one_hot

from fastbp import Network, Trainer, kernels, optimizers, plan

TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def problem(n_in, n, density, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, n_in)) * (generator.random((n, n_in)) < density)
    return X, generator.integers(0, 3, n), generator.uniform(0.2, 3, n)


def assert_equal_to_the_oracle(X, y, weights, optimizer, decay, given):
    network = Network((X.shape[1], 9, 3), activation="tanh", dtype="float64", seed=1)
    oracle = Naive.of(network)
    steps = Steps("sgd", 0.005, momentum=optimizer.momentum, nesterov=optimizer.nesterov,
                  velocity=optimizer.velocity)  # fmt: skip
    trainer = Trainer(
        network, optimizer, batch_size=1, shuffle=False, weight_decay=decay, learning_rate=0.005
    )
    for _ in range(2):
        trainer.partial_fit(given, y, sample_weight=weights)
        scaled = None if weights is None else weights / weights.mean()
        oracle.train_batches(X, one_hot(y, 3), np.arange(len(X)), 1, steps, decay, scaled)
    for mine, theirs in zip(
        network.weights + network.biases, oracle.weights + oracle.biases, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, **TIGHT)
    assert_padding_is_zero(network)
    return trainer


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["dense", "listed", "sparse"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("velocity", [False, True])
def test_every_form_equals_the_oracle(velocity, nesterov, kind, decay):
    n_in = 700 if kind == "listed" else 20  # zeros of few weights are not listed
    X, y, weights = problem(n_in, 300, 1.0 if kind == "dense" else 0.1)
    optimizer = optimizers.SGD(momentum=0.9, nesterov=nesterov, velocity=velocity)
    given = scipy.sparse.csr_array(X) if kind == "sparse" else X
    trainer = assert_equal_to_the_oracle(X, y, weights, optimizer, decay, given)
    assert ("catch up" in trainer.summary()) == (kind != "dense")


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 30), st.integers(250, 400), st.floats(0, 1), st.floats(0.01, 1), st.booleans(),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_any_size(n_in, n, density, momentum, nesterov, is_sparse, seed):
    X, y, _ = problem(n_in, n, density, seed)
    optimizer = optimizers.SGD(momentum=momentum, nesterov=nesterov)
    given = scipy.sparse.csr_array(X) if is_sparse else X
    assert_equal_to_the_oracle(X, y, None, optimizer, 0.01, given)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_chunks_of_whole_blocks_change_no_bit(is_sparse, monkeypatch):
    X, y, _ = problem(700, 600, 0.1)
    rows = scipy.sparse.csr_array(X) if is_sparse else X
    block, results = 16, []
    for cuts in ([600], [block, 3 * block, 600]):
        network = Network((700, 9, 3), seed=0)

        def paced(n, operations, step=1, pieces=1, cuts=cuts):
            assert step == block
            start = 0
            for stop in cuts:
                yield start, stop
                start = stop

        monkeypatch.setattr("fastbp.runs.paced", paced)
        trainer = Trainer(network, optimizers.SGD(momentum=0.9), batch_size=1, weight_decay=0.01)
        trainer.partial_fit(rows, y)
        results.append((network.params.copy(), trainer.optimizer_state.moments.copy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_row_with_an_input_twice_has_their_sum():
    parts = np.full(900, 0.5), np.tile([0, 0, 1], 300), np.arange(0, 903, 3)
    rows = scipy.sparse.csr_array(parts, shape=(300, 2))
    networks = [Network((2, 3, 2), dtype="float64", seed=0) for _ in range(2)]
    for network, X in zip(networks, (rows, rows.toarray()), strict=True):
        Trainer(network, optimizers.SGD(momentum=0.9), batch_size=1, seed=0).fit(
            X, np.arange(300) % 2, epochs=2, progress=False
        )
    np.testing.assert_allclose(networks[0].params, networks[1].params, **TIGHT)


def test_scratch_of_another_kind_is_refused():
    network = Network((3, 4, 2), seed=0)
    samples = network.samples(np.ones((4, 3)), [0, 1, 0, 1])
    layout, dtype = network.parameters.layout, network.dtype
    state, pass_ = network.parameters.state, (samples, 0, 4, 0.0, kernels.ALONE)
    other = Network((3, 5, 2), seed=0).parameters.layout
    with pytest.raises(ValueError, match="made for the layout"):
        kernels.train_single(state, kernels.make_lag(other, dtype), *pass_)
    with pytest.raises(ValueError, match="SGD with momentum"):  # it has no optimizer yet
        kernels.train_single(state, kernels.make_lag(layout, dtype, 8), *pass_)
    sparse = network.samples(scipy.sparse.csr_array(np.ones((4, 3))), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="must not be empty"):
        kernels.train_single(state, kernels.make_lag(layout, dtype), sparse, *pass_[1:])


def test_adam_leaves_zeros_out_on_the_way_forward():
    X, y, weights = problem(700, 100, 0.1)
    network = Network((700, 9, 3), activation="tanh", dtype="float64", seed=1)
    oracle, steps = Naive.of(network), Steps("adam", 0.005)
    trainer = Trainer(network, "adam", batch_size=1, shuffle=False, learning_rate=0.005)
    trainer.partial_fit(X, y, sample_weight=weights)
    order, scaled = np.arange(len(X)), weights / weights.mean()
    oracle.train_batches(X, one_hot(y, 3), order, 1, steps, 0.0, scaled)
    for mine, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)
    assert_padding_is_zero(network)


def test_who_lags():
    def alone(sizes, X, optimizer, decay=0.0):
        network = Network(sizes, seed=0)
        inputs = network.samples(X, np.zeros(X.shape[0], int)).inputs
        return plan.alone(network.parameters.layout, network.dtype, inputs, optimizer, decay)

    X, _, _ = problem(700, 300, 0.1)
    momentum = optimizers.SGD(momentum=0.9)
    assert alone((700, 9, 3), X, momentum).is_listed
    assert not alone((700, 9, 3), X + 1, momentum).is_listed
    assert alone((700, 9, 3), scipy.sparse.csr_array(X), momentum).length > 0
    for optimizer in (optimizers.Adam(), optimizers.SGD(momentum=0.9, dampening=0.1)):
        assert alone((700, 9, 3), X, optimizer) == plan.Lagging(is_listed=True)
        assert alone((700, 9, 3), X + 1, optimizer) == plan.Lagging()
        assert alone((700, 9, 3), scipy.sparse.csr_array(X), optimizer) is None
    assert alone((700, 9, 3), X[:200], momentum).length == 0
    # Where weights decay fast, penalties are to be sampled more often than lagging pays for.
    assert alone((700, 9, 3), X, momentum, 1e-5).length == alone((700, 9, 3), X, momentum).length
    assert alone((700, 9, 3), X, momentum, 1e-2).length == 0
    assert alone((700, 2000, 3), X, momentum) is not None
    assert alone((700, 2000, 3), X + 1, momentum) is None
    assert alone((700, 1000, 1000, 3), X, momentum) is None
