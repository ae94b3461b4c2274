"""How many threads: what was asked for, what the machine has, and when a launch pays."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import threading
import time
from collections.abc import Iterator

import numba
import numpy as np

from fastbp import kernels

# Threads of the pool do not survive a fork: the first parallel kernel of the child would die.
_pool_owner: int | None = None
# The workqueue layer aborts when two threads of the program launch at once.
_launching = threading.Lock()


def available() -> int:
    """Threads that a kernel can use: NUMBA_NUM_THREADS, by default the processor's cores."""
    return int(numba.config.NUMBA_NUM_THREADS)


@contextlib.contextmanager
def team(n_threads: int) -> Iterator[int]:
    """Let parallel kernels use ``n_threads``; yields how many they may, 1 where none is safe.

    The caller's own number of threads is restored afterwards.
    """
    global _pool_owner
    if n_threads > 1 and _pool_owner not in (None, os.getpid()):
        n_threads = 1
    if n_threads <= 1 or not _launching.acquire(blocking=False):
        yield 1
        return
    before = numba.get_num_threads()
    try:
        _pool_owner = os.getpid()
        numba.set_num_threads(n_threads)
        yield n_threads
    finally:
        numba.set_num_threads(before)
        _launching.release()


@functools.cache
def launch_seconds(n_threads: int) -> float:
    """Measured cost of entering and leaving the parallel loop of the kernels."""
    values, rows = kernels.aligned_zeros(16, np.dtype(np.float32)), np.zeros(1, np.int32)
    with team(n_threads) as n:
        if n == 1:
            return float("inf")
        kernels.launch(values, rows, values, 1, n)  # compiles, and starts the pool
        rounds = []
        for _ in range(9):
            began = time.perf_counter()
            kernels.launch(values, rows, values, 20, n)
            rounds.append((time.perf_counter() - began) / 20)
        return statistics.median(rounds)
