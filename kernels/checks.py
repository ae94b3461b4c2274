"""Finiteness, in strict arithmetic: fast-math may assume what these are asked to find out."""

import math

from ._jit import jit


@jit(entry=True, strict=True)
def first_nonfinite(values, start, stop):
    """Index of the first NaN or infinity in the flat ``values[start:stop]``, or −1."""
    for i in range(start, stop):
        if not math.isfinite(values[i]):
            return i
    return -1
