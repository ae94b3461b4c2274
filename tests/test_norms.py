"""Squares at both ends of a dtype's range: clipping, norms of weights, penalties, moments."""

import pickle

import numpy as np
import pytest
from conftest import assert_padding_is_zero
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import DivergenceError, Network, Trainer, optimizers

# Sizes are odd on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::fastbp.ScaleWarning")

DTYPES = ("float32", "float64")
# From the least number that has all digits to the greatest.
ENDS = {"float32": (-37, 38), "float64": (-307, 307)}
RTOL = {"float32": 1e-5, "float64": 1e-13}


def exact_norm(x, axis=None):
    """By Python's integers in all but name: the exponents of long doubles reach ±4932."""
    return np.sqrt(np.sum(np.square(x, dtype=np.longdouble), axis=axis))


def some(generator, exponent, shape, dtype, spread=2):
    """Random numbers of about 10^exponent."""
    powers = exponent - generator.uniform(0, spread, shape)
    return (generator.choice([-1, 1], shape) * np.longdouble(10) ** powers).astype(dtype)


def descend(network, G, **options):
    """One step with the gradient G, (n_out, n_in), of a linear layer's weights, which are 0."""
    # The outputs are 0 and the targets −1: δ is 1 for each output, or sums to it, by its row.
    n_out = len(G)
    network.params[:] = 0
    X = np.repeat(G, 2, axis=0)
    y = np.repeat(-np.eye(n_out) * n_out, 2, axis=0)
    options = {"learning_rate": 1.0, "batch_size": 2 * n_out} | options
    Trainer(network, **options).partial_fit(X.astype(network.dtype), y)


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(DTYPES), share=st.floats(0.4, 1), shape=st.sampled_from([(1, 2), (3, 70),
    (2, 5000)]), clip=st.sampled_from([1e-6, 0.3, 1.0, 1e10]), limited=st.booleans(),
    optimizer=st.sampled_from(["sgd", "momentum"]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_gradients_of_any_size_are_clipped_to_their_norm(
    dtype, share, shape, clip, limited, optimizer, seed
):
    generator = np.random.default_rng(seed)
    low, high = ENDS[dtype]
    G = some(generator, low + share * (high - low), shape, dtype)
    network = Network((shape[1], shape[0]), loss="squared_error", dtype=dtype, seed=0)
    largest = float(np.abs(G).max()) / 3 if limited else None
    steps = optimizers.SGD(momentum=0.5) if optimizer == "momentum" else "sgd"
    descend(network, G, clip_norm=clip, clip_value=largest, optimizer=steps)
    G = np.clip(G.astype(np.longdouble), -largest, largest) if limited else G.astype(np.longdouble)
    # The gradient of each bias is −1, but it is clipped as well.
    ones = np.ones(shape[0]) if not limited else np.minimum(1, np.full(shape[0], largest))
    norm = np.hypot(exact_norm(G), exact_norm(ones))
    factor = np.minimum(1, np.longdouble(clip) / (norm + 1e-6))
    tight = {"rtol": 3 * RTOL[dtype], "atol": float(clip) * RTOL[dtype]}
    np.testing.assert_allclose(
        -network.weights[0].astype(float), (factor * G).astype(float), **tight
    )
    np.testing.assert_allclose(-network.biases[0], (factor * ones).astype(float), **tight)
    assert_padding_is_zero(network)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (1, 5000)])
def test_a_factor_too_small_for_the_dtype_is_not_zero(dtype, shape, generator):
    top = ENDS[dtype][1]
    for clip in (10.0 ** (ENDS[dtype][0] + 3), 1e-10):
        network = Network((shape[1], shape[0]), loss="squared_error", dtype=dtype, seed=0)
        G = some(generator, top, shape, dtype)
        descend(network, G, clip_norm=clip)
        direction = G / exact_norm(G)
        np.testing.assert_allclose(
            (-network.weights[0] / np.longdouble(clip)).astype(float), direction.astype(float),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0, 0.05, 0.2, 0.3, 0.5, 0.7, 0.8, 0.95, 1])
def test_weights_of_any_size_are_limited(dtype, share, generator):
    low, high = ENDS[dtype]
    exponent = low + share * (high - low)
    for shape in ((1, 1), (3, 2), (40, 7)):
        network = Network((shape[1], shape[0]), loss="squared_error", dtype=dtype, seed=0)
        W = some(generator, exponent, shape, dtype, spread=0.3)
        if shape[0] > 1:
            W[0] = 0
            W[-1] *= network.dtype.type(0.01)
        W[np.abs(W) < np.finfo(dtype).tiny] = 0  # as kernels on x86 take them
        network.weights[0][...] = W
        most = 0.9 * float(exact_norm(W, axis=1)[0 if shape[0] == 1 else -2])
        X = np.zeros((2, shape[1]))
        Trainer(network, batch_size=2, max_norm=most).partial_fit(X, np.zeros((2, shape[0])))
        norms = exact_norm(W, axis=1)
        scale = np.minimum(1, np.longdouble(most) / np.maximum(norms, np.longdouble(5e-324)))
        np.testing.assert_allclose(
            (network.weights[0] / np.longdouble(most)).astype(float),
            (scale[:, None] * W / np.longdouble(most)).astype(float), rtol=RTOL[dtype], atol=1e-5,
        )  # fmt: skip
        assert_padding_is_zero(network)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-307, -160, -37, -25, -22, 0, 18, 20, 38, 153, 200, 307])
@pytest.mark.parametrize(("weight_decay", "l1"), [(0.1, 0.01), (1e-30, 0.0)])
def test_penalties_of_any_weights(dtype, exponent, weight_decay, l1, generator):
    low, high = ENDS[dtype]
    if not low <= exponent <= high:
        exponent //= 10
    network = Network((40, 9, 3), loss="squared_error", dtype=dtype, seed=0)
    expected = 0.0
    for W in network.weights:
        W[...] = some(generator, exponent, W.shape, dtype)
        large = W.astype(np.longdouble)
        decay, sizes = network.dtype.type(weight_decay), network.dtype.type(l1)
        expected += 0.5 * np.longdouble(decay) * exact_norm(large) ** 2
        expected += np.longdouble(sizes) * np.abs(large).sum()
    expected = float(expected)
    np.testing.assert_allclose(
        network.parameters.penalty(weight_decay, l1), expected, rtol=1e-5, atol=5e-324
    )


def test_penalties_of_millions_of_weights_keep_their_digits():
    network = Network((2000, 2000, 2), dtype="float32", seed=0)
    exact = sum((W.astype(float) ** 2).sum() for W in network.weights)
    assert network.parameters.penalty(2.0, 0.0) == pytest.approx(exact, rel=2e-6)


def test_penalties_of_no_weights_are_zero():
    network = Network((4, 3), dtype="float64", seed=0)
    network.params[:] = 0
    assert network.parameters.penalty(1.0, 1.0) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("size", [1e-10, 0.3, 7.0, 1e10])
def test_centred_variances_are_not_negative(dtype, alpha, size):
    """Of a constant gradient they are 0, and less by rounding."""
    network = Network((1, 3), loss="absolute_error", dtype=dtype, seed=0)
    network.params[:] = 0
    optimizer = optimizers.RMSprop(alpha=alpha, centered=True, eps=1.0)
    trainer = Trainer(network, optimizer, learning_rate=1e-12 / size, batch_size=1)
    for _ in range(5):
        trainer.partial_fit(np.full((50, 1), size), np.full((50, 3), 1e9))
    assert_padding_is_zero(network)
    assert (network.weights[0] > 0).all()


OVERFLOWING = ["rmsprop", "adagrad", "adam", "adamw", "nadam"]


@pytest.mark.parametrize("name", OVERFLOWING)
@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e25), ("float64", 1e160)])
def test_moments_that_overflow_are_reported(name, dtype, large):
    network = Network((2, 3), loss="absolute_error", dtype=dtype, seed=0)
    before = network.params.copy()
    X, y = np.full((40, 2), large), np.full((40, 3), network.dtype.type(large) * 10)
    trainer = Trainer(network, name, batch_size=8)
    with pytest.raises(DivergenceError, match="the optimizer's moments are not finite") as caught:
        trainer.fit(X, y, epochs=1, progress=False)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.epoch, error.layer, error.moments) == (1, None, True)
        assert "the optimizer's moments are not finite" in str(error)
    np.testing.assert_array_equal(network.params, before)
    # It begins anew.
    trainer.fit(X / large, y / large, epochs=1, progress=False)
    assert_padding_is_zero(network)


@pytest.mark.parametrize("name", OVERFLOWING)
@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e17), ("float64", 1e150)])
def test_moments_that_do_not_overflow_take_steps(name, dtype, large):
    network = Network((2, 3), loss="absolute_error", dtype=dtype, seed=0)
    before = network.params.copy()
    y = np.full((40, 3), network.dtype.type(large) * 1e4)
    Trainer(network, name, batch_size=8).partial_fit(np.full((40, 2), large), y)
    assert (network.weights[0] != network.views(before).weights[0]).all()


def test_adadelta_diverges_too():
    """But its steps are NaN then, not 0."""
    network = Network((2, 3), loss="absolute_error", seed=0)
    with pytest.raises(DivergenceError, match="not finite"):
        Trainer(network, "adadelta").partial_fit([[1e20, 1e20]], [[1e30, 1e30, 1e30]])


def test_a_clipped_gradient_does_not_overflow_moments():
    network = Network((2, 3), loss="absolute_error", seed=0)
    before = network.weights[0].copy()
    y = np.full((40, 3), 1e38)
    Trainer(network, "adam", batch_size=8, clip_norm=1.0).partial_fit(np.full((40, 2), 1e30), y)
    assert (np.abs(network.weights[0] - before) > 1e-3).all()


def test_other_divergence_is_told_from_that_of_moments():
    error = DivergenceError(3, 1, 0.1)
    assert not error.moments
    assert "layer 1 got parameters" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "the loss is" in str(fastbp.DivergenceError(3, None, 0.1))
