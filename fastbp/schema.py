"""What the header of a model file says: each field, and what its value must be.

`save` and `load` both check a header with `HEADER`, so each refuses what the other does. Where a
value is an argument of a network or a trainer, only its type in JSON is here; they check the rest.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

# Given the name and the value of a field, raises ValueError if it must not have that value.
Check = Callable[[str, Any], None]

FORMAT = 1
_DEEPEST = 100


def _refuse(name: str, allowed: str, value: Any) -> None:
    raise ValueError(f"{name} must be {allowed}, got {reprlib.repr(value)}")


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these fields, perhaps with the optional ones, and with no others."""
    known = {**required, **(optional or {})}

    def check(name: str, value: Any) -> None:
        if not isinstance(value, dict):
            _refuse(name or "the header", "an object", value)
        prefix = f"{name}." if name else ""
        for each in value:
            if each not in known:
                raise ValueError(f"{prefix}{reprlib.repr(each)} is no field of a model file")
        for each, its_check in known.items():
            if each in value:
                its_check(prefix + each, value[each])
            elif each in required:
                raise ValueError(f"{prefix}{each} is missing")

    return check


def items(check_item: Check, length: int | None = None) -> Check:
    """A list, of so many items if that is given."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            _refuse(name, "a list" if length is None else f"a list of {length}", value)
        for i, each in enumerate(value):
            check_item(f"{name}[{i}]", each)

    return check


def whole(minimum: int, below: int) -> Check:
    """An integer; true, 1.0 and "1" are refused."""

    def check(name: str, value: Any) -> None:
        if type(value) is not int or not minimum <= value < below:
            _refuse(name, f"an integer from {minimum} to below {below}", value)

    return check


def number(name: str, value: Any) -> None:
    """A number; infinity and NaN are accepted, as results of an overflow."""
    if type(value) is not float and (type(value) is not int or abs(value) >= 2**63):
        _refuse(name, "a number", value)


def text(name: str, value: Any) -> None:
    """A string."""
    if not isinstance(value, str):
        _refuse(name, "a string", value)


def mapping(name: str, value: Any) -> None:
    """An object that is nested no deeper than every JSON parser can read."""
    if not isinstance(value, dict):
        _refuse(name, "a dict, which is an object of JSON", value)
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for each in level
            if isinstance(each, (dict, list))
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise ValueError(f"{name} must not be nested deeper than {_DEEPEST} levels")


def _or_none(check_other: Check) -> Check:
    def check(name: str, value: Any) -> None:
        if value is not None:
            check_other(name, value)

    return check


def _metrics(name: str, value: Any) -> None:
    """Columns by name."""
    mapping(name, value)
    for each, column in value.items():
        items(_or_none(number))(f"{name}.{reprlib.repr(each)}", column)


def _history(name: str, value: Any) -> None:
    numbers, perhaps = items(number), items(_or_none(number))
    required = {
        "train_loss": numbers,
        "eval_loss": perhaps,
        "accuracy": perhaps,
        "samples_per_second": numbers,
        "seconds": numbers,
    }
    # Files of version 0.1 had one method and one learning rate, and no columns for them.
    columns = required | {"method": items(text), "learning_rate": numbers}
    others = {"metrics": _metrics, "chosen_epoch": whole(0, 2**63)}
    fields(required, columns | others)(name, value)
    metrics = value.get("metrics", {})
    if taken := metrics.keys() & columns.keys():
        raise ValueError(f"{name}.metrics.{min(taken)} is a column of the history already")
    lengths = {len(column) for key, column in (value | metrics).items() if key not in others}
    if len(lengths) > 1:
        raise ValueError("the columns of the history differ in length")
    if value.get("chosen_epoch", 0) > min(lengths):
        raise ValueError(f"{name}.chosen_epoch is none of its {min(lengths)} epochs")


def _generator(name: str, value: Any) -> None:
    """State of NumPy's PCG64, whose increment is odd."""
    fields(
        {
            "bit_generator": text,
            "state": fields({"state": whole(0, 2**128), "inc": whole(0, 2**128)}),
            "has_uint32": whole(0, 2),
            "uinteger": whole(0, 2**32),
        }
    )(name, value)
    if value["bit_generator"] != "PCG64" or value["state"]["inc"] % 2 == 0:
        _refuse(name, "a state of PCG64", value)


def _counts(name: str, value: Any) -> None:
    """Steps, NAdam's product of μ (each of which is below 1), and samples."""
    items(number, 3)(name, value)
    steps, product, samples = value
    if not all(0 <= n < 2**53 and n == int(n) for n in (steps, samples)) or not 0 <= product < 1:
        _refuse(name, "a whole number, one from 0 to below 1, and a whole number", value)


_CALLBACK = fields(
    {"callback": text, "epochs_seen": whole(0, 2**63), "values": mapping, "vectors": items(text)}
)

TRAINER = fields(
    {"options": mapping, "history": _history, "generator": _generator},
    # Files of version 0.1 had no optimizers and no dropout.
    {
        "key": items(whole(0, 2**32), 2),
        "counts": _counts,
        # Only after `learn_one` or `partial_fit`.
        "stream": fields({"samples": whole(1, 2**63), "loss_sum": number, "recent": number}),
        # Only within an epoch of `fit_stream`.
        "unfinished": fields({"samples": whole(1, 2**63), "loss_sum": number, "seconds": number}),
        # Only if callbacks had states to save.
        "callbacks": items(_CALLBACK),
    },
)


def _label(name: str, value: Any) -> None:
    """A label of a class."""
    if not isinstance(value, (str, bool)):
        number(name, value)


def _truth(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        _refuse(name, "true or false", value)


_PREPARED_COLUMN = fields(
    {"name": text, "kind": text},
    # Fields that have their default values are left out.
    {
        "mean": number,
        "scale": number,
        "fill": number,
        "missing": _truth,
        "values": items(text),
        "buckets": whole(0, 2**31),
    },
)

_PREPARATION = fields(
    {
        "scale": _truth,
        "hashed": items(text),
        "most_values": whole(1, 2**63),
        "named": _truth,
        "columns": items(_PREPARED_COLUMN),
        "target": _or_none(fields({"mean": items(number), "scale": items(number)})),
    }
)

HEADER = fields(
    {
        "format": whole(1, FORMAT + 1),
        "sizes": items(whole(1, 2**63)),
        "activations": items(text),
        "loss": text,
        "inits": items(text),
        "dtype": text,
        "extra": mapping,
    },
    # Files of the first fastbp had no digest.
    {"trainer": TRAINER, "sha256": text, "classes": items(_label), "preparation": _PREPARATION},
)
