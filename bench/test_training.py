"""``pytest bench``: one group per net, one benchmark per system, verified before it is timed."""

import functools

import pytest
from peers import SYSTEMS
from training import NETS, verified

systems_of = functools.cache(verified)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("sizes", NETS, ids=lambda sizes: "-".join(map(str, sizes)))
def test_one_pass(benchmark, sizes, system):
    n = NETS[sizes]
    systems = systems_of(sizes, n)
    if system not in systems:
        pytest.skip(f"{system} cannot run {sizes}, or is not installed")
    benchmark.group = "-".join(map(str, sizes)) + f", {n} samples"
    benchmark.extra_info["samples"] = n
    benchmark.pedantic(systems[system].run, rounds=15, warmup_rounds=1)
