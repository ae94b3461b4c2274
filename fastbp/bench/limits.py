"""The least time that a step can take on a machine, by arithmetic and by bytes.

Both are sums of what cannot be avoided, whoever computes it:

- FMAs: 6·n_in·n_out operations a layer and sample, 4 for the first, whose inputs need no gradient,
  and there only for inputs that are not zero; at the rate of fused multiply-adds from registers.
- bytes: a row of X from memory; of each step, all parameters twice read (on the way forward and
  back; those of the first layer once) and once updated, with the optimizer's moments, at the rate
  of the nearest level that holds them all. With one sample a step that is once in 32 samples
  where they exceed the first level, for the exact deferred method takes so many in a block.

The larger one is the limit. Rates are those that `machine` has measured, of one core; those of
FMAs and of the caches of one's own are multiplied by the cores in use. Shares above 100 % are
possible: zeros behind a ReLU are skipped, and a layer may stay nearer than the whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from fastbp.bench.machine import LEVELS, bandwidth, cache_bytes, peak_gflops

# Caches that each core has for itself.
OWN = ("L1", "L2")
BLOCK = 32  # samples of the deferred method's longest block
MOMENTS = {"sgd": 0, "adam": 2}


class Limit(NamedTuple):
    """Microseconds per sample, and where the bytes come from."""

    by_fmas: float
    by_bytes: float
    level: str

    @property
    def microseconds(self) -> float:
        """The larger one."""
        return max(self.by_fmas, self.by_bytes)

    @property
    def cells(self) -> tuple[str, str]:
        """For a table: both, the latter with its level."""
        return f"{self.by_fmas:.3g}", f"{self.by_bytes:.3g} ({self.level})"


def rates(dtype: str = "float32") -> dict[str, Any]:
    """What `limit` needs of this machine, as JSON takes it."""
    return {
        "itemsize": 8 if dtype == "float64" else 4,
        "peak_gflops": peak_gflops(dtype),
        "caches": {level: cache_bytes()[level] for level in LEVELS[:-1]},
        "bandwidth": {level: tuple(bandwidth(level, dtype)) for level in LEVELS},
    }


def flops(net: Sequence[int], zeros: float = 0.0) -> float:
    """Of one sample: the first layer passes no gradient on, and skips the share of zeros."""
    products = [n_in * n_out for n_in, n_out in pairwise(net)]
    return 6 * sum(products[1:]) + 4 * products[0] * (1 - zeros)


def holding(measured: Mapping[str, Any], n_bytes: float) -> str:
    """The nearest level of memory that holds so many bytes."""
    return next((name for name in LEVELS[:-1] if n_bytes <= measured["caches"][name]), LEVELS[-1])


def limit(
    measured: Mapping[str, Any],
    net: Sequence[int],
    batch_size: int,
    optimizer: str = "sgd",
    zeros: float = 0.0,
    cores: int = 1,
) -> Limit:
    """The `Limit` of one sample, from `rates`."""
    itemsize = measured["itemsize"]
    sizes = [(n_in + 1) * n_out * itemsize for n_in, n_out in pairwise(net)]
    level = holding(measured, sum(sizes) * (1 + MOMENTS[optimizer]))
    read, update = (rate * (cores if level in OWN else 1) for rate in measured["bandwidth"][level])
    seconds = (sum(sizes) + sum(sizes[1:])) / read / 1e9
    seconds += 2 * sum(sizes) * (1 + MOMENTS[optimizer]) / update / 1e9
    samples = batch_size if batch_size > 1 or level == "L1" else BLOCK
    row = net[0] * itemsize / measured["bandwidth"][LEVELS[-1]][0] / 1e9
    return Limit(
        flops(net, zeros) / (measured["peak_gflops"] * cores) / 1e3,
        (seconds / samples + row) * 1e6,
        level,
    )
