"""What a comparison has found, as text, as Markdown, and as a picture.

A report is what `fastbp bench --json` prints: the machine, how it was measured, and for each
problem what `comparison.measure` gives.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastbp.bench.chart import Point, chart, roofline
from fastbp.bench.limits import flops, limit

Entry = Mapping[str, Any]
Report = Mapping[str, Any]

ROOFLINE = "GFLOP/s against operations a byte, below what one core reaches; numbers are layers"
HEADING = "µs per sample (and times fastbp's), log scale: shorter is faster"
OURS = "fastbp"
# Characters of a line of text.
_LONGEST_BAR = 40
# Of a step: what takes less is lost in the differences between passes, and has no speed.
_LEAST_SHARE = 0.01
# Systems that use one core.
ALONE = ("fastbp, 1 thread", "plain Numba")


def figure(value: float) -> str:
    """Three digits, and never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def median_of(entry: Entry) -> float:
    """Microseconds of a sample."""
    return float(statistics.median(entry["microseconds"]))


def ratio(entry: Entry, ours: Entry) -> float:
    """How many times our time it takes: the median over the rounds."""
    pairs = zip(entry["microseconds"], ours["microseconds"], strict=True)
    return float(statistics.median(theirs / mine for theirs, mine in pairs))


def named(problem: Report, batch_size: int, optimizer: str = "sgd") -> dict[str, Entry]:
    """Entries of one size of batch and optimizer by system."""
    kind = batch_size, optimizer
    found = [e for e in problem["entries"] if (e["batch_size"], e["optimizer"]) == kind]
    return {entry["system"]: entry for entry in found}


def title(problem: Report) -> str:
    """The network and its data."""
    return "-".join(map(str, problem["net"])) + f", {problem['data']}"


def fastest_library(entries: Mapping[str, Entry], ours: Entry) -> tuple[float, Entry] | None:
    """(ratio, entry) of the library that takes least, or None."""
    found = [(ratio(e, ours), e) for e in entries.values() if e["is_library"]]
    return min(found, key=lambda pair: pair[0], default=None)


def kinds(problem: Report) -> list[tuple[int, str]]:
    """Sizes of batches and optimizers, in order."""
    return list(dict.fromkeys((e["batch_size"], e["optimizer"]) for e in problem["entries"]))


def kind_name(batch_size: int, optimizer: str) -> str:
    """Size of the batches, and the optimizer if it is not SGD."""
    return f"batch {batch_size}" + (f", {optimizer.capitalize()}" if optimizer != "sgd" else "")


def summary(report: Report) -> str:
    """Short tables: every system with one sample a step, and the fastest library with more."""
    problems = report["problems"]
    systems = list(dict.fromkeys(e["system"] for p in problems for e in p["entries"]))
    singles = [["net, one sample a step", *systems, "fastest library / fastbp"]]
    for problem in problems:
        entries = named(problem, 1)
        if OURS in entries:
            cells = [cell(entries.get(s), entries[OURS]) for s in systems]
            fastest = fastest_library(entries, entries[OURS])
            singles.append(
                [title(problem), *cells, f"**{figure(fastest[0])}×**" if fastest else "–"]
            )
    others = [
        kind for kind in dict.fromkeys(k for p in problems for k in kinds(p)) if kind != (1, "sgd")
    ]
    batches = [["net", *(kind_name(*kind) for kind in others)]]
    for problem in problems:
        cells = []
        for kind in others:
            entries = named(problem, *kind)
            fastest = fastest_library(entries, entries[OURS]) if entries else None
            text = "–"
            if fastest:
                text = figure(median_of(entries[OURS]))
                text += f" (**{figure(fastest[0])}×**, {fastest[1]['system']})"
            cells.append(text)
        batches.append([title(problem), *cells])
    tables = [table(rows) for rows in (singles, batches) if len(rows[0]) > 1 and len(rows) > 1]
    return "\n\n".join([*tables, conditions(report)])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the header, and all but the first column are figures."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def text(report: Report) -> str:
    """For a terminal: each system's time, how many times ours, and a bar on a log scale."""
    times = [median_of(entry) for problem in report["problems"] for entry in problem["entries"]]
    if not times:
        return conditions(report)
    widest = max(len(e["system"]) for problem in report["problems"] for e in problem["entries"])
    parts = []
    for problem in report["problems"]:
        for kind in kinds(problem):
            entries = named(problem, *kind)
            ours = entries[OURS]
            lines = [f"{title(problem)}, {in_words(*kind)}:"]
            for name, entry in entries.items():
                own = median_of(entry)
                times_ours = f"{figure(ratio(entry, ours))}×"
                bar = "█" * _length(own, min(times), max(times))
                lines.append(f"  {name:<{widest}}  {figure(own):>7} µs {times_ours:>8}  {bar}")
            parts.append("\n".join(lines))
    reasons = {
        f"{gone['system']} with {in_words(gone['batch_size'], gone['optimizer'])}": gone["reason"]
        for problem in report["problems"]
        for gone in problem["left_out"]
    }
    reasons |= {name: f"{module} is not installed" for name, module in report["absent"].items()}
    if reasons:
        listed = [f"  {name}: {reason}" for name, reason in reasons.items()]
        parts.append("\n".join(["left out:", *listed]))
    return "\n\n".join([*parts, conditions(report)])


def _length(value: float, least: float, most: float) -> int:
    """Characters of a bar; the shortest has one for half a decade, as in the picture."""
    decades = math.log10(most / least) + 0.5
    return max(1, round(_LONGEST_BAR * (math.log10(value / least) + 0.5) / decades))


def in_words(batch_size: int, optimizer: str) -> str:
    """`kind_name` in a sentence."""
    rest = f", {optimizer.capitalize()}" if optimizer != "sgd" else ""
    return ("one sample a step" if batch_size == 1 else f"batches of {batch_size}") + rest


def cell(entry: Entry | None, ours: Entry) -> str:
    """Time, and in brackets how many times our time."""
    if entry is None:
        return "–"
    text = figure(median_of(entry))
    return text if entry is ours else f"{text} ({figure(ratio(entry, ours))}×)"


def conditions(report: Report) -> str:
    """What the figures hold for."""
    machine, protocol = report["machine"], report["protocol"]
    return (
        f"µs per sample, medians of {protocol['rounds']} rounds; losses agree to "
        f"{protocol['rtol']:g} of their value. {conditions_of(machine)} One core reaches "
        f"{machine['peak_gflops']:.0f} GFLOP/s by fused multiply-adds."
    )


def conditions_of(machine: Mapping[str, Any]) -> str:
    """The machine in a sentence, from `machine.describe`."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, {versions}; {machine['date']}."
    )


def details(report: Report) -> str:
    """Every figure: limits, GFLOP/s, shares of them, compilation, settings."""
    lines = [
        "| net | steps | system | µs | GFLOP/s | limit by FMAs, µs | by bytes, µs | share "
        "| compilation, s | rows | settings |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    machine = report["machine"]
    for problem in report["problems"]:
        for entry in problem["entries"]:
            rate = flops(problem["net"]) / median_of(entry) / 1e3
            least = limit(
                machine, problem["net"], entry["batch_size"], entry["optimizer"], problem["zeros"],
                1 if entry["system"] in ALONE else machine["cores"],
            )  # fmt: skip
            settings = "; ".join(f"{k}: {plain(v)}" for k, v in entry["settings"].items())
            cells = (
                title(problem),
                kind_name(entry["batch_size"], entry["optimizer"]),
                entry["system"],
                figure(median_of(entry)),
                figure(rate),
                *least.cells,
                f"{least.microseconds / median_of(entry):.0%}",
                f"{entry['compile_seconds']:.2f}",
                entry["rows"],
                settings,
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    left_out = [
        f"- {title(problem)}, {kind_name(gone['batch_size'], gone['optimizer'])}: "
        f"{gone['system']}: {gone['reason']}"
        for problem in report["problems"]
        for gone in problem["left_out"]
    ]
    if left_out:
        lines += ["", "Left out:", "", *left_out]
    return "\n".join([*lines, "", conditions(report)])


def plain(value: Any) -> Any:
    """A setting in one line."""
    return " / ".join(value) if isinstance(value, list) else value


def bars(report: Report) -> Iterator[tuple[str, list[tuple[str, float, str, bool]]]]:
    """Groups of the chart: the smallest batches, and a faint bar for a library's largest."""
    for problem in report["problems"]:
        sizes = sorted(
            {batch_size for batch_size, optimizer in kinds(problem) if optimizer == "sgd"}
        )
        entries = named(problem, sizes[0]) if sizes else {}
        if (ours := entries.get(OURS)) is None:
            continue
        group = [
            (name, median_of(entry), label(entry, ours), False) for name, entry in entries.items()
        ]
        fastest = fastest_library(named(problem, sizes[-1]), ours) if len(sizes) > 1 else None
        if fastest:
            text = f"{label(fastest[1], ours)}, batch {sizes[-1]}"
            group.append((fastest[1]["system"], median_of(fastest[1]), text, True))
        heading = title(problem)
        yield heading if sizes[0] == 1 else f"{heading}, {in_words(sizes[0], 'sgd')}", group


def label(entry: Entry, ours: Entry) -> str:
    """Beside a bar: time, and how many times ours."""
    text = f"{figure(median_of(entry))} µs"
    return text if entry is ours else f"{text}, {figure(ratio(entry, ours))}×"


def picture(report: Report) -> str:
    """SVG text of all that was measured."""
    return chart(HEADING, list(bars(report)))


# Profiles -----------------------------------------------------------------------------------------


def profile_conditions(report: Report) -> str:
    """What the figures of profiles hold for."""
    machine = report["machine"]
    reads = ", ".join(f"{level} {rate[0]:.0f}" for level, rate in machine["bandwidth"].items())
    return (
        "ns a sample, one core, float32, plain SGD; stages end where the next begins, and add up "
        f"to the step. The core reaches {machine['peak_gflops']:.0f} GFLOP/s by fused "
        f"multiply-adds, and reads, in GB/s: {reads}. {conditions_of(machine)}"
    )


def profile_lines(profile: Report) -> str:
    """One network, with batches of one size."""
    what = f"{title(profile)}, {in_words(profile['batch_size'], 'sgd')}"
    if profile["batch_size"] == 1:
        what += f" ({profile['method']})"
    head = (
        f"{what}: {figure(profile['nanoseconds'] / 1000)} µs a sample, "
        f"{figure(profile['gflops'])} GFLOP/s, {profile['share_of_peak']:.0%} of the peak"
    )
    rows = [("phase", "layers", "ns", "of step", "GFLOP/s", "GB/s", "limit", "of it")]
    for stage in profile["stages"]:
        taken, is_told = stage["nanoseconds"], stage["share"] >= _LEAST_SHARE
        rows.append(
            (
                stage["phase"],
                ", ".join(map(str, stage["layers"])),
                figure(taken),
                f"{stage['share']:.0%}",
                figure(stage["gflops"]) if is_told and stage["flops"] else "–",
                figure(stage["gigabytes"]) if is_told else "–",
                f"{figure(stage['limit'])} ns, {stage['bound']}",
                f"{stage['limit'] / taken:.0%}" if is_told else "–",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        left, *right = zip(row, widths, strict=True)
        cells = [f"{left[0]:<{left[1]}}", *(f"{cell:>{width}}" for cell, width in right)]
        lines.append("  " + "  ".join(cells))
    return "\n".join([head, *lines])


def profile_picture(report: Report) -> str:
    """SVG text: a roofline plot for each profile."""
    panels = []
    for profile in report["profiles"]:
        stages = [
            stage
            for stage in profile["stages"]
            if stage["flops"] and stage["share"] >= _LEAST_SHARE
        ]
        points = [
            Point(
                s["phase"], ", ".join(map(str, s["layers"])), s["flops"] / s["bytes"], s["gflops"]
            )
            for s in stages
        ]
        n_bytes = sum(stage["bytes"] for stage in profile["stages"])
        whole = sum(stage["flops"] for stage in profile["stages"]) / n_bytes
        points.append(Point("whole step", "", whole, profile["gflops"]))
        panels.append((f"{title(profile)}, {in_words(profile['batch_size'], 'sgd')}", points))
    machine = report["machine"]
    slopes = {level: rate[0] for level, rate in machine["bandwidth"].items()}
    return roofline(ROOFLINE, machine["peak_gflops"], slopes, panels)
