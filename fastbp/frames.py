"""Data frames and their columns, of pandas, polars, Arrow and whatever resembles them, as arrays.

None of these libraries is imported: their objects are recognised by their attributes.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Rows of a frame that are put together at a time.
_BLOCK = 4096


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


def chosen(frame: Any, names: Sequence[Any]) -> Any:
    """These columns of a frame, in this order."""
    return frame[list(names)] if hasattr(frame, "iloc") else frame.select(list(names))


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
    given = [
        _numbers(name, label, column)
        for label, column in zip(labels(frame), columns(frame), strict=True)
    ]
    dtype = np.result_type(*(column.dtype for column in given)) if given else np.float64
    array = np.empty((len(given[0]) if given else 0, len(given)), dtype)
    for start in range(0, len(array), _BLOCK):  # lines of the cache that are met again soon
        part = array[start : start + _BLOCK]
        for j, column in enumerate(given):
            part[:, j] = column[start : start + _BLOCK]
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


def columns(frame: Any) -> Sequence[Any]:
    """Columns of a frame, in their order."""
    if hasattr(frame, "iloc"):  # by position, because labels may repeat
        return [frame.iloc[:, j] for j in range(frame.shape[1])]
    found: Sequence[Any] = frame.get_columns() if hasattr(frame, "get_columns") else frame.columns
    return found


def _numbers(name: str, label: Any, column: Any) -> NDArray[Any]:
    where = f"column {label!r} of {name}"
    array = to_vector(where, column)
    dtype = getattr(column, "dtype", array.dtype)
    # A categorical column of numbers converts to them, but they are labels.
    if array.dtype.kind not in "biuf" or getattr(dtype, "kind", "f") not in "biuf":
        raise ValueError(f"{where} must hold real numbers, got dtype {dtype}.")
    return array


# Columns of any kind, with what is missing ------------------------------------------------------


class Values(NamedTuple):
    """A column as plain arrays."""

    kind: str
    """number, truth, text, or nothing if all of it is missing."""
    entries: NDArray[Any]
    """float64, or str objects for text. An entry that is missing is NaN or None."""
    missing: NDArray[np.bool_]


_NUMBERS = ("int8", "int16", "int32", "int64", "uint", "float", "double", "halffloat", "decimal")
_DATES = ("date", "time", "duration", "month_day_nano", "period")
_CATEGORIES = ("category", "categorical", "enum", "dictionary")
_MISSING = ("NoneType", "NAType", "NaTType")


def values(name: str, column: Any) -> Values:
    """A column of a frame or of an array.

    Raises
    ------
    ValueError
        If it holds dates, a mixture, or anything but numbers, truth values and text; the message
        names it.
    """
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    text, kind = str(dtype).lower(), getattr(dtype, "kind", "")
    if kind in ("M", "m") or text.startswith(_DATES):
        raise ValueError(_no_dates(name))
    is_category = text.startswith(_CATEGORIES)
    is_truth = kind == "b" or text.startswith("bool")
    if not (is_truth or kind in ("i", "u", "f") or text.startswith(_NUMBERS)) or is_category:
        return _of_objects(name, _listed(column), is_category)
    entries = _floats(column)
    missing = np.isnan(entries)
    kind = "nothing" if missing.all() else "truth" if is_truth else "number"
    return Values(kind, entries, missing)


def _floats(column: Any) -> NDArray[np.float64]:
    """Numbers or truth values, NaN where they are missing."""
    if hasattr(column, "isna"):  # pandas
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    if hasattr(column, "to_pylist"):  # Arrow
        column = column.cast("double", safe=False)
    elif not isinstance(column, np.ndarray):  # polars
        column = column.cast(float)
    return np.asarray(column, np.float64)


def _listed(column: Any) -> list[Any]:
    names = ("to_pylist", "to_list", "tolist")  # Arrow's; pandas' and polars'; NumPy's
    entries: list[Any] = next(getattr(column, each) for each in names if hasattr(column, each))()
    return entries


def _of_objects(name: str, entries: list[Any], is_category: bool) -> Values:
    missing = np.array([type(e).__name__ in _MISSING or _is_nan(e) for e in entries], bool)
    present = [entry for entry, gone in zip(entries, missing, strict=True) if not gone]
    kinds = {_kind(entry) for entry in set(map(type, present))}
    if is_category and present and "date" not in kinds:
        present, kinds = list(map(str, present)), {"text"}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} must hold numbers or text throughout, got {_shown_kinds(present)}."
        )
    kind = kinds.pop() if kinds else "nothing"
    if kind == "date":
        raise ValueError(_no_dates(name))
    if kind == "other":
        raise ValueError(
            f"{name} must hold numbers, truth values or text, got {type(present[0]).__name__}."
        )
    if kind == "text":
        found = np.full(len(entries), None, object)
        found[~missing] = list(map(str, present))
        return Values(kind, found, missing)
    numbers_found = np.full(len(entries), np.nan)
    try:
        numbers_found[~missing] = present
    except OverflowError:
        raise ValueError(
            f"{name} must hold numbers of a size below 1.8e308, got an integer beyond."
        ) from None
    return Values(kind, numbers_found, missing)


def _is_nan(entry: Any) -> bool:
    if isinstance(entry, Decimal):
        return entry.is_nan()
    return isinstance(entry, (float, np.floating)) and bool(entry != entry)


def _kind(cls: type) -> str:
    """What entries of a class are."""
    if issubclass(cls, str):
        return "text"
    if issubclass(cls, (bool, np.bool_)):
        return "truth"
    if issubclass(cls, (numbers.Real, Decimal)):
        return "number"
    dates = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
    return "date" if issubclass(cls, dates) or cls.__name__ == "Period" else "other"


def _shown_kinds(present: list[Any]) -> str:
    """One entry of each class."""
    examples = {_kind(type(entry)): entry for entry in present}
    return " and ".join(f"{str(entry)[:50]!r}" for entry in examples.values())


def _no_dates(name: str) -> str:
    return (
        f"{name} holds dates or times, which a network cannot take: make numbers of them, such as "
        "the year, the hour, or the days since some day, or leave the column out."
    )
