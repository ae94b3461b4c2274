"""``pytest bench``: one group per net, one benchmark per system, verified before it is timed."""

import functools

import pytest
from peers import SYSTEMS
from training import PROBLEMS, affordable_rows, build, make_problem, verified

PASS_SECONDS = 0.05
NETS = {sizes: max(rows or 0 for other, _, rows in PROBLEMS if other == sizes)
        for sizes, _, _ in PROBLEMS}  # fmt: skip


@functools.cache
def prepared(sizes):
    problem = make_problem(sizes, "random", NETS[sizes])
    return problem, *verified(problem)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("sizes", NETS, ids=lambda sizes: "-".join(map(str, sizes)))
def test_one_pass(benchmark, sizes, system):
    problem, candidates, left_out = prepared(sizes)
    if system in left_out:
        pytest.skip(f"{system}: {left_out[system]}")
    candidate = candidates[system]
    rows = affordable_rows(problem, 1, candidate, PASS_SECONDS)
    benchmark.group = str(problem)
    benchmark.extra_info |= {"rows": rows, "settings": candidate.settings}
    run = build(problem, 1, "sgd", SYSTEMS[system], candidate.settings, rows).run
    benchmark.pedantic(run, rounds=15, warmup_rounds=1)
