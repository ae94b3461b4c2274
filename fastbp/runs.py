"""Passes over samples: the kernel that makes them, its scratch, and how they are checked.

Kernels are called for training only here; `parameters.py` calls one for the gradient alone.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp import kernels, plan, threads
from fastbp.divergence import DivergenceError
from fastbp.moments import OptimizerState
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.options import Options
from fastbp.orders import Orders
from fastbp.pacing import Crew, paced
from fastbp.penalties import sampled_penalty
from fastbp.samples import FloatArray

Order = NDArray[np.int64]

# Operations a second that `paced` reckons with, until it has measured the speed.
_SLOW = 5e8
# Threads share copies and checks of at least so many parameters; each counts as so many operations.
_SWEPT, _OPERATIONS = 4_000_000, 16
# Chunks of batches have at least so many samples: for each, parameters are copied and checked,
# which may take as long as a batch.
_LEAST_CHUNK = 512


class Way(NamedTuple):
    """How a kind of pass is computed: by which kernel, with which scratch and threads."""

    entry: str
    """Name of the kernel."""
    scratch: tuple[FloatArray, ...]
    """Its arguments between the network's state and the samples."""
    block: int
    """Calls may be cut only at multiples of so many samples."""
    n_threads: int
    """Most threads that it can use."""
    method: str
    """In a few words, for `History.method`."""
    lines: Callable[[int], tuple[str, ...]]
    """Lines for `Trainer.summary`, given the number of threads in use."""
    is_plain: bool = False
    """Whether it divides by 1 − ηλ, as plain SGD does with batches."""
    penalty: NDArray[np.float64] | None = None
    """(1,) sum over samples of the penalties in their batches' losses; None if not summed up."""


@np.errstate(all="ignore")
def _by_samples(
    network: Network, inputs: kernels.Inputs, learning_rate: float, options: Options
) -> Way:
    """Plain SGD, one sample after the other."""
    layout, dtype = network.parameters.layout, network.dtype
    decay = float(dtype.type(1) - dtype.type(learning_rate) * dtype.type(options.weight_decay))
    choice = plan.choose(
        layout, dtype, inputs, options.method, options.block_size, decay, options.n_threads
    )

    def lines(team: int) -> tuple[str, ...]:
        layers = zip(choice.reasons, choice.layer_threads, strict=True)
        each = (
            f"layer {i}  {why}" + (f"; {team} threads" if team > 1 and n > 1 else "")
            for i, (why, n) in enumerate(layers, start=1)
        )
        blocks = f"blocks of {choice.block_size} samples"
        return (*each, *[blocks] * (not choice.is_sequential))

    if choice.is_sequential:
        return Way("train_sequential", (), 1, 1, choice.label, lines)
    size = choice.block_size
    block = kernels.make_block(layout, choice.plan, size, dtype)
    return Way("train_deferred", (block,), size, choice.n_threads, choice.label, lines)


def _kind_of_samples(
    network: Network, inputs: kernels.Inputs, options: Options
) -> tuple[bool, ...]:
    """What determines the scratch for single samples, besides the options."""
    parameters, asked, is_one = network.parameters, options.method[0], inputs.X.shape[0] == 1
    if not parameters.may_list and asked != "deferred":
        return is_one, inputs.is_sparse, False
    return is_one, *plan.first_layer_kind(parameters.layout, network.dtype, inputs, asked)


def _by_rule(
    network: Network, optimizer: Optimizer, lagging: plan.Lagging, n_threads: int | None
) -> Way:
    """An optimizer's step after each sample."""
    layout, dtype = network.parameters.layout, network.dtype
    lag = kernels.make_lag(layout, dtype, lagging.length, lagging.is_listed)
    most = 1 if lagging.length else plan.step_threads(layout, dtype, n_threads)

    def lines(team: int) -> tuple[str, ...]:
        what = f"single samples, {optimizer}" + f"; {team} threads" * (team > 1)
        return what, *filter(None, [lagging.why])

    return Way("train_single", (lag,), max(1, lagging.length), most, "sequential", lines)


class _Batches(NamedTuple):
    """What determines the scratch for mini-batches, besides the options."""

    size: int
    inputs: str
    is_plain: bool


def _batches_of(
    network: Network, samples: kernels.Samples, learning_rate: float, options: Options
) -> tuple[_Batches, str]:
    """The batches of a pass, and why zeros are skipped or not."""
    is_listed, why, parameters = False, "", network.parameters
    if samples.inputs.is_sparse or parameters.may_list:
        is_listed, why = plan.skips_zeros(parameters.layout, network.dtype, samples.inputs)
    size = min(options.batch_size, samples.inputs.n)
    shares, rates = options.reduction == "batch" and size > 1, (learning_rate, options.weight_decay)
    is_plain = options.optimizer.n_moments == 0 and keeps_signs(
        samples.weights, rates, shares, network.dtype
    )
    kind = kernels.kind_of(is_listed, samples.inputs.is_sparse)
    return _Batches(size, kind, is_plain), why


@np.errstate(all="ignore")
def keeps_signs(
    weights: NDArray[np.float64], rates: tuple[float, float], shares: bool, dtype: np.dtype[Any]
) -> bool:
    """Whether 1 − ηλ, which the plain step divides by, is above 0; ``rates`` are η and λ.

    Where samples of a batch share one penalty, λ is divided by the batch's weight, at worst one
    light sample's.
    """
    least = 1.0
    if shares and len(weights) > 0:
        least = float(weights[weights > 0].min(initial=1.0))
    learning_rate, weight_decay = rates
    return bool(dtype.type(learning_rate * weight_decay / least) < 1)


@np.errstate(all="ignore")
def _by_batches(
    batches: _Batches,
    why: str,
    learning_rate: float,
    options: Options,
    state: OptimizerState,
    key: tuple[int, ...],
) -> Way:
    """Mini-batches, with the optimizer's state; ``key`` is that of dropout's masks."""
    optimizer, size = options.optimizer, batches.size
    layout, dtype = state.network.parameters.layout, state.network.dtype
    by_batch = options.reduction == "batch" and size > 1  # for one sample its weight would cancel
    moment_bytes = optimizer.n_moments * dtype.itemsize
    most = plan.batch_threads(layout, size, options.n_threads, moment_bytes)
    names = ("weight_decay", "l1", "clip_value", "clip_norm", "max_norm")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    regularization = kernels.Regularization(
        dropout=np.array(options.dropout), key=np.array(key, np.int64), by_batch=by_batch, **given
    )
    batch = kernels.make_batch(
        layout,
        size,
        dtype,
        inputs=batches.inputs,
        is_plain=batches.is_plain,
        regularization=regularization,
        threads=most,
    )

    def lines(team: int) -> tuple[str, ...]:
        what = f"mini-batches of {size}, {optimizer}"
        return ("; ".join(filter(None, [what, why, f"{team} threads" * (team > 1)])),)

    penalty = kernels.fields(batch, kernels.Batch).penalty if by_batch else None
    block, scratch = min(size, kernels.LONGEST_STRETCH), (batch, batch[:0])
    is_plain = batches.is_plain and options.weight_decay > 0
    return Way("train_minibatch", scratch, block, most, "mini-batches", lines, is_plain, penalty)


class Run:
    """A way to train a network, with its scratch: kept from call to call, without the data.

    Parameters
    ----------
    network : Network
    way : Way
    crew : Crew
    state : OptimizerState or None
        None if the steps need none.
    made_for : tuple
        What it depends on.
    """

    def __init__(
        self,
        network: Network,
        way: Way,
        crew: Crew,
        state: OptimizerState | None,
        made_for: tuple[Any, ...],
    ) -> None:
        self.network, self.way, self.crew, self.state = network, way, crew, state
        self.made_for = made_for
        self.params, self.rates = network.parameters.flat, network.parameters.fields.rates
        self.operations = 6 * network.n_params
        self.last_finite = np.empty_like(self.params)
        self.is_loaded = False

    def keep(self) -> None:
        """Copy the parameters to ``last_finite``."""
        if self.params.size < _SWEPT:
            np.copyto(self.last_finite, self.params)
        else:
            kept, params = self.last_finite, self.params
            self._sweep(lambda start, stop: np.copyto(kept[start:stop], params[start:stop]))

    def restore(self) -> None:
        """Take back the parameters that were kept."""
        np.copyto(self.params, self.last_finite)
        if self.state is not None:
            self.state.reset()

    def spoilt(self, loss_sum: float) -> tuple[int | None, bool] | None:
        """None if all is finite; else the layer that is not, or None, and if moments are not."""
        layer = None if self.has_finite_params() else self.network.first_nonfinite_layer()
        moments = layer is None and math.isfinite(loss_sum)
        if moments and (self.state is None or self.state.is_finite()):
            return None
        return layer, moments

    def has_finite_params(self) -> bool:
        """Whether all parameters are finite."""
        if self.params.size < _SWEPT:
            return bool(kernels.first_nonfinite(self.params, 0, self.params.size) < 0)
        places = self._sweep(functools.partial(kernels.first_nonfinite, self.params))
        return bool(max(places) < 0)

    def _sweep(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Results of ``work(start, stop)`` for all parameters, which threads share."""
        return threads.spread(work, self.params.size, _OPERATIONS, self.way.n_threads)


class Pass:
    """One pass over samples, which may come in several parts.

    Attributes
    ----------
    done : int
        Samples so far, exactly, also after Ctrl-C.
    loss_sum : float
        Of these samples.
    seconds : float
        Time spent in kernels and in checks of their results.
    stops : bool
        Set it to end the pass after the current batch.
    """

    def __init__(
        self, run: Run, samples: kernels.Samples, order: Order, eta: float, options: Options
    ) -> None:
        self.run, self.eta = run, eta
        self.samples = samples if order is samples.order else samples._replace(order=order)
        self.seconds, self.stops = 0.0, False
        self.batch_size, self._rates = options.batch_size, (eta, options.weight_decay)
        self._penalized = options.weight_decay, options.l1
        self._shares = options.reduction == "batch" and options.batch_size > 1
        self._samples_penalties = options.reduction == "batch" and run.way.penalty is None
        self._penalties = 0.0
        self.done, self.loss_sum = 0, 0.0
        # Samples of the parts before this one; samples of this part that are done; and the sum of
        # all losses: as the last call of the kernel has left them.
        self._last_call = collections.deque((((0, 0), 0.0),), 1)
        # Samples since a place from which stretches of batches are counted, as the kernel has it.
        self._phase = 0
        # Of a stream: what its epochs must have in common to be trained on by the same run.
        self.kind: tuple[bool, int] | None = None

    @property
    def unit(self) -> int:
        """A part may end after any multiple of so many samples."""
        is_batched = self.run.way.entry == "train_minibatch"
        return self.batch_size if is_batched else self.run.way.block

    def resume(self, done: int, loss_sum: float, seconds: float) -> None:
        """Go on from a pass that was broken off after so many samples."""
        self.done, self.loss_sum, self.seconds = done, loss_sum, seconds
        self._last_call.append(((done, 0), loss_sum))

    def go_on(self, samples: kernels.Samples) -> None:
        """Take the next part of the pass, now that the last one is done; in the order it has.

        Raises
        ------
        ValueError
            If a weight is too light for the steps that are taken.
        """
        if self.run.way.is_plain and not keeps_signs(
            samples.weights, self._rates, self._shares, self.run.network.dtype
        ):
            raise ValueError(
                "weight must be above learning_rate · weight_decay where reduction is 'batch', got "
                f"{samples.weights[samples.weights > 0].min()}."
            )
        done, length = self.done, self.run.way.block
        if self.run.way.entry == "train_minibatch" and self.batch_size % length:
            # Batches are cut into stretches counted from the start of the pass, which bits depend
            # on: this part goes on counting, by places before its first that nobody reads.
            self._phase = done % math.lcm(self.batch_size, length)
            rows = np.arange(-self._phase, samples.inputs.n)
            samples = samples._replace(order=kernels.read_only(np.maximum(rows, 0)))
        self._last_call.append(((done, 0), self.loss_sum))
        self.samples = samples

    def break_off(self, end: int) -> int:
        """Samples that were trained on in whole batches, one of which ends at ``end``.

        Those of a batch that is not complete are not counted: it will begin anew.
        """
        done = self.done
        rest = done % self.batch_size if done < end else 0
        if rest > 0 and self.run.state is not None:
            self.run.state.counts[2] -= rest
        return done - rest

    def load(self) -> None:
        """Compile or load the kernel, by a call without rows, outside of what is timed."""
        self._step(0, 0, kernels.ALONE)
        self.run.is_loaded = True

    def chunks(self, epoch: int) -> Generator[int]:
        """Train, and yield the length of each chunk.

        Raises
        ------
        ValueError
            If parameters were not finite to begin with.
        DivergenceError
            If parameters, moments or the loss are not finite after a chunk; the parameters from
            before the chunk are restored, and the optimizer's state is reset.
        """
        run, n, block = self.run, self.samples.inputs.n, self.run.way.block
        sampled = None
        if self._samples_penalties:
            sampled = sampled_penalty(run.network, *self._penalized, n, self.eta)
        if run.way.entry == "train_minibatch" and self.batch_size > 1:
            block *= max(1, _LEAST_CHUNK // block)
        if not run.is_loaded:
            self.load()
        if run.state is not None and not run.has_finite_params():
            run.network.parameters.check_finite()  # before a chunk could spoil the moments, too
        pieces = sampled.pieces if sampled else 1
        # From the last place at which a call may be cut.
        first = self._phase % run.way.block
        before = self._phase - first
        for start, stop in paced(first + n, run.operations, block, pieces):
            start, stop = before + (start if start > first else first), before + stop
            if self.stops:  # within a batch, which is trained to its end
                stop = min(stop, -(-start // self.batch_size) * self.batch_size)
            self._chunk(start, stop, epoch)
            if sampled:
                self._penalties += sampled.add(stop - start)
            yield stop - start
            if self.stops and stop % self.batch_size == 0:
                return

    def _chunk(self, start: int, stop: int, epoch: int) -> None:
        run, last_call, block = self.run, self._last_call[0], self.run.way.block
        run.keep()
        run.network.parameters.ready_for = None
        run.rates[0], run.rates[1] = self._rates
        if run.state is not None:
            run.state.move_in()
        began = time.perf_counter()
        try:
            if start % block:
                aligned = min(stop, -(-start // block) * block)
                run.crew.share(self._step, start, aligned, block)
                start = aligned
            if start < stop:
                run.crew.share(self._step, start, stop, block)
        finally:  # also when Ctrl-C came meanwhile
            (before, part), self.loss_sum = self._last_call[0]
            spoilt = run.spoilt(self.loss_sum)
            if spoilt is not None:
                run.restore()
                self._last_call.append(last_call)
                (before, part), self.loss_sum = last_call
            self.done = before + part
        self.seconds += time.perf_counter() - began
        if spoilt is not None:
            run.network.parameters.check_finite()  # what was not finite before the chunk is not now
            raise DivergenceError(epoch, spoilt[0], self.eta, spoilt[1])

    def _step(self, start: int, stop: int, team: NDArray[np.int64]) -> None:
        way, state = self.run.way, self.run.network.parameters.state
        kernel = getattr(kernels, way.entry)
        (before, _), loss_sum = self._last_call[0]
        arguments = state, *way.scratch, self.samples, start, stop, loss_sum
        arguments += () if way.entry == "train_sequential" else (team,)
        # Ctrl-C during a call strikes before its result is assigned to anything, but never within
        # these functions, which are C.
        calls = itertools.starmap(kernel, (arguments,))
        self._last_call.extend(zip(((before, stop - self._phase),), calls, strict=False))

    @property
    def loss(self) -> float:
        """Mean loss so far."""
        return self.loss_sum / self.done

    @property
    def penalty(self) -> float:
        """Penalties in the mean loss so far, if reduction is "batch"; reading it resets it."""
        total = 0.0
        if self.run.way.penalty is not None:
            total = float(self.run.way.penalty[0])
            self.run.way.penalty[0] = 0
        elif self._samples_penalties:
            total = self._penalties
        return total / self.done


class Runs:
    """The passes of a trainer, and what is kept between them.

    Parameters
    ----------
    orders : Orders
        Of the trainer: dropout's masks follow from its key.

    Attributes
    ----------
    state : OptimizerState or None
        None before the first pass that needs it.
    penalty : float
        What penalties added to the mean loss in the last pass, if reduction is "batch".
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.state: OptimizerState | None = None
        self.penalty = 0.0
        self._last: tuple[Way, Crew] | None = None
        self._lines: tuple[str, ...] = ()  # of a trainer that was copied, before the next pass
        self._spare: Run | None = None
        self._crew: tuple[Any, Crew] | None = None

    def optimizer_state(self, network: Network, optimizer: Optimizer) -> OptimizerState:
        """The optimizer's state; a new one where the optimizer or the network is another one."""
        if self.state is None or not self.state.is_of(network, optimizer):
            self.state = OptimizerState(network, optimizer)
        return self.state

    def kept(self, network: Network) -> tuple[Any, ...]:
        """Its part of a pickle of a trainer of this network, for `restored`."""
        state = None
        if self.state is not None and self.state.network is network:
            state = self.state.optimizer, self.state.moments, self.state.counts
        return state, self.lines, self.penalty

    @classmethod
    def restored(cls, network: Network, orders: Orders, kept: tuple[Any, ...]) -> Runs:
        """What `kept` has kept."""
        state, lines, penalty = kept
        runs = cls(orders)
        runs.penalty, runs._lines = penalty, lines
        if state is not None:  # arrays as the kernels take them: aligned, read-only where they are
            optimizer, moments, counts = state
            ours = runs.optimizer_state(network, optimizer)
            ours.moments[:], ours.counts[:] = moments, counts
        return runs

    @property
    def lines(self) -> tuple[str, ...]:
        """How the last pass was computed and why, for `Trainer.summary`."""
        if self._last is None:
            return self._lines
        way, crew = self._last
        return way.lines(crew.team)

    def begin(
        self,
        network: Network,
        samples: kernels.Samples,
        order: Order,
        learning_rate: float,
        options: Options,
        after: Pass | None = None,
        *,
        is_stream: bool = False,
    ) -> Pass:
        """Begin a pass, with the last run if that fits; `end` gives the run back.

        Until then the run is not kept here, so that a nested pass gets scratch of its own. A pass
        ``after`` another one over the same inputs, or the same stream, does not look at them again.
        """
        kind_of_stream = None
        if is_stream:
            inputs = samples.inputs
            kind_of_stream = inputs.is_sparse, min(options.batch_size, inputs.n)
        if after is not None:
            are_alike = samples.inputs is after.samples.inputs
            if is_stream:
                are_alike = after.kind == kind_of_stream
            if are_alike and self._goes_on(after, network, learning_rate, options):
                self._spare = None
                this = Pass(after.run, samples, order, learning_rate, options)
                this.kind = kind_of_stream
                return this
        state: OptimizerState | None = None
        kind: Any = None
        is_single = options.batch_size == 1 or samples.inputs.X.shape[0] == 1
        if is_single and options.is_plain_sgd:
            kind = _kind_of_samples(network, samples.inputs, options)
        else:
            state = self.optimizer_state(network, options.optimizer)
            if is_single and options.is_unregularized:
                is_sampled = options.reduction == "batch"
                decay = learning_rate * options.weight_decay if is_sampled else 0.0
                layout, inputs = network.parameters.layout, samples.inputs
                kind = plan.alone(layout, network.dtype, inputs, options.optimizer, decay)
            if kind is None:
                kind, why = _batches_of(network, samples, learning_rate, options)
        made_for = network, learning_rate, options.of_steps, state, kind
        run, self._spare = self._spare, None
        if run is None or run.made_for != made_for:
            if state is None:
                way = _by_samples(network, samples.inputs, learning_rate, options)
            elif isinstance(kind, plan.Lagging):
                way = _by_rule(network, options.optimizer, kind, options.n_threads)
            else:
                way = _by_batches(kind, why, learning_rate, options, state, self._orders.key)
            run = Run(
                network, way, self._crew_for(network, way, options.n_threads), state, made_for
            )
        self._last = run.way, run.crew
        this = Pass(run, samples, order, learning_rate, options)
        this.kind = kind_of_stream
        return this

    def _goes_on(
        self,
        after: Pass,
        network: Network,
        learning_rate: float,
        options: Options,
    ) -> bool:
        """Whether the last pass was as the next one is to be."""
        run = after.run
        return (
            run is self._spare
            and run.state is self.state
            and run.made_for[:3] == (network, learning_rate, options.of_steps)
        )

    def _crew_for(self, network: Network, way: Way, n_threads: int | None) -> Crew:
        """The last crew if it was for the same work, for which alone its measurements hold."""
        key = id(network), way.method, way.block, way.n_threads, n_threads
        if self._crew is None or self._crew[0] != key:
            self._crew = key, Crew(way.n_threads, n_threads is not None)
        return self._crew[1]

    def end(self, this: Pass) -> None:
        """Call after a complete pass; the run of another is dropped: it may be within a batch."""
        self.penalty = this.penalty
        self._spare = this.run
        this.run.operations = int(this.seconds / this.done * _SLOW)
