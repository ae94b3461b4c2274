"""What the documentation shows must run."""

import doctest
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from fastbp.cli import main
from fastbp.extras import missing

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "name",
    [
        "fastbp",
        "fastbp.c_source",
        "fastbp.ensemble",
        "fastbp.exchange.onnx",
        "fastbp.network",
        "fastbp.trainer",
        "fastbp.metrics",
        "fastbp.options",
        "fastbp.optimizers",
        "fastbp.schedules",
        "fastbp.callbacks",
        "fastbp.splitting",
        "fastbp.experiment",
        "fastbp.sklearn",
        "fastbp.river",
        "fastbp.dask",
        "fastbp.dask.estimators",
    ],
)
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


# Pages whose blocks go on from each other, as one session.
SESSIONS = [ROOT / "docs" / "tables.md", ROOT / "docs" / "c.md"]
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - set(SESSIONS))]
COMMANDS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("start", "install", "command_line")),
]
# A program, and what the page says that it prints: nothing, unless a block of text follows.
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.S)
BLOCKS = [
    pytest.param(found["code"], found["output"] or "", id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, found in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")))
]


def run_block(code, folder):
    """A program as a process of its own in a new folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, encoding="utf-8", check=False, cwd=folder, timeout=600,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """All programs that are to be run, two at a time."""
    found = {
        item.callspec.params["code"]: tmp_path_factory.mktemp("block")
        for item in request.session.items
        if "programs" in getattr(item, "fixturenames", ())
    }
    with ThreadPoolExecutor(2) as pool:
        yield {code: pool.submit(run_block, code, folder) for code, folder in found.items()}


@pytest.mark.parametrize(("code", "output"), BLOCKS)
def test_every_block_of_a_page_runs_alone_and_prints_what_the_page_says(programs, code, output):
    """Dots stand for what differs between machines, such as seconds and the last digits."""
    if "import torch" in code:
        pytest.importorskip("torch")
    done = programs[code].result()
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert doctest.OutputChecker().check_output(output, done.stdout, doctest.ELLIPSIS), done.stdout


def test_every_command_of_the_pages_runs(tmp_path, monkeypatch, capsys, generator):
    """Those that install something are ci/readme.sh's."""
    monkeypatch.chdir(tmp_path)
    table = pa.table(
        {
            "area": generator.uniform(40, 250, 200),
            "street": generator.choice(["A", "B", "C"], 200),
            "patient": np.arange(200) // 4,
            "day": np.datetime64("2024-01-01") + np.arange(200),
            "outcome": np.arange(200) % 2,
        }
    )
    price = 1000 * table.column("area").to_numpy()
    table = table.append_column("price", pa.array(price)).append_column("units", pa.array(price))
    houses = table.select(["area", "street", "price"])
    for name in ("housing.csv", "new.csv", "sold.csv"):
        pa.csv.write_csv(houses, name)
    pa.csv.write_csv(table.select(["area", "patient", "outcome"]), "patients.csv")
    pa.parquet.write_table(table.select(["area", "day", "units"]), "sales.parquet")
    pages = "".join(page.read_text(encoding="utf-8") for page in COMMANDS)
    blocks = re.findall(r"```bash\n(fastbp .*?)```", pages, re.S)
    commands = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]
    assert {command[1] for command in commands} == {
        "train", "predict", "evaluate", "export", "check", "bench", "warmup", "info"
    }  # fmt: skip
    for _, *arguments in commands:
        if "--help" in arguments:
            continue
        assert main(arguments) == 0, capsys.readouterr().err
        lines = capsys.readouterr().out.splitlines()
        is_silent = "--output" in arguments or arguments[0] in ("warmup", "export")
        assert len(lines) >= 4 or is_silent
    assert Path("report.png").stat().st_size > 1000
    assert Path("model.onnx").stat().st_size > 1000
    assert len(Path("prices.csv").read_text().splitlines()) == 201


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.stem)
def test_a_page_that_is_a_session_runs_from_top_to_bottom(tmp_path, page):
    block = re.compile(r"```(python|bash|c)\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.S)
    blocks = block.findall(page.read_text(encoding="utf-8"))
    assert len(blocks) >= 3
    if "c" in {language for language, *_ in blocks} and shutil.which("cc") is None:
        pytest.skip("there is no C compiler named cc")
    if page.stem == "c" and numba.config.BOUNDSCHECK:
        pytest.skip("code for C has no bounds checks")
    folder = Path(sys.executable).parent
    for language, code, output in blocks:
        if "pip install" in code:
            continue
        if language == "c":  # its first line names the file
            (tmp_path / re.match(r"/\* (\w+\.[ch]) \*/\n", code)[1]).write_text(code)
            continue
        run = [sys.executable, "-W", "error", "-c"] if language == "python" else ["bash", "-ec"]
        done = subprocess.run(
            [*run, code],
            capture_output=True, text=True, encoding="utf-8", check=False, cwd=tmp_path,
            timeout=600, env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        wanted, found = output.strip(), done.stdout.strip()
        assert doctest.OutputChecker().check_output(wanted, found, doctest.ELLIPSIS), found


def test_no_block_of_a_page_is_overlooked():
    fences = [re.findall(r"^ *```(\w*)", page.read_text(encoding="utf-8"), re.M) for page in PAGES]
    kinds = [kind for page in fences for kind in page]
    assert set(kinds) == {"python", "text", "bash", ""}
    assert kinds.count("python") == len(BLOCKS) >= 11
    assert kinds.count("text") == sum(bool(block.values[1]) for block in BLOCKS)


def test_extras_are_installed_from_the_clone():
    """No index has the package, so that its name is nothing to install by."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = set()
    for folder in ("README.md", "CHANGELOG.md", "docs", "fastbp", "kernels", "examples", "bench"):
        path = ROOT / folder
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.suffix in (".py", ".md"):
                text = file.read_text(encoding="utf-8")
                assert not re.search(r"install\s+(-\S+\s+)*['\"]?fastbp", text), file
                named |= set(re.findall(r"pip install[^\n]*\.\[(\w+)\]", text))
    assert named <= set(extras)
    assert named >= {"sklearn", "test", "bench", "all"}
    assert str(missing("plots need A", "plot")) == (
        "plots need A, which is not installed; in the folder of the clone: pip install -e '.[plot]'"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path):
    program = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert float(re.search(r"\d\.\d+", last)[0]) > 0, last
    assert "warning" not in done.stderr.lower()


def test_benchmarks_have_written_their_tables():
    for page in ("layout", "training", "sklearn", "defaults", "machine_code"):
        document = f"docs/{page}.md"
        blocks = re.findall(
            r"<!-- (bench/\w+\.py)[\w ]* -->\n(.*?)<!-- end -->",
            (ROOT / document).read_text(encoding="utf-8"),
            re.S,
        )
        assert blocks
        for benchmark, table in blocks:
            assert (ROOT / benchmark).is_file()
            assert table.count("\n|") >= 3, f"{document}: {benchmark} has written nothing"
