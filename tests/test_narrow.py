"""Mini-batches with samples side by side: against the oracle, row by row, and whatever the cut."""

import numpy as np
import pytest
from conftest import assert_padding_is_zero, targets_for
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive, Steps, one_hot
from test_parallel import team_of

from fastbp import Network, Trainer, kernels, optimizers
from fastbp.kernels import scratch

SIZES = [(1, 2), (8, 16, 4), (5, 3), (24, 8, 2), (17, 33, 9, 3), (33, 77, 5), (1, 40, 1, 2)]
TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def group_of(layout, size, dtype, **options):
    """Samples that a batch has side by side."""
    batch = kernels.make_batch(layout, size, np.dtype(dtype), **options)
    return kernels.fields(batch, kernels.Batch).group


def problem(sizes, n, loss, seed, by_label):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, sizes[0]))
    if loss == "cross_entropy" and by_label:
        y = generator.integers(0, sizes[-1], n)
        return X, y, one_hot(y, sizes[-1])
    y = targets_for(loss, generator, n, sizes[-1])
    return X, y, y


def test_which_batches_are_side_by_side():
    layout = Network((24, 8, 2)).layout
    dropout = kernels.Regularization(dropout=np.array([0.5]))
    for dtype, lanes in (("float32", 16), ("float64", 8)):
        layout = Network((24, 8, 2), dtype=dtype).layout
        for size in (32, 33, 200, 1000):
            assert group_of(layout, size, dtype) % lanes == 0
            assert group_of(layout, size, dtype) > 0
            assert group_of(layout, size, dtype, purpose="gradient") > 0
        for options in ({"inputs": "listed"}, {"inputs": "sparse"}, {"regularization": dropout}):
            assert group_of(layout, 32, dtype, **options) == 0
        assert group_of(layout, lanes, dtype) == 0
        assert group_of(Network((784, 512, 10), dtype=dtype).layout, 32, dtype) == 0


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.sampled_from(SIZES),
    loss=st.sampled_from(sorted(kernels.LOSSES)),
    n=st.sampled_from([9, 70, 301]),
    batch_size=st.sampled_from([13, 16, 33, 64, 200, 256, 300]),
    activation=st.sampled_from(["relu", "tanh", "silu"]),
    optimizer=st.sampled_from(["sgd", "adam"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
    by_label=st.booleans(),
    decay=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 100),
)
def test_steps_equal_the_oracle(
    sizes, loss, n, batch_size, activation, optimizer, smoothing, weighted, by_label, decay, seed
):
    X, y, targets = problem(sizes, n, loss, seed, by_label)
    smoothing = smoothing if loss == "cross_entropy" else 0.0
    weights = np.random.default_rng(seed).uniform(0.5, 2, n) if weighted else None
    network = Network(sizes, activation=activation, loss=loss, dtype="float64", seed=seed)
    oracle = Naive.of(network)
    options = {"eps": 1e-3} if optimizer == "adam" else {}
    trainer = Trainer(
        network, optimizers.OPTIMIZERS[optimizer](**options), learning_rate=0.02,
        batch_size=batch_size, weight_decay=decay, label_smoothing=smoothing,
    )  # fmt: skip
    trainer.partial_fit(X, y, sample_weight=weights)
    smooth = (1 - smoothing) * targets + smoothing / sizes[-1]
    mean_one = None if weights is None else weights / weights.mean()
    steps = Steps(optimizer, 0.02, **options)
    oracle.train_batches(X, smooth, np.arange(n), min(batch_size, n), steps, decay, mean_one)
    for mine, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)
    for mine, theirs in zip(network.biases, oracle.biases, strict=True):
        np.testing.assert_allclose(mine, theirs, **TIGHT)
    assert_padding_is_zero(network)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [0.0, 1e-3])
@pytest.mark.parametrize("loss", sorted(kernels.LOSSES))
@pytest.mark.parametrize("sizes", SIZES)
def test_losses_and_gradients_equal_those_of_rows(sizes, loss, clip, dtype, monkeypatch):
    """In both dtypes, by labels and by targets, clipped or not, in more than one stretch."""
    for by_label in (False, True) if loss == "cross_entropy" else (False,):
        X, y, _ = problem(sizes, 300, loss, 0, by_label)
        network = Network(sizes, activation="tanh", loss=loss, dtype=dtype, seed=0)
        order = np.random.default_rng(1).permutation(300)
        weights = np.linspace(0.5, 1.5, 300)
        samples = network.samples(X, y, weights)._replace(order=order, clip=clip)
        results = []
        for narrow in (scratch.NARROW, 0):
            monkeypatch.setattr(scratch, "NARROW", narrow)
            assert (group_of(network.layout, 300, dtype) > 0) == (narrow > 0)
            batch = kernels.make_batch(network.layout, 300, network.dtype, purpose="gradient")
            gradient, state = np.zeros_like(network.params), network.parameters.state
            results.append(
                [
                    kernels.train_minibatch(
                        state, batch, gradient, samples, 0, 300, 0.0, kernels.ALONE
                    ),
                    gradient,
                ]
            )
            monkeypatch.undo()
        (loss_sum, side_by_side), (of_rows, row_by_row) = results
        tight = {"rtol": 1e-4, "atol": 1e-6} if dtype == "float32" else TIGHT
        np.testing.assert_allclose(loss_sum, of_rows, rtol=tight["rtol"])
        np.testing.assert_allclose(side_by_side, row_by_row, **tight)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("sizes", [(8, 16, 4), (64, 32, 10)])
@pytest.mark.parametrize("size", [30, 256, 300])
def test_neither_threads_nor_calls_change_a_bit(size, sizes, optimizer):
    X, y, _ = problem(sizes, 700, "cross_entropy", 0, True)
    results = []
    for threads, n_calls in ((1, 1), (1, 2), (2, 1), (3, 2), (7, 1)):
        network = Network(sizes, seed=0)
        parameters, chosen = network.parameters, optimizers.OPTIMIZERS[optimizer]()
        parameters.fields.rates[0] = 0.05
        fields, settings_of = parameters.fields, chosen.settings()
        fields.rule[:] = chosen.code, 0, chosen.n_moments
        fields.settings[: len(settings_of)] = settings_of
        batch = kernels.make_batch(network.layout, size, network.dtype, threads=threads)
        samples = network.samples(X, y)
        cut = 512 if size == 256 else size if n_calls == 2 else 700
        loss_sum = 0.0
        with team_of(threads, threads - 1) as team:
            for start, stop in ((0, cut), (cut, 700)):
                loss_sum = kernels.train_minibatch(
                    parameters.state, batch, parameters.state[:0], samples, start, stop, loss_sum,
                    team,
                )  # fmt: skip
        results.append((loss_sum, network.params.tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_fills_up_the_last_vector_counts_for_nothing(dtype):
    """At an input of 0 this network overflows, and at those that it is given it does not."""
    network = Network((1, 1), loss="poisson", dtype=dtype)
    network.weights[0][:], network.biases[0][:] = 800, 800
    X, y = np.full((33, 1), -1.0), np.full((33, 1), 2.0)
    loss, gradients = network.value_and_grad(X, y)
    assert loss == 1.0
    assert gradients.weights[0] == 1.0
    assert gradients.biases[0] == -1.0


def test_probabilities_too_small_for_the_dtype_have_exact_losses():
    network = Network((1, 3), dtype="float32")
    network.weights[0][:, 0] = 0, 100, 200
    X, y = np.ones((40, 1)), np.arange(40) % 3
    loss, _ = network.value_and_grad(X, y)
    np.testing.assert_allclose(loss, np.choose(y, [200.0, 100.0, 0.0]).mean(), rtol=1e-6)
