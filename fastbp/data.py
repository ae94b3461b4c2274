"""Rows to learn from: raw inputs, targets, and what says which rows belong together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import datasets, tables


class Data(NamedTuple):
    """Inputs and targets of the same rows, none of them without a target."""

    X: Any
    """A `pyarrow.Table`, or an array of shape (n, n_inputs)."""
    y: NDArray[Any]
    """Labels or numbers, (n,) or (n, n_outputs)."""
    X_test: Any = None
    """Inputs of the test part, where the data come with one."""
    y_test: NDArray[Any] | None = None
    """Its targets."""
    groups: NDArray[Any] | None = None
    """What rows have in common that must come into one part."""
    times: NDArray[Any] | None = None
    """By which rows are sorted before they are cut into parts."""
    name: str = "the target"
    """How messages call the targets: the name of their column."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data, a sentence each."""

    @property
    def has_test(self) -> bool:
        """Whether there is a test part already."""
        return self.y_test is not None

    def __repr__(self) -> str:
        test = "" if self.y_test is None else f", {len(self.y_test):,} rows to test"
        return f"Data({len(self.y):,} rows, {self.X.shape[1]:,} columns, {self.name}{test})"

    def rows(self, rows: NDArray[np.int64]) -> tuple[Any, NDArray[Any]]:
        """Inputs and targets of some rows."""
        return take(self.X, rows), self.y[rows]


def take(X: Any, rows: NDArray[np.int64]) -> Any:
    """These rows of a table or an array."""
    return X.take(rows) if hasattr(X, "take") and hasattr(X, "column_names") else X[rows]


def read(
    source: str | os.PathLike[str],
    target: str | None = None,
    *,
    group: str | None = None,
    time: str | None = None,
    keep_time: bool = False,
    **reading: Any,
) -> Data:
    """Read data from a file, or the bundled digits.

    Parameters
    ----------
    source : str or path-like
        What `fastbp.read_table` or `fastbp.load_dataset` reads.
    target : str, optional
        Column to predict; the bundled digits and arrays have targets of their own.
    group : str, optional
        As of `from_table`.
    time : str, optional
        Likewise.
    keep_time : bool, default False
        Likewise.
    **reading
        Further arguments of `fastbp.read_table`.

    Returns
    -------
    Data
        With inputs and targets.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not what it should be, or has no such column, or no targets.
    """
    named = [name for name in (target, group, time) if name is not None]
    if os.fspath(source) == "-" or tables.is_table(source):
        if reading.get("columns") is not None:
            reading["columns"] = tuple(dict.fromkeys([*reading["columns"], *named]))
        found = tables.read(source, tables.Options(**reading), keep=named)
        made = from_table(found.table, target, group=group, time=time, keep_time=keep_time)
        return made._replace(notes=(*found.notes, *made.notes))
    for name, value in {"group": group, "time": time, **reading}.items():
        if value not in (None, (), True):
            raise ValueError(f"{name} is for tables, and {source} is none.")
    dataset = datasets.read(source, target)
    if dataset.y is None:
        hint = "there is no array y"
        if os.fspath(source).lower().endswith(".npy"):
            hint = "name their column with --target, by its number: 0 is the first, -1 the last"
        raise ValueError(f"{source}: training needs targets; {hint}.")
    return from_arrays(dataset.X, dataset.y, dataset.X_test, dataset.y_test)


def from_arrays(X: Any, y: Any, X_test: Any = None, y_test: Any = None) -> Data:
    """Data of arrays; a test part has both inputs and targets.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_inputs)
        Inputs; frames and sparse matrices as well.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    X_test : array-like of shape (n_test, n_inputs), optional
        Inputs of a test part of its own.
    y_test : array-like, optional
        Its targets.

    Returns
    -------
    Data
        With inputs and targets.
    """
    return Data(X, column(y), *((X_test, column(y_test)) if y_test is not None else ()))


def joined(parts: Sequence[Any]) -> Any:
    """Tables or arrays, one below the other."""
    if hasattr(parts[0], "column_names"):
        import pyarrow

        return pyarrow.concat_tables(parts, promote_options="permissive")
    return np.concatenate(parts)


def column(y: Any) -> Any:
    """Targets as an array, whose only column is no dimension; None stays None."""
    if y is None:
        return None
    array = np.asarray(y)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return array if array.dtype != bool else TRUTH[array.astype(np.int64)]


TRUTH = np.array(["false", "true"])
"""Labels of truth values."""


def from_table(
    table: Any,
    target: str | None,
    *,
    group: str | None = None,
    time: str | None = None,
    keep_time: bool = False,
) -> Data:
    """Data of a table.

    Parameters
    ----------
    table : pyarrow.Table or data frame
        All columns that are not named below are inputs.
    target : str
        Column to predict. Rows without a value in it are left out, with a note.
    group : str, optional
        Column of what rows have in common that must come into one part. It is no input.
    time : str, optional
        Column of numbers or dates to sort by. It is no input, unless ``keep_time`` is true.
    keep_time : bool, default False

    Returns
    -------
    Data
        With inputs and targets.

    Raises
    ------
    ValueError
        If there is no such column, or no input besides; or a group or time is missing.
    """
    table = tables.from_frame(table).table
    columns = [str(name) for name in table.column_names]
    if target is None:
        raise ValueError(
            f"training needs targets; name one of its columns with --target: {', '.join(columns)}."
        )
    named = [name for name in (target, group, time) if name is not None]
    for name in named:
        if name not in columns:
            raise ValueError(f"{tables.no_column(name, columns)}.")
    if len(set(named)) < len(named):
        raise ValueError("the target, the group and the time must be columns of their own.")
    notes: tuple[str, ...] = ()
    known = ~missing(table.column(target))
    if not known.all():
        lost = len(known) - int(known.sum())
        notes += (f"{target} is missing in {lost:,} of {len(known):,} rows, which are left out.",)
        table = table.filter(known)
    others = [name for name in columns if name not in named or (keep_time and name == time)]
    if not others:
        raise ValueError(f"no columns besides {', '.join(map(repr, named))} to learn from.")
    inputs = table.select(others)
    return Data(
        inputs,
        values(table.column(target), target),
        groups=None if group is None else _complete(table, group),
        times=None if time is None else _times(table, time),
        name=target,
        notes=(*notes, *_of_names(inputs)),
    )


def _of_names(table: Any) -> list[str]:
    """A sentence on each text column that says little but which row it is."""
    notes = []
    for name in table.column_names if len(table) >= _FEW else ():
        column = table.column(name)
        if str(column.type) == "string" and (n_values := len(column.unique())) > len(table) / 2:
            notes.append(
                f"{name} has {n_values:,} texts in {len(table):,} rows; if they only name the "
                f"rows, leave it out: --drop {name}."
            )
    return notes


# Rows from which on a column of as many texts is suspicious.
_FEW = 20


def missing(column: Any) -> NDArray[np.bool_]:
    """Which entries of a column of an Arrow table have no value."""
    absent: NDArray[np.bool_] = column.is_null(nan_is_null=True).to_numpy()
    return absent


def values(given: Any, name: str) -> Any:
    """Targets in a column of an Arrow table, none of them missing: labels or numbers.

    Raises
    ------
    ValueError
        If they are dates, or something else that cannot be learned.
    """
    kind = str(given.type)
    if kind.startswith(("date", "timestamp", "time", "duration")):
        raise ValueError(
            f"the target {name} holds dates; make a number of it, such as days since some day."
        )
    if kind.startswith("decimal"):
        given = given.cast("float64")
    array: NDArray[Any] = given.to_numpy()
    if array.dtype == object:
        array = np.array(given.to_pylist())
    if array.ndim != 1 or array.dtype.kind not in "biufU":
        raise ValueError(f"the target {name} must hold text or numbers, got {kind}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"the target {name} must be finite, got {array[~np.isfinite(array)][0]}.")
    return column(array)


def _complete(table: Any, name: str) -> NDArray[Any]:
    """A column by which rows are split, which must not have gaps."""
    column = table.column(name)
    if count := int(missing(column).sum()):
        raise ValueError(
            f"{name}, by which rows are to be split, is missing in {count:,} of {len(column):,} "
            "rows; fill it or leave these rows out."
        )
    array: NDArray[Any] = column.to_numpy()
    return np.array(column.to_pylist()) if array.dtype == object else array


def _times(table: Any, name: str) -> NDArray[Any]:
    """Numbers or dates; texts would be sorted by their letters."""
    found = _complete(table, name)
    if found.dtype.kind not in "iufmM":
        raise ValueError(
            f"the time {name} must hold numbers or dates such as 2024-12-31, got {found[0]!s}."
        )
    return found
