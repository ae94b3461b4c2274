"""From the rows that people have to what networks learn: numbers of unit size, none missing.

>>> import numpy as np
>>> from fastbp import Preparation
>>> preparation = Preparation().fit(np.array([[1.0, 200.0], [3.0, 400.0]]))
>>> preparation.transform([[2.0, 400.0]])
array([[0., 1.]], dtype=float32)

What is done is what scikit-learn's StandardScaler, SimpleImputer and OneHotEncoder do, and tests
compare them. It is a module of its own because a model file keeps it as plain JSON, never as a
pickle, and because whoever predicts from that file needs no scikit-learn.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastbp import checks, frames, kernels, sparse
from fastbp.frames import Values
from fastbp.mapped import loaded
from fastbp.pieces import begun, checked_source, placed, raw
from fastbp.samples import FloatArray
from fastbp.summaries import ColumnSummary, Spread, spread_of

_KIND_NAMES = {"number": "numbers", "truth": "truth values", "text": "text"}
_PIXEL = 255.0
# Rows that are converted at a time, so that a table of numbers is never held twice in float64.
_BLOCK = 4096


class Column(NamedTuple):
    """What is done to a column. All fields are plain values, and go into a model file as they are.

    A number x becomes (x − mean) / scale, a truth value 0 or 1, a text one of `values` or of
    `buckets` ones and zeros. Where `missing` is set, another 0 or 1 tells whether it was missing.
    """

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    """What stands for a missing number: the median, or the mean of a stream."""
    missing: bool = False
    """Whether values were missing in the rows that it was fitted to."""
    values: tuple[str, ...] = ()
    buckets: int = 0
    """If above 0, texts are sorted into so many by a hash."""

    @property
    def width(self) -> int:
        """Inputs of the network that it becomes."""
        of_text = self.buckets or len(self.values)
        return (of_text if self.kind == "text" else 1) + self.missing

    @property
    def names(self) -> list[str]:
        """One for each of them."""
        own = [self.name]
        if self.kind == "text":
            own = [f"{self.name}={value}" for value in self.values]
            own += [f"{self.name}#{k}" for k in range(self.buckets)]
        return [*own, f"{self.name} missing"] if self.missing else own


class Preparation:
    """Turns raw rows into inputs of a network, and regression targets into numbers of unit size.

    - Numbers: the mean is subtracted, and the result divided by the standard deviation. A missing
      one becomes the median; if there are any in the fitted rows, an input tells where.
    - Truth values: 0 and 1; a missing one is 0, and marked like a missing number.
    - Text and categories: an input for each value, 1 where the row has it. A value that the fitted
      rows do not have gives 0 in all of them; so does a missing one, which is marked as well.
    - Pixels, which are arrays of uint8: divided by 255.
    - Dates are refused: make numbers of them, such as the year, or days since some day.

    Give it to ``Network(..., preparation=...)``, which then takes raw rows everywhere.

    Parameters
    ----------
    scale : bool, default True
        Whether to standardise numbers and targets. What is missing is filled in, and text is
        encoded, either way.
    hashed : sequence of str
        Text columns of many values: each text goes to one of 32 inputs by a hash, and values that
        were never seen do too.
    most_values : int, default 100
        A text column with more values is refused, unless it is hashed.

    Attributes
    ----------
    columns : tuple of str
        Names of the raw columns; x0, x1, … of an array.
    names : tuple of str
        Names of the inputs: ``area``, ``area missing``, ``city=Paris``.
    n_inputs : int
        Their number.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"area": [50, 70, None], "city": ["Paris", "Lyon", "Paris"]})
    >>> preparation = Preparation().fit(X)
    >>> preparation.names
    ('area', 'area missing', 'city=Lyon', 'city=Paris')
    >>> preparation.transform(X)
    array([[-1.2247449,  0.       ,  0.       ,  1.       ],
           [ 1.2247449,  0.       ,  1.       ,  0.       ],
           [ 0.       ,  1.       ,  0.       ,  1.       ]], dtype=float32)
    """

    _BUCKETS = 32

    def __init__(
        self, *, scale: bool = True, hashed: Sequence[str] = (), most_values: int = 100
    ) -> None:
        self.scale = checks.flag("scale", scale)
        self.hashed = checks.texts("hashed", hashed)
        self.most_values = checks.integer("most_values", most_values, 1)
        self._columns: tuple[Column, ...] = ()
        self._is_named = False
        self._target: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    # Fitting ------------------------------------------------------------------------------------

    def fit(self, X: Any, y: ArrayLike | None = None) -> Preparation:
        """Learn means, scales and values from these rows, which should be the training rows alone.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_columns)
            Numbers, truth values, text; None and NaN are missing values.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Targets of a regression. Leave classes out, for they are not scaled.

        Returns
        -------
        Preparation
            Itself.

        Raises
        ------
        ValueError
            If X is sparse; if a column holds dates, infinity or a mixture, has too many values, or
            none; or if y does not hold finite numbers. The message names the column.
        """
        named, columns = _columns_of(X)
        self._check_hashed(columns)
        if getattr(X, "dtype", None) == np.uint8:
            fitted = tuple(Column(name, "number", scale=_PIXEL) for name in columns)
        else:
            fitted = tuple(
                self._fitted(name, _values(name, column)) for name, column in columns.items()
            )
        self._refuse_many({column.name: len(column.values) for column in fitted})
        target = None if y is None else _fitted_target(y, len(X), self.scale)
        self._is_named, self._columns, self._target = named, fitted, target
        return self

    def fit_stream(self, source: Any, *, targets: bool = False) -> Preparation:
        """`fit` to rows that come in pieces, in one pass: such as those of `Trainer.fit_stream`.

        Means and standard deviations of the pieces are merged, which changes them by rounding only.
        A missing number becomes the mean, for the median cannot be merged.

        Parameters
        ----------
        source : iterable, or callable
            As of `Trainer.fit_stream`; weights have no effect, and y may be None.
        targets : bool, default False
            Whether y is the targets of a regression, which are scaled, too.

        Returns
        -------
        Preparation
            Itself.

        Raises
        ------
        ValueError
            As `fit`; or if a piece has other columns than the first one. The message says which.
        """
        checks.flag("targets", targets)
        made = begun(checked_source(source), 0)
        found, named, are_pixels = dict[str, ColumnSummary](), False, True
        spreads: list[Spread] = []
        for piece in raw(made):
            with placed(piece.place):
                named, columns = _columns_of(loaded(piece.X))
                are_pixels &= getattr(piece.X, "dtype", None) == np.uint8
                found = found or {name: ColumnSummary() for name in columns}
                if {*columns} != {*found}:
                    raise ValueError(
                        f"X must have the columns of the first piece, {checks.shown([*found])}; "
                        f"got {checks.shown([*columns])}."
                    )
                for name, column in columns.items():
                    self._add(found[name], name, _values(name, column))
                self._refuse_many({name: len(each.texts) for name, each in found.items()})
                if targets:
                    its = [
                        spread_of(each)
                        for each in _target_columns(piece.y, len(next(iter(columns.values()))))
                    ]
                    if spreads and len(its) != len(spreads):
                        raise ValueError(
                            f"y must have {len(spreads)} columns as in the first piece, got "
                            f"{len(its)}."
                        )
                    pairs = zip(spreads or its, its, strict=True)
                    spreads = [mine.merged(each) if spreads else each for mine, each in pairs]
        if not found:
            raise ValueError("source must give at least one row, got none.")
        self._check_hashed(found)
        if are_pixels:
            fitted = tuple(Column(name, "number", scale=_PIXEL) for name in found)
        else:
            fitted = tuple(self._of_summary(name, each) for name, each in found.items())
        self._is_named, self._columns = named, fitted
        self._target = _shift_and_scale(spreads, self.scale) if targets else None
        return self

    def _check_hashed(self, columns: Mapping[str, Any]) -> None:
        if unknown := [name for name in self.hashed if name not in columns]:
            hint = checks.nearest(unknown[0], columns)
            raise ValueError(f"hashed names {unknown[0]!r}, which is no column of X{hint}.")

    def _refuse_many(self, counts: Mapping[str, int]) -> None:
        """Refuse columns of text with too many values."""
        many = {name: n for name, n in counts.items() if n > self.most_values}
        if many:
            listed = ", ".join(f"{name!r} ({n:,})" for name, n in many.items())
            raise ValueError(
                f"X has text columns of more than {self.most_values} values: {listed}; leave "
                "such a column out, or name it in hashed (--drop and --hashed of the command line)."
            )

    def _add(self, summary: ColumnSummary, name: str, given: Values) -> None:
        """Count a piece of a column."""
        if given.kind == "number":
            _refuse_infinity(name, given)
        other = summary.add(given)
        if other:
            raise ValueError(
                f"column {name!r} of X must hold {_KIND_NAMES[other]} as in the pieces before, "
                f"got {_KIND_NAMES[given.kind]}."
            )
        if name in self.hashed:
            summary.texts.clear()

    def _fitted(self, name: str, given: Values) -> Column:
        """What is to be done to a column, so that it can be done to others."""
        summary = ColumnSummary()
        self._add(summary, name, given)
        column = self._of_summary(name, summary)
        if column.kind == "number":
            # Of all numbers at once the median is known, and moments are, to the last bit.
            present = given.entries[~given.missing]
            fill = _median(present)
            column = column._replace(fill=fill)
            if self.scale:
                filled = np.where(given.missing, fill, given.entries)
                spread = spread_of(filled if column.missing else present)
                column = column._replace(mean=spread.mean, scale=spread.scale)
        return column

    def _of_summary(self, name: str, found: ColumnSummary) -> Column:
        """What is to be done to a column of which a summary is known."""
        is_missing = found.missing > 0
        if found.kind == "nothing":
            raise ValueError(f"column {name!r} of X has no values; leave it out.")
        if name in self.hashed and found.kind != "text":
            raise ValueError(f"hashed names {name!r}, which holds no text.")
        if found.kind == "text":
            buckets = self._BUCKETS if name in self.hashed else 0
            texts = tuple(sorted(found.texts))
            return Column(name, "text", missing=is_missing, values=texts, buckets=buckets)
        if found.kind == "truth":
            return Column(name, "truth", missing=is_missing)
        assert found.spread is not None
        fill = found.spread.mean
        mean, scale = (fill, found.deviation()) if self.scale else (0.0, 1.0)
        return Column(name, "number", mean, scale, fill, is_missing)

    # Use ----------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the raw columns."""
        return tuple(column.name for column in self._columns)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of those that hold text."""
        return tuple(column.name for column in self._columns if column.kind == "text")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(name for column in self._columns for name in column.names)

    @property
    def n_inputs(self) -> int:
        """Inputs of the network."""
        return sum(column.width for column in self._columns)

    @property
    def scales_targets(self) -> bool:
        """Whether it was fitted to targets too."""
        return self._target is not None

    def transform(self, X: Any, dtype: DTypeLike = "float32", name: str = "X") -> FloatArray:
        """Inputs of the network, (n_samples, n_inputs).

        Columns of a frame are found by name, in any order, and further ones are left alone; those
        of an array are taken in their order.

        Parameters
        ----------
        X : array-like or data frame
            Raw rows.
        dtype : {"float32", "float64"}, default "float32"
        name : str
            What messages call X.

        Returns
        -------
        array of shape (n_samples, n_inputs)
            Of that dtype.

        Raises
        ------
        ValueError
            If it was not fitted; if a column is missing or of another kind than in the fitted
            rows; or if a number is infinite, or so far off that it overflows in the dtype.
        """
        self._check_fitted()
        kind = checks.dtype(dtype)
        if (numbers := self._plain_numbers(X)) is not None:
            return self._scaled(numbers, kind, name)
        named, found = _columns_of(X, name)
        matched = self._matched(named, found, name)
        given = [_values(label, column, name) for label, column in matched]
        n = len(given[0].missing) if given else 0
        out = np.zeros((n, self.n_inputs), kind)
        start = 0
        for column, values in zip(self._columns, given, strict=True):
            stop = start + column.width
            _fill(column, values, out[:, start:stop], name)
            start = stop
        return out

    def unseen(self, X: Any) -> dict[str, int]:
        """In how many rows each text column has a value that the fitted rows did not have.

        Columns without such rows are left out, and so are hashed ones, which take any value.
        """
        if not self.text_columns:
            return {}
        counts = {}
        for column, (label, given) in zip(
            self._columns, self._matched(*_columns_of(X), "X"), strict=True
        ):
            if column.kind == "text" and not column.buckets:
                values = _values(label, given, "X")
                if values.kind == "text":
                    unknown = (_places(column, values.entries) < 0) & ~values.missing
                    counts[column.name] = int(unknown.sum())
        return {name: n for name, n in counts.items() if n}

    def fit_transform(self, X: Any, y: ArrayLike | None = None) -> FloatArray:
        """``fit(X, y).transform(X)``.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_columns)
            Raw rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Targets of a regression.

        Returns
        -------
        array of shape (n_samples, n_inputs)
            In float32.
        """
        return self.fit(X, y).transform(X)

    def transform_target(self, y: ArrayLike, name: str = "y") -> NDArray[np.float64]:
        """Targets as the network learns them, in the shape of y; unchanged if none were fitted.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets in their own unit.
        name : str
            What messages call y.

        Returns
        -------
        array
            Standardised.
        """
        values = _targets(y, name)
        if self._target is None:
            return values
        mean, scale = self._target
        columns = 1 if values.ndim == 1 else values.shape[1]
        if columns != len(mean):
            raise ValueError(f"{name} must have {len(mean)} columns as in fit, got {columns}.")
        with np.errstate(over="ignore"):
            scaled: NDArray[np.float64] = (values.reshape(len(values), -1) - mean) / scale
        return scaled.reshape(values.shape)

    def restore_target(self, outputs: FloatArray) -> NDArray[Any]:
        """Outputs of the network in the unit of y, as float64; unchanged if no y was fitted.

        Parameters
        ----------
        outputs : array of shape (n_samples,) or (n_samples, n_outputs)
            Of the network.

        Returns
        -------
        array of that shape
            In the unit of y.
        """
        if self._target is None:
            return outputs
        mean, scale = self._target
        values: NDArray[np.float64] = np.asarray(outputs, np.float64)
        return (values.reshape(len(values), -1) * scale + mean).reshape(values.shape)

    def _check_fitted(self) -> None:
        if not self._columns:
            raise ValueError("preparation must be fitted first: call its fit with training rows.")

    def check_fits(self, n_inputs: int, n_outputs: int, loss: str) -> None:
        """Refuse a network that it is not for."""
        self._check_fitted()
        if self.n_inputs != n_inputs:
            raise ValueError(
                f"sizes must begin with {self.n_inputs}, the inputs that the preparation gives; "
                f"got {n_inputs}."
            )
        if self._target is None:
            return
        if loss in kernels.CLASSIFICATION:
            raise ValueError(
                f"preparation must be fitted to X alone for the loss {loss}: leave y out."
            )
        if len(self._target[0]) != n_outputs:
            raise ValueError(
                f"sizes must end with {len(self._target[0])}, the targets that the preparation "
                f"was fitted to; got {n_outputs}."
            )

    def _plain_numbers(self, X: Any) -> NDArray[Any] | None:
        """X if it is an array of numbers for columns of nothing else, as it is computed at once."""
        is_array = type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "iuf"
        if not is_array or X.shape[1] != len(self._columns):
            return None
        return X if all(column[1] == "number" for column in self._columns) else None

    def _scaled(self, X: NDArray[Any], kind: np.dtype[Any], name: str) -> FloatArray:
        """Numbers alone, a block of rows at a time."""
        names, _, mean, scale, fill, missing, *_ = zip(*self._columns, strict=True)
        starts = np.cumsum([0, *(column.width for column in self._columns)])[:-1]
        out = np.zeros((len(X), self.n_inputs), kind)
        marked = np.flatnonzero(missing)
        for first in range(0, len(X), _BLOCK):
            block = X[first : first + _BLOCK].astype(np.float64)
            is_missing = np.isnan(block)
            if is_missing.any():
                block = np.where(is_missing, fill, block)
            block -= mean
            block /= scale
            with np.errstate(over="ignore", under="ignore"):
                part = out[first : first + _BLOCK]
                part[:, starts] = block
                part[:, starts[marked] + 1] = is_missing[:, marked]
            if not np.isfinite(part).all():
                row, place = np.argwhere(~np.isfinite(part[:, starts]))[0]
                _refuse(name, names[place], X[first + row, place], first + row, kind)
        return out

    def _matched(self, named: bool, found: dict[str, Any], name: str) -> list[tuple[str, Any]]:
        """The column that belongs to each of ours."""
        if named and self._is_named:
            if absent := [each for each in self.columns if each not in found]:
                hint = checks.nearest(absent[0], found)
                raise ValueError(
                    f"{name} must have the column {absent[0]!r}{hint}; its columns are "
                    f"{checks.shown(', '.join(map(str, found)))}."
                )
            return [(each, found[each]) for each in self.columns]
        if len(found) != len(self._columns):
            raise ValueError(
                f"{name} must have {len(self._columns)} columns, {checks.shown(self.columns)}; "
                f"got {len(found)}."
            )
        return list(found.items())

    # Text ---------------------------------------------------------------------------------------

    def described(self) -> dict[str, Any]:
        """All of it as JSON can hold it; `from_description` makes an equal one."""
        target = self._target and {
            "mean": self._target[0].tolist(),
            "scale": self._target[1].tolist(),
        }
        return {
            "scale": self.scale,
            "hashed": list(self.hashed),
            "most_values": self.most_values,
            "named": self._is_named,
            "columns": [_short(column) for column in self._columns],
            "target": target,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Preparation:
        """The preparation that `described` had, whose types in JSON have been checked.

        Raises
        ------
        ValueError
            If no preparation has such values.
        """
        new = cls(
            scale=description["scale"],
            hashed=description["hashed"],
            most_values=description["most_values"],
        )
        columns = [_restored(i, fields) for i, fields in enumerate(description["columns"])]
        if len({column.name for column in columns}) != len(columns):
            raise ValueError("preparation.columns must have different names")
        new._columns = tuple(columns)
        new._is_named = description["named"]
        if (target := description["target"]) is not None:
            mean, scale = (np.array(target[each], np.float64) for each in ("mean", "scale"))
            is_right = np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()
            if mean.shape != scale.shape or len(mean) == 0 or not is_right:
                raise ValueError("preparation.target must have finite means and scales above 0")
            new._target = mean, scale
        return new

    def summary(self) -> str:
        """A line for each raw column, and one for the targets.

        Returns
        -------
        str
            It has a line for each.
        """
        lines = [_line(column) for column in self._columns] or ["not fitted yet"]
        if self._target is not None:
            for mean, scale in zip(*self._target, strict=True):
                lines.append(f"target: minus {mean:.6g}, by {scale:.6g}")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preparation) and self.described() == other.described()

    __hash__ = None  # type: ignore[assignment]  # equal ones may change

    def __repr__(self) -> str:
        given = [] if self.scale else ["scale=False"]
        given += [f"hashed={self.hashed!r}"] if self.hashed else []
        given += [] if self.most_values == 100 else [f"most_values={self.most_values}"]
        return f"Preparation({', '.join(given)})"


# Rows without a preparation ---------------------------------------------------------------------


class Prepared(np.ndarray[Any, Any]):
    """Inputs that a preparation has made already, such as on another machine: a view of an array.

    `Network.prepared` leaves them as they are.
    """


class ScaleWarning(UserWarning):
    """Inputs or targets are far from unit size, so that steps hardly help or diverge."""


# With the learning rate 0.01, plain SGD on one linear layer diverges for rows of a norm above 14.
_UNIT = 0.01, 20.0
_LARGEST_TARGETS = 100.0
_MOST_LOOKED_AT = 1 << 14


@np.errstate(all="ignore")
def scale_hint(samples: kernels.Samples, loss: str) -> str:
    """What to do about samples that are far from unit size; "" if they are not.

    A few rows are looked at, evenly spaced. Sparse rows are never standardised.
    """
    low, high = _UNIT
    if not samples.inputs.is_sparse:
        sizes = _sizes(samples.inputs.X)
        j = int(np.argmax(sizes))
        if sizes[j] > high or 0 < sizes[j] < low:
            return (
                f"column {j} of X has numbers of the size {sizes[j]:.3g}, and a network learns best"
                f" from {low:g} to {high:g}: scale them, by Network(..., preparation="
                "fastbp.Preparation().fit(X)), or by fastbp.sklearn in a pipeline with "
                "StandardScaler."
            )
    if loss not in kernels.CLASSIFICATION and loss != "poisson":
        largest = float(np.max(_sizes(samples.targets)))
        if largest > _LARGEST_TARGETS:
            return (
                f"y has numbers of the size {largest:.3g}, and a network learns best from about 1: "
                "scale them, by Network(..., preparation=fastbp.Preparation().fit(X, y)), which "
                "predicts in the unit of y."
            )
    return ""


def _sizes(rows: FloatArray) -> NDArray[np.float64]:
    """Root of the mean square of each column."""
    n, width = rows.shape
    step = max(1, n * width // _MOST_LOOKED_AT)
    some = rows[::step].astype(np.float64)
    sizes: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->j", some, some) / len(some))
    return sizes


# Columns ----------------------------------------------------------------------------------------


def _columns_of(X: Any, name: str = "X") -> tuple[bool, dict[str, Any]]:
    """Whether the columns have names of their own, and each by its name."""
    if sparse.is_sparse(X):
        raise ValueError(
            f"{name} must be dense for a Preparation, got a sparse matrix; scale its columns "
            "without moving 0, as scikit-learn's MaxAbsScaler does."
        )
    if frames.is_frame(X):
        labels = [str(label) for label in frames.labels(X)]
        if len(set(labels)) != len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise ValueError(f"{name} must have different names of columns, got two {twice!r}.")
        columns = frames.columns(X)
        named = True
    else:
        array = _rectangle(X, name)
        if array.ndim != 2:
            raise ValueError(
                f"{name} must be two-dimensional, a row for each sample; got shape {array.shape}."
            )
        labels, columns, named = [f"x{j}" for j in range(array.shape[1])], list(array.T), False
    for what, n in (("column", len(labels)), ("row", len(columns[0]) if labels else 0)):
        if n == 0:
            raise ValueError(f"{name} must have at least one {what}, got none.")
    return named, dict(zip(labels, columns, strict=True))


def _rectangle(X: Any, name: str) -> NDArray[Any]:
    """An array of X, in which every cell is what it was, and None where it is masked."""
    if np.ma.is_masked(X):
        cells = np.array(X.data, object)
        cells[np.ma.getmaskarray(X)] = None
        return cells
    try:
        array = np.asarray(X)
        # NumPy makes text of the numbers that stand in a list beside text.
        made_text = array.dtype.kind in "US" and not isinstance(X, np.ndarray)
        return np.array(X, object) if made_text else array
    except ValueError:
        raise ValueError(f"{name} must be a table, got rows of unequal length.") from None


def _values(label: str, column: Any, name: str = "X") -> Values:
    return frames.values(f"column {label!r} of {name}", column)


def _fill(column: Column, values: Values, out: NDArray[Any], name: str) -> None:
    """Write what becomes of a column into its inputs, which are 0."""
    if column.missing:
        out[:, -1] = values.missing
    if values.kind == "nothing":  # all of it is missing
        if column.kind == "number":
            out[:, 0] = (column.fill - column.mean) / column.scale
        return
    given = values.kind
    if column.kind == "text":
        if given != "text":
            raise ValueError(_other_kind(column, values, name))
        places = _places(column, values.entries)
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1
        return
    if given == "text":
        raise ValueError(_other_kind(column, values, name))
    numbers = values.entries
    if column.kind == "truth":
        known = numbers[~values.missing]
        if not ((known == 0) | (known == 1)).all():
            raise ValueError(_other_kind(column, values, name))
    filled = np.where(values.missing, column.fill, numbers)
    with np.errstate(over="ignore", under="ignore"):
        out[:, 0] = (filled - column.mean) / column.scale
    if not np.isfinite(out[:, 0]).all():
        row = int(np.argmin(np.isfinite(out[:, 0])))
        _refuse(name, column.name, numbers[row], row, out.dtype)


def _refuse(name: str, column: str, value: Any, row: int, dtype: np.dtype[Any]) -> None:
    raise ValueError(
        f"{name} must hold finite numbers whose scaled size {dtype} can hold, got {value} in row "
        f"{row} of column {column!r}."
    )


def _other_kind(column: Column, values: Values, name: str) -> str:
    present = values.entries[~values.missing]
    if column.kind == "truth" and values.kind == "number":
        present = present[(present != 0) & (present != 1)]
    return (
        f"column {column.name!r} of {name} must hold {_KIND_NAMES[column.kind]} as in the training "
        f"rows, got {checks.shown(present.tolist()[0])}."
    )


def _places(column: Column, texts: NDArray[Any]) -> NDArray[np.int64]:
    """Which of a column's inputs is 1 for each text; −1 for none."""
    if column.buckets:
        known = {
            text: zlib.crc32(text.encode("utf-8", "surrogatepass")) % column.buckets
            for text in {each for each in texts.tolist() if each is not None}
        }
    else:
        known = {text: place for place, text in enumerate(column.values)}
    return np.array([known.get(text, -1) for text in texts.tolist()], np.int64)


# Numbers ----------------------------------------------------------------------------------------


def _refuse_infinity(name: str, values: Values) -> None:
    if (infinite := np.isinf(values.entries)).any():
        row = int(np.argmax(infinite))
        raise ValueError(
            f"column {name!r} of X must hold finite numbers, got {values.entries[row]} in row "
            f"{row}."
        )


def _median(numbers: NDArray[np.float64]) -> float:
    """The middle value, or the middle of two, which may not overflow."""
    half = np.partition(numbers, [(len(numbers) - 1) // 2, len(numbers) // 2])
    low, high = half[(len(numbers) - 1) // 2], half[len(numbers) // 2]
    with np.errstate(over="ignore"):
        middle = (low + high) / 2
    return float(middle if math.isfinite(middle) else low / 2 + high / 2)


def _targets(y: ArrayLike, name: str = "y") -> NDArray[np.float64]:
    """Targets of a regression: finite numbers in one or two dimensions."""
    if np.ma.is_masked(y):
        raise ValueError(f"{name} must have no masked entries; leave such rows out.")
    if frames.is_frame(y):
        array = frames.to_array(name, y)
    else:
        array = frames.to_vector(name, y) if frames.is_series(y) else np.asarray(y)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{name} must hold numbers in one or two dimensions, the targets of a regression, got "
            f"{array.dtype} of shape {array.shape}; leave classes out."
        )
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise ValueError(
            f"{name} must hold finite numbers, got {checks.shown(array[row])} in row {row}."
        )
    return values


def _fitted_target(
    y: ArrayLike, n: int, scale: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _shift_and_scale([spread_of(column) for column in _target_columns(y, n)], scale)


def _target_columns(y: ArrayLike, n: int) -> NDArray[np.float64]:
    values = _targets(y)
    if len(values) != n:
        raise ValueError(f"y must have one entry per row of X, {n}, got {len(values)}.")
    return values.reshape(n, -1).T


def _shift_and_scale(
    spreads: Sequence[Spread], scale: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is subtracted from each column of targets, and what they are divided by."""
    pairs = [(each.mean, each.scale) if scale else (0.0, 1.0) for each in spreads]
    return np.array([mean for mean, _ in pairs]), np.array([divisor for _, divisor in pairs])


# Descriptions -----------------------------------------------------------------------------------


def _short(column: Column) -> dict[str, Any]:
    """Its name, its kind, and fields that are not as by default."""
    fields = column._asdict() | {"values": list(column.values)}
    plain = Column("", "")._asdict() | {"values": []}
    return {
        key: value
        for key, value in fields.items()
        if key in ("name", "kind") or value != plain[key]
    }


def _restored(i: int, fields: Mapping[str, Any]) -> Column:
    column = Column(**{**fields, "values": tuple(fields.get("values", ()))})
    name = f"preparation.columns[{i}]"
    checks.choice(f"{name}.kind", column.kind, _KIND_NAMES)
    numbers = column.mean, column.scale, column.fill
    if not all(map(math.isfinite, numbers)) or not column.scale > 0:
        raise ValueError(f"{name} must have a finite mean and fill, and a scale above 0")
    if list(column.values) != sorted(set(column.values)):
        raise ValueError(f"{name}.values must be sorted, each of them once")
    if column.kind != "text" and (column.values or column.buckets):
        raise ValueError(f"{name} must have values or buckets only if it holds text")
    if column.width == 0:
        raise ValueError(f"{name} must have values or buckets")
    return column


def _line(column: Column) -> str:
    if column.kind == "number":
        text = f"minus {column.mean:.6g}, by {column.scale:.6g}"
        if column.missing:
            text += f"; missing values become {column.fill:.6g}, and are marked"
    elif column.kind == "truth":
        text = "0 or 1" + ("; missing values become 0, and are marked" if column.missing else "")
    else:
        text = (
            f"one of {column.buckets} by a hash"
            if column.buckets
            else (f"one of {checks.shown(', '.join(column.values))}")
        )
        text += "; missing values are marked" if column.missing else ""
    return f"{column.name}: {text}"
