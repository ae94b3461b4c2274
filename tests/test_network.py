"""The network: shapes, initial weights, predictions, copies."""

import contextlib
import copy
import pickle
import warnings

import numpy as np
import pytest

from fastbp import Network, Trainer, kernels
from fastbp.initializers import DEFAULTS, INITIALIZERS


def test_views_write_through_to_the_flat_vector():
    network = Network((3, 5, 2), seed=0)
    assert [W.shape for W in network.weights] == [(5, 3), (2, 5)]
    assert [b.shape for b in network.biases] == [(5,), (2,)]
    assert network.n_params == 3 * 5 + 5 + 5 * 2 + 2
    network.weights[1][1, 4] = 42
    network.biases[0][2] = 43
    assert {42, 43} <= set(network.params.tolist())
    network.params[:] = 0
    assert not network.weights[0].any()
    assert network.params.ctypes.data % 64 == 0


# Recorded once; a machine or a numpy that draws others fails here.
SEED_7 = {
    "he_normal": [
        0.001230153371579945,
        0.2987455427646637,
        -0.27413785457611084,
        -0.8905918598175049,
    ],
    "glorot_uniform": [
        0.30642006414135886,
        0.9729711246419956,
        0.6752892823087034,
        -0.6731021558989276,
    ],
}


@pytest.mark.parametrize("init", SEED_7)
def test_a_seed_gives_the_same_bits_on_every_machine(init):
    network = Network((2, 2), init=init, dtype="float64", seed=7)
    assert network.weights[0].ravel().tolist() == SEED_7[init]
    assert not network.biases[0].any()


def test_both_dtypes_start_alike():
    single, double = (Network((4, 3, 2), dtype=d, seed=1) for d in ("float32", "float64"))
    np.testing.assert_array_equal(single.params[single.params != 0],
                                  double.params[double.params != 0].astype(np.float32))  # fmt: skip


@pytest.mark.parametrize("init", INITIALIZERS)
def test_initial_variance(init):
    n_in, n_out = 300, 200
    W = Network((n_in, n_out), init=init, dtype="float64", seed=0).weights[0]
    variance = {"he": 2 / n_in, "glorot": 2 / (n_in + n_out), "lecun": 1 / n_in}[init.split("_")[0]]
    assert W.var() == pytest.approx(variance, rel=0.03)
    assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
    bound = np.sqrt(3 * variance)
    if init.endswith("uniform"):
        assert 0.99 * bound < np.abs(W).max() <= bound
    else:
        assert np.abs(W).max() > 1.5 * bound


def test_init_follows_the_activation():
    network = Network((2, 3, 3, 2), activation=("relu", "tanh"), seed=0)
    assert network.inits == ("he_normal", "glorot_uniform", "glorot_uniform")
    assert set(DEFAULTS) == set(kernels.ACTIVATIONS)


@pytest.mark.parametrize(
    ("loss", "n_outputs", "shape", "kind"),
    [
        ("cross_entropy", 3, (5,), "i"),
        ("binary_cross_entropy", 1, (5,), "i"),
        ("binary_cross_entropy", 3, (5, 3), "i"),
        ("squared_error", 1, (5,), "f"),
        ("poisson", 2, (5, 2), "f"),
    ],
)
def test_predict_shapes(loss, n_outputs, shape, kind, generator):
    network = Network((4, 6, n_outputs), loss=loss, seed=0)
    X = generator.random((5, 4))
    prediction = network.predict(X)
    assert prediction.shape == shape
    assert prediction.dtype.kind == kind
    if network.is_classifier:
        p = network.predict_proba(X)
        assert p.shape == (5, n_outputs)
        assert ((p > 0) & (p < 1)).all()
    else:
        with pytest.raises(ValueError, match="predict_proba needs the loss cross_entropy or"):
            network.predict_proba(X)


def test_accuracy_is_the_share_of_right_predictions(generator):
    X = generator.normal(size=(50, 4))
    network = Network((4, 5, 3), seed=0)
    labels = generator.integers(0, 3, 50)
    assert network.evaluate(X, labels).accuracy == np.mean(network.predict(X) == labels)
    network = Network((4, 5, 2), loss="binary_cross_entropy", seed=0)
    rows = generator.integers(0, 2, (50, 2))
    expected = np.mean((network.predict(X) == rows).all(axis=1))
    assert network.evaluate(X, rows).accuracy == expected
    assert Network((4, 1), loss="huber").evaluate(X, X[:, 0]).accuracy is None


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, Network.copy, lambda n: pickle.loads(pickle.dumps(n))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_copies_are_equal_and_independent(duplicate):
    network = Network((3, 5, 2), activation="gelu", loss="huber", output="tanh", seed=0)
    other = duplicate(network)
    assert repr(other) == repr(network)
    np.testing.assert_array_equal(other.params, network.params)
    other.weights[0][...] = 0
    assert not other.params[: 3 * 16].any()
    assert network.weights[0].all()
    assert other.params.ctypes.data % 64 == 0


def test_copy_in_another_dtype(generator):
    network = Network((3, 5, 2), seed=0)
    double = network.copy("float64")
    assert double.dtype == np.float64
    X = generator.random((4, 3))
    np.testing.assert_allclose(double.predict_proba(X), network.predict_proba(X), rtol=1e-5)


def test_accuracy_and_predictions_follow_one_rule():
    network = Network((1, 2), seed=0)
    network.params[:] = 0
    network.biases[0][...] = [0, 1e-9]  # equal probabilities in float32
    assert network.predict([[0.0]])[0] == 0
    assert network.evaluate([[0.0]], [0]).accuracy == 1
    network = Network((1, 1), loss="binary_cross_entropy", seed=0)
    network.params[:] = 0
    assert network.predict([[0.0]])[0] == 0
    assert network.evaluate([[0.0]], [0.4]).accuracy == 1
    assert network.evaluate([[0.0]], [0.6]).accuracy == 0


def test_what_kernels_rely_on_cannot_be_set():
    network = Network((3, 5, 2), seed=0)
    for name in ("sizes", "layout", "dtype", "activations", "loss_name", "params", "weights"):
        with pytest.raises(AttributeError):
            setattr(network, name, getattr(network, name))
    with pytest.raises(ValueError, match="read-only"):
        network.layout.sizes[1] = 10**6


def test_one_init_per_layer():
    network = Network((3, 5, 2), init=("he_normal", "lecun_uniform"), seed=0)
    assert network.inits == ("he_normal", "lecun_uniform")
    with pytest.raises(ValueError, match="init must be one name or 2 names, one per layer"):
        Network((3, 5, 2), init=("he_normal",))


def test_seed_none_differs_every_time():
    assert not np.array_equal(Network((3, 2)).params, Network((3, 2)).params)


def test_summary_names_every_layer():
    text = Network((784, 128, 10), seed=0).summary()
    assert "784 → 128" in text
    assert "100,480" in text
    assert "softmax" in text
    assert "101,770 parameters, float32, loss cross_entropy" in text


@pytest.mark.parametrize("activation", sorted(kernels.HIDDEN))
def test_nan_parameters_show(activation):
    network = Network((3, 4, 2), activation=activation, seed=0)
    network.weights[0][1, 1] = np.nan
    X = np.ones((2, 3))
    for call in (network.predict, network.predict_proba):
        with pytest.raises(ValueError, match=r"network\.params must be finite, got .* in layer 1"):
            call(X)
    for call in (network.loss, network.evaluate):
        with pytest.raises(ValueError, match=r"network\.params must be finite, got .* in layer 1"):
            call(X, [0, 1])
    loss, gradients = network.value_and_grad(X, [0, 1])
    assert np.isnan(loss)
    assert np.isnan(gradients.weights[0]).any()
    assert not network.check_gradients(X, [0, 1]).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_whole_vectors_at_distances_that_caches_like(dtype):
    network = Network((1024, 512, 33), dtype=dtype, seed=0)
    row_bytes = network.layout.strides * network.dtype.itemsize
    assert not (row_bytes % 64).any()
    assert (row_bytes % 4096).all()
    assert row_bytes.tolist() == {"float32": [2048, 192], "float64": [4160, 320]}[dtype]


@pytest.mark.parametrize("name", ["params", "weights", "biases", "layout"])
def test_nothing_that_is_done_to_a_view_reaches_the_network(name):
    """The dtype and the shape of an array can be set in place, and kernels rely on them."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(50, 6)), generator.integers(0, 3, 50)

    def use(spoil):
        network = Network((6, 16, 3), seed=0)
        trainer = Trainer(network, "adam", batch_size=8, seed=0)
        objective = network.objective(X, y)

        def spoilt(_=None):
            if spoil:
                parts = getattr(network, name)
                for array in (parts,) if name == "params" else parts:
                    if isinstance(array, np.ndarray):
                        array.flags.writeable = False
                        _reshape(array)

        spoilt()
        trainer.fit(X, y, epochs=3, callbacks=[spoilt], progress=False)
        out = np.zeros(network.params.size, np.float32)
        loss, _ = network.value_and_grad(X, y, out)
        return loss, objective(network.params)[0], network.predict_proba(X), network.params, out

    for mine, expected in zip(use(True), use(False), strict=True):
        np.testing.assert_array_equal(mine, expected)


def _reshape(array):
    """As a user might, with whatever NumPy's version allows."""
    with contextlib.suppress(AttributeError, TypeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.shape = (1, -1)
    with contextlib.suppress(AttributeError, TypeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.dtype = np.uint8


def test_a_buffer_whose_shape_changes_is_looked_at_once():
    network = Network((6, 16, 3), seed=0)
    X, y = np.ones((4, 6)), [0, 1, 2, 0]
    out = np.empty_like(network.params)
    expected = network.value_and_grad(X, y)[1].weights[0]
    gradients = network.value_and_grad(X, y, out)[1]
    _reshape(out)
    np.testing.assert_array_equal(gradients.weights[0], expected)
    with pytest.raises(ValueError, match="out must be a writable contiguous float32 array"):
        network.value_and_grad(X, y, out)


def test_copies_have_room_for_the_parameters():
    network = Network((3, 5, 2), dtype="float64", seed=0)
    network.weights[1][0, 0] = 1e-300  # which float32 has as zero
    with np.errstate(all="raise"):
        assert network.copy("float32").weights[1][0, 0] == 0
    network.weights[1][0, 0] = 1e300
    with (
        np.errstate(all="raise"),
        pytest.raises(ValueError, match=r"weights\[1\] must be finite in float32"),
    ):
        network.copy("float32")
    network.weights[1][0, 0] = np.inf
    assert network.copy("float32").first_nonfinite_layer() == 2


def test_a_pickled_network_is_its_state_without_room_for_moments():
    network = Network((40, 50, 30), seed=0)
    state = network.__getstate__()["state"]
    assert state.nbytes < network.parameters.state.nbytes / 2
    assert len(pickle.dumps(network)) < state.nbytes + 2000


def test_a_state_of_another_version_is_refused():
    network = Network((4, 5, 3), seed=0)
    pickled = network.__getstate__()
    pickled["state"] = pickled["state"].copy()
    pickled["state"].view(np.int64)[0] += 1
    with pytest.raises(ValueError, match="of this version of fastbp; model files"):
        object.__new__(Network).__setstate__(pickled)


def test_networks_pickled_before_there_was_one_state_still_load():
    network = Network((4, 5, 3), seed=0)
    old = network.__getstate__()
    del old["state"]
    other = object.__new__(Network)
    other.__setstate__(old | {"weights": network.weights, "biases": network.biases})
    np.testing.assert_array_equal(other.params, network.params)
