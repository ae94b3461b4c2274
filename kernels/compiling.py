"""Compilation beside the caller: Ctrl-C is heard at once, and a long wait is explained."""

import _thread
import contextlib
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# After compiling for so many seconds, a line is printed that says so.
_PATIENCE = 1.0
_announced: set[str] = set()


def announce(line: str) -> None:
    """Write a line to stderr, which goes above a progress bar that is shown there."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # none, or a closed one
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _precision(arguments: Any) -> str:
    """The dtype of the floats among the arguments of a kernel, or nothing."""
    for argument in arguments:
        if isinstance(argument, tuple):
            if found := _precision(argument):
                return found
        elif getattr(argument, "dtype", None) in (np.float32, np.float64):
            return str(argument.dtype)
    return ""


def compile_aside(compiled: Any, arguments: Any, work: Callable[[], Any]) -> Any:
    """`wait_for` work that compiles a function for these arguments, or loads it from the cache."""
    once = compiled.stats.cache_path is not None
    return wait_for(work, lambda: misses(compiled), _precision(arguments), once)


def misses(compiled: Any) -> int:
    """How often the function has been compiled, as it was in no file."""
    return int(sum(compiled.stats.cache_misses.values()))


def wait_for(work: Callable[[], Any], missed: Callable[[], int], precision: str, once: bool) -> Any:
    """Result of ``work``, which compiles or loads machine code, in a thread.

    ``missed`` tells how often something has been compiled, as it was not in the cache;
    ``precision`` and ``once`` are for the sentence about that.

    LLVM can run for seconds without running any Python, and loses an exception that is raised when
    it calls back into Python. Numba's registries, which are filled before a process's first
    compilation, stay half empty for good if that is interrupted. So no signal may reach the thread
    that compiles. Ctrl-C ends the caller's wait; the compilation goes on, and the next call waits
    for it.
    """
    outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # it is the caller's
            outcome.put((None, error))

    before, began = missed(), time.monotonic()
    try:
        # Ctrl-C may strike at any instruction: threading's own would leave locks behind.
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no thread is to be had, as when the interpreter ends
        return work()
    while True:
        # Wait for short times, because on Windows Ctrl-C does not interrupt a wait.
        with contextlib.suppress(queue.Empty):
            result, error = outcome.get(timeout=0.2)
            break
        if time.monotonic() - began > _PATIENCE and missed() > before:
            _explain(precision, once)
    try:
        if error is not None:
            raise error
        return result
    finally:
        del error  # it holds on to this frame


def _explain(precision: str, once: bool) -> None:
    """Say what is waited for, once for each dtype."""
    if precision in _announced:
        return
    _announced.add(precision)
    what = f"kernels for {precision}" if precision else "kernels"
    how_often = "once on this machine" if once else "as there is no cache of them"
    # From a first fit to all kernels, as README.md has it.
    announce(f"fastbp: compiling {what}, {how_often}: 5 to 30 s in all")
