"""The work of an ensemble's fit: networks side by side in lanes of vectors, or each on its own."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from fastbp import kernels, schedules, threads
from fastbp.callbacks import Callback
from fastbp.divergence import DivergenceError
from fastbp.evaluation import rows_of
from fastbp.fitting import Course, RowsFit, weighted
from fastbp.network import Network
from fastbp.pacing import paced
from fastbp.progress import progress_bar
from fastbp.samples import FloatArray
from fastbp.splitting import Rows
from fastbp.trainer import Trainer
from fastbp.watching import Watch

Report = Callable[[int], None]
Errors = dict[int, DivergenceError]
Result = TypeVar("Result")

# A step of a pack takes as long as _STEPS steps of a single network. It takes one more for every
# _PARAMS_A_STEP parameters of a network, because the parameters of all lanes no longer fit into the
# fastest cache.
_STEPS, _PARAMS_A_STEP = 3, 200


class Member(NamedTuple):
    """A network's part in a fit."""

    number: int
    trainer: Trainer
    n: int
    """Samples of an epoch."""
    rows: Rows | None
    """Which they are; None for all."""
    factor: float = 1.0
    """By which weights are multiplied for their mean over these rows to be 1; perhaps infinite."""


def least_members(network: Network) -> int:
    """How many members a pack must have, on average over its steps, to be faster than without."""
    return _STEPS + -(-network.n_params // _PARAMS_A_STEP)


def calls_a_function(trainer: Trainer) -> bool:
    """Whether its order or learning rate is a function of the user's, whose calls have effects."""
    rate = trainer.learning_rate
    if isinstance(rate, schedules.BySample):
        rate = rate.schedule
    is_ours = not callable(rate) or type(rate) in schedules.SCHEDULES.values()
    return callable(trainer.shuffle) or not is_ours


def samples_of(member: Member, samples: kernels.Samples) -> kernels.Samples:
    """The samples of a member alone, as they are trained on."""
    trainer = member.trainer
    if member.rows is not None:
        samples = rows_of(samples, member.rows, f"network {member.number}")
    return weighted(trainer.network, samples, trainer.options_of(trainer.network), 0.0)


def divided(
    members: Sequence[Member], lanes: int, least: int
) -> tuple[list[list[Member]], list[Member]]:
    """Packs of at most so many members, and those that are better off on their own.

    ``least`` is that of `least_members`. Lanes multiply weights by a factor, which must be finite.
    """
    able = [member for member in members if math.isfinite(member.factor)]
    alone = [member for member in members if not math.isfinite(member.factor)]
    waiting, packs, start = sorted(able, key=lambda member: -member.n), [], 0
    while start < len(waiting):
        pack = waiting[start : start + lanes]
        if sum(member.n for member in pack) >= least * pack[0].n:
            packs.append(pack)
            start += lanes
        else:
            alone.append(waiting[start])
            start += 1
    return packs, alone


def places_of(network: Network) -> Rows:
    """Where in `Network.params` the parameters of a lane lie, in the lane's order."""
    numbers = network.parameters.views(np.arange(network.parameters.size, dtype=np.float64))
    layers = [np.vstack([W.T, b]) for W, b in zip(numbers.weights, numbers.biases, strict=True)]
    columns = [rows[:, k : k + 4] for rows in layers for k in range(0, rows.shape[1], 4)]
    return np.concatenate([part.reshape(-1) for part in columns]).astype(np.int64)


Room = tuple[FloatArray, kernels.Lanes]


def new_room(network: Network) -> Room:
    """A packed array for a pack of such networks, and its fields."""
    packed = kernels.make_lanes(network.parameters.layout, network.dtype)
    return packed, kernels.fields(packed, kernels.Lanes)


class Pack:
    """Members of an ensemble that train side by side.

    Parameters
    ----------
    members : sequence of Member
        At most one per lane, the one with the most samples first.
    samples : kernels.Samples
        Of all members.
    places : array of int
        As `places_of` gives them.
    room : pair of arrays
        Packed `kernels.Lanes`, as `new_room` makes them.

    """

    def __init__(
        self, members: Sequence[Member], samples: kernels.Samples, places: Rows, room: Room
    ) -> None:
        network = members[0].trainer.network
        self.members, self._places = tuple(members), places
        self.packed, self._fields = room
        self._lanes = self._fields.params.reshape(len(places), -1)
        self._last_finite = np.empty_like(self._lanes)
        self._order = np.zeros((self._lanes.shape[1], members[0].n), np.int64)
        options = members[0].trainer.options
        samples = weighted(network, samples, options, 0.0)
        self._samples = samples._replace(order=self._order.reshape(-1))
        self._fields.counts[:] = 0  # those of the last call
        self._counts = np.zeros_like(self._fields.counts)
        for lane, member in enumerate(members):
            self._counts[lane], self._fields.factors[lane] = member.n, member.factor
        self._etas = [math.nan] * len(members)
        self._seconds = 0.0
        self._errors: Errors = {}

    def load(self) -> None:
        """Compile or load the kernel, by a call without samples."""
        kernels.train_lanes(self.packed, self._samples, 0, 0)

    def train(self, epochs: int | None, report: Report) -> Errors:
        """Train for some epochs, which join each trainer's history; or for one pass in order.

        Returns the errors of networks that have diverged and keep their last finite parameters.
        ``report`` is called after each chunk with the number of its samples. Whatever happens, the
        networks hold what they have come to.
        """
        for lane, member in enumerate(self.members):
            self._lanes[:, lane] = member.trainer.network.parameters.flat[self._places]
        try:  # twice, in case Ctrl-C interrupts the first
            try:
                for _ in range(1 if epochs is None else epochs):
                    if len(self._errors) == len(self.members):
                        break
                    self._pass(epochs is not None, report)
            finally:
                self._write()
        finally:
            self._write()
        return self._errors

    def _write(self) -> None:
        for lane, member in enumerate(self.members):
            member.trainer.network.parameters.flat[self._places] = self._lanes[:, lane]

    def _pass(self, is_epoch: bool, report: Report) -> None:
        self._fields.losses[:] = 0
        self._fields.counts[:] = self._counts
        for lane, member in enumerate(self.members):
            if member.number not in self._errors:
                self._begin(lane, member, is_epoch)
                report(0)  # for Ctrl-C, as drawing the order of many samples takes long
        self._seconds = 0.0
        operations = 6 * len(self._places) * len(self._counts)
        for start, stop in paced(int(self._counts.max()), operations):
            stop = min(stop, int(self._counts.max()))  # as the longest may have diverged
            if start >= stop:
                break
            self._chunk(start, stop)
            report(int((self._counts.clip(start, stop) - start).sum()))
        if is_epoch:
            self._record()
        else:
            for lane, member in enumerate(self.members):
                if member.number not in self._errors:
                    member.trainer.stream.add(member.n, float(self._fields.losses[lane]))

    def _begin(self, lane: int, member: Member, is_epoch: bool) -> None:
        """Set a lane's rate, decay and order."""
        trainer = member.trainer
        eta = trainer.learning_rate_of(trainer.network)
        options = trainer.options_of(trainer.network, eta)
        if eta != self._etas[lane]:
            T = self.packed.dtype.type
            with np.errstate(all="ignore"):  # those of the caller are not for our arithmetic
                self._etas[lane] = self._fields.rates[lane] = eta
                self._fields.decays[lane] = T(1) - T(eta) * T(options.weight_decay)
        order = kernels.IN_ORDER
        if is_epoch:
            order = trainer.workings.orders.of(member.n, options.shuffle)
        if member.rows is not None:
            order = member.rows[order] if len(order) > 0 else member.rows
        self._order[lane, : member.n] = order if len(order) > 0 else np.arange(member.n)

    def _chunk(self, start: int, stop: int) -> None:
        np.copyto(self._last_finite, self._lanes)
        began = time.perf_counter()
        try:
            kernels.train_lanes(self.packed, self._samples, start, stop)
        finally:  # also when Ctrl-C came meanwhile
            self._leave_spoilt()
        self._seconds += time.perf_counter() - began

    def _leave_spoilt(self) -> None:
        """Leave behind the networks whose parameters or losses are not finite any more."""
        fields = self._fields
        params = fields.params
        if kernels.first_nonfinite(params, 0, len(params)) < 0 and np.isfinite(fields.losses).all():
            return
        has_finite = np.isfinite(self._lanes).all(axis=0)
        for lane in np.flatnonzero(~(has_finite & np.isfinite(fields.losses))):
            member, layer = self.members[lane], None
            network = member.trainer.network
            if not has_finite[lane]:
                network.parameters.flat[self._places] = self._lanes[:, lane]
                layer = network.first_nonfinite_layer()
            self._lanes[:, lane] = self._last_finite[:, lane]
            fields.losses[lane] = fields.counts[lane] = self._counts[lane] = 0
            epoch = len(member.trainer.history) + 1
            self._errors[member.number] = DivergenceError(epoch, layer, self._etas[lane])

    def _record(self) -> None:
        """Add the epoch to each trainer's history."""
        seconds = self._seconds / len(self.members)
        for lane, member in enumerate(self.members):
            if member.number in self._errors:
                continue
            row = {
                "train_loss": float(self._fields.losses[lane]) / member.n,
                "learning_rate": self._etas[lane],
                "samples_per_second": member.n / seconds,
                "seconds": seconds,
                "method": "lanes",
            }
            member.trainer.history.append(row)


class Alone:
    """A member of an ensemble whose own trainer does the work."""

    def __init__(self, member: Member, samples: kernels.Samples) -> None:
        self._member, self._samples = member, samples

    def load(self) -> None:
        """Compile or load the kernel, by a call without samples."""
        trainer = self._member.trainer
        network, eta = trainer.network, trainer.current_learning_rate
        options, runs = trainer.options_of(network, eta), trainer.workings.runs
        runs.begin(network, self._samples, kernels.IN_ORDER, eta, options).load()

    def train(self, epochs: int | None, report: Report) -> Errors:
        """As `Pack.train`."""
        member, trainer = self._member, self._member.trainer
        samples = samples_of(member, self._samples)
        try:
            if epochs is None:
                _one_pass(trainer, samples, report)
            else:
                watch = Watch((), (), 0, False)
                course = Course(epochs, watch, (_Reporting(report),), False)
                RowsFit(trainer, samples, course).run()
        except DivergenceError as error:
            return {member.number: error}
        return {}


def _one_pass(trainer: Trainer, samples: kernels.Samples, report: Report) -> None:
    network, eta, runs = trainer.network, trainer.current_learning_rate, trainer.workings.runs
    options = trainer.options_of(network, eta)
    this = runs.begin(network, samples, kernels.IN_ORDER, eta, options)
    for done in this.chunks(len(trainer.history) + 1):
        report(done)
    runs.end(this)
    trainer.stream.add(this.done, this.loss_sum)


class _Reporting(Callback):
    """Reports each chunk of a fit."""

    def __init__(self, report: Report) -> None:
        self._report, self._before = report, 0

    def on_chunk(self, trainer: Trainer, samples: int, loss: float) -> None:
        self._report(samples - self._before)
        self._before = samples

    def on_epoch(self, trainer: Trainer) -> None:
        self._before = 0


class Work(NamedTuple):
    """What there is to do in a fit."""

    samples: kernels.Samples
    packs: Sequence[Sequence[Member]]
    alone: Sequence[Member]
    places: Rows
    """As `places_of` gives them."""
    rooms: list[Room]
    """Kept from fit to fit: what a pack has been trained in serves the next one."""

    @property
    def tasks(self) -> list[Sequence[Member]]:
        """The members of each pack, or one on its own; the longest first."""
        tasks = [*self.packs, *([member] for member in self.alone)]
        return sorted(tasks, key=_n_samples, reverse=True)

    def do(self, task: Sequence[Member], job: Callable[[Pack | Alone], Result]) -> Result:
        """Do a job on a task, whose scratch is made only now, when its turn has come."""
        if len(task) == 1:
            return job(Alone(task[0], self.samples))
        try:
            room = self.rooms.pop()
        except IndexError:
            room = new_room(task[0].trainer.network)
        result = job(Pack(task, self.samples, self.places, room))
        self.rooms.append(room)
        return result


def _n_samples(members: Sequence[Member]) -> int:
    return sum(member.n for member in members)


# Only one thread at a time can run Python code, and each epoch of a network needs some. If an epoch
# has fewer operations than this, threads would spend their time waiting for each other.
_BETWEEN = 300_000


def train_all(
    work: Work, epochs: int | None, progress: bool | None, n_threads: int | None
) -> Errors:
    """Train all members, on threads where that is worth it; the errors of those that diverged.

    Parameters
    ----------
    work : Work
    epochs : int or None
        None for one pass over the samples in order.
    progress : bool or None
        As of `Trainer.fit`.
    n_threads : int or None
        None for as many as there are.
    """
    for some in (work.packs, [[member] for member in work.alone]):
        for task in some[:1]:  # here and not on a helper, for Ctrl-C to be heard meanwhile
            work.do(task, lambda made: made.load())
    tasks, n_epochs = work.tasks, 1 if epochs is None else epochs
    n, n_members = sum(map(_n_samples, tasks)), sum(map(len, tasks))
    operations = 6 * tasks[0][0].trainer.network.n_params * n
    calls = any(calls_a_function(member.trainer) for task in tasks for member in task)
    if calls or operations < _BETWEEN * n_members:
        n_threads = 1  # functions are called in the same order whatever was asked for
    lock = threading.Lock()
    with progress_bar(progress, n * n_epochs) as bar:

        def train(task: Sequence[Member], go_on: Callable[[], None]) -> Errors:
            def report(done: int) -> None:
                if bar is not None:
                    with lock:
                        bar.update(done)
                go_on()

            return work.do(task, lambda made: made.train(epochs, report))

        found = threads.share(train, tasks, operations * n_epochs, n_threads)
    return {number: error for errors in found for number, error in errors.items()}
