"""What training recorded, one row per epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fastbp import checks


class _BesideColumns:
    """What a history has besides: a slot, for ``vars(history)`` is to have columns alone."""

    __slots__ = ("chosen_epoch",)

    chosen_epoch: int


@dataclass
class History(_BesideColumns):
    """Columns of one entry per epoch: attributes, ``history["train_loss"]``, ``vars(history)``.

    Metrics have columns too: ``history["r2"]`` is that on ``eval_set``. Of several sets, this is
    the last one; the first has ``history["r2_1"]`` and ``history["eval_loss_1"]``, the second
    ``history["r2_2"]``, and so on. Entries of epochs without them are None.

    Attributes
    ----------
    train_loss : list of float
        Mean loss over the epoch's samples, each taken before its own step, so an average over
        the weights of the whole epoch; without weight decay.
    eval_loss : list of float or None
        Mean loss on ``eval_set`` after the epoch; None without one.
    accuracy : list of float or None
        Accuracy on ``eval_set`` after the epoch; None without one, and for a regression.
    learning_rate : list of float
        η of the epoch.
    samples_per_second : list of float
        Training speed; evaluation and compilation are not counted.
    seconds : list of float
        Training time of the epoch, likewise.
    method : list of str
        How the steps were computed: one method, or one per layer. `Trainer.summary` says why.
    chosen_epoch : int
        Best epoch of the last fit's `EarlyStopping`, from 1; 0 without one.
    """

    train_loss: list[float] = field(default_factory=list)
    eval_loss: list[float | None] = field(default_factory=list)
    accuracy: list[float | None] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    method: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chosen_epoch = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Add an epoch; an entry that has no column yet gets one."""
        columns = vars(self)
        if not row.keys() <= columns.keys():
            for name in [name for name in row if name not in columns]:
                setattr(self, name, [None] * len(self))
        for name, column in columns.items():
            column.append(row.get(name))

    @property
    def metrics(self) -> dict[str, list[float | None]]:
        """Columns of metrics, and those of all sets but the last."""
        own = {each.name for each in fields(self)}
        return {name: column for name, column in vars(self).items() if name not in own}

    def __getitem__(self, name: str) -> list[Any]:
        columns = vars(self)
        if name not in columns:
            hint = checks.nearest(name, columns)
            raise KeyError(
                f"the history has no column {name!r}{hint}; it has {', '.join(columns)}."
            )
        column: list[Any] = columns[name]
        return column

    def __contains__(self, name: object) -> bool:
        return name in vars(self)

    def __len__(self) -> int:
        return len(self.train_loss)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch, from 1; 0 if there is none.

        It is that of the last fit's `EarlyStopping`. Without one it is the first epoch with the
        least loss on ``eval_set``, or else with the least training loss.
        """
        if self.chosen_epoch:
            return self.chosen_epoch
        for column in (self.eval_loss, self.train_loss):
            known = [value for value in column if value is not None and not math.isnan(value)]
            if known:
                return column.index(min(known)) + 1
        return 0

    def to_frame(self) -> Any:
        """All columns as a pandas.DataFrame, whose index is the number of the epoch, from 1.

        Returns
        -------
        pandas.DataFrame
            A row for each epoch.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "History.to_frame needs pandas (pip install pandas); without it, vars(history) "
                "is a dict of lists."
            ) from None
        index = pandas.RangeIndex(1, len(self) + 1, name="epoch")
        return pandas.DataFrame(vars(self), index=index)

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str = "") -> Any:
        """Draw losses and every metric over epochs, with the best epoch marked.

        Parameters
        ----------
        path : path-like, optional
            Where to write the figure, too: .png, .svg or .pdf.
        title : str, optional

        Returns
        -------
        matplotlib.figure.Figure
            Notebooks show it.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no epoch yet, or the format is unknown.
        OSError
            If the file cannot be written.
        """
        from fastbp.plotting import report_figure  # which imports this module

        return report_figure(path, self, title=title)

    def _repr_html_(self) -> str:
        """What notebooks show: the best and the last epoch, and the losses as a plot."""
        from fastbp.html import of_history  # which imports this module

        return of_history(self)

    def described(self) -> dict[str, Any]:
        """Itself as a JSON object for `restored`, with metrics only where there are any."""
        metrics = self.metrics
        own = {name: column for name, column in vars(self).items() if name not in metrics}
        besides = {"metrics": metrics, "chosen_epoch": self.chosen_epoch}
        return own | {name: value for name, value in besides.items() if value}

    @classmethod
    def restored(cls, description: Mapping[str, Any]) -> History:
        """The history that `described` has described."""
        columns = dict(description)
        metrics, chosen = columns.pop("metrics", {}), columns.pop("chosen_epoch", 0)
        history = cls(**columns)
        for name, column in metrics.items():
            setattr(history, check_name(name), column)
        history.chosen_epoch = chosen
        return history

    def figures(self, epoch: int) -> list[str]:
        """Losses and metrics of an epoch, counted from 0, as short texts."""
        parts = [f"train loss {_shown(self.train_loss[epoch])}"]
        if (eval_loss := self.eval_loss[epoch]) is not None:
            parts.append(f"eval loss {_shown(eval_loss)}")
        if (accuracy := self.accuracy[epoch]) is not None:
            parts.append(f"accuracy {accuracy:.2%}")
        for name, column in self.metrics.items():
            if (value := column[epoch]) is not None:
                parts.append(f"{name} {_shown(value)}")
        return parts

    def row(self, epoch: int) -> str:
        """One epoch, counted from 0 (or from the end, if negative), as a line of text."""
        parts = [
            f"epoch {range(len(self))[epoch] + 1:>3}",
            *self.figures(epoch),
            f"{self.samples_per_second[epoch]:,.0f} samples/s",
            f"{self.seconds[epoch]:.2f} s",
        ]
        return "  ".join(parts)

    def __str__(self) -> str:
        return "\n".join(self.row(epoch) for epoch in range(len(self))) or "no epochs yet"


def _shown(value: float) -> str:
    """A number in a few digits, whatever its size."""
    size = abs(value)
    if 0 < size < 0.001 or size >= 1e9:
        return f"{value:.3e}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4f}"


def check_name(name: str) -> str:
    """The name of a metric, unless it is one of the history's own."""
    if hasattr(History, name) or name in {each.name for each in fields(History)}:
        raise ValueError(f"a metric must not be called {name!r}, as a part of the history is.")
    return name
