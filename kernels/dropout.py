"""Random numbers by counting: the n-th depends on its number alone, not on those before it.

So a dropout mask is a function of the seed, the sample's number, the layer and the unit. Whichever
thread draws it, and wherever a resumed run begins, it is the same.
"""

import numpy as np

from ._jit import jit

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@jit
def philox(c0, c1, c2, c3, k0, k1):
    """Four 32-bit random numbers from a counter of four words and a key of two; all uint64.

    Philox-4x32 with 10 rounds: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011.
    """
    for _ in range(_ROUNDS):
        p0 = _MULTIPLIERS[0] * c0
        p1 = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _WEYL[0]) & _LOW
        k1 = (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


@jit(inline=False)
def draw_mask(rate, key, sample, layer, mask):
    """Mask of inverted dropout: 0 with probability ``rate``, else 1 / (1 − rate)."""
    T = mask.dtype.type
    limit = np.uint64(rate * 4294967296.0)
    kept, dropped = T(1.0 / (1.0 - rate)), T(0)
    number, k0, k1 = np.uint64(sample), np.uint64(key[0]), np.uint64(key[1])
    for block in range(len(mask) // 4):  # rows are whole vectors
        r0, r1, r2, r3 = philox(
            np.uint64(block), np.uint64(layer), number & _LOW, number >> _HALF, k0, k1
        )
        mask[4 * block] = kept if r0 >= limit else dropped
        mask[4 * block + 1] = kept if r1 >= limit else dropped
        mask[4 * block + 2] = kept if r2 >= limit else dropped
        mask[4 * block + 3] = kept if r3 >= limit else dropped
