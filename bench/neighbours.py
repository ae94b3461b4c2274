"""What threads cost beside other busy processes: distributions, not only medians.

    python bench/neighbours.py [--rounds N] [--write]

What is compared stands in docs/kernels.md. Each row of a table is a condition: so many processes
that compute without end, at their nice value; a control group that pays for one core; the threads
of another library, awake in the same process. In each condition, a process of its own alternates
between one thread and two, and every ratio is kept. The first table is of a bare loop: parts of
10 µs that threads share, over and over, by numba's threading layers with several settings of how
they wait, and by a team of fastbp's. The second is of trainings.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CONDITIONS = {
    "quiet": {},
    "1 neighbour": {"neighbours": 1},
    "2 neighbours": {"neighbours": 2},
    "4 neighbours": {"neighbours": 4},
    "1 neighbour, nice 10": {"neighbours": 1, "nice": 10},
    "2 neighbours, nice 10": {"neighbours": 2, "nice": 10},
    "4 neighbours, nice 10": {"neighbours": 4, "nice": 10},
    "a quota of 1 core": {"quota": 1},
    "torch's threads awake": {"awake": "torch"},
    "BLAS's threads awake": {"awake": "blas"},
}
LOOPS = {
    "omp": {"NUMBA_THREADING_LAYER": "omp"},
    "omp, passive": {"NUMBA_THREADING_LAYER": "omp", "OMP_WAIT_POLICY": "passive"},
    "omp, active": {"NUMBA_THREADING_LAYER": "omp", "OMP_WAIT_POLICY": "active"},
    "omp, 10,000 spins": {"NUMBA_THREADING_LAYER": "omp", "GOMP_SPINCOUNT": "10000"},
    "workqueue": {"NUMBA_THREADING_LAYER": "workqueue"},
    "tbb": {"NUMBA_THREADING_LAYER": "tbb"},
    "fastbp": {},
}
FITS = {
    "64-32-10, batch 256": ((64, 32, 10), 256),
    "784-128-10, batch 32": ((784, 128, 10), 32),
    "784-128-10, batch 256": ((784, 128, 10), 256),
    "784-512-512-10, batch 1": ((784, 512, 512, 10), 1),
}
# The first is what the same program measures of itself: nothing can vary less.
CHOICES = {"1 thread again": 1, "2 threads": 2, "automatic": None}
# Of a pass, about; and of a part of the bare loop.
SECONDS, PART_SECONDS = 0.02, 10e-6
GROUP = Path("/sys/fs/cgroup/cpu/fastbp_bench")


def seconds_of(work, *arguments):
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


# In the process that is measured.


def loops(layer):
    """Passes of the bare loop: on one thread, and on two."""
    if layer == "fastbp":
        return team_loops()
    from numba import njit, prange

    @njit
    def part_of(x, part, rounds):
        s = x[part * 8]
        for _ in range(rounds):
            s = 1.0 / (1.0 + s)
        x[part * 8] = s

    @njit(parallel=True)
    def on_threads(x, rounds, jobs):
        for _ in range(jobs):
            for part in prange(2):
                part_of(x, part, rounds)

    @njit
    def alone(x, rounds, jobs):
        for _ in range(jobs):
            for part in range(2):
                part_of(x, part, rounds)

    x = np.ones(16)
    return lambda rounds, jobs: alone(x, rounds, jobs), lambda r, jobs: on_threads(x, r, jobs)


def team_loops():
    """The same by a team."""
    from fastbp import threads
    from fastbp.kernels._jit import jit
    from fastbp.kernels.parallel import ALONE, in_parts

    @jit(strict=True)
    def part_of(task, part, parts):
        x, rounds = task
        s = x[part * 8]
        for _ in range(rounds):
            s = 1.0 / (1.0 + s)
        x[part * 8] = s

    shared = in_parts(part_of)

    @jit(entry=True)
    def run(x, rounds, jobs, team):
        for _ in range(jobs):
            shared((x, rounds), 2, team, 1)

    x = np.ones(16)
    return (
        lambda rounds, jobs: run(x, rounds, jobs, ALONE),
        lambda rounds, jobs: threads.team(2, lambda team: run(x, rounds, jobs, team)),
    )


def loop_ratios(layer, rounds):
    """Times on two threads over those on one."""
    alone, shared = loops(layer)
    alone(1, 1), shared(1, 1)
    length = 64
    while seconds_of(alone, length, 100) / 200 < PART_SECONDS:
        length *= 2
    jobs = max(1, int(SECONDS / (2 * PART_SECONDS)))
    found = []
    for _ in range(rounds):
        one = seconds_of(alone, length, jobs)
        found.append(seconds_of(shared, length, jobs) / one)
    return {layer: found}


def fit_ratios(rounds):
    """The same of trainings, by net and choice of threads."""
    from fastbp import Network, Trainer

    found = {}
    for name, (sizes, batch_size) in FITS.items():
        generator = np.random.default_rng(0)
        X = generator.standard_normal((8192, sizes[0]), dtype=np.float32)
        y = generator.integers(0, sizes[-1], len(X))
        trainers = {
            choice: Trainer(Network(sizes, seed=0), learning_rate=1e-4, batch_size=batch_size,
                            n_threads=n_threads)
            for choice, n_threads in ({"1 thread": 1} | CHOICES).items()
        }  # fmt: skip
        rows = 128
        while rows < len(X):
            rows *= 2
            part = X[:rows], y[:rows]
            if min(seconds_of(t.partial_fit, *part) for t in trainers.values()) > SECONDS / 2:
                break
        for choice in CHOICES:
            found[f"{name}, {choice}"] = []
        for _ in range(rounds):
            seconds = {c: seconds_of(t.partial_fit, *part) for c, t in trainers.items()}
            for choice in CHOICES:
                found[f"{name}, {choice}"].append(seconds[choice] / seconds["1 thread"])
        networks = {t.network.params.tobytes() for t in trainers.values()}
        assert len(networks) == 1, f"{name}: threads have changed bits"
    return found


def keep_awake(library):
    """Have the threads of another library look for work, now and then as a program would."""
    import threading

    if library == "torch":
        import torch

        a = torch.rand(256, 256)
    else:
        a = np.random.default_rng(0).random((256, 256))

    def calls():
        while True:
            a @ a
            time.sleep(0.002)

    threading.Thread(target=calls, daemon=True).start()


def child(options):
    """Measure, and print what was found as JSON."""
    if options.awake:
        keep_awake(options.awake)
    found = fit_ratios(options.rounds) if options.what == "fits" else loop_ratios(
        options.what, options.rounds
    )  # fmt: skip
    print(json.dumps(found), flush=True)
    os._exit(0)  # other libraries do not end well while a thread calls them


# In the process that starts them.


@contextlib.contextmanager
def neighbours(number, nice):
    """So many processes that compute without end."""
    code = f"import os; os.nice({nice})\nwhile True: pass"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(number)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextlib.contextmanager
def quota_of(cores):
    """A control group that pays for so many cores; None where it cannot be made."""
    try:
        GROUP.mkdir(exist_ok=True)
        period = int((GROUP / "cpu.cfs_period_us").read_text())
        (GROUP / "cpu.cfs_quota_us").write_text(str(int(cores * period)))
    except (OSError, ValueError):
        yield None
        return
    try:
        yield GROUP
    finally:
        with contextlib.suppress(OSError):
            GROUP.rmdir()


def ratios_in(condition, what, variables, rounds):
    """What a child finds in a condition; None if it cannot."""
    awake = condition.get("awake", "")
    command = [sys.executable, __file__, "--child", what, "--rounds", str(rounds)]
    command += ["--awake", awake] if awake else []
    environment = os.environ | variables
    with contextlib.ExitStack() as stack:
        group = None
        if "quota" in condition:
            group = stack.enter_context(quota_of(condition["quota"]))
            if group is None:
                return None
            # Two threads where the quota pays for one: what happens to who insists on them.
            environment = environment | {"NUMBA_NUM_THREADS": "2"}
        count = condition.get("neighbours", 0)
        stack.enter_context(neighbours(count, condition.get("nice", 0)))

        def join():
            (group / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False,
            preexec_fn=join if group else None,
        )  # fmt: skip
    if done.returncode != 0:
        print(f"{what} left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def cell(found):
    """Median and 95th percentile."""
    if not found:
        return "–"
    return f"{np.median(found):.2f} / {np.percentile(found, 95):.2f}"


def tables(rounds, names):
    """Lines of both tables, printed as they come."""
    from fastbp.bench.report import table

    loops_found, fits_found = {}, {}
    for name in names:
        condition = CONDITIONS[name]
        for layer, variables in LOOPS.items():
            found = ratios_in(condition, layer, variables, rounds) or {layer: []}
            loops_found[name, layer] = found[layer]
        fits_found[name] = ratios_in(condition, "fits", {}, rounds) or {}
        print(name, *(f"{layer}: {cell(loops_found[name, layer])};" for layer in LOOPS),
              *(f"{what}: {cell(found)};" for what, found in fits_found[name].items()),
              flush=True)  # fmt: skip
    yield table([
        ["bare loop, two threads / one", *LOOPS],
        *([name, *(cell(loops_found[name, layer]) for layer in LOOPS)] for name in names),
    ])  # fmt: skip
    yield ""
    columns = [f"{net}, {choice}" for net in FITS for choice in CHOICES]
    yield table([
        ["training, time over one thread's", *columns],
        *([name, *(cell(fits_found[name].get(column)) for column in columns)]
          for name in names),
    ])  # fmt: skip


def main():
    """Measure all conditions, or be the process in which one is measured."""
    parser = argparse.ArgumentParser(description="Measure threads beside busy neighbours.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--conditions", nargs="+", default=list(CONDITIONS), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="write docs/kernels.md")
    parser.add_argument("--child", dest="what", help=argparse.SUPPRESS)
    parser.add_argument("--awake", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what:
        child(options)
        return
    from report import write_block

    from fastbp.bench.machine import describe
    from fastbp.bench.report import conditions_of

    lines = list(tables(options.rounds, options.conditions))
    lines += [
        "",
        f"Median / 95th percentile of {options.rounds} rounds. {conditions_of(describe())}",
    ]
    print(*lines, sep="\n")
    if options.write:
        write_block("docs/kernels.md", "bench/neighbours.py", "\n".join(lines))


if __name__ == "__main__":
    main()
