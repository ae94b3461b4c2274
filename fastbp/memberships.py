"""Which rows each network of an ensemble trains on, from what users give as groups or folds."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import checks
from fastbp.samples import checked_indices
from fastbp.splitting import Rows

_NUMBER_THEM = "; to number other keys, call numpy.unique(keys, return_inverse=True)"
_OF_MASKS = "; numpy.flatnonzero(mask) gives the numbers of a mask's rows"


def numbers_of(name: str, values: Any, n: int, n_rows: int) -> Rows:
    """One of n networks' numbers for each row."""
    return checked_indices(name, values, n, "numbers of networks", n_rows, _NUMBER_THEM)


def by_number(numbers_of_rows: Rows, n: int) -> list[Rows]:
    """The rows of each number, ascending."""
    order = np.argsort(numbers_of_rows, kind="stable")
    ends = np.cumsum(np.bincount(numbers_of_rows, minlength=n))
    return np.split(order, ends[:-1])


def rows_of_each(groups: Any, folds: Any, n: int, n_rows: int) -> list[Rows] | None:
    """The rows of each of n networks; None if all of them train on all rows.

    Raises
    ------
    ValueError
        If groups or folds are not what `Ensemble.fit` takes.
    """
    if groups is not None and folds is not None:
        raise ValueError("groups and folds must not both be given.")
    if groups is not None:
        return by_number(numbers_of("groups", groups, n, n_rows), n)
    return None if folds is None else _by_fold(folds, n, n_rows)


def _by_fold(folds: Any, n: int, n_rows: int) -> list[Rows]:
    entries = _entries(folds)
    if len(entries) > 0 and np.isscalar(entries[0]):
        return _without_fold(numbers_of("folds", entries, n, n_rows), n)
    if len(entries) != n:
        raise ValueError(
            f"folds must give rows for each of {n} networks, got {len(entries)} of them."
        )
    given = [entry[0] if _is_split(entry) else entry for entry in entries]
    return [
        checked_indices(f"folds[{k}]", rows, n_rows, "rows", hint=_OF_MASKS)
        for k, rows in enumerate(given)
    ]


def _entries(folds: Any) -> Any:
    """An array as it is, or a list of what an iterable yields."""
    if isinstance(folds, np.ndarray) and folds.ndim > 0:
        return folds
    try:
        return [*folds]
    except TypeError:
        raise ValueError(
            "folds must be a number for each row, or rows or a split for each network, got "
            f"{checks.shown(folds)}."
        ) from None


def _without_fold(fold_of_row: Rows, n: int) -> list[Rows]:
    """All rows but those of the network's own fold."""
    if (fold_of_row == fold_of_row[0]).all():
        k = fold_of_row[0]
        raise ValueError(f"folds must leave rows for network {k}, but all rows are of fold {k}.")
    return [np.flatnonzero(fold_of_row != k) for k in range(n)]


def _is_split(entry: Any) -> bool:
    """Whether it is a pair of arrays: rows to train on, and others."""
    return isinstance(entry, tuple) and len(entry) == 2 and not np.isscalar(entry[0])
