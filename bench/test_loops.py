"""``pytest bench/test_loops.py``: one group per kernel and dtype, one benchmark per size."""

import pytest
from loops import DTYPES, KERNELS, SIZES, figures, make_arrays

from fastbp.bench.machine import repetitions


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_calls(benchmark, name, dtype, size):
    kernel = KERNELS[name]
    arrays = make_arrays(size, dtype, kernel.listed)
    n = repetitions(lambda n: kernel.times(n, arrays))
    benchmark.group = f"{name}, {dtype}"
    benchmark.pedantic(kernel.times, args=(n, arrays), rounds=15)
    if benchmark.stats:  # not with --benchmark-disable
        found = figures(kernel, size, dtype, benchmark.stats.stats.min / n)
        benchmark.extra_info |= {"calls": n} | found._asdict()
