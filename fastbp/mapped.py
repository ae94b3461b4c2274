"""Rows of memory maps, read through their files.

A page of a map that is touched counts as the process's memory until the system takes it back, and
kills the process where the file has become shorter. A read does neither.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.quotas import memory_limits


def loaded(array: Any) -> Any:
    """A contiguous part of a memory map as an array of its own; anything else as it is.

    It is read from the file of that name: where another one has taken its place, from that.

    Raises
    ------
    ValueError
        If the file has become shorter.
    """
    place = _place(array)
    if place is None:
        return array
    path, offset = place
    out = np.empty(array.shape, array.dtype)
    buffer = out.reshape(-1).view(np.uint8).data
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        done = 0
        while done < len(buffer):
            n = file.readinto(buffer[done : done + _MOST])
            if not n:
                raise ValueError(
                    f"{path} must be as long as when it was mapped, and has become shorter: bytes "
                    f"{offset + done:,} to {offset + len(buffer):,} are missing."
                )
            done += n
    return out


# Bytes of a read: short enough for Ctrl-C.
_MOST = 1 << 26


def exceeds_memory(array: Any, itemsize: int) -> bool:
    """Whether it maps more numbers of a file than memory holds, or than the process may use of it.

    They count with their own size or ``itemsize``, in which they are trained on.
    """
    if _place(array) is None:
        return False
    return bool(array.size * max(array.itemsize, itemsize) > memory())


def memory() -> int:
    """Bytes of memory that the machine has, or that the process may use."""
    return min(_physical(), *memory_limits())


def _physical() -> int:
    """Bytes of the machine's memory; more than any file where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 62


def _place(array: Any) -> tuple[str, int] | None:
    """The file of a mapped array, and where in it the array begins."""
    if type(array) not in (np.ndarray, np.memmap):  # such as a masked one
        return None
    if array.size == 0 or not array.flags.c_contiguous:
        return None
    root: Any = None
    each: Any = array
    while each is not None:
        if isinstance(each, np.memmap):
            root = each
        each = getattr(each, "base", None)
    # A map that is copied on writing may hold what its file does not.
    if root is None or root.filename is None or root.mode == "c":
        return None
    if not os.path.exists(root.filename):  # which its map outlives
        return None
    ahead = _address(array) - _address(root)
    return str(root.filename), int(root.offset) + ahead


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
