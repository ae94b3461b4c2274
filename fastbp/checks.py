"""Checks of plain values that users give: numbers, names, sizes, sequences of them.

A message names the argument, what was given and what is allowed.
"""

import difflib
import inspect
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from fastbp import kernels
from fastbp.initializers import INITIALIZERS

Entry = TypeVar("Entry")

_DTYPES = ("float32", "float64")

_LARGEST_INT = 2**63 - 1

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
    """``value`` as a float; NaN if it is not a real number, or is too large for a float."""
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


def _each(
    name: str, value: Any, n: int, kind: type, of: str, check: Callable[[str, Any], Entry]
) -> tuple[Entry, ...]:
    """n checked values, from one value for all or a sequence of n."""
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


def class_weight(
    value: Any, classes: Sequence[Any], kind: np.dtype[Any]
) -> str | tuple[float, ...] | None:
    """One weight per class, 1 for what a mapping leaves out; or "balanced", or None for none.

    ``classes`` are what a mapping may have as keys: labels in their order, or a range of numbers.
    """
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    if isinstance(value, Mapping):
        if unknown := [label for label in value if label not in classes]:
            known = f"among {shown(list(classes))}"
            if isinstance(classes, range):
                known = f"from 0 to {len(classes) - 1}"
            hint = nearest(unknown[0], map(str, classes))
            raise ValueError(
                f"class_weight must name classes {known}, got {shown(unknown[0])}{hint}."
            )
        given = {label: value.get(label, 1.0) for label in classes}
    else:
        entries = sequence(value)
        if entries is None or len(entries) != len(classes):
            raise ValueError(
                f'class_weight must be "balanced", {len(classes)} weights, or a mapping from '
                f"classes to weights; got {shown(value)}."
            )
        given = dict(enumerate(entries))
    return tuple(
        rate(f"class_weight[{label!r}]", weight, kind, zero=True) for label, weight in given.items()
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
    return np.dtype(kind.name)  # the one object that arrays of this dtype have


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
