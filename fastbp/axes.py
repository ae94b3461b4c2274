"""Which part of a column of the history an axis shows, for `plotting` and `html` alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.history import History

# An axis is logarithmic where the largest loss is this many times the least,
_WIDE = 4.0
# and cut where the last two thirds of the epochs would fill less than a quarter of it.
_MOST = 4.0
# What is beyond is drawn at it, for differences and ticks must not overflow.
_LARGEST = 1e200


class Bounds(NamedTuple):
    """Ends of an axis."""

    low: float
    high: float
    is_log: bool
    note: str
    """What the axis does not show, as short text; empty if nothing."""


def floats(column: Sequence[float | None]) -> NDArray[np.float64]:
    """A column of the history, with NaN where it has None."""
    return np.array([np.nan if value is None else value for value in column], np.float64)


def bounds(
    columns: Sequence[Sequence[float | None]],
    *,
    is_loss: bool = True,
    shown: Callable[[float], str] = "{:.3g}".format,
) -> Bounds:
    """Ends of an axis on which the end of a training can be read.

    What the first epochs have above and below the others is cut off if it would take most of the
    axis, even a logarithmic one, which only a loss has. Values that are not finite do not count.
    ``shown`` writes the numbers of the note.
    """
    curves = [floats(column) for column in columns]
    values = np.concatenate([*curves, []])
    late = np.concatenate([curve[len(curve) // 3 :] for curve in curves] + [[]])
    n_odd = sum(int(np.isinf(c).sum() + np.isnan(c).sum()) for c in curves if _is_known(c))
    odd = f"{n_odd:,} not finite" if n_odd else ""
    values, late = (np.clip(a[np.isfinite(a)], -_LARGEST, _LARGEST) for a in (values, late))
    if not len(values):
        return Bounds(0.0, 1.0, False, odd)
    late = late if len(late) else values
    least_span = (0.01 if is_loss else 0.05) * float(np.abs(late).max())  # no zoom into noise
    low, high = _cut(values, late, least_span)
    is_log = False
    if is_loss and values.min() > 0 and values.max() > _WIDE * values.min():
        logs = [np.log10(np.maximum(a, 1 / _LARGEST)) for a in (values, late)]
        powers = _cut(logs[0], logs[1], 0.01)
        ends = 10.0 ** np.clip(powers, -210, 210)
        if ends[1] > _WIDE * ends[0]:
            (low, high), is_log = ends.tolist(), True
    hidden = [
        f"{what} {shown(value)}"
        for what, value, is_hidden in (
            ("most", values.max(), values.max() > high),
            ("least", values.min(), values.min() < low),
        )
        if is_hidden
    ]
    cut = f"axis cut: {', '.join(hidden)}" if hidden else ""
    return Bounds(low, high, is_log, "; ".join(filter(None, (cut, odd))))


def _is_known(curve: NDArray[np.float64]) -> bool:
    """Whether a column has values at all: without an eval_set it has none."""
    return not np.isnan(curve).all()


def _cut(
    values: NDArray[np.float64], late: NDArray[np.float64], least_span: float
) -> tuple[float, float]:
    """Ends that leave a margin around all values, or else around the late ones."""
    low, high = late.min(), late.max()
    span = max(high - low, least_span) or 1.0
    if values.max() - values.min() <= _MOST * span:
        low, high = values.min(), values.max()
        half = 0.56 * max(span, high - low)
        return float((low + high) / 2 - half), float((low + high) / 2 + half)
    # Some of the way on which the curve comes in is left.
    return (
        float(max(low - 0.4 * span, values.min() - 0.06 * span)),
        float(min(high + 0.4 * span, values.max() + 0.06 * span)),
    )


def marked_epoch(history: History) -> int:
    """Number of the best epoch on rows that were not trained on, from 1; 0 if there is none."""
    is_known = history.chosen_epoch or any(value is not None for value in history.eval_loss)
    return history.best_epoch if is_known else 0
