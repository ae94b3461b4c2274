"""What is measured after each epoch of a fit, and what is shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.evaluation import EvalSet, evaluated
from fastbp.history import History
from fastbp.network import Network
from fastbp.scoring import Score


def _column(name: str, i: int) -> str:
    """Name of a figure's column: for the last set if i = 0, else for the i-th one."""
    return ("eval_loss" if name == "loss" else name) + (f"_{i}" if i > 0 else "")


class Watch:
    """Measures after each epoch of a fit, and shows the results on a bar and in lines of text."""

    def __init__(
        self, sets: Sequence[EvalSet], scores: Sequence[Score], last: int, verbose: bool
    ) -> None:
        if scores and not sets:
            raise ValueError(
                "metrics need rows to be computed on: give fit an eval_set, or a validation_split."
            )
        self.sets, self.scores, self.last, self.verbose = sets, scores, last, verbose
        self.bar: Any = None  # while one is shown

    def load(self, network: Network) -> None:
        """Compile or load what measures, so that the first epoch does not wait for it."""
        for rows in self.sets[:1]:
            network.parameters.load(rows.samples)

    def begin(self, history: History) -> None:
        """Before an epoch: ``last`` is the number of the fit's last one."""
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {len(history) + 1}/{self.last}", refresh=False)

    def measured(self, network: Network, n_threads: int | None) -> dict[str, float]:
        """Columns of the epoch: those of the last set, then numbered ones of the others."""
        columns: dict[str, float] = {}
        for i, rows in enumerate([*self.sets[-1:], *self.sets[:-1]]):
            figures = evaluated(network, rows, self.scores, n_threads)
            columns |= {_column(name, i): value for name, value in figures.items()}
        return columns

    def columns(self, network: Network) -> tuple[str, ...]:
        """Columns of the history that the fit fills with numbers."""
        figures = ["loss", *["accuracy"] * network.is_classifier, *(s.name for s in self.scores)]
        evaluated = (_column(name, i) for i in range(len(self.sets)) for name in figures)
        return "train_loss", *evaluated, "learning_rate", "samples_per_second", "seconds"

    def end(self, history: History) -> None:
        """After an epoch, which is in the history."""
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(history.figures(-1)), refresh=False)
        if self.verbose:
            print(history.row(-1))

    def stopped(self, history: History) -> None:
        """After a fit that a callback has stopped."""
        if self.verbose:
            print(stopped_at(len(history), history))


def stopped_at(epoch: int, history: History) -> str:
    """What is said of a fit that a callback has stopped after an epoch, which is not 0."""
    best = history.best_epoch
    return f"stopped at epoch {epoch}" + (f", best {best}" if best else "")


def verbosity(verbose: Any) -> bool:
    """Whether to print a line for each epoch: None, True, False, or 0, 1, 2."""
    if verbose is None or isinstance(verbose, (bool, np.bool_)):
        return bool(verbose)
    return checks.integer("verbose", verbose, 0, 2) > 0
