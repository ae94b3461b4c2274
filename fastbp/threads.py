"""Threads where they are safe: numba's within a kernel, and Python's with a block of rows each."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from fastbp import kernels

Result = TypeVar("Result")

# Most threads that can be asked for: more than any processor needs, and few enough to start.
MOST = 1024

# Numba's pool, which it starts when parallel code is loaded, does not survive a fork: the first
# parallel kernel of the child would kill it.
_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True
    _helpers.clear()  # the parent's, which the child does not have


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)

# Who has a team at present: the workqueue layer aborts when two threads of the program launch at
# once.
_team: dict[str, object] = {}


def available() -> int:
    """Threads that a kernel can use: the caller's `numba.set_num_threads`.

    That is at most, and by default, NUMBA_NUM_THREADS, by default the processor's cores.
    """
    return kernels.loop_threads()


def team(n_threads: int, work: Callable[[int], Result]) -> Result:
    """Result of ``work(n)``, whose parallel kernels may use n of ``n_threads``.

    They are 1 where several are not safe, and never more than `available`; the caller's own number
    of threads is restored afterwards.
    """
    before = available()
    most = min(n_threads, before)
    if most <= 1 or _forked:
        return work(1)
    # Ctrl-C can strike anywhere. So one call both takes the team and notes who has it, and the team
    # is left twice, in case the first time is interrupted.
    me = object()
    try:
        try:
            if _team.setdefault("by", me) is me:
                kernels.set_loop_threads(most)
                return work(most)
        finally:
            _leave(me, before)
    finally:
        _leave(me, before)
    return work(1)


def _leave(me: object, before: int) -> None:
    """Make the team free for others, if it is still ``me`` who has it."""
    if _team.get("by") is me:
        kernels.set_loop_threads(before)
        del _team["by"]


# In floating-point operations: work worth sharing, for a helper wakes up some 20 µs late; about the
# least of a block, for a call of a kernel takes some µs; and about the most, a millisecond.
_WORTH_SPREADING, _SMALLEST, _LARGEST = 6_000_000, 3_000_000, 30_000_000
# Rows of a block are a multiple of this, as kernels take them.
_ROWS = 16


def _blocks(n: int, operations: int) -> list[tuple[int, int]]:
    """Cut [0, n) into blocks of (start, stop), with so many ``operations`` per row."""
    total = n * operations
    if total < _WORTH_SPREADING:
        return [(0, n)]
    # About equal, and an even number, for two to share.
    size = min(_LARGEST, max(_SMALLEST, total // 16))
    count = 2 * max(1, round(total / (2 * size)))
    length = -(-n // (count * _ROWS)) * _ROWS
    return [(start, min(n, start + length)) for start in range(0, n, length)]


class _Spread(Generic[Result]):
    """Blocks of one call, which its caller and its helpers take in turns.

    Ctrl-C can strike the caller anywhere, so no helper is known by what the caller notes: each
    notes itself before it takes a block.
    """

    def __init__(self, work: Callable[[int, int], Result], blocks: list[tuple[int, int]]) -> None:
        self._work: Callable[[int, int], Result] | None = work
        self._blocks = blocks
        self._waiting = iter(range(len(blocks)))
        self._helpers: list[threading.Event] = []
        self.results: dict[int, Result] = {}
        self.errors: dict[int, BaseException] = {}

    def take(self) -> None:
        """Do blocks until there are none left, or one has failed."""
        i = -1
        try:
            while not self.errors and (i := next(self._waiting, -1)) >= 0:
                assert self._work is not None
                self.results[i] = self._work(*self._blocks[i])
        except Exception as error:
            self.errors[i] = error
        except BaseException as error:  # Ctrl-C comes before any other
            self.errors[-1] = error

    def help(self) -> None:
        """`take`, as a helper."""
        done = threading.Event()
        self._helpers.append(done)
        try:
            self.take()
        finally:
            done.set()

    def settle(self) -> None:
        """Leave nothing to helpers that come late, and wait for the others."""
        for _ in self._waiting:
            pass
        for done in self._helpers:
            done.wait()
        self._work = None  # or the caller's data would live until the last helper has come


# Kept, for to start a thread takes some 100 µs: the number of helpers, and the pool of them.
_helpers: dict[int, ThreadPoolExecutor] = {}


def _pool(n_helpers: int) -> Any:
    """A pool of so many helpers, or of more."""
    for most, pool in _helpers.copy().items():
        if most >= n_helpers:
            return pool
        _helpers.pop(most, None)
        pool.shutdown(wait=False)  # who wants to hand it something just now does without
    return _helpers.setdefault(n_helpers, ThreadPoolExecutor(n_helpers, "fastbp"))


def spread(
    work: Callable[[int, int], Result], n: int, operations: int, n_threads: int | None
) -> list[Result]:
    """Results of ``work(start, stop)`` for [0, n) in blocks, in order.

    The calling thread is helped where ``operations`` per row make that worth while; where blocks
    begin does not depend on that. Of several errors that of the first block is raised, and Ctrl-C
    is heard between blocks.
    """
    blocks = _blocks(n, operations)
    most = min(n_threads or available(), MOST, len(blocks)) if len(blocks) > 1 else 1
    if most == 1:
        return [work(*block) for block in blocks]
    shares = _Spread(work, blocks)
    try:
        try:
            with contextlib.suppress(RuntimeError):  # no thread to be had
                for _ in range(most - 1):
                    _pool(most - 1).submit(shares.help)
            shares.take()
        finally:
            shares.settle()
    finally:  # once more, in case Ctrl-C interrupted the first
        shares.settle()
    errors, results = shares.errors, shares.results
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # or an error would hold on to itself, and to all that was at hand
    return [results[i] for i in range(len(blocks))]
