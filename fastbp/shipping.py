"""Machine code for processors of a kind, made ahead of time: what wheels carry.

``python -m fastbp.shipping [FOLDER] [--level LEVEL …] [--dtype DTYPE …] [--serial]`` compiles all
kernels into a folder; by default into that of the installed package, where they are found. Each
level is compiled in a process of its own, and nothing of it is run: the processor need not be of
that level.

It is a module and no step of setuptools, because the code depends on the numba, the llvmlite and
the Python that will run it: those of an environment in which the package is installed, and not
those of the environment in which pip builds a wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastbp import checks, kernels
from fastbp.kernels import shipped


def build(
    folder: Path = shipped.FOLDER,
    levels: Sequence[str] = (),
    dtypes: str | Sequence[str] = ("float32", "float64"),
) -> None:
    """Compile every kernel for each level, by default for all of this platform, and say so.

    Parameters
    ----------
    folder : Path
        Each platform and level has a folder below it.
    levels : sequence of str
        Such as "x86-64-v3"; for ARM there is "generic".
    dtypes : {"float32", "float64"} or a sequence of them
        Of the networks to come.

    Raises
    ------
    ValueError
        If this platform has no such level, or if a dtype is not one of those allowed.
    RuntimeError
        If a level could not be compiled.
    """
    possible = shipped.levels()
    if not possible:
        raise ValueError(
            f"machine code can be made ahead for x86_64 and aarch64, got {shipped.platform()}."
        )
    for level in levels:
        if level not in possible:
            raise ValueError(
                f"levels of {shipped.platform()} must be among {', '.join(possible)}; "
                f"got {level!r}."
            )
    names = [str(dtype) for dtype in checks.dtypes(dtypes)]
    children = []
    for level in levels or possible:
        given = json.dumps([str(folder.absolute()), level, names])
        child = subprocess.Popen([sys.executable, "-c", _CHILD, given], env=_environment(level))
        children.append((level, child))
    failed = [level for level, child in children if child.wait() != 0]
    if failed:
        raise RuntimeError(f"the kernels could not be compiled for {', '.join(failed)}.")


_CHILD = (
    "import json, sys; from fastbp.shipping import compile_here as c; c(*json.loads(sys.argv[1]))"
)


def _environment(level: str) -> dict[str, str]:
    """Variables of the process that compiles for a level: without any that would change code."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NUMBA_", "FASTBP_"))
    }
    # Without extra features it is code for all processors of the level. Sets of names have the same
    # order in each build.
    return kept | {
        "NUMBA_CPU_NAME": level,
        "NUMBA_CPU_FEATURES": "",
        "FASTBP_NO_CACHE": "1",
        "PYTHONHASHSEED": "0",
    }


def compile_here(folder: str, level: str, dtypes: Sequence[str]) -> None:
    """Compile for the level that this process has been started for."""
    for name in dtypes:
        began, files = time.perf_counter(), set[Path]()
        for item in kernels.everything(np.dtype(name)):
            written = [kernels.ship(each, Path(folder), level) for each in item.compiled]
            item.compile()
            files |= {path for paths in written for path in paths}
        contents = [path.read_bytes() for path in sorted(files)]
        size, deflated = (sum(map(len, c)) / 1e6 for c in (contents, map(zlib.compress, contents)))
        # The levels' processes share one stream: a line stays whole if it is written in one go.
        print(
            f"{level}, {name}: {len(contents)} files, {size:.1f} MB, {deflated:.1f} MB in a wheel; "
            f"{time.perf_counter() - began:.0f} s\n",
            end="",
            flush=True,
        )


def main() -> None:
    """Compile as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m fastbp.shipping",
        description="Compile the kernels for processors of a kind, without running them.",
    )
    add = parser.add_argument
    add("folder", nargs="?", type=Path, default=shipped.FOLDER,
        help="where to; by default the package's own, where code is looked for")  # fmt: skip
    add("--level", nargs="+", default=(), help="kinds of processors; by default all there are")
    add("--dtype", nargs="+", default=("float32", "float64"), help="of the networks to come")
    options = parser.parse_args()
    try:
        build(options.folder, options.level, options.dtype)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"fastbp: error: {error}")


if __name__ == "__main__":
    main()
