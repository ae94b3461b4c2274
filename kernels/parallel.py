"""Work in parts that do not depend on each other: one after the other, or on threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ._jit import jit
from .packing import recall, reference


def _named_after(piece: Callable[..., Any]) -> Callable[..., Any]:
    """Name a loop after its piece, so that the names of machine code tell loops apart."""

    def rename(loop: Callable[..., Any]) -> Callable[..., Any]:
        loop.__qualname__ = f"{loop.__name__}.{piece.__name__}"
        return loop

    return rename


def in_parts(piece: Callable[..., Any]) -> Any:
    """Function of (task, parts, threads, shares) that calls ``piece(task, part, parts)`` per part.

    If ``shares`` is not 0, several threads take the parts. A task may be a nested tuple, which
    parallel loops cannot take, so they are given its address. On one thread ``piece`` is inlined
    into its caller, because calls slow down a small network. If ``threads`` is None, the parallel
    loop is not even compiled.
    """

    @jit(inline=False, parallel=True)
    @_named_after(piece)
    def on_threads(task, parts):
        for part in prange(parts):
            piece(recall(task), np.int64(part), parts)

    @jit
    def run(task, parts, threads, shares):
        if threads is not None and threads > 1 and shares != 0:
            on_threads(reference(task), parts)
        else:
            for part in range(parts):
                piece(task, part, parts)

    return run


@jit
def team(threads, shares):
    """Number of threads that work on something: ``threads`` if they share it, otherwise 1."""
    if threads is None:
        return 1
    else:
        return threads if shares != 0 else 1


@jit
def nothing(task, part, parts):
    """A part with nothing to do."""


_empty = in_parts(nothing)


@jit(entry=True)
def launch(repeats, parts):
    """Enter and leave a parallel loop with nothing to do, so that its cost can be measured."""
    for _ in range(repeats):
        _empty((repeats, parts), parts, parts, 1)
