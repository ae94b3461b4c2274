"""Networks of ours in PyTorch, Keras and scikit-learn, and theirs here."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import sklearn.neural_network
from conftest import targets_for

import fastbp
from fastbp import Network, Preparation, Trainer, kernels
from fastbp.cli import main
from fastbp.exchange.keras import gelu_tanh
from fastbp.sklearn import MLPClassifier

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# Loss, output activation and number of outputs.
HEADS = [
    ("cross_entropy", None, 4),
    ("binary_cross_entropy", None, 1),
    ("binary_cross_entropy", None, 3),
    *(("squared_error", name, 2) for name in kernels.HIDDEN),
    ("huber", None, 2),
    ("absolute_error", "tanh", 1),
    ("poisson", None, 3),
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer", "ignore:Maximum number of iterations"
)


def networks(dtype):
    """Every activation, and every loss and output."""
    pairs = [(name, HEADS[0]) for name in kernels.HIDDEN] + [("tanh", head) for head in HEADS[1:]]
    for i, (activation, (loss, output, n)) in enumerate(pairs):
        yield random(Network(
            (7, 12, 9, n), activation=[activation, "relu"], loss=loss, output=output, dtype=dtype,
            seed=i,
        ))  # fmt: skip


def random(network):
    generator = np.random.default_rng(1)
    for b in network.biases:
        b[:] = generator.normal(0, 0.3, b.shape)
    return network


def assert_equal(one, other):
    """The same architecture, loss, dtype, and bits."""
    assert (one.sizes, one.activations, one.loss_name, one.dtype) == (
        other.sizes, other.activations, other.loss_name, other.dtype
    )  # fmt: skip
    np.testing.assert_array_equal(one.params, other.params)


def prepared():
    """A network that takes raw rows, and targets in their own unit."""
    X = np.random.default_rng(0).normal(50, 10, (40, 3))
    preparation = Preparation().fit(X, 1000 * X[:, 0])
    network = Network((3, 5, 1), loss="squared_error", preparation=preparation, seed=0)
    return network, X


# PyTorch ------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_and_back_bit_for_bit(dtype, torch, generator):
    X = generator.normal(size=(20, 7)).astype(dtype)
    of_outputs = {
        "cross_entropy": lambda z: torch.softmax(z, 1),
        "binary_cross_entropy": torch.sigmoid,
        "poisson": torch.exp,
    }
    for network in networks(dtype):
        module = fastbp.to_torch(network)
        assert type(module) is torch.nn.Sequential
        with torch.no_grad():
            outputs = of_outputs.get(network.loss_name, lambda z: z)(module(torch.from_numpy(X)))
        limit = TOLERANCE[dtype]
        np.testing.assert_allclose(outputs, network.outputs(X), rtol=limit, atol=limit)
        back = fastbp.from_torch(module, network.loss_name)
        assert_equal(back, network)
        assert not np.shares_memory(back.params, network.params)


@pytest.mark.parametrize("loss", kernels.LOSSES)
def test_the_loss_that_goes_with_it(loss, torch, generator):
    """Its value is ours, and its gradient too: training can go on there."""
    for n in (3,) if loss == "cross_entropy" else (1, 3):
        network = random(Network((5, 8, n), activation="tanh", loss=loss, dtype="float64", seed=0))
        X, y = generator.normal(size=(30, 5)), targets_for(loss, generator, 30, n)
        value, gradient = network.value_and_grad(X, y)
        for targets in (y, y[:, 0]) if n == 1 else (y,):
            module, mean = fastbp.to_torch(network), fastbp.torch_loss(network)
            found = mean(module(torch.from_numpy(X)), torch.from_numpy(targets))
            assert found.item() == pytest.approx(value, rel=1e-12)
            found.backward()
            np.testing.assert_allclose(
                module[0].weight.grad, gradient.weights[0], rtol=1e-9, atol=1e-13
            )
    if loss == "cross_entropy":
        numbers = torch.from_numpy(y.argmax(axis=1))
        found = mean(module(torch.from_numpy(X)), numbers).item()
        assert found == pytest.approx(network.evaluate(X, numbers.numpy()).loss, rel=1e-12)


def test_modules_that_others_write(torch):
    nn = torch.nn
    module = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(6, 5, bias=False), nn.LeakyReLU(), nn.Dropout(0.2)),
        nn.Linear(5, 4), nn.Identity(), nn.Linear(4, 3), nn.Softmax(dim=1),
    )  # fmt: skip
    network = fastbp.from_torch(module, classes=["a", "b", "c"])
    assert network.activations == ("leaky_relu", "identity", "softmax")
    assert network.classes == ("a", "b", "c")
    assert not network.biases[0].any()
    X = np.random.default_rng(0).random((9, 6), np.float32)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(X))
    np.testing.assert_allclose(network.predict_proba(X), wanted, rtol=1e-5)
    linear = nn.Linear(3, 2).double()
    assert fastbp.from_torch(linear, "squared_error").dtype == np.float64


def test_modules_that_do_not_fit(torch):
    nn, linear = torch.nn, torch.nn.Linear(3, 3)
    for modules, message in [
        ([linear, nn.LeakyReLU(0.2)], r"have a LeakyReLU with negative_slope=0.01, got .*0\.2"),
        ([linear, nn.ELU(0.5)], "have a ELU with alpha=1.0"),
        ([linear, nn.Softplus(2)], "have a Softplus with beta=1.0, threshold=20.0"),
        ([linear, nn.Softmax(dim=0)], "have a Softmax with dim=1"),
        ([linear, nn.BatchNorm1d(3)], "module must be a Sequential of Linear layers .* BatchNorm1"),
        ([linear, nn.PReLU()], "got PReLU"),
        ([nn.ReLU(), linear], "must have a Linear layer before each activation, got ReLU"),
        (
            [linear, nn.ReLU(), nn.Tanh()],
            "must have a Linear layer before each activation, got Tanh",
        ),
        ([linear, nn.Flatten()], "got Flatten"),
        ([], "module must have a layer with weights"),
        ([linear, nn.Linear(4, 2)], r"take what the one before gives, got shapes \[\(3, 3\), \(2"),
        ([linear, nn.Linear(3, 2).double()], "of float32 or of float64 throughout, got float32 an"),
        ([nn.Linear(3, 3).half()], "of float32 or of float64 throughout, got float16"),
        ([nn.Linear(3, 3, dtype=torch.bfloat16)], "of float64 throughout, got bfloat16"),
        ([nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))], "got ParametrizedLinear"),
        ([linear, nn.Tanh()], "output must be .*softmax"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastbp.from_torch(nn.Sequential(*modules))
    for other in (3, nn.Module()):
        with pytest.raises(ValueError, match="module must be a Sequential of Linear layers"):
            fastbp.from_torch(other)


def test_hooks_do_not_fit(torch):
    linear = torch.nn.Linear(3, 3)
    linear.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    around = torch.nn.Sequential(torch.nn.Linear(3, 3))
    around.register_forward_pre_hook(lambda module, inputs: inputs)
    for each in (linear, torch.nn.Sequential(torch.nn.Linear(3, 3), linear), around):
        with pytest.raises(ValueError, match="module must have no hooks"):
            fastbp.from_torch(each)


def test_no_random_number_is_drawn(torch):
    state = torch.get_rng_state()
    fastbp.to_torch(Network((3, 4, 2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_files_of_torch(torch, tmp_path):
    network, path = Network((3, 4, 2), seed=0), tmp_path / "model.pt"
    fastbp.save(Trainer(network), tmp_path / "model.safetensors")
    assert main(["export", str(tmp_path / "model.safetensors"), str(path)]) == 0
    assert_equal(fastbp.from_torch(torch.load(path, weights_only=False)), network)


def test_a_preparation_stays_behind_aloud(torch):
    network, X = prepared()
    with pytest.warns(UserWarning, match=r"module has no prep.*restore_target") as w:
        module = fastbp.to_torch(network)
    assert w[0].filename == __file__
    rows = torch.from_numpy(network.preparation.transform(X))
    outputs = network.preparation.restore_target(module(rows).detach().numpy())[:, 0]
    np.testing.assert_allclose(outputs, network.predict(X), rtol=1e-5)
    back = fastbp.from_torch(module, "squared_error", preparation=network.preparation)
    np.testing.assert_array_equal(back.predict(X), network.predict(X))


# Keras --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_keras_and_back_bit_for_bit(dtype, generator):
    """Keras computes in float32 with NumPy, whatever the dtype of parameters is."""
    X = generator.normal(size=(20, 7)).astype(dtype)
    for network in networks(dtype):
        model = fastbp.to_keras(network)
        np.testing.assert_allclose(model(X), network.outputs(X), rtol=1e-5, atol=1e-5)
        assert_equal(fastbp.from_keras(model, network.loss_name), network)


def test_losses_that_outputs_speak_for():
    for loss in ("cross_entropy", "binary_cross_entropy", "poisson", "squared_error"):
        assert fastbp.from_keras(fastbp.to_keras(Network((3, 2), loss=loss))).loss_name == loss


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of NumPy 2
def test_files_of_keras(tmp_path):
    for activation in ("leaky_relu", "gelu_tanh"):
        network = Network((3, 4, 2), activation=activation, seed=0)
        path = tmp_path / "model.keras"
        fastbp.to_keras(network).save(path)
        model = keras.models.load_model(path, custom_objects={"gelu_tanh": gelu_tanh})
        assert_equal(fastbp.from_keras(model), network)


def test_models_that_others_write():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((2, 3)), layers.Flatten(), layers.Dense(5, use_bias=False), layers.ReLU(),
            layers.Dropout(0.5), layers.Dense(4), layers.Activation("elu"), layers.Dense(3),
            layers.Softmax(),
        ]
    )  # fmt: skip
    network = fastbp.from_keras(model, classes=[7, 8, 9])
    assert network.activations == ("relu", "elu", "softmax")
    assert (network.loss_name, network.classes) == ("cross_entropy", (7, 8, 9))
    X = np.random.default_rng(0).random((9, 6), np.float32)
    wanted = np.asarray(model(X.reshape(9, 2, 3)))
    np.testing.assert_allclose(network.predict_proba(X), wanted, rtol=1e-5)


def test_models_that_do_not_fit():
    layers = keras.layers
    for others, message in [
        ([layers.Dense(3, activation="leaky_relu")], "must have activations of fastbp's.*leaky"),
        (
            [layers.Dense(3), layers.LeakyReLU(0.2)],
            r"LeakyReLU layers with \{'negative_slope': 0.01",
        ),
        ([layers.Dense(3), layers.ReLU(6.0)], "ReLU layers with .* got .*6"),
        ([layers.Dense(3), layers.BatchNormalization()], "layer of the type BatchNormalization"),
        ([layers.ReLU(), layers.Dense(3)], "must have a Dense layer before"),
        ([layers.Dense(3, "relu"), layers.ELU()], "must have a Dense layer before"),
        ([layers.Dense(3), layers.Flatten()], "layer of the type Flatten"),
        ([layers.Dense(3, dtype="float16")], "float16"),
        ([layers.Dense(3, dtype="mixed_float16")], "must compute in float32, got float16"),
        ([layers.Flatten()], "model must have a layer with weights"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastbp.from_keras(keras.Sequential([keras.Input((4,)), *others]))
    adapted = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    adapted.layers[0].enable_lora(1)
    with pytest.raises(ValueError, match="model must have no LoRA in its layers, got it in dense"):
        fastbp.from_keras(adapted)
    with pytest.raises(ValueError, match=r"model must be a keras\.Sequential, got int"):
        fastbp.from_keras(3)
    with pytest.raises(ValueError, match="model must have been built"):
        fastbp.from_keras(keras.Sequential([layers.Dense(3)]))


def test_keras_without_float64_is_refused_one():
    code = """
import fastbp
from fastbp import Network
assert fastbp.to_keras(Network((4, 3), seed=0)).count_params() == 15
try:
    fastbp.to_keras(Network((4, 3), dtype="float64"))
except ValueError as error:
    print(error)
"""
    variables = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=variables, check=False, timeout=300,
    )  # fmt: skip
    assert done.stdout.startswith("model must be of float32 where Keras keeps no float64"), done


# scikit-learn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "n", "classes"),
    [
        ("cross_entropy", 3, None), ("cross_entropy", 3, ["b", "c", "a"]),
        ("cross_entropy", 2, None), ("cross_entropy", 2, [5, 3]),
        ("binary_cross_entropy", 1, None), ("binary_cross_entropy", 1, ["y", "n"]),
        ("binary_cross_entropy", 3, None), ("binary_cross_entropy", 2, None),
        ("squared_error", 1, None), ("squared_error", 2, None), ("poisson", 1, None),
    ],
)  # fmt: skip
def test_networks_as_estimators_that_go_on(loss, n, classes, dtype, generator):
    X = generator.normal(size=(30, 4)).astype(dtype)
    for activation in ("identity", "sigmoid", "tanh", "relu"):
        network = random(Network((4, 9, 7, n), activation=activation, loss=loss, dtype=dtype,
                                 classes=classes, seed=0))  # fmt: skip
        estimator = fastbp.to_sklearn(network)
        assert type(estimator).__module__.startswith("sklearn.")
        limit = TOLERANCE[dtype]
        predicted = estimator.predict(X)
        if network.is_classifier:
            assert predicted.tolist() == network.predict(X).tolist()
            proba = network.predict_proba(X)
            if n == 1:
                proba = np.hstack([1 - proba, proba])
            order = slice(None) if classes is None else np.argsort(classes)
            found = estimator.predict_proba(X)
            np.testing.assert_allclose(found, proba[:, order], rtol=0, atol=limit)
        else:
            np.testing.assert_allclose(predicted, network.predict(X), rtol=limit, atol=limit)
        back = fastbp.from_sklearn(estimator)
        assert back.dtype == network.dtype
        if network.is_classifier:
            assert np.asarray(back.predict(X)).tolist() == np.asarray(predicted).tolist()
        else:
            np.testing.assert_allclose(back.predict(X), predicted, rtol=limit, atol=limit)
        targets = predicted if network.is_classifier else np.abs(predicted)
        assert estimator.partial_fit(X, targets) is estimator


@pytest.mark.parametrize("dtype", DTYPES)
def test_estimators_as_networks(dtype, generator):
    X = generator.normal(size=(60, 4)).astype(dtype)
    number = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    theirs = sklearn.neural_network
    for kind in (theirs.MLPClassifier, MLPClassifier):
        for y in (number, np.array(["a", "b", "c"])[number], np.minimum(number, 1), number + 0.0,
                  np.stack([number > 0, number > 1], axis=1).astype(int)):  # fmt: skip
            model = kind((6,), max_iter=3, random_state=0).fit(X, y)
            network = fastbp.from_sklearn(model)
            assert network.predict(X).tolist() == model.predict(X).tolist()
            assert not np.shares_memory(network.params, model.coefs_[0])
    model = theirs.MLPClassifier((6,), max_iter=3, random_state=0).fit(X, number > 1)
    assert fastbp.from_sklearn(model).predict(X).tolist() == model.predict(X).astype(int).tolist()
    for loss in ("squared_error", "poisson"):
        model = theirs.MLPRegressor(loss, (6,), max_iter=3, random_state=0).fit(X, number)
        found = fastbp.from_sklearn(model).predict(X)
        np.testing.assert_allclose(found, model.predict(X), rtol=TOLERANCE[dtype])
    own = MLPClassifier((6,), max_iter=3, random_state=0, loss="squared_error").fit(X, number)
    network = fastbp.from_sklearn(own)
    assert (network.loss_name, network.classes) == ("squared_error", None)


def test_what_scikit_learn_does_not_have():
    for options, message in [
        ({"activation": "gelu"}, "activation must be one of scikit-learn's .* got gelu, gelu"),
        ({"activation": ["relu", "tanh"]}, "for all hidden layers, .* got relu, tanh"),
        ({"loss": "huber"}, "loss and output must be a pair .* got huber with identity"),
        ({"loss": "squared_error", "output": "tanh"}, "got squared_error with tanh"),
        ({"classes": [0.5, 1]}, "classes must be text or whole numbers for scikit-learn, got"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastbp.to_sklearn(Network((3, 4, 4, 2), **options))
    with pytest.raises(ValueError, match="estimator must be an MLPClassifier or MLPRegressor"):
        fastbp.from_sklearn(3)
    for model in (MLPClassifier(), sklearn.neural_network.MLPRegressor()):
        with pytest.raises(ValueError, match="not fitted"):
            fastbp.from_sklearn(model)


# All of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [fastbp.to_keras, fastbp.to_sklearn])
def test_preparations_stay_behind_aloud(function):
    with pytest.warns(UserWarning, match="has no preparation: it takes what"):
        function(prepared()[0])


@pytest.mark.parametrize("name", ["to_torch", "torch_loss", "to_keras", "to_sklearn"])
def test_what_is_no_model(name, request):
    if "torch" in name:
        request.getfixturevalue("torch")
    with pytest.raises(ValueError, match=rf"{name} takes a fastbp\.Network or Trainer.* got int"):
        getattr(fastbp, name)(3)


@pytest.mark.parametrize(
    ("name", "library"),
    [("from_torch", "torch"), ("from_keras", "keras"), ("from_sklearn", "sklearn.neural_network")],
)
def test_without_the_library(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"which is not installed; .*pip install -e '\.\["):
        getattr(fastbp, name)(None)


def test_importing_fastbp_imports_none_of_them():
    code = (
        "import fastbp, sys; print(*sorted({'torch', 'keras', 'onnx', 'sklearn'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == ""


def test_an_exponential_that_torch_would_leave_out_is_refused():
    pytest.importorskip("torch")
    network = Network((3, 4, 2), loss="squared_error", output="exp", seed=0)
    with pytest.raises(ValueError, match="got exp with the loss squared_error"):
        fastbp.to_torch(network)
