"""SVG charts for light and dark pages: bars per net on a log scale, and curves over widths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

Bar = tuple[str, float, str, bool]
"""Name, value, label, and whether it is faint."""


class Point(NamedTuple):
    """What is drawn in a roofline plot."""

    series: str
    label: str
    intensity: float
    """Operations for each byte."""
    rate: float
    """GFLOP/s."""


Panels = Sequence[tuple[str, Sequence[Point]]]
"""Headings with their points."""

# Middle tones, which stand out from white and from black.
COLOURS = ("#e8590c", "#f0a35e", "#868e96", "#4c7ef3", "#a94fd0", "#0f9d76", "#c2a000", "#d6456b")
WIDTH, MARGIN, VALUES = 760, 16, 150
BAR, STEP, HEADING, GAP, TOP = 11, 14, 19, 12, 84
PLOT = 240  # height of the curves
# Colours of a few series that must not be taken for one another.
_APART = (COLOURS[3], COLOURS[6], COLOURS[5], COLOURS[0])
# Where their labels stand, so that those of points in one place can be read.
_SIDES = ((9, 4, "start"), (-9, 4, "end"), (0, -9, "middle"), (0, 19, "middle"))
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.net { font-weight: 600 }
.tick { fill: #656d76; text-anchor: middle }
.tick.value { text-anchor: end }
.tick.along { text-anchor: start }
.grid { stroke: #d8dee4 }
.roof { stroke: #868e96; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .tick { fill: #9198a1 }
  .grid { stroke: #343b43 }
}
"""


def chart(title: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """SVG text; ``groups`` are headings with their bars."""
    names = list(dict.fromkeys(bar[0] for _, bars in groups for bar in bars))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    values = [bar[1] for _, bars in groups for bar in bars]
    # Half a decade below the shortest bar, so that it is seen.
    low, high = math.log10(min(values)) - 0.5, math.log10(max(values))

    def x(value: float) -> float:
        share = (math.log10(value) - low) / (high - low)
        return MARGIN + share * (WIDTH - MARGIN - VALUES)

    height = TOP + sum(HEADING + STEP * len(bars) + GAP for _, bars in groups)
    body = legend(title, colours)
    for decade in range(math.ceil(low), math.floor(high) + 1):
        at = f"{x(10.0**decade):.1f}"
        body.append(f'<path class="grid" d="M{at} {TOP - 8}V{height - GAP}"/>')
        body.append(f'<text class="tick" x="{at}" y="{TOP - 13}">{10.0**decade:g}</text>')
    y = TOP
    for heading, bars in groups:
        body.append(f'<text class="net" x="{MARGIN}" y="{y + 12}">{escape(heading)}</text>')
        y += HEADING
        for name, value, label, is_faint in bars:
            opacity = ' opacity="0.5"' if is_faint else ""
            body.append(f'<rect x="{MARGIN}" y="{y}" width="{x(value) - MARGIN:.1f}"'
                        f' height="{BAR}" rx="2" fill="{colours[name]}"{opacity}/>')  # fmt: skip
            body.append(f'<text x="{x(value) + 6:.1f}" y="{y + 10}">{escape(label)}</text>')
            y += STEP
        y += GAP
    return page(title, height, body)


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """SVG text; ``series`` are points (x, y) by name, x on a log scale and y from 0."""
    step = 3 if len(series) <= 3 else 2
    colours = dict(zip(reversed(list(series)), COLOURS[::step], strict=False))
    points = [point for line in series.values() for point in line]
    places = sorted({x for x, _ in points})
    low, high = math.log(places[0]), math.log(places[-1])
    top = max(1.0, *(y for _, y in points))
    bottom, height = TOP + PLOT, TOP + PLOT + 34
    left = MARGIN + 34

    def at(x: float, y: float) -> tuple[float, float]:
        share = (math.log(x) - low) / (high - low)
        return left + share * (WIDTH - 2 * MARGIN - left), bottom - y / top * PLOT

    body = legend(title, colours)
    for half in range(math.floor(2 * top) + 1):
        y = at(places[0], half / 2)[1]
        body.append(f'<path class="grid" d="M{left} {y:.1f}H{WIDTH - MARGIN}"/>')
        body.append(f'<text class="tick value" x="{left - 8}" y="{y + 4:.1f}">{half / 2:g}×</text>')
    for place in places:
        x = at(place, 0)[0]
        body.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 20}">{place:g}</text>')
    thickness = 2 * len(series)
    for name, line in series.items():
        pairs = [at(x, y) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in pairs)
        body.append(f'<path d="M{path}" fill="none" stroke="{colours[name]}"'
                    f' stroke-width="{thickness}"/>')  # fmt: skip
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{thickness + 0.5}"'
                 f' fill="{colours[name]}"/>' for x, y in pairs]  # fmt: skip
        thickness -= 2  # where curves coincide, both are seen
    return page(title, height, body)


def roofline(title: str, peak: float, slopes: Mapping[str, float], panels: Panels) -> str:
    """SVG text: a plot for each of ``panels``, below one another; of at most four series.

    ``peak`` is in GFLOP/s; ``slopes`` are GB/s by the name of what they come from.
    """
    points = [point for _, part in panels for point in part]
    colours = dict(zip(dict.fromkeys(point.series for point in points), _APART, strict=False))
    xs = [point.intensity for point in points] + [peak / rate for rate in slopes.values()]
    ys = [point.rate for point in points] + [peak]
    low, high = math.floor(math.log10(min(xs))), math.log10(max(xs)) + 0.3
    bottom, top = math.floor(math.log10(min(ys))), math.log10(max(ys)) + 0.15
    body, y = legend(title, colours), TOP
    left, right = MARGIN + 34, WIDTH - MARGIN

    def at(x: float, rate: float) -> tuple[float, float]:
        share = (math.log10(x) - low) / (high - low)
        height = (math.log10(rate) - bottom) / (top - bottom)
        return left + share * (right - left), y + HEADING + PLOT * (1 - height)

    for heading, part in panels:
        body.append(f'<text class="net" x="{MARGIN}" y="{y + 8}">{escape(heading)}</text>')
        floor = y + HEADING + PLOT
        for decade in range(low, math.floor(high) + 1):
            x = at(10.0**decade, peak)[0]
            body.append(f'<path class="grid" d="M{x:.1f} {y + HEADING}V{floor}"/>')
            body.append(f'<text class="tick" x="{x:.1f}" y="{floor + 16}">{10.0**decade:g}</text>')
        for decade in range(bottom, math.floor(top) + 1):
            level = at(1, 10.0**decade)[1]
            body.append(f'<path class="grid" d="M{left} {level:.1f}H{right}"/>')
            body.append(f'<text class="tick value" x="{left - 8}" y="{level + 4:.1f}">'
                        f"{10.0**decade:g}</text>")  # fmt: skip
        body.append(f'<text class="tick value" x="{right}" y="{at(1, peak)[1] - 6:.1f}">'
                    f"{peak:.0f} GFLOP/s</text>")  # fmt: skip
        for k, (name, rate) in enumerate(slopes.items()):
            start = max(10.0**low, 10.0**bottom / rate)
            (x, level), ridge = at(start, start * rate), at(peak / rate, peak)
            body.append(f'<path class="roof" d="M{x:.1f} {level:.1f}'
                        f'L{ridge[0]:.1f} {ridge[1]:.1f}H{right}"/>')  # fmt: skip
            turn = math.degrees(math.atan2(ridge[1] - level, ridge[0] - x))
            x += (ridge[0] - x) * (1 - k / len(slopes)) * 0.7  # side by side, where lines are near
            level += math.tan(math.radians(turn)) * (x - at(start, start * rate)[0]) - 5
            place = f"translate({x:.1f} {level:.1f}) rotate({turn:.1f})"
            body.append(f'<text class="tick along" transform="{place}">'
                        f"{escape(name)}, {rate:.0f} GB/s</text>")  # fmt: skip
        for point in part:
            x, level = at(point.intensity, point.rate)
            right_by, down_by, anchor = _SIDES[list(colours).index(point.series)]
            body.append(f'<circle cx="{x:.1f}" cy="{level:.1f}" r="5"'
                        f' fill="{colours[point.series]}"/>')  # fmt: skip
            body.append(f'<text x="{x + right_by:.1f}" y="{level + down_by:.1f}"'
                        f' text-anchor="{anchor}">{escape(point.label)}</text>')  # fmt: skip
        y = floor + 44
    return page(title, y - 12, body)


def legend(title: str, colours: Mapping[str, str]) -> list[str]:
    """Title, and the names with their colours."""
    body = [f'<text class="title" x="{MARGIN}" y="24">{escape(title)}</text>']
    left = MARGIN
    for name, colour in colours.items():
        body.append(f'<rect x="{left}" y="38" width="{BAR}" height="{BAR}" rx="2"'
                    f' fill="{colour}"/>')  # fmt: skip
        body.append(f'<text x="{left + 16}" y="48">{escape(name)}</text>')
        left += 40 + 6 * len(name)
    return body


def page(title: str, height: float, body: Sequence[str]) -> str:
    """The whole of the SVG text."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img">'
    )
    lines = [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *body, "</svg>"]
    return "\n".join(lines) + "\n"
