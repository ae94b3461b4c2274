"""Figures in the documentation are written by the benchmark that measured them, never typed.

python bench/report.py FILE            prints the tables of a file that `training` wrote
python bench/report.py FILE --write    writes them and the chart into the documentation too

FILE may also be what `fastbp bench --json` printed.
"""

import argparse
import json
import re
from pathlib import Path

from fastbp.bench.report import details, picture, summary

ROOT = Path(__file__).resolve().parents[1]


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
        (ROOT / "docs/training.svg").write_text(picture(report), "utf-8")
        print("written to docs/training.svg")


if __name__ == "__main__":
    main()
