"""What the repository's text refers to is in the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("kernels", "fastbp", "docs", "tests", "bench", "examples", "ci", ".ci", ".github")
FILES = sorted(
    path
    for path in [*ROOT.glob("*"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*"))]
    if path.is_file() and "__pycache__" not in path.parts
)
TEXTS = [
    path
    for path in FILES
    if path.suffix in (".py", ".md", ".toml", ".sh", ".yml", "") and path != Path(__file__)
]
# Names of documents, as they are usually written; and what a document is referred to by.
DOCUMENT = r"\b(?:DESIGN|PLAN|SPEC|ROADMAP|NOTES|TODO|FIXME|RFC|ADR)\b|§|\b[Aa]ppendix \w\b"
# Files that tests write, and those of scikit-learn.
ELSEWHERE = {
    "probe.py", "fastbp/kernels/probe.py", "helper.py", "program.py", "user.py", "fastbp.toml",
    "none.toml", "f.svg", "chart.svg", "none/a.svg", "roof.svg", "taken.svg",
    "benchmarks/bench_mnist.py", "test_mlp.py",
}  # fmt: skip


def text_of(path):
    return path.read_text(encoding="utf-8")


def test_all_of_the_repository_is_looked_at():
    names = {path.relative_to(ROOT).as_posix() for path in TEXTS}
    assert {"README.md", "kernels/layout.py", "docs/guide.md", "pyproject.toml"} < names
    assert len(names) > 80


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_references_lead_somewhere(path):
    text = text_of(path)
    assert re.findall(DOCUMENT, text) == []
    places = ["/" + file.relative_to(ROOT).as_posix() for file in FILES]
    places += ["/fastbp" + place for place in places if place.startswith("/kernels/")]
    for name in re.findall(r"[\w./-]*\w\.(?:md|py|svg|toml|sh)\b", text):
        end = "/" + name.lstrip("./").removeprefix("PWD/")
        assert name in ELSEWHERE or any(place.endswith(end) for place in places), name
    if path.suffix == ".md":
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (path.parent / target).exists(), target
