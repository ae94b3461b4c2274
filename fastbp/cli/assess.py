"""Figures of a network on some rows, as the command line prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp import experiment, metrics
from fastbp.cli.output import confusion
from fastbp.network import Network
from fastbp.problem import Problem


def lines(
    title: str,
    network: Network,
    problem: Problem,
    rows: tuple[Any, Any],
    figures: Mapping[str, float],
    baseline: Mapping[str, float] | None,
) -> list[str]:
    """A confusion matrix, where there are classes, and a table of figures.

    ``title`` says which rows they are, and ``rows`` are inputs and targets.
    """
    parts = []
    if problem.classes is not None:
        predicted = network.predictions(network.predict_proba(rows[0]))
        counts = metrics.confusion_matrix(
            experiment.numbered(rows[1], problem), predicted, range(len(problem.classes))
        )
        parts = ["", confusion(counts, problem.classes)]
    if baseline:
        what = "mean" if problem.kind == "regression" else "most frequent class"
        parts += ["", f"The trivial model predicts the {what} of the training rows for every row."]
    return [*parts, "", metrics.table(title, figures, baseline)]
