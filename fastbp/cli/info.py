"""``fastbp info``: what a report of a fault should say of the machine."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import fastbp
from fastbp import kernels, threads
from fastbp.quotas import quotas


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "info",
        help="show processor, threads, versions, shipped machine code and cache",
        description="Show processor, threads, versions, shipped machine code and cache.",
    )
    command.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    import llvmlite
    import numba
    from llvmlite import binding

    from fastbp.bench.machine import cores, processor

    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot tell on this machine
        features = {}
    widths = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}
    width = next((bits for name, bits in widths.items() if features.get(name)), 0)
    simd = f"{width} bits, {width // 32} float32 at a time" if width else "unknown"
    rows = [
        ("fastbp", fastbp.__version__),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("numba", f"{numba.__version__}, llvmlite {llvmlite.__version__}"),
        ("numpy", np.__version__),
        ("processor", f"{processor()} (LLVM: {binding.get_host_cpu_name()})"),
        ("SIMD", simd),
        ("cores", f"{cores()} usable of {os.cpu_count()}"),
        ("threads", _threads()),
        ("shipped", _shipped()),
        ("cache", _cache()),
    ]
    for name, value in rows:
        print(f"{name:<10} {value}")
    return 0


def _threads() -> str:
    """How many threads kernels use at most, and why."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return f"{threads.available()}, as NUMBA_NUM_THREADS says"
    quota = min(quotas(), default=None)
    limit = "" if quota is None else f"; the control group's quota is {quota:g} cores"
    return f"{threads.available()}{limit}"


def _shipped() -> str:
    """What machine code has come with the package for this machine."""
    code = kernels.shipped_code()
    if code is None:
        return "no machine code for this processor, Python and numba: it is compiled when needed"
    level, files = code
    return f"machine code for {level} ({_size(files)})"


def _cache() -> str:
    directory = kernels.cache_directory(kernels.train_sequential)
    if directory is None:
        return "off"
    return f"{directory} ({_size(list(Path(directory).glob('*.nb[ic]')))})"


def _size(files: list[Path]) -> str:
    return f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
