"""Callbacks that set the learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp import checks
from fastbp.callbacks.monitors import Watching

if TYPE_CHECKING:
    from fastbp.trainer import Trainer


class ReduceOnPlateau(Watching):
    """Lower the learning rate when what is watched has stopped improving.

    As ``torch.optim.lr_scheduler.ReduceLROnPlateau``. It goes on from fit to fit, and each
    trainer needs its own.

    Parameters
    ----------
    monitor : str, default "eval_loss"
        Column of the history: a loss, or a metric by its name.
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
    mode : {"min", "max"}, optional
        Whether less or more is better, for a function as a metric.
    """

    settings = ("monitor", "factor", "patience", "threshold", "cooldown", "minimum", "mode")
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
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.factor = checks.share("factor", factor, zero=False)
        self.patience = checks.integer("patience", patience, 0)
        self.threshold = checks.share("threshold", threshold)
        self.cooldown = checks.integer("cooldown", cooldown, 0)
        self.minimum = checks.rate("minimum", minimum, np.dtype(np.float64), zero=True)
        self._best = self.worst
        self._bad = self._cooling = 0

    def on_begin(self, trainer: Trainer) -> None:
        """Refuse a schedule."""
        if callable(trainer.learning_rate):
            raise ValueError(
                "learning_rate must be a number for ReduceOnPlateau to lower it, got the schedule "
                f"{checks.shown(trainer.learning_rate)}."
            )

    def on_epoch(self, trainer: Trainer) -> None:
        """Compare with the best, and lower the rate when it is time."""
        value = self.watched(trainer)
        least = self.threshold * abs(self._best) if math.isfinite(self._best) else 0.0
        if self.improves(value, self._best, least):
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
