"""Which rows a network was trained on, in a few kilobytes of a model file.

Each row has a hash of 64 bits, and the smallest hashes are kept: of a few rows all, of many a
sample that does not depend on anything but the rows.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Hashes that are kept; 8 bytes each.
MOST = 2000
_PIECE = 4096


def hashes(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """A hash of each row of numbers; that of equal rows is equal."""
    found = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), _PIECE):
        piece = np.ascontiguousarray(rows[start : start + _PIECE], np.float32)
        bits = (piece + np.float32(0)).view(np.uint32).astype(np.uint64)  # −0 is 0
        factors = np.random.Generator(np.random.PCG64(0)).integers(
            0, 2**64, bits.shape[1], np.uint64
        )
        # A number's bits are mixed before they are added up: what differs in two must not cancel.
        mixed = (bits + np.uint64(1)) * (factors | np.uint64(1))
        mixed ^= mixed >> np.uint64(29)
        sums = (mixed * np.uint64(0x9E3779B97F4A7C15)).sum(axis=1, dtype=np.uint64)
        found[start : start + _PIECE] = sums ^ (sums >> np.uint64(32))
    return found


def sketch(rows: NDArray[Any]) -> dict[str, Any]:
    """What a model file keeps of the rows, as JSON."""
    kept = np.unique(hashes(rows))[:MOST]
    text = base64.b64encode(kept.astype("<u8").tobytes()).decode("ascii")
    return {"rows": len(rows), "hashes": text}


def count(kept: dict[str, Any], rows: NDArray[Any]) -> tuple[int, bool]:
    """How many of the rows are among those that a sketch was made of, and whether that is exact.

    Raises
    ------
    ValueError
        If it is no sketch.
    """
    try:
        known = np.frombuffer(base64.b64decode(kept["hashes"], validate=True), "<u8")
    except (KeyError, TypeError, ValueError):
        raise ValueError("what it says of its training rows cannot be read") from None
    found = hashes(rows)
    if len(known) < MOST:
        return int(np.isin(found, known).sum()), True
    # Of the hashes up to the largest that was kept, all are known; others are so in proportion.
    comparable = found[found <= known[-1]]
    if len(comparable) == 0:
        return 0, False
    return round(len(found) * float(np.isin(comparable, known).mean())), False
