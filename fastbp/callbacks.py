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
from typing import TYPE_CHECKING

import numpy as np

from fastbp import validation
from fastbp.validation import FloatArray

if TYPE_CHECKING:
    from fastbp.trainer import Trainer

# What can be watched, and whether more of it is better.
MONITORS = {"train_loss": False, "eval_loss": False, "accuracy": True}


class Callback:
    """Does nothing at four points of a fit; override what is needed.

    Options of the trainer that a callback sets, such as `Trainer.learning_rate`, hold from the
    next epoch on; ``network``, ``class_weight`` and ``label_smoothing`` from the next fit.
    """

    every = 1
    """Chunks between calls of `on_chunk`. A chunk takes about 50 ms."""

    monitor: str = ""
    """Column of the history that is watched, if any."""

    def check(self, evaluates: bool, classifies: bool) -> None:
        """Refuse a fit, before it begins, that does not give what is watched."""
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

    def on_chunk(self, trainer: Trainer, samples: int, loss: float) -> None:
        """After so many samples of this epoch, with that mean loss.

        A trainer that is saved here goes on with a new epoch when it is loaded; one that is saved
        after an epoch goes on bit for bit.
        """

    def on_epoch(self, trainer: Trainer) -> None:
        """After an epoch, whose row in `Trainer.history` is the last."""

    def on_end(self, trainer: Trainer) -> None:
        """At the end of a fit, even if an exception brought it about."""


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

    Attributes
    ----------
    best : float
        Best value of the last fit.
    best_epoch : int
        Its epoch, from 1, as in the history; 0 before the first.
    """

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
        self.best = -math.inf if MONITORS[self.monitor] else math.inf
        self.best_epoch = 0
        self._best_params = None
        self._network = trainer.network
        self._since = 0

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the best."""
        value = watched(trainer, self.monitor)
        gain = value - self.best if MONITORS[self.monitor] else self.best - value
        self._since += 1
        if gain > self.min_delta:
            self.best, self.best_epoch, self._since = value, len(trainer.history), 0
            if self.restore_best:
                self._best_params = self._network.params.copy()
        if self._since >= self.patience:
            trainer.stop()

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

    def __init__(self, monitor: str, value: float) -> None:
        self.monitor = validation.choice("monitor", monitor, MONITORS)
        self.value = validation.finite("value", value)

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the target."""
        value = watched(trainer, self.monitor)
        if value >= self.value if MONITORS[self.monitor] else value <= self.value:
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
        An improvement is more than this share of the best value.
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    minimum : float, default 0.0
        Lowest learning rate.
    """

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
        self._best = -math.inf if MONITORS[self.monitor] else math.inf
        self._bad = self._cooling = 0

    def on_begin(self, trainer: Trainer) -> None:
        """Refuse a schedule."""
        if callable(trainer.learning_rate):
            raise ValueError(
                "learning_rate must be a number for ReduceOnPlateau to lower it, got the schedule "
                f"{trainer.learning_rate!r}."
            )

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the best, and lower the rate when it is time."""
        value = watched(trainer, self.monitor)
        if MONITORS[self.monitor]:
            improved = value > self._best * (1 + self.threshold)
        else:
            improved = value < self._best * (1 - self.threshold)
        if improved:
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
