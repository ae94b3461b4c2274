"""What the command line keeps in a model file besides the network, and how it comes back."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastbp import experiment, metrics, seen
from fastbp.cli.output import note
from fastbp.data import TRUTH
from fastbp.experiment import Plan
from fastbp.network import Network
from fastbp.problem import Problem
from fastbp.storage import load, read_header
from fastbp.trainer import Trainer

# Options that say what is done with a training, not what it is.
FREE = ("data", "run", "save", "plot", "resume", "config", "json", "quiet", "verbose", "epochs",
        "threads", "final", "checkpoint")  # fmt: skip


# Options of which the choice is kept, for another version may choose otherwise.
_CHOSEN = ("validation", "patience", "refit")


def described(
    options: argparse.Namespace, planned: Plan, trainer: Trainer, rows: NDArray[Any], stage: str
) -> dict[str, Any]:
    """What is kept of a training on these rows; ``stage`` is checkpoint, search, refit or final."""
    X, y = planned.data.rows(rows)
    problem = planned.problem
    return {
        "target": planned.data.name if options.target else None,
        "task": problem.task,
        "stage": stage,
        "epochs": len(trainer.history) if stage in ("refit", "final") else planned.epochs,
        "trivial": _trivial(experiment.numbered(y, problem), problem),
        "seen": seen.sketch(transformed(trainer.network, X)),
        "options": {name: value for name, value in vars(options).items() if name not in FREE}
        | {name: getattr(planned.options, name) for name in _CHOSEN},
    }


def _trivial(y: NDArray[Any], problem: Problem) -> list[float]:
    """What `metrics.trivial` gives, as a list."""
    learned = metrics.trivial(y, problem.kind, len(problem.classes or ()))
    return [float(each) for each in learned.reshape(-1)]


def transformed(network: Network, X: Any) -> NDArray[Any]:
    """Rows as they enter the first layer."""
    if network.preparation is None:
        return np.asarray(X)
    rows: NDArray[Any] = network.preparation.transform(X)
    return rows


class Model(NamedTuple):
    """A network from a file, and what the command line has kept with it."""

    path: str
    network: Network
    problem: Problem
    """Its classes are also those of models whose network does not know them."""
    columns: tuple[str, ...] | None
    """Columns of a table that it takes; None for arrays."""
    extra: dict[str, Any]

    def text_columns(self, target: str | None) -> tuple[str, ...]:
        """Columns that hold texts, even where these look like numbers; and the target, if it is."""
        preparation, classes = self.network.preparation, self.problem.classes
        columns: tuple[str, ...] = () if preparation is None else preparation.text_columns
        is_text = classes is not None and isinstance(classes[0], str)
        is_text &= classes != tuple(TRUTH)
        return (*columns, target) if is_text and target is not None else columns

    def baseline(self, y: NDArray[Any]) -> dict[str, float] | None:
        """Figures of the trivial model on these targets; None if nothing is known of it."""
        known = self.extra.get("trivial")
        n = len(self.problem.classes or range(self.problem.n_outputs))
        if not _are_numbers(known, n):
            return None
        are_counts = self.problem.kind == "classification" and y.size == len(y)
        if are_counts and not (min(known) >= 0 and sum(known) > 0):
            return None
        return metrics.trivial_figures(known, y, self.problem.kind)

    def seen(self, X: Any) -> tuple[int, bool]:
        """How many rows it has learned from, and whether that is exact."""
        if "seen" not in self.extra:
            return 0, True
        try:
            return seen.count(self.extra["seen"], transformed(self.network, X))
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}.") from None

    def unseen(self, X: Any) -> dict[str, int]:
        """In how many rows each text column has a value that training did not have."""
        preparation = self.network.preparation
        return {} if preparation is None else preparation.unseen(X)

    @property
    def target(self) -> str | None:
        """Name of the column that it predicts, if that is known."""
        name = self.extra.get("target")
        return name if isinstance(name, str) else None


def _are_numbers(value: Any, n: int) -> TypeGuard[list[float]]:
    """Whether it is a list of n finite numbers, as JSON has them."""
    return (
        isinstance(value, list)
        and len(value) == n
        and all(type(each) in (int, float) and math.isfinite(each) for each in value)
    )


def say_seen(count: int, n: int, exact: bool) -> None:
    """Tell of rows that the network has learned from."""
    if count:
        note(
            f"{'' if exact else 'about '}{count:,} of {n:,} rows are the same as rows that the "
            "model was trained on; how well they are predicted says nothing about new rows."
        )


def say_unseen(counts: Mapping[str, int], n: int) -> None:
    """Tell of values that the network has no input for."""
    for name, count in counts.items():
        note(
            f"{name} has values that were not in training in {count:,} of {n:,} rows; the network "
            "ignores them."
        )


def read(path: str) -> Model:
    """A model and what is kept with it."""
    extra = read_header(path)["extra"]
    loaded = load(path)
    network = loaded.network if isinstance(loaded, Trainer) else loaded
    classes = network.classes
    if classes is None and network.is_classifier:
        classes = _old_classes(path, network, extra)
    columns, preparation = extra.get("features"), network.preparation
    if preparation is not None:
        columns = preparation.columns if preparation.described()["named"] else None
    is_list = isinstance(columns, (list, tuple))
    if columns and not (is_list and all(isinstance(name, str) for name in columns)):
        raise ValueError(f"{path} is damaged: its columns must be names.")
    task = "numbers" if not network.is_classifier else "classes" if classes else "labels"
    problem = Problem(
        task, network.loss_name, classes and tuple(classes), network.sizes[-1], guess=""
    )
    return Model(path, network, problem, columns and tuple(columns), extra)


def _old_classes(path: str, network: Network, extra: dict[str, Any]) -> Any:
    """Classes of a model that was saved before networks knew their own."""
    classes = extra.get("classes")
    if classes is not None and (
        not isinstance(classes, list)
        or len(classes) != max(2, network.sizes[-1])
        or not all(isinstance(label, (str, int, float)) for label in classes)
    ):
        raise ValueError(f"{path} is damaged: its classes do not fit its outputs.")
    return classes
