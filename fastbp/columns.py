"""Columns of a text file: what counts as a number, and when a column holds labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Python's int() and float() also take 1_000, 007, digits of other scripts, inf and nan: texts that
# look different would become equal numbers.
_NUMBER = re.compile(
    r"[ \t]*[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*"
)
# Texts of digits that are not numbers: 007, 1_000, 0x1F, １２.
_CODE = re.compile(
    r"[+-]?(?:0[xXoObB][0-9a-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?)"
)
_WHAT_A_NUMBER_IS = "a number has ASCII digits, no leading zeros and no underscores"


class CellError(ValueError):
    """A cell that a column of numbers cannot have."""

    def __init__(self, place: int, what: str) -> None:
        super().__init__(what)
        self.place = place
        """Index of the cell in its column."""


class IndistinctError(CellError):
    """A number with more digits than float64 holds, which would become equal to another one."""


def is_number(cell: str) -> bool:
    """Whether a text is a decimal or scientific number, such as 12.50, .5 or -2e3."""
    return _NUMBER.fullmatch(cell) is not None


def floats(cells: Sequence[str]) -> NDArray[np.float64]:
    """A column of finite numbers.

    Raises
    ------
    CellError
        At the first cell that is not one, or that float64 cannot tell from an earlier one.
    """
    if not all(map(_NUMBER.fullmatch, cells)):
        place = next(i for i, cell in enumerate(cells) if not is_number(cell))
        raise CellError(place, _why_no_number(cells[place]))
    values = np.array(list(map(float, cells)), np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        place = int(np.argmin(finite))
        is_integer = cells[place].strip(" \t+-").isdigit()
        kind = IndistinctError if is_integer else CellError
        raise kind(place, f"has {_shown(cells[place])} where a finite number belongs")
    _refuse_indistinct(cells, values)
    return values


def _refuse_indistinct(cells: Sequence[str], values: NDArray[np.float64]) -> None:
    """Refuse different integers that have become equal, as they can beyond 2⁵³ in float64."""
    seen: dict[float, str] = {}
    for place in np.flatnonzero(np.abs(values) >= 2.0**53).tolist():
        cell = cells[place].strip(" \t")
        first = seen.setdefault(float(values[place]), cell)
        if first != cell and Decimal(first) != Decimal(cell):
            raise IndistinctError(
                place, f"has {_shown(cell)}, which float64 cannot tell from {_shown(first)}"
            )


def targets(cells: Sequence[str], as_text: bool = False) -> Array:
    """A column of integers, of finite floats, or of labels.

    It holds labels if no cell is a number; if there are codes among the numbers, such as 007 or
    1_000; or if two integers would become equal.

    Parameters
    ----------
    cells : sequence of str
    as_text : bool
        Take numbers for labels too.

    Returns
    -------
    array of int64, float64 or str

    Raises
    ------
    CellError
        At the first word in a column of numbers, or the first cell that is empty or has a NUL.
    """
    cells = [cell.strip(" \t") for cell in cells]
    for place, cell in enumerate(cells):
        if not cell or cell.isspace():
            raise CellError(place, "is empty")
        if "\0" in cell:  # NumPy drops it from the end of a text
            raise CellError(place, "has a NUL character")
    numbers = 0 if as_text else sum(map(is_number, cells))
    if numbers < len(cells):
        if numbers and not any(_CODE.fullmatch(cell) and not is_number(cell) for cell in cells):
            floats(cells)  # names the first word
        return np.array(cells)
    try:
        return np.array(list(map(int, cells)), np.int64)
    except (ValueError, OverflowError):  # a decimal point, or more digits than int64 has
        pass
    try:
        return floats(cells)
    except IndistinctError:
        return np.array(cells)


def _why_no_number(cell: str) -> str:
    if not cell.strip():
        return "is empty"
    if cell.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"has {cell.strip()} where a finite number belongs"
    why = f" ({_WHAT_A_NUMBER_IS})" if _CODE.fullmatch(cell.strip()) else ""
    return f"has text {_shown(cell)!r} where a number belongs{why}"


def _shown(cell: str) -> str:
    return cell if len(cell) <= 50 else f"{cell[:47]}..."
