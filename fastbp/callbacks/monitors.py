"""Which column of the history a callback watches, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastbp import checks
from fastbp.callbacks.base import Callback
from fastbp.metrics import METRICS, canonical, greater_is_better

if TYPE_CHECKING:
    from fastbp.trainer import Trainer

_KNOWN = ("train_loss", "eval_loss", *METRICS)


class Watching(Callback):
    """A callback that compares values of a column of the history.

    Parameters
    ----------
    monitor : str
        Name of the column.
    mode : {"min", "max"} or None
        Whether less or more of it is better; None for what is known of losses and metrics.
    """

    def __init__(self, monitor: str, mode: str | None) -> None:
        self.monitor = _name(monitor)
        self.mode = None if mode is None else checks.choice("mode", mode, ("min", "max"))
        known = greater_is_better(self.monitor)
        if self.mode is None and known is None:
            hint = checks.nearest(self.monitor, _KNOWN)
            raise ValueError(
                f'mode must be "min" or "max" for monitor={self.monitor!r}{hint}: which way is '
                f"better is known only of {', '.join(_KNOWN)} and scikit-learn's scorers."
            )
        self._more_is_better = bool(known) if self.mode is None else self.mode == "max"

    @property
    def worst(self) -> float:
        """The value that every number improves on."""
        return -math.inf if self._more_is_better else math.inf

    def watched(self, trainer: Trainer) -> float:
        """The last value of the column."""
        return float(trainer.history[self.monitor][-1])

    def improves(self, value: float, best: float, least: float = 0.0) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``least``.

        Every number is better than NaN, and NaN is never better.
        """
        if math.isnan(value) or math.isnan(best):
            return not math.isnan(value)
        gain = value - best if self._more_is_better else best - value
        return gain > least  # false for two equal infinities, whose difference is NaN

    def check(self, columns: Iterable[str]) -> None:
        """Refuse a fit that does not produce what is watched, before it begins."""
        columns = tuple(columns)
        # A metric has the name by which the user called it, such as "R2".
        meant = [each for each in columns if canonical(each) == canonical(self.monitor) is not None]
        if self.monitor not in columns and len(meant) == 1:
            self.monitor = meant[0]
        super().check(columns)


def _name(monitor: Any) -> str:
    """The name of a column; those that every history has are taken in any case."""
    if not isinstance(monitor, str) or not monitor:
        raise ValueError(
            "monitor must be the name of a column of the history, such as eval_loss, got "
            f"{checks.shown(monitor)}."
        )
    key = monitor.lower().replace("-", "_").replace(" ", "_")
    return key if key in _KNOWN[:2] else monitor
