"""Cut the work into kernel calls short enough for Ctrl-C, progress bars and checks in between."""

import time
from collections.abc import Iterator

# A call may last about 100 ms; half of it leaves room for a machine that slows down meanwhile.
_TARGET_SECONDS = 0.05
# What a row costs besides its multiplications and additions, in as many of them.
_PER_ROW = 300


def paced(n: int, operations: int, block: int = 1, pieces: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) that cover range(n), each lasting about 50 ms in the loop's body.

    All but the last are whole numbers of blocks; they are at least so many ``pieces``, if there
    are as many blocks.

    ``operations`` per row sets the length of the first chunk, as if the machine were slow; the
    measured speed sets the rest. Kernels carry their sums from chunk to chunk, so where the cuts
    fall changes no result.
    """
    rows = max(1.0, _TARGET_SECONDS * 5e8 / (operations + _PER_ROW))
    start = 0
    while start < n:
        length = min(int(rows), n // pieces)
        stop = min(n, start + max(1, length // block) * block)
        began = time.perf_counter()
        yield start, stop
        ratio = _TARGET_SECONDS / max(time.perf_counter() - began, 1e-9)
        rows = max(1.0, rows * min(4.0, max(0.25, ratio)))
        start = stop
