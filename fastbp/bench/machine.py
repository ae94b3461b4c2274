"""The machine: what it is called, and its limits, measured in the run that quotes them."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import platform
import re
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from fastbp.kernels import aligned_zeros
from fastbp.kernels.instructions import VECTOR_BYTES
from fastbp.kernels.vectors import broadcast, fma, lanes, load, store, total, zeros

VERSIONS = ("fastbp", "numba", "numpy", "jax", "optax", "torch", "scikit-learn", "onnxruntime")
LEVELS = ("L1", "L2", "L3", "DRAM")
# Where the system does not tell the sizes of its caches.
USUAL_CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}
# Room for a stream that no cache holds, though a server's may be as large.
MOST_BYTES = 1 << 30
TRIALS = 15
TRIAL_SECONDS = 0.01
# Threads of other libraries go on looking for work, on all cores, for up to this many seconds after
# a call: 0.2 in LLVM's OpenMP (KMP_BLOCKTIME).
PAUSE = 0.25


class Bandwidth(NamedTuple):
    """GB/s of one core."""

    read: float
    update: float
    """Reading and writing back, both counted."""


def describe(*more: str) -> dict[str, Any]:
    """Processor, cores, versions and date, as JSON takes them; None for what is not installed.

    ``more`` are distributions whose versions are wanted, too.
    """
    versions: dict[str, str | None] = {}
    for name in (*VERSIONS, *more):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Name of the processor, with family and model where the name alone says little."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.M))
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in fields:  # as on ARM
        return name
    return f"{name}, family {fields['cpu family']} model {fields.get('model', '?')}"


def cache_bytes() -> dict[str, int]:
    """Sizes of the caches that one core sees."""
    found = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError, LookupError):  # as on some virtual machines
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                unit = {"K": 1 << 10, "M": 1 << 20}[size[-1]]
                found[f"L{level}"] = int(size[:-1]) * unit
    return USUAL_CACHES | found


@functools.cache
def peak_gflops(dtype: str = "float32") -> float:
    """Fused multiply-adds that one core reaches from registers, in GFLOP/s; 2 FLOPs each."""
    best = 0.0
    # How many independent chains hide the latency without running out of registers depends on
    # the machine: the best is its peak.
    for count in (2, 4, 8, 12):
        kernel = _fma_chains(count)
        seed = np.full(2 + 12 * VECTOR_BYTES, 0.001, dtype)
        seed[0] = 0.999
        shortest = shortest_seconds(functools.partial(kernel, seed))
        flops = 2 * count * VECTOR_BYTES // seed.itemsize
        best = max(best, flops / shortest / 1e9)
    return best


@functools.cache
def bandwidth(where: str | int, dtype: str = "float32") -> Bandwidth:
    """Streaming by one core over so many bytes, or half of the cache named; DRAM is 4 times L3."""
    sizes = {level: size // 2 for level, size in cache_bytes().items()}
    sizes["DRAM"] = min(8 * sizes["L3"], MOST_BYTES)
    unit = 4 * VECTOR_BYTES  # both kernels go by four vectors
    n_bytes = max(1, (sizes[where] if isinstance(where, str) else where) // unit) * unit
    kind = np.dtype(dtype)
    array = aligned_zeros(n_bytes // kind.itemsize, kind)
    array[:] = 1
    read = shortest_seconds(lambda n: _read(array, n))
    update = shortest_seconds(lambda n: _update(array, kind.type(1), n))
    return Bandwidth(n_bytes / read / 1e9, 2 * n_bytes / update / 1e9)


def _fma_chains(count: int) -> Callable[[Any, int], Any]:
    @njit
    def kernel(seed: Any, n: int) -> Any:
        state = load(zeros(seed, count), seed, 2)
        x, y = broadcast(state, seed[0]), broadcast(state, seed[1])
        for _ in range(n):
            state = fma(state, x, y)
        return total(state)

    found: Callable[[Any, int], Any] = kernel
    return found


@njit
def _read(array: Any, n: int) -> Any:
    state = zeros(array, 4)
    for _ in range(n):
        for k in range(0, len(array), 4 * lanes(array)):
            state = state + load(state, array, k)
    return total(state)


@njit
def _update(array: Any, factor: Any, n: int) -> None:
    x = broadcast(zeros(array, 4), factor)
    for _ in range(n):
        for k in range(0, len(array), 4 * lanes(array)):
            store(array, k, x * load(x, array, k))


def seconds(kernel: Callable[[int], Any], n: int) -> float:
    """Time of ``kernel(n)``."""
    began = time.perf_counter()
    kernel(n)
    return time.perf_counter() - began


def repetitions(kernel: Callable[[int], Any]) -> int:
    """Number n for which ``kernel(n)`` takes long enough to be timed; it is compiled before."""
    kernel(0)
    n = 1
    while seconds(kernel, n) < TRIAL_SECONDS:
        n *= 2
    return n


def shortest_seconds(kernel: Callable[[int], Any]) -> float:
    """Shortest time of one of the repetitions that ``kernel(n)`` makes."""
    n = repetitions(kernel)
    return min(seconds(kernel, n) for _ in range(TRIALS)) / n
