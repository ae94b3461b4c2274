"""How many samples a call takes, and on how many threads, decided by measured times.

Neither changes a bit of a result: kernels carry their sums from call to call, and threads share
only what comes out the same however it is shared.
"""

import functools
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels, threads

# A call may last about 100 ms; half of it leaves room for a machine that slows down meanwhile.
_TARGET_SECONDS = 0.05
# Overhead of a row, counted as so many multiplications and additions.
_PER_ROW = 300


def paced(n: int, operations: int, block: int = 1, pieces: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) that cover range(n), each lasting about 50 ms in the loop's body.

    All but the last are multiples of ``block`` long. They are at least ``pieces``, if there are as
    many blocks. Ctrl-C, progress bars and checks get their turn in between.

    ``operations`` per row sets the length of the first chunk, as if the machine were slow; the
    measured speed sets the rest.
    """
    rows = max(1.0, _TARGET_SECONDS * 5e8 / (operations + _PER_ROW))
    if n <= rows and pieces == 1:
        yield 0, n
        return
    start = 0
    while start < n:
        length = min(int(rows), n // pieces)
        stop = min(n, start + max(1, length // block) * block)
        began = time.perf_counter()
        yield start, stop
        ratio = _TARGET_SECONDS / max(time.perf_counter() - began, 1e-9)
        rows = min(float(n), max(1.0, rows * min(4.0, max(0.25, ratio))))
        start = stop


def _judged(
    work: Callable[[int, int, NDArray[np.int64]], None],
    start: int,
    stop: int,
    team: NDArray[np.int64],
) -> bool:
    """Do the work; whether the caller was alone."""
    work(start, stop, team)
    return len(team) == 0


class Crew:
    """Decides from what was measured whether one thread or several take the next samples.

    It starts with one, and times both, because on a busy machine several threads can be slower than
    one. Threads change no bit, so the choice may change from chunk to chunk.

    Parameters
    ----------
    most : int
        Threads of the larger team.
    fixed : bool
        Whether that team is to be taken always, and at once.
    """

    # A team is first timed on 8 blocks. The slower one is retried in chunks 1, 2, 4, … and in
    # every 32nd, counted from when it became slower: on an eighth of the chunk, or on all of it if
    # an eighth is too short to time. Chunks too short to time do not count. Several threads do as
    # much once before, which is forgotten: a core that has slept is slow for some 10 ms.
    _TRIAL, _AGAIN = 8, 32
    # Seconds below which a time tells nothing: the first, short part of an epoch is spent on waking
    # up the threads.
    _TELLING = 1e-3
    # A team must be so many times as fast as one thread: others can use the cores, too.
    _GAIN = 1.1

    def __init__(self, most: int, fixed: bool) -> None:
        self.most = most
        self._is_fixed = fixed or most == 1
        self._teams: tuple[int, ...] = (most,) if self._is_fixed else (1, most)
        self._seconds: dict[int, float] = {}
        self._best, self._chunks = 0, 0

    @property
    def team(self) -> int:
        """Number of threads that are faster, as far as is known."""
        return self._best or self._teams[0]

    def share(
        self,
        work: Callable[[int, int, NDArray[np.int64]], None],
        start: int,
        stop: int,
        block: int = 1,
    ) -> None:
        """Have ``work(start, stop, team)`` do all of [start, stop), cut at whole blocks."""
        if self.most == 1:
            work(start, stop, kernels.ALONE)
            return
        for first, last, size in self.parts(start, stop, block):
            began = time.perf_counter()
            was_alone = threads.team(size, functools.partial(_judged, work, first, last))
            seconds = time.perf_counter() - began
            # While others need the cores, callers are alone, whatever they ask for.
            self.record(1 if was_alone else size, last - first, seconds)

    def parts(self, start: int, stop: int, block: int) -> Iterator[tuple[int, int, int]]:
        """Cut [start, stop) at whole blocks and yield (start, stop, threads) of each part."""
        if len(self._teams) == 1:
            yield start, stop, self._teams[0]
            return
        for team_size in self._teams:
            if team_size not in self._seconds and start < stop:
                start = yield from self._trial(start, stop, self._TRIAL * block, team_size)
        if start == stop:
            return
        self._choose()
        length = max(1, (stop - start) // block // 8) * block
        if not self._tells(length):  # half is to wake up in, half to tell
            length = -(-(stop - start) // (2 * block)) * block
        if self._is_time(length):
            start = yield from self._trial(start, stop, length, self._teams[self._best == 1])
            self._choose()
        if start < stop:
            yield start, stop, self._best

    def _trial(
        self, start: int, stop: int, length: int, team_size: int
    ) -> Generator[tuple[int, int, int], None, int]:
        """Yield a part for a team to wake up in, and one that tells; give their end."""
        for _ in range(min(2, team_size)):
            if start < stop:
                end = min(stop, start + length)
                yield start, end, team_size
                start = end
        return start

    def _tells(self, samples: int) -> bool:
        return samples * self._seconds.get(self._best, 0.0) >= self._TELLING

    def _is_time(self, samples: int) -> bool:
        """Whether to try the slower team again, on so many samples: if they would tell."""
        if not self._tells(samples):
            return False
        self._chunks += 1
        return self._chunks % self._AGAIN == 0 or self._chunks.bit_count() == 1

    def _choose(self) -> None:
        best = min(
            self._teams,
            key=lambda size: self._seconds.get(size, 0.0) * (1 if size == 1 else self._GAIN),
        )
        if best != self._best:
            self._best, self._chunks = best, 0

    def record(self, team_size: int, samples: int, seconds: float) -> None:
        """Note a part's time, unless the part is short and slower than what is known."""
        known = self._seconds.get(team_size, float("inf"))
        if seconds >= self._TELLING or seconds / samples < known:
            self._seconds[team_size] = seconds / samples
