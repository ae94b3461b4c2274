"""Work in parts: each is done once, with the same result on any number of threads."""

import os
from typing import NamedTuple

import numba
import numpy as np
import pytest

from fastbp.kernels import launch
from fastbp.kernels._jit import jit
from fastbp.kernels.parallel import in_parts, team

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"


class Factors(NamedTuple):
    """A tuple in the task's tuple."""

    x: np.ndarray
    scale: float
    power: int


@jit
def add_products(task, part, parts):
    """Each part has its own elements; it takes down its number behind those before it."""
    (out, turns), factors, offset = task
    for i in range(part, len(out), parts):
        out[i] += offset + factors.scale * factors.x[i] ** factors.power
    turns[0] += 1  # threads that are at it together may lose count
    turns[turns[0]] = part


_add_products = in_parts(add_products)


@numba.njit
def add(out, turns, x, parts, threads, shares):
    task = ((out, turns), Factors(x, 0.1, 3), 1)
    for _ in range(3):  # the task's place is used again
        _add_products(task, parts, threads, shares)


def result(n, parts, threads, shares, dtype="float64"):
    x = np.random.default_rng(0).normal(size=n).astype(dtype)
    out, turns = np.zeros(n, dtype), np.zeros(3 * parts + 1, np.int64)
    add(out, turns, x, parts, threads, shares)
    return x, out, turns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("shares", [0, 1, 5])
def test_every_part_is_done_once_on_any_number_of_threads(parts, shares, dtype):
    n = 1000
    x, one_by_one, _ = result(n, parts, None, shares, dtype)
    done = 3 * (1 + 0.1 * x.astype(float) ** 3) if parts else np.zeros(n)
    np.testing.assert_allclose(one_by_one, done, rtol=1e-5)
    for threads in (1, 2, 4):
        assert result(n, parts, threads, shares, dtype)[1].tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize(("threads", "shares"), [(None, 0), (None, 1), (1, 0), (1, 1), (4, 0)])
def test_without_threads_parts_come_in_order(threads, shares):
    parts = 50 if DISABLED else 1000
    turns = result(100 * parts, parts, threads, shares)[2]
    assert turns[1:].tolist() == 3 * list(range(parts))


@jit
def sign(task, part, parts):
    task[part] = numba.get_thread_id()


_sign = in_parts(sign)


@numba.njit
def signed(who, threads, shares):
    _sign(who, len(who), threads, shares)


@pytest.mark.parametrize(("threads", "shares"), [(None, 0), (None, 1), (1, 0), (1, 1), (4, 0)])
def test_one_thread_does_what_is_not_shared(threads, shares):
    who = np.full(64, -1)
    signed(who, threads, shares)
    assert len(set(who)) == 1
    assert who[0] >= 0


@pytest.mark.skipif(DISABLED, reason="nothing is compiled")
def test_where_there_are_no_threads_no_parallel_loop_is_compiled():
    def code(threads):
        run = numba.njit(add.py_func)
        run(np.zeros(1), np.zeros(4, np.int64), np.zeros(1), 1, threads, 1)
        return "".join(run.inspect_llvm().values())

    assert "gufunc" not in code(None)
    assert "gufunc" in code(1)


@numba.njit
def team_of(threads, shares):
    return team(threads, shares)


@pytest.mark.parametrize(
    ("threads", "shares", "expected"),
    [(None, 0, 1), (None, 1, 1), (1, 1, 1), (4, 0, 1), (4, 1, 4), (3, 2, 3)],
)
def test_a_team_is_those_threads_that_share(threads, shares, expected):
    assert team_of(threads, shares) == expected


def test_a_loop_with_nothing_to_do_returns():
    launch(3, 2)
