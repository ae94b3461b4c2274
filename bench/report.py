"""Figures in the documentation are written by the benchmark that measured them, never typed.

python bench/report.py FILE            prints the tables of a file that `training` wrote
python bench/report.py FILE --write    writes them and the chart into the documentation too
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from chart import chart
from limits import flops, limit

ROOT = Path(__file__).resolve().parents[1]
OURS = "fastbp"
# Systems that use one core.
ALONE = ("fastbp, 1 thread", "plain Numba")


def write_block(document, benchmark, text):
    """Replace what stands between ``<!-- BENCHMARK -->`` and ``<!-- end -->`` in a document."""
    path = ROOT / document
    marked = re.compile(rf"(<!-- {re.escape(benchmark)} -->\n).*?(\n?<!-- end -->)", re.S)
    page, count = marked.subn(
        lambda match: match[1] + text + "\n<!-- end -->", path.read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"{document} must have one place for {benchmark}, found {count}.")
    path.write_text(page, encoding="utf-8")
    print(f"written to {document}")


def figure(value):
    """Three digits, and never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def median_of(entry):
    return statistics.median(entry["microseconds"])


def ratio(entry, ours):
    """How many times our time it takes: the median over the rounds."""
    pairs = zip(entry["microseconds"], ours["microseconds"], strict=True)
    return statistics.median(theirs / mine for theirs, mine in pairs)


def named(problem, batch_size, optimizer="sgd"):
    """Entries of one size of batch and optimizer by system."""
    kind = batch_size, optimizer
    found = [e for e in problem["entries"] if (e["batch_size"], e["optimizer"]) == kind]
    return {entry["system"]: entry for entry in found}


def title(problem):
    return "-".join(map(str, problem["net"])) + f", {problem['data']}"


def fastest_library(entries, ours):
    """(ratio, entry) of the library that takes least, or None."""
    found = [(ratio(e, ours), e) for e in entries.values() if e["is_library"]]
    return min(found, key=lambda pair: pair[0], default=None)


def kinds(problem):
    """Sizes of batches and optimizers, in order."""
    return list(dict.fromkeys((e["batch_size"], e["optimizer"]) for e in problem["entries"]))


def kind_name(batch_size, optimizer):
    return f"batch {batch_size}" + (f", {optimizer.capitalize()}" if optimizer != "sgd" else "")


def summary(report):
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


def table(rows):
    """Markdown; the first row is the header, and all but the first column are figures."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def cell(entry, ours):
    """Time, and in brackets how many times our time."""
    if entry is None:
        return "–"
    text = figure(median_of(entry))
    return text if entry is ours else f"{text} ({figure(ratio(entry, ours))}×)"


def conditions(report):
    """What the figures hold for."""
    machine, protocol = report["machine"], report["protocol"]
    return (
        f"µs per sample, medians of {protocol['rounds']} rounds; losses agree to "
        f"{protocol['rtol']:g} of their value. {conditions_of(machine)} One core reaches "
        f"{machine['peak_gflops']:.0f} GFLOP/s by fused multiply-adds."
    )


def conditions_of(machine):
    """The machine in a sentence, from `machine.describe`."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, {versions}; {machine['date']}."
    )


def details(report):
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


def plain(value):
    return " / ".join(value) if isinstance(value, list) else value


def bars(report):
    """Groups of the chart: one sample a step, and a faint bar for a library's largest batch."""
    for problem in report["problems"]:
        entries = named(problem, 1)
        if (ours := entries.get(OURS)) is None:
            continue
        group = [
            (name, median_of(entry), label(entry, ours), False) for name, entry in entries.items()
        ]
        largest = max(batch_size for batch_size, _ in kinds(problem))
        fastest = fastest_library(named(problem, largest), ours) if largest > 1 else None
        if fastest:
            text = f"{label(fastest[1], ours)}, batch {largest}"
            group.append((fastest[1]["system"], median_of(fastest[1]), text, True))
        yield title(problem), group


def label(entry, ours):
    text = f"{figure(median_of(entry))} µs"
    return text if entry is ours else f"{text}, {figure(ratio(entry, ours))}×"


def main():
    """Print the tables; write them and the chart."""
    parser = argparse.ArgumentParser(description="Tables and chart of a training benchmark.")
    parser.add_argument("file", type=Path, help="what bench/training.py wrote")
    parser.add_argument("--write", action="store_true", help="write the documentation too")
    options = parser.parse_args()
    report = json.loads(options.file.read_text(encoding="utf-8"))
    print(summary(report), details(report), sep="\n\n")
    if options.write:
        write_block("docs/training.md", "bench/training.py summary", summary(report))
        write_block("docs/training.md", "bench/training.py", details(report))
        heading = "µs per sample (and times fastbp's), log scale: shorter is faster"
        (ROOT / "docs/training.svg").write_text(chart(heading, list(bars(report))), "utf-8")
        print("written to docs/training.svg")


if __name__ == "__main__":
    main()
