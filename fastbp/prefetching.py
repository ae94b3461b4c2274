"""What an iterator gives, made by a thread ahead of its use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

# Seconds between looks at whether the iteration has been given up.
_LOOK = 0.1
# Seconds that `Prefetched.close` waits for the thread, which may be in the middle of a read.
_PATIENCE = 2.0


class Prefetched(Generic[Item]):
    """Iterates over ``make(is_awaited)``, of which a thread holds up to ``depth`` items ready.

    ``is_awaited()`` tells the maker whether somebody waits for the next item. With a depth of 0
    there is no thread, and somebody always does. An error of the iterator comes after the items
    that were made before it.
    """

    def __init__(self, make: Callable[[Callable[[], bool]], Iterator[Item]], depth: int) -> None:
        self._ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._items = make(self._ready.empty if depth > 0 else lambda: True)
        self._thread: threading.Thread | None = None
        if depth > 0:
            self._thread = threading.Thread(target=self._work, name="fastbp source", daemon=True)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._thread is None:
            return next(self._items)
        if self._closed.is_set():
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
        item, error = self._got()
        if error is not None:
            self._closed.set()
            raise error
        assert item is not None
        return item

    def close(self) -> None:
        """Give the rest up: the thread ends after the item that it is making."""
        self._closed.set()
        if self._thread is not None:
            if self._thread.ident is not None:
                self._thread.join(_PATIENCE)
        elif hasattr(self._items, "close"):
            self._items.close()

    def _got(self) -> tuple[Item | None, BaseException | None]:
        while True:
            try:
                return self._ready.get(timeout=_LOOK)  # Ctrl-C is heard on Windows, too
            except queue.Empty:
                if self._thread is not None and not self._thread.is_alive() and self._ready.empty():
                    raise RuntimeError("the thread that reads source has died.") from None

    def _put(self, item: Item | None, error: BaseException | None) -> bool:
        """Whether somebody will take it."""
        while not self._closed.is_set():
            try:
                self._ready.put((item, error), timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def _work(self) -> None:
        end: BaseException = StopIteration()
        try:
            for item in self._items:
                if not self._put(item, None):
                    break
        except BaseException as error:  # the caller's, which raises it
            end = error
        items: Any = self._items
        items.close()
        self._put(None, end)
