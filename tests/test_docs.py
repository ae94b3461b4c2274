"""What the documentation shows must run."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "name",
    [
        "fastbp",
        "fastbp.network",
        "fastbp.trainer",
        "fastbp.optimizers",
        "fastbp.schedules",
        "fastbp.callbacks",
        "fastbp.sklearn",
    ],
)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_readme_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
    )
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(block, names)
    assert isinstance(fastbp.load("digits.safetensors"), fastbp.Trainer)
    assert "passed" in capsys.readouterr().out


@pytest.mark.parametrize(("document", "n"), [("docs/exactness.md", 1), ("docs/guide.md", 4)])
def test_examples_that_import_fastbp_stand_alone(document, n):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.S)
    whole = [block for block in blocks if re.search("^import fastbp$", block, re.M)]
    assert len(whole) == n
    for block in whole:
        exec(block, {})


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path):
    program = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert float(re.search(r"\d\.\d+", last)[0]) > 0, last
    assert "warning" not in done.stderr.lower()


def test_benchmarks_have_written_their_tables():
    for document in ("README.md", "docs/layout.md", "docs/training.md", "docs/sklearn.md"):
        blocks = re.findall(
            r"<!-- (bench/\w+\.py) -->\n(.*?)<!-- end -->",
            (ROOT / document).read_text(encoding="utf-8"),
            re.S,
        )
        assert blocks
        for benchmark, table in blocks:
            assert (ROOT / benchmark).is_file()
            assert table.count("\n|") >= 3, f"{document}: {benchmark} has written nothing"
