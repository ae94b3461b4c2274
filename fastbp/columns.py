"""Columns of a text file: what counts as a number, and what a column of cells holds."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Python's int() and float() also take 1_000, 007, digits of other scripts, inf and nan: texts that
# look different would become equal numbers.
_NUMBER = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_WITH_COMMA = _NUMBER.replace(r"\.", ",")
_INTEGER = r"[+-]?(?:0|[1-9][0-9]*)"
# Texts of digits that are not numbers: 007, 1_000, 0x1F, １２.
_DIGITS = r"\p{Nd}[\p{Nd}_]*"
_CODE = (
    r"[+-]?(?:0[xXoObB][0-9a-fA-F_]+"
    rf"|(?:{_DIGITS}\.?[\p{{Nd}}_]*|\.{_DIGITS})(?:[eE][+-]?\p{{Nd}}[\p{{Nd}}_]*)?)"
)
_INFINITE = r"(?i)[+-]?inf(?:inity)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
# 1,234 is 1.234 to some and 1234 to others.
_AMBIGUOUS = r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"

MISSING = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "?")
"""What stands for a missing value among numbers, true and false, or dates; an empty cell always."""


class CellError(ValueError):
    """A cell that does not go with the others of its column."""

    def __init__(self, place: int, what: str) -> None:
        super().__init__(what)
        self.place = place
        """Index of the cell in its column."""


def is_number(cell: str) -> bool:
    """Whether a text is a decimal or scientific number, such as 12.50, .5 or -2e3."""
    return re.fullmatch(rf"[ \t]*{_NUMBER}[ \t]*", cell) is not None


def typed(cells: Any, *, as_text: bool = False, decimal: str = ".") -> Any:
    """What a column of cells holds, null where a value is missing.

    Parameters
    ----------
    cells : pyarrow.StringArray
    as_text : bool
        Leave numbers and the like as they are written.
    decimal : "." or ","
        The decimal sign of numbers.

    Returns
    -------
    pyarrow.Array
        int64 or float64 if all cells are numbers; bool if all are true or false; date32 or
        timestamp if all are ISO dates; otherwise string, without the spaces around it.

    Raises
    ------
    CellError
        At a word in a column of numbers, or a number that is not finite.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.ascii_trim(cells, " \t")
    text = _null_where(pc.equal(pc.utf8_trim_whitespace(text), ""), text)
    if as_text:
        return text
    values = _null_where(pc.is_in(text, pa.array(MISSING)), text)
    present = len(values) - values.null_count
    if not present:
        return pa.nulls(len(values), pa.float64())
    is_number = _matches(values, _NUMBER if decimal == "." else _WITH_COMMA)
    n_numbers = pc.sum(is_number).as_py()
    if n_numbers == present:
        points = values if decimal == "." else pc.replace_substring(values, ",", ".")
        return _numbers(points, text)
    if decimal == ",":
        _refuse_points(values, is_number)
    if n_numbers:
        _refuse_few_words(values, is_number, n_numbers)
        return text
    other = _truths(values)
    if other is None:
        other = _dates(values)
    return text if other is None else other


def plain(column: Any, as_text: bool) -> Any:
    """A column of another file in the types that `typed` gives, as far as there are such."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):  # pandas' categories: labels, even where they are numbers
        column = column.cast(kind.value_type).cast(pa.string())
    elif pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind) or pa.types.is_float16(kind):
        column = column.cast(pa.float64())
    if as_text and pa.types.is_primitive(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        return _null_where(pc.equal(pc.utf8_trim_whitespace(column), ""), column)
    if pa.types.is_floating(column.type):
        column = _null_where(pc.is_nan(column), column)
        place = _first_false(pc.is_finite(column))
        if place is not None:
            raise CellError(place, f"has {column[place]} where a finite number belongs")
    return column


def has_decimal_commas(cells: Any) -> bool | None:
    """Whether a column's numbers have decimal commas; None if 1,234 may be meant as 1234."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.ascii_trim(cells, " \t")
    values = values.filter(pc.invert(pc.is_in(values, pa.array(("", *MISSING)))))
    with_comma = values.filter(pc.match_substring(values, ","))
    if not len(with_comma) or not pc.all(_matches(values, _WITH_COMMA)).as_py():
        return False
    return None if pc.all(_matches(with_comma, _AMBIGUOUS)).as_py() else True


def numbers(column: Any) -> NDArray[np.float64]:
    """A column of a table as numbers, true and false as 1 and 0.

    Raises
    ------
    CellError
        At the first cell that is missing or no number, or that float64 cannot tell from an earlier
        one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    _refuse_missing(column)
    kind = column.type
    if pa.types.is_string(kind):
        raise _why_no_numbers(column)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise CellError(0, f"holds {kind} where numbers belong")
    floats = pc.cast(column, pa.float64(), safe=False)
    error = _indistinct(column, floats) if pa.types.is_integer(kind) else None
    if error is not None:
        raise error
    return np.asarray(floats.to_numpy(zero_copy_only=False), np.float64)


def targets(column: Any) -> NDArray[Any]:
    """A column of a table as int64, float64, bool or str.

    Raises
    ------
    CellError
        If a cell is missing, or the column holds neither numbers nor text.
    """
    import pyarrow as pa

    _refuse_missing(column)
    kind = column.type
    if pa.types.is_string(kind):
        return np.array(column.to_pylist(), str)
    if pa.types.is_boolean(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False), bool)
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return np.asarray(column.to_numpy(), np.int64)
    return numbers(column)


def _refuse_missing(column: Any) -> None:
    if column.null_count:
        raise CellError(column.is_null().index(True).as_py(), "has a missing value")


def _why_no_numbers(text: Any) -> CellError:
    """What keeps a column of text from being one of numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = _first_false(_matches(text, _NUMBER))
    if place is not None:
        return CellError(place, _why_no_number(text[place].as_py()))
    floats = text.cast(pa.float64())
    place = _first_false(pc.is_finite(floats))
    if place is not None:
        return _not_finite(place, text)
    error = _indistinct(text, floats)
    return error or CellError(0, f"has text {_shown(text[0].as_py())!r} where a number belongs")


def _null_where(condition: Any, values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.any(condition).as_py():  # and no copy is needed
        return values
    return pc.if_else(condition, pa.scalar(None, values.type), values)


def _matches(values: Any, pattern: str) -> Any:
    import pyarrow.compute as pc

    return pc.match_substring_regex(values, rf"\A(?:{pattern})\z")


def _first_false(condition: Any) -> int | None:
    import pyarrow.compute as pc

    place: int = pc.index(condition, False).as_py()
    return None if place < 0 else place


def _numbers(values: Any, text: Any) -> Any:
    """Numbers of cells that are all numbers; text where they are longer than numbers can be."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(_matches(values, _INTEGER)).as_py():
        try:
            return pc.replace_substring_regex(values, r"\A\+", "").cast(pa.int64())
        except pa.ArrowInvalid:  # more digits than int64 has
            pass
    floats = values.cast(pa.float64())
    place = _first_false(pc.is_finite(floats))
    if place is not None:
        if values[place].as_py().strip("+-").isdigit():
            return text
        raise _not_finite(place, values)
    return floats if _indistinct(values, floats) is None else text


def _not_finite(place: int, values: Any) -> CellError:
    return CellError(place, f"has {_shown(values[place].as_py())} where a finite number belongs")


def _indistinct(values: Any, floats: Any) -> CellError | None:
    """The first of different numbers that have become equal, as they can beyond 2⁵³ in float64."""
    import pyarrow.compute as pc

    places = pc.indices_nonzero(pc.greater_equal(pc.abs(floats), 2.0**53))
    seen: dict[float, str] = {}
    for place in places.to_pylist():
        cell = str(values[place])
        first = seen.setdefault(floats[place].as_py(), cell)
        if first != cell and Decimal(first) != Decimal(cell):
            return CellError(
                place, f"has {_shown(cell)}, which float64 cannot tell from {_shown(first)}"
            )
    return None


def _refuse_points(values: Any, is_number: Any) -> None:
    """Refuse decimal points in a column of numbers of which others have decimal commas."""
    import pyarrow.compute as pc

    if pc.all(pc.or_(is_number, _matches(values, _NUMBER))).as_py():
        place = _first_false(is_number)
        assert place is not None
        cell = _shown(values[place].as_py())
        raise CellError(place, f"has {cell}, and the decimal sign of this file is the comma")


def _refuse_few_words(values: Any, is_number: Any, n_numbers: int) -> None:
    """Refuse words where they are so few that the column was meant to be one of numbers."""
    import pyarrow.compute as pc

    words = values.filter(pc.invert(is_number))
    words = words.drop_null()
    are_infinite = pc.all(_matches(words, _INFINITE)).as_py()
    are_few = len(words) <= max(1, n_numbers // 20)
    if are_infinite or (are_few and not pc.any(_matches(words, _CODE)).as_py()):
        place = _first_false(is_number)
        assert place is not None
        raise CellError(place, _why_no_number(values[place].as_py()))


def _truths(values: Any) -> Any:
    import pyarrow.compute as pc

    words = pc.ascii_lower(values)
    return pc.equal(words, "true") if pc.all(_matches(words, "true|false")).as_py() else None


def _dates(values: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.all(_matches(values, f"{_DATE}(?:[T ]{_TIME})?")).as_py():
        return None
    if pc.all(_matches(values, _DATE)).as_py():
        kinds = [pa.date32()]
    else:
        kinds = [pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in ("us", "ns")]
    for kind in kinds:
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:  # the 13th month, or times of which some have a zone
            continue
    return None


def _why_no_number(cell: str) -> str:
    if cell.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"has {cell} where a finite number belongs"
    import pyarrow as pa

    is_code = _matches(pa.array([cell]), _CODE)[0].as_py()
    rule = " (a number has ASCII digits, no leading zeros and no underscores)" if is_code else ""
    return f"has text {_shown(cell)!r} where a number belongs{rule}"


def _shown(cell: str) -> str:
    return cell if len(cell) <= 50 else f"{cell[:47]}..."
