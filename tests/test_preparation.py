"""From raw rows to inputs of a network: as scikit-learn does it, whatever the columns are."""

import datetime
import json
import pickle
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastbp
from fastbp import Network, Preparation, Trainer


def houses(n=60, seed=0):
    """A frame with every kind of column, and prices."""
    r = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "area": r.uniform(30, 200, n).round(1),
            "rooms": r.integers(1, 7, n),
            "city": r.choice(["Paris", "Lyon", "Nice"], n),
            "garden": r.random(n) < 0.4,
        }
    )
    price = 2600 * frame["area"] + 9000 * frame["rooms"] + 40_000 * (frame["city"] == "Paris")
    return frame, price.to_numpy()


def with_gaps(frame):
    frame = frame.astype({"garden": "boolean", "rooms": "Int64"})
    for j, name in enumerate(frame.columns):
        frame.loc[frame.index % 7 == j, name] = None
    return frame


# As scikit-learn ---------------------------------------------------------------------------------


def test_what_scikit_learn_makes_of_the_same_columns():
    frame, _ = houses()
    frame.loc[[3, 8], "area"] = np.nan
    frame = frame.drop(columns="garden")
    theirs = make_column_transformer(
        (SimpleImputer(strategy="median", add_indicator=True), ["area"]),
        (SimpleImputer(strategy="median"), ["rooms"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["city"]),
    ).fit(frame)
    scaler = StandardScaler()
    new, _ = houses(seed=1)
    new.loc[0, ["area", "city"]] = [np.nan, "Metz"]
    expected = theirs.transform(new)
    scaler.fit(theirs.transform(frame)[:, [0, 2]])
    expected[:, [0, 2]] = scaler.transform(expected[:, [0, 2]])
    ours = Preparation().fit(frame).transform(new, "float64")
    np.testing.assert_allclose(ours, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e12])
@pytest.mark.parametrize("size", [1e-290, 1e-160, 1.0, 1e150, 1e290])
def test_numbers_of_any_size_and_far_from_zero(offset, size):
    x = np.random.default_rng(0).normal(offset, 1, (500, 3)) * size
    prepared = Preparation().fit(x).transform(x, "float64")
    exact = (x / size).astype(np.longdouble)
    exact = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    tolerance = 1e-12 * max(1, abs(offset) / 10)
    np.testing.assert_allclose(prepared, exact.astype(float), rtol=0, atol=tolerance)


def test_constant_columns_and_a_single_row():
    x = np.array([[0.1, 3.0, 1e300]] * 7)
    np.testing.assert_array_equal(Preparation().fit(x).transform(x), np.zeros((7, 3)))
    np.testing.assert_array_equal(Preparation().fit(x[:1]).transform(x + 1), [[1, 1, 0]] * 7)


def test_pixels_are_divided_by_255():
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    preparation = Preparation().fit(x)
    np.testing.assert_array_equal(preparation.transform(x), (x / 255).astype(np.float32))


def test_without_scaling_gaps_are_filled_all_the_same():
    x = np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0], [8.0, 8.0]])
    expected = [[1, 0, 5], [3, 1, 6], [3, 0, 7], [8, 0, 8]]
    preparation = Preparation(scale=False).fit(x, [1.0, 2.0, 3.0, 9.0])
    np.testing.assert_array_equal(preparation.transform(x), expected)
    np.testing.assert_array_equal(preparation.transform_target([4.0]), [4.0])


# Columns -----------------------------------------------------------------------------------------


def test_names_of_inputs():
    frame, _ = houses()
    preparation = Preparation().fit(with_gaps(frame))
    assert preparation.columns == ("area", "rooms", "city", "garden")
    assert preparation.names == (
        "area", "area missing", "rooms", "rooms missing", "city=Lyon", "city=Nice", "city=Paris",
        "city missing", "garden", "garden missing",
    )  # fmt: skip
    assert preparation.n_inputs == len(preparation.names)
    assert preparation.text_columns == ("city",)
    assert Preparation().fit(np.eye(2)).names == ("x0", "x1")


cells = {
    "number": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "whole": st.one_of(st.none(), st.integers(-50, 50)),
    "truth": st.one_of(st.none(), st.booleans()),
    "text": st.one_of(st.none(), st.text("abcé \n,;", max_size=3)),
}
arrow = {"number": pa.float64(), "whole": pa.int64(), "truth": pa.bool_(), "text": pa.string()}
pandas = {"number": "float64", "whole": "Int64", "truth": "boolean", "text": "string"}


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(st.sampled_from(list(cells)), min_size=1, max_size=4))
def test_frames_of_all_libraries_give_the_same_bits(data, kinds):
    n = data.draw(st.integers(2, 8))
    columns = {
        f"c{j}": data.draw(st.lists(cells[kind], min_size=n, max_size=n).filter(any_present))
        for j, kind in enumerate(kinds)
    }
    table = pa.table(
        {
            name: pa.array(column, arrow[kind])
            for (name, column), kind in zip(columns.items(), kinds, strict=True)
        }
    )
    frame = pd.DataFrame(columns).astype(dict(zip(columns, map(pandas.get, kinds), strict=True)))
    twins = [table, frame, pl.from_arrow(table), frame.astype(object)]
    first, *others = [Preparation().fit(twin) for twin in twins]
    for twin, other in zip(twins, [first, *others], strict=True):
        assert other == first
        np.testing.assert_array_equal(first.transform(twin), first.transform(table))
        backwards = twin.iloc[:, ::-1] if hasattr(twin, "iloc") else twin.select([*columns][::-1])
        np.testing.assert_array_equal(first.transform(backwards), first.transform(table))
    assert np.isfinite(first.transform(table)).all()
    restored = Preparation.from_description(json.loads(json.dumps(first.described())))
    assert restored == first
    np.testing.assert_array_equal(restored.transform(table), first.transform(table))


def any_present(column):
    return any(cell is not None for cell in column)


def test_categories_are_text_even_if_they_are_numbers():
    frame = pd.DataFrame({"kind": pd.Categorical([3, 1, 3])})
    assert Preparation().fit(frame).names == ("kind=1", "kind=3")
    assert Preparation().fit(pl.DataFrame({"k": pl.Series(["b", "a"], dtype=pl.Categorical)})).names


def test_values_of_many_kinds_in_hashed_columns():
    names = [f"name {i}" for i in range(300)]
    frame = pd.DataFrame({"name": names, "x": np.arange(300.0)})
    with pytest.raises(ValueError, match=r"more than 100 values: 'name' \(300\); leave such"):
        Preparation().fit(frame)
    assert Preparation(most_values=300).fit(frame).n_inputs == 301
    prepared = Preparation(hashed=["name"]).fit(frame).transform(frame)
    assert prepared.shape == (300, 33)
    np.testing.assert_array_equal(prepared[:, :32].sum(axis=1), np.ones(300))
    # The hash is the same in every process: zlib.crc32(b"name 0") is 2,158,473,204 or so mod 32.
    import zlib

    assert prepared[0, :32].argmax() == zlib.crc32(b"name 0") % 32


def test_columns_that_are_missing_wholly_when_predicting():
    frame, price = houses()
    preparation = Preparation().fit(frame, price)
    empty = pa.table({name: pa.nulls(2) for name in frame.columns})
    prepared = preparation.transform(empty, "float64")
    expected = frame["area"].median()
    np.testing.assert_allclose(
        prepared[:, 0], (expected - frame["area"].mean()) / frame["area"].std(ddof=0), rtol=1e-12
    )
    assert not prepared[:, 2:].any()


def test_cells_of_lists_and_masked_arrays_are_what_they_are():
    """NumPy makes text of numbers beside text, and forgets masks where it makes an array."""
    rows = [[1, "a", True], [3, None, False], [None, "b", np.nan]]
    expected = Preparation().fit(pd.DataFrame(rows, columns=["x0", "x1", "x2"]))
    preparation = Preparation().fit(rows)
    assert preparation.names == expected.names
    np.testing.assert_array_equal(preparation.transform(rows), expected.transform(rows))
    assert Preparation().fit([[1, "a"], [2, "b"]]).names == ("x0", "x1=a", "x1=b")
    masked = np.ma.array([[1.0, 2], [9, 4], [3, 6]], mask=[[0, 0], [1, 0], [0, 0]])
    gaps = np.array([[1, 2], [np.nan, 4], [3, 6]])
    for preparation in (Preparation().fit(gaps), Preparation().fit(masked)):
        np.testing.assert_array_equal(preparation.transform(masked), preparation.transform(gaps))
        assert preparation.names == ("x0", "x0 missing", "x1")
    with pytest.raises(ValueError, match="y must have no masked entries"):
        Preparation().fit(gaps, np.ma.array([1.0, 2, 3], mask=[0, 1, 0]))


def test_decimals_may_be_missing_and_categories_intervals():
    frame = pd.DataFrame({"x": [Decimal(1), Decimal("NaN"), Decimal(3)]})
    prepared = Preparation().fit(frame).transform(frame)
    np.testing.assert_allclose(prepared, [[-1.2247449, 0], [0, 1], [1.2247449, 0]], rtol=1e-6)
    ages = pd.DataFrame({"age": pd.cut([1, 5, 9], [0, 4, 10])})
    assert Preparation().fit(ages).names == ("age=(0, 4]", "age=(4, 10]")


def test_further_columns_may_hold_anything():
    frame, price = houses()
    preparation = Preparation().fit(frame, price)
    days, mixed = pd.date_range("2026-01-01", periods=len(frame)), [1, "two"] * 30
    more = frame.assign(day=days, mixed=mixed)[["day", "mixed", *frame.columns]]
    np.testing.assert_array_equal(preparation.transform(more), preparation.transform(frame))


def test_values_that_the_fitted_rows_did_not_have_are_counted():
    frame, _ = houses()
    preparation = Preparation().fit(frame)
    assert preparation.unseen(frame) == {}
    new = frame.copy()
    new.loc[:2, "city"], new.loc[3, "city"] = "Metz", None
    for twin in (new, pl.from_pandas(new), pa.Table.from_pandas(new)):
        assert preparation.unseen(twin) == {"city": 3}
    assert Preparation(hashed="city").fit(frame).unseen(new) == {}
    assert Preparation().fit(np.eye(2)).unseen(np.eye(2)) == {}


# What is refused ---------------------------------------------------------------------------------

DAYS = [datetime.date(2026, 1, day) for day in (1, 2)]
REFUSED = {
    "dates": (pd.DataFrame({"day": pd.to_datetime(DAYS)}), r"'day' of X holds dates.* the year"),
    "day objects": (pd.DataFrame({"day": DAYS}), "'day' of X holds dates"),
    "polars dates": (pl.DataFrame({"day": DAYS}), "'day' of X holds dates"),
    "Arrow times": (pa.table({"t": pa.array([1, 2], pa.time64("us"))}), "'t' of X holds dates"),
    "durations": (pd.DataFrame({"t": pd.to_timedelta([1, 2])}), "'t' of X holds dates"),
    "infinity": (
        pd.DataFrame({"x": [1.0, -np.inf]}),
        "'x' of X must hold finite .* got -inf in row 1",
    ),
    "nothing": (pd.DataFrame({"x": [None, None]}), "'x' of X has no values; leave it out"),
    "categories of dates": (
        pd.DataFrame({"day": pd.Categorical(pd.to_datetime(DAYS))}),
        "'day' of X holds dates",
    ),
    "an integer beyond floats": (
        pd.DataFrame({"x": [10**400, 1]}),
        "'x' of X must hold numbers of",
    ),
    "intervals": (pd.DataFrame({"x": pd.interval_range(0, 2)}), "or text, got Interval"),
    "unequal rows": ([[1, 2], [3]], "X must be a table, got rows of unequal length"),
    "a mixture": (pd.DataFrame({"x": [1, "two"]}), "numbers or text throughout, got '1' and 'two'"),
    "lists": (pl.DataFrame({"x": [[1], [2]]}), "numbers, truth values or text, got list"),
    "bytes": (pa.table({"x": [b"1", b"2"]}), "numbers, truth values or text, got bytes"),
    "complex": (np.ones((2, 2), complex), "numbers, truth values or text, got complex"),
    "a vector": (np.ones(3), r"must be two-dimensional, .* got shape \(3,\)"),
    "no rows": (np.ones((0, 3)), "at least one row, got none"),
    "twins": (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "different names of columns, got two 'a'",
    ),
    "sparse": (TfidfVectorizer().fit_transform(["a word", "two words"]), "got a sparse matrix"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_preparation_can_be_fitted_to(case):
    X, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        Preparation().fit(X)
    assert str(caught.value).count("\n") == 0


def test_rows_that_differ_from_the_fitted_ones():
    frame, price = houses()
    preparation = Preparation().fit(frame, price)
    for change, message in (
        ({"area": "big"}, "'area' of X must hold numbers as in the training rows, got 'big'"),
        ({"city": 7}, "'city' of X must hold text as in the training rows, got 7.0"),
        ({"garden": 2}, "'garden' of X must hold truth values as in the training rows, got 2.0"),
        ({"area": np.inf}, "X must hold finite numbers .* got inf in row 0 of column 'area'"),
        ({"area": 1e300}, r"whose scaled size float32 can hold, got 1e\+300 in row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            preparation.transform(frame.assign(**change))
    with pytest.raises(ValueError, match=r"must have the column 'area' \(did you mean 'aera'\?\)"):
        preparation.transform(frame.rename(columns={"area": "aera"}))
    with pytest.raises(ValueError, match=r"must have 4 columns, .* got 2"):
        preparation.transform(np.ones((3, 2)))
    preparation.transform(frame.assign(garden=frame["garden"].astype(int), further="ignored"))


def test_arguments():
    with pytest.raises(ValueError, match="preparation must be fitted first"):
        Preparation().transform([[1.0]])
    with pytest.raises(ValueError, match="hashed names 'town', which is no column of X"):
        Preparation(hashed="town").fit(houses()[0])
    with pytest.raises(ValueError, match="hashed names 'area', which holds no text"):
        Preparation(hashed="area").fit(houses()[0])
    for y in (list("ab"), [1.0, np.nan], [], [1.0], np.ones((2, 1, 1))):
        with pytest.raises(ValueError, match="y must h"):
            Preparation().fit(np.eye(2), y)
    for arguments in ({"scale": 1}, {"hashed": 3}, {"most_values": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            Preparation(**arguments)


# In a network ------------------------------------------------------------------------------------


def trained(frame, price, **options):
    preparation = Preparation().fit(frame, price)
    sizes = preparation.n_inputs, 16, 1
    network = Network(sizes, loss="mse", preparation=preparation, seed=0, **options)
    trainer = Trainer(network, "adam", learning_rate=0.01, batch_size=8, seed=0)
    trainer.fit(frame, price, epochs=30, eval_set=(frame, price), metrics=["r2", "mae"])
    return trainer


def test_a_network_takes_raw_rows_everywhere_and_answers_in_the_unit_of_the_target():
    frame, price = houses(200)
    trainer = trained(frame, price, dtype="float64")
    network = trainer.network
    predicted = network.predict(frame)
    assert predicted.dtype == np.float64
    errors = np.abs(predicted - price)
    assert trainer.history["mae"][-1] == pytest.approx(errors.mean(), rel=1e-12)
    assert trainer.score(frame, price) == pytest.approx(trainer.history["r2"][-1], rel=1e-12)
    assert trainer.score(frame, price) > 0.9
    # The same by hand.
    preparation = network.preparation
    plain = Network(network.sizes, loss="mse", dtype="float64")
    plain.params[:] = network.params
    X, y = preparation.transform(frame, "float64"), preparation.transform_target(price)
    np.testing.assert_array_equal(preparation.restore_target(plain.predict(X)), predicted)
    assert plain.loss(X, y) == network.loss(frame, price) == network.evaluate(frame, price).loss
    loss, gradients = network.value_and_grad(frame, price)
    same, expected = plain.value_and_grad(X, y)
    assert loss == same
    np.testing.assert_array_equal(gradients.weights[0], expected.weights[0])
    assert network.objective(frame, price)(network.params)[0] == pytest.approx(loss)
    assert network.check_gradients(frame[:5], price[:5]).ok
    trainer.partial_fit(frame[:10], price[:10])


def test_predictions_keep_the_digits_of_large_targets():
    x = np.arange(100.0).reshape(-1, 1)
    y = 1e9 + x[:, 0]
    preparation = Preparation().fit(x, y)
    network = Network((1, 1), loss="squared_error", preparation=preparation, seed=0)
    Trainer(network, learning_rate=0.1, seed=0).fit(x, y, epochs=30)
    np.testing.assert_allclose(network.predict(x), y, rtol=0, atol=0.01)


def test_several_targets():
    frame, price = houses()
    y = np.column_stack([price, frame["area"]])
    preparation = Preparation().fit(frame, y)
    network = Network((preparation.n_inputs, 2), loss="mse", preparation=preparation, seed=0)
    Trainer(network, learning_rate=0.02, seed=0).fit(frame, y, epochs=30)
    assert network.predict(frame).shape == (60, 2)
    np.testing.assert_allclose(network.predict(frame), y, rtol=0.1)
    with pytest.raises(ValueError, match="y must have 2 columns as in fit, got 1"):
        network.loss(frame, price)


@pytest.mark.parametrize(
    ("sizes", "loss", "fit_y", "message"),
    [
        ((9, 1), "squared_error", True, "sizes must begin with 6, .* got 9"),
        ((6, 2), "squared_error", True, "sizes must end with 1, .* got 2"),
        ((6, 2), "cross_entropy", True, "fitted to X alone for the loss cross_entropy"),
    ],
)
def test_networks_that_a_preparation_is_not_for(sizes, loss, fit_y, message):
    frame, price = houses()
    preparation = Preparation().fit(frame, price if fit_y else None)
    with pytest.raises(ValueError, match=message):
        Network(sizes, loss=loss, preparation=preparation)


def test_what_is_no_preparation():
    for wrong in (StandardScaler(), "scale"):
        with pytest.raises(ValueError, match=r"must be a fastbp\.Preparation, got (StandardS|str)"):
            Network((3, 2), preparation=wrong)
    with pytest.raises(ValueError, match="preparation must be fitted first"):
        Network((3, 2), preparation=Preparation())


def test_a_preparation_may_be_fitted_again_for_the_next_network():
    x = np.arange(6.0).reshape(-1, 1)
    preparation = Preparation().fit(x)
    network = Network((1, 2), preparation=preparation, seed=0)
    twin, before = network.copy(), network.predict_proba(x)
    preparation.fit(x + 100)
    np.testing.assert_array_equal(network.predict_proba(x), before)
    network.preparation.fit(x + 100)
    np.testing.assert_array_equal(twin.predict_proba(x), before)


# Classes -----------------------------------------------------------------------------------------


def test_text_in_y_becomes_the_classes_of_the_network():
    frame, price = houses()
    y = np.where(price > np.median(price), "dear", "cheap")
    preparation = Preparation().fit(frame)
    for labels in (y, y.astype(object), pd.Series(y), pl.Series(y), list(y), y[:, np.newaxis]):
        network = Network((preparation.n_inputs, 2), preparation=preparation, seed=0)
        trainer = Trainer(network, "adam", learning_rate=0.05, seed=0)
        trainer.fit(frame, labels, epochs=20, eval_set=(frame, labels), metrics="f1")
        assert network.classes == ("cheap", "dear")
        assert (network.predict(frame) == y).mean() > 0.9
        assert trainer.score(frame, labels) == trainer.history.accuracy[-1]
        with pytest.raises(ValueError, match=r"hold the network's classes.*; got 'huge' in row 1"):
            network.loss(frame[:2], ["dear", "huge"])


def test_classes_given_to_a_network():
    x, y = np.eye(3), [30, 10, 20]
    network = Network((3, 3), classes=(10, 20, 30), seed=0)
    Trainer(network, learning_rate=0.5, seed=0).fit(x, y, epochs=50)
    np.testing.assert_array_equal(network.predict(x), y)
    assert network.evaluate(x, y).accuracy == 1
    one = Network((3, 1), loss="bce", classes=["no", "yes"], seed=0)
    Trainer(one, learning_rate=0.5, seed=0).fit(x, ["yes", "no", "no"], epochs=50)
    np.testing.assert_array_equal(one.predict(x), ["yes", "no", "no"])
    targets = np.eye(3)  # rows of probabilities stay what they are
    assert network.loss(x, targets) > 0


@pytest.mark.parametrize(
    ("classes", "loss"),
    [
        (("a", "b"), "cross_entropy"),
        (("a", "b", "a"), "cross_entropy"),
        (("a", "b", 3), "cross_entropy"),
        ("abc", "cross_entropy"),
        ((1, 2, np.nan), "cross_entropy"),
        ({"a", "b", "c"}, "cross_entropy"),
        (("a", "b", "c"), "squared_error"),
        (("a", "b", "c"), "binary_cross_entropy"),
    ],
)
def test_classes_that_a_network_cannot_have(classes, loss):
    with pytest.raises(ValueError, match=r"^classes must be"):
        Network((4, 3), loss=loss, classes=classes)


def test_a_fit_that_is_refused_names_no_classes():
    network = Network((3, 2), seed=0)
    with pytest.raises(ValueError, match="X must have 3 columns"):
        Trainer(network).fit(np.eye(2), ["a", "b"])
    assert network.classes is None


# Copies and files --------------------------------------------------------------------------------


def test_copies_pickles_and_files_keep_preparation_and_classes(tmp_path):
    frame, price = houses()
    regression = trained(with_gaps(frame), price)
    y = np.where(price > np.median(price), "dear", "cheap")
    classifier = Network((frame.shape[1] + 2, 2), preparation=Preparation().fit(frame), seed=0)
    Trainer(classifier, seed=0).fit(frame, y, epochs=1)
    for model, rows in ((regression, with_gaps(frame)), (classifier, frame)):
        network = getattr(model, "network", model)
        model.save(tmp_path / "model.safetensors", extra={"by": "test"})
        loaded = fastbp.load(tmp_path / "model.safetensors")
        twins = [network.copy(), pickle.loads(pickle.dumps(network)), loaded]
        for twin in twins:
            twin_network = getattr(twin, "network", twin)
            assert twin_network.classes == network.classes
            assert twin_network.preparation == network.preparation
            np.testing.assert_array_equal(twin.predict(rows), network.predict(rows))
    header = fastbp.read_header(tmp_path / "model.safetensors")
    assert header["classes"] == ["cheap", "dear"]
    assert json.loads(json.dumps(header["preparation"])) == header["preparation"]


COLUMN = {"name": "x", "kind": "number"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": []}, "fitted first"),
        ({"columns": [COLUMN, COLUMN]}, "different names"),
        ({"columns": [COLUMN | {"scale": 0}]}, r"columns\[0\] must have a finite mean .* above 0"),
        ({"columns": [COLUMN | {"mean": "1"}]}, r"columns\[0\]\.mean must be a number, got '1'"),
        ({"columns": [COLUMN | {"kind": "date"}]}, r"columns\[0\]\.kind must be one of number,"),
        ({"columns": [COLUMN | {"values": ["a"]}]}, "only if it holds text"),
        ({"columns": [{"name": "x", "kind": "text"}]}, "must have values or buckets"),
        ({"columns": [{"name": "x", "kind": "text", "values": ["b", "a"]}]}, "must be sorted"),
        ({"columns": [COLUMN | {"size": 3}]}, r"columns\[0\]\.'size' is no field"),
        ({"columns": [COLUMN, {"name": "y", "kind": "truth"}]}, "sizes must begin with 2"),
        ({"target": {"mean": [1], "scale": []}}, "finite means and scales"),
        ({"target": {"mean": [1], "scale": [-1]}}, "finite means and scales"),
        ({"target": {"mean": [1, 2], "scale": [1, 2]}}, "sizes must end with 2"),
        ({"scale": "yes"}, r"preparation\.scale must be true or false"),
        ({"most_values": 0}, "most_values must be an integer from 1"),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path, monkeypatch, change, message):
    path = tmp_path / "model.safetensors"
    preparation = Preparation().fit([[1.0], [2.0]], [1.0, 2.0])
    network = Network((1, 1), loss="squared_error", preparation=preparation, seed=0)
    network.save(path)
    true = Preparation.described
    monkeypatch.setattr(Preparation, "described", lambda self: true(self) | change)
    monkeypatch.setattr("fastbp.schema.HEADER", lambda name, value: None)
    network.save(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"is damaged: .*{message}"):
        fastbp.load(path)


def test_a_column_may_have_an_empty_name(tmp_path):
    frame = pd.DataFrame({"": [1.0, 2.0], "x": ["", "a"]})
    network = Network((3, 2), preparation=Preparation().fit(frame), seed=0)
    network.save(tmp_path / "model.safetensors")
    assert fastbp.load(tmp_path / "model.safetensors").preparation == network.preparation


def test_text_of_a_preparation():
    frame, price = houses()
    preparation = Preparation(hashed=("city",), most_values=7).fit(with_gaps(frame), price)
    assert repr(preparation) == "Preparation(hashed=('city',), most_values=7)"
    summary = preparation.summary()
    assert re.search(
        r"^area: minus [\d.]+, by [\d.]+; missing values become [\d.]+, and are marked$",
        summary,
        re.M,
    )
    assert "city: one of 32 by a hash; missing values are marked" in summary
    assert summary.splitlines()[-1].startswith("target: minus ")
    assert repr(Preparation(scale=False)) == "Preparation(scale=False)"


def test_rows_of_arrays_are_prepared_in_blocks_as_columns_are():
    x = np.random.default_rng(0).normal(5, 3, (9000, 3))
    x[::5, 1] = np.nan
    preparation = Preparation().fit(x)
    by_column = preparation.transform(pd.DataFrame(x, columns=["x0", "x1", "x2"]))
    np.testing.assert_array_equal(preparation.transform(x), by_column)
    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    expected = pipeline.fit_transform(x)
    np.testing.assert_allclose(by_column[:, [0, 1, 3]], expected, rtol=1e-5, atol=1e-6)


# Rows without a preparation ----------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(300, 3))
Y = X.sum(axis=1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X * [1, 1e3, 1], Y, r"column 1 of X has numbers of the size 977, .*\.fit\(X\)\)"),
        (X + 1e5, Y, r"column \d of X has numbers of the size 1e\+05"),
        (X * 1e-4, Y, r"column \d of X has numbers of the size (\d.*e-05|0\.0001)"),
        (
            X,
            Y * 1e5,
            r"y has numbers of the size .*e\+05, .*\.fit\(X, y\)\), which predicts in the",
        ),
    ],
)
def test_a_fit_of_rows_far_from_unit_size_warns_once(x, y, message):
    trainer = Trainer(Network((3, 1), loss="mse", seed=0), learning_rate=1e-30, seed=0)
    with pytest.warns(fastbp.ScaleWarning, match=message) as caught:
        trainer.fit(x, y, epochs=1)
    assert [warning.filename for warning in caught] == [__file__]
    trainer.fit(x, y, epochs=1)


def test_rows_of_unit_size_do_not_warn():
    one_hot, rare = np.eye(300)[:, :5], np.zeros((300, 4))
    rare[7, 2] = 1
    for x in (X, X * 10, X / 20, one_hot, rare, np.zeros((300, 2)), np.abs(X[:1])):
        Trainer(Network((x.shape[1], 1), loss="mse", seed=0), learning_rate=1e-9).fit(
            x, Y[: len(x)]
        )
    counts = np.full(300, 500.0)
    Trainer(Network((3, 1), loss="poisson", seed=0), learning_rate=1e-9).fit(X, counts, epochs=1)
    frame, price = houses()
    trained(frame, price)
