"""ONNX graphs, run by onnxruntime, give what we predict: all activations, losses, preparations."""

import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp import Network, Preparation, Trainer, kernels
from fastbp.cli import main
from fastbp.exchange import onnx
from fastbp.sklearn import MLPClassifier, MLPRegressor, register_onnx

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# Loss, output activation and number of outputs.
HEADS = [
    ("cross_entropy", None, 4),
    ("binary_cross_entropy", None, 1),
    ("binary_cross_entropy", None, 3),
    ("squared_error", None, 1),
    *(("squared_error", name, 2) for name in kernels.HIDDEN),
    ("huber", None, 2),
    ("absolute_error", None, 2),
    ("poisson", None, 3),
]


def run(proto, feeds):
    """What the graph gives, by name."""
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_close(found, wanted):
    """Equal to the dtype's tolerance, in the dtype and the shape of ours."""
    wanted = np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    limit = TOLERANCE[wanted.dtype.name]
    np.testing.assert_allclose(found, wanted, rtol=limit, atol=limit * np.abs(wanted).max())


def assert_labels(found, wanted):
    assert found.shape == wanted.shape
    assert found.tolist() == wanted.tolist()


def assert_same(network, X, feeds=None, limit=None):
    """That the graph of a network predicts what the network does."""
    found = run(fastbp.to_onnx(network), {"X": X} if feeds is None else feeds)
    if not network.is_classifier:
        assert list(found) == ["outputs"]
        wanted = network.predict(X)
        if limit is not None:  # float64 of a float32 network
            wanted, found = wanted.astype(limit), {"outputs": found["outputs"].astype(limit)}
        assert_close(found["outputs"], wanted)
        return
    assert list(found) == ["label", "probabilities"]
    assert_labels(found["label"], network.predict(X))
    assert_close(found["probabilities"], network.predict_proba(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", kernels.HIDDEN)
def test_every_activation_and_loss(activation, dtype, generator):
    X = generator.normal(0, 3, (50, 7)).astype(dtype)
    for loss, output, n_outputs in HEADS:
        network = Network(
            (7, 33, 17, n_outputs), activation=activation, loss=loss, output=output, dtype=dtype,
            seed=1,
        )  # fmt: skip
        for b in network.biases:
            b[:] = generator.normal(0, 0.1, b.shape)
        assert_same(network, X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", kernels.HIDDEN)
def test_activations_far_out(activation, dtype):
    """One unit of weight 1: errors are relative to the value itself, and not to the largest."""
    z = np.concatenate([np.linspace(-40, 40, 801), np.linspace(-0.1, 0.1, 21)])[:, None]
    network = Network((1, 1), loss="squared_error", output=activation, dtype=dtype, seed=0)
    network.weights[0][:] = 1
    found = run(fastbp.to_onnx(network), {"X": z.astype(dtype)})["outputs"]
    limit = TOLERANCE[dtype]
    floor = {"float32": 1e-6, "float64": 1e-14}[dtype]  # of what cancels, such as 1 + tanh
    np.testing.assert_allclose(found, network.predict(z.astype(dtype)), rtol=limit, atol=floor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["elu", "softplus"])
def test_no_digits_cancel_below_zero(activation, dtype):
    z = -np.geomspace(1e-7, 60, 401)[:, None].astype(dtype)
    network = Network((1, 1), loss="squared_error", output=activation, dtype=dtype, seed=0)
    network.weights[0][:] = 1
    found = run(fastbp.to_onnx(network), {"X": z})["outputs"]
    np.testing.assert_allclose(found, network.predict(z), rtol=TOLERANCE[dtype])


def test_gelu_ends_at_zero_far_below():
    network = Network((1, 1), loss="squared_error", output="gelu", dtype="float64", seed=0)
    network.weights[0][:] = 1
    z = -np.geomspace(10, 1e15, 15)[:, None]
    assert (abs(run(fastbp.to_onnx(network), {"X": z})["outputs"]) < 1e-20).all()


def test_the_heads_are_of_all_losses():
    assert {loss for loss, *_ in HEADS} == set(kernels.LOSSES)


def test_no_hidden_layer_one_row_none_and_many(generator):
    network = Network((5, 3), seed=0)
    for n in (1, 2, 1000):
        assert_same(network, generator.random((n, 5), np.float32))
    found = run(fastbp.to_onnx(network), {"X": np.zeros((0, 5), np.float32)})
    assert found["label"].shape == (0,)
    assert found["probabilities"].shape == (0, 3)


@pytest.mark.parametrize(
    "classes",
    [["b", "a", "é"], [3, 1, 2], [0.5, 1.5, -1.0], ["", "x", "y"], [2**63, 1, 2]],
    ids=str,
)
def test_labels_take_the_place_of_numbers(classes, generator):
    assert_same(Network((4, 3), classes=classes, seed=0), generator.random((20, 4), np.float32))


@pytest.mark.parametrize("classes", [["no", "yes"], [-1, 1], [2.5, 1.5]], ids=str)
def test_labels_of_a_truth_value(classes, generator):
    network = Network((4, 1), loss="binary_cross_entropy", classes=classes, seed=0)
    assert_same(network, generator.normal(size=(20, 4)).astype(np.float32))


def test_labels_that_no_type_has(generator):
    with pytest.raises(ValueError, match="classes must be all text or all numbers of at most 64"):
        fastbp.to_onnx(Network((4, 2), classes=[2**70, 1]))


# Preparation --------------------------------------------------------------------------------------


@pytest.fixture
def numbers(generator):
    """Raw rows of numbers of many sizes, some missing where they were in training, too."""
    X = generator.normal(size=(60, 4)) * [1, 100, 1e-3, 1e6] + [0, 5, 1, 1e7]
    X[::7, 1] = X[::5, 3] = np.nan
    return X


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_raw_numbers_and_targets_in_their_unit(dtype, scale, numbers, generator):
    y = generator.normal(5000, 1000, (60, 2))
    for targets in (y, y[:, 0], None):
        preparation = Preparation(scale=scale).fit(numbers, targets)
        n = 2 if targets is None else targets.reshape(60, -1).shape[1]
        network = Network(
            (preparation.n_inputs, 8, n), loss="squared_error", dtype=dtype, seed=0,
            preparation=preparation,
        )  # fmt: skip
        assert_same(network, numbers, limit=dtype)


def test_a_number_may_be_missing_that_never_was(numbers):
    preparation = Preparation().fit(numbers)
    network = Network((preparation.n_inputs, 8, 3), dtype="float64", preparation=preparation)
    numbers[3] = np.nan
    assert_same(network, numbers)


def test_pixels(generator):
    X = generator.integers(0, 256, (20, 6)).astype(np.uint8)
    network = Network((6, 5, 3), preparation=Preparation().fit(X), seed=0)
    assert_same(network, X, {"X": X.astype(np.float64)})


def feeds_of(network, frame):
    """A frame as the graph takes it: an array of one column for each of the frame's."""
    texts = network.preparation.text_columns
    return {
        name: frame[[name]].astype(object).where(frame[[name]].notna(), "").to_numpy(object)
        if name in texts
        else frame[[name]].to_numpy(np.float64)
        for name in network.preparation.columns
    }


@pytest.fixture
def frame(numbers, generator):
    return pd.DataFrame(
        {
            "city": generator.choice(["Paris", "Lyon", "Besançon", None], 60),
            "area": numbers[:, 0],
            "kind": generator.choice(["", "x", "y"], 60),
            "rooms": numbers[:, 1],
            "new": generator.choice([True, False], 60),
            "one": ["same"] * 60,
            "far": numbers[:, 3],
        }
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_raw_tables_with_text(dtype, frame):
    preparation = Preparation().fit(frame)
    network = Network(
        (preparation.n_inputs, 8, 3), classes=["a", "b", "c"], dtype=dtype, seed=0,
        preparation=preparation,
    )  # fmt: skip
    frame.loc[3, "city"] = "Nowhere"
    frame.loc[4, ["one", "area"]] = None
    assert_same(network, frame, feeds_of(network, frame))


def test_no_rows_of_a_table(frame):
    preparation = Preparation().fit(frame)
    network = Network((preparation.n_inputs, 3), preparation=preparation, seed=0)
    found = run(fastbp.to_onnx(network), feeds_of(network, frame[:0]))
    assert found["probabilities"].shape == (0, 3)


def test_text_alone(frame):
    preparation = Preparation().fit(frame[["city", "kind"]])
    network = Network((preparation.n_inputs, 3), dtype="float64", preparation=preparation, seed=0)
    assert_same(network, frame, feeds_of(network, frame))


def test_text_in_an_array_has_its_columns_by_place(frame):
    X = frame[["area", "city"]].to_numpy(object)
    preparation = Preparation().fit(X)
    network = Network((preparation.n_inputs, 3), preparation=preparation, seed=0)
    texts = frame[["city"]].fillna("").to_numpy(object)
    assert_same(network, X, {"x0": frame[["area"]].to_numpy(), "x1": texts})


def test_hashes_and_names_that_onnx_has_no_place_for(frame):
    preparation = Preparation(hashed=["city"]).fit(frame)
    with pytest.raises(ValueError, match=r"no such hash, and 'city' is one; leave it out"):
        fastbp.to_onnx(Network((preparation.n_inputs, 3), preparation=preparation))
    for name in ("label", "", "layers.0.weight", "fastbp.1"):
        preparation = Preparation().fit(frame[["city", "area"]].rename(columns={"area": name}))
        with pytest.raises(ValueError, match=f"columns must have names, .* got '{name}'"):
            fastbp.to_onnx(Network((preparation.n_inputs, 3), preparation=preparation))
        if name == "label":  # which a regression has no output of
            fastbp.to_onnx(Network(
                (preparation.n_inputs, 1), preparation=preparation, loss="squared_error"
            ))  # fmt: skip


# What is exported ---------------------------------------------------------------------------------


def test_files_and_trainers_are_their_networks(tmp_path, generator):
    network, path = Network((4, 5, 3), seed=0), tmp_path / "model.safetensors"
    wanted = fastbp.to_onnx(network).SerializeToString()
    trainer = Trainer(network)
    for model in (network, trainer):
        fastbp.save(model, path)
        for each in (path, str(path), model):
            out = tmp_path / "model.onnx"
            assert fastbp.to_onnx(each, out).SerializeToString() == wanted == out.read_bytes()
    assert main(["export", str(path), str(tmp_path / "again.onnx")]) == 0
    assert (tmp_path / "again.onnx").read_bytes() == wanted
    assert main(["export", str(path), str(tmp_path / "net.h")]) == 0
    assert (tmp_path / "net.h").read_text() == fastbp.to_c(network)


def test_the_command_line_says_what_it_can_write(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    fastbp.save(Network((4, 3)), path)
    assert main(["export", str(path), str(tmp_path / "model.tflite")]) == 2
    assert "OUT must end in .onnx, .h, .pt" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), str(tmp_path / "x.onnx")]) == 2
    assert "none: No such file" in capsys.readouterr().err


def test_what_is_no_model(tmp_path):
    for model in (3, MLPClassifier(), None):
        with pytest.raises(ValueError, match=r"to_onnx takes a fastbp\.Network or Trainer, a fitt"):
            fastbp.to_onnx(model)
    network = Network((4, 3))
    network.biases[0][:] = np.nan
    with pytest.raises(ValueError, match="layer 1"):
        fastbp.to_onnx(network)


def test_the_format_is_the_one_that_is_promised():
    proto = fastbp.to_onnx(Network((4, 3)))
    assert proto.ir_version == 8
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 17)]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_files_of_more_than_protocol_buffers_hold(monkeypatch):
    monkeypatch.setattr(onnx, "_LARGEST", 59)  # 12 weights and 3 biases of 4 bytes
    with pytest.raises(ValueError, match="at most 2 GiB of parameters for an ONNX file"):
        fastbp.to_onnx(Network((4, 3)))


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"ONNX files need onnx.*\[onnx\]"):
        fastbp.to_onnx(Network((4, 3)))
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"register_onnx needs skl2onnx.*\[onnx\]"):
        register_onnx()


# scikit-learn -------------------------------------------------------------------------------------


def classifier(**options):
    return MLPClassifier((9, 5), max_iter=5, random_state=0, **options)


def regressor(**options):
    return MLPRegressor(hidden_layer_sizes=(9, 5), max_iter=5, random_state=0, **options)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(90, 6))


def targets(kind, X):
    """Three classes, two or several labels, by name."""
    number = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    return {
        "classes": number,
        "strings": np.array(["a", "b", "ç"])[number],
        "two": number > 1,
        "two strings": np.array(["no", "yes"])[(number > 1).astype(int)],
        "floats": number + 1.0,
        "labels": np.stack([number > 0, number > 1], axis=1).astype(int),
    }[kind]


KINDS = ("classes", "strings", "two", "two strings", "floats", "labels")
OTHERS = [
    {},
    {"activation": ["gelu", "softplus"]},
    {"loss": "squared_error"},
    {"loss": "binary_cross_entropy", "activation": "logistic"},
]
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_estimators_alone_and_in_a_pipeline(kind, dtype, rows):
    X, y = rows.astype(dtype), targets(kind, rows)
    register_onnx()
    for options in OTHERS:
        model = classifier(**options).fit(X, y)
        found = run(fastbp.to_onnx(model), {"X": X})
        assert_labels(found["label"], model.predict(X))
        assert_close(found["probabilities"], model.predict_proba(X))
        pipeline = make_pipeline(StandardScaler(), classifier(**options)).fit(X, y)
        proto = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})
        found = run(proto, {"X": X})
        assert_labels(found["label"], pipeline.predict(X))
        assert_close(found["probabilities"], pipeline.predict_proba(X))


@pytest.mark.parametrize("dtype", DTYPES)
def test_regressors_alone_and_in_a_pipeline(dtype, rows):
    X, y = rows.astype(dtype), np.abs(rows[:, :2]).sum(axis=1)
    register_onnx()
    for options in ({}, {"activation": "silu"}, {"loss": "poisson"}, {"loss": "huber"}):
        model = regressor(**options).fit(X, y)
        assert_close(run(fastbp.to_onnx(model), {"X": X})["outputs"], model.predict(X))
        pipeline = make_pipeline(StandardScaler(), regressor(**options)).fit(X, y)
        found = run(skl2onnx.to_onnx(pipeline, X[:1]), {"X": X})["variable"]
        assert_close(found[:, 0], pipeline.predict(X))
    both = regressor(activation="elu").fit(X, np.stack([y, -y], axis=1))
    assert_close(run(fastbp.to_onnx(both), {"X": X})["outputs"], both.predict(X))
    assert_close(run(skl2onnx.to_onnx(both, X[:1]), {"X": X})["variable"], both.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["classes", "strings", "two"])
def test_estimators_within_others(kind, dtype, rows):
    X, y = rows.astype(dtype), targets(kind, rows)
    register_onnx()
    pair = [("mlp", classifier(activation="silu")), ("linear", LogisticRegression())]
    for model in (
        VotingClassifier(pair, voting="soft", flatten_transform=False),
        CalibratedClassifierCV(classifier(), cv=2),
        StackingClassifier(pair, cv=2),
    ):
        model.fit(X, y)
        found = run(skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}), {"X": X})
        assert_labels(found["label"], model.predict(X))
        proba = model.predict_proba(X)
        np.testing.assert_allclose(found["probabilities"], proba, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_regressors_within_others(dtype, rows):
    X, y = rows.astype(dtype), rows[:, 0] + rows[:, 1]
    register_onnx()
    pair = [("mlp", regressor(activation="gelu_tanh")), ("linear", Ridge())]
    for model in (VotingRegressor(pair), StackingRegressor(pair, cv=2)):
        model.fit(X, y)
        found = run(skl2onnx.to_onnx(model, X[:1]), {"X": X})["variable"]
        limit = TOLERANCE[dtype]
        np.testing.assert_allclose(found[:, 0], model.predict(X), rtol=limit, atol=limit)


def test_a_double_network_in_a_float_graph(rows):
    """It computes in double; numbers are rounded on the way in and out."""
    register_onnx()
    model = classifier().fit(rows, targets("classes", rows))
    X = rows.astype(np.float32)
    found = run(skl2onnx.to_onnx(model, X[:1], options={"zipmap": False}), {"X": X})
    wanted = model.predict_proba(X.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(found["probabilities"], wanted)


def test_coefs_that_were_assigned_are_those_that_travel(rows):
    model = classifier().fit(rows, targets("classes", rows))
    model.intercepts_ = [b + 1 for b in model.intercepts_]
    found = run(fastbp.to_onnx(model), {"X": rows})
    assert_close(found["probabilities"], model.predict_proba(rows))


def test_an_estimator_of_one_class(rows):
    model = classifier().fit(rows, np.ones(len(rows), int))
    with pytest.raises(ValueError, match="must have two classes or more, got"):
        fastbp.to_onnx(model)
