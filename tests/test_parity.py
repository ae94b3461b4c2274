"""The same steps as the naive oracle, over random architectures, and as scikit-learn."""

import numpy as np
import pytest
from conftest import targets_for
from hypothesis import given
from hypothesis import strategies as st
from naive import Naive, one_hot

from fastbp import Network, Trainer, kernels


@st.composite
def problems(draw):
    loss = draw(st.sampled_from(sorted(kernels.LOSSES)))
    n_outputs = draw(st.integers(2 if loss == "cross_entropy" else 1, 19))
    sizes = (draw(st.integers(1, 37)), *draw(st.lists(st.integers(1, 35), max_size=3)), n_outputs)
    hidden = draw(
        st.lists(
            st.sampled_from(sorted(kernels.HIDDEN)),
            min_size=len(sizes) - 2,
            max_size=len(sizes) - 2,
        )
    )
    output = draw(st.sampled_from(kernels.LEGAL_OUTPUTS[loss]))
    seed = draw(st.integers(0, 2**31))
    network = Network(
        sizes, activation=hidden, loss=loss, output=output, dtype="float64", seed=seed
    )
    generator = np.random.default_rng(seed)
    # Small weights keep exp outputs and their steps away from overflow.
    network.params[:] *= 0.5
    # Biases of 0 with steps of one size, as absolute_error has them, would come back to a kink at
    # 0 up to rounding, where no two ways of computing agree on the side.
    for b in network.biases:
        b[:] = generator.uniform(-0.1, 0.1, b.shape)
    n = draw(st.integers(1, 12))
    X = generator.uniform(-1, 1, (n, sizes[0])) * (generator.random((n, sizes[0])) < 0.7)
    return network, X, targets_for(loss, generator, n, n_outputs), generator


@given(
    problems(),
    st.sampled_from([0.0, 0.1]),
    st.booleans(),
)
def test_training_equals_the_oracle(problem, weight_decay, weighted):
    network, X, Y, generator = problem
    oracle = Naive.of(network)
    weights = generator.uniform(0.5, 2, len(X)) if weighted else None
    trainer = Trainer(network, learning_rate=0.01, weight_decay=weight_decay, shuffle=False)
    history = trainer.fit(X, Y, epochs=2, sample_weight=weights, progress=False)
    relative = None if weights is None else weights / weights.mean()
    losses = [oracle.train(X, Y, range(len(X)), 0.01, weight_decay, relative) for _ in range(2)]
    np.testing.assert_allclose(history.train_loss, losses, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(network.weights, oracle.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(network.biases, oracle.biases, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(network.loss(X, Y), oracle.loss(X, Y), rtol=1e-9, atol=1e-12)
    # The padding of the flat vector is untouched: it holds nothing but the views' entries.
    listed = sum(np.count_nonzero(a) for a in (*network.weights, *network.biases))
    assert np.count_nonzero(network.params) == listed


def test_integer_classes_equal_their_one_hot_rows(generator):
    X, labels = generator.normal(size=(30, 6)), generator.integers(0, 4, 30)
    networks = []
    for y in (labels, one_hot(labels, 4), labels[:, np.newaxis], labels.astype(float)):
        network = Network((6, 9, 4), seed=3)
        Trainer(network, seed=1).fit(X, y, epochs=2, progress=False)
        networks.append(network.params)
    for params in networks[1:]:
        np.testing.assert_array_equal(params, networks[0])


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("hidden", [(16,), (12, 9)])
def test_same_steps_as_scikit_learn(activation, hidden, generator):
    from sklearn.neural_network import MLPClassifier

    X = generator.normal(size=(60, 8))
    y = generator.integers(0, 3, 60)
    theirs = MLPClassifier(
        hidden, activation=activation, solver="sgd", batch_size=1, momentum=0, alpha=0,
        shuffle=False, learning_rate_init=0.05, random_state=0,
    )  # fmt: skip
    name = {"logistic": "sigmoid"}.get(activation, activation)
    ours = Network((8, *hidden, 3), activation=name, dtype="float64")
    # One call makes the arrays; the start is then set to ours.
    theirs.partial_fit(X[:1], y[:1], classes=[0, 1, 2])
    theirs.coefs_ = [W.T.copy() for W in ours.weights]
    theirs.intercepts_ = [b.copy() for b in ours.biases]
    theirs._optimizer = type(theirs._optimizer)(
        theirs.coefs_ + theirs.intercepts_, 0.05, "constant", 0, False
    )
    start = ours.copy()
    trainer = Trainer(ours, learning_rate=0.05)
    for _ in range(5):
        theirs.partial_fit(X, y)
        trainer.partial_fit(X, y)
    for mine, other, first in zip(ours.weights, theirs.coefs_, start.weights, strict=True):
        np.testing.assert_allclose(mine, other.T, rtol=1e-10, atol=1e-14)
        assert np.abs(mine - first).max() > 1e-2  # it moved
    for mine, other in zip(ours.biases, theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-14)


def test_scikit_learn_alpha_is_weight_decay(generator):
    """With one sample per step, scikit-learn's alpha is our weight_decay."""
    from sklearn.neural_network import MLPRegressor

    X, y = generator.normal(size=(40, 5)), generator.normal(size=40)
    theirs = MLPRegressor(
        hidden_layer_sizes=(7,), activation="tanh", solver="sgd", batch_size=1, momentum=0,
        alpha=0.3, shuffle=False, learning_rate_init=0.02, random_state=0,
    )  # fmt: skip
    theirs.partial_fit(X[:1], y[:1])
    ours = Network((5, 7, 1), activation="tanh", loss="squared_error", dtype="float64")
    for W, b, coef, intercept in zip(
        ours.weights, ours.biases, theirs.coefs_, theirs.intercepts_, strict=True
    ):
        W[...], b[...] = coef.T, intercept
    theirs.partial_fit(X, y)
    Trainer(ours, learning_rate=0.02, weight_decay=0.3).partial_fit(X, y)
    for mine, other in zip(ours.weights, theirs.coefs_, strict=True):
        np.testing.assert_allclose(mine, other.T, rtol=1e-10)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-4), ("float64", 1e-9)])
def test_wide_layers(dtype, rtol, generator):
    """Wide blocks are multiplied by rows, narrow ones by columns; numbers of rows leave 1, 2, 3."""
    network = Network((301, 300, 263, 258, 3), activation="tanh", dtype=dtype, seed=0)
    oracle = Naive.of(network)
    X = generator.normal(size=(6, 301)).astype(np.float32)
    Y = one_hot(generator.integers(0, 3, 6), 3)
    np.testing.assert_allclose(network.loss(X, Y), oracle.loss(X, Y), rtol=rtol)
    start = network.copy()
    Trainer(network, learning_rate=0.05).partial_fit(X, Y)
    oracle.train(X, Y, range(6), 0.05)
    for mine, theirs, first in zip(network.weights, oracle.weights, start.weights, strict=True):
        moved = np.abs(theirs - first).max()
        np.testing.assert_allclose(mine, theirs, atol=10 * rtol * moved, rtol=0)


def test_absolute_error_has_no_gradient_where_it_is_zero():
    network = Network((1, 2), loss="absolute_error", seed=0)
    network.params[:] = 0
    _, gradients = network.value_and_grad([[1.0]], [[0.0, 1.0]])
    assert gradients.biases[0].tolist() == [0, -1]


def test_rows_of_probabilities_that_sum_to_nearly_one_have_the_gradient_of_their_loss():
    network = Network((2, 4, 2), activation="tanh", dtype="float64", seed=0)
    report = network.check_gradients([[0.3, -0.2]], [[0.5004, 0.5005]])
    assert report.ok
    assert report.max_error < 1e-7
