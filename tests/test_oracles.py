"""Cases with published answers: worked examples of textbooks, and softmax at its limits."""

import numpy as np
import pytest

from fastbp import Network, Trainer, kernels
from fastbp.objective import Objective

X1, Y1 = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def logistic_net():
    """2-2-2 logistic net of a widely used worked example of backpropagation."""
    network = Network((2, 2, 2), activation="sigmoid", output="sigmoid", loss="squared_error",
                      dtype="float64")  # fmt: skip
    network.weights[0][...] = [[0.15, 0.20], [0.25, 0.30]]
    network.weights[1][...] = [[0.40, 0.45], [0.50, 0.55]]
    network.biases[0][...] = 0.35
    network.biases[1][...] = 0.60
    return network


def steps(network, n):
    Trainer(network, learning_rate=0.5, shuffle=False).fit(X1, Y1, epochs=n, progress=False)


def frozen_bias_steps(network, n):
    """As `steps`, but with the biases put back after each: only the weights are trained."""
    trainer = Trainer(network, learning_rate=0.5)
    biases = [b.copy() for b in network.biases]
    for _ in range(n):
        trainer.partial_fit(X1, Y1)
        for b, original in zip(network.biases, biases, strict=True):
            b[...] = original


def test_logistic_forward():
    network = logistic_net()
    state, fields = network.parameters.state, network.parameters.fields
    kernels.forward(state, kernels.dense_inputs(X1), 0)
    start = network.layout.units[1]
    np.testing.assert_allclose(fields.a[start : start + 2], [0.593269992, 0.596884378], atol=5e-10)
    np.testing.assert_allclose(network.predict(X1), [[0.75136507, 0.772928465]], atol=5e-9)
    assert network.loss(X1, Y1) == pytest.approx(0.298371108760003, abs=5e-16)


def test_logistic_one_step():
    network = logistic_net()
    steps(network, 1)
    W1, W2 = network.weights
    b1, b2 = network.biases
    np.testing.assert_allclose(
        W2.ravel(), [0.35891648, 0.40866619, 0.51130127, 0.56137012], atol=5e-9
    )
    np.testing.assert_allclose(
        W1.ravel(), [0.14978072, 0.19956143, 0.24975114, 0.29950229], atol=5e-9
    )
    np.testing.assert_allclose(b1, [0.3456143227, 0.3450228726], atol=5e-11)
    np.testing.assert_allclose(b2, [0.5307507192, 0.6190491183], atol=5e-11)
    assert network.loss(X1, Y1) == pytest.approx(0.280471446791430, abs=5e-16)


def test_logistic_ten_thousand_steps():
    network = logistic_net()
    steps(network, 10_000)
    assert network.loss(X1, Y1) == pytest.approx(2.4475622359e-06, rel=1e-10)


def test_logistic_frozen_biases():
    network = logistic_net()
    frozen_bias_steps(network, 1)
    loss = network.loss(X1, Y1)
    assert loss == pytest.approx(0.291027773693599, abs=5e-16)
    # What comes of propagating through output weights that were updated already.
    assert loss != pytest.approx(0.291027923905, abs=1e-9)
    frozen_bias_steps(network, 9_999)
    assert network.loss(X1, Y1) == pytest.approx(3.510187783e-05, rel=1e-9)


def test_xor_one_step():
    network = Network((2, 2, 1), activation="sigmoid", output="sigmoid", loss="squared_error",
                      dtype="float64")  # fmt: skip
    network.weights[0][...] = [[0.5, 0.4], [0.9, 1.0]]
    network.biases[0][...] = [-0.8, 0.1]
    network.weights[1][...] = [[-1.2, 1.1]]
    network.biases[1][...] = -0.3
    x, y = np.array([[1.0, 1.0]]), np.array([0.0])
    state, fields = network.parameters.state, network.parameters.fields
    fields.y[:] = 0
    kernels.forward(state, kernels.dense_inputs(x), 0)
    kernels.backward(state, -1)
    hidden, output = network.layout.units[1], network.layout.units[2]
    np.testing.assert_allclose(
        fields.a[hidden : hidden + 2], [0.5249791875, 0.8807970780], atol=5e-11
    )
    assert fields.a[output] == pytest.approx(0.5097242139, abs=5e-11)
    assert fields.delta[output] == pytest.approx(0.1273828538, abs=5e-11)
    Trainer(network, learning_rate=0.1).partial_fit(x, y)
    expected = {
        "W1": [0.5038119480, 0.4038119478, 0.8985288179, 0.9985288179],
        "b1": [-0.7961880522, 0.0985288179],
        "W2": [-1.2066873347, 1.0887801555],
        "b2": [-0.3127382854],
    }
    actual = {
        "W1": network.weights[0].ravel(),
        "b1": network.biases[0],
        "W2": network.weights[1].ravel(),
        "b2": network.biases[1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, atol=2e-10, err_msg=name)


def probabilities(logits, dtype):
    network = Network((1, len(logits)), dtype=dtype)
    network.params[:] = 0
    network.biases[0][...] = logits
    return network, network.predict_proba([[0.0]])[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ((-1, 0, 1), (0.09003058, 0.24472848, 0.66524094)),
        ((10000, 10001, 10002, 10003), (0.0320586, 0.08714432, 0.23688284, 0.64391428)),
    ],
)
def test_softmax(logits, expected, dtype):
    np.testing.assert_allclose(probabilities(logits, dtype)[1], expected, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", ["1e4", "largest"])
def test_softmax_at_extreme_logits(size, dtype):
    top = 1e4 if size == "1e4" else float(np.finfo(dtype).max)
    for logits in ([top, -top], [-top, top, 0], [top, top], [-top, -top, -top]):
        network, p = probabilities(logits, dtype)
        assert np.isfinite(p).all()
        assert p.sum() == pytest.approx(1, abs=1e-6)
        for label in range(len(logits)):
            loss = network.loss([[0.0]], [label])
            assert np.isfinite(loss)
            assert loss >= 0
        assert np.isfinite(network.loss([[0.0]], [np.full(len(logits), 1 / len(logits))]))
        assert np.isfinite(network.loss([[0.0]] * 3, [0, 1, 1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_at_extreme_logits(dtype):
    top = float(np.finfo(dtype).max)
    for logit in (top, -top, 1e4, -1e4):
        network = Network((1, 2), loss="binary_cross_entropy", dtype=dtype)
        network.params[:] = 0
        network.biases[0][...] = logit
        p = network.predict_proba([[0.0]])
        assert ((p == 0) | (p == 1)).all()
        for y in ([0, 0], [1, 1], [0, 1]):
            assert np.isfinite(network.loss([[0.0]], [y]))


@pytest.mark.parametrize("clip", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_losses_of_clipped_probabilities(loss, clip, generator):
    """As every kernel sums them up; steps are so small that they do not matter."""
    X = generator.normal(size=(23, 4)) * 9
    network = Network((4, 6, 3), activation="tanh", loss=loss, dtype="float64", seed=0)
    network.params[:] *= 3
    p = network.predict_proba(X)
    held = np.clip(p, clip, 1 - clip)
    assert (held != p).any() == (clip > 0)
    labels = generator.integers(0, 3, 23)
    each = np.eye(3)[labels]
    if loss == "binary_cross_entropy":
        each = generator.integers(0, 2, (23, 3)).astype(float)
    expected = -(each * np.log(held)).sum(axis=1)
    if loss == "binary_cross_entropy":
        expected -= ((1 - each) * np.log(1 - held)).sum(axis=1)
    ways = [{"method": "sequential"}, {"method": "deferred"}, {"batch_size": 5}]
    for y in [each] if loss == "binary_cross_entropy" else [labels, each]:
        for way in ways:
            trainer = Trainer(network.copy(), learning_rate=1e-30, seed=0, **way)
            trainer.clip = clip
            trainer.fit(X, y, epochs=1, progress=False)
            np.testing.assert_allclose(trainer.history.train_loss, expected.mean(), rtol=1e-12)
        samples = network.samples(X, y)._replace(clip=clip)
        evaluated = network.parameters.evaluate(samples)
        assert evaluated.loss == pytest.approx(expected.mean(), rel=1e-12)
        value, gradient = Objective(network, samples)(network.params.copy())
        assert value == pytest.approx(expected.mean(), rel=1e-12)
        plain = Objective(network, samples._replace(clip=0.0))(network.params.copy())[1]
        np.testing.assert_array_equal(gradient, plain)
