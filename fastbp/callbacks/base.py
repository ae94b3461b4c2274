"""What a callback is, and what a saved trainer keeps of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import checks

if TYPE_CHECKING:
    from fastbp.divergence import DivergenceError
    from fastbp.trainer import Trainer


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
    """Attributes that say what it is to do, named as the arguments that set them. One that is None
    or empty is not shown."""

    state: tuple[str, ...] = ()
    """Attributes that are saved with a trainer during a fit: values that JSON can hold, or vectors
    laid out as `Network.params`. After `fastbp.load`, the next fit gives them to its callback of
    the same class and settings, which then goes on where it was."""

    keeps_state: bool = False
    """Whether the state is saved with a trainer after a fit, too."""

    comes_last: bool = False
    """Whether it is called after the callbacks that stand behind it in the list, so that what it
    saves of a trainer has their part of the epoch in it."""

    epochs_seen: int = 0
    """Length of the history at the last call of `on_epoch`, or else at the start of the fit."""

    def described(self) -> str:
        """Its class and settings."""
        given = ((name, getattr(self, name)) for name in self.settings)
        settings = (f"{name}={value!r}" for name, value in given if value not in (None, ""))
        return f"{type(self).__qualname__}({', '.join(settings)})"

    def __repr__(self) -> str:
        return self.described()

    def checked_every(self) -> int:
        """``every``, which may be set anew at any time."""
        return checks.integer(f"{type(self).__name__}.every", self.every, 1)

    def check(self, columns: Iterable[str]) -> None:
        """Refuse a fit that does not produce what is watched, before it begins.

        ``columns`` are those of the history that it will fill with numbers.
        """
        columns = tuple(columns)
        if not self.monitor or self.monitor in columns:
            return
        if "eval_loss" not in columns:
            raise ValueError(
                f"monitor={self.monitor!r} needs an eval_set in fit, or a validation_split; "
                f"without one, watch train_loss."
            )
        if self.monitor == "accuracy":
            raise ValueError(
                "monitor='accuracy' needs a classifier; of a regression, "
                f"{', '.join(columns)} can be watched."
            )
        raise ValueError(
            f"monitor={self.monitor!r} is no column of numbers that this fit adds to the history"
            f"{checks.nearest(self.monitor, columns)}; they are {', '.join(columns)}, and "
            "metrics=... in fit adds more."
        )

    def on_begin(self, trainer: Trainer) -> None:
        """Begin a fit.

        Parameters
        ----------
        trainer : Trainer
            Which is training.
        """

    def on_resume(self, trainer: Trainer) -> None:
        """After `on_begin`, if `state` was restored from a saved trainer."""

    def on_chunk(self, trainer: Trainer, samples: int, loss: float) -> None:
        """After a chunk of work, about every 50 ms.

        A trainer that is saved here goes on with a new epoch when it is loaded; one that is saved
        after an epoch goes on bit for bit.

        Parameters
        ----------
        trainer : Trainer
            Which is training.
        samples : int
            Of this epoch so far.
        loss : float
            Their mean loss.
        """

    def on_epoch(self, trainer: Trainer) -> None:
        """After an epoch, whose row in `Trainer.history` is the last.

        Parameters
        ----------
        trainer : Trainer
            Which is training.
        """

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> str:
        """When training has diverged: say what `on_end` will do about it, or return "".

        The fit then ends with a RuntimeWarning that says so; if all return "", it raises the error.

        Parameters
        ----------
        trainer : Trainer
            Which is training.
        error : DivergenceError
            What the fit would raise.

        Returns
        -------
        str
            A sentence for the warning, or nothing.
        """
        return ""

    def on_end(self, trainer: Trainer) -> None:
        """At the end of a fit, even if an exception brought it about.

        Parameters
        ----------
        trainer : Trainer
            Which is training.
        """


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
    "check": ("columns",),
    "on_begin": ("trainer",),
    "on_resume": ("trainer",),
    "on_chunk": ("trainer", "samples", "loss"),
    "on_epoch": ("trainer",),
    "on_divergence": ("trainer", "error"),
    "on_end": ("trainer",),
}


# Classes whose methods are known to take the calls of a fit: it takes some 10 µs each to find out.
_checked: weakref.WeakSet[type] = weakref.WeakSet()


def _check_points(callback: Callback) -> None:
    """Refuse a callback with a method that does not take the calls of a fit."""
    kind = type(callback)
    for point, given in _POINTS.items():
        if point in vars(callback) or (
            kind not in _checked and getattr(kind, point) is not getattr(Callback, point)
        ):
            checks.takes(f"{kind.__name__}.{point}", getattr(callback, point), given)
    _checked.add(kind)


def listeners_of(callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks as `Trainer.fit` takes them, once each is known to take the calls of a fit.

    They are in the order of the calls.
    """
    listeners: list[Callback] = []
    for callback in tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,):
        if isinstance(callback, Callback):
            callback.checked_every()
            _check_points(callback)
            listeners.append(callback)
        elif callable(callback) and not isinstance(callback, type):
            checks.takes("a function in callbacks", callback, ("trainer",))
            listeners.append(_EveryEpoch(callback))
        else:
            raise ValueError(
                "callbacks must be instances of fastbp.callbacks.Callback, or functions of the "
                f"trainer; got {checks.shown(callback)}."
            )
    return tuple(sorted(listeners, key=lambda listener: listener.comes_last))
