"""Work in parts that do not depend on each other: one after the other, or on threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from ._jit import jit
from .packing import recall, reference


def in_parts(piece: Callable[..., Any]) -> Any:
    """Function of (task, parts, threads, shares) that calls ``piece(task, part, parts)`` for each.

    Several threads take the parts where ``shares`` is not 0. A task is a tuple of any depth: a
    parallel loop takes no tuple of tuples, so it gets the task's address. On one thread ``piece``
    becomes a part of its caller, for a small network notices calls. Where ``threads`` is None, the
    parallel loop is not even compiled.
    """

    @jit(inline=False, parallel=True)
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
    """Threads that work on what they share, or on what they do not."""
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
