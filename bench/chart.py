"""SVG charts for light and dark pages: bars per net on a log scale, and curves over widths."""

import math
from html import escape

# Middle tones, which stand out from white and from black.
COLOURS = ("#e8590c", "#f0a35e", "#868e96", "#4c7ef3", "#a94fd0", "#0f9d76", "#c2a000", "#d6456b")
WIDTH, MARGIN, VALUES = 760, 16, 150
BAR, STEP, HEADING, GAP, TOP = 11, 14, 19, 12, 84
PLOT = 240  # height of the curves
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.net { font-weight: 600 }
.tick { fill: #656d76; text-anchor: middle }
.tick.value { text-anchor: end }
.grid { stroke: #d8dee4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .tick { fill: #9198a1 }
  .grid { stroke: #343b43 }
}
"""


def chart(title, groups):
    """SVG text; ``groups`` are (heading, bars), and bars are (system, value, label, is_faint)."""
    names = list(dict.fromkeys(bar[0] for _, bars in groups for bar in bars))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    values = [bar[1] for _, bars in groups for bar in bars]
    # Half a decade below the shortest bar, so that it is seen.
    low, high = math.log10(min(values)) - 0.5, math.log10(max(values))

    def x(value):
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


def curves(title, series):
    """SVG text; ``series`` are points (x, y) by name, x on a log scale and y from 0."""
    step = 3 if len(series) <= 3 else 2
    colours = dict(zip(reversed(series), COLOURS[::step], strict=False))
    points = [point for line in series.values() for point in line]
    places = sorted({x for x, _ in points})
    low, high = math.log(places[0]), math.log(places[-1])
    top = max(1.0, *(y for _, y in points))
    bottom, height = TOP + PLOT, TOP + PLOT + 34
    left = MARGIN + 34

    def at(x, y):
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


def legend(title, colours):
    """Title, and the names with their colours."""
    body = [f'<text class="title" x="{MARGIN}" y="24">{escape(title)}</text>']
    left = MARGIN
    for name, colour in colours.items():
        body.append(f'<rect x="{left}" y="38" width="{BAR}" height="{BAR}" rx="2"'
                    f' fill="{colour}"/>')  # fmt: skip
        body.append(f'<text x="{left + 16}" y="48">{escape(name)}</text>')
        left += 40 + 6 * len(name)
    return body


def page(title, height, body):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img">'
    )
    lines = [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *body, "</svg>"]
    return "\n".join(lines) + "\n"
