"""Figures in the documentation are written by the benchmark that measured them, never typed.

python bench/report.py FILE            prints the tables of a file that `training` wrote
python bench/report.py FILE --write    writes them and the chart into the documentation too
"""

import argparse
import json
import re
import statistics
from itertools import pairwise
from pathlib import Path

from chart import chart

ROOT = Path(__file__).resolve().parents[1]
OURS = "fastbp"


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


def named(problem, batch_size):
    """Entries of one size of batch by system."""
    found = [entry for entry in problem["entries"] if entry["batch_size"] == batch_size]
    return {entry["system"]: entry for entry in found}


def title(problem, batch_size=1):
    suffix = "" if batch_size == 1 else f", batch {batch_size}"
    return "-".join(map(str, problem["net"])) + f", {problem['data']}{suffix}"


def fastest_library(entries, ours):
    """(ratio, entry) of the library that takes least, or None."""
    found = [(ratio(e, ours), e) for e in entries.values() if e["is_library"]]
    return min(found, key=lambda pair: pair[0], default=None)


def batch_sizes(problem):
    return sorted({entry["batch_size"] for entry in problem["entries"]})


def flops(net):
    """Of one sample: the first layer passes no gradient on."""
    products = [n_in * n_out for n_in, n_out in pairwise(net)]
    return 6 * sum(products) - 2 * products[0]


def summary(report):
    """README's table: times, ratios to ours, and the fastest library's."""
    problems = report["problems"]
    systems = list(dict.fromkeys(e["system"] for p in problems for e in p["entries"]))
    # What libraries gain from batches that we are not measured with, beside our single samples.
    larger = sorted(
        {b for p in problems for b in batch_sizes(p) if OURS not in named(p, b)},
    )
    header = ["net", *systems, "fastest library / fastbp"]
    header += [f"fastest library, batch {b}" for b in larger]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for problem in problems:
        for batch_size in batch_sizes(problem):
            entries = named(problem, batch_size)
            if (ours := entries.get(OURS)) is None:
                continue
            cells = [title(problem, batch_size), *(cell(entries.get(s), ours) for s in systems)]
            fastest = fastest_library(entries, ours)
            cells.append(f"**{figure(fastest[0])}×**" if fastest else "–")
            for other in larger:
                fastest = fastest_library(named(problem, other), ours) if batch_size == 1 else None
                cells.append(f"{fastest[1]['system']} {cell(fastest[1], ours)}" if fastest else "–")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", conditions(report)])


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
    """Every figure: settings, GFLOP/s, share of the peak, compilation."""
    lines = [
        "| net | batch | system | µs | GFLOP/s | of one core's peak | compilation, s | rows "
        "| settings |",
        "|---|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for problem in report["problems"]:
        for entry in problem["entries"]:
            rate = flops(problem["net"]) / median_of(entry) / 1e3
            settings = "; ".join(f"{k}: {plain(v)}" for k, v in entry["settings"].items())
            cells = (
                title(problem),
                entry["batch_size"],
                entry["system"],
                figure(median_of(entry)),
                figure(rate),
                f"{rate / report['machine']['peak_gflops']:.0%}",
                f"{entry['compile_seconds']:.2f}",
                entry["rows"],
                settings,
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    left_out = [
        f"- {title(problem, gone['batch_size'])}: {gone['system']}: {gone['reason']}"
        for problem in report["problems"]
        for gone in problem["left_out"]
    ]
    if left_out:
        lines += ["", "Left out:", "", *left_out]
    return "\n".join([*lines, "", conditions(report)])


def plain(value):
    return " / ".join(value) if isinstance(value, list) else value


def bars(report):
    """Groups of the chart; a larger batch of the fastest library is a faint bar."""
    for problem in report["problems"]:
        for batch_size in batch_sizes(problem):
            entries = named(problem, batch_size)
            if (ours := entries.get(OURS)) is None:
                continue
            group = [
                (name, median_of(entry), label(entry, ours), False)
                for name, entry in entries.items()
            ]
            for other in batch_sizes(problem) if batch_size == 1 else ():
                rivals = named(problem, other)
                fastest = None if OURS in rivals else fastest_library(rivals, ours)
                if fastest:
                    text = f"{label(fastest[1], ours)}, batch {other}"
                    group.append((fastest[1]["system"], median_of(fastest[1]), text, True))
            yield title(problem, batch_size), group


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
        write_block("README.md", "bench/training.py", summary(report))
        write_block("docs/training.md", "bench/training.py", details(report))
        heading = "µs per sample (and times fastbp's), log scale: shorter is faster"
        (ROOT / "docs/training.svg").write_text(chart(heading, list(bars(report))), "utf-8")
        print("written to docs/training.svg")


if __name__ == "__main__":
    main()
