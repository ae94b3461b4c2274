"""How many threads: what was asked for, what the machine has, and when a launch pays."""

from __future__ import annotations

import _thread
import contextlib
import os
import queue
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from fastbp import kernels

Result = TypeVar("Result")

# Most threads that can be asked for: more than any processor needs, and few enough to start.
MOST = 1024

# Numba's pool, which it starts when parallel code is loaded, does not survive a fork: the first
# parallel kernel of the child would kill it.
_forked = False


def _note_fork() -> None:
    global _forked, _errands
    _forked = True
    _errands = queue.SimpleQueue()  # the parent's helpers are not the child's
    _helpers.clear()


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


class _Errand:
    """Work that a helper may do, which raises nothing; it is done when `settle` has returned."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work
        self._taken: dict[str, str] = {}
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def _take(self, who: str) -> bool:
        """Whether it falls to them: to the first who asks."""
        return self._taken.setdefault("by", who) == who

    def run(self) -> None:
        """Do it, as a helper, unless the caller has done without."""
        if self._take("helper") and self._work is not None:
            self._work()
            self._work = None  # or the caller's data would live as long as this helper waits
            self._done.release()

    def settle(self) -> None:
        """Wait for who has begun it, or see that nobody does.

        Ctrl-C may interrupt that anywhere, even when the lock has just been taken: call it again.
        """
        if self._take("caller"):
            self._work = None
        while self._work is not None:
            self._done.acquire()


# Helpers wait here, for to start one takes some 100 µs. Ctrl-C can strike anywhere, so there is
# nothing in common that it could leave half done: the queue is C's, and an errand has its own lock.
_errands: queue.SimpleQueue[_Errand] = queue.SimpleQueue()
_helpers: list[int] = []


def _help(errands: queue.SimpleQueue[_Errand]) -> None:
    while True:
        errands.get().run()


def _send_out(errand: _Errand, n_helpers: int) -> None:
    """Leave it to any helper that has time; there are as many as a call has asked for."""
    while len(_helpers) < n_helpers:
        _helpers.append(_thread.start_new_thread(_help, (_errands,)))
    _errands.put(errand)


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
    results: dict[int, Result] = {}
    errors: dict[int, BaseException] = {}
    waiting = iter(range(len(blocks)))

    def take_turns() -> None:
        i = -1
        try:
            while not errors and (i := next(waiting, -1)) >= 0:
                results[i] = work(*blocks[i])
        except Exception as error:
            errors[i] = error
        except BaseException as error:  # Ctrl-C comes before any other
            errors[-1] = error

    errands: list[_Errand] = []
    try:
        with contextlib.suppress(RuntimeError):  # no thread to be had
            for _ in range(most - 1):
                errands.append(_Errand(take_turns))
                _send_out(errands[-1], most - 1)
        take_turns()
    except BaseException as error:
        errors[-1] = error  # helpers stop after the block that they are at
    while errands:
        try:
            errands[-1].settle()
            errands.pop()
        except BaseException as error:
            errors[-1] = error
    if errors:
        try:
            raise errors[min(errors)]
        finally:
            errors.clear()  # or an error would hold on to itself, and to all that was at hand
    return [results[i] for i in range(len(blocks))]


_launch_seconds: dict[int, float] = {}


def launch_seconds(n_threads: int) -> float:
    """Cost of entering and leaving a parallel loop, measured once; infinite where it must not."""
    if n_threads in _launch_seconds:
        return _launch_seconds[n_threads]
    values, rows = kernels.aligned_zeros(16, np.dtype(np.float32)), np.zeros(1, np.int32)

    def measure(n: int) -> float:
        if n < n_threads:
            return float("inf")
        kernels.launch(values, rows, values, 1, n)  # compiles, and starts the pool
        rounds = []
        for _ in range(9):
            began = time.perf_counter()
            kernels.launch(values, rows, values, 20, n)
            rounds.append((time.perf_counter() - began) / 20)
        return statistics.median(rounds)

    seconds = team(n_threads, measure)
    if seconds < float("inf"):
        _launch_seconds[n_threads] = seconds
    return seconds


class Crew:
    """Decides from what was measured whether one thread or several take the next samples.

    A busy machine can make several threads slower than one, whatever a launch costs when nothing
    else runs. Threads change no bit, so the choice may change from chunk to chunk.

    Parameters
    ----------
    most : int
        Threads of the larger team.
    fixed : bool
        Whether that team is to be taken always.
    """

    # Blocks that try out a team for the first time, which may be too short to tell. And one part
    # that another program has slowed down tells nothing for long. So the slower of the two is tried
    # again, in chunk 1, 2, 4, 8, … since it became so, and then in every 32nd: on an eighth of the
    # chunk, or on all of one too short for that. Chunks that would not tell are not counted.
    _TRIAL, _AGAIN = 8, 32
    # Seconds that tell: a shorter part, as an epoch begins with, is spent on waking up the pool.
    _TELLING = 1e-3

    def __init__(self, most: int, fixed: bool) -> None:
        self.most = most
        self._teams = (most,) if fixed or most == 1 else (1, most)
        self._seconds: dict[int, float] = {}
        self._best, self._chunks = 0, 0

    def shares(self, start: int, stop: int, block: int) -> Iterator[tuple[int, int, int]]:
        """Cut [start, stop) at whole blocks and yield (start, stop, threads) of each part."""
        for team_size in self._teams:
            if len(self._teams) > 1 and team_size not in self._seconds and start < stop:
                end = min(stop, start + self._TRIAL * block)
                yield start, end, team_size
                start = end
        if start == stop:
            return
        self._choose()
        end = min(stop, start + max(1, (stop - start) // block // 8) * block)
        if not self._tells(end - start):
            end = stop
        if len(self._teams) > 1 and self._is_time(end - start):
            yield start, end, self._teams[self._best == 1]
            start = end
            self._choose()
        if start < stop:
            yield start, stop, self._best

    def _tells(self, samples: int) -> bool:
        return samples * self._seconds.get(self._best, 0.0) >= self._TELLING

    def _is_time(self, samples: int) -> bool:
        """Whether to try the slower team again, on so many samples: if they would tell."""
        if not self._tells(samples):
            return False
        self._chunks += 1
        return self._chunks % self._AGAIN == 0 or self._chunks.bit_count() == 1

    def _choose(self) -> None:
        best = min(self._teams, key=lambda size: self._seconds.get(size, 0.0))
        if best != self._best:
            self._best, self._chunks = best, 0

    def record(self, team_size: int, samples: int, seconds: float) -> None:
        """Note what a part took, unless it is too short to tell against what is known."""
        known = self._seconds.get(team_size, float("inf"))
        if seconds >= self._TELLING or seconds / samples < known:
            self._seconds[team_size] = seconds / samples
