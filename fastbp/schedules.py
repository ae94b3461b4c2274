"""Learning-rate schedules: functions of the epoch, counted from 0, for `Trainer.learning_rate`.

>>> import fastbp
>>> network = fastbp.Network((64, 64, 10), seed=0)
>>> schedule = fastbp.schedules.Cosine(0.1, epochs=20, warmup=2)
>>> trainer = fastbp.Trainer(network, learning_rate=schedule)
>>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 12, 22)]
[0.033, 0.067, 0.1, 0.05, 0.0]

A number is a constant schedule, and any other function of the epoch works, too; only the classes
below can be saved with a trainer. A rate that depends on how training goes is set by a callback:
`fastbp.callbacks.ReduceOnPlateau`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks, settings


@dataclass(frozen=True)
class Schedule(settings.Settings):
    """What all schedules have.

    Parameters
    ----------
    learning_rate : float
        η of the first epoch; in `OneCycle`, and in `Cosine` with ``warmup``, the highest η.
    """

    learning_rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self) is Schedule:
            raise ValueError(
                "Schedule is the base class of all schedules and gives no rate: use one of "
                f"{', '.join(SCHEDULES)}, or derive a class of your own."
            )
        checks.rate("learning_rate", self.learning_rate, np.dtype(np.float64))

    def __call__(self, epoch: int) -> float:
        """η of an epoch; ValueError if it overflows."""
        return _checked(self, self._unchecked, epoch, np.dtype(np.float64))

    def _rate(self, epoch: int) -> float:
        raise NotImplementedError

    def _unchecked(self, epoch: int) -> float:
        try:
            return self._rate(epoch)
        except OverflowError:  # raised by powers of floats
            return math.inf


@dataclass(frozen=True)
class Step(Schedule):
    """η γ^⌊epoch / step_size⌋, as ``torch.optim.lr_scheduler.StepLR``.

    Parameters
    ----------
    learning_rate : float
    step_size : int
        Epochs between steps.
    gamma : float, default 0.1
        γ.
    """

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("step_size", self.step_size, 1)
        # A greater factor than float32 can hold is of no use to any network.
        checks.rate("gamma", self.gamma, np.dtype(np.float32))

    def _rate(self, epoch: int) -> float:
        return self.learning_rate * self.gamma ** (epoch // self.step_size)


@dataclass(frozen=True)
class Exponential(Schedule):
    """η γ^epoch, as ``torch.optim.lr_scheduler.ExponentialLR``.

    Parameters
    ----------
    learning_rate : float
    gamma : float
        γ.
    """

    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        # A greater factor than float32 can hold is of no use to any network.
        checks.rate("gamma", self.gamma, np.dtype(np.float32))

    def _rate(self, epoch: int) -> float:
        return self.learning_rate * self.gamma**epoch


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """η / (epoch + 1)^power.

    Parameters
    ----------
    learning_rate : float
    power : float, default 0.5
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.rate("power", self.power, np.dtype(np.float64))

    def _rate(self, epoch: int) -> float:
        return self.learning_rate * math.pow(epoch + 1, -self.power)


def _half_cosine(start: float, end: float, share: float) -> float:
    """From ``start`` to ``end`` along half a period of the cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from η down to ``minimum``, where it stays; or restarts again and again.

    Loshchilov & Hutter, "SGDR", ICLR 2017, arXiv:1608.03983; after ``warmup``, and with
    ``restarts``, as ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    Parameters
    ----------
    learning_rate : float
    epochs : int
        Of the first descent.
    minimum : float, default 0.0
    warmup : int, default 0
        Epochs before it in which η grows linearly, from η / (warmup + 1). Restarts do not repeat
        them.
    restarts : bool, default False
        Start again from η in the epoch that would reach ``minimum``, which is then never used.
    multiplier : int, default 1
        Factor by which each descent is longer than the one before it.
    """

    epochs: int
    minimum: float = 0.0
    warmup: int = 0
    restarts: bool = False
    multiplier: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("epochs", self.epochs, 1)
        checks.rate("minimum", self.minimum, np.dtype(np.float64), zero=True)
        checks.integer("warmup", self.warmup, 0)
        checks.flag("restarts", self.restarts)
        checks.integer("multiplier", self.multiplier, 1)
        if self.multiplier > 1 and not self.restarts:
            raise ValueError(
                f"multiplier must be 1 without restarts, got {self.multiplier}; set restarts=True."
            )

    def _rate(self, epoch: int) -> float:
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / (self.warmup + 1)
        epoch -= self.warmup
        length = self.epochs
        if self.restarts and self.multiplier == 1:
            epoch %= length
        while self.restarts and epoch >= length:
            epoch -= length
            length *= self.multiplier
        return _half_cosine(self.learning_rate, self.minimum, min(1.0, epoch / length))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From a small η up to the highest, then down almost to 0, each by half a cosine.

    Smith & Topin 2017, arXiv:1708.07120; as ``torch.optim.lr_scheduler.OneCycleLR`` with a step
    per epoch, but without its cycle of momentum. Epochs after the last stay at its η.

    Parameters
    ----------
    learning_rate : float
        The highest η.
    epochs : int
        Of the whole cycle.
    rise : float, default 0.3
        Share of the epochs on the way up.
    divisor : float, default 25.0
        The first η is the highest divided by this.
    final_divisor : float, default 1e4
        The last η is the first divided by this.
    """

    epochs: int
    rise: float = 0.3
    divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("epochs", self.epochs, 1)
        checks.share("rise", self.rise, one=True)
        checks.rate("divisor", self.divisor, np.dtype(np.float64))
        checks.rate("final_divisor", self.final_divisor, np.dtype(np.float64))

    def _rate(self, epoch: int) -> float:
        top = self.rise * self.epochs - 1
        first = self.learning_rate / self.divisor
        if epoch < top:
            return _half_cosine(first, self.learning_rate, epoch / top)
        share = (epoch - top) / (self.epochs - 1 - top) if self.epochs - 1 > top else 0.0
        return _half_cosine(self.learning_rate, first / self.final_divisor, min(1.0, share))


@dataclass(frozen=True)
class BySample:
    """A schedule by samples in place of epochs, for `Trainer.learn_one` and `Trainer.partial_fit`.

    All rows of one `Trainer.partial_fit` have the rate of the first.

    Parameters
    ----------
    schedule : Schedule or callable
        Gives η for a number, counted from 0.
    every : int, default 1
        That number goes up by one after so many samples.

    Examples
    --------
    >>> import fastbp
    >>> schedule = BySample(InverseScaling(0.1), every=100)
    >>> trainer = fastbp.Trainer(fastbp.Network((4, 3), seed=0), learning_rate=schedule)
    """

    schedule: Callable[[int], float]
    every: int = 1

    def __post_init__(self) -> None:
        if not callable(self.schedule) or isinstance(self.schedule, (type, BySample)):
            raise ValueError(
                "schedule must be one of fastbp.schedules, or a function that gives a rate, got "
                f"{checks.shown(self.schedule)}."
            )
        object.__setattr__(self, "every", checks.integer("every", self.every, 1))

    def __call__(self, samples: int) -> float:
        """η after so many samples."""
        return self.schedule(samples // self.every)


SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (Step, Exponential, InverseScaling, Cosine, OneCycle)
}


def describe(learning_rate: Any) -> Any:
    """The number, or the schedule as a JSON object, for `restore`."""
    if not callable(learning_rate):
        return learning_rate
    if isinstance(learning_rate, BySample):
        inner = describe(learning_rate.schedule)
        return {"name": "BySample", "schedule": inner, "every": learning_rate.every}
    description = settings.describe(learning_rate, SCHEDULES)
    if description is None:
        raise ValueError(
            "learning_rate must be a number or one of fastbp.schedules to be saved, got "
            f"{checks.shown(learning_rate)}; set trainer.learning_rate to one of them first."
        )
    return description


def restore(description: Any) -> Any:
    """The number or schedule that `describe` has described."""
    if not isinstance(description, dict):
        return description
    if description.get("name") == "BySample":
        return BySample(restore(description.get("schedule")), description.get("every", 1))
    return settings.restore("learning_rate", description, SCHEDULES)


def rate_at(learning_rate: Any, epoch: int, kind: np.dtype[Any]) -> float:
    """η of an epoch, from the number, schedule or function that the trainer was given."""
    if not callable(learning_rate) or isinstance(learning_rate, type):
        return checks.rate("learning_rate", learning_rate, kind)
    return _checked(learning_rate, learning_rate, epoch, kind)


def current(rate: Any, history: Sized, stream: Any, kind: np.dtype[Any]) -> float:
    """η now, by a schedule or function, from a trainer's epochs or its stream."""
    at = stream.samples if isinstance(rate, BySample) else len(history)
    return rate_at(rate, at, kind)


def _checked(
    schedule: Any, function: Callable[[int], Any], epoch: int, kind: np.dtype[Any]
) -> float:
    """What a function gives for an epoch, or 0 where that underflows in the network's dtype."""
    try:
        given = function(epoch)
    except OverflowError:
        given = math.inf
    try:
        number = checks.rate("", given, np.dtype(np.float64), zero=True)
        with np.errstate(under="ignore", over="ignore"):
            number = number if kind.type(number) != 0 else 0.0
        return checks.rate("", number, kind, zero=True)
    except ValueError:
        raise ValueError(
            f"learning_rate({epoch}) must be a finite {kind} number of at least 0, got "
            f"{checks.shown(given)} in epoch {epoch}, counted from 0, from the schedule "
            f"{checks.shown(schedule)}."
        ) from None


# The rates of so many epochs, and of the last, are checked before a fit, which takes milliseconds.
_AHEAD = 10_000


def highest_rate(learning_rate: Any, first: int, epochs: int, kind: np.dtype[Any]) -> float | None:
    """Highest η of the epochs to come; None for a user's function, whose calls may have effects.

    A rate that overflows is refused, before training begins.
    """
    if type(learning_rate) not in SCHEDULES.values():
        return None
    last = first + epochs - 1
    ahead = (*range(first, min(last, first + _AHEAD)), last)
    return rate_at(learning_rate, max(ahead, key=learning_rate._unchecked), kind)
