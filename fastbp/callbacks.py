"""Callbacks: what is done between chunks and epochs of training.

>>> import fastbp
>>> network = fastbp.Network((2, 8, 2), seed=0)
>>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
>>> trainer = fastbp.Trainer(network, learning_rate=0.1, seed=0)
>>> stops = [fastbp.callbacks.Target("train_loss", 0.1), fastbp.callbacks.TimeLimit(60)]
>>> len(trainer.fit(X, y, epochs=10_000, callbacks=stops)) < 10_000
True

A plain function of the trainer is called after every epoch. For anything else, derive from
`Callback`. `Trainer.stop` ends the fit; an exception ends it too, and leaves the network as the
last chunk made it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import validation
from fastbp.validation import FloatArray

if TYPE_CHECKING:
    from fastbp.divergence import DivergenceError
    from fastbp.trainer import Trainer

# What can be watched, and whether more of it is better.
MONITORS = {"train_loss": False, "eval_loss": False, "accuracy": True}


def worst(monitor: str) -> float:
    """The value that every number improves on."""
    return -math.inf if MONITORS[monitor] else math.inf


def improves(monitor: str, value: float, best: float, least: float = 0.0) -> bool:
    """Whether ``value`` is better than ``best`` by more than ``least``.

    Every number is better than NaN, and NaN is never better.
    """
    if math.isnan(value) or math.isnan(best):
        return not math.isnan(value)
    gain = value - best if MONITORS[monitor] else best - value
    return gain > least  # false for two equal infinities, whose difference is NaN


class Callback:
    """Does nothing at some points of a fit; override what is needed.

    Options of the trainer that a callback sets, such as `Trainer.learning_rate`, hold from the
    next epoch on; ``network``, ``class_weight`` and ``label_smoothing`` from the next fit.
    """

    every: int = 1
    """Chunks between calls of `on_chunk`. A chunk takes about 50 ms."""

    monitor: str = ""
    """Column of the history that is watched, if any."""

    settings: tuple[str, ...] = ()
    """Attributes that say what it is to do."""

    state: tuple[str, ...] = ()
    """Attributes that are saved with a trainer during a fit: values that JSON can hold, or vectors
    laid out as `Network.params`. After `fastbp.load`, the next fit gives them to its callback of
    the same class and settings, which then goes on where it was."""

    keeps_state: bool = False
    """Whether the state is saved with a trainer after a fit, too."""

    epochs_seen: int = 0
    """Length of the history at the last call of `on_epoch`, or else at the start of the fit."""

    def described(self) -> str:
        """Its class and settings."""
        settings = (f"{name}={getattr(self, name)!r}" for name in self.settings)
        return f"{type(self).__qualname__}({', '.join(settings)})"

    def __repr__(self) -> str:
        return self.described()

    def checked_every(self) -> int:
        """`every`, which may be set anew at any time."""
        return validation.integer(f"{type(self).__name__}.every", self.every, 1)

    def check(self, evaluates: bool, classifies: bool) -> None:
        """Refuse a fit that does not produce what is watched, before it begins."""
        if self.monitor in ("eval_loss", "accuracy") and not evaluates:
            raise ValueError(
                f"monitor={self.monitor!r} needs an eval_set in fit; without one, watch train_loss."
            )
        if self.monitor == "accuracy" and not classifies:
            raise ValueError(
                "monitor='accuracy' needs a classifier; of a regression, eval_loss and train_loss "
                "can be watched."
            )

    def on_begin(self, trainer: Trainer) -> None:
        """Begin a fit."""

    def on_resume(self, trainer: Trainer) -> None:
        """After `on_begin`, if `state` was restored from a saved trainer."""

    def on_chunk(self, trainer: Trainer, samples: int, loss: float) -> None:
        """After so many samples of this epoch, with that mean loss.

        A trainer that is saved here goes on with a new epoch when it is loaded; one that is saved
        after an epoch goes on bit for bit.
        """

    def on_epoch(self, trainer: Trainer) -> None:
        """After an epoch, whose row in `Trainer.history` is the last."""

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> str:
        """When training has diverged: say what `on_end` will do about it, or return "".

        The fit then ends with a RuntimeWarning that says so; if all return "", it raises the error.
        """
        return ""

    def on_end(self, trainer: Trainer) -> None:
        """At the end of a fit, even if an exception brought it about."""


class CallbackState(NamedTuple):
    """What a saved trainer keeps of a callback; see `Callback.state`."""

    callback: str
    """Its class and settings."""
    epochs_seen: int
    values: dict[str, Any]
    """Those of the attributes."""


def _identity(callback: Callback) -> str:
    return f"{type(callback).__module__}.{callback.described()}"


def state_of(callback: Callback) -> CallbackState | None:
    """The state of a callback that is to be saved; None if it has none."""
    if not callback.state:
        return None
    values = {name: _own(getattr(callback, name)) for name in callback.state}
    return CallbackState(_identity(callback), callback.epochs_seen, values)


def _own(value: Any) -> Any:
    """The value, which later changes do not reach: arrays are copied, NumPy's scalars plain."""
    if isinstance(value, np.generic):
        return value.item()
    return value.copy() if isinstance(value, np.ndarray) else value


def resume(callback: Callback, states: list[CallbackState], trainer: Trainer) -> None:
    """Have a callback go on from the first state of its class and settings, which is taken out.

    If the trainer was saved before this callback had seen the last epoch, it sees that now.
    """
    for kept in states if callback.state else ():
        if kept.callback == _identity(callback) and kept.values.keys() == set(callback.state):
            states.remove(kept)
            for name, value in kept.values.items():
                setattr(callback, name, value)
            callback.on_resume(trainer)
            if kept.epochs_seen < len(trainer.history):
                callback.on_epoch(trainer)
            return


class _EveryEpoch(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Trainer], Any]) -> None:
        self.function = function

    def on_epoch(self, trainer: Trainer) -> None:
        """Call it."""
        self.function(trainer)


# Methods that a fit calls, with the names of their arguments.
_POINTS = {
    "check": ("evaluates", "classifies"),
    "on_begin": ("trainer",),
    "on_resume": ("trainer",),
    "on_chunk": ("trainer", "samples", "loss"),
    "on_epoch": ("trainer",),
    "on_divergence": ("trainer", "error"),
    "on_end": ("trainer",),
}


def listeners_of(callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks as `Trainer.fit` takes them, once each is known to take the calls of a fit."""
    listeners: list[Callback] = []
    for callback in tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,):
        if isinstance(callback, Callback):
            name = type(callback).__name__
            callback.checked_every()
            for point, given in _POINTS.items():
                method = getattr(callback, point)
                if getattr(method, "__func__", None) is not getattr(Callback, point):
                    validation.takes(f"{name}.{point}", method, given)
            listeners.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            validation.takes("a function in callbacks", callback, ("trainer",))
            listeners.append(_EveryEpoch(callback))
        else:
            raise ValueError(
                "callbacks must be instances of fastbp.callbacks.Callback, or functions of the "
                f"trainer; got {validation.shown(callback)}."
            )
    return tuple(listeners)


def watched(trainer: Trainer, monitor: str) -> float:
    """Last value of a column of the history."""
    return float(getattr(trainer.history, monitor)[-1])


class EarlyStopping(Callback):
    """Stop when what is watched has not improved for some epochs.

    Parameters
    ----------
    monitor : {"eval_loss", "train_loss", "accuracy"}, default "eval_loss"
    patience : int, default 10
        Epochs without improvement after which to stop.
    min_delta : float, default 0.0
        An improvement is more than this.
    restore_best : bool, default True
        At the end of the fit, however it comes, give the network the parameters of the best epoch.
        A fit that diverges after such an epoch then ends with a warning instead of an error.

    Attributes
    ----------
    best : float
        Best value of the last fit.
    best_epoch : int
        Its epoch, from 1, as in the history; 0 before the first.
    """

    settings = ("monitor", "patience", "min_delta", "restore_best")
    state = ("best", "best_epoch", "_since", "_best_params")

    def __init__(
        self,
        monitor: str = "eval_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.monitor = validation.choice("monitor", monitor, MONITORS)
        self.patience = validation.integer("patience", patience, 1)
        self.min_delta = validation.rate("min_delta", min_delta, np.dtype(np.float64), zero=True)
        self.restore_best = validation.flag("restore_best", restore_best)
        self.best = math.nan
        self.best_epoch = 0
        self._best_params: FloatArray | None = None

    def on_begin(self, trainer: Trainer) -> None:
        """Forget earlier fits."""
        self.best = worst(self.monitor)
        self.best_epoch = 0
        self._best_params = None
        self._network = trainer.network
        self._since = 0

    def on_resume(self, trainer: Trainer) -> None:
        """Stop at once, if the saved fit was about to stop."""
        self._stop_in_time(trainer)

    def _stop_in_time(self, trainer: Trainer) -> None:
        if self._since >= self.patience:
            trainer.stop()

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the best."""
        value = watched(trainer, self.monitor)
        self._since += 1
        if improves(self.monitor, value, self.best, self.min_delta):
            self.best, self.best_epoch, self._since = value, len(trainer.history), 0
            if self.restore_best:
                self._best_params = self._network.params.copy()
        self._stop_in_time(trainer)

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> str:
        """Be content with the best epoch, if there is one to restore."""
        return (
            "" if self._best_params is None else f"takes those of its best epoch, {self.best_epoch}"
        )

    def on_end(self, trainer: Trainer) -> None:
        """Restore the best parameters."""
        if self._best_params is not None:
            self._network.params[:] = self._best_params
            self._best_params = None


class TimeLimit(Callback):
    """Stop after so many seconds, in the middle of an epoch if need be.

    Parameters
    ----------
    seconds : float
        From the beginning of the fit, evaluation and all.
    """

    settings = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = validation.rate("seconds", seconds, np.dtype(np.float64))

    def on_begin(self, trainer: Trainer) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.seconds

    def on_chunk(self, trainer: Trainer, samples: int, loss: float) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            trainer.stop()

    def on_epoch(self, trainer: Trainer) -> None:
        """Look at the clock, for evaluation takes time as well."""
        self.on_chunk(trainer, 0, 0.0)


class Target(Callback):
    """Stop after the first epoch that is good enough.

    Parameters
    ----------
    monitor : {"eval_loss", "train_loss", "accuracy"}
    value : float
        A loss of at most this, or an accuracy of at least this.
    """

    settings = ("monitor", "value")
    state = ("_reached",)

    def __init__(self, monitor: str, value: float) -> None:
        self.monitor = validation.choice("monitor", monitor, MONITORS)
        self.value = validation.finite("value", value)
        self._reached = False

    def on_begin(self, trainer: Trainer) -> None:
        """Forget earlier fits."""
        self._reached = False

    def on_resume(self, trainer: Trainer) -> None:
        """Stop at once, if the fit that was saved was about to."""
        if self._reached:
            trainer.stop()

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the target."""
        value = watched(trainer, self.monitor)
        self._reached = value == self.value or improves(self.monitor, value, self.value)
        if self._reached:
            trainer.stop()


class ReduceOnPlateau(Callback):
    """Lower the learning rate when what is watched has stopped improving.

    As ``torch.optim.lr_scheduler.ReduceLROnPlateau``. It goes on from fit to fit, and each
    trainer needs its own.

    Parameters
    ----------
    monitor : {"eval_loss", "train_loss", "accuracy"}, default "eval_loss"
    factor : float, default 0.1
        By which `Trainer.learning_rate`, a number, is multiplied.
    patience : int, default 10
        Epochs without improvement that are tolerated; the one after them lowers the rate.
    threshold : float, default 1e-4
        An improvement is more than this share of the best value's size, which may be negative.
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    minimum : float, default 0.0
        Lowest learning rate.
    """

    settings = ("monitor", "factor", "patience", "threshold", "cooldown", "minimum")
    state = ("_best", "_bad", "_cooling")
    keeps_state = True

    # A smaller change of the rate is not made.
    _EPS = 1e-8

    def __init__(
        self,
        monitor: str = "eval_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        self.monitor = validation.choice("monitor", monitor, MONITORS)
        self.factor = validation.share("factor", factor, zero=False)
        self.patience = validation.integer("patience", patience, 0)
        self.threshold = validation.share("threshold", threshold)
        self.cooldown = validation.integer("cooldown", cooldown, 0)
        self.minimum = validation.rate("minimum", minimum, np.dtype(np.float64), zero=True)
        self._best = worst(self.monitor)
        self._bad = self._cooling = 0

    def on_begin(self, trainer: Trainer) -> None:
        """Refuse a schedule."""
        if callable(trainer.learning_rate):
            raise ValueError(
                "learning_rate must be a number for ReduceOnPlateau to lower it, got the schedule "
                f"{validation.shown(trainer.learning_rate)}."
            )

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the best, and lower the rate when it is time."""
        value = watched(trainer, self.monitor)
        least = self.threshold * abs(self._best) if math.isfinite(self._best) else 0.0
        if improves(self.monitor, value, self._best, least):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._bad = 0
        if self._bad > self.patience:
            old = trainer.current_learning_rate
            new = max(old * self.factor, self.minimum)
            if old - new > self._EPS:
                trainer.learning_rate = new
            self._cooling, self._bad = self.cooldown, 0
