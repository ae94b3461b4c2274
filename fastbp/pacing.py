"""How much at a time, and on how many threads: decided by what was measured.

Neither changes a bit of a result: kernels carry their sums from call to call, and share only what
several threads compute alike.
"""

import functools
import time
from collections.abc import Callable, Iterator

from fastbp import threads

# A call may last about 100 ms; half of it leaves room for a machine that slows down meanwhile.
_TARGET_SECONDS = 0.05
# What a row costs besides its multiplications and additions, in as many of them.
_PER_ROW = 300


def paced(n: int, operations: int, block: int = 1, pieces: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) that cover range(n), each lasting about 50 ms in the loop's body.

    All but the last are whole numbers of blocks; they are at least so many ``pieces``, if there
    are as many blocks. Ctrl-C, progress bars and checks have their turn in between.

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
        rows = max(1.0, rows * min(4.0, max(0.25, ratio)))
        start = stop


# Seconds of work that parallel loops must be for. Compiling them takes about as long as the first;
# loading them from the cache and starting the pool of threads, about half the second.
_COMPILING, _LOADING = 5.0, 1.0


def _unknown() -> bool:
    return False


class Crew:
    """Decides from what was measured whether one thread or several take the next samples.

    One does at first: the parallel code is called for when there is more work than it costs to
    compile, be it known to come or, as nobody knows what comes, done already. Then both are timed,
    for a busy machine can make several threads slower than one. Threads change no bit, so the
    choice may change from chunk to chunk.

    Parameters
    ----------
    most : int
        Threads of the larger team.
    fixed : bool
        Whether that team is to be taken always, and at once.
    """

    # A team is first timed on 8 blocks. The slower is retried in chunks 1, 2, 4, … and every 32nd,
    # counted since it became so: on an eighth of the chunk, or on all of one too short for that.
    # Chunks too short to time do not count.
    _TRIAL, _AGAIN = 8, 32
    # Seconds that tell: a shorter part, as an epoch begins with, is spent on waking up the pool.
    _TELLING = 1e-3

    def __init__(self, most: int, fixed: bool) -> None:
        self.most = most
        self._is_fixed = fixed or most == 1
        self._teams: tuple[int, ...] = (most,) if self._is_fixed else (1,)
        self._price: float | None = None  # seconds of work that the parallel code must be for
        self._seconds: dict[int, float] = {}
        self._spent = 0.0
        self._best, self._chunks = 0, 0

    @property
    def team(self) -> int:
        """Threads of the larger team that has been called up so far."""
        return self._teams[-1]

    def share(
        self,
        work: Callable[[int, int, int], None],
        start: int,
        stop: int,
        block: int = 1,
        ahead: int = 0,
        has_code: Callable[[], bool] = _unknown,
    ) -> None:
        """Have ``work(start, stop, threads)`` do all of [start, stop), cut at whole blocks.

        ``ahead`` samples are known to come after them; ``has_code`` is that of `call_up`.
        """
        if self.most == 1:
            work(start, stop, 1)
            return
        self.call_up(work, stop - start + ahead, has_code)
        for first, last, team_size in self.parts(start, stop, block):
            began = time.perf_counter()
            threads.team(team_size, functools.partial(work, first, last))
            self.record(team_size, last - first, time.perf_counter() - began)

    def load(self, work: Callable[[int, int, int], None]) -> None:
        """Compile or load what ``work`` needs, by work on no samples."""
        threads.team(self.team, functools.partial(work, 0, 0))

    def call_up(
        self, work: Callable[[int, int, int], None], samples: int, has_code: Callable[[], bool]
    ) -> None:
        """Have the larger team from now on, if there is enough work: so many samples will come.

        ``has_code`` says whether its code is there, in memory or in the cache.
        """
        if self._is_fixed or len(self._teams) > 1:
            return
        seconds = max(self._spent, samples * self._seconds.get(1, 0.0))
        if seconds > _LOADING and self._price is None:
            self._price = _LOADING if has_code() else _COMPILING
        if self._price is not None and seconds > self._price:
            self._teams = (1, self.most)
            self.load(work)

    def parts(self, start: int, stop: int, block: int) -> Iterator[tuple[int, int, int]]:
        """Cut [start, stop) at whole blocks and yield (start, stop, threads) of each part."""
        if len(self._teams) == 1:
            yield start, stop, self.team
            return
        for team_size in self._teams:
            if team_size not in self._seconds and start < stop:
                end = min(stop, start + self._TRIAL * block)
                yield start, end, team_size
                start = end
        if start == stop:
            return
        self._choose()
        end = min(stop, start + max(1, (stop - start) // block // 8) * block)
        if not self._tells(end - start):
            end = stop
        if self._is_time(end - start):
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
        if team_size == 1:
            self._spent += seconds
