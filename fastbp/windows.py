"""Rows of a stream in the order in which they are trained on: as they come, or shuffled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels
from fastbp.rows import cut, joined, taken
from fastbp.splitting import Rows as Places

# The method is chosen from the first rows: by their share of zeros and their number; more than
# these make no difference.
_FIRST = 2048
# Rows are handed on in parts of about 4 MiB, which caches hold, but of at least 512 rows: each part
# costs some 50 µs.
_CACHED, _LEAST = 1 << 22, 512
PARTS = 8
"""A window has so many parts, of which one is drawn, and replaced, at a time."""


class RowCutter:
    """The rows of pieces, so many at a time, whatever the pieces."""

    def __init__(self, pieces: Iterable[kernels.Samples]) -> None:
        self._pieces = iter(pieces)
        self._rest: kernels.Samples | None = None

    def take(self, n: int) -> Iterator[kernels.Samples]:
        """The next n rows, or all that are left, as parts of the pieces."""
        while n > 0:
            piece = self._rest or next(self._pieces, None)
            if piece is None:
                return
            length = piece.inputs.n
            self._rest = cut(piece, n, length) if n < length else None
            yield cut(piece, 0, n) if n < length else piece
            n -= length


def in_order(
    pieces: Iterable[kernels.Samples], length: int, is_awaited: Callable[[], bool]
) -> Iterator[kernels.Samples]:
    """Rows as they come, copied, up to ``length`` at a time; fewer while somebody waits for them.

    The first time they are some thousands in any case: how all are trained on depends on those.
    """
    rows, is_first = RowCutter(pieces), True
    while (part := next(rows.take(1), None)) is not None:
        wanted = min(length, _cached(part))
        wanted = max(wanted, _FIRST) if is_first else wanted
        held = _store(part, wanted)  # for the source may change what it gave
        held.add(part)
        error: Exception | None = None
        try:
            for part in rows.take(wanted - 1):
                held.add(part)
                if not is_first and is_awaited():
                    break
        except Exception as raised:
            if is_first:
                raise
            error = raised
        yield held.added()
        if error is not None:  # what came before is trained on
            raise error
        is_first = False


def shuffled(
    pieces: Iterable[kernels.Samples], window: int, generator: np.random.Generator
) -> Iterator[kernels.Samples]:
    """Rows drawn at random from a window of those that have come, copied.

    The window is filled first. Then an eighth of it is drawn at a time, and the next rows take the
    places of those; when there are no more, the rest comes in random order. So the order follows
    from the generator and the window alone.
    """
    rows, part = RowCutter(pieces), max(1, window // PARTS)
    first = next(rows.take(window), None)
    if first is None:
        return
    held, few = _store(first, window), _cached(first)
    places = np.arange(window)
    n = held.put(places, itertools.chain([first], rows.take(window - first.inputs.n)))
    left = places[:n]
    while n == window:
        drawn = generator.choice(window, part, replace=False)
        # Of sparse rows, putting some in their places moves all.
        step = part if first.inputs.is_sparse else few
        empty = []
        for start in range(0, part, step):
            some = drawn[start : start + step]
            yield from _in_parts(held, some, few)
            filled = held.put(some, rows.take(len(some)))
            empty.append(some[filled:])
        left = np.delete(places, np.concatenate(empty))
        if len(left) < window:
            break
    yield from _in_parts(held, generator.permutation(left), few)


def whole_batches(parts: Iterable[kernels.Samples], batch_size: int) -> Iterator[kernels.Samples]:
    """The same rows, cut where batches end; only the last part may end within one."""
    held, n = list[kernels.Samples](), 0
    for part in parts:
        start, stop = 0, part.inputs.n
        if held:
            start = min(batch_size - n, stop)
            held.append(cut(part, 0, start))
            n += start
            if n == batch_size:
                yield joined(held)
                held, n = [], 0
        end = start + (stop - start) // batch_size * batch_size
        if start < end:
            yield cut(part, start, end)
        if end < stop:
            held.append(joined([cut(part, end, stop)]))  # does not keep the rest in memory
            n += stop - end
    if held:
        yield joined(held)


def _cached(rows: kernels.Samples) -> int:
    """Rows that are still in a cache when they are trained on, after they were put together."""
    return max(_LEAST, _CACHED // max(1, rows.inputs.X.strides[0]))


def _in_parts(held: _Dense | _Sparse, places: Places, length: int) -> Iterator[kernels.Samples]:
    for start in range(0, len(places), length):
        yield held.taken(places[start : start + length])


def _store(like: kernels.Samples, places: int) -> _Dense | _Sparse:
    return (_Sparse if like.inputs.is_sparse else _Dense)(like, places)


class _Dense:
    """Rows in places of which each is written again and again."""

    def __init__(self, like: kernels.Samples, places: int) -> None:
        self._like, self._n = like, 0
        self._arrays = tuple(
            np.empty((places, *array.shape[1:]), array.dtype) if len(array) > 0 else array
            for array in _arrays(like)
        )

    def put(self, places: Places, parts: Iterable[kernels.Samples]) -> int:
        """Write the rows to the places; how many there were."""
        done = 0
        for part in parts:
            n = part.inputs.n
            self._write(places[done : done + n], part)
            done += n
        return done

    def add(self, part: kernels.Samples) -> None:
        """Write the rows to the places after those that were added before."""
        end = self._n + part.inputs.n
        self._write(slice(self._n, end), part)
        self._n = end

    def added(self) -> kernels.Samples:
        """The rows that were added, not copied."""
        return self._made(lambda array: array[: self._n])

    def _write(self, places: Places | slice, part: kernels.Samples) -> None:
        for own, its in zip(self._arrays, _arrays(part), strict=True):
            if len(own) > 0:
                own[places] = its

    def taken(self, places: Places) -> kernels.Samples:
        """A copy of the rows in these places."""
        return self._made(lambda array: array.take(places, axis=0))

    def _made(self, of: Callable[[NDArray[Any]], NDArray[Any]]) -> kernels.Samples:
        X, labels, targets, weights = (
            kernels.read_only(of(array) if len(array) > 0 else array) for array in self._arrays
        )
        inputs = self._like.inputs._replace(X=X)
        return self._like._replace(inputs=inputs, labels=labels, targets=targets, weights=weights)


class _Sparse:
    """The same for sparse rows, which have lengths of their own: they are put together anew."""

    def __init__(self, like: kernels.Samples, places: int) -> None:
        self._rows: kernels.Samples | None = None
        self._parts: list[kernels.Samples] = []
        self._row_of = np.empty(places, np.int64)

    def put(self, places: Places, parts: Iterable[kernels.Samples]) -> int:
        """As `_Dense.put`."""
        new = [joined([part]) for part in parts]
        n = sum(part.inputs.n for part in new)
        before = 0
        if self._rows is not None:
            others = np.delete(np.arange(len(self._row_of)), places)
            new.insert(0, taken(self._rows, self._row_of[others]))
            before = len(others)
            self._row_of[others] = np.arange(before)
        self._row_of[places[:n]] = np.arange(before, before + n)
        self._rows = joined(new)
        return n

    def add(self, part: kernels.Samples) -> None:
        """As `_Dense.add`."""
        self._parts.append(joined([part]))

    def added(self) -> kernels.Samples:
        """As `_Dense.added`."""
        return joined(self._parts)

    def taken(self, places: Places) -> kernels.Samples:
        """As `_Dense.taken`."""
        assert self._rows is not None
        return taken(self._rows, self._row_of[places])


def _arrays(samples: kernels.Samples) -> tuple[NDArray[Any], ...]:
    return samples.inputs.X, samples.labels, samples.targets, samples.weights
