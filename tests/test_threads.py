"""Teams that are kept from call to call, and left alone while they are slow."""

import os
import threading

import numpy as np
import pytest

from fastbp import kernels, threads

DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
pytestmark = pytest.mark.skipif(DISABLED, reason="interpreted kernels are alone")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Two may be used, whatever the machine; and nothing is left of other tests."""
    monkeypatch.setattr(threads, "available", lambda: 2)
    monkeypatch.setitem(threads._rested, "at", 0.0)
    monkeypatch.setattr(threads, "_kept", {})


def place_of(team):
    return team.ctypes.data


def test_a_team_that_is_there_is_taken_again():
    """On a busy machine its members may have gone home before anybody can look."""
    teams = []  # kept, for a new one could lie where one that is gone has been
    for _ in range(100):
        threads.team(2, teams.append)
    assert len(set(map(place_of, teams))) < 100


def test_a_team_that_has_gone_home_is_not():
    first = []
    threads.team(2, first.append)
    kernels.dismiss(first[0])
    for _ in range(1000):
        if not kernels.goes_on(first[0]):
            break
        threading.Event().wait(0.001)
    assert threads.team(2, place_of) != place_of(first[0])


def test_two_callers_at_a_time_have_teams_of_their_own():
    assert threads.team(2, lambda outer: threads.team(2, place_of) != place_of(outer))


def test_after_a_slow_team_callers_stay_alone_for_a_while(monkeypatch):
    monkeypatch.setattr(kernels, "is_slow", lambda team: len(team) > 0)
    assert threads.team(2, len) > 0
    assert threads.team(2, len) == 0
    monkeypatch.setitem(threads._rested, "at", 0.0)
    assert threads.team(2, len) > 0


def test_work_that_fails_leaves_no_team_behind():
    def fail(team):
        raise ValueError("this work")

    with pytest.raises(ValueError, match="this work"):
        threads.team(2, fail)
    assert threads._kept == {}
    assert threads.team(2, len) > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not there")
def test_a_child_has_no_team_of_its_parents():
    threads.team(2, len)
    assert threads._kept
    child = os.fork()
    if child == 0:
        os._exit(0 if threads._kept == {} else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_where_no_thread_can_be_started_the_caller_is_alone(monkeypatch):
    def refuse(n):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", refuse)
    done = threads.team(2, lambda team: np.array(team))
    assert len(done) > 0
