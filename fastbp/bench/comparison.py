"""Training beside other libraries: verify, then alternate, and keep every round's time.

All systems make the same steps, float32, ReLU, cross-entropy, of SGD or of Adam. Each is built with
all of the settings that `peers` lists for it, trained for one pass from the same weights, and must
reach the same loss; the fastest settings are kept. Then the systems alternate for a number of
rounds. Before a time is taken, the threads of what ran before get a pause to fall asleep in, and a
system whose passes are short wakes its core up by some that are not timed. A system that is too
slow for its share of time makes its passes over fewer rows, of which it may find more in the
caches.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.bench.machine import PAUSE
from fastbp.bench.peers import SYSTEMS, System, Task
from fastbp.bench.report import in_words
from fastbp.network import Network

Array = NDArray[Any]

# After the pause, a core and what it finds in memory are slow for some 10 ms: systems whose passes
# are shorter than this run without being timed for so many seconds first.
WAKING = 0.1
CHECKED_ROWS = 256
CHECKED_STEPS = 8
# Losses agree to this, and to a tenth of what was learned, which must be more than rounding errors.
RTOL, LEAST_LEARNED = 1e-3, 1e-5
# Small, for long steps magnify the rounding errors, in which the systems differ.
LEARNING_RATE = 0.001


class Problem(NamedTuple):
    """One network and its data."""

    sizes: tuple[int, ...]
    data: str
    """What the rows are, in a word."""
    network: Network
    X: Array
    """(n, sizes[0]) float32."""
    y: Array
    """(n,) class numbers."""

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.data}"


class Candidate(NamedTuple):
    """A system that passed the verification, with its fastest settings."""

    settings: dict[str, Any]
    seconds: float
    """Of a row, in the verification: an estimate."""
    compile_seconds: float
    """By which the first pass was longer than a later one."""


class Verification(NamedTuple):
    """What is known before anything is timed."""

    candidates: dict[str, Candidate]
    left_out: dict[str, str]
    """Why the other systems are left out."""
    start_loss: float
    """Of the network, before its first step; NaN if there are no candidates."""
    loss: float
    """The median of what the systems reach; NaN if there are no candidates."""


def make_problem(
    sizes: Sequence[int], data: str, rows: int | None, given: tuple[Array, Array] | None = None
) -> Problem:
    """Network and data, the same at every call.

    Parameters
    ----------
    sizes : sequence of int
        Units of every layer, from the inputs on.
    data : str
        What the rows are: "random", or the name of what is given. If it ends in ", dense", 0.001
        is added to every number, so that there are no zeros to skip.
    rows : int or None
        How many random rows stand in for what is not given; None for none.
    given : tuple of arrays, optional
        X (n, sizes[0]) and class numbers y (n,).

    Raises
    ------
    FileNotFoundError
        If nothing is given, and no random rows may stand in.
    """
    if data != "random" and given is not None:
        X, y = given
        X = X + np.float32(0.001) if data.endswith(", dense") else X
    elif rows is None:
        raise FileNotFoundError("no folder of images, see --images")
    else:
        generator = np.random.default_rng(0)
        X = generator.standard_normal((rows, sizes[0]), dtype=np.float32)
        X *= np.float32(min(1.0, 10 / sizes[0] ** 0.5))  # rows as long as those of images
        # Something to be learned: under labels of chance the units die, and zeros are skipped.
        y = (X @ generator.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)).argmax(axis=1)
        data = "random"
    return Problem(tuple(sizes), data, Network(sizes, dtype="float32", seed=0), X, y)


def build(
    problem: Problem,
    batch_size: int,
    optimizer: str,
    system: type[System],
    settings: Mapping[str, Any],
    rows: int,
) -> System:
    """A system, about to train the problem's network on its first rows."""
    X, y = problem.X[:rows], problem.y[:rows]
    # A larger batch takes fewer steps, and bears longer ones.
    learning_rate = LEARNING_RATE * (batch_size**0.5 if optimizer == "sgd" else 1)
    task = Task(problem.network, X, y, learning_rate, batch_size, optimizer)
    return system(task, **settings)


def verified(
    problem: Problem,
    batch_size: int = 1,
    optimizer: str = "sgd",
    systems: Mapping[str, type[System]] = SYSTEMS,
) -> Verification:
    """Build every system with each of its settings, and see that all reach the same loss.

    Raises
    ------
    AssertionError
        If a system reaches another loss than most, or too little is learned to tell.
    """
    rows = max(CHECKED_ROWS, CHECKED_STEPS * batch_size)
    candidates: dict[str, Candidate] = {}
    left_out: dict[str, str] = {}
    losses: dict[tuple[Any, ...], float] = {}
    for name, system in systems.items():
        for settings in system.tried:
            try:
                built = build(problem, batch_size, optimizer, system, settings, rows)
            except ImportError as reason:
                is_absent = isinstance(reason, ModuleNotFoundError)
                left_out[name] = f"{reason.name} is not installed" if is_absent else str(reason)
                break
            except NotImplementedError as reason:
                if name not in candidates:
                    left_out[name] = str(reason)
                continue
            left_out.pop(name, None)
            first = seconds_of(built.run)
            if parameters := built.parameters():
                trained = with_parameters(problem.network, parameters)
                losses[name, *settings.values()] = trained.loss(problem.X[:rows], problem.y[:rows])
            candidates[name] = _faster(candidates.get(name), settings, built, first, rows)
    start, common = _common_loss(problem, losses, rows)
    return Verification(candidates, left_out, start, common)


def _faster(
    best: Candidate | None, settings: dict[str, Any], built: System, first: float, rows: int
) -> Candidate:
    """The better of the best settings so far and of these, whose first pass took ``first``."""
    time.sleep(PAUSE)
    again = seconds_of(built.run)
    if best is None or again < 2 * best.seconds * rows:
        again = min(again, seconds_of(built.run), seconds_of(built.run))
    if best is not None and again >= best.seconds * rows:
        return best
    # What an earlier setting had compiled may serve this one.
    compiling = max(first - again, best.compile_seconds if best else 0.0)
    return Candidate(settings, again / rows, compiling)


def _common_loss(
    problem: Problem, losses: Mapping[tuple[Any, ...], float], rows: int
) -> tuple[float, float]:
    """Loss before training, and the one that all systems must have reached."""
    if not losses:
        return math.nan, math.nan
    start = problem.network.loss(problem.X[:rows], problem.y[:rows])
    common = statistics.median(losses.values())
    learned = abs(common - start) / start
    if not learned >= LEAST_LEARNED:
        raise AssertionError(f"{problem}: too little was learned to tell equal losses: {losses}")
    rtol = min(RTOL, learned / 10)
    for who, loss in losses.items():
        if not math.isclose(loss, common, rel_tol=rtol):
            raise AssertionError(
                f"{problem}: {', '.join(map(str, who))} reached a loss of {loss:.7g}, where the "
                f"median of all is {common:.7g}: the steps are not the same."
            )
    return start, common


def with_parameters(network: Network, parameters: Sequence[Array]) -> Network:
    """A copy of the network with weights and biases as systems give them."""
    copy = network.copy()
    for mine, theirs in zip((*copy.weights, *copy.biases), parameters, strict=True):
        mine[...] = theirs
    return copy


def affordable_rows(problem: Problem, batch_size: int, candidate: Candidate, seconds: float) -> int:
    """Whole batches for one pass in so many seconds."""
    rows = min(len(problem.X), max(CHECKED_ROWS, batch_size, int(seconds / candidate.seconds)))
    return rows // batch_size * batch_size


class _Runner(NamedTuple):
    """A system that takes part in the rounds."""

    system: System
    rows: int
    is_short: bool
    entry: dict[str, Any]


def measure(
    problem: Problem,
    kinds: Sequence[tuple[int, str]],
    rounds: int,
    seconds: float,
    systems: Mapping[str, type[System]] = SYSTEMS,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Entry of the problem in the report, as JSON takes it.

    Parameters
    ----------
    problem : Problem
    kinds : sequence of (int, str)
        Sizes of batches and optimizers, "sgd" or "adam", in turn.
    rounds : int
        How often the systems alternate.
    seconds : float
        Of each system and kind, about.
    systems : mapping of str to type of System
        By name.
    say : callable
        Is given a line at a time of what happens.

    Returns
    -------
    dict
        ``net``, ``data``, ``zeros`` (the share in X), ``verified`` (the loss that all reach, for
        each kind), ``entries`` (one for each system and kind, whose ``microseconds`` of a sample
        are a list, a number for each round) and ``left_out`` (with reasons).

    Raises
    ------
    AssertionError
        If systems do not reach the same loss, or one diverges.
    """
    running: list[_Runner] = []
    left_out: list[dict[str, Any]] = []
    checks: list[dict[str, Any]] = []
    for batch_size, optimizer in kinds:
        kind = {"batch_size": batch_size, "optimizer": optimizer}
        what = f"{problem}, {in_words(batch_size, optimizer)}"
        found = verified(problem, batch_size, optimizer, systems)
        for name, reason in found.left_out.items():
            left_out.append({"system": name, **kind, "reason": reason})
            say(f"{what}: {name} left out: {reason}")
        if not math.isnan(found.loss):
            checks.append({**kind, "start_loss": found.start_loss, "loss": found.loss})
            say(f"{what}: all reach a loss of {found.loss:.5g}, from {found.start_loss:.5g}")
        for name, candidate in found.candidates.items():
            rows = affordable_rows(problem, batch_size, candidate, seconds / rounds)
            system = build(problem, batch_size, optimizer, systems[name], candidate.settings, rows)
            is_short = seconds_of(system.run) < WAKING
            entry = {
                "system": name,
                "is_library": system.is_library,
                **kind,
                "settings": candidate.settings | system.chosen(),
                "compile_seconds": candidate.compile_seconds,
                "rows": rows,
                "microseconds": [],
            }
            running.append(_Runner(system, rows, is_short, entry))
    for _ in range(rounds):
        for runner in running:
            runner.entry["microseconds"].append(_time(runner))
    for runner in running:
        _finish(problem, runner, say)
    return {
        "net": problem.sizes,
        "data": problem.data,
        "zeros": float(np.mean(problem.X == 0)),
        "verified": checks,
        "entries": [runner.entry for runner in running],
        "left_out": left_out,
    }


def _time(runner: _Runner) -> float:
    """Microseconds of a sample in one pass, after a pause."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    while runner.is_short and time.perf_counter() - began < WAKING:
        runner.system.run()
    return seconds_of(runner.system.run) / runner.rows * 1e6


def _finish(problem: Problem, runner: _Runner, say: Callable[[str], None]) -> None:
    """See that the system has trained to the end, and say what it took."""
    entry = runner.entry
    if not all(np.isfinite(p).all() for p in runner.system.parameters()):
        raise AssertionError(f"{problem}: {entry['system']} diverged.")
    say(
        f"{problem}, {in_words(entry['batch_size'], entry['optimizer'])}: {entry['system']} "
        f"{statistics.median(entry['microseconds']):.3g} µs"
    )


def seconds_of(function: Callable[[], Any]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
