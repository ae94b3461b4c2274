"""The progress bar of a fit, and what is printed while it is shown."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any


class _Unfailing:
    """A stream for the bar: training goes on even if it is closed or its reader has gone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _AboveBar:
    """A stream that writes each line above the bar as soon as it is complete."""

    def __init__(self, stream: Any, bar: Any) -> None:
        self._stream, self._bar, self._begun = stream, bar, ""

    def write(self, text: str) -> int:
        lines, end, self._begun = (self._begun + text).rpartition("\n")
        if end:
            with self._bar.get_lock():
                self._bar.clear(nolock=True)
                self._stream.write(lines + end)
                self._stream.flush()
                self._bar.refresh(nolock=True)
        return len(text)

    def finish(self) -> None:
        """Write the last line, which has no end yet."""
        if self._begun:
            self._stream.write(self._begun)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):  # none, as under pythonw, or a closed one
        return False


def _in_notebook() -> bool:
    """Whether the program runs in a kernel of Jupyter's, as tqdm.auto finds out."""
    return "ipykernel.zmqshell" in sys.modules


def _made_bar(total: int | None, unit: str, stream: Any) -> Any:
    """A bar of tqdm's that suits the place: of widgets in a notebook, else of text."""
    with warnings.catch_warnings():
        # Without ipywidgets, a notebook gets a bar of text, and needs no advice in the midst of it.
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(total=total, unit=unit, unit_scale=True, leave=False, file=_Unfailing(stream))


@contextlib.contextmanager
def progress_bar(progress: bool | None, total: int | None, unit: str = " samples") -> Iterator[Any]:
    """A bar with tqdm's ``update`` and its setters of texts, or None for none.

    It counts up to ``total``, of samples or of another unit, if that is known.
    ``progress=None`` shows it in a notebook, and where stderr is a terminal. What this thread
    prints meanwhile goes above a bar of text.
    """
    stream = sys.stderr
    shows = progress
    if shows is None:
        shows = _is_terminal(stream) or _in_notebook()
    if not shows or stream is None:
        yield None  # tqdm's own, even if disabled, runs Python code when it is collected
        return
    with contextlib.ExitStack() as endings:
        bar = _made_bar(total, unit, stream)
        # The streams belong to the whole program, so only a fit in its main thread replaces them.
        # A bar of widgets has a place of its own.
        replaces = threading.current_thread() is threading.main_thread() and not bar.gui
        above = {
            name: _AboveBar(getattr(sys, name), bar)
            for name in ("stdout", "stderr")
            if replaces and getattr(sys, name) is not None
        }
        for lines in above.values():
            endings.callback(lines.finish)
        endings.callback(bar.close)
        for name, lines in above.items():
            endings.callback(setattr, sys, name, getattr(sys, name))
            setattr(sys, name, lines)
        yield bar
        bar.total = bar.n  # a fit that was stopped is done, and its bar need not turn red
