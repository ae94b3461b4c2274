"""What notebooks show of a history and of a network: tables and a plot, without matplotlib.

Lines and text have the colour of the text around them, so that they can be read on light and on
dark pages; curves differ by their dashes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import axes, metrics
from fastbp.history import History

_WIDTH, _HEIGHT = 560, 200
# What is left of it for the curves: from the left, from the top, width, height.
_LEFT, _TOP, _INNER_WIDTH, _INNER_HEIGHT = 64, 26, 484, 140
# More points than that cannot be told apart.
_MOST_POINTS = 500
_DASHES = ("5 3", "", "1 3", "8 3 1 3")
_NOT_SHOWN = ("method", "samples_per_second", "seconds")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of texts, which are escaped."""
    cell = '<{0} style="text-align:left;padding:2px 10px">{1}</{0}>'
    lines = [
        "<tr>" + "".join(cell.format(tag, html.escape(text)) for text in row) + "</tr>"
        for tag, row in [("th", head), *(("td", row) for row in rows)]
    ]
    title = '<caption style="text-align:left;padding:4px 10px">{}</caption>'
    top = title.format(html.escape(caption)) if caption else ""
    return f"<table>{top}<thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"


def of_history(history: History) -> str:
    """The best and the last epoch as a table, and the losses as a plot."""
    n, best = len(history), axes.marked_epoch(history)
    if not n:
        return "<p>History: no epochs yet</p>"
    columns = {
        name: column
        for name, column in vars(history).items()
        if name not in _NOT_SHOWN and any(value is not None for value in column)
    }
    named = {f"best: {best:,}": best, f"last: {n:,}": n} if 0 < best < n else {f"last: {n:,}": n}
    rows = [
        [title, *(_shown(name, column[epoch - 1]) for name, column in columns.items())]
        for title, epoch in named.items()
    ]
    caption = f"History of {n:,} epoch{'s' * (n > 1)}, {sum(history.seconds):.2f} s"
    return f"<div>{table(['epoch', *columns], rows, caption)}{_plot(history)}</div>"


def _shown(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return metrics.shown(name, value)


def _plot(history: History) -> str:
    """The losses over epochs as an inline SVG picture."""
    curves: dict[str, Sequence[float | None]] = {
        "training loss": history.train_loss,
        "validation loss": history.eval_loss,
    }
    drawn = {
        name: axes.floats(column)
        for name, column in curves.items()
        if any(value is not None for value in column)
    }
    ends = axes.bounds([column.tolist() for column in drawn.values()])
    n, best = len(history), axes.marked_epoch(history)
    parts = [_text(_LEFT - 6, y, text, "end") for y, text in _ticks(ends)]
    if n > 1:
        below = _HEIGHT - 18
        parts += [_text(_LEFT, below, "1"), _text(_WIDTH - 12, below, f"{n:,}", "end")]
    middle = _LEFT + _INNER_WIDTH / 2
    parts.append(
        _text(middle, _HEIGHT - 18, f"epoch{f' ({ends.note})' * bool(ends.note)}", "middle")
    )
    inside, x = [], _LEFT
    for dashes, (name, column) in zip(_DASHES, drawn.items(), strict=False):
        inside += _polylines(column, ends, dashes)
        parts += [_line(x, 10, x + 26, 10, dashes), _text(x + 32, 14, name)]
        x += 150
    if best:
        at = _x(np.array([best]), n)[0]
        inside.append(_line(at, 0, at, _INNER_HEIGHT, "2 3", 1))
        parts += [_line(x + 13, 3, x + 13, 17, "2 3", 1), _text(x + 24, 14, f"best epoch {best:,}")]
    frame = f'<path d="M{_LEFT} {_TOP}v{_INNER_HEIGHT}h{_INNER_WIDTH}" fill="none" opacity="0.5"/>'
    # What lies outside of an inner picture is not drawn.
    inner = (
        f'<svg x="{_LEFT}" y="{_TOP}" width="{_INNER_WIDTH}" height="{_INNER_HEIGHT}" '
        f'overflow="hidden">{"".join(inside)}</svg>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="losses over {n:,} epochs" '
        'style="max-width:100%" fill="currentColor" stroke="currentColor" '
        f'font-family="sans-serif" font-size="12">{"".join(parts)}{frame}{inner}</svg>'
    )


def _x(epochs: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Where epochs lie in the inner picture."""
    share = (epochs - 1) / (n - 1) if n > 1 else np.full(len(epochs), 0.5)
    return np.asarray(3 + share * (_INNER_WIDTH - 6), np.float64)


def _y(values: NDArray[np.float64], ends: axes.Bounds) -> NDArray[np.float64]:
    """Where values lie in the inner picture, and not far outside of it."""
    scaled = np.log if ends.is_log else np.asarray
    with np.errstate(all="ignore"):
        low, high, at = scaled(ends.low), scaled(ends.high), scaled(values)
        y = np.asarray((high - at) / (high - low) * _INNER_HEIGHT, np.float64)
    return np.where(np.isfinite(values), np.clip(y, -_HEIGHT, 2 * _HEIGHT), np.nan)


def _polylines(column: NDArray[np.float64], ends: axes.Bounds, dashes: str) -> list[str]:
    """A curve, interrupted where it is not finite; an epoch between two such is a dot."""
    n = len(column)
    epochs = np.unique(np.linspace(1, n, min(n, _MOST_POINTS)).round().astype(np.int64))
    x, y = _x(epochs, n), _y(column[epochs - 1], ends)
    parts = []
    for piece in np.split(np.arange(len(x)), np.flatnonzero(np.isnan(y))):
        piece = piece[~np.isnan(y[piece])]
        if len(piece) == 1:
            parts.append(f'<circle cx="{x[piece[0]]:.1f}" cy="{y[piece[0]]:.1f}" r="2.5"/>')
        elif len(piece):
            points = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in piece)
            style = f'fill="none" stroke-width="1.6" stroke-dasharray="{dashes}"'
            parts.append(f'<polyline points="{points}" {style}/>')
    return parts


def _ticks(ends: axes.Bounds) -> list[tuple[float, str]]:
    """Heights and texts of three numbers at the axis, in as many digits as tell them apart."""
    shares = np.array([0.06, 0.5, 0.94])
    if ends.is_log:
        values = ends.low * (ends.high / ends.low) ** shares
    else:
        values = ends.low + (ends.high - ends.low) * shares
    heights = _TOP + (1 - shares) * _INNER_HEIGHT + 4
    for digits in range(3, 17):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(texts):
            break
    return list(zip(heights.tolist(), texts, strict=True))


def _line(x1: float, y1: float, x2: float, y2: float, dashes: str, width: float = 1.6) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} stroke="none">{html.escape(text)}</text>'
