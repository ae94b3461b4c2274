"""Who is training: one thread at a time, perhaps a fit within another, until it is told to stop."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")

# Identifies the process: a forked child has another one, and none of its parent's threads.
_process = [object()]


def _note_fork() -> None:
    _process[0] = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


class Turns:
    """The fits of a trainer that are running, possibly one within another.

    Attributes
    ----------
    stopped : bool
        Whether the innermost is to end.
    by : dict
        Where it is noted who is at work.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._depth = 0
        # Process, thread and call that are at work.
        self.by: dict[str, Any] = {}

    @property
    def is_nested(self) -> bool:
        """Whether there is work within work."""
        return self._depth > 1

    def take(self, network_by: dict[str, Any], work: Callable[[], Result]) -> Result:
        """Do ``work``, unless another thread is training this trainer or its network.

        ``network_by`` is where the network notes who is training it.

        Raises
        ------
        RuntimeError
            If another thread is at work.
        """
        return take_all((self.by, network_by), functools.partial(self._within, work))

    def _within(self, work: Callable[[], Result]) -> Result:
        """Do ``work``, perhaps in a callback of another fit; `stopped` is that of the innermost."""
        depth, stopped = self._depth, self.stopped
        try:
            self._depth, self.stopped = depth + 1, False
            return work()
        finally:
            self._depth, self.stopped = depth, stopped


def take_all(users: Sequence[dict[str, Any]], work: Callable[[], Result]) -> Result:
    """Do ``work``, unless another thread uses one of the things that note in ``users`` who does.

    Ctrl-C may come between any two lines. So the user is noted inside the try, and forgotten twice,
    in case Ctrl-C interrupts the first time.

    Raises
    ------
    RuntimeError
        If another thread is at work.
    """
    me = _process[0], threading.get_ident(), object()
    try:
        try:
            for user in users:
                other = user.setdefault("now", me)
                if other[0] is not me[0]:  # of the process that this one was forked from
                    user["now"] = me
                elif other[1] != me[1]:
                    raise RuntimeError(
                        "another thread is training this trainer or its network: wait for it, "
                        "or give each thread a trainer and a network of its own."
                    )
            return work()
        finally:
            _forget(me, users)
    finally:
        _forget(me, users)


def _forget(me: object, users: Sequence[dict[str, Any]]) -> None:
    for user in users:
        if user.get("now") is me:
            user.clear()
