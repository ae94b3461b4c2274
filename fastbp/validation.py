"""Every check of user input, once, before any kernel runs: kernels check nothing themselves.

A message names the argument, what was given and what is allowed.
"""

import difflib
import inspect
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import frames, kernels, sparse
from fastbp.initializers import INITIALIZERS

FloatArray = NDArray[np.floating[Any]]
Entry = TypeVar("Entry")

_DTYPES = ("float32", "float64")
_LARGEST_INT = 2**63 - 1
# Long enough to cost nothing per piece, short enough for Ctrl-C.
_SCAN = 1 << 24
# Kernels list inputs that are not zero by numbers of 32 bits.
_MOST_UNITS = 2**31 - 1


_LONGEST_TEXT = 200


def shown(value: Any) -> str:
    """``value`` for a message: in one line, and cut where it is long."""
    try:
        text = " ".join((str if isinstance(value, np.ndarray) else repr)(value).split())
    except ValueError:  # Python has no text of integers that are too long
        return f"a very long {type(value).__name__}"
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"


def integer(name: str, value: Any, minimum: int, maximum: int | None = _LARGEST_INT) -> int:
    """``value`` as an int from ``minimum`` to ``maximum``, by default the largest of int64."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(
            f"{name} must be an integer of at least {minimum}, got {shown(value)}."
        ) from None
    if number < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {shown(number)}.")
    if maximum is not None and number > maximum:
        raise ValueError(
            f"{name} must be an integer from {minimum} to {maximum}, got {shown(number)}."
        )
    return number


def _real(value: Any) -> float:
    """``value`` as a float, or NaN for what is no real number, or beyond all floats."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def rate(name: str, value: Any, kind: np.dtype[Any], *, zero: bool = False) -> float:
    """``value`` as a float that is finite and above zero in ``kind``, or zero where allowed."""
    number = _real(value)
    with np.errstate(all="ignore"):
        rounded = float(kind.type(number))
    if not math.isfinite(rounded) or number < 0 or (rounded == 0 and not (zero and number == 0)):
        bound = "of at least 0" if zero else "above 0"
        raise ValueError(f"{name} must be a finite {kind} number {bound}, got {shown(value)}.")
    return number


def finite(name: str, value: Any) -> float:
    """``value`` as a finite float."""
    number = _real(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}.")
    return number


def share(name: str, value: Any, *, zero: bool = True, one: bool = False) -> float:
    """``value`` as a float between 0 and 1, or one of them where that is allowed."""
    number = _real(value)
    if not (0 < number < 1 or (zero and number == 0) or (one and number == 1)):
        least, most = "from" if zero else "above", "1" if one else "below 1"
        raise ValueError(f"{name} must be a number {least} 0 to {most}, got {shown(value)}.")
    return number


def limit(name: str, value: Any, kind: np.dtype[Any]) -> float | None:
    """``value`` as a number above zero, or None for no limit."""
    return None if value is None else rate(name, value, kind)


def sequence(value: Any) -> tuple[Any, ...] | None:
    """Entries of a list, a tuple, a range or a one-dimensional array; None for anything else.

    Sets have no order, iterators can be read only once, and a text is a single value.
    """
    if isinstance(value, np.ndarray):
        return tuple(value) if value.ndim == 1 else None
    is_text = isinstance(value, (str, bytes, bytearray, memoryview))
    return tuple(value) if isinstance(value, Sequence) and not is_text else None


def texts(name: str, value: Any) -> tuple[str, ...]:
    """``value`` as a tuple of texts; a single one counts as a sequence of one."""
    given = (value,) if isinstance(value, str) else sequence(value)
    if given is None or not all(isinstance(entry, str) for entry in given):
        raise ValueError(f"{name} must be a sequence of texts, got {shown(value)}.")
    return tuple(map(str, given))


def classes(value: Any, n_outputs: int, loss: str) -> tuple[Any, ...] | None:
    """Labels of the classes in the order of their numbers, all text or all numbers, or None."""
    if value is None:
        return None
    n = max(2, n_outputs)
    if loss not in kernels.CLASSIFICATION or (loss == "binary_cross_entropy" and n_outputs > 1):
        raise ValueError(
            "classes must be None for a network that does not predict one class of several; its "
            f"loss is {loss} and it has {n_outputs} outputs."
        )
    given = sequence(value)
    if given is None or len(given) != n:
        raise ValueError(f"classes must be {n} labels, one per class, got {shown(value)}.")
    labels = tuple(e.item() if isinstance(e, np.generic) else e for e in given)
    is_text = all(isinstance(label, str) for label in labels)
    if not is_text and not all(math.isfinite(_real(e) + isinstance(e, bool)) for e in labels):
        labels_are = "must be all text or all finite numbers"
        raise ValueError(f"classes {labels_are}, got {shown(value)}.")
    if len(set(labels)) != n:
        raise ValueError(f"classes must be different labels, got {shown(value)}.")
    return labels


def numbered(name: str, y: Any, labels: Sequence[Any]) -> Any:
    """Class numbers of a column of labels; rows of probabilities are left as they are.

    Python compares them, for NumPy would take 1 for "1", and round integers to compare them with
    floats.
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
            f"{name} must hold the network's classes, {shown(list(labels))}; got "
            f"{shown(entries[row])} in row {row}."
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
            f"{len(found)}: {shown(list(found))}; Network(classes=...) names classes that {name} "
            "does not have."
        )
    return found


def _each(
    name: str, value: Any, n: int, kind: type, of: str, check: Callable[[str, Any], Entry]
) -> tuple[Entry, ...]:
    """One checked value for each of n others: the same for all, or a sequence of them."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, kind):
        return (check(name, value),) * n
    given = sequence(value)
    if given is None or len(given) != n:
        what = "name" if kind is str else "number"
        raise ValueError(
            f"{name} must be one {what} or {n} {what}s, one per {of}; got {shown(value)}."
        )
    return tuple(check(f"{name}[{i}]", entry) for i, entry in enumerate(given))


def dropout(value: Any, n_hidden: int) -> tuple[float, ...]:
    """One share per hidden layer, from one number or a sequence of them."""
    if isinstance(value, numbers.Real) and n_hidden == 0 and value != 0:
        raise ValueError(f"dropout must be 0 without hidden layers, got {shown(value)}.")
    return _each("dropout", value, n_hidden, numbers.Real, "hidden layer", share)


def class_weight(value: Any, n_classes: int, kind: np.dtype[Any]) -> str | tuple[float, ...] | None:
    """One weight per class, 1 for what a mapping leaves out; or "balanced", or None for none."""
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in range(n_classes)]
        if unknown:
            raise ValueError(
                f"class_weight must name classes from 0 to {n_classes - 1}, "
                f"got {shown(unknown[0])}."
            )
        value = [value.get(k, 1.0) for k in range(n_classes)]
    weights = sequence(value)
    if weights is None or len(weights) != n_classes:
        raise ValueError(
            f'class_weight must be "balanced", {n_classes} weights, or a mapping from class '
            f"numbers to weights; got {shown(value)}."
        )
    return tuple(
        rate(f"class_weight[{k}]", weight, kind, zero=True) for k, weight in enumerate(weights)
    )


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """``value`` if it is a pair (X, y)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name} must be a pair (X, y), got {type(value).__name__}.")
    return value[0], value[1]


def flag(name: str, value: Any) -> bool:
    """``value`` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {shown(value)}.")
    return bool(value)


# Names that other libraries use, and ours.
_ALIASES = {
    "mse": "squared_error",
    "mean_squared_error": "squared_error",
    "l2": "squared_error",
    "mae": "absolute_error",
    "mean_absolute_error": "absolute_error",
    "smooth_l1": "huber",
    "bce": "binary_cross_entropy",
    "ce": "cross_entropy",
    "nll": "cross_entropy",
    "softmax": "cross_entropy",
    "log_loss": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "logistic": "sigmoid",
    "linear": "identity",
    "swish": "silu",
    "he": "he_normal",
    "kaiming": "he_normal",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "glorot": "glorot_normal",
    "xavier": "glorot_normal",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "lecun": "lecun_normal",
}


def nearest(value: Any, names: Iterable[str]) -> str:
    """A hint at the one of the names that was probably meant, if there is one."""
    if not isinstance(value, str):
        return ""
    letters = {name.replace("_", ""): name for name in names}
    key = value.lower().replace("-", "_").replace(" ", "_")
    meant = key.replace("_", "")
    if meant not in letters:
        meant = _ALIASES.get(key, key).replace("_", "")
    found = difflib.get_close_matches(meant, letters, 1, 0.65)
    return f" (did you mean {letters[found[0]]!r}?)" if found else ""


def choice(name: str, value: Any, allowed: Iterable[str], where: str = "") -> str:
    """The allowed name that is meant: in any case, or as other libraries call it."""
    names = tuple(allowed)
    if isinstance(value, str) and value not in names:
        key = value.lower().replace("-", "_").replace(" ", "_")
        meant = {name.lower().replace("_", ""): name for name in names}
        for each in (key, _ALIASES.get(key, "")):
            if (letters := each.replace("_", "")) in meant:
                return meant[letters]
    if not isinstance(value, str) or value not in names:
        hint = nearest(value, names)
        raise ValueError(
            f"{name} must be one of {', '.join(names)}{where}; got {shown(value)}{hint}."
        )
    return str(value)


def _names(name: str, value: Any, n: int, of: str, allowed: Iterable[str]) -> tuple[str, ...]:
    return _each(name, value, n, str, of, lambda place, each: choice(place, each, allowed))


def takes(name: str, function: Any, given: Sequence[str]) -> None:
    """Refuse a function that cannot be called with so many arguments by position."""
    if not callable(function):
        raise ValueError(f"{name} must be a function, got {shown(function)}.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some built-in functions nothing is known
        return
    try:
        signature.bind(*given)
    except TypeError:
        raise ValueError(
            f"{name} must take {len(given)} positional argument{'s' * (len(given) > 1)}, "
            f"{', '.join(given)}; got one with the parameters {signature}."
        ) from None


def order(name: str, rows: Any, n: int) -> NDArray[np.int64]:
    """``rows`` as n row numbers from 0 to n − 1, which may come more than once."""
    given = np.array(_numeric(name, rows))  # a copy, which nobody can change after the check
    legal = given.dtype.kind in "iu" and given.shape == (n,)
    if not legal or given.min() < 0 or given.max() >= n:
        raise ValueError(
            f"{name} must be an integer array of shape ({n},) with rows from 0 to {n - 1}, got "
            + (
                f"rows from {given.min()} to {given.max()}."
                if legal
                else f"{given.dtype} of shape {given.shape}."
            )
        )
    return given.astype(np.int64, copy=False)


def methods(value: Any, n_layers: int) -> tuple[str, ...]:
    """One method per layer, from one name or a sequence of them."""
    return _names("method", value, n_layers, "layer", ("auto", *kernels.METHODS))


def seed(value: Any) -> int | None:
    """``value`` as a seed: None or an integer of at least 0."""
    return None if value is None else integer("seed", value, 0, None)


def dtype(value: Any) -> np.dtype[Any]:
    """``value`` as a native float32 or float64 dtype."""
    try:
        kind: np.dtype[Any] = np.dtype(value).newbyteorder("=")
        known = value is not None and kind.name in _DTYPES
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}; got {shown(value)}.")
    return kind


def dtypes(value: Any) -> tuple[np.dtype[Any], ...]:
    """One dtype or a sequence of them."""
    given = (value,) if (several := sequence(value)) is None else several
    if not given:
        raise ValueError(
            f"dtypes must name at least one of {', '.join(_DTYPES)}; got {shown(value)}."
        )
    return tuple(dtype(each) for each in given)


def layer_sizes(sizes: Any, loss: str) -> tuple[int, ...]:
    """``sizes`` as a tuple of at least two positive integers, which suit the loss."""
    given = sequence(sizes)
    if given is None or len(given) < 2:
        raise ValueError(
            "sizes must list the units of at least two layers, the inputs first and the outputs "
            f"last, such as (784, 128, 10); got {shown(sizes)}."
        )
    units = tuple(integer(f"sizes[{i}]", size, 1) for i, size in enumerate(given))
    if max(units) > _MOST_UNITS:
        raise ValueError(f"sizes must be at most {_MOST_UNITS} each, got {units}.")
    if loss == "cross_entropy" and units[-1] == 1:
        raise ValueError(
            "sizes must end with an output per class, at least 2, for the loss cross_entropy, got "
            f"{units}; with one output use binary_cross_entropy for labels 0 and 1, or "
            "squared_error for numbers."
        )
    return units


def hidden_activations(activation: Any, n_hidden: int) -> tuple[str, ...]:
    """One activation name per hidden layer, from one name or a sequence of them."""
    return _names("activation", activation, n_hidden, "hidden layer", kernels.HIDDEN)


def initializers(init: Any, defaults: Sequence[str]) -> tuple[str, ...]:
    """One initialiser per layer, from one name, a sequence of them, or None for the defaults."""
    if init is None:
        return tuple(defaults)
    return _names("init", init, len(defaults), "layer", INITIALIZERS)


def output_activation(output: Any, loss: str) -> str:
    """The output activation, by default the loss's own; refused where the loss cannot take it."""
    legal = kernels.LEGAL_OUTPUTS[loss]
    return legal[0] if output is None else choice("output", output, legal, f" for the loss {loss}")


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
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
    """``values`` as an array of real numbers, not converted yet; the hint is for texts.

    It is a new view, because the caller may set the shape or the dtype of theirs meanwhile.
    """
    array = (values if type(values) is np.ndarray else _array(name, values)).view()
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


def _matrix(name: str, values: ArrayLike, columns: int, what: str, hint: str = "") -> NDArray[Any]:
    array = _numeric(name, values)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be two-dimensional, (n_samples, {columns}); "
            f"got shape {array.shape}{hint if array.ndim == 1 else ''}."
        )
    if array.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, {what}; got shape {array.shape}.")
    return array


def _kernel_array(
    name: str, array: NDArray[Any], kind: np.dtype[Any], given: Any = None
) -> FloatArray:
    """Read-only, native, C-contiguous and finite; a view where ``array`` is so already."""
    converted = plain(array, kind)
    for start, stop in _pieces(array):
        _check_finite(name, converted[start:stop], array, start, given)
    return converted


def _pieces(array: NDArray[Any]) -> Iterator[tuple[int, int]]:
    rows = max(1, _SCAN // max(1, array[:1].size))
    return ((start, start + rows) for start in range(0, len(array), rows))


def is_plain(array: NDArray[Any], kind: np.dtype[Any]) -> bool:
    """Whether kernels can take the array as it is."""
    return array.dtype == kind and array.flags.c_contiguous and array.flags.aligned


def plain(array: NDArray[Any], kind: np.dtype[Any]) -> FloatArray:
    """Read-only, native and C-contiguous; a view where ``array`` is so already."""
    if not is_plain(array, kind):
        with np.errstate(all="ignore"):  # what overflows is reported with its place
            array = array.astype(kind, order="C")
    return kernels.read_only(np.asarray(array, dtype=kind))


def rows(
    array: NDArray[Any],
    start: int,
    stop: int,
    kind: np.dtype[Any],
    given: Any,
    check: bool = True,
) -> FloatArray:
    """Some rows of X as kernels take them; ``given`` is what the caller passed as X."""
    converted = plain(array[start:stop], kind)
    if check:
        _check_finite("X", converted, array, start, given)
    return converted


def _check_finite(
    name: str, converted: FloatArray, array: NDArray[Any], first_row: int, given: Any = None
) -> None:
    """Refuse NaN and infinity in some rows of an array as they were converted."""
    place = kernels.first_nonfinite(converted.reshape(-1), 0, converted.size)
    if place < 0:
        return
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


def inputs(
    X: Any, n_inputs: int, kind: np.dtype[Any], name: str = "X", *, whole: bool = True
) -> kernels.Inputs:
    """``X`` as kernels take it: (n_samples, n_inputs), at least one row, dense or sparse.

    With ``whole=False`` dense rows are left as given; the caller converts them by `rows`.
    """
    if sparse.is_sparse(X):
        return _sparse_inputs(X, n_inputs, kind, name)
    array, hint = _numeric(name, X), ""
    if n_inputs == 1:
        hint = f"; for samples of one number pass {_bare(name)}.reshape(-1, 1)"
    elif array.shape == (n_inputs,):
        hint = f"; for one sample pass {_bare(name)}.reshape(1, -1)"
    array = _matrix(name, array, n_inputs, "one per input of the network", hint)
    if len(array) == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}.")
    if whole:
        return kernels.dense_inputs(_kernel_array(name, array, kind, X))
    return kernels.dense_inputs(kernels.read_only(array), kind)


def _sparse_inputs(X: Any, n_inputs: int, kind: np.dtype[Any], name: str) -> kernels.Inputs:
    """Rows of a sparse matrix, without a copy of values that have the right dtype."""
    data, indices, indptr, shape = sparse.csr(name, X)
    if shape[1] != n_inputs or shape[0] == 0:
        raise ValueError(
            f"{name} must have at least one row and {n_inputs} columns, one per input of the "
            f"network; got shape {shape}."
        )
    values = plain(data, kind)
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
    "text becomes the network's classes by Trainer.fit, or by Network(classes=...), if they are as "
    "many as its outputs"
)


def _labels(name: str, given: NDArray[Any], n_classes: int) -> NDArray[np.int64]:
    # A copy, because labels are used as indices and the caller may change theirs at any time.
    array = np.array(given)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array))
        if not whole.all():
            row = int(np.argmin(whole))
            raise ValueError(
                f"{name} must hold whole class numbers from 0 to {n_classes - 1}, "
                f"got {array[row]} in row {row}."
            )
    legal = (array >= 0) & (array < n_classes)
    if not legal.all():
        row = int(np.argmin(legal))
        from_one = array.min() == 1 and array.max() == n_classes
        hint = "subtract 1, or use fastbp.sklearn" if from_one else _NUMBER_THEM
        raise ValueError(
            f"{name} must hold class numbers from 0 to {n_classes - 1}, one per output of the "
            f"network; got {array[row]} in row {row}: {hint}."
        )
    return array.astype(np.int64, copy=False)


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
        array = array[:, np.newaxis]
    eye = f"numpy.eye({n_outputs})[{_bare(name)}]"
    hint = f"; for class numbers use the loss cross_entropy, or pass {eye}"
    array = _matrix(name, array, n_outputs, "one per output of the network", hint)
    targets = plain(array, kind) if whole else kernels.read_only(array)
    for start, stop in _pieces(array):
        piece = plain(targets[start:stop], kind)
        _check_finite(name, piece, array, start, given)
        _check_legal(name, piece, start, loss)
    return targets


def _check_legal(name: str, targets: FloatArray, first_row: int, loss: str) -> None:
    """Refuse targets that a loss cannot take."""
    if loss == "binary_cross_entropy":
        legal = (targets >= 0) & (targets <= 1)
        allowed = "be between 0 and 1"
    elif loss == "poisson":
        legal = targets >= 0
        allowed = "be at least 0"
    elif loss == "cross_entropy":
        row_sums = targets.sum(axis=1, dtype=np.float64)
        # Loose enough for distributions that were stored in half precision.
        legal = (targets >= 0) & (np.abs(row_sums - 1) < 1e-3)[:, np.newaxis]
        allowed = "be class numbers, or rows of probabilities that sum to 1,"
    else:
        return
    if not legal.all():
        row = int(np.argmin(legal.all(axis=1)))
        raise ValueError(
            f"{name} must {allowed} for the loss {loss}; got {shown(targets[row])} in row "
            f"{first_row + row}."
        )


@np.errstate(all="ignore")
def samples(
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

    With ``whole=False`` dense rows and targets are left as given; the caller converts rows, and
    checks them, by `rows`, and targets, which have been checked here, by `plain`.
    """
    n_outputs = sizes[-1]
    rows = inputs(X, sizes[0], kind, f"{prefix}X", whole=whole)
    name = f"{prefix}y"
    array = _numeric(name, y, f"; {_NAME_THEM}" if loss in kernels.CLASSIFICATION else "")
    if array.ndim == 0 or len(array) != rows.n:
        raise ValueError(
            f"{name} must have one entry per row of {prefix}X, {rows.n}; got shape {array.shape}."
        )
    labels: NDArray[np.int64] = np.empty(0, np.int64)
    targets: NDArray[Any] = np.empty((0, n_outputs), kind)
    is_column = array.ndim == 2 and array.shape[1] == 1
    if loss == "cross_entropy" and (array.ndim == 1 or is_column):
        labels = _labels(name, array.reshape(-1), n_outputs)
    else:
        targets = _targets(name, array, n_outputs, loss, kind, y, whole)
    return kernels.Samples(
        rows, kernels.read_only(labels), kernels.read_only(targets), _weights(sample_weight, rows.n)
    )


def _weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if sample_weight is None:
        weights = np.empty(0)
    else:
        given = _numeric("sample_weight", sample_weight)
        if given.shape != (n,):
            raise ValueError(
                f"sample_weight must have one entry per row of X, shape ({n},); "
                f"got shape {given.shape}."
            )
        whole = _kernel_array("sample_weight", given, np.dtype(np.float64))
        if whole.min() < 0 or whole.max() <= 0:
            raise ValueError("sample_weight must be at least 0 everywhere and above 0 somewhere.")
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
    samples: kernels.Samples, weights: str | Sequence[float] | None
) -> kernels.Samples:
    """Samples whose weights are multiplied by their class's."""
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
    if not each.any():
        raise ValueError("class_weight must leave some sample a weight above 0.")
    return samples._replace(weights=kernels.read_only(each))


def parameters(params: Any, buffer: FloatArray) -> FloatArray:
    """``params`` as parameters that a network's buffer can take on."""
    array = _numeric("params", params)
    if array.shape != buffer.shape:
        raise ValueError(
            f"params must have the shape of network.params, {buffer.shape}, got {array.shape}."
        )
    return _kernel_array("params", array, buffer.dtype)


def gradient_buffer(out: Any, params: FloatArray, *samples: NDArray[Any]) -> FloatArray:
    """``out`` if a gradient of ``params`` can be written to it."""
    if isinstance(out, np.ndarray) and not isinstance(out, np.ma.MaskedArray):
        out = out.view(np.ndarray)  # nobody else can set its shape
    if (
        type(out) is not np.ndarray
        or out.shape != params.shape
        or out.dtype != params.dtype
        or not out.flags.c_contiguous
        or not out.flags.aligned
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
    if any(np.may_share_memory(out, other) for other in (params, *samples)):
        raise ValueError("out must not share memory with network.params or the data.")
    return out
