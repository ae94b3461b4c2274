"""A fit: its epochs, and what callbacks and the progress bar do in between."""

from __future__ import annotations

import abc
import contextlib
import warnings
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import ArrayLike

from fastbp import checks, kernels, schedules, scoring
from fastbp.callbacks import (
    Callback,
    CallbackState,
    EarlyStopping,
    listeners_of,
    resume,
    state_of,
)
from fastbp.divergence import DivergenceError
from fastbp.evaluation import EvalSet, eval_sets, split_off
from fastbp.network import Network
from fastbp.options import Options
from fastbp.orders import Orders
from fastbp.preparation import ScaleWarning, scale_hint
from fastbp.progress import progress_bar
from fastbp.runs import Pass, Runs
from fastbp.samples import with_class_weight
from fastbp.turns import Turns
from fastbp.watching import Watch, verbosity

if TYPE_CHECKING:
    from fastbp.trainer import Trainer


class Listening:
    """The callbacks of the fit that is going on, and states for those of the next one."""

    def __init__(self, states: Iterable[CallbackState] = ()) -> None:
        self.listeners: tuple[Callback, ...] = ()
        self.loaded = list(states)

    def states(self) -> list[CallbackState]:
        """What a trainer that is saved now keeps of its callbacks; see `Callback.state`."""
        return [*self.loaded, *filter(None, map(state_of, self.listeners))]


class Unfinished(NamedTuple):
    """The beginning of an epoch."""

    samples: int
    """In whole batches."""
    loss_sum: float
    """Of these samples."""
    seconds: float
    """Seconds that training on them took."""


# Entries of `Workings.kept`.
_KEPT = 5

WHOLE = Unfinished(0, 0.0, 0.0)
"""Of epochs that have not begun, or are finished."""


@dataclass
class Workings:
    """What a trainer works with, and what carries on from fit to fit."""

    orders: Orders
    runs: Runs
    stopped_at: int = 0
    """The last epoch of the last fit, if a callback has stopped it."""
    unfinished: Unfinished = WHOLE
    """How far an epoch of a stream had come that was broken off."""
    turns: Turns = field(default_factory=Turns)
    listening: Listening = field(default_factory=Listening)

    @classmethod
    def begun(cls, seed: int | None) -> Workings:
        """For a new trainer."""
        orders = Orders(seed)
        return cls(orders, Runs(orders))

    def kept(self, network: Network) -> tuple[Any, ...]:
        """For a pickle of a trainer of this network: without what was measured on this machine."""
        states = self.listening.states()
        return self.orders, self.runs.kept(network), self.stopped_at, self.unfinished, states

    @classmethod
    def restored(cls, network: Network, kept: tuple[Any, ...] | None) -> Workings:
        """What `kept` has kept."""
        if kept is None or len(kept) != _KEPT:
            raise ValueError(
                "a pickled trainer must be of this version of fastbp, got one of an older version: "
                "have that version save it with fastbp.save, whose files later versions load."
            )
        orders, runs, stopped_at, unfinished, states = kept
        runs = Runs.restored(network, orders, runs)
        return cls(orders, runs, stopped_at, unfinished, listening=Listening(states))


class Weighting(NamedTuple):
    """What becomes of samples before they are trained on."""

    classes: str | Sequence[float] | None
    """Factors of the classes, as `Options.class_weight`, by number."""
    kept: float
    shared: float
    clip: float
    """Of `kernels.Samples`."""

    def of(self, samples: kernels.Samples, *, whole: bool = True) -> kernels.Samples:
        """Samples weighted by class, and with smoothed targets; ``whole`` if they are all."""
        if self.classes is not None:
            samples = with_class_weight(samples, self.classes, whole=whole)
        if (self.kept, self.shared, self.clip) == (samples.kept, samples.shared, samples.clip):
            return samples
        return samples._replace(kept=self.kept, shared=self.shared, clip=self.clip)


def weighting(network: Network, options: Options, clip: float) -> Weighting:
    """What the options say of it now, for the classes that the network has now."""
    if isinstance(options.class_weight, dict) and network.classes is not None:
        options.class_weight = options.class_weight  # by number, now that classes have labels
    smoothing, weights = options.label_smoothing, options.class_weight
    if isinstance(weights, dict):
        raise ValueError(
            "class_weight must name class numbers where y holds them, got "
            f"{checks.shown(next(iter(weights)))}."
        )
    n_classes = network.sizes[-1] if network.loss_name == "cross_entropy" else 2
    return Weighting(weights, 1 - smoothing, smoothing / n_classes, clip)


def weighted(
    network: Network, samples: kernels.Samples, options: Options, clip: float
) -> kernels.Samples:
    """Samples as they are trained on; ``clip`` is that of `kernels.Samples`."""
    if options.class_weight is None and options.label_smoothing == clip == 0:
        return samples
    return weighting(network, options, clip).of(samples)


def warn_of_sizes(trainer: Trainer, samples: kernels.Samples, callers: int = 5) -> None:
    """Say once what to do about numbers that are far from unit size.

    The user's line is so many calls above.
    """
    hint = "" if trainer.knows_sizes else scale_hint(samples, trainer.network.loss_name)
    trainer.knows_sizes = True
    if hint:
        warnings.warn(hint, ScaleWarning, stacklevel=callers)


def check_rates(trainer: Trainer, epochs: int) -> None:
    """Refuse learning rates of the epochs to come that do not go with other options.

    What can be known about them is checked before the first one.
    """
    network, options = trainer.network, trainer.options
    rate, done = options.learning_rate, len(trainer.history)
    if isinstance(rate, schedules.BySample):
        raise ValueError(
            "learning_rate must be a number or a schedule of epochs for fit, got one of samples, "
            "which is for learn_one and partial_fit."
        )
    eta = schedules.highest_rate(rate, done, max(1, epochs), network.dtype)
    if eta is not None:
        options.check(eta)


class Asked(NamedTuple):
    """Arguments of `Trainer.fit`, besides X and y."""

    epochs: int
    eval_set: Any
    validation_split: float | None
    metrics: Any
    sample_weight: ArrayLike | None
    callbacks: Any
    progress: bool | None
    verbose: int | None


class Course(NamedTuple):
    """How a fit is to go, once that has been checked."""

    epochs: int
    watch: Watch
    listeners: tuple[Callback, ...]
    progress: bool | None


def checked(trainer: Trainer, asked: Asked, sets: Sequence[EvalSet] | None = None) -> Course:
    """How a fit is to go; ``sets`` are those of `Asked.eval_set`, unless they are given."""
    network = trainer.network
    epochs = checks.integer("epochs", asked.epochs, 0)
    check_rates(trainer, epochs)
    if asked.progress is not None:
        checks.flag("progress", asked.progress)
    if sets is None:
        sets = eval_sets(network, asked.eval_set)
    scores = scoring.scores(asked.metrics, network)
    watch = Watch(sets, scores, len(trainer.history) + epochs, verbosity(asked.verbose))
    listeners = listeners_of(asked.callbacks)
    for listener in listeners:
        listener.check(watch.columns(network))
    return Course(epochs, watch, listeners, asked.progress)


def prepared(trainer: Trainer, X: ArrayLike, y: ArrayLike, asked: Asked) -> RowsFit:
    """The fit that is asked for, checked before anything is done."""
    network, options = trainer.network, trainer.options
    samples = network.training_samples(X, y, asked.sample_weight)
    warn_of_sizes(trainer, samples)
    sets = None
    if asked.validation_split is not None:
        if asked.eval_set is not None:
            raise ValueError("validation_split must be None if there is an eval_set.")
        seed = trainer.workings.orders.split_seed
        samples, *sets = split_off(network, samples, y, asked.validation_split, seed)
    course = checked(trainer, asked, sets)
    return RowsFit(trainer, weighted(network, samples, options, trainer.clip), course)


class Fit(abc.ABC):
    """One fit of a trainer, without what it trains on.

    Parameters
    ----------
    trainer : Trainer
    course : Course
    """

    def __init__(self, trainer: Trainer, course: Course) -> None:
        self.trainer = trainer
        self.epochs, self.watch, self.listeners, self.progress = course
        self._network = trainer.network  # a callback may set another one, for the next fit
        self._workings, self._runs = trainer.workings, trainer.workings.runs
        self._turns, self._listening = trainer.workings.turns, trainer.workings.listening

    def run(self) -> None:
        """Train; whatever happens, call each callback's `on_end`, even if those of others fail."""
        self._workings.stopped_at = 0
        with contextlib.ExitStack() as endings:
            endings.callback(self._leave_callbacks, self._listening.listeners)
            self._begin_callbacks(endings)
            try:
                self._train(endings)
            except DivergenceError as error:
                outcomes = [each.on_divergence(self.trainer, error) for each in self.listeners]
                if not any(outcomes):
                    raise
                text = error.text(next(filter(None, outcomes)))
                warnings.warn(text, RuntimeWarning, stacklevel=7)

    def _begin_callbacks(self, endings: contextlib.ExitStack) -> None:
        trainer, listening = self.trainer, self._listening
        for listener in self.listeners:
            listener.epochs_seen = len(trainer.history)
            listener.on_begin(trainer)
            endings.callback(listener.on_end, trainer)
            listener.checked_every()
        listening.listeners = self.listeners
        states, listening.loaded = listening.loaded, []
        for listener in self.listeners:
            resume(listener, states, trainer)
        self._note_best()

    def _leave_callbacks(self, outer: tuple[Callback, ...]) -> None:
        """Go back to the callbacks of the outer fit, or keep those whose state is to be saved."""
        kept = tuple(each for each in self._listening.listeners if each.keeps_state)
        self._listening.listeners = outer if self._turns.is_nested else kept

    def _note_best(self) -> None:
        """Tell the history which epoch `EarlyStopping` takes for the best.

        Of several, the first one decides: callbacks end in reverse order, so it restores last.
        """
        stopping = [each for each in self.listeners if isinstance(each, EarlyStopping)]
        deciding = [each for each in stopping if each.restore_best] or stopping
        self.trainer.history.chosen_epoch = deciding[0].best_epoch if deciding else 0

    def _train(self, endings: contextlib.ExitStack) -> None:
        """All epochs, or until stopped."""
        this = None
        for k in range(self.epochs):
            if self._turns.stopped:
                break
            eta = self.trainer.learning_rate_of(self._network)  # once, as calls may differ
            options = self.trainer.options_of(self._network, eta)
            this = self._begun(eta, options, this)
            if this is None:
                break
            if k == 0:
                this.load()  # before the bar, which shows how fast it goes
                self.watch.load(self._network)
                bar = progress_bar(self.progress, self._n_in_all())
                self.watch.bar = endings.enter_context(bar)
            self._epoch(this, options.n_threads)
        if self._turns.stopped:
            self._workings.stopped_at = len(self.trainer.history)
            self.watch.stopped(self.trainer.history)

    @abc.abstractmethod
    def _n_in_all(self) -> int | None:
        """Samples of all epochs, if that is known."""

    @abc.abstractmethod
    def _begun(self, eta: float, options: Options, last: Pass | None) -> Pass | None:
        """The pass of the next epoch; None if there is nothing left to train on."""

    @abc.abstractmethod
    def _chunks(self, this: Pass) -> Generator[int]:
        """Train on the samples of an epoch, and yield the length of each chunk."""

    def _epoch(self, this: Pass, n_threads: int | None) -> None:
        """Train for an epoch, or until stopped; evaluate, record, and tell the callbacks."""
        trainer, history = self.trainer, self.trainer.history
        self.watch.begin(history)
        with contextlib.closing(self._chunks(this)) as chunks:
            for chunk, done in enumerate(chunks, start=1):
                if self.watch.bar is not None:
                    self.watch.bar.update(done)
                for listener in self.listeners:
                    if chunk % listener.checked_every() == 0:
                        listener.on_chunk(trainer, this.done, this.loss)
                if self.listeners:  # they may have changed the parameters
                    self._network.parameters.check_finite()
                this.stops = self._turns.stopped
        self._runs.end(this)
        row = {
            "train_loss": this.loss,
            "learning_rate": this.eta,
            "samples_per_second": this.done / this.seconds,
            "seconds": this.seconds,
            "method": this.run.way.method,
        }
        history.append(row | self.watch.measured(self._network, n_threads))
        self._workings.unfinished = WHOLE
        self.watch.end(history)
        for listener in self.listeners:
            listener.on_epoch(trainer)
            listener.epochs_seen = len(trainer.history)
            self._note_best()  # for the callbacks after it, which may save the trainer


class RowsFit(Fit):
    """A fit of a trainer to rows in memory.

    Parameters
    ----------
    trainer : Trainer
    samples : kernels.Samples
        To train on.
    course : Course
    """

    def __init__(self, trainer: Trainer, samples: kernels.Samples, course: Course) -> None:
        super().__init__(trainer, course)
        self._samples = samples

    def _n_in_all(self) -> int | None:
        return self.epochs * self._samples.inputs.n

    def _begun(self, eta: float, options: Options, last: Pass | None) -> Pass | None:
        self._workings.unfinished = WHOLE
        n, shuffle = self._samples.inputs.n, self.trainer.options_of(self._network).shuffle
        order = self._workings.orders.of(n, shuffle)
        return self._runs.begin(self._network, self._samples, order, eta, options, last)

    def _chunks(self, this: Pass) -> Generator[int]:
        return this.chunks(len(self.trainer.history) + 1)
