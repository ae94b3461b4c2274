"""Checks of X, y and weights, which become what kernels take: kernels check nothing themselves.

A message names the argument, what was given and what is allowed.
"""

import functools
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import checks, frames, kernels, sparse

FloatArray = NDArray[np.floating[Any]]

# Long enough to cost nothing per piece, short enough for Ctrl-C.
_SCAN = 1 << 24


def class_numbers(name: str, y: Any, labels: Sequence[Any]) -> Any:
    """Class numbers of a column of labels; rows of probabilities are left as they are.

    Python compares them, because NumPy would treat 1 and "1" as equal, and would round integers to
    compare them with floats.
    """
    array = _array(name, y)
    if array.ndim == 2 and array.shape[1] > 1:
        return y
    numbers_of = {label: number for number, label in enumerate(labels)}
    entries = array.reshape(-1).tolist()
    try:
        return np.array([numbers_of[label] for label in entries], np.int64)
    except (KeyError, TypeError):
        row = next(i for i, e in enumerate(entries) if e not in labels)
        raise ValueError(
            f"{name} must hold the network's classes, {checks.shown(list(labels))}; got "
            f"{checks.shown(entries[row])} in row {row}."
        ) from None


def distinct_labels(name: str, y: Any, n_outputs: int, loss: str) -> tuple[Any, ...] | None:
    """The classes of a column of text, sorted; None for anything else."""
    if loss not in kernels.CLASSIFICATION or (loss == "binary_cross_entropy" and n_outputs > 1):
        return None
    array = _array(name, y)
    if array.dtype.kind not in "OUST" or array.size == 0 or not _is_text(array):
        return None
    found = tuple(sorted(set(map(str, array.reshape(-1).tolist()))))
    if len(found) != max(2, n_outputs):
        raise ValueError(
            f"{name} must have {max(2, n_outputs)} classes, one per output of the network, got "
            f"{len(found)}: {checks.shown(list(found))}; Network(classes=...) names classes that "
            f"{name} does not have."
        )
    return found


def checked_order(name: str, rows: Any, n: int) -> NDArray[np.int64]:
    """``rows`` as n row numbers from 0 to n − 1, which may occur more than once."""
    return checked_indices(name, rows, n, "rows", n)


def checked_indices(
    name: str, values: Any, below: int, what: str, n: int | None = None, hint: str = ""
) -> NDArray[np.int64]:
    """``values`` as integers from 0 to ``below`` − 1: n of them, or at least one.

    ``what`` they are is for messages, and ``hint`` for what is no integers.
    """
    given = np.array(_numeric(name, values, hint))  # nobody can change a copy after the check
    has_shape = given.shape == (n,) if n is not None else given.ndim == 1 and given.size > 0
    legal = given.dtype.kind in "iu" and has_shape
    if not legal or given.min() < 0 or given.max() >= below:
        raise ValueError(
            f"{name} must be an integer array of shape ({'at least 1' if n is None else n},) with "
            f"{what} from 0 to {below - 1}, got "
            + (
                f"{what} from {given.min()} to {given.max()}."
                if legal
                else f"{given.dtype} of shape {given.shape}{hint}."
            )
        )
    return given.astype(np.int64, copy=False)


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    if type(values) is np.ndarray:
        return values
    if frames.is_frame(values):
        return frames.to_array(name, values)
    if frames.is_series(values):
        return frames.to_vector(name, values)
    if sparse.is_sparse(values):
        raise ValueError(f"{name} must be a dense array, got a sparse one; pass {name}.toarray().")
    if np.ma.is_masked(values):
        raise ValueError(f"{name} must have no masked entries; fill or drop them first.")
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} must be a rectangular array, got rows of unequal length."
        ) from None


def _numeric(name: str, values: ArrayLike, hint: str = "") -> NDArray[Any]:
    """``values`` as a read-only array of real numbers, unconverted; ``hint`` is for text.

    It is a new view, because the caller may change the shape or dtype of their own meanwhile.
    """
    array = (values if type(values) is np.ndarray else _array(name, values)).view()
    array.setflags(write=False)
    if array.dtype.kind not in "biuf":
        if not _is_text(array):
            is_open = array.dtype.kind == "O" and array.ndim > 0
            hint = f"; if they are numbers, pass numpy.asarray({name}, float)" if is_open else ""
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}{hint}.")
    return array


def _is_text(array: NDArray[Any]) -> bool:
    """Whether it is a column of texts, such as names of classes."""
    if array.ndim == 0 or array.size != len(array):
        return False
    return array.dtype.kind in "UST" or all(isinstance(entry, str) for entry in array.flat)


def _bare(name: str) -> str:
    """The name of an array in a line of code."""
    return name.rpartition(" ")[2]


def _refuse_shape(name: str, array: NDArray[Any], columns: int, what: str, hint: str) -> NoReturn:
    """Refuse an array that is not a matrix with ``columns`` columns; ``hint`` is for vectors."""
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, (n_samples, {columns}); "
            f"got shape {array.shape}{hint if array.ndim == 1 else ''}."
        )
    raise ValueError(f"{name} must have {columns} columns, {what}; got shape {array.shape}.")


def _kernel_array(
    name: str, array: NDArray[Any], kind: np.dtype[Any], given: Any = None
) -> FloatArray:
    """Read-only, native, C-contiguous and finite; a view where ``array`` is so already."""
    converted = plain(array, kind)
    _check_finite(name, converted, array, 0, given)
    return converted


def is_plain(array: NDArray[Any], kind: np.dtype[Any]) -> bool:
    """Whether kernels can take the array as it is."""
    flags = array.flags
    return array.dtype == kind and flags.c_contiguous and flags.aligned


def plain(array: NDArray[Any], kind: np.dtype[Any]) -> FloatArray:
    """Read-only, native and C-contiguous: the array itself where it is so already."""
    if not is_plain(array, kind):
        with np.errstate(all="ignore"):  # overflow is reported later, with its place
            array = array.astype(kind, order="C")
    elif array.dtype is not kind:  # it may have metadata, which kernels do not know
        array = array.view(kind)
    return kernels.read_only(array) if array.flags.writeable else array


def all_finite(array: FloatArray) -> bool:
    """Whether all numbers of a contiguous array are finite, by a compiled pass."""
    return bool(kernels.first_nonfinite(array.reshape(-1), 0, array.size) < 0)


def check_rows(array: NDArray[Any], start: int, stop: int, kind: np.dtype[Any], given: Any) -> None:
    """Refuse NaN and infinity in some rows of X; ``given`` is what the caller passed as X."""
    _check_finite("X", plain(array[start:stop], kind), array, start, given)


def _check_finite(
    name: str, converted: FloatArray, array: NDArray[Any], first_row: int, given: Any = None
) -> None:
    """Refuse NaN and infinity in some rows of an array as they were converted."""
    flat, n = converted.reshape(-1), converted.size
    stop = n if n < _SCAN else _SCAN
    place = kernels.first_nonfinite(flat, 0, stop)
    while place < 0:
        if stop == n:
            return
        start, stop = stop, min(n, stop + _SCAN)
        place = kernels.first_nonfinite(flat, start, stop)
    row, *column = np.unravel_index(place, converted.shape)
    where = f"row {first_row + row}"
    if column:
        where += f", column {column[0]}"
        if frames.is_frame(given):
            where = f"row {first_row + row}, column {frames.labels(given)[column[0]]!r}"
    _refuse_nonfinite(name, array[(first_row + row, *column)], converted.dtype, where)


def _refuse_nonfinite(name: str, value: Any, kind: np.dtype[Any], where: str) -> NoReturn:
    problem = "be finite" if not np.isfinite(value) else f"be finite in {kind}"
    raise ValueError(f"{name} must {problem}, got {value} in {where}.")


def checked_inputs(
    X: Any, n_inputs: int, kind: np.dtype[Any], name: str = "X", *, whole: bool = True
) -> kernels.Inputs:
    """``X`` as kernels take it: (n_samples, n_inputs), at least one row, dense or sparse.

    With ``whole=False`` dense rows are left as given; the caller converts them by `plain`, and
    checks them.
    """
    if type(X) is not np.ndarray and sparse.is_sparse(X):
        return _sparse_inputs(X, n_inputs, kind, name)
    array = _numeric(name, X)
    if array.ndim != 2 or array.shape[1] != n_inputs:
        hint = ""
        if n_inputs == 1:
            hint = f"; for samples of one number pass {_bare(name)}.reshape(-1, 1)"
        elif array.shape == (n_inputs,):
            hint = f"; for one sample pass {_bare(name)}.reshape(1, -1)"
        _refuse_shape(name, array, n_inputs, "one per input of the network", hint)
    if len(array) == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}.")
    if whole:
        array = _kernel_array(name, array, kind, X)
    return kernels.dense_inputs(array, kind)


def row_of(x: Any, kind: np.dtype[Any]) -> FloatArray:
    """One row as `kernels.predict_one` and `kernels.learn_one` take it; they check what it holds.

    Raises
    ------
    ValueError
        If it is not a flat sequence of real numbers.
    """
    if type(x) is np.ndarray and x.dtype is kind and x.ndim == 1 and x.flags.carray:
        return x
    array = _numeric("x", x)
    if array.ndim != 1:
        raise ValueError(f"x must be one row, a flat array of numbers, got shape {array.shape}.")
    with np.errstate(all="ignore"):  # overflow is reported later, with its place
        return array.astype(kind)


def row_for(out: Any, n: int, kind: np.dtype[Any]) -> FloatArray:
    """``out``, or a new array, if n outputs can be written to it."""
    if out is None:
        return np.empty(n, kind)
    if type(out) is np.ndarray and out.dtype == kind and out.shape == (n,) and out.flags.carray:
        return out if out.dtype is kind else out.view(kind)
    given = type(out).__name__
    if isinstance(out, np.ndarray):
        flaws = "" if out.flags.writeable else "read-only ", "" if out.flags.carray else "strided "
        given = f"a {flaws[0] or flaws[1]}array of {out.dtype} of shape {out.shape}"
    raise ValueError(
        f"out must be a writable contiguous array of {kind} of shape ({n},), got {given}."
    )


def _sparse_inputs(X: Any, n_inputs: int, kind: np.dtype[Any], name: str) -> kernels.Inputs:
    """Rows of a sparse matrix, without a copy of values that have the right dtype."""
    data, indices, indptr, shape = sparse.csr(name, X)
    if shape[1] != n_inputs or shape[0] == 0:
        raise ValueError(
            f"{name} must have at least one row and {n_inputs} columns, one per input of the "
            f"network; got shape {shape}."
        )
    values = kernels.read_only(plain(data, kind))  # not the caller's own
    place = kernels.first_nonfinite(values, 0, values.size)
    if place >= 0:
        row = int(np.searchsorted(indptr, place, side="right")) - 1
        _refuse_nonfinite(name, data[place], kind, f"row {row}, column {indices[place]}")
    return kernels.Inputs(
        kernels.read_only(np.empty((0, n_inputs), kind)),
        values,
        kernels.read_only(indices.astype(np.int32, copy=False)),
        kernels.read_only(indptr),
    )


_NUMBER_THEM = (
    "number the classes with classes, y = numpy.unique(y, return_inverse=True), or use "
    "fastbp.sklearn"
)

_NAME_THEM = (
    "; text becomes the network's classes by Trainer.fit, or by Network(classes=...), if they are "
    "as many as its outputs"
)


@np.errstate(all="ignore")
def _whole(name: str, array: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    """Floats as integers; those that are too large become numbers that are no class."""
    whole = np.isfinite(array) & (array == np.floor(array))
    if not whole.all():
        row = int(np.argmin(whole))
        raise ValueError(
            f"{name} must hold whole class numbers from 0 to {n_classes - 1}, "
            f"got {array[row]} in row {row}."
        )
    return array.astype(np.int64)


def _labels(name: str, given: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    # A copy, because labels are used as indices and the caller may change theirs at any time.
    if given.dtype.kind == "f":
        labels = _whole(name, np.array(given), n_classes)
    else:
        labels = given.astype(np.int64)
    # As unsigned integers, negative numbers are the largest.
    unsigned = labels.view(np.uint64)
    if unsigned.item(unsigned.argmax()) >= n_classes:
        row = int(np.argmax(unsigned >= n_classes))
        from_one = given.min() == 1 and given.max() == n_classes
        hint = "subtract 1, or use fastbp.sklearn" if from_one else _NUMBER_THEM
        raise ValueError(
            f"{name} must hold class numbers from 0 to {n_classes - 1}, one per output of the "
            f"network; got {given[row]} in row {row}: {hint}."
        )
    labels.setflags(write=False)
    return labels


def _targets(
    name: str,
    array: NDArray[Any],
    n_outputs: int,
    loss: str,
    kind: np.dtype[Any],
    given: Any,
    whole: bool,
) -> NDArray[Any]:
    if array.ndim == 1 and n_outputs == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != n_outputs:
        eye = f"numpy.eye({n_outputs})[{_bare(name)}]"
        hint = f"; for class numbers use the loss cross_entropy, or pass {eye}"
        _refuse_shape(name, array, n_outputs, "one per output of the network", hint)
    targets = plain(array, kind) if whole else array
    rows = max(1, _SCAN // n_outputs)
    for start in range(0, len(array), rows):
        piece = plain(targets[start : start + rows], kind)
        _check_finite(name, piece, array, start, given)
        if loss in _LEGAL:
            _check_legal(name, piece, start, loss)
    return targets


# What targets of a loss must be; those of the others may be any numbers.
_LEGAL = {
    "binary_cross_entropy": "be between 0 and 1",
    "poisson": "be at least 0",
    "cross_entropy": "be class numbers, or rows of probabilities that sum to 1,",
}


@np.errstate(all="ignore")
def _check_legal(name: str, targets: FloatArray, first_row: int, loss: str) -> None:
    """Refuse targets that a loss cannot take."""
    legal = targets >= 0
    if loss == "binary_cross_entropy":
        legal &= targets <= 1
    elif loss == "cross_entropy":
        row_sums = targets.sum(axis=1, dtype=np.float64)
        # Loose enough for distributions that were stored in half precision.
        legal &= (np.abs(row_sums - 1) < 1e-3)[:, np.newaxis]
    if not legal.all():
        row = int(np.argmin(legal.all(axis=1)))
        raise ValueError(
            f"{name} must {_LEGAL[loss]} for the loss {loss}; got {checks.shown(targets[row])} in "
            f"row {first_row + row}."
        )


# Stand-ins for labels and weights, for samples without them.
NO_LABELS = kernels.read_only(np.empty(0, np.int64))
NO_WEIGHTS = kernels.read_only(np.empty(0))


@functools.lru_cache
def no_targets(n_outputs: int, kind: np.dtype[Any]) -> FloatArray:
    """No rows of targets."""
    return kernels.read_only(np.empty((0, n_outputs), kind))


def checked_samples(
    X: ArrayLike,
    y: ArrayLike,
    sizes: Sequence[int],
    loss: str,
    kind: np.dtype[Any],
    sample_weight: ArrayLike | None = None,
    prefix: str = "",
    *,
    whole: bool = True,
) -> kernels.Samples:
    """Inputs and targets as kernels take them; weights are scaled to a mean of 1.

    With ``whole=False`` dense rows and targets are left as given; the caller converts them by
    `plain`, and checks rows, for targets have been checked here.
    """
    rows = checked_inputs(X, sizes[0], kind, f"{prefix}X", whole=whole)
    name, n, n_outputs = f"{prefix}y", rows.n, sizes[-1]
    array = _numeric(name, y, _NAME_THEM if loss in kernels.CLASSIFICATION else "")
    if array.ndim == 0 or len(array) != n:
        raise ValueError(
            f"{name} must have one entry per row of {prefix}X, {n}; got shape {array.shape}."
        )
    labels, targets = NO_LABELS, no_targets(n_outputs, kind)
    is_column = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    if loss == "cross_entropy" and is_column:
        labels = _labels(name, array if array.ndim == 1 else array.reshape(-1), n_outputs)
    else:
        targets = _targets(name, array, n_outputs, loss, kind, y, whole)
    weights = NO_WEIGHTS if sample_weight is None else relative_weights(sample_weight, n)
    return kernels.Samples(rows, labels, targets, weights)


_INT64 = np.dtype(np.int64)


def few_samples(
    X: NDArray[Any], y: NDArray[Any], n_outputs: int, loss: str, kind: np.dtype[Any]
) -> tuple[FloatArray, NDArray[np.int64], FloatArray] | None:
    """X, labels and targets, if kernels can take them as they are and find out what is wrong."""
    rows = _as_it_is(X, kind, 2)
    if loss == "cross_entropy":
        labels = _as_it_is(y, _INT64, 1)
        none = no_targets(n_outputs, kind)
        return None if rows is None or labels is None else (rows, labels, none)
    if loss in _LEGAL:  # of which not every number is a target
        return None
    targets = _as_it_is(y if y.ndim != 1 else y.reshape(-1, 1), kind, 2)
    return None if rows is None or targets is None else (rows, NO_LABELS, targets)


def _as_it_is(array: NDArray[Any], kind: np.dtype[Any], ndim: int) -> NDArray[Any] | None:
    """Read-only view of an array that needs no conversion; None of any other."""
    if array.dtype is not kind or array.ndim != ndim or not array.flags.carray:
        return None
    view = array.view()
    view.setflags(write=False)
    return view


def checked_factors(name: str, given: ArrayLike, n: int, least: str = "") -> NDArray[np.float64]:
    """``given`` as n finite numbers of at least 0; ``least`` goes into the message."""
    array = _numeric(name, given)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have one entry per row of X, shape ({n},); got shape {array.shape}."
        )
    whole = _kernel_array(name, array, np.dtype(np.float64))
    if n > 0 and whole.min() < 0:
        row = int(np.argmin(whole))
        raise ValueError(
            f"{name} must be at least 0 everywhere{least}, got {array[row]} in row {row}."
        )
    return kernels.read_only(whole)


@np.errstate(all="ignore")
def relative_weights(sample_weight: ArrayLike, n: int) -> NDArray[np.float64]:
    """Weights with a mean of 1."""
    least = " and above 0 somewhere"
    whole = checked_factors("sample_weight", sample_weight, n, least)
    if whole.max() <= 0:
        raise ValueError(f"sample_weight must be at least 0 everywhere{least}.")
    weights = whole / whole.max()  # their sum cannot overflow
    weights /= weights.mean()
    return kernels.read_only(weights)


def balanced_weights(classes: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Weight of each of n classes: n / (number of classes that occur · samples of the class)."""
    counts = np.bincount(classes, minlength=n_classes)
    weights: NDArray[np.float64] = len(classes) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return weights


@np.errstate(all="ignore")
def with_class_weight(
    samples: kernels.Samples, weights: str | Sequence[float] | None, *, whole: bool = True
) -> kernels.Samples:
    """Samples whose weights are multiplied by their class's.

    They are all that are trained on, unless ``whole=False``: then those of a class of weight 0 may
    be among themselves.
    """
    if weights is None:
        return samples
    classes: NDArray[Any] = samples.labels
    if len(classes) == 0 and samples.targets.shape[1] == 1:
        classes = samples.targets[:, 0].copy()  # because they are used as indices
    if len(classes) == 0 or (not np.isin(classes, (0, 1)).all() and len(samples.labels) == 0):
        raise ValueError(
            "class_weight needs class numbers as y, one per row; for rows of targets use "
            "sample_weight."
        )
    classes = classes.astype(np.int64)
    balanced = balanced_weights(classes, int(classes.max()) + 1)
    each = np.asarray(balanced if isinstance(weights, str) else weights, np.float64)[classes]
    if len(samples.weights) > 0:
        each = each * samples.weights
    if whole and not each.any():
        raise ValueError("class_weight must leave some sample a weight above 0.")
    return samples._replace(weights=kernels.read_only(each))


def checked_parameters(params: Any, buffer: FloatArray) -> FloatArray:
    """``params`` as parameters that a network's buffer can take on."""
    array = _numeric("params", params)
    if array.shape != buffer.shape:
        raise ValueError(
            f"params must have the shape of network.params, {buffer.shape}, got {array.shape}."
        )
    return _kernel_array("params", array, buffer.dtype)


def is_buffer(out: Any, kind: np.dtype[Any]) -> bool:
    """Whether kernels can write numbers of a dtype to ``out``, as many as it has."""
    return (
        type(out) is np.ndarray and out.dtype is kind and out.ndim == 1 and bool(out.flags.carray)
    )


def checked_buffer(out: Any, params: FloatArray, samples: kernels.Samples) -> FloatArray:
    """``out`` if the gradient of ``params`` over the samples can be written to it."""
    if isinstance(out, np.ndarray) and not isinstance(out, np.ma.MaskedArray):
        out = out.view(np.ndarray)  # nobody else can set its shape
    if (
        type(out) is not np.ndarray
        or out.shape != params.shape
        or not is_plain(out, params.dtype)
        or not out.flags.writeable
    ):
        given = type(out).__name__
        if type(out) is np.ndarray:
            kind = "a writable" if out.flags.writeable else "a read-only"
            order = "contiguous" if out.flags.c_contiguous else "strided"
            given = f"{kind} {order} {out.dtype} array of shape {out.shape}"
        raise ValueError(
            f"out must be a writable contiguous {params.dtype} array of shape {params.shape}, as "
            f"numpy.empty_like(network.params) makes it; got {given}."
        )
    # Labels, weights and the index arrays of sparse rows are copies.
    for other in (params, samples.inputs.X, samples.inputs.data, samples.targets):
        if other.size > 0 and np.may_share_memory(out, other):
            raise ValueError("out must not share memory with network.params or the data.")
    return out
