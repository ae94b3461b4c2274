"""Threads that share the work of a kernel, and threads that take a block of rows each."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.quotas import quotas

Task = TypeVar("Task")
Result = TypeVar("Result")

# Most threads that can be asked for: more than any processor needs, and few enough to start.
MOST = 1024


def _note_fork() -> None:
    _helpers.clear()  # the parent's, which the child does not have
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@functools.cache
def _quota() -> int:
    """Whole cores that the process may use by the quotas of its control groups, at least 1."""
    return max(1, min(map(int, quotas()), default=MOST))


_bounds = threading.local()


@contextlib.contextmanager
def at_most(n: int) -> Iterator[None]:
    """Use no more than n threads in calls of this thread, such as a worker's."""
    before = getattr(_bounds, "most", MOST)
    _bounds.most = min(n, before)
    try:
        yield
    finally:
        _bounds.most = before


def available() -> int:
    """Number of threads that a kernel can use.

    At most as many as `at_most` allows, and as the caller has set by `numba.set_num_threads`, by
    default NUMBA_NUM_THREADS. Where that variable is not set, at most as many as there are cores
    that the process may run on, and that its control group's quota pays for.
    """
    most = min(kernels.loop_threads(), getattr(_bounds, "most", MOST))
    if "NUMBA_NUM_THREADS" in os.environ:
        return most
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else MOST
    return min(most, cores, _quota())


# After a team was dismissed because others needed the cores, callers stay alone for so many
# seconds: a short call would lose as much to every team.
_REST = 0.1
_rested = {"at": 0.0}
# Teams by their size, while nobody works with them.
_kept: dict[int, NDArray[np.int64]] = {}


def team(n_threads: int, work: Callable[[NDArray[np.int64]], Result]) -> Result:
    """Result of ``work(team)``, whose kernels may share their work among ``n_threads``.

    It is at most `available` threads, and one while cores are busy. Nobody waits for the others:
    until they are awake, the caller does their work, too.
    """
    most = min(n_threads, available())
    if most <= 1 or time.monotonic() < _rested["at"]:
        return work(kernels.ALONE)
    # The members of the last team look for work for some ms before they go home. Nobody else can
    # take it meanwhile; a new one costs some 50 µs, and as long again until it is awake.
    members = _kept.pop(most, kernels.ALONE)
    if not kernels.goes_on(members):
        kernels.dismiss(members)
        members = kernels.make_team(most)
        if len(members) == 0:
            return work(members)
        with contextlib.suppress(RuntimeError):  # no thread to be had
            pool = _pool(most - 1)
            for member in range(1, most):
                pool.submit(kernels.serve, members, member)
    kernels.begin(members)
    result = work(members)
    if kernels.is_slow(members):
        _rested["at"] = time.monotonic() + _REST
    else:
        _kept[most] = members
    return result


# In floating-point operations: work worth sharing, some 400 µs, because on some machines a helper
# wakes up 100 µs late; and about the most of a block, half of that, for helpers to end together.
_WORTH_SPREADING, _LARGEST = 60_000_000, 30_000_000
# Rows of a block are a multiple of this, as kernels take them.
_ROWS = 16


def _blocks(n: int, operations: int) -> list[tuple[int, int]]:
    """Cut [0, n) into blocks of (start, stop), with so many ``operations`` per row."""
    total = n * operations
    if total < _WORTH_SPREADING:
        return [(0, n)]
    # About equal, and an even number, for two to share.
    size = min(_LARGEST, total // 16)
    count = 2 * max(1, round(total / (2 * size)))
    length = -(-n // (count * _ROWS)) * _ROWS
    return [(start, min(n, start + length)) for start in range(0, n, length)]


class Stopped(Exception):  # noqa: N818 - no error, but the end of work that nobody waits for
    """Raised within `share` to end work that is not needed, as other work has failed."""


class _Spread(Generic[Task, Result]):
    """Tasks of one call, which its caller and its helpers take in turns.

    Ctrl-C can strike the caller anywhere, so the caller cannot keep the list of helpers: each adds
    itself to it before it takes a task.
    """

    def __init__(
        self, work: Callable[[Task, Callable[[], None]], Result], tasks: Sequence[Task]
    ) -> None:
        self._work: Callable[[Task, Callable[[], None]], Result] | None = work
        self._tasks = tasks
        self._waiting = iter(range(len(tasks)))
        self._helpers: list[threading.Event] = []
        self.results: dict[int, Result] = {}
        self.errors: dict[int, BaseException] = {}

    def take(self) -> None:
        """Do tasks until there are none left, or one has failed."""
        i = -1
        try:
            while not self.errors and (i := next(self._waiting, -1)) >= 0:
                assert self._work is not None
                self.results[i] = self._work(self._tasks[i], self._go_on)
        except Stopped:
            pass  # the error that it is for is another's
        except Exception as error:  # the work's own, for the caller to raise
            self.errors[i] = error
        except BaseException as error:  # Ctrl-C comes before any other
            self.errors[-1] = error

    def _go_on(self) -> None:
        if self.errors:
            raise Stopped

    def help(self) -> None:
        """`take`, as a helper."""
        done = threading.Event()
        self._helpers.append(done)
        try:
            self.take()
        finally:
            done.set()

    def settle(self) -> None:
        """Leave no tasks to helpers that have not started, and wait for those that have."""
        for _ in self._waiting:
            pass
        for done in self._helpers:
            done.wait()
        self._work = None  # else the caller's data would be kept until the last helper has run


# Pools by their number of helpers, kept because starting a thread takes some 100 µs.
_helpers: dict[int, ThreadPoolExecutor] = {}


def _pool(n_helpers: int) -> Any:
    """A pool of so many helpers, or of more."""
    for most, pool in _helpers.copy().items():
        if most >= n_helpers:
            return pool
        _helpers.pop(most, None)
        pool.shutdown(wait=False)  # a call that is just about to submit to it does without
    return _helpers.setdefault(n_helpers, ThreadPoolExecutor(n_helpers, "fastbp"))


def spread(
    work: Callable[[int, int], Result], n: int, operations: int, n_threads: int | None
) -> list[Result]:
    """Results of ``work(start, stop)`` for [0, n) in blocks, in order.

    Other threads help if ``operations`` per row make it worth while; the blocks do not depend on
    the number of threads. If several blocks fail, the error of the first is raised. Ctrl-C takes
    effect between blocks.
    """
    blocks = _blocks(n, operations)
    if len(blocks) == 1:
        return [work(*blocks[0])]
    return share(lambda block, _: work(*block), blocks, n * operations, n_threads)


def share(
    work: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    operations: int,
    n_threads: int | None,
) -> list[Result]:
    """Results of ``work(task, go_on)``, in order; other threads help with that many ``operations``.

    Work calls ``go_on`` now and then, which raises `Stopped` once other work has failed or Ctrl-C
    has come. If several tasks fail, the error of the first is raised.
    """
    most = 1
    if operations >= _WORTH_SPREADING:
        bound = getattr(_bounds, "most", MOST)
        most = min(n_threads or available(), bound, MOST, len(tasks))
    if most <= 1:
        return [work(task, _no_others) for task in tasks]
    shares = _Spread(work, tasks)
    while _kept:  # their members look for work that will not come
        with contextlib.suppress(KeyError):
            kernels.dismiss(_kept.popitem()[1])
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
            errors.clear()  # else the error would keep itself and this frame's data alive
    return [results[i] for i in range(len(tasks))]


def _no_others() -> None:
    """Go on: there is nobody else."""
