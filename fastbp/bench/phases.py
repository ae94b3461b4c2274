"""Where the time of a step goes, by phase and by layer, beside the limits of one core.

A step is cut into stages in the order in which a kernel takes them. A pass is timed that ends every
step after the first stage, then one that ends it after the second, and so on to the whole; what a
stage takes is the difference, so that they add up to the time of the kernel itself. Processors
overlap stages: one that waits for the sample before it, as the first layer's forward pass waits for
its update, counts with the stage that makes it wait.

Operations of a stage are 2 for a multiply-add of each weight, as if nothing were skipped. Its bytes
are what it cannot do without: the weights of its layers, once in a step to be read and twice to be
updated, and the layer's inputs and outputs of each sample. What a deferred layer shares between
the samples of a block counts once in a block.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp import kernels, plan
from fastbp.bench.comparison import LEARNING_RATE, Problem, seconds_of
from fastbp.bench.limits import flops, holding
from fastbp.kernels import deferred, layers, minibatch, narrow, sequential, updates
from fastbp.kernels._jit import jit
from fastbp.kernels.bits import flush_subnormals, restore_subnormals
from fastbp.kernels.linear import fill
from fastbp.kernels.packing import reference, view
from fastbp.kernels.samples import expect, load_target, row_at

FORWARD, LOSS, BACKWARD, UPDATE = "forward", "loss", "backward", "update"
# Fewest passes of each kind, of which the shortest counts, and the rows of one.
_PASSES, _ROWS = 7, 4096


class Stage(NamedTuple):
    """A part of a step."""

    phase: str
    layers: tuple[int, ...]
    """Whose weights are at work, counted from 1."""


# Steps that end early ----------------------------------------------------------------------------


@jit(entry=True)
def steps_until(packed, samples, n, until):  # type: ignore[no-untyped-def]
    """`train_sequential` with the first ``until`` + 1 stages of each step, but for its last."""
    state, T = view(packed, kernels.State), packed.dtype.type
    mode, total = flush_subnormals(), sequential.LossSum(0.0, 0)
    for t in range(n):
        row = row_at(samples, t)
        sequential.first_sums(state, samples.inputs, row)
        if until > 0:
            sequential.forward_from_first_sums(state)
        if until > 1:
            label = load_target(samples, row, state.y)
            sequential.last_delta(state, label)
            total = sequential.add_loss(state, samples, t, label, total)
        if until > 2:
            sequential.layer_deltas(state)
        if until > 3:
            sequential.step_above_first(state, -T(state.rates[0]), T(1))
    restore_subnormals(mode)
    return total.value


@jit(entry=True)
def blocks_until(packed, packed_block, samples, n, until):  # type: ignore[no-untyped-def]
    """`train_deferred` with the first ``until`` + 1 stages of each step, but for its last."""
    state, block = view(packed, kernels.State), view(packed_block, kernels.Block)
    T, team, inputs = packed.dtype.type, kernels.ALONE, samples.inputs
    L, total = len(state.layout.strides), sequential.LossSum(0.0, 0)
    mode = flush_subnormals()
    for first in range(0, n, block.length):
        m = min(block.length, n - first)
        deferred.open_block(state, block, samples, first, m, team)
        for t in range(m):
            row = row_at(samples, first + t)
            expect(samples, first + t + block.length, 0, state.layout.sizes[0])
            at = deferred.Position(row, t, T(1), T(1), -T(state.rates[0]))
            for l in range(min(L, until)):
                deferred.forward_layer(state, block, inputs, at, l, team)
            if until > L:
                label = load_target(samples, row, state.y)
                sequential.last_delta(state, label)
                total = sequential.add_loss(state, samples, first + t, label, total)
            for k in range(min(2 * L, until - L - 1)):  # back through a layer, then its update
                l = L - 1 - k // 2
                if k % 2 == 1:
                    deferred.update_layer(state, block, inputs, at, T(1), l)
                elif l > 0:
                    deferred.backward_layer(state, block, inputs, at, l, team)
    restore_subnormals(mode)
    return total.value


@jit
def through_groups(state, batch, samples, stretch, until):  # type: ignore[no-untyped-def]
    """Groups of samples of a narrow network forward, to the loss, and back."""
    for number in range((stretch.m + batch.group - 1) // batch.group):
        group = narrow.group_at(batch, stretch.m, number, state.params)
        narrow.load_group(state.layout, batch, samples, stretch, group)
        narrow.forward_group(state, batch, group)
        if until > 0:
            narrow.judge_group(state, batch, samples, stretch, group)
        if until > 1:
            narrow.backward_group(state, batch, group)
            narrow.turn_deltas(state.layout, batch, group)


@jit(entry=True)
def batches_until(packed, packed_batch, samples, n, until):  # type: ignore[no-untyped-def]
    """`train_minibatch` with the first ``until`` + 1 stages of each step, but for its last."""
    state, batch = view(packed, kernels.State), view(packed_batch, kernels.Batch)
    T, L, η = packed.dtype.type, len(state.layout.strides), state.rates[0]
    mode, samples_at = flush_subnormals(), reference(samples)
    for l in range(1, L):
        minibatch.transpose_rows(state, batch, l, 0, state.layout.sizes[l])
    nothing = updates.Penalties(T(0), T(0))
    step = updates.begin_step(state, T(0), False)
    todo = minibatch.Todo(minibatch.PLAIN_STEP, T(1), batch.panels.gradient, nothing, step)
    for first in range(0, n, batch.size):
        stretch = layers.Stretch(first, batch.size, int(state.counts[2]), -η / batch.size)
        if batch.group > 0:
            through_groups(state, batch, samples, stretch, until)
            updated = until - 2
        else:
            end, floor = min(until + 1, L), max(0, 2 * (L - 1) - max(until, L - 1))
            span = layers.Span(-1, 1, end, floor)
            minibatch.through_layers((state, batch, samples_at, stretch, span), 0, 1)
            updated = until - 2 * (L - 1)
        task = state, batch, samples_at, stretch, todo
        for l in range(updated):
            for panel in range(batch.panels.firsts[l], batch.panels.firsts[l + 1]):
                minibatch.take_panel(task, l, panel, 0)
    marked = batch.lists.marked
    fill(marked, T(0), 0, len(marked))  # as the gradient of the first layer does
    restore_subnormals(mode)


# Stages, and calls that end after each -----------------------------------------------------------


class Step(NamedTuple):
    """A kernel's step: its stages, and calls of so many rows that end after each of them."""

    method: str
    stages: list[Stage]
    calls: list[Callable[[int], Any]]
    per_step: list[int]
    """Samples that a stage's weights are read for at a time."""


def step_of(problem: Problem, samples: kernels.Samples, batch_size: int) -> Step:
    """The step that a trainer on one core would take of the problem's network."""
    if batch_size == 1:
        return _one_at_a_time(problem, samples)
    return _in_batches(problem, samples, batch_size)


def _calls(
    stages: Sequence[Stage], until: Callable[[int, int], Any], whole: Callable[[int], Any]
) -> list[Callable[[int], Any]]:
    """Calls for n rows that end after each stage; the last is the kernel itself."""

    def ended(k: int) -> Callable[[int], Any]:
        return lambda n: until(n, k)

    return [*map(ended, range(len(stages) - 1)), whole]


def _of_each(phase: str, numbers: Sequence[int]) -> list[Stage]:
    return [Stage(phase, (l,)) for l in numbers]


def _one_at_a_time(problem: Problem, samples: kernels.Samples) -> Step:
    """Plain SGD with one sample a step, by the methods that a trainer would choose."""
    parameters = problem.network.parameters
    layout, dtype, state = parameters.layout, problem.network.dtype, parameters.state
    L = len(layout.strides)
    choice = plan.choose(layout, dtype, samples.inputs, ("auto",) * L, None, 1.0, 1)
    if choice.is_sequential:
        above = tuple(range(2, L + 1))
        stages = [Stage(FORWARD, (1,)), Stage(FORWARD, above or (1,)), Stage(LOSS, (L,)),
                  Stage(BACKWARD, above), Stage(UPDATE, above), Stage(UPDATE, (1,))]  # fmt: skip
        calls = _calls(
            stages,
            lambda n, k: steps_until(state, samples, n, k),
            lambda n: kernels.train_sequential(state, samples, 0, n, 0.0),
        )
        return Step(choice.label, stages, calls, [1] * len(stages))
    block = kernels.make_block(layout, choice.plan, choice.block_size, dtype)
    methods = choice.plan.methods
    waiting = tuple(l for l in range(1, L + 1) if methods[l - 1] == kernels.DEFERRED)
    stages = [Stage(FORWARD, (1,)), *_of_each(FORWARD, range(1, L + 1)), Stage(LOSS, (L,))]
    for l in range(L, 0, -1):
        stages += [Stage(BACKWARD, (l,) if l > 1 else ()),
                   Stage(UPDATE, waiting if l in waiting else (l,))]  # fmt: skip
    stages.append(Stage(UPDATE, waiting))  # at the end of a block
    calls = _calls(
        stages,
        lambda n, k: blocks_until(state, block, samples, n, k),
        lambda n: kernels.train_deferred(state, block, samples, 0, n, 0.0, kernels.ALONE),
    )
    shared = {Stage(UPDATE, waiting), Stage(FORWARD, (1,) if 1 in waiting else ())}
    each = [choice.block_size if stage in shared else 1 for stage in stages]
    return Step(choice.label, stages, calls, each)


def _in_batches(problem: Problem, samples: kernels.Samples, batch_size: int) -> Step:
    """Plain SGD by mini-batches."""
    parameters = problem.network.parameters
    layout, dtype, state = parameters.layout, problem.network.dtype, parameters.state
    L = len(layout.strides)
    is_listed = parameters.may_list and plan.skips_zeros(layout, dtype, samples.inputs)[0]
    kind = kernels.kind_of(is_listed, samples.inputs.is_sparse)
    batch = kernels.make_batch(layout, batch_size, dtype, inputs=kind, is_plain=True)
    every, back = tuple(range(1, L + 1)), range(L, 1, -1)
    if kernels.fields(batch, kernels.Batch).group > 0:
        stages = [Stage(FORWARD, every), Stage(LOSS, (L,)), Stage(BACKWARD, every[1:])]
    else:
        stages = [*_of_each(FORWARD, every), *_of_each(BACKWARD, back)]
    stages += _of_each(UPDATE, every)
    calls = _calls(
        stages,
        lambda n, k: batches_until(state, batch, samples, n, k),
        lambda n: kernels.train_minibatch(
            state, batch, state[:0], samples, 0, n, 0.0, kernels.ALONE
        ),
    )
    return Step("mini-batches", stages, calls, [batch_size] * len(stages))


# What it comes to ---------------------------------------------------------------------------------


def profile(
    problem: Problem, batch_size: int, seconds: float, measured: Mapping[str, Any]
) -> dict[str, Any]:
    """Time, operations and bytes of every stage, on one core, as JSON takes it.

    Parameters
    ----------
    problem : Problem
        Its network is trained on the way.
    batch_size : int
        Samples of a step, at most `kernels.LONGEST_STRETCH`.
    seconds : float
        To spend, about.
    measured : mapping
        `limits.rates` of the machine.

    Returns
    -------
    dict
        ``net``, ``data``, ``batch_size``, ``method``, ``nanoseconds`` (of a sample in the whole
        step), ``gflops``, ``share_of_peak`` and ``stages``, each with ``phase``, ``layers``,
        ``nanoseconds``, ``share`` (of the step), ``flops`` and ``bytes`` of a sample, ``gflops``,
        ``gigabytes`` a second, and ``limit``, the least nanoseconds that operations at the rate of
        fused multiply-adds or bytes at that of the cache allow, whichever are more, and ``bound``
        by which.

    Raises
    ------
    ValueError
        If a batch is too long.
    """
    if batch_size > kernels.LONGEST_STRETCH:
        raise ValueError(
            f"batch_size must be at most {kernels.LONGEST_STRETCH} in a profile, got {batch_size}."
        )
    n = max(1, min(_ROWS, len(problem.X)) // batch_size) * batch_size
    network = problem.network
    network.parameters.fields.rates[:2] = LEARNING_RATE, 0
    samples = network.samples(problem.X[:n], problem.y[:n])
    step = step_of(problem, samples, batch_size)
    whole, each = _differences(_shortest(step.calls, n, seconds), n)
    taken = _joined(step, each)
    stages = [
        _figures(problem, stage, samples_a_time, nanoseconds, measured)
        | {"share": nanoseconds / whole}
        for stage, (samples_a_time, nanoseconds) in taken.items()
    ]
    gflops = flops(problem.sizes) / whole
    return {
        "net": problem.sizes,
        "data": problem.data,
        "batch_size": batch_size,
        "method": step.method,
        "nanoseconds": whole,
        "gflops": gflops,
        "share_of_peak": gflops / measured["peak_gflops"],
        "stages": stages,
    }


def _shortest(calls: Sequence[Callable[[int], Any]], n: int, seconds: float) -> list[float]:
    """Shortest seconds of each call for n rows; they take turns."""
    for call in calls:
        call(n)  # compiles
    best, began, passes = [np.inf] * len(calls), time.perf_counter(), 0
    while passes < _PASSES or time.perf_counter() - began < seconds:
        for k, call in enumerate(calls):
            best[k] = min(best[k], seconds_of(functools.partial(call, n)))
        passes += 1
    return best


def _differences(seconds: Sequence[float], n: int) -> tuple[float, list[float]]:
    """Nanoseconds of a sample in all stages, and in each; none is below 0."""
    until = np.array(seconds) * 1e9 / n
    until = np.maximum.accumulate(np.minimum(until, until[-1]))
    return float(until[-1]), np.diff(until, prepend=0).tolist()


def _joined(step: Step, each: Sequence[float]) -> dict[Stage, tuple[int, float]]:
    """Samples at a time and nanoseconds of each stage, those of the same name added up."""
    found: dict[Stage, tuple[int, float]] = {}
    spare = 0.0  # of what is no work of any layer, and should be next to nothing
    for stage, per_step, nanoseconds in zip(step.stages, step.per_step, each, strict=True):
        if not stage.layers:
            spare += nanoseconds
            continue
        before = found.get(stage, (per_step, 0.0))
        found[stage] = (max(per_step, before[0]), before[1] + nanoseconds + spare)
        spare = 0.0
    last = list(found)[-1]
    found[last] = (found[last][0], found[last][1] + spare)
    return found


def _figures(
    problem: Problem,
    stage: Stage,
    samples_a_time: int,
    nanoseconds: float,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """What a stage does for a sample, and how fast."""
    itemsize = measured["itemsize"]
    pairs = [(problem.sizes[l - 1], problem.sizes[l]) for l in stage.layers]
    operations, n_bytes = 0, sum(n_out for _, n_out in pairs) * itemsize
    if stage.phase != LOSS:
        operations = sum(2 * n_in * n_out for n_in, n_out in pairs)
        n_bytes += sum(n_in for n_in, _ in pairs) * itemsize
        weights = sum((n_in + 1) * n_out for n_in, n_out in pairs) * itemsize
        n_bytes += weights * (2 if stage.phase == UPDATE else 1) / samples_a_time
    level = holding(measured, problem.network.n_params * itemsize)
    read, update = measured["bandwidth"][level]
    by_operations = operations / measured["peak_gflops"]
    by_bytes = n_bytes / (update if stage.phase == UPDATE else read)
    return {
        "phase": stage.phase,
        "layers": list(stage.layers),
        "nanoseconds": nanoseconds,
        "flops": operations,
        "bytes": n_bytes,
        "gflops": operations / nanoseconds if nanoseconds > 0 else 0.0,
        "gigabytes": n_bytes / nanoseconds if nanoseconds > 0 else 0.0,
        "limit": max(by_operations, by_bytes),
        "bound": "FMA" if by_operations > by_bytes else level,
    }
