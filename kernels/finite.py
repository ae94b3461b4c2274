"""Finiteness, in strict arithmetic: fast-math may assume what these are asked to find out."""

import math

from ._jit import jit
from .vectors import fma, lanes, load, total, zeros

# Elements that are looked at together: their products with 0 sum to 0, or to NaN.
_TOGETHER = 4096


@jit(entry=True, strict=True)
def first_nonfinite(values, start, stop):
    """Index of the first NaN or infinity in the flat ``values[start:stop]``, or −1."""
    v = 4 * lanes(values)
    zero = zeros(values, 4)
    while start < stop:
        end = min(start + _TOGETHER, stop)
        s = zero
        k = start
        while k + v <= end:
            s = fma(zero, load(zero, values, k), s)
            k += v
        # Those that fill no vectors are looked at one by one, and all of them to find the place.
        for i in range(k if math.isfinite(total(s)) else start, end):
            if not math.isfinite(values[i]):
                return i
        start = end
    return -1
