"""The figures of `training` as an SVG chart: bars per net, log scale, for light and dark pages."""

import math
from html import escape

# Middle tones, which stand out from white and from black.
COLOURS = ("#e8590c", "#f0a35e", "#868e96", "#4c7ef3", "#a94fd0", "#0f9d76", "#c2a000", "#d6456b")
WIDTH, MARGIN, VALUES = 760, 16, 150
BAR, STEP, HEADING, GAP, TOP = 11, 14, 19, 12, 84
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.net { font-weight: 600 }
.tick { fill: #656d76; text-anchor: middle }
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
    body = [f'<text class="title" x="{MARGIN}" y="24">{escape(title)}</text>']
    left = MARGIN
    for name in names:
        body.append(f'<rect x="{left}" y="38" width="{BAR}" height="{BAR}" rx="2"'
                    f' fill="{colours[name]}"/>')  # fmt: skip
        body.append(f'<text x="{left + 16}" y="48">{escape(name)}</text>')
        left += 40 + 6 * len(name)
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
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img">'
    )
    lines = [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *body, "</svg>"]
    return "\n".join(lines) + "\n"
