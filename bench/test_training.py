"""``pytest bench``: one group per net, one benchmark per system, verified before it is timed."""

import functools

import pytest
from training import PROBLEMS

from fastbp.bench.comparison import affordable_rows, build, make_problem, verified
from fastbp.bench.peers import SYSTEMS

PASS_SECONDS = 0.05
NETS = {sizes: max(rows or 0 for other, _, rows in PROBLEMS if other == sizes)
        for sizes, _, _ in PROBLEMS}  # fmt: skip


@functools.cache
def prepared(sizes):
    problem = make_problem(sizes, "random", NETS[sizes])
    return problem, verified(problem)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("sizes", NETS, ids=lambda sizes: "-".join(map(str, sizes)))
def test_one_pass(benchmark, sizes, system):
    problem, found = prepared(sizes)
    if system in found.left_out:
        pytest.skip(f"{system}: {found.left_out[system]}")
    candidate = found.candidates[system]
    rows = affordable_rows(problem, 1, candidate, PASS_SECONDS)
    benchmark.group = str(problem)
    benchmark.extra_info |= {"rows": rows, "settings": candidate.settings}
    run = build(problem, 1, "sgd", SYSTEMS[system], candidate.settings, rows).run
    benchmark.pedantic(run, rounds=15, warmup_rounds=1)
