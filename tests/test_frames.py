"""Frames of pandas, polars and Arrow: columns of any numeric dtype, and errors that name them."""

import datetime
import decimal
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbp import Network, Trainer

N = 8
AGE = np.arange(12, 12 + N)
SIZE = np.linspace(0.5, 2, N)
SICK = np.arange(N) % 3 == 0
LABELS = np.arange(N) % 2
PLAIN = np.column_stack([AGE, SIZE, SICK]).astype(np.float64)


def pandas(*dtypes):
    columns = {"age": AGE, "size": SIZE, "sick": SICK}
    return pd.DataFrame(
        {name: pd.Series(c).astype(d) for (name, c), d in zip(columns.items(), dtypes, strict=True)}
    )


FRAMES = {
    "mixed": pandas("int64", "float64", "bool"),
    "small": pandas("uint8", "float32", "bool"),
    "floats": pandas("float64", "float64", "float64"),
    "nullable": pandas("Int64", "Float64", "boolean"),
    "nullable small": pandas("UInt8", "Float32", "boolean"),
    "Arrow-backed": pandas("int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]"),
    "sparse": pandas("Sparse[int64]", "Sparse[float64]", "bool"),
    "all kinds": pandas("int16", "double[pyarrow]", "boolean"),
    "one label": pandas("int64", "Float64", "bool").set_axis(["a", "a", "a"], axis=1),
    "other rows": pandas("int64", "Float64", "bool").set_axis(range(N, 0, -1)),
    "polars": pl.DataFrame({"age": AGE, "size": SIZE, "sick": SICK}),
    "polars floats": pl.DataFrame({"age": AGE * 1.0, "size": SIZE, "sick": SICK * 1.0}),
    "Arrow": pa.table({"age": AGE, "size": SIZE, "sick": SICK}),
    "Arrow batch": pa.record_batch({"age": AGE, "size": SIZE, "sick": SICK}),
}


def results(X, y, dtype, weights=None):
    network = Network((3, 4, 2), dtype=dtype, seed=0)
    Trainer(network, seed=0, learning_rate=1e-3).fit(
        X, y, epochs=2, eval_set=(X, y), sample_weight=weights, progress=False
    )
    _, gradients = network.value_and_grad(X, y)
    return network.params, network.predict_proba(X), network.evaluate(X, y), gradients.weights[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", FRAMES)
def test_frames_of_numbers_are_arrays(case, dtype):
    plain = PLAIN.astype("float32") if case == "nullable small" else PLAIN
    if "small" in case:
        plain = np.column_stack([AGE, SIZE.astype(np.float32), SICK])
    for mine, expected in zip(
        results(FRAMES[case], LABELS, dtype), results(plain, LABELS, dtype), strict=True
    ):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(LABELS),
        pd.Series(LABELS, index=range(N, 0, -1)),
        pd.Series(LABELS, dtype="Int64"),
        pd.Series(LABELS, dtype="int64[pyarrow]"),
        pd.Series(LABELS, dtype="boolean"),
        pd.Series(LABELS, dtype="category"),
        pd.DataFrame({"y": LABELS}),
        pl.Series("y", LABELS),
        pl.DataFrame({"y": LABELS}),
        pa.array(LABELS),
        pa.chunked_array([LABELS[:3], LABELS[3:]]),
    ],
    ids=lambda y: f"{type(y).__module__}.{type(y).__name__}",
)
def test_columns_are_targets_and_weights(y):
    expected = results(PLAIN, LABELS, "float32", np.ones(N))
    actual = results(PLAIN, y, "float32", pd.Series(np.ones(N), dtype="Float64"))
    for mine, plain in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(mine, plain)


def with_column(name, values):
    return pandas("int64", "Float64", "boolean").assign(**{name: values})


def missing(values, dtype):
    return pd.Series([None if i == 2 else v for i, v in enumerate(values)], dtype=dtype)


NULL = "column 'size' of X must have no missing values, got one in row 2; fill or drop them first."
NAN = "X must be finite, got nan in row 2, column 'size'."
KIND = "column 'size' of X must hold real numbers, got dtype "
BAD = {
    "NA": (with_column("size", missing(SIZE, "Float64")), NULL),
    "no int": (with_column("size", missing(AGE, "Int64")), NULL),
    "no bool": (with_column("size", missing(SICK, "boolean")), NULL),
    "Arrow null": (with_column("size", missing(SIZE, "double[pyarrow]")), NULL),
    "NaN": (with_column("size", missing(SIZE, "float64")), NAN),
    "NaN in floats": (PLAIN * np.where(np.arange(N) == 2, np.nan, 1)[:, None], "nan in row 2"),
    "text": (with_column("size", ["a"] * N), KIND),
    "digits": (with_column("size", [str(v) for v in AGE]), KIND),
    "object": (with_column("size", pd.Series([1, 2.5, *"abcdef"], dtype=object)), KIND + "object."),
    "objects": (with_column("size", pd.Series(list(AGE), dtype=object)), KIND + "object."),
    "date": (with_column("size", pd.date_range("2020-01-01", periods=N)), KIND + "datetime64["),
    "zone": (with_column("size", pd.date_range("2020-01-01", periods=N, tz="UTC")), KIND),
    "duration": (with_column("size", [datetime.timedelta(1)] * N), KIND + "timedelta64["),
    "category": (with_column("size", pd.Categorical(list("ab") * 4)), KIND + "category."),
    "category of numbers": (with_column("size", pd.Categorical(LABELS)), KIND + "category."),
    "complex": (with_column("size", SIZE + 1j), KIND + "complex128."),
    "decimal": (with_column("size", [decimal.Decimal(1)] * N), KIND + "object."),
    "overflow": (
        with_column("size", SIZE * np.where(np.arange(N) == 2, 1e300, 1)),
        "X must be finite in float32, got 9.285714285714286e+299 in row 2, column 'size'",
    ),
    "polars null": (
        pl.DataFrame({"age": AGE, "size": [1.0, 2.0, None] + [0.0] * 5, "sick": SICK}),
        NULL,
    ),
    "polars no bool": (
        pl.DataFrame({"age": AGE, "size": [True, False, None] + [True] * 5, "sick": SICK}),
        NULL,
    ),
    "polars NaN": (
        pl.DataFrame({"age": AGE, "size": [1.0, 2.0, np.nan] + [0.0] * 5, "sick": SICK}),
        NAN,
    ),
    "polars text": (pl.DataFrame({"age": AGE, "size": ["a"] * N, "sick": SICK}), KIND + "String."),
    "polars date": (
        pl.DataFrame({"age": AGE, "size": [datetime.date(2020, 1, 1)] * N, "sick": SICK}),
        KIND + "Date.",
    ),
    "polars category": (
        pl.DataFrame({"age": AGE, "size": pl.Series(["a"] * N, dtype=pl.Categorical), "c": SICK}),
        KIND,
    ),
    "Arrow text": (pa.table({"age": AGE, "size": ["a"] * N, "sick": SICK}), KIND),
    "Arrow NA": (pa.table({"age": AGE, "size": [1.0, 2, None] + [0.0] * 5, "sick": SICK}), NULL),
    "width": (pandas("int64", "Float64", "bool")[["age", "sick"]], "X must have 3 columns"),
    "empty": (pandas("int64", "Float64", "bool")[:0], "X must have at least one row"),
    "no columns": (pd.DataFrame(index=range(N)), "X must have 3 columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_number_is_named(case):
    X, message = BAD[case]
    network = Network((3, 4, 2), seed=0)
    for call in (
        lambda: network.predict(X),
        lambda: network.evaluate(X, LABELS),
        lambda: Trainer(network).fit(X, LABELS, progress=False),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_floats_of_one_kind_name_the_column_too():
    X = pandas("float32", "float32", "float32")
    X.loc[5, "sick"] = np.inf
    with pytest.raises(ValueError, match=re.escape("got inf in row 5, column 'sick'.")):
        Network((3, 2)).predict(X)


def test_targets_that_are_missing_or_text():
    network = Network((3, 4, 2), seed=0)
    for y in (pd.Series([0, 1, None] * 3, dtype="Int64")[:N], pl.Series([0, 1, None] * 3)[:N]):
        with pytest.raises(ValueError, match="y must have no missing values, got one in row 2"):
            network.loss(PLAIN, y)
    for y in (pd.Series(list("ab") * 4), pl.Series(list("ab") * 4), pd.Categorical(list("ab") * 4)):
        with pytest.raises(ValueError, match=r"y must hold real numbers, .* by Trainer\.fit"):
            network.loss(PLAIN, y)


KINDS = (
    "bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "boolean",
    "Int8", "UInt32", "Float32", "Float64", "bool[pyarrow]", "int16[pyarrow]", "float[pyarrow]",
    "Sparse[int64]", "Sparse[float32]",
)  # fmt: skip


@settings(max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5),
    gap=st.one_of(st.none(), st.tuples(st.integers(0, 4), st.integers(0, N - 1))),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_mix_of_columns(kinds, gap, dtype):
    numbers = np.random.default_rng(len(kinds)).integers(0, 2, (N, len(kinds)))
    columns = [pd.Series(numbers[:, j]).astype(kind) for j, kind in enumerate(kinds)]
    message = ""
    if gap is not None and gap[0] < len(kinds):
        j, row = gap
        kind = columns[j].dtype
        if not isinstance(kind, pd.SparseDtype) and (
            kind.kind == "f" or not isinstance(kind, np.dtype)
        ):
            columns[j][row] = np.nan if isinstance(kind, np.dtype) else None
            message = f"row {row}.*column 'c{j}'|column 'c{j}' of X .* row {row};"
    frame = pd.concat(columns, axis=1).set_axis([f"c{j}" for j in range(len(kinds))], axis=1)
    network = Network((len(kinds), 3, 2), dtype=dtype, seed=0)
    if message:
        with pytest.raises(ValueError, match=message):
            network.predict(frame)
    else:
        np.testing.assert_array_equal(network.predict_proba(frame), network.predict_proba(numbers))
