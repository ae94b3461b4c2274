"""Work in parts: each is done once, with the same result whoever is there to do it."""

import contextlib
import os
import threading
from typing import NamedTuple

import numpy as np
import pytest

from fastbp.kernels import ALONE, dismiss, goes_on, is_slow, make_team, parallel, serve
from fastbp.kernels._jit import jit
from fastbp.kernels.parallel import in_parts, team_size

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
compiled_only = pytest.mark.skipif(DISABLED, reason="interpreted kernels are alone")


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


@jit(entry=True)
def add(out, turns, x, parts, team, shares, times):
    task = ((out, turns), Factors(x, 0.1, 3), 1)
    for _ in range(times):  # the task's place is used again
        _add_products(task, parts, team, shares)


@contextlib.contextmanager
def team_of(size, present):
    """A team of so many, of whom some are present besides the caller."""
    team = make_team(size)
    present = present if len(team) > 0 else 0  # interpreted kernels are alone
    members = [threading.Thread(target=serve, args=(team, i)) for i in range(1, 1 + present)]
    for member in members:
        member.start()
    try:
        yield team
    finally:
        dismiss(team)
        for member in members:
            member.join()


def result(n, parts, team, shares, dtype="float64", times=3):
    x = np.random.default_rng(0).normal(size=n).astype(dtype)
    out, turns = np.zeros(n, dtype), np.zeros(times * parts + 1, np.int64)
    add(out, turns, x, parts, team, shares, times)
    return x, out, turns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("shares", [0, 1, 5])
def test_every_part_is_done_once_whoever_is_there(parts, shares, dtype):
    n = 1000
    x, one_by_one, _ = result(n, parts, ALONE, shares, dtype)
    done = 3 * (1 + 0.1 * x.astype(float) ** 3) if parts else np.zeros(n)
    np.testing.assert_allclose(one_by_one, done, rtol=1e-5)
    for size, present in ((1, 0), (2, 0), (2, 1), (5, 2), (4, 3)):
        with team_of(size, present) as team:
            assert result(n, parts, team, shares, dtype)[1].tobytes() == one_by_one.tobytes()


def test_more_parts_than_a_claim_can_number_are_all_done():
    parts = 100 if DISABLED else 70_000
    with team_of(2, 1) as team:
        _, out, turns = result(parts, parts, team, 1, times=1)
    assert out.all()
    assert turns[1:].tolist() == list(range(parts))


@pytest.mark.parametrize(("size", "shares"), [(0, 0), (0, 1), (1, 0), (1, 1), (4, 0)])
def test_alone_parts_come_in_order(size, shares):
    parts = 50 if DISABLED else 1000
    with team_of(size, 0) if size else contextlib.nullcontext(ALONE) as team:
        turns = result(100 * parts, parts, team, shares)[2]
    assert turns[1:].tolist() == 3 * list(range(parts))


@jit
def count(task, part, parts):
    task[part] += 1


_count = in_parts(count)


@jit(entry=True)
def count_on(counts, team, times):
    for _ in range(times):
        for parts in range(2, len(counts) + 1):
            _count(counts, parts, team, 1)


@compiled_only
@pytest.mark.parametrize("present", [1, 3, 7])
def test_in_thousands_of_jobs_no_part_is_lost_or_done_twice(present):
    """With more threads than cores, so that each is interrupted anywhere.

    Their numbers pass what a claim can hold of them.
    """
    counts, times = np.zeros(20, np.int64), 5000
    count_on(counts, ALONE, 0)  # compiles
    with team_of(8, present) as team:
        team[parallel._JOB] = 2**32 - 1000
        count_on(counts, team, times)
    expected = [times * min(19, 20 - part) for part in range(20)]
    assert counts.tolist() == expected


@jit
def fail(task, part, parts):
    if task[part] != 0:
        raise ValueError("this part")
    task[part] = 2


_fail = in_parts(fail)


@jit(entry=True)
def fail_on(marks, team):
    _fail(marks, len(marks), team, 1)


@compiled_only
@pytest.mark.parametrize("present", [0, 1])
@pytest.mark.parametrize("which", [0, 7])
def test_a_part_that_fails_is_an_error(present, which):
    marks = np.zeros(8, np.int64)
    marks[which] = 1
    with team_of(2, present) as team, pytest.raises(RuntimeError, match="has failed"):
        fail_on(marks, team)
    assert np.delete(marks, which).tolist() == [2] * 7


@jit
def dawdle(task, part, parts):
    """The last part takes longest; the others take long enough for another thread to begin it."""
    x, rounds = task
    for _ in range(rounds if part == parts - 1 else rounds // 20):
        x[part] = x[part] * 0.999 + 0.1


_dawdle = in_parts(dawdle)


@jit(entry=True)
def dawdle_on(x, rounds, team):
    _dawdle((x, rounds), len(x), team, 1)
    return team_size(team, 1)


@compiled_only
def test_who_keeps_the_caller_waiting_gets_no_more_work():
    dawdle_on(np.zeros(2), 1, ALONE)  # compiles, while a member would go home
    for _ in range(100):  # until the other one takes its part
        with team_of(2, 1) as team:
            if dawdle_on(np.zeros(2), 100_000_000, team) == 1:
                assert result(100, 7, team, 1)[2][1:].tolist() == 3 * list(range(7))
                assert is_slow(team)
                return
    pytest.fail("no team was dismissed")


@compiled_only
def test_a_member_without_work_goes_home():
    team = make_team(2)
    member = threading.Thread(target=serve, args=(team, 1))
    member.start()
    member.join(60)
    assert not member.is_alive()
    assert not goes_on(team)


@jit(entry=True)
def size_of(team, shares):
    return team_size(team, shares)


@compiled_only
@pytest.mark.parametrize(("size", "shares", "expected"), [(1, 1, 1), (4, 0, 1), (4, 1, 4)])
def test_a_team_is_those_threads_that_share(size, shares, expected):
    assert size_of(make_team(size), shares) == expected


def test_who_is_alone_is_a_team_of_one():
    assert size_of(ALONE, 1) == 1
    assert not goes_on(ALONE)
    assert not is_slow(ALONE)
    dismiss(ALONE)
