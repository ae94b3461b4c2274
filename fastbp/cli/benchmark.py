"""What ``fastbp bench`` measures, and in which order it says so."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.bench.comparison import CHECKED_STEPS, RTOL, Array, Problem, make_problem, measure
from fastbp.bench.limits import rates
from fastbp.bench.machine import describe
from fastbp.bench.peers import SYSTEMS, Fastbp, System, absent
from fastbp.bench.phases import profile
from fastbp.bench.report import (
    picture,
    profile_conditions,
    profile_lines,
    profile_picture,
    text,
)
from fastbp.cli.bench import NETS
from fastbp.cli.output import fail, finite, say
from fastbp.datasets import load_dataset
from fastbp.files import replaced
from fastbp.kernels import LONGEST_STRETCH

PEERS = [name for name, system in SYSTEMS.items() if not issubclass(system, Fastbp)]
# Rows of a pass, and numbers in all of them, at most; the digits are repeated.
_ROWS, _NUMBERS = 20_000, 1 << 24


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if options.seconds is None:
        options.seconds = 4.0 if options.profile else 1.0
    options.batch_sizes = sorted(set(options.batch_sizes or [1, 32]))
    systems = _check(options)
    tell: Callable[[str], None] = _to_stderr if options.json else say
    problems = _problems(options)
    report: dict[str, Any] = {"machine": describe() | rates()}
    try:
        if options.profile:
            _profile(options, problems, report, tell)
        else:
            _compare(options, problems, systems, report, tell)
    except AssertionError as error:
        return fail(str(error), 1)
    if options.json:
        print(json.dumps(finite(report), indent=2, allow_nan=False))
    else:
        say(profile_conditions(report) if options.profile else f"\n{text(report)}")
    if options.plot:
        with replaced(options.plot) as file:
            file.write((profile_picture if options.profile else picture)(report).encode())
        tell(f"the chart is in {options.plot}")
    return 0


def _compare(
    options: argparse.Namespace,
    problems: list[Problem],
    systems: Mapping[str, type[System]],
    report: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Add what all systems take to the report."""
    missing = absent(systems)
    systems = {name: system for name, system in systems.items() if name not in missing}
    for name, module in missing.items():
        tell(f"{name} left out: {module} is not installed")
    nets = " and ".join(f"{'-'.join(map(str, p.sizes))} on {p.data} rows" for p in problems)
    tell(f"{nets}: {' · '.join(systems)}")
    tell("First all must reach the same loss, then they take turns.")
    budget = options.rounds, options.seconds
    report["protocol"] = {"rounds": budget[0], "seconds": budget[1], "rtol": RTOL}
    kinds = [(batch_size, "sgd") for batch_size in options.batch_sizes]
    report |= {"absent": missing, "problems": []}
    for problem in problems:
        report["problems"].append(measure(problem, kinds, *budget, systems, tell))


def _profile(
    options: argparse.Namespace,
    problems: list[Problem],
    report: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    """Add what each stage of a step takes to the report."""
    report["profiles"] = []
    for problem in problems:
        for batch_size in options.batch_sizes:
            found = profile(problem, batch_size, options.seconds, report["machine"])
            report["profiles"].append(found)
            tell(f"{profile_lines(found)}\n")


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check(options: argparse.Namespace) -> dict[str, type[System]]:
    """Refuse what would fail later; returns the systems to measure."""
    for name in ("rounds", "batch_sizes"):
        for value in np.ravel(getattr(options, name)).tolist():
            checks.integer(f"--{name.replace('_', '-')}", value, 1)
    if not options.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {options.seconds}.")
    if options.profile and max(options.batch_sizes) > LONGEST_STRETCH:
        raise ValueError(
            f"--batch-sizes must be at most {LONGEST_STRETCH} with --profile, "
            f"got {max(options.batch_sizes)}."
        )
    if options.plot:
        path = Path(options.plot).absolute()
        if path.suffix.lower() != ".svg":
            raise ValueError(f"--plot {options.plot}: the chart is an SVG file; name it so.")
        if not path.parent.is_dir():
            raise ValueError(f"--plot {options.plot}: the folder does not exist.")
        if path.exists() and not path.is_file():
            raise ValueError(f"--plot {options.plot}: this is no regular file; name another.")
    wanted = [name for name, system in SYSTEMS.items() if issubclass(system, Fastbp)]
    for given in options.peers or PEERS:
        found = [name for name in PEERS if name.lower().startswith(given.lower())]
        if not found:
            raise ValueError(f"--peers: must begin names among {', '.join(PEERS)}; got {given!r}.")
        wanted += found
    return {name: system for name, system in SYSTEMS.items() if name in wanted}


def _problems(options: argparse.Namespace) -> list[Problem]:
    """The networks, each with the data that fit it."""
    least = max(_ROWS, CHECKED_STEPS * max(options.batch_sizes))
    given = _given(options.images, least)
    nets = list(map(_sizes, options.nets or NETS))
    if options.images and not options.nets:
        X, y = next(iter(given.values()))
        nets[-1] = (X.shape[1], 128, int(y.max()) + 1)
    problems = []
    for sizes in nets:
        fitting = (
            name for name, (X, y) in given.items()
            if (X.shape[1], int(y.max()) + 1) == (sizes[0], sizes[-1])
        )  # fmt: skip
        data = next(fitting, "random")
        rows = max(CHECKED_STEPS * max(options.batch_sizes), min(_ROWS, _NUMBERS // sizes[0]))
        problems.append(make_problem(sizes, data, rows, given.get(data)))
    return problems


def _given(images: str | None, least: int) -> dict[str, tuple[Array, Array]]:
    """Data by name, of at least so many rows: images if there are some, digits if installed."""
    found = {}
    if images:
        found[Path(images).resolve().name] = load_dataset(images)
    with contextlib.suppress(ImportError):  # random rows do as well
        found["digits"] = load_dataset("digits")
    given = {}
    for name, data in found.items():
        if data.y is None or data.y.ndim > 1:
            raise ValueError(f"--images {images}: there are no labels.")
        y = np.unique(data.y, return_inverse=True)[1]
        repeats = -(-least // len(y))
        X = np.ascontiguousarray(data.X, np.float32)
        given[name] = np.tile(X, (repeats, 1)), np.tile(y, repeats)
    return given


def _sizes(net: str) -> tuple[int, ...]:
    """Units of each layer."""
    parts = net.split("-")
    if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--nets: must be units with - between, such as 784-128-10; got {net!r}.")
    if int(parts[-1]) < 2:
        raise ValueError(f"--nets {net}: the last number is that of classes, at least 2.")
    return tuple(map(int, parts))
