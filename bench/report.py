"""Figures in the documentation are written by the benchmark that measured them, never typed."""

import re
from pathlib import Path

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
