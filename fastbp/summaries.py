"""What a column of numbers or texts holds, in a few figures that can be merged piece by piece."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.frames import Values


class Spread(NamedTuple):
    """Mean and standard deviation of n numbers, and their range."""

    n: int
    mean: float
    deviation: float
    lowest: float
    highest: float

    @property
    def scale(self) -> float:
        """The deviation, or 1 where all numbers are the same."""
        return self.deviation if self.lowest < self.highest and self.deviation > 0 else 1.0

    def merged(self, other: Spread) -> Spread:
        """Of both together (Chan, Golub & LeVeque, The American Statistician 37, 1983).

        Deviations are added as the sides of a box, so that no square overflows or underflows.
        """
        n = self.n + other.n
        mine, its = self.n / n, other.n / n
        mean = self.mean * mine + other.mean * its
        apart = (other.mean / 2 - self.mean / 2) * (2 * math.sqrt(mine * its))
        deviation = math.hypot(
            self.deviation * math.sqrt(mine), other.deviation * math.sqrt(its), apart
        )
        lowest, highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        if lowest == highest:
            mean = lowest
        return Spread(n, mean, deviation, lowest, highest)


@np.errstate(under="ignore")
def spread_of(numbers: NDArray[np.float64]) -> Spread:
    """Mean and standard deviation by two passes.

    Numbers are divided by a power of 2 first, so that no square overflows or underflows.
    """
    n, lowest, highest = len(numbers), float(numbers.min()), float(numbers.max())
    if lowest == highest:
        return Spread(n, lowest, 0.0, lowest, highest)
    power = math.frexp(max(abs(lowest), abs(highest)))[1]
    part = np.ldexp(numbers, -power)
    mean = float(part.mean())
    part -= mean
    rest = float(part.mean())  # what rounding left in the mean
    part -= rest
    part *= part
    deviation = math.ldexp(math.sqrt(part.mean()), power)
    return Spread(n, math.ldexp(mean + rest, power), deviation, lowest, highest)


class ColumnSummary:
    """What the pieces of a column hold.

    Attributes
    ----------
    kind : str
        number, truth, text, or nothing while all of it is missing.
    missing : int
        Entries that are.
    spread : Spread or None
        Of the numbers that are there; None if there are none.
    texts : set of str
        Different texts.
    """

    def __init__(self) -> None:
        self.kind, self.missing = "nothing", 0
        self.spread: Spread | None = None
        self.texts: set[Any] = set()

    def add(self, given: Values) -> str:
        """Count a piece; the kind of the pieces before, if that was another one, else ''."""
        self.missing += int(given.missing.sum())
        if given.kind == "nothing":
            return ""
        before, self.kind = self.kind, given.kind
        if before not in ("nothing", given.kind):
            return before
        present = given.entries[~given.missing] if given.missing.any() else given.entries
        if given.kind == "text":
            self.texts.update(present.tolist())
        elif given.kind == "number":
            found = spread_of(present)
            self.spread = found if self.spread is None else self.spread.merged(found)
        return ""

    def deviation(self) -> float:
        """Standard deviation of all entries, with the mean in the place of missing ones; or 1."""
        assert self.spread is not None
        share = self.spread.n / (self.spread.n + self.missing)
        return self.spread.scale * math.sqrt(share) if self.spread.deviation > 0 else 1.0
