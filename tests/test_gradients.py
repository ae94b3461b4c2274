"""Update implies gradient: one training step's Δw is −η times the gradient by central differences.

For every activation × legal loss × dtype × depth; the differences are those of the naive oracle.
"""

import numpy as np
import pytest
from conftest import targets_for
from naive import Naive

from fastbp import Network, Trainer, kernels

SIZES = {0: (3, 2), 1: (3, 4, 2), 2: (3, 4, 5, 2), 3: (3, 5, 4, 3, 2)}


def cases():
    """(hidden activation, output, loss, depth): hidden with the default and its own output."""
    for loss, outputs in kernels.LEGAL_OUTPUTS.items():
        for output in outputs:
            yield "identity", output, loss, 0
        for hidden in kernels.HIDDEN:
            for depth in (1, 2, 3):
                for output in {outputs[0], hidden} & set(outputs):
                    yield hidden, output, loss, depth


ALL = sorted(set(cases()))


def step(network, x, y, learning_rate):
    """What one training step subtracts from the parameters, divided by the learning rate."""
    before = network.copy("float64")
    Trainer(network, learning_rate=learning_rate).partial_fit(x, y)
    after = network.copy("float64")
    pairs = zip((*before.weights, *before.biases), (*after.weights, *after.biases), strict=True)
    return [(old - new) / learning_rate for old, new in pairs]


def differences(oracle, x, y, h=1e-5):
    """Central differences of the loss in float64, for each weight and then each bias array."""
    result = []
    for array in (*oracle.weights, *oracle.biases):
        g = np.empty_like(array)
        for place in np.ndindex(array.shape):
            value = array[place]
            array[place] = value + h
            above = oracle.loss(x, y)
            array[place] = value - h
            below = oracle.loss(x, y)
            array[place] = value
            g[place] = (above - below) / (2 * h)
        result.append(g)
    return result


def smooth_case(hidden, output, loss, depth):
    """A network and a sample at a distance from every kink, with no gradient near zero."""
    kinked = {"relu", "leaky_relu", "elu"}
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        network = Network(SIZES[depth], activation=hidden, output=output, loss=loss,
                          init="he_normal", dtype="float64", seed=seed)  # fmt: skip
        for b in network.biases:
            b[...] = generator.uniform(-0.5, 0.5, b.shape)
        # Float32 and float64 see the same numbers.
        network.params[:] = network.params.astype(np.float32)
        x = generator.uniform(-1, 1, (1, 3)).astype(np.float32)
        y = targets_for(loss, generator, 1, 2).astype(np.float32)
        oracle = Naive.of(network)
        z, a = oracle.forward(x[0])
        at_kink = any(
            np.abs(values).min() < 1e-2
            for name, values in zip(network.activations, z, strict=True)
            if name in kinked
        )
        e = np.abs(a[-1] - y[0])
        at_kink |= loss == "absolute_error" and e.min() < 1e-2
        at_kink |= loss == "huber" and np.abs(e - 1).min() < 1e-2
        if at_kink or np.abs(a[-1]).max() > 20:
            continue
        g = differences(oracle, x, y)
        if min(np.linalg.norm(part) for part in g) > 1e-3:
            return network, x, y, g
    raise AssertionError("no seed gives a case without kinks and zero gradients")


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(("hidden", "output", "loss", "depth"), ALL)
def test_update_implies_gradient(hidden, output, loss, depth):
    network, x, y, expected = smooth_case(hidden, output, loss, depth)
    single = network.copy("float32")
    double_step = step(network, x, y, 1.0)
    for actual, g in zip(double_step, expected, strict=True):
        assert relative_error(actual, g) < 1e-6
    for actual, g in zip(step(single, x, y, 1.0), double_step, strict=True):
        assert relative_error(actual, g) < 1e-4


def test_every_activation_and_loss_is_covered():
    assert {(hidden, loss) for hidden, _, loss, depth in ALL if depth} == {
        (hidden, loss) for hidden in kernels.HIDDEN for loss in kernels.LOSSES
    }
    assert {(output, loss) for _, output, loss, _ in ALL} == {
        (output, loss) for loss, outputs in kernels.LEGAL_OUTPUTS.items() for output in outputs
    }


def test_value_and_grad_is_the_mean_of_the_steps(generator):
    network = Network((4, 6, 3), activation="silu", dtype="float64", seed=1)
    X = generator.normal(size=(7, 4))
    labels = generator.integers(0, 3, 7)
    weights = generator.uniform(0, 2, 7)
    oracle = Naive.of(network)
    Y = np.eye(3)[labels]
    parts = [oracle.gradient(x, y) for x, y in zip(X, Y, strict=True)]
    for w in (None, weights):
        loss, gradients = network.value_and_grad(X, labels, sample_weight=w)
        share = np.full(7, 1 / 7) if w is None else w / w.sum()
        losses = [oracle.loss(X[i : i + 1], Y[i : i + 1]) for i in range(7)]
        assert loss == pytest.approx(np.dot(share, losses), rel=1e-12)
        assert network.loss(X, labels, sample_weight=w) == pytest.approx(loss, rel=1e-14)
        for layer in range(2):
            expected = sum(s * dW[layer] for s, (dW, _) in zip(share, parts, strict=True))
            np.testing.assert_allclose(gradients.weights[layer], expected, rtol=1e-11)
            expected = sum(s * db[layer] for s, (_, db) in zip(share, parts, strict=True))
            np.testing.assert_allclose(gradients.biases[layer], expected, rtol=1e-11)


def test_value_and_grad_writes_to_out(generator):
    network = Network((5, 7, 3), seed=0)
    X, y = generator.random((4, 5)), [0, 1, 2, 1]
    _, expected = network.value_and_grad(X, y)
    out = np.full_like(network.params, np.nan)
    before = network.params.copy()
    _, gradients = network.value_and_grad(X, y, out=out)
    np.testing.assert_array_equal(network.params, before)
    assert np.isfinite(out).all()
    for mine, theirs in zip(gradients.weights, expected.weights, strict=True):
        assert np.shares_memory(mine, out)
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="share memory"):
        network.value_and_grad(out[:20].reshape(4, 5), y, out=out)
    # An offset of one element: nothing may ask for 64-byte alignment.
    crooked = np.empty(out.size + 1, out.dtype)[1:]
    network.value_and_grad(X, y, out=crooked)
    np.testing.assert_array_equal(crooked, out)


def test_check_gradients_passes_and_prints(generator):
    network = Network((3, 5, 2), activation="gelu", dtype="float64", seed=0)
    report = network.check_gradients(generator.normal(size=(4, 3)), [0, 1, 1, 0])
    assert report.ok
    assert report.max_error < 1e-7
    assert "layer 2 weights" in str(report)
    assert "passed" in str(report)


def test_check_gradients_finds_a_wrong_gradient(generator, monkeypatch):
    network = Network((3, 5, 2), dtype="float64", seed=0)
    right = Network.value_and_grad

    def wrong(self, X, y):
        loss, gradients = right(self, X, y)
        gradients.weights[1][0, 0] *= 1.001
        return loss, gradients

    monkeypatch.setattr(Network, "value_and_grad", wrong)
    report = network.check_gradients(generator.normal(size=(4, 3)), [0, 1, 1, 0])
    assert not report.ok
    assert "WRONG" in str(report)


@pytest.mark.parametrize(("layer", "place"), [(0, (3, 1)), (1, (1, 2))])
@pytest.mark.parametrize("value", [np.nan, 5.0])
def test_check_gradients_looks_at_every_layer_and_entry(
    generator, monkeypatch, layer, place, value
):
    network = Network((3, 5, 2), dtype="float64", seed=0)
    right = Network.value_and_grad

    def wrong(self, X, y):
        loss, gradients = right(self, X, y)
        gradients.weights[layer][place] = value
        return loss, gradients

    monkeypatch.setattr(Network, "value_and_grad", wrong)
    report = network.check_gradients(generator.normal(size=(4, 3)), [0, 1, 1, 0])
    assert not report.ok
    assert "FAILED" in str(report)


def test_check_gradients_reports_zero_gradients():
    network = Network((3, 5, 2), seed=0)
    network.biases[0][...] = -100  # every ReLU is off
    report = network.check_gradients(np.ones((2, 3)), [0, 1])
    assert not report.ok
    assert "all zero" in str(report)


FEW_CASES = [
    # sizes, activation, loss, dtype, rows, targets in one dimension
    ((24, 8, 2), "tanh", "squared_error", "float64", 200, False),
    ((24, 8, 2), "tanh", "huber", "float32", 120, False),
    ((5, 33, 7, 3), ("relu", "sigmoid"), "absolute_error", "float32", 33, False),
    ((3, 1), "relu", "squared_error", "float64", 16, True),
    ((8, 16, 4), "relu", "cross_entropy", "float32", 32, True),
    ((40, 40, 11), "gelu", "cross_entropy", "float64", 16, True),
]


def few_rows(case, generator):
    """A network and rows whose gradient takes the short way."""
    sizes, activation, loss, dtype, n, is_flat = case
    network = Network(sizes, activation=activation, loss=loss, dtype=dtype, seed=0)
    X = generator.standard_normal((n, sizes[0])).astype(dtype)
    if loss == "cross_entropy":
        return network, X, generator.integers(0, sizes[-1], n)
    y = generator.standard_normal((n, sizes[-1])).astype(dtype)
    return network, X, y.reshape(-1) if is_flat else y


def count_calls(monkeypatch):
    """How often the short way is taken, in a list of the losses that it gives."""
    right, losses = kernels.differentiate_few, []

    def counting(*arguments):
        losses.append(right(*arguments))
        return losses[-1]

    monkeypatch.setattr(kernels, "differentiate_few", counting)
    return losses


@pytest.mark.parametrize("case", FEW_CASES)
def test_the_short_way_gives_the_same_bits(case, generator, monkeypatch):
    network, X, y = few_rows(case, generator)
    losses, out = count_calls(monkeypatch), np.full_like(network.params, np.nan)
    for _ in range(2):
        loss, gradients = network.value_and_grad(X, y, out)
    f_loss, f_gradient = network.objective(X, y)(network.params)
    assert losses == [loss] * 3
    assert f_loss == loss
    np.testing.assert_array_equal(f_gradient, out)
    for view, own in zip(gradients.weights, network.views(out).weights, strict=True):
        np.testing.assert_array_equal(view, own)
    ones = np.ones(len(X))  # weights take the long way
    expected, whole = network.value_and_grad(X, y, sample_weight=ones)
    assert len(losses) == 3
    assert loss == expected
    for layer, its in zip(gradients.weights + gradients.biases, whole.weights + whole.biases,
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(layer, its)


def test_views_are_those_of_the_given_vector_and_new_each_time(generator):
    network, X, y = few_rows(FEW_CASES[0], generator)
    out = np.empty_like(network.params)
    _, gradients = network.value_and_grad(X, y, out)
    gradients.biases[0].shape = 1, -1
    _, gradients = network.value_and_grad(X, y, out)
    assert gradients.biases[0].ndim == 1
    first, second = np.empty_like(network.params), np.empty_like(network.params)
    for out in (first, second, first):
        _, gradients = network.value_and_grad(X, y, out)
        assert all(np.shares_memory(view, out) for view in gradients.weights + gradients.biases)
    _, new = network.value_and_grad(X, y)
    assert not any(np.shares_memory(view, first) for view in new.weights)


@pytest.mark.parametrize("case", FEW_CASES)
def test_the_short_way_leaves_errors_to_the_long_one(case, generator, monkeypatch):
    network, X, y = few_rows(case, generator)
    losses = count_calls(monkeypatch)
    wrong = X.copy()
    wrong[7, 1] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan in row 7, column 1"):
        network.value_and_grad(wrong, y)
    with pytest.raises(ValueError, match="X must have"):
        network.value_and_grad(np.hstack([X, X]), y)
    with pytest.raises(ValueError, match="y must have one entry per row of X"):
        network.value_and_grad(X, y[1:])
    wrong_y = y.copy()
    wrong_y[3] = network.sizes[-1] if y.dtype == np.int64 else np.nan
    with pytest.raises(ValueError, match=r"y must .*in row 3"):
        network.value_and_grad(X, wrong_y)
    if y.dtype == np.int64:
        wrong_y[3] = -1
        with pytest.raises(ValueError, match="got -1 in row 3"):
            network.value_and_grad(X, wrong_y)
    with pytest.raises(ValueError, match="out must be a writable contiguous"):
        network.value_and_grad(X, y, np.empty(network.params.size + 1, network.dtype))
    with pytest.raises(ValueError, match="out must not share memory"):
        network.value_and_grad(X, y, network.params)
    assert all(np.isnan(losses))


def test_few_rows_whose_loss_overflows(generator):
    network, X, y = few_rows(FEW_CASES[0], generator)
    network.params[:] = 1e300
    with np.errstate(all="ignore"):  # of interpreted kernels
        loss, gradients = network.value_and_grad(X * 1e200, y)
    assert not np.isfinite(loss)
    assert not all(np.isfinite(layer).all() for layer in gradients.weights)


def test_the_short_way_refuses_arrays_that_do_not_fit(generator):
    network, X, y = few_rows(FEW_CASES[0], generator)
    own, out = network.parameters, np.empty_like(network.params)
    n, none = len(X), kernels.read_only(np.empty(0, np.int64))
    batch = kernels.make_batch(own.layout, n, own.dtype, purpose="gradient")
    other = Network((24, 9, 2), dtype="float64", seed=0).parameters

    def call(state=own.state, batch=batch, X=X, labels=none, y=y, out=out):
        arrays = [kernels.read_only(array) for array in (X, labels, y)]
        return kernels.differentiate_few(state, batch, *arrays, out)

    def made(rows, purpose="gradient", layout=own.layout):
        return kernels.make_batch(layout, rows, own.dtype, purpose=purpose)

    assert call() == network.value_and_grad(X, y)[0]
    for wrong in (
        {"batch": made(n - 1)},
        {"batch": made(n, "inference")},
        {"batch": made(8)},  # without groups
        {"batch": made(n, layout=other.layout)},
        {"state": other.state},
        {"X": X[:0]},
        {"X": X[:, :20].copy()},
        {"y": y[:-1]},
        {"y": y[:, :1].copy()},
        {"labels": np.zeros(n - 1, np.int64), "y": y[:0]},
        {"labels": np.full(n, 2), "y": y[:0]},
        {"out": out[:-1]},
        {"out": out[1:]},
        {"labels": out.view(np.int64)[:n], "y": y[:0]},
        {"out": own.flat},
    ):
        assert np.isnan(call(**wrong)), wrong
