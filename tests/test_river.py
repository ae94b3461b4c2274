"""fastbp.river on River's contract: its own checks, and what they leave out."""

import copy
import inspect
import math
import pickle
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from river import checks, datasets, evaluate, metrics, optim, preprocessing

from fastbp import optimizers, schedules
from fastbp.river import MLPClassifier, MLPRegressor

MODELS = [
    MLPClassifier(),
    MLPClassifier(seed=1, hidden_sizes=(8, 4), activation="tanh", optimizer="adam"),
    MLPClassifier(hidden_sizes=(), dtype="float32", clip_norm=None),
    MLPClassifier(optimizer=optimizers.SGD(momentum=0.9), weight_decay=1e-4, dtype="float32"),
    MLPRegressor(),
    MLPRegressor(seed=1, hidden_sizes=(8, 4), activation=("tanh", "relu"), optimizer="adam"),
    MLPRegressor(hidden_sizes=(), loss="huber", dtype="float32"),
    MLPRegressor(learning_rate=schedules.BySample(schedules.InverseScaling(0.1), every=50)),
]
KINDS = [MLPClassifier, MLPRegressor]


@pytest.mark.parametrize(
    ("model", "check"),
    [
        pytest.param(model, check, id=f"{type(model).__name__}{number}-{check.__name__}")
        for number, model in enumerate(MODELS)
        for check in checks.yield_checks(model)
    ],
)
def test_rivers_checks(model, check):
    check(model.clone())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_no_check_is_excused(model):
    assert model._unit_test_skips() == set()
    assert sum(1 for _ in checks.yield_checks(model)) >= (60 if model in MODELS[:4] else 28)


def stream(kind, n=60, seed=0):
    """Samples with features and, for a classifier, classes that come and go."""
    generator = np.random.default_rng(seed)
    for t in range(n):
        names = [f"feature {k}" for k in range(3 + t // 20)]
        x = dict(zip(names, generator.normal(size=len(names)).tolist(), strict=True))
        if t % 7 == 0:
            x.pop("feature 1")
        total = sum(x.values())
        yield (
            x,
            ["low", "high", "new"][(total > 0) + (total > 1 and t > 30)]
            if (kind is MLPClassifier)
            else total,
        )


def taught(kind, **settings):
    model = kind(**{"seed": 0} | settings)
    for x, y in stream(kind):
        model.learn_one(x, y)
    return model


def predictions(model):
    kind = type(model)
    one = model.predict_proba_one if kind is MLPClassifier else model.predict_one
    return [one(x) for x, _ in stream(kind, seed=1)]


def test_classes_of_any_kind_get_outputs_as_they_come():
    model = MLPClassifier(seed=0, dtype="float32")
    assert model.predict_proba_one({"a": 1.0}) == {}
    assert model.predict_one({"a": 1.0}) is None
    model.learn_one({"a": 1.0}, "first")
    assert model.predict_proba_one({"a": 1.0}) == {"first": 1.0}
    labels = ["first", 2, (3, "c"), np.str_("d"), np.int64(5), frozenset({6})]
    for label in labels * 30:
        model.learn_one({"a": hash(label) % 11 / 11}, label)
    found = model.predict_proba_one({"a": 1.0})
    assert list(found) == labels
    assert type(list(found)[3]) is str
    assert type(list(found)[4]) is int
    assert math.isclose(sum(found.values()), 1.0, rel_tol=1e-15)
    assert model.predict_one({"a": 1.0}) == max(found, key=found.get)
    model.learn_one({"a": 1.0}, 5)
    assert len(model.predict_proba_one({})) == 6


def test_a_new_class_is_learned_and_one_that_is_gone_keeps_a_small_probability():
    model = MLPClassifier(seed=0, learning_rate=0.1)
    for labels in (["a", "b"], ["b", "c"]):
        for t in range(400):
            k = t % 2
            model.learn_one({"here": float(k), "there": 1.0 - k}, labels[k])
    found = model.predict_proba_one({"here": 1.0, "there": 0.0})
    assert found["c"] > 0.9
    assert 0 < found["a"] < 0.05


@pytest.mark.parametrize(
    "y",
    [
        None,
        math.nan,
        ["a"],
        {"a": 1},
        np.float64("nan"),
        pd.NA,
        pd.NaT,
        Decimal("nan"),
        np.datetime64("NaT"),
    ],
    ids=str,
)
def test_what_is_no_label(y):
    model = taught(MLPClassifier)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="y must be a label, such as a bool, int or str, got"):
        model.learn_one({"feature 0": 1.0}, y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("y", [None, math.nan, math.inf, "1", [1.0, 2.0], 1j], ids=str)
def test_what_is_no_target(y):
    model = taught(MLPRegressor)
    before = predictions(model)
    with pytest.raises(ValueError, match="y must be a finite float64 number, got"):
        model.learn_one({"feature 0": 1.0, "unseen": 2.0}, y)
    with pytest.raises(ValueError, match="y must be a finite float64 number, got"):
        model.learn_one({f"feature {k}": 1.0 for k in range(5)}, y)
    assert predictions(model) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_sample(kind):
    model, (x, y) = taught(kind), next(stream(kind, seed=2))
    before = predictions(model)
    for value in (math.nan, math.inf, "1", None):
        for name in ("feature 0", "unseen"):
            with pytest.raises(ValueError, match=rf"x\['{name}'\] must be a finite float64 num"):
                model.learn_one(x | {name: value}, y)
        with pytest.raises(ValueError, match=r"x\['feature 0'\] must be a finite float64 number"):
            model.predict_one(x | {"feature 0": value})
    for w in (math.inf, math.nan, "heavy", None):
        with pytest.raises(ValueError, match="w must be a finite number, got"):
            model.learn_one(x, y, w)
    with pytest.raises(ValueError, match="x must be a dict from features to numbers, got 3"):
        model.predict_one(3)
    assert predictions(model) == before


def test_a_negative_target_of_poisson():
    model = MLPRegressor(loss="poisson", seed=0)
    for y in (2, 0, 1):
        model.learn_one({"a": 1.0}, y)
    with pytest.raises(ValueError, match="y must be at least 0 for the loss poisson, got -1"):
        model.learn_one({"a": 1.0}, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_weights(kind):
    twice, weighted, bare = kind(seed=0), kind(seed=0), kind(seed=0)
    for x, y in stream(kind):
        weighted.learn_one(x, y, w=0.25)
        twice.learn_one(x, y, 0.25)
        bare.learn_one(x, y)
    assert predictions(twice) == predictions(weighted) != predictions(bare)
    assert list(inspect.signature(kind.learn_one).parameters) == ["self", "x", "y", "w"]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
def test_learn_many_is_a_loop_bit_for_bit(kind, optimizer, frame):
    one, many = kind(seed=0, optimizer=optimizer), kind(seed=0, optimizer=optimizer)
    rows = list(stream(kind))
    for names in (["feature 0"], ["feature 2", "feature 0"], ["z", "feature 2", "a"]):
        X = [{name: x.get(name, 0.5) for name in names} for x, _ in rows]
        y = [target for _, target in rows]
        series = pd.Series(y) if frame is pd.DataFrame else pl.Series(y)
        weights = np.linspace(0, 2, len(y)).tolist()
        for x, target, w in zip(X, y, weights, strict=True):
            one.learn_one(x, target, w)
        many.learn_many(frame(X), series, w=weights)
        assert predictions(one) == predictions(many)
        found = many.predict_many(frame(X))
        assert found.to_list() == [one.predict_one(x) for x in X]
        if kind is MLPClassifier:
            table = many.predict_proba_many(frame(X))
            columns = {name: table[name].to_list() for name in table.columns}
            assert columns == {
                label: [one.predict_proba_one(x)[label] for x in X]
                for label in one.predict_proba_one({})
            }


def test_frames_keep_their_index_and_series_their_name():
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=[7, 8, 9])
    for model, y in ((MLPClassifier(), [True, False, True]), (MLPRegressor(), [1.0, 2.0, 3.0])):
        assert len(model.predict_many(X)) == 3
        model.learn_many(X, pd.Series(y, name="outcome"))
        found = model.predict_many(X)
        assert found.name == "outcome"
        assert found.index.tolist() == [7, 8, 9]
        assert len(model.predict_many(X[:0])) == 0
    model = MLPClassifier()
    assert model.predict_proba_many(X).shape[1] == 0
    model.learn_many(X, pd.Series([True, False, True]))
    assert model.predict_proba_many(X).index.tolist() == [7, 8, 9]
    assert model.predict_proba_many(X).columns.tolist() == [True, False]
    assert model.predict_proba_many(X[:0]).columns.tolist() == [True, False]


@pytest.mark.parametrize(
    ("X", "y", "w", "message"),
    [
        (
            {"a": [1.0, math.nan]},
            [1, 2],
            1,
            "X must hold finite float64 numbers, got nan in row 1 of the c",
        ),
        ({"a": [1.0, 1.0], "b": ["x", "y"]}, [1, 2], 1, "X must have numbers in every column"),
        ({"a": [1.0, 1.0]}, [1, 2, 3], 1, "must have the same number of rows, got 2, 3 and 3"),
        ({"a": [1.0, 1.0]}, [1, 2], [1], "must have the same number of rows, got 2, 2 and 1"),
        ({"a": [1.0, 1.0]}, [1, 2], [1, math.inf], "w must be a finite"),
        ({"a": [1.0, 1.0]}, [1, math.nan], 1, "y must be a"),
        ({"a": [1.0, 1.0]}, [1, None], 1, "y must be a"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_is_refused_changes_nothing(kind, X, y, w, message):
    model = taught(kind)
    before = predictions(model)
    with pytest.raises(ValueError, match=message):
        model.learn_many(pd.DataFrame(X), pd.Series(y, dtype=object), w)
    assert predictions(model) == before


def test_frames_whose_outputs_overflow():
    model = taught(MLPRegressor, dtype="float32")
    X = pd.DataFrame({"feature 0": [1.0, 3e38], "feature 1": [1.0, -3e38]})
    with pytest.raises(ValueError, match="outputs must be finite, but a feature is too large"):
        model.predict_many(X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["X", "y", "w"])
def test_what_overflows_in_float32_is_refused_before_a_row_is_learned(kind, place):
    model = taught(kind, dtype="float32")
    before = predictions(model)
    given = {"X": [1.0, 2.0, 3.0], "y": [1.0, 0.0, 1.0], "w": [1.0, 1.0, 1.0]}
    given[place][2] = 1e300
    X = pd.DataFrame({"feature 0": given["X"], "new": given["X"]})
    if place == "y" and kind is MLPClassifier:
        model.learn_many(X, pd.Series(given["y"]), given["w"])  # any number is a label
        return
    with pytest.raises(ValueError, match=rf"{place} must .* finite float32 number.*1e\+300"):
        model.learn_many(X, pd.Series(given["y"]), given["w"])
    assert predictions(model) == before
    if place == "X":
        with pytest.raises(ValueError, match=r"X must hold finite float32 numbers, got 1e\+300"):
            model.predict_many(X)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_leave_out_unknown_columns(kind, frame):
    model = kind(seed=0)
    unknown = {"id": ["x", "y"], "gap": [1.0, None]}
    assert len(model.predict_many(frame(unknown))) == 2
    for k in range(10):
        model.learn_one({"a": k / 10, "b": 1.0}, k % 2)
    for known in ({"b": [1.0, 2.0], "a": [0.5, 0.1]}, {"a": [1.0, 2.0]}, {}):
        rows = [{name: values[k] for name, values in known.items()} for k in range(2)]
        wanted = [model.predict_one(row | {"id": "x"}) for row in rows]
        found = model.predict_many(frame({"id": ["x", "y"]} | known | {"gap": [1.0, None]}))
        assert list(map(float, found.to_pylist() if frame is pa.table else found)) == wanted
        if kind is MLPClassifier:
            table = model.predict_proba_many(frame(unknown | known))
            assert len(table) == 2
    with pytest.raises(ValueError, match="X must have numbers in every column"):
        model.predict_many(frame({"a": ["x", "y"], "b": [1.0, 2.0]}))


def test_columns_may_have_numbers_as_names():
    model = MLPRegressor(seed=0)
    model.learn_many(pd.DataFrame({0: [1.0, 2.0], 1: [2.0, 3.0]}), pd.Series([0.0, 1.0]))
    found = model.predict_many(pd.DataFrame({2: ["x"], 1: [2.0], 0: [1.0]}))
    assert found.tolist() == [model.predict_one({0: 1.0, 1: 2.0})]


def test_an_output_that_overflows_is_not_put_down_to_an_unknown_feature():
    model = taught(MLPRegressor)
    with pytest.raises(ValueError, match="outputs must be finite, but a feature is too large"):
        model.predict_one({"feature 0": 1e308, "feature 1": -1e308, "id": "x"})


@pytest.mark.parametrize("hidden", [(), (20,)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_samples_without_features(kind, hidden):
    model, many = kind(seed=0, hidden_sizes=hidden), kind(seed=0, hidden_sizes=hidden)
    for target in (1, 0, 1):
        model.learn_one({}, target)
    many.learn_many(pd.DataFrame(index=range(3)), pd.Series([1, 0, 1]))
    assert math.isfinite(model.predict_one({}))
    assert many.predict_many(pd.DataFrame(index=range(2))).tolist() == [model.predict_one({})] * 2
    for one in (model, many):
        one.learn_one({"a": 1.0}, 1)
    assert predictions(model) == predictions(many)


@pytest.mark.parametrize("w", ["2", b"2", True, np.bool_(True), None, 1j, [1.0], math.nan], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_checked_alike_for_every_sample(kind, w):
    model, (x, y) = taught(kind), next(stream(kind, seed=2))
    before = predictions(model)
    for sample in (x, x | {"new": 1.0}):
        with pytest.raises(ValueError, match="w must be a finite number, got"):
            model.learn_one(sample, y, w)
        with pytest.raises(ValueError, match="w must be a finite number, got"):
            kind(seed=0).learn_one(sample, y, w)
    with pytest.raises(ValueError, match="w must be a finite number, got"):
        model.learn_many(pd.DataFrame([x, x]), pd.Series([y, y]), [1.0, w])
    with pytest.raises(
        ValueError, match=r"w must be a finite number|must have the same number of rows"
    ):
        model.learn_many(pd.DataFrame([x, x]), pd.Series([y, y]), w)
    assert predictions(model) == before


@pytest.mark.parametrize("w", [2, np.float32(2), np.int64(2), Fraction(2)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_any_type_of_number(kind, w):
    model, other = taught(kind), taught(kind)
    for x, y in stream(kind, n=3, seed=2):
        model.learn_one(x, y, w)
        other.learn_one(x, y, 2.0)
    assert predictions(model) == predictions(other)


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["x", None], dtype="string"), pd.Series([True, None], dtype="boolean"),
        pd.Series([1, None], dtype="Int64"), pd.Series(["x", None]),
        pd.Series([pd.Timestamp("2020-01-01"), None]), pd.Series(["x", None], dtype="category"),
        pl.Series(["x", None]), pa.chunked_array([["x", None]]),
    ],
    ids=lambda labels: f"{type(labels).__module__}-{getattr(labels, 'dtype', '')}",
)  # fmt: skip
def test_missing_labels(labels):
    model = taught(MLPClassifier)
    before = predictions(model)
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(
        type(labels).__module__.split(".")[0], pa.table
    )
    with pytest.raises(ValueError, match="y must be a label, such as a bool, int or str, got"):
        model.learn_many(frame({"feature 0": [1.0, 2.0]}), labels)
    assert predictions(model) == before


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: model.clone(include_attributes=True),
    ],
    ids=["copy", "deepcopy", "pickle", "clone"],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_copies_go_on_alike_and_apart(kind, duplicate):
    model = taught(kind, optimizer="adam")
    twin, before = duplicate(model), predictions(model)
    assert predictions(twin) == before
    for x, y in stream(kind, seed=3):
        twin.learn_one(x | {"one more": 1.0}, y)
    assert predictions(model) == before
    for x, y in stream(kind, seed=3):
        model.learn_one(x | {"one more": 1.0}, y)
    assert predictions(twin) == predictions(model) != before


@pytest.mark.parametrize("kind", KINDS)
def test_clones_begin_anew_with_every_parameter(kind):
    model = taught(kind, hidden_sizes=(), learning_rate=0.1, clip_norm=None, dtype="float32")
    new = model.clone({"learning_rate": 0.2})
    assert new._get_params() == model._get_params() | {"learning_rate": 0.2}
    assert predictions(model.clone()) == predictions(kind(seed=0))
    assert len(repr(model).splitlines()) == 2 + len(model._get_params())


@pytest.mark.parametrize("sizes", [np.array([8, 4]), [8, 4], range(4, 6), (), []], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_clones_with_sizes_of_any_sequence(kind, sizes):
    model = kind(hidden_sizes=sizes, seed=0)
    new = model.clone()
    for x, y in stream(kind):
        model.learn_one(x, y)
        new.learn_one(x, y)
    assert predictions(new) == predictions(model)
    assert "hidden_sizes" in repr(new)


def test_the_learning_rate_may_be_set():
    model, other = taught(MLPRegressor), taught(MLPRegressor)
    model.mutate({"learning_rate": 0.3})
    assert model.learning_rate == 0.3
    assert model.clone().learning_rate == 0.3
    model.learn_one({"feature 0": 1.0}, 1.0)
    other.learn_one({"feature 0": 1.0}, 1.0)
    assert predictions(model) != predictions(other)
    with pytest.raises(ValueError, match="learning_rate must be a finite"):
        model.learning_rate = -1
    assert model.learning_rate == 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_rivers_optimizers_are_refused(kind):
    with pytest.raises(ValueError, match=r"one of fastbp's, such as 'adam'.*River's SGD"):
        kind(optimizer=optim.SGD(0.1))
    with pytest.raises(ValueError, match="hidden_sizes must list"):
        kind(hidden_sizes=20)


def test_losses_of_classes_are_none_of_a_regression():
    with pytest.raises(ValueError, match="loss must be one of squared_error, huber"):
        MLPRegressor(loss="cross_entropy")
    assert MLPRegressor(loss="mse").loss == "mse"


def test_streams_are_learned_behind_a_scaler():
    model = preprocessing.StandardScaler() | MLPClassifier(learning_rate=0.05, seed=0)
    accuracy = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
    assert accuracy.get() > 0.86
    model = preprocessing.StandardScaler() | preprocessing.TargetStandardScaler(
        MLPRegressor(learning_rate=0.05, seed=0)
    )
    error = evaluate.progressive_val_score(datasets.TrumpApproval(), model, metrics.MAE())
    assert error.get() < 1


def test_what_is_said_without_river():
    code = "import sys; sys.modules['river'] = None; import fastbp; import fastbp.river"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: fastbp.river needs River 0.26.1 or later, which is not installed; in the "
        "folder of the clone: pip install -e '.[river]'"
    )
