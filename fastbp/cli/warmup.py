"""``fastbp warmup``: compile now what would be compiled at the first use."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from fastbp import kernels, warming
from fastbp.progress import progress_bar


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "warmup",
        help="compile everything ahead, so that no first fit waits",
        description="Compile every kernel that neither the cache nor the package has yet, and load "
        "the others. It is worth while in an image of a container, or after an installation "
        "without machine code; 'fastbp info' says whether there is some.",
    )
    command.add_argument("--dtype", nargs="+", default=("float32", "float64"),
                         help="of the networks to come; by default float32 float64")  # fmt: skip
    command.add_argument("--parallel", action="store_true",
                         help="changes nothing: all kernels can use threads")  # fmt: skip
    command.set_defaults(run=_warmup)


def _warmup(options: argparse.Namespace) -> int:
    items = warming.everything(options.dtype)
    began, n_compiled = time.perf_counter(), 0
    with progress_bar(None, len(items), " kernels") as bar:
        for item in items:
            since = time.perf_counter()
            if bar is not None:
                bar.set_description(item.name)
            is_compiled = item.load()
            n_compiled += is_compiled
            if bar is not None:
                bar.update(1)
                continue
            how = "compiled" if is_compiled else "loaded"
            print(f"{item.name}: {how}, {time.perf_counter() - since:.1f} s", file=sys.stderr)
    print(
        f"{len(items)} kernels are ready after {time.perf_counter() - began:.1f} s: "
        f"{n_compiled} compiled, {len(items) - n_compiled} loaded."
    )
    if n_compiled > 0 and kernels.cache_directory(kernels.train_sequential) is None:
        print("They are not kept for the next process: the cache is off, or cannot be written.")
    return 0
