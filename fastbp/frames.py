"""Data frames and their columns, of pandas, polars, Arrow and whatever resembles them, as arrays.

None of these libraries is imported: their objects are recognised by their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_frame(values: Any) -> bool:
    """Whether it is a table of named columns."""
    return hasattr(values, "columns") and any(
        hasattr(values, name) for name in ("iloc", "get_columns", "column_names")
    )


def is_series(values: Any) -> bool:
    """Whether it is a column of such a table."""
    return hasattr(values, "to_numpy") and any(
        hasattr(values, name) for name in ("isna", "is_null")
    )


def labels(frame: Any) -> list[Any]:
    """Names of the columns."""
    return list(getattr(frame, "column_names", frame.columns))


def to_array(name: str, frame: Any) -> NDArray[Any]:
    """Numbers of a frame, in a dtype that can hold those of all columns.

    Raises
    ------
    ValueError
        If a column does not hold real numbers, or a value is missing; the message names it.
    """
    kinds = set(frame.dtypes) if hasattr(frame, "dtypes") else set()
    if len(kinds) == 1 and isinstance(kind := kinds.pop(), np.dtype) and kind.kind in "biuf":
        return np.asarray(frame)
    columns = [
        _numbers(name, label, column)
        for label, column in zip(labels(frame), _columns(frame), strict=True)
    ]
    dtype = np.result_type(*(column.dtype for column in columns)) if columns else np.float64
    array = np.empty((len(columns[0]) if columns else 0, len(columns)), dtype)
    for j, column in enumerate(columns):
        array[:, j] = column
    return array


def to_vector(name: str, series: Any) -> NDArray[Any]:
    """Entries of a column.

    Raises
    ------
    ValueError
        If one is missing.
    """
    if not isinstance(getattr(series, "dtype", None), np.dtype):  # whose only missing value is NaN
        missing = np.asarray(series.isna() if hasattr(series, "isna") else series.is_null())
        if missing.any():
            raise ValueError(
                f"{name} must have no missing values, got one in row {int(np.argmax(missing))}; "
                "fill or drop them first."
            )
    try:
        return np.asarray(series)
    except Exception as error:  # each library has errors of its own
        raise ValueError(f"{name} must hold real numbers: {error}.") from error


def _columns(frame: Any) -> Sequence[Any]:
    if hasattr(frame, "iloc"):  # by position, because labels may repeat
        return [frame.iloc[:, j] for j in range(frame.shape[1])]
    columns: Sequence[Any] = frame.get_columns() if hasattr(frame, "get_columns") else frame.columns
    return columns


def _numbers(name: str, label: Any, column: Any) -> NDArray[Any]:
    where = f"column {label!r} of {name}"
    array = to_vector(where, column)
    dtype = getattr(column, "dtype", array.dtype)
    # A categorical column of numbers converts to them, but they are labels.
    if array.dtype.kind not in "biuf" or getattr(dtype, "kind", "f") not in "biuf":
        raise ValueError(f"{where} must hold real numbers, got dtype {dtype}.")
    return array
