"""Callbacks that end a fit."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from fastbp import checks
from fastbp.callbacks.base import Callback
from fastbp.callbacks.monitors import Watching
from fastbp.samples import FloatArray

if TYPE_CHECKING:
    from fastbp.divergence import DivergenceError
    from fastbp.trainer import Trainer


class EarlyStopping(Watching):
    """Stop when what is watched has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "eval_loss"
        Column of the history: a loss, or a metric by its name.
    patience : int, default 10
        Epochs without improvement after which to stop.
    min_delta : float, default 0.0
        An improvement is more than this.
    restore_best : bool, default True
        At the end of the fit, however it comes, give the network the parameters of the best epoch.
        A fit that diverges after such an epoch then ends with a warning instead of an error.
    mode : {"min", "max"}, optional
        Whether less or more is better, for a function as a metric.

    Attributes
    ----------
    best : float
        Best value of the last fit.
    best_epoch : int
        Its epoch, from 1, as in the history; 0 before the first.
    """

    settings = ("monitor", "patience", "min_delta", "restore_best", "mode")
    state = ("best", "best_epoch", "_since", "_best_params")

    def __init__(
        self,
        monitor: str = "eval_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.patience = checks.integer("patience", patience, 1)
        self.min_delta = checks.rate("min_delta", min_delta, np.dtype(np.float64), zero=True)
        self.restore_best = checks.flag("restore_best", restore_best)
        self.best = math.nan
        self.best_epoch = 0
        self._best_params: FloatArray | None = None

    @property
    def restores(self) -> bool:
        """Whether the fit will end with the parameters of another epoch."""
        return self._best_params is not None

    def on_begin(self, trainer: Trainer) -> None:
        """Forget earlier fits."""
        self.best = self.worst
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
        value = self.watched(trainer)
        self._since += 1
        if self.improves(value, self.best, self.min_delta):
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
        self.seconds = checks.rate("seconds", seconds, np.dtype(np.float64))

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


class Target(Watching):
    """Stop after the first epoch that is good enough.

    Parameters
    ----------
    monitor : str
        Column of the history: a loss, or a metric by its name.
    value : float
        A loss of at most this, or an accuracy of at least this.
    mode : {"min", "max"}, optional
        Whether less or more is better, for a function as a metric.
    """

    settings = ("monitor", "value", "mode")
    state = ("_reached",)

    def __init__(self, monitor: str, value: float, *, mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        self.value = checks.finite("value", value)
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
        value = self.watched(trainer)
        self._reached = value == self.value or self.improves(value, self.value)
        if self._reached:
            trainer.stop()
